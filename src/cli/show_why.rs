//! How a reason is said to a person, with what can be done about it; and in JSON.

use serde_json::{Value, json};

use super::output::{printable, size};
use crate::bundle::annotation::TITLE;
use crate::compare::{Group, Level, Reason, What};
use crate::digest::Digest;

/// When a program of Go's was made that does not know it.
const NO_DATE_OF_GO: &str = "0001-01-01T00:00:00Z";
/// The annotation of a manifest that says when it was made.
const CREATED: &str = "org.opencontainers.image.created";

/// What two things are compared.
pub(super) struct Scene {
    /// What they were called.
    pub(super) names: [String; 2],
    pub(super) digests: [Digest; 2],
    pub(super) is_directory: [bool; 2],
    /// Whether `SOURCE_DATE_EPOCH` is set.
    pub(super) is_dated: bool,
}

impl Scene {
    /// Whether the first is the one that is here: a directory, if only one is; or else the second is.
    fn is_turned(&self) -> bool {
        self.is_directory == [true, false]
    }

    /// What is there, and what is here.
    fn turn<T>(&self, [a, b]: [T; 2]) -> [T; 2] {
        if self.is_turned() { [b, a] } else { [a, b] }
    }
}

/// All that is said: which is which, and then the reasons, each with its hint.
pub(super) fn lines(groups: &[Group], scene: &Scene) -> String {
    if groups.is_empty() {
        return "the same".to_owned();
    }
    let [there, here] =
        scene.turn([0, 1]).map(|side| format!("{} ({})", scene.names[side], scene.digests[side].short()));
    let mut text = format!("there: {there}\nhere:  {here}\n\n");
    let mut groups: Vec<&Group> = groups.iter().collect();
    if scene.is_turned() {
        groups.sort_by_key(|group| match group.what {
            What::Removed => What::Added,
            What::Added => What::Removed,
            other => other,
        });
    }
    for group in groups {
        text += &group_lines(group, scene);
    }
    text
}

/// The reasons of one kind. A hint that is about several is said once, below the last of them.
fn group_lines(group: &Group, scene: &Scene) -> String {
    let mut text = String::new();
    let mut reasons = group.reasons.iter().peekable();
    while let Some(reason) = reasons.next() {
        text += &(printable(&sentence(group, reason, scene)) + "\n");
        let more = group.count - group.reasons.len();
        if reasons.peek().is_none() && more > 0 {
            text += &(format!("and {more} more like this (--all shows all)") + "\n");
        }
        let next = reasons.peek().and_then(|next| hint(group, next, scene));
        if let Some(hint) = hint(group, reason, scene).filter(|hint| next.as_ref() != Some(hint)) {
            text += &(printable(&format!("  hint: {hint}")) + "\n");
        }
    }
    text
}

/// One object for each reason.
pub(super) fn to_json(groups: &[Group], scene: &Scene) -> Vec<Value> {
    let object = |group: &Group, number: usize, reason: &Reason| {
        let key = if group.level == Level::Entry { "path" } else { "name" };
        let mut json = json!({"level": level(group.level), "what": word(group.what)});
        let mut set = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                json[key] = value;
            }
        };
        set(key, reason.name.as_ref().map(|name| json!(name)));
        set("a", reason.a.as_ref().map(|value| json!(value)));
        set("b", reason.b.as_ref().map(|value| json!(value)));
        set("offset", reason.first.map(|first| json!(first.offset)));
        set("line", reason.first.and_then(|first| first.line).map(|line| json!(line)));
        set("hint", hint(group, reason, scene).map(|hint| json!(hint)));
        let more = group.count - group.reasons.len();
        set("more", (more > 0 && number + 1 == group.reasons.len()).then(|| json!(more)));
        json
    };
    let of_group = |group: &Group| {
        let objects = group.reasons.iter().enumerate().map(|(number, reason)| object(group, number, reason));
        objects.collect::<Vec<_>>()
    };
    groups.iter().flat_map(of_group).collect()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Manifest => "manifest",
        Level::Config => "config",
        Level::Layer => "layer",
        Level::Member => "member",
        Level::Entry => "entry",
    }
}

