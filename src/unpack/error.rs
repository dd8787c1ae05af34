//! What can go wrong while unpacking, in words for the person who reads it.

use std::io;
use std::path::{Path, PathBuf};

use super::update::LocalChange;
use crate::bundle::{EntryError, Escape, IndexError, OrderError, PatternError};
use crate::content::{self, ErrorKind};
use crate::digest::Digest;
use crate::text::{count, excerpt};

/// Why an image is not unpacked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source failed, or what it has is not what the manifest says.
    #[error(transparent)]
    Source(#[from] content::Error),
    /// There is no single image to unpack.
    #[error("{0} is an image index, expected the manifest of one image")]
    Index(Digest),
    /// The configuration is that of another image.
    #[error("config {config} has {}, expected one for each layer: {expected}", count(*found, "diff ID"))]
    DiffIds {
        /// The configuration.
        config: Digest,
        /// How many layers there are.
        expected: usize,
        /// How many of them it names.
        found: usize,
    },
    /// A layer is neither an archive nor a file with a name.
    #[error("layer {layer} of media type {media_type:?} is no archive, and has no title to be a file by")]
    MediaType {
        /// The layer.
        layer: Digest,
        /// What its descriptor says that it is.
        media_type: String,
    },
    /// A layer's annotations or labels are not those of a bundle.
    #[error("layer {layer}: {problem}")]
    Annotations {
        /// The layer.
        layer: Digest,
        /// What is wrong.
        problem: IndexError,
    },
    /// What is in a layer cannot be unpacked.
    #[error("layer {}: {fault}", layer.short())]
    Layer {
        /// The layer.
        layer: Digest,
        /// What is wrong with it.
        fault: Fault,
    },
    /// What has been unpacked cannot be finished.
    #[error(transparent)]
    Finish(#[from] Fault),
    /// A symbolic link of a bundle leads out of it.
    #[error(transparent)]
    Escape(#[from] Escape),
    /// A pattern is not one.
    #[error("{pattern:?} is no pattern: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: PatternError,
    },
    /// Nothing in the image is wanted.
    #[error("nothing in the image matches what is to be included")]
    NothingPicked,
    /// The target is there already.
    #[error("{0:?} is there already, and is not an empty directory")]
    Occupied(PathBuf),
    /// Nothing is known of what is in the target.
    #[error("{0:?} is not empty, and nothing is known of what is in it")]
    Unknown(PathBuf),
    /// What is in the target is not what was put there.
    #[error("{directory:?} has {}", named(.changes))]
    Changed {
        /// The target.
        directory: PathBuf,
        /// What has been changed, in order.
        changes: Vec<LocalChange>,
    },
    /// Somebody else unpacks to the target.
    #[error("{0:?} is being unpacked to by another process")]
    Busy(PathBuf),
    /// Without any states, nothing can be updated.
    #[error("{0:?} is not empty, and there is no place where it is kept what was unpacked there")]
    NoStates(PathBuf),
    /// A directory of this machine failed.
    #[error("cannot {what} {path:?}: {source}")]
    Local {
        /// What was tried.
        what: &'static str,
        /// The directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn local(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Local { what, path: path.to_owned(), source }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Source(error) => error.kind(),
            Self::Layer { fault: Fault::Local { .. }, .. }
            | Self::Finish(Fault::Local { .. } | Fault::OtherContents(_))
            | Self::Local { .. }
            | Self::Occupied(_) => ErrorKind::Local,
            Self::NothingPicked => ErrorKind::NotFound,
            Self::Unknown(_) | Self::Changed { .. } | Self::Busy(_) | Self::NoStates(_) => ErrorKind::Conflict,
            _ => ErrorKind::Content,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Occupied(_) => Some("--update brings it up to date; or choose a directory that does not exist yet"),
            Self::Unknown(_) => Some("--force makes it what the image says, and removes whatever else is in it"),
            Self::NoStates(_) => Some("set HOME or XDG_STATE_HOME, where that is kept"),
            Self::Changed { .. } => Some("--force discards what has been changed there"),
            Self::Busy(_) => Some("try again once that has ended"),
            Self::Finish(Fault::OtherContents(_)) => Some("try again once nobody writes to it"),
            Self::NothingPicked => Some("bndlr ls shows what is in it"),
            Self::Index(_) => Some("choose one of its images by platform or by digest"),
            Self::Layer { fault: Fault::Collision(_), .. } | Self::Finish(Fault::Collision(_)) => {
                Some("the file system does not tell these names apart; unpack on one that does")
            }
            Self::Layer { fault: Fault::Limit { .. }, .. } | Self::Finish(Fault::Limit { .. }) => {
                Some("allow more with --max-bytes or --max-entries, if you trust whoever made the image")
            }
            _ => None,
        }
    }
}

