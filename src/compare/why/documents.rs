//! JSON documents, held against each other: values leaf by leaf, and how they are written.

use std::collections::BTreeSet;

use serde_json::Value;

use super::reason::{Level, Reason, Reasons, What};
use crate::manifest::{RawManifest, to_canonical_json};
use crate::text::excerpt;

/// Shows `visit` the path of each value that differs, and what each side has there.
pub(super) fn leaves<'v>(
    path: &mut Vec<&'v str>,
    a: Option<&'v Value>,
    b: Option<&'v Value>,
    visit: &mut impl FnMut(&[&str], Option<&Value>, Option<&Value>),
) {
    match (a, b) {
        _ if a == b => {}
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let keys: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
            for key in keys {
                path.push(key);
                leaves(path, left.get(key), right.get(key), visit);
                path.pop();
            }
        }
        // What is missing has nothing in it: so each value in it is named, and not all of it at once.
        (Some(Value::Object(object)), None) if !object.is_empty() => {
            for (key, value) in object {
                path.push(key);
                leaves(path, Some(value), None, visit);
                path.pop();
            }
        }
        (None, Some(Value::Object(object))) if !object.is_empty() => {
            for (key, value) in object {
                path.push(key);
                leaves(path, None, Some(value), visit);
                path.pop();
            }
        }
        _ => visit(path, a, b),
    }
}

/// A manifest as JSON, which it is: it has been read before.
pub(super) fn value(manifest: &RawManifest) -> Value {
    serde_json::from_slice(manifest.bytes()).unwrap_or_default()
}

/// Names each value of two manifests that differs, whatever else it may follow from: for when nothing has been named.
pub(super) fn fields(a: &RawManifest, b: &RawManifest, reasons: &mut Reasons) {
    let [a, b] = [a, b].map(|manifest| numbered(value(manifest)));
    leaves(&mut Vec::new(), Some(&a), Some(&b), &mut |path, a, b| {
        reasons.add(Level::Manifest, What::ManifestField, between(Some(path.join(".")), a, b));
    });
}

/// The same with an object for each list, whose keys are numbers.
fn numbered(value: Value) -> Value {
    match value {
        Value::Array(values) => {
            let number = |(number, value): (usize, Value)| (number.to_string(), numbered(value));
            Value::Object(values.into_iter().enumerate().map(number).collect())
        }
        Value::Object(fields) => fields.into_iter().map(|(key, value)| (key, numbered(value))).collect(),
        other => other,
    }
}

/// What each side has of a value that differs, which may have a name.
pub(super) fn between(name: Option<String>, a: Option<&Value>, b: Option<&Value>) -> Reason {
    Reason { name, a: a.map(shown), b: b.map(shown), first: None }
}

/// A value for people: text as it is, anything else as JSON, no more of it than can be read.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => excerpt(text),
        other => excerpt(&other.to_string()),
    }
}

/// Says how two documents are written differently, apart from what they say.
pub(super) fn spelling(level: Level, a: (&[u8], &Value), b: (&[u8], &Value), reasons: &mut Reasons) {
    let [left, right] = [a, b].map(|(bytes, value)| Written::of(bytes, value));
    let (has_other_space, has_other_order) = if a.1 == b.1 {
        let is_same = left.compact == right.compact;
        (is_same && a.0 != b.0 || left.is_spaced != right.is_spaced, !is_same)
    } else {
        // What they say is written otherwise anyway: only that one is canonical can be told.
        (left.is_spaced != right.is_spaced, left.is_canonical != right.is_canonical)
    };
    for (differs, what) in [(has_other_space, What::WhiteSpace), (has_other_order, What::KeyOrder)] {
        if differs {
            reasons.add(level, what, Reason::default());
        }
    }
}

/// How a document is written.
struct Written {
    /// Without white space between values.
    compact: Vec<u8>,
    is_spaced: bool,
    is_canonical: bool,
}

impl Written {
    fn of(bytes: &[u8], value: &Value) -> Self {
        let compact = compact(bytes);
        let is_canonical = to_canonical_json(value).is_ok_and(|canonical| canonical == compact);
        Self { is_spaced: compact.len() != bytes.len(), is_canonical, compact }
    }
}

/// Leaves out all white space that is in no string.
fn compact(bytes: &[u8]) -> Vec<u8> {
    let (mut in_string, mut is_escaped) = (false, false);
    let mut keep = |byte: u8| {
        let is_quote = byte == b'"' && !is_escaped;
        is_escaped = in_string && byte == b'\\' && !is_escaped;
        in_string ^= is_quote;
        in_string || is_quote || !byte.is_ascii_whitespace()
    };
    bytes.iter().copied().filter(|&byte| keep(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(a: &str, b: &str) -> Vec<What> {
        let mut reasons = Reasons::new(9);
        let values = [a, b].map(|text| serde_json::from_str::<Value>(text).unwrap());
        spelling(Level::Config, (a.as_bytes(), &values[0]), (b.as_bytes(), &values[1]), &mut reasons);
        reasons.finish().into_iter().map(|group| group.what).collect()
    }

    #[test]
    fn white_space_is_told_from_the_order_of_keys() {
        assert_eq!(found(r#"{"a":1,"b":2}"#, r#"{"a":1,"b":2}"#), []);
        assert_eq!(found(r#"{"a":1,"b":" \" "}"#, "{\n \"a\": 1,\n \"b\": \" \\\" \"}"), [What::WhiteSpace]);
        assert_eq!(found("{\"a\": 1}", "{\"a\":  1}"), [What::WhiteSpace]);
        assert_eq!(found(r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#), [What::KeyOrder]);
        assert_eq!(found(r#"{"a":"<"}"#, r#"{"a":"\u003c"}"#), [What::KeyOrder]);
        assert_eq!(found(r#"{"a":1,"b":2}"#, r#"{ "b":2,"a":1}"#), [What::WhiteSpace, What::KeyOrder]);
        assert_eq!(found(r#"{"a":1,"b":2}"#, r#"{"a":1,"b":3}"#), []);
        assert_eq!(found(r#"{"a":1,"b":2}"#, r#"{"b":3, "a":1}"#), [What::WhiteSpace, What::KeyOrder]);
    }

    #[test]
    fn each_value_that_differs_is_named_once() {
        let [a, b] = [r#"{"a":{"x":1,"y":[1,2]},"c":{},"e":0}"#, r#"{"a":{"x":2,"y":[1]},"d":{"z":{"k":null}},"e":0}"#]
            .map(|text| serde_json::from_str::<Value>(text).unwrap());
        let mut seen = Vec::new();
        leaves(&mut Vec::new(), Some(&a), Some(&b), &mut |path, a, b| {
            seen.push(format!("{} {:?} {:?}", path.join("."), a.map(shown), b.map(shown)));
        });
        assert_eq!(
            seen,
            [
                r#"a.x Some("1") Some("2")"#,
                r#"a.y Some("[1,2]") Some("[1]")"#,
                r#"c Some("{}") None"#,
                r#"d.z.k None Some("null")"#
            ]
        );
    }
}
