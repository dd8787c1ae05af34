//! What the objects are called below the prefix. Only names that were parsed become parts of a key.
//!
//! ```text
//! bndlr-registry-1                              says whose prefix this is, and which version of this layout
//! blobs/<digest>                                what a content consists of
//! data/<session>/<segment>                      a part of a content, as it is
//! uploads/<session>                             what an upload session has received, or what becomes of its data
//! repositories/<name>!/blobs/<digest>           a blob's link
//! repositories/<name>!/manifests/<digest>       a manifest
//! repositories/<name>!/tags/<tag>               a tag
//! repositories/<name>!/referrers/<digest of the subject>/<digest>
//! aside/<round>/<any of the above>              says that something may be aside there; empty
//! ```
//!
//! A digest is `<algorithm>-<digits>`. A bucket lists keys in byte order, and repositories have to come in that of their
//! names, in which `a` comes before `a-b` and that before `a/b`. So `-`, `.` and `/` are each written as the byte before
//! it, and a `!`, which is less than all of them, ends the name.

use super::super::{Digests, Item, Key, Round, SessionId};
use crate::digest::Digest;
use crate::reference::{Name, Tag};

/// The object that says whose prefix it is.
pub(super) const MARKER: &str = "bndlr-registry-1";
/// How the markers of all versions begin.
pub(super) const ANY_MARKER: &str = "bndlr-registry-";

pub(super) const CONTENTS: &str = "blobs/";
pub(super) const UPLOADS: &str = "uploads/";
pub(super) const REPOSITORIES: &str = "repositories/";
pub(super) const ASIDE: &str = "aside/";

pub(super) fn item(item: &Item) -> String {
    match item {
        Item::Record(key) => record(key),
        Item::Content(digest) => content(*digest),
    }
}

pub(super) fn record(key: &Key) -> String {
    match key {
        Key::Blob(name, digest) => part(name, "blobs") + &component(*digest),
        Key::Manifest(name, digest) => part(name, "manifests") + &component(*digest),
        Key::Tag(name, tag) => tags(name) + tag.as_str(),
        Key::Referrer(name, subject, digest) => {
            format!("{}{}/{}", subjects(name), component(*subject), component(*digest))
        }
    }
}

pub(super) fn content(digest: Digest) -> String {
    format!("{CONTENTS}{}", component(digest))
}

pub(super) fn upload(session: &SessionId) -> String {
    format!("{UPLOADS}{session}")
}

/// Below which the data of a session lies.
pub(super) fn data(session: &SessionId) -> String {
    format!("data/{session}/")
}

/// What says that a round may have set this aside.
pub(super) fn aside(round: &Round, item: &str) -> String {
    format!("{ASIDE}{round}/{item}")
}

pub(super) fn tags(name: &Name) -> String {
    part(name, "tags")
}

pub(super) fn subjects(name: &Name) -> String {
    part(name, "referrers")
}

/// Below which the list's digests are.
pub(super) fn digests(list: &Digests) -> String {
    match list {
        Digests::Contents => CONTENTS.to_owned(),
        Digests::Blobs(name) => part(name, "blobs"),
        Digests::Manifests(name) => part(name, "manifests"),
        Digests::Referrers(name, subject) => format!("{}{}/", subjects(name), component(*subject)),
    }
}

fn part(name: &Name, part: &str) -> String {
    format!("{REPOSITORIES}{}/{part}/", repository(name.as_str()))
}

/// The component of a key that stands for a repository, in the order of the names. What is no name gets one, too, between
/// those of the names between which it is.
pub(super) fn repository(name: &str) -> String {
    let shifted = name.chars().map(|c| if ('"'..='/').contains(&c) { char::from(c as u8 - 1) } else { c });
    shifted.chain(['!']).collect()
}

/// The name that such a component stands for.
pub(super) fn parse_repository(component: &str) -> Option<Name> {
    let shifted = component.strip_suffix('!')?;
    let name: String =
        shifted.chars().map(|c| if ('!'..='.').contains(&c) { char::from(c as u8 + 1) } else { c }).collect();
    name.parse().ok()
}

pub(super) fn component(digest: Digest) -> String {
    format!("{}-{}", digest.algorithm(), digest.hex())
}

pub(super) fn parse_digest(component: &str) -> Option<Digest> {
    component.replacen('-', ":", 1).parse().ok()
}

/// The item whose path this is.
pub(super) fn parse_item(path: &str) -> Option<Item> {
    if let Some(digest) = path.strip_prefix(CONTENTS) {
        return parse_digest(digest).map(Item::Content);
    }
    let mut components = path.strip_prefix(REPOSITORIES)?.split('/');
    let name = parse_repository(components.next()?)?;
    let key = match (components.next()?, components.next()?, components.next()) {
        ("blobs", digest, None) => Key::Blob(name, parse_digest(digest)?),
        ("manifests", digest, None) => Key::Manifest(name, parse_digest(digest)?),
        ("tags", tag, None) => Key::Tag(name, tag.parse::<Tag>().ok()?),
        ("referrers", subject, Some(digest)) => Key::Referrer(name, parse_digest(subject)?, parse_digest(digest)?),
        _ => return None,
    };
    components.next().is_none().then(|| key.into())
}

/// The offset of a list from which on come the names after `after`, which may be any text: what cannot stand in a key
/// is replaced by the end of a text that is as great.
pub(super) fn offset(after: &str) -> String {
    match after.char_indices().find(|(_, c)| !(' '..='~').contains(c)) {
        Some((end, c)) if c < ' ' => after[..end].to_owned(),
        Some((end, _)) => after[..end].to_owned() + "~",
        None => after.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Algorithm;

    #[test]
    fn repositories_have_the_order_of_their_names() {
        let names = ["a", "a-b", "a.b", "a/b", "a/b-c", "a/b/c", "a0", "a_b", "aa"];
        assert!(names.is_sorted());
        assert!(names.map(repository).is_sorted_by(|a, b| format!("{a}/x") < format!("{b}/a")));
        for name in names {
            assert_eq!(parse_repository(&repository(name)).unwrap().as_str(), name);
        }
        for other in ["a", "-!", "!"] {
            assert_eq!(parse_repository(other), None, "{other}");
        }
    }

    #[test]
    fn items_have_their_paths() {
        let (name, one) = ("team/app-1.0".parse::<Name>().unwrap(), Digest::sha256(b"1"));
        let two = Algorithm::Sha512.digest(b"2");
        for expected in [
            Item::Content(two),
            Key::Blob(name.clone(), one).into(),
            Key::Manifest(name.clone(), two).into(),
            Key::Tag(name.clone(), "v1.0".parse().unwrap()).into(),
            Key::Referrer(name, one, two).into(),
        ] {
            let path = item(&expected);
            assert_eq!(parse_item(&path), Some(expected), "{path}");
            assert_eq!(parse_item(&format!("{path}/x")), None, "{path}");
        }
    }

    #[test]
    fn offsets_have_only_what_can_stand_in_a_key() {
        assert_eq!(offset("v1"), "v1");
        assert_eq!(offset("v\u{0}1"), "v");
        assert_eq!(offset("vä1"), "v~");
    }
}
