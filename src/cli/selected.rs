//! `--list` of `push` and `build`: what would go into a bundle, and why the rest would not.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::error::Error;
use super::list::to_json;
use super::output::{Output, count, printable, size};
use crate::bundle::{Entry, Kind, compare_paths};
use crate::pack::{LeftOut, Tree, Why};
use crate::unpack::Listed;

/// Shows what there is in `directory`, a path a line: `+` before what goes in, `-` before what does not.
pub(super) fn show(directory: &Path, tree: &Tree, output: &Output) -> Result<(), Error> {
    let mut lines: Vec<(&str, String)> = tree.entries().map(|entry| (entry.path(), line_in(entry))).collect();
    lines.extend(tree.left_out().iter().map(|left| (left.path.as_str(), line_out(left))));
    lines.sort_by(|(one, _), (two, _)| compare_paths(one, two));
    let text = lines.into_iter().fold(String::new(), |mut text, (_, line)| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{line}");
        text
    });
    let (files, bytes) = (tree.files(), tree.bytes());
    output.result(&text, || {
        let entries: Vec<_> = tree.entries().map(|entry| to_json(&Listed::from(entry))).collect();
        let left_out: Vec<_> = tree.left_out().iter().map(left_out_to_json).collect();
        json!({"directory": directory, "files": files, "bytes": bytes, "entries": entries, "leftOut": left_out})
    })?;
    let left_out = match tree.left_out().len() {
        0 => "nothing is left out".to_owned(),
        1 => "1 path is left out".to_owned(),
        more => format!("{more} paths are left out"),
    };
    output.say(format!("{} has {} to pack, {}; {left_out}", directory.display(), count(files, "file"), size(bytes)));
    Ok(())
}

fn line_in(entry: &Entry) -> String {
    let path = printable(entry.path());
    match entry.kind() {
        Kind::Directory => format!("+ {path}/"),
        Kind::File { .. } => format!("+ {path}"),
        Kind::Symlink { target } => format!("+ {path} -> {}", printable(target)),
    }
}

fn line_out(left: &LeftOut) -> String {
    let slash = if left.is_directory { "/" } else { "" };
    format!("- {}{slash} ({})", printable(&left.path), printable(&left.why.to_string()))
}

fn left_out_to_json(left: &LeftOut) -> Value {
    let mut json = json!({"path": left.path, "directory": left.is_directory, "reason": left.why.code()});
    match &left.why {
        Why::Excluded(pattern) => json["pattern"] = pattern.as_str().into(),
        Why::Ignored { file, line, pattern } => {
            json["file"] = file.to_string().into();
            json["line"] = (*line).into();
            json["pattern"] = pattern.as_str().into();
        }
        Why::VersionControl | Why::IgnoreFile | Why::Cache | Why::NotIncluded => {}
    }
    json
}
