//! Canonical JSON: one sequence of bytes for one value.

use serde::Serialize;
use serde_json::Value;

/// Writes `value` with sorted keys and without white space.
///
/// # Errors
/// When `value` cannot be JSON at all (a map with keys that are not strings).
pub fn to_canonical_json(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut value = serde_json::to_value(value)?;
    // serde_json's map is sorted only as long as no crate in the build asks for insertion order.
    sort(&mut value);
    serde_json::to_vec(&value)
}

fn sort(value: &mut Value) {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = std::mem::take(map).into_iter().collect();
            entries.sort_by(|a, b| a.0.cmp(&b.0));
            for (key, mut value) in entries {
                sort(&mut value);
                map.insert(key, value);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(sort),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_at_every_depth_and_white_space_is_gone() {
        let value = json!({"b": [{"z": 1, "a": null}], "a": {"é": "ü", "e": true}});
        assert_eq!(
            String::from_utf8(to_canonical_json(&value).unwrap()).unwrap(),
            r#"{"a":{"e":true,"é":"ü"},"b":[{"a":null,"z":1}]}"#
        );
    }
}
