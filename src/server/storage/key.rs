//! What a storage keeps, by name. Only values that were parsed become keys.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::SystemTime;

use bytes::Bytes;

use super::session::{is_random_name, random_name};
use crate::digest::Digest;
use crate::reference::{Name, Tag};

/// The name of a record: a small value, at most a manifest and its media type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// A blob's link in a repository. Its value is empty.
    Blob(Name, Digest),
    /// A manifest of a repository.
    Manifest(Name, Digest),
    /// A tag of a repository.
    Tag(Name, Tag),
    /// In a repository, first a subject, then a manifest that is about it.
    Referrer(Name, Digest, Digest),
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(name, digest) => write!(f, "the link of blob {digest} in {name}"),
            Self::Manifest(name, digest) => write!(f, "manifest {digest} of {name}"),
            Self::Tag(name, tag) => write!(f, "tag {tag} of {name}"),
            Self::Referrer(name, subject, digest) => write!(f, "referrer {digest} of {subject} in {name}"),
        }
    }
}

/// Anything that a storage keeps, but for upload sessions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Item {
    /// A record.
    Record(Key),
    /// The content of a blob.
    Content(Digest),
}

impl From<Key> for Item {
    fn from(key: Key) -> Self {
        Self::Record(key)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(key) => key.fmt(f),
            Self::Content(digest) => write!(f, "content {digest}"),
        }
    }
}

/// What has to hold for a record to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Any,
    /// There is no such record.
    Absent,
    /// The record is there, and has this value.
    Is(Bytes),
}

impl Condition {
    /// Whether it holds for a record that has this value, or is not there.
    #[must_use]
    pub fn holds(&self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => value.is_none(),
            Self::Is(expected) => value == Some(&expected[..]),
        }
    }
}

/// A list of digests that a storage can give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Digests {
    /// All contents.
    Contents,
    /// The blobs that are linked in a repository.
    Blobs(Name),
    /// The manifests of a repository.
    Manifests(Name),
    /// The manifests of a repository that are about this one.
    Referrers(Name, Digest),
}

impl Digests {
    /// What the list names with `digest`.
    #[must_use]
    pub fn item(&self, digest: Digest) -> Item {
        match self {
            Self::Contents => Item::Content(digest),
            Self::Blobs(name) => Key::Blob(name.clone(), digest).into(),
            Self::Manifests(name) => Key::Manifest(name.clone(), digest).into(),
            Self::Referrers(name, subject) => Key::Referrer(name.clone(), *subject, digest).into(),
        }
    }
}

impl fmt::Display for Digests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contents => f.write_str("the contents"),
            Self::Blobs(name) => write!(f, "the blobs of {name}"),
            Self::Manifests(name) => write!(f, "the manifests of {name}"),
            Self::Referrers(name, subject) => write!(f, "the referrers of {subject} in {name}"),
        }
    }
}

/// The name under which one garbage collection sets things aside: 128 random bits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Round(String);

/// A string that is no name of a round.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no round of a collection is called {0:?}")]
pub struct InvalidRound(String);

impl Round {
    /// A name that no round has.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn random() -> io::Result<Self> {
        random_name().map(Self)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Round {
    type Err = InvalidRound;

    /// Strict, because the name becomes a part of a path.
    fn from_str(text: &str) -> Result<Self, InvalidRound> {
        if is_random_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidRound(text.to_owned())) }
    }
}

/// Something that was set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aside {
    /// By whom.
    pub round: Round,
    /// What it is.
    pub item: Item,
    /// When it was last written or renewed, before.
    pub modified: SystemTime,
}

/// What happens to the leftovers that are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// They are only counted.
    Count,
    /// They are counted and removed.
    Remove,
}

/// What unfinished work took, or takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// How many upload sessions there were.
    pub uploads: u64,
    /// How many bytes those and other unfinished work had.
    pub bytes: u64,
}
