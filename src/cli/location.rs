//! Locations: where an image is, as it is written on the command line.

use std::fmt;
use std::path::{Path, PathBuf};

use super::error::{Error, without_passwords};
use super::settings;
use crate::digest::Digest;
use crate::reference::{Identifier, Reference, Tag};

/// A repository, an image layout or an archive, and what is meant in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// `host[:port]/repository[:tag][@digest]`
    Registry(Reference),
    /// `oci:DIR[:tag]` or `oci:DIR[@digest]`
    Layout(PathBuf, Option<Identifier>),
    /// `archive:FILE[:tag]` or `archive:FILE[@digest]`
    Archive(PathBuf, Option<Identifier>),
}

impl Location {
    /// Parses what a user has typed, who may mean an alias.
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        Self::parse_whole(&settings::expand(text).unwrap_or_else(|| text.to_owned()))
    }

    /// The same for what is no alias.
    pub(super) fn parse_whole(text: &str) -> Result<Self, Error> {
        if let Some(rest) = text.strip_prefix("oci:") {
            let (path, identifier) = split(text, rest)?;
            return Ok(Self::Layout(path, identifier));
        }
        if let Some(rest) = text.strip_prefix("archive:") {
            let (path, identifier) = split(text, rest)?;
            return Ok(Self::Archive(path, identifier));
        }
        if without_passwords(text) != text {
            return Err(Error::usage("a user and a password are no part of a reference")
                .hint("say them with --username and --password-stdin, or log in with bndlr login"));
        }
        text.parse().map(Self::Registry).map_err(|error| match namesake(text) {
            Some(hint) => Error::from(error).hint(hint),
            None => error.into(),
        })
    }

    /// The same for what only registries have: a location in one, and its reference.
    pub(super) fn in_registry(text: &str) -> Result<(Self, Reference), Error> {
        match Self::parse(text)? {
            Self::Registry(reference) => Ok((Self::Registry(reference.clone()), reference)),
            Self::Layout(..) | Self::Archive(..) => {
                Err(Error::usage(format!("{text} is not in a registry: expected host[:port]/repository")))
            }
        }
    }

    /// What is on this machine under the name of a repository, in words that say how to mean it.
    pub(super) fn namesake(&self) -> Option<String> {
        let Self::Registry(reference) = self else { return None };
        let (name, repository) = (self.place(), reference.repository.name.as_str());
        [&name, repository, repository.trim_start_matches("library/")].into_iter().find_map(namesake)
    }

    /// What picks a manifest; nothing where an image layout or an archive is named alone.
    pub(super) fn identifier(&self) -> Option<Identifier> {
        match self {
            Self::Registry(reference) => Some(reference.identifier()),
            Self::Layout(_, identifier) | Self::Archive(_, identifier) => identifier.clone(),
        }
    }

    /// The tags that something pushed here gets: the one named, or `latest`, or none where a digest is named alone.
    pub(super) fn tags(&self) -> Vec<Tag> {
        match self {
            Self::Registry(reference) => reference.tag().cloned().into_iter().collect(),
            Self::Layout(_, identifier) | Self::Archive(_, identifier) => match identifier {
                Some(Identifier::Tag(tag)) => vec![tag.clone()],
                Some(Identifier::Digest(_)) => Vec::new(),
                None => vec![Tag::latest()],
            },
        }
    }

    /// The digest that is named.
    pub(super) fn digest(&self) -> Option<Digest> {
        match self.identifier() {
            Some(Identifier::Digest(digest)) => Some(digest),
            _ => None,
        }
    }

    /// Where it is, without what is meant in it.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Registry(reference) => reference.repository.to_string(),
            Self::Layout(path, _) => format!("oci:{}", path.display()),
            Self::Archive(path, _) => format!("archive:{}", path.display()),
        }
    }

    /// What a directory with its contents is called, unless the user says so.
    pub(super) fn directory_name(&self) -> Result<PathBuf, Error> {
        let name = match self {
            Self::Registry(reference) => Some(reference.repository.name.last_component().as_ref()),
            // The layout itself has that name.
            Self::Layout(..) => None,
            Self::Archive(path, _) => path.file_stem(),
        };
        let unsaid = || Error::usage(format!("{self} does not say what to call the directory")).hint("use -o DIR");
        name.map(|name| Path::new(".").join(name)).ok_or_else(unsaid)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Registry(reference) = self {
            return reference.fmt(f);
        }
        f.write_str(&self.place())?;
        match self.identifier() {
            Some(Identifier::Tag(tag)) => write!(f, ":{tag}"),
            Some(Identifier::Digest(digest)) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

/// What `text` is on this machine, although a reference is expected, in words that say how to mean it.
fn namesake(text: &str) -> Option<String> {
    let path = Path::new(text);
    let metadata = path.metadata().ok()?;
    Some(if path.join("oci-layout").is_file() {
        format!("{text:?} is an image layout here: write oci:{text}")
    } else if metadata.is_dir() {
        format!("{text:?} is a directory here, and a reference is expected, such as localhost:5000/demo:v1")
    } else {
        format!("{text:?} is a file here: write archive:{text} if it is an image layout in a tar file")
    })
}

/// Splits `PATH[:tag]` or `PATH@digest`. What follows a colon is a tag only if it can be one, so a path may have colons.
fn split(text: &str, rest: &str) -> Result<(PathBuf, Option<Identifier>), Error> {
    let (path, identifier) = if let Some((path, digest)) = rest.rsplit_once('@')
        && digest.contains(':')
    {
        (path, Some(Identifier::Digest(digest.parse().map_err(|error| Error::usage(format!("{text}: {error}")))?)))
    } else {
        match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(Identifier::Tag(tag.parse::<Tag>()?))),
            _ => (rest, None),
        }
    };
    let has_tag = path.rsplit_once(':').is_some_and(|(_, tag)| tag.parse::<Tag>().is_ok());
    if has_tag && matches!(identifier, Some(Identifier::Digest(_))) {
        return Err(Error::usage(format!("{text:?} names a tag and a digest: one of them is enough")));
    }
    if path.is_empty() {
        return Err(Error::usage(format!("{text:?} names no path: expected oci:DIR[:tag] or archive:FILE[:tag]")));
    }
    Ok((PathBuf::from(path), identifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_and_archives_are_told_from_references() {
        let tag = |tag: &str| Some(Identifier::Tag(tag.parse().unwrap()));
        for (text, expected) in [
            ("oci:dir", Location::Layout("dir".into(), None)),
            ("oci:dir:v1", Location::Layout("dir".into(), tag("v1"))),
            ("oci:/a:b/dir", Location::Layout("/a:b/dir".into(), None)),
            ("archive:a/b.tar:v1", Location::Archive("a/b.tar".into(), tag("v1"))),
        ] {
            let location = Location::parse(text).unwrap();
            assert_eq!(location, expected);
            assert_eq!(location.to_string(), text);
        }
        let digest = Digest::sha256(b"");
        assert_eq!(Location::parse(&format!("oci:dir@{digest}")).unwrap().digest(), Some(digest));
        assert!(matches!(Location::parse("localhost:5000/a:v1"), Ok(Location::Registry(_))));
        assert!(Location::parse(&format!("oci:dir:v1@{digest}")).is_err());
        for wrong in ["oci:", "oci::v1", "archive:x:.v", "oci:dir@sha256:12", "Foo/bar", ""] {
            assert_eq!(Location::parse(wrong).unwrap_err().exit, super::super::error::Exit::Usage, "{wrong}");
        }
    }
}