/// The name of a kind of reason in JSON.
fn word(what: What) -> &'static str {
    match what {
        What::Contents => "contents",
        What::Removed => "removed",
        What::Added => "added",
        What::Type => "type",
        What::Target => "target",
        What::Mode => "mode",
        What::ImageIndex => "image-index",
        What::Platform => "platform",
        What::Created => "created",
        What::Label => "label",
        What::Annotation => "annotation",
        What::ArtifactType => "artifact-type",
        What::Subject => "subject",
        What::Format => "format",
        What::Bundle => "bundle",
        What::ConfigType => "config-type",
        What::Layers => "layers",
        What::LayerOrder => "layer-order",
        What::Division => "division",
        What::LayerType => "layer-type",
        What::LayerAnnotation => "layer-annotation",
        What::ManifestField => "manifest-field",
        What::History => "history",
        What::ConfigField => "config-field",
        What::Compression => "compression",
        What::EntryType => "entry-type",
        What::Time => "time",
        What::Owner => "owner",
        What::OwnerName => "owner-name",
        What::Spelling => "spelling",
        What::Unlisted => "unlisted",
        What::Order => "order",
        What::HeaderFormat => "header-format",
        What::LongName => "long-name",
        What::Record => "record",
        What::HeaderField => "header-field",
        What::Padding => "padding",
        What::Trailing => "trailing",
        What::Compressor => "compressor",
        What::GzipField => "gzip-field",
        What::Index => "index",
        What::WhiteSpace => "white-space",
        What::KeyOrder => "key-order",
        What::Bytes => "bytes",
    }
}

/// A reason in a person's words.
fn sentence(group: &Group, reason: &Reason, scene: &Scene) -> String {
    match group.level {
        Level::Manifest | Level::Config => of_document(group, reason, scene),
        Level::Layer | Level::Member => of_layer(group, reason, scene),
        Level::Entry => of_entry(group, reason, scene),
    }
}

/// `0755 there, 0644 here`
fn both(reason: &Reason, scene: &Scene) -> String {
    let [there, here] = scene.turn([&reason.a, &reason.b]).map(|side| side.as_deref().unwrap_or("nothing"));
    format!("{there} there, {here} here")
}

/// `is "a" there, not set here`
fn quoted(reason: &Reason, scene: &Scene) -> String {
    let said =
        |side: &Option<String>| side.as_ref().map_or_else(|| "not set".to_owned(), |value| format!("\"{value}\""));
    let [there, here] = scene.turn([&reason.a, &reason.b]).map(said);
    format!("is {there} there, {here} here")
}

/// What a manifest, a config or an image index says.
fn of_document(group: &Group, reason: &Reason, scene: &Scene) -> String {
    let name = reason.name.as_deref().unwrap_or_default();
    let (both, quoted) = (both(reason, scene), quoted(reason, scene));
    let document = if group.level == Level::Config { "config" } else { "manifest" };
    match group.what {
        What::ImageIndex if !name.is_empty() => format!("image index: {name} {quoted}"),
        What::Platform => format!("platform {both}"),
        What::Created => created_when(reason, scene),
        What::Label => format!("label {name} {quoted}"),
        What::Annotation | What::LayerAnnotation => format!("annotation {name} {quoted}"),
        What::ArtifactType => format!("artifact type {both}"),
        What::Subject => format!("about {both}"),
        What::Format => format!("manifest of type {both}"),
        What::Bundle => format!("{both} (its index, and what it says to other tools)"),
        What::ConfigType => format!("config of type {both}"),
        What::Layers => format!("layers: {both}"),
        What::LayerOrder => "the same layers, in another order".to_owned(),
        What::Division => "the same files, divided into layers otherwise".to_owned(),
        What::LayerType => format!("layer {name} of type {both}"),
        What::ManifestField | What::ConfigField => format!("{document} field {name} {quoted}"),
        What::History if !name.is_empty() => format!("history: {name} {quoted}"),
        What::History => format!("steps of the history: {both}"),
        What::WhiteSpace => format!("other white space in the JSON of the {document}"),
        What::KeyOrder => format!("keys in another order, or values written otherwise, in the JSON of the {document}"),
        What::Bytes => format!("{document} {both}"),
        _ => both,
    }
}

