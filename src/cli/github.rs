//! What GitHub Actions, and what is like it, shows of a run: errors as annotations, and a summary of what was pushed.

use std::env;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;

use serde_json::Value;

use super::error::{Error, Exit};
use super::output::{Output, count, printable, size};

/// Shows an error as an annotation of the run, if this is one. It has been cleared of passwords.
pub(super) fn annotate(error: &Error) {
    if env::var_os("GITHUB_ACTIONS").is_some_and(|value| value == "true") && error.exit != Exit::Interrupted {
        // Results go to stdout, and commands are taken from either.
        let _ = writeln!(io::stderr(), "{}", annotation(error));
    }
}

/// A workflow command, which is one line whatever the error says.
fn annotation(error: &Error) -> String {
    let hint = error.hint.as_deref().map(|hint| format!("\nhint: {}", printable(hint))).unwrap_or_default();
    let text = printable(&error.message) + &hint;
    format!("::error title=bndlr::{}", text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A"))
}

/// Adds to the summary of the run what was pushed, if there is one; `pushed` is what `push` says in JSON.
pub(super) fn summarize(output: &Output, pushed: &Value) {
    let Some(path) = env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()).map(PathBuf::from) else {
        return;
    };
    let file = OpenOptions::new().append(true).create(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(summary(pushed).as_bytes())) {
        output.warn(format!("cannot write the summary of the job to {}: {error}", path.display()));
    }
}

/// A table in Markdown. Nothing in it needs to be escaped: references, digests and tags have no such characters.
fn summary(pushed: &Value) -> String {
    let texts = |values: &Value| -> Vec<String> {
        let values = values.as_array().map(Vec::as_slice).unwrap_or_default();
        values.iter().filter_map(Value::as_str).map(|text| format!("`{text}`")).collect()
    };
    let text = |key: &str| pushed[key].as_str().unwrap_or_default();
    let bytes = |value: &Value| value["size"].as_u64().unwrap_or_default();
    let layers = pushed["layers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut table = String::from("### bndlr push\n\n| | |\n|---|---|\n");
    let rows = [
        ("Reference", texts(&pushed["references"]).join("<br>")),
        ("Tags", texts(&pushed["tags"]).join(", ")),
        ("Digest", format!("`{}`", text("digest"))),
        ("Result", text("result").to_owned()),
        ("Layers", format!("{}, {}", count(layers.len(), "layer"), size(layers.iter().map(bytes).sum()))),
        ("Uploaded", size(pushed["bytesUploaded"].as_u64().unwrap_or_default())),
    ];
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to a string does not fail.
        let _ = writeln!(table, "| {name} | {value} |");
    }
    table + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotation_is_one_line_whatever_the_error_says() {
        let error = Error::usage("100% wrong:\r\n::set-env name=a::b").hint("try\nagain");
        let expected = "::error title=bndlr::100%25 wrong:\\r\\n::set-env name=a::b%0Ahint: try\\nagain";
        assert_eq!(annotation(&error), expected);
    }
}
