//! Why a storage failed.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::{BoxError, SessionId};
use crate::digest::Mismatch;
use crate::text::bytes;

/// Why a storage failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no such upload session in this repository.
    #[error("upload session {0} is unknown")]
    UploadUnknown(SessionId),
    /// Somebody else is writing to the upload session.
    #[error("upload session {0} is being written to by another request")]
    UploadBusy(SessionId),
    /// A chunk does not begin where the upload session ends.
    #[error("the chunk begins at byte {found}, but the upload session has {}", bytes(*expected))]
    Offset {
        /// How many bytes the session has.
        expected: u64,
        /// Where the chunk begins.
        found: u64,
    },
    /// The content is not what it should be.
    #[error(transparent)]
    Digest(#[from] Mismatch),
    /// The stream of a chunk failed.
    #[error("the body broke off: {0}")]
    Body(#[source] BoxError),
    /// The medium failed.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Something that was written here cannot be read any more.
    #[error("{0} is damaged")]
    Damaged(String),
}

impl Error {
    /// What was tried, and why it failed.
    pub(in crate::server) fn io(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.to_string(), source }
    }
}

/// Why a directory cannot be opened as a storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// There is no registry in it.
    #[error("there is no registry in {0}")]
    Absent(PathBuf),
    /// There are other things in it.
    #[error("{0} is neither empty nor a registry's: nothing in it was touched")]
    NotOurs(PathBuf),
    /// A newer version of this program wrote it.
    #[error("{0} is a registry's, but of another version of its layout")]
    Version(PathBuf),
    /// It cannot be read or written.
    #[error("cannot open {path}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}