impl From<Error> for content::Error {
    fn from(error: Error) -> Self {
        let (kind, hint) = (error.kind(), error.hint());
        match error {
            Error::Source(error) => error,
            error => {
                let error = Self::new(kind, error);
                if let Some(hint) = hint { error.with_hint(hint) } else { error }
            }
        }
    }
}

/// What is wrong with a layer, or with an entry in it. Names are as they are
/// shown: [`excerpt`]s, also of such as are not UTF-8.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Bytes do not decompress, or the archive breaks off.
    #[error("cannot be read: {0}")]
    Read(#[from] io::Error),
    /// There is something where nothing should be.
    #[error("has bytes after its end")]
    Trailing,
    /// Decompressed, it is not what the configuration says.
    #[error("has diff ID {found}, expected {expected}")]
    DiffId {
        /// What the configuration says.
        expected: Digest,
        /// What it is.
        found: Digest,
    },
    /// A limit is exceeded.
    #[error("more {what} than {limit}, the limit, at entry \"{path}\"")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// Where it was noticed.
        path: String,
        /// The limit.
        limit: u64,
    },

    /// The archive is not one.
    #[error("{problem} {}", place(path))]
    Archive {
        /// What is wrong.
        problem: &'static str,
        /// The last entry that had a name; before the first, nothing.
        path: String,
    },
    /// An entry's headers are not such that every reader sees the same in them.
    #[error("entry \"{path}\" {problem}")]
    Header {
        /// The entry.
        path: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// An entry's name or a link's target is not a path within the target.
    #[error("entry \"{path}\" {problem}")]
    Name {
        /// The entry.
        path: String,
        /// What is wrong with its name.
        problem: &'static str,
    },
    /// An entry is of a type that is never unpacked.
    #[error("entry \"{path}\" is {kind}, which is not unpacked")]
    Type {
        /// The entry.
        path: String,
        /// What it is.
        kind: String,
    },
    /// An entry cannot be where it says.
    #[error("entry \"{path}\" {problem}: \"{at}\"")]
    Place {
        /// The entry.
        path: String,
        /// What is wrong with the place.
        problem: &'static str,
        /// Which place.
        at: String,
    },
    /// Two names are one to the file system.
    #[error("entry \"{0}\" collides with another whose name this file system does not tell apart")]
    Collision(String),
    /// A file of this machine failed.
    #[error("cannot {what} \"{path}\": {source}")]
    Local {
        /// What was tried.
        what: &'static str,
        /// The entry.
        path: String,
        /// Why it failed.
        source: io::Error,
    },

    /// A file of the target, of which parts were to be kept, has other contents than it was taken to have.
    #[error("file \"{0}\" is not what it was taken for: it may be changed just now")]
    OtherContents(String),

    /// The archive of a bundle is not as the format has it.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The entries of a bundle are not in order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A gzip member of a bundle is not as the format has it.
    #[error("member {member} at byte {offset}: {problem}")]
    Member {
        /// The number of the member, counted from 0.
        member: u64,
        /// Where it begins in the layer.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A bundle's index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A bundle's index says something else than its layer.
    #[error("the index says {index}, but the layer has {layer}")]
    Disagreement {
        /// What the index says.
        index: String,
        /// What is in the layer.
        layer: String,
    },
}

/// How many local changes are named.
const NAMED: usize = 5;

/// How many changes there are, and the first of them.
fn named(changes: &[LocalChange]) -> String {
    let named: Vec<_> = changes.iter().take(NAMED).map(ToString::to_string).collect();
    let more = changes.len().saturating_sub(NAMED);
    let rest = if more > 0 { format!(", and {more} more") } else { String::new() };
    format!("{}: {}{rest}", count(changes.len(), "local change"), named.join(", "))
}

/// A name as it is shown, which need not be text.
pub(super) fn shown(name: &[u8]) -> String {
    excerpt(&String::from_utf8_lossy(name))
}

/// Where in an archive something was noticed.
fn place(path: &str) -> String {
    if path.is_empty() { "at the front of the archive".to_owned() } else { format!("at or after entry \"{path}\"") }
}
