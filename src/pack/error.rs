//! What can be wrong with a directory.

use std::io;
use std::path::PathBuf;

use crate::bundle::{EntryError, Escape, IndexError};
use crate::content::{self, ErrorKind};

/// Why a directory cannot be packed. Paths are as the user would write them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something is there that no bundle can hold.
    #[error("{path} is a {kind}, which cannot be packed", path = path.display())]
    Special {
        /// Where.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// A name is not UTF-8.
    #[error("{path:?} has a name that is not UTF-8")]
    NotUtf8 {
        /// Where.
        path: PathBuf,
    },
    /// A path or a link's target cannot be in a bundle.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A symbolic link leads out.
    #[error(transparent)]
    Escape(#[from] Escape),
    /// A symbolic link cannot be followed.
    #[error("cannot follow symbolic link {path}: {why}", path = path.display())]
    Follow {
        /// The link.
        path: PathBuf,
        /// What is wrong with where it leads.
        why: String,
    },
    /// There is a symbolic link, and none is wanted.
    #[error("{path} is a symbolic link", path = path.display())]
    Symlink {
        /// The link.
        path: PathBuf,
    },
    /// A file is not what it was a moment ago.
    #[error("{path} changed while it was read", path = path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// A pattern is not one.
    #[error("{place}: {why}")]
    Pattern {
        /// The file and line, or the flag.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing in the directory is wanted.
    #[error("nothing in {path} matches what is to be included", path = path.display())]
    NothingIncluded {
        /// The directory.
        path: PathBuf,
    },
    /// The layer cannot be written.
    #[error("cannot write the layer to a temporary file in {directory}: {source}", directory = directory.display())]
    Spool {
        /// Where.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The index has no room for so many entries.
    #[error("the directory has too many entries: {0}")]
    Index(#[from] IndexError),
    /// The manifest is too large, or an option cannot be said in it.
    #[error(transparent)]
    Manifest(#[from] crate::manifest::Invalid),
    /// An option cannot be said in the manifest.
    #[error("{0}")]
    Option(String),
}

impl Error {
    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("let it be read, or leave it out with --exclude or a line in .bndlrignore")
            }
            Self::Special { .. } | Self::Entry(_) => Some("leave it out with --exclude or a line in .bndlrignore"),
            Self::Escape(_) => {
                Some("leave it out with --exclude, or let it point to something inside by a relative path")
            }
            Self::Symlink { .. } => {
                Some("use --symlinks keep to pack links as they are, or follow to pack what they point to")
            }
            Self::Follow { .. } => Some("use --symlinks keep to pack links as they are, or --exclude to leave it out"),
            Self::Changed { .. } => Some("pack again when nothing writes to the directory"),
            Self::NotUtf8 { .. } => Some("rename it, or leave it out with --exclude"),
            Self::NothingIncluded { .. } => Some("--list shows what there is"),
            Self::Spool { .. } => Some("set TMPDIR to a directory with more room"),
            _ => None,
        }
    }
}

impl From<Error> for content::Error {
    fn from(error: Error) -> Self {
        let hint = error.hint();
        let kind = if matches!(error, Error::NothingIncluded { .. }) { ErrorKind::NotFound } else { ErrorKind::Local };
        let error = Self::new(kind, error);
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
