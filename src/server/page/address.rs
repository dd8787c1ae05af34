//! Which path shows what. It looks like a reference: `/r/team/app:v1`, `/r/team/app@sha256:…`.
//!
//! Neither `:` nor `@` can be in a repository's name, and `/r/` begins no path of the API, so nothing here can be taken
//! for anything else. Like there, nothing in a path is ever encoded, and nothing is decoded.

use std::fmt;

use crate::digest::Digest;
use crate::reference::{Identifier, Name, Tag};

/// The query parameter with which the list of repositories asks who is there.
pub(super) const LOG_IN: &str = "login";
/// The query parameter of lists: what to go on after.
pub(super) const LAST: &str = "last";
/// The query parameter of a manifest: the number of the layer whose files are shown, counted from 0.
pub(super) const LAYER: &str = "layer";
/// The query parameter of a manifest: how many files are left out.
pub(super) const FROM: &str = "from";

/// What a path shows. [`fmt::Display`] writes the path, [`Address::parse`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// `/`: the repositories.
    Repositories,
    /// `/r/<name>`: the tags of a repository.
    Repository(Name),
    /// `/r/<name>:<tag>` or `/r/<name>@<digest>`: a manifest.
    Manifest(Name, Identifier),
}

impl Address {
    /// Reads a path, without its query.
    pub(super) fn parse(path: &str) -> Option<Self> {
        if path == "/" {
            return Some(Self::Repositories);
        }
        let rest = path.strip_prefix("/r/")?;
        let Some(mark) = rest.find([':', '@']) else { return Some(Self::Repository(rest.parse().ok()?)) };
        let (name, identifier) = (rest[..mark].parse().ok()?, &rest[mark + 1..]);
        let identifier = if rest[mark..].starts_with('@') {
            identifier.parse::<Digest>().ok()?.into()
        } else {
            identifier.parse::<Tag>().ok()?.into()
        };
        Some(Self::Manifest(name, identifier))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repositories => f.write_str("/"),
            Self::Repository(name) => write!(f, "/r/{name}"),
            Self::Manifest(name, identifier) => write!(f, "/r/{name}{}", suffix(identifier)),
        }
    }
}

/// What follows a repository's name in a reference.
pub(super) fn suffix(identifier: &Identifier) -> String {
    match identifier {
        Identifier::Tag(tag) => format!(":{tag}"),
        Identifier::Digest(digest) => format!("@{digest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn every_address_is_read_as_it_is_written() {
        for path in [
            "/".to_owned(),
            "/r/a".to_owned(),
            "/r/r".to_owned(),
            "/r/v2/token".to_owned(),
            "/r/team/app:v1.2".to_owned(),
            "/r/team/app:_Latest".to_owned(),
            format!("/r/team/app@{DIGEST}"),
        ] {
            assert_eq!(Address::parse(&path).map(|address| address.to_string()), Some(path));
        }
    }

    #[test]
    fn what_is_no_reference_is_no_address() {
        for path in [
            String::new(),
            "//".to_owned(),
            "/r".to_owned(),
            "/r/".to_owned(),
            "/r/A".to_owned(),
            "/r/a/".to_owned(),
            "/r/../a".to_owned(),
            "/r/a/..".to_owned(),
            "/r/a%2fb".to_owned(),
            "/r/a:".to_owned(),
            "/r/a:v1:v2".to_owned(),
            format!("/r/a:{DIGEST}"),
            "/r/a@v1".to_owned(),
            format!("/r/a:v1@{DIGEST}"),
            "/r/a:<script>".to_owned(),
            "/a".to_owned(),
        ] {
            assert_eq!(Address::parse(&path), None, "{path}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(path in "/?(r/)?[a-z./:@%-]{0,20}") {
            if let Some(address) = Address::parse(&path) {
                prop_assert_eq!(address.to_string(), path);
            }
        }
    }
}