/// What a layer is as a whole.
fn of_layer(group: &Group, reason: &Reason, scene: &Scene) -> String {
    let name = reason.name.as_deref().unwrap_or_default();
    let both = both(reason, scene);
    match group.what {
        What::Compression => format!("layer {name} compressed with {both}"),
        What::Padding => format!("bytes that fill up the archive after its last entry: {both}: layer {name}"),
        What::Trailing => format!("after the last entry: {both}: layer {name}"),
        What::Compressor => {
            format!("compressed by another program, or at another level; the same content: layer {name}")
        }
        What::GzipField => format!("gzip header: {name} {both}"),
        What::Index => format!("the bundle's index is written otherwise, about the same content: layer {name}"),
        What::Bytes => {
            let offset = reason.first.map_or(0, |first| first.offset);
            format!("layer {name} differs from byte {offset} of its archive on")
        }
        _ => both,
    }
}

/// What an entry is, or what its headers say.
fn of_entry(group: &Group, reason: &Reason, scene: &Scene) -> String {
    let name = reason.name.as_deref().unwrap_or_default();
    let both = both(reason, scene);
    match group.what {
        What::Contents => contents(reason, scene),
        What::Removed => format!("only {}: {name}", side(true, scene)),
        What::Added => format!("only {}: {name}", side(false, scene)),
        What::Target => format!("link to {both}: {name}"),
        What::Mode => format!("mode {both}: {name}"),
        What::Time => format!("time {both}: {name}"),
        What::Owner => format!("owner {both}: {name}"),
        What::OwnerName => format!("owner's name {both}: {name}"),
        What::Spelling => format!("path written {both}"),
        What::Unlisted => {
            let is_directory = [&reason.a, &reason.b].into_iter().flatten().any(|what| what == "a directory");
            let what = if is_directory { "an entry for the directory itself" } else { "an entry more" };
            format!("{what} only {}: {name}", side(reason.a.is_some(), scene))
        }
        What::Order => format!("entries in another order: {both}"),
        What::HeaderFormat => format!("tar header in a format that is {both}: {name}"),
        What::LongName => format!("path written {both}: {name}"),
        What::Record => format!("PAX record {both}: {name}"),
        What::HeaderField if reason.a.is_none() => format!("tar headers differ: {name}"),
        What::HeaderField => format!("tar header: {both}: {name}"),
        _ => format!("{both}: {name}"),
    }
}

/// Where the first, or the second, of the two is.
fn side(is_first: bool, scene: &Scene) -> &'static str {
    if is_first == scene.is_turned() { "here" } else { "there" }
}

fn created_when(reason: &Reason, scene: &Scene) -> String {
    match scene.turn([&reason.a, &reason.b]) {
        [None, Some(here)] => format!("no date there, created {here} here"),
        [Some(there), None] => format!("created {there} there, no date here"),
        _ => format!("created {}", both(reason, scene)),
    }
}

/// `contents differ from byte 120 (line 7) on: base/app.yaml`
fn contents(reason: &Reason, scene: &Scene) -> String {
    let name = reason.name.as_deref().unwrap_or_default();
    if let Some(first) = reason.first {
        let line = first.line.map_or_else(String::new, |line| format!(" (line {line})"));
        return format!("contents differ from byte {}{line} on: {name}", first.offset);
    }
    let sizes = scene.turn([&reason.a, &reason.b]).map(|side| side.as_ref().and_then(|bytes| bytes.parse().ok()));
    let [there, here] = sizes.map(|bytes| bytes.map(size).unwrap_or_default());
    if let [Some(there), Some(here)] = sizes
        && there != here
        && size(there) == size(here)
    {
        return format!("contents differ, {there} bytes there, {here} here: {name}");
    }
    format!("contents differ, {there} there, {here} here: {name}")
}

/// What would make it equal, if anything can be done.
fn hint(group: &Group, reason: &Reason, scene: &Scene) -> Option<String> {
    let [there, here] = scene.turn([&reason.a, &reason.b]).map(Option::as_deref);
    let has_directory = scene.is_directory.contains(&true);
    let name = reason.name.as_deref().unwrap_or_default();
    let fixed = match group.what {
        What::Mode => return modes(there?, here?),
        What::Created => return Some(date(there, here, scene)),
        What::Contents => "bndlr diff shows what differs in the files",
        What::Annotation if name == CREATED && !has_directory => {
            "oras push --annotation org.opencontainers.image.created=DATE or flux push artifact --reproducible makes it the same"
        }
        What::LayerAnnotation if name.starts_with(TITLE) => "oras names it as its path was typed: push . from within",
        What::Format if !has_directory => "skopeo copy --format oci or v2s2 turns one into the other",
        What::Layers | What::Division if !has_directory => "push both with the same --split",
        What::ImageIndex if name.is_empty() => "--platform picks the image; its digest names it alone",
        What::Time => "tar --mtime=@0 makes it the same at any time; bndlr does",
        What::Owner | What::OwnerName => {
            "tar --owner=0 --group=0 --numeric-owner makes it the same for anybody; bndlr does"
        }
        What::Spelling if [there, here].iter().flatten().any(|path| path.starts_with("./")) => {
            "tar writes ./ in front of all that it finds in ., and not of what it is given by name"
        }
        What::Order => "tar --sort=name makes it the same everywhere; bndlr does",
        What::HeaderFormat | What::LongName => "tar --format=ustar or --format=pax picks one",
        What::Record => "tar --format=ustar writes none; --pax-option=delete=NAME leaves one out",
        What::Padding => "tar --blocking-factor says how much a tar program fills up",
        What::GzipField if matches!(name, "file name" | "time") => "gzip -n leaves it out",
        What::Compressor => "make both with one program, in one version, at one level",
        _ => return if has_directory { flag(group.what, name, there?) } else { None },
    };
    Some(fixed.to_owned())
}

/// The flag of a push that makes a directory what the image there is.
fn flag(what: What, name: &str, there: &str) -> Option<String> {
    let flag = match what {
        What::Platform => format!("--platform {}", word_of_shell(there)?),
        What::Label => format!("-l {}", word_of_shell(&format!("{name}={there}"))?),
        What::Annotation => format!("-a {}", word_of_shell(&format!("{name}={there}"))?),
        What::ArtifactType => format!("--artifact-type {}", word_of_shell(there)?),
        What::Subject => format!("--subject with the reference of {there}"),
        What::Format if there.contains("docker") => "--image-format docker".to_owned(),
        What::Layers => "--split, as there".to_owned(),
        _ => return None,
    };
    Some(format!("bndlr push {flag}"))
}

/// A word as a shell takes it; nothing, if not all of it is known.
fn word_of_shell(text: &str) -> Option<String> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:,@+".contains(c);
    if text.ends_with('…') {
        None
    } else if text.chars().all(is_plain) {
        Some(text.to_owned())
    } else {
        Some(format!("'{}'", text.replace('\'', "'\\''")))
    }
}

fn modes(there: &str, here: &str) -> Option<String> {
    let is_executable = |mode: &str| u32::from_str_radix(mode, 8).ok().map(|mode| mode & 0o100 != 0);
    let hint = match (is_executable(there)?, is_executable(here)?) {
        (true, false) => "chmod +x makes it executable here",
        (false, true) => "chmod -x makes it a plain file here",
        _ => "bndlr writes 0755 where the owner may execute, and else 0644; other programs keep more",
    };
    Some(hint.to_owned())
}

fn date(there: Option<&str>, here: Option<&str>, scene: &Scene) -> String {
    let has_directory = scene.is_directory.contains(&true);
    let seconds = there.and_then(|date| date.parse::<jiff::Timestamp>().ok());
    let seconds = seconds.filter(|date| date.subsec_nanosecond() == 0).map(jiff::Timestamp::as_second);
    match (there, here, seconds) {
        (None, Some(_), _) if has_directory && scene.is_dated => "SOURCE_DATE_EPOCH is set here: unset it".to_owned(),
        (Some(_), _, Some(seconds @ 0..)) if has_directory => {
            format!("pushed with SOURCE_DATE_EPOCH: push with SOURCE_DATE_EPOCH={seconds} for the same")
        }
        _ if [there, here].contains(&Some(NO_DATE_OF_GO)) => {
            "that is how programs in Go, as crane and imgpkg, write that there is no date".to_owned()
        }
        _ => "SOURCE_DATE_EPOCH, or a flag as buildah's --timestamp, makes it the same; without it, bndlr writes none"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_can_be_pasted_into_a_shell() {
        assert_eq!(word_of_shell("team=a").unwrap(), "team=a");
        assert_eq!(word_of_shell("k=it's $HOME").unwrap(), r"'k=it'\''s $HOME'");
        assert_eq!(word_of_shell("k=cut off…"), None);
    }
}
