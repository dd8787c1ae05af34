//! Why a layout could not be read or written.

use std::io;
use std::path::PathBuf;

use super::index::MAX_INDEX_SIZE;
use super::scan::{MAX_ENTRIES, MAX_EXTENSION_SIZE};
use crate::content::{self, ErrorKind, Unmet};
use crate::digest::Digest;
use crate::reference::Tag;
use crate::text::bytes;

/// Why a layout could not be read or written. `layout` is the path of the directory or archive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("work on a layout was broken off: {0}")]
    BrokenOff(#[from] tokio::task::JoinError),
    #[error("{} is a directory, expected a tar archive", .0.display())]
    IsDirectory(PathBuf),
    #[error("{} is a file, expected the directory of an image layout", .0.display())]
    IsFile(PathBuf),
    #[error("{} has other files in it and is no image layout", .0.display())]
    Occupied(PathBuf),

    #[error("{} is not an OCI image layout: it has no {file}", layout.display())]
    Incomplete { layout: PathBuf, file: &'static str },
    #[error("oci-layout of {} is not valid: {source}", layout.display())]
    Marker { layout: PathBuf, source: serde_json::Error },
    #[error("{} has image layout version {found:?}, expected \"1.0.0\"", layout.display())]
    Version { layout: PathBuf, found: String },
    #[error("{file} of {} has {size} bytes, more than the {limit} that are allowed", layout.display())]
    FileTooLarge { layout: PathBuf, file: &'static str, size: u64, limit: u64 },
    #[error("index.json of {} would have more than {MAX_INDEX_SIZE} bytes", .0.display())]
    IndexFull(PathBuf),
    #[error("index.json of {} is not valid: {source}", layout.display())]
    Index { layout: PathBuf, source: serde_json::Error },
    #[error("index.json of {} does not have the schema version 2", .0.display())]
    SchemaVersion(PathBuf),
    #[error("index.json of {} gives tag {tag} to several manifests: {digests}", layout.display())]
    AmbiguousTag { layout: PathBuf, tag: Tag, digests: String },
    #[error("{}: {unmet}", layout.display())]
    Unmet { layout: PathBuf, unmet: Unmet },
    #[error("{digest} has {} in {}, expected {expected}", bytes(*found), layout.display())]
    BlobSize { layout: PathBuf, digest: Digest, expected: u64, found: u64 },

    #[error("{} has no tag {tag}; it has {tags}", layout.display())]
    NoTag { layout: PathBuf, tag: Tag, tags: String },
    #[error("{} has no manifest {digest}", layout.display())]
    NoManifest { layout: PathBuf, digest: Digest },
    #[error("{} has no blob {digest}", layout.display())]
    NoBlob { layout: PathBuf, digest: Digest },
    #[error("{} has no manifest in it", .0.display())]
    Empty(PathBuf),
    #[error("{} has several manifests, expected one: {tags}", layout.display())]
    Several { layout: PathBuf, tags: String },

    #[error("{} is not a tar archive", .0.display())]
    NotTar(PathBuf),
    #[error("{} is compressed, expected a plain tar archive", .0.display())]
    Compressed(PathBuf),
    #[error("{} has a broken header at byte {offset}", archive.display())]
    Header { archive: PathBuf, offset: u64 },
    #[error("{} ends after {}, without an end mark: it has been cut short", archive.display(), bytes(*length))]
    CutShort { archive: PathBuf, length: u64 },
    #[error("\"{name}\" has {} at byte {offset} of {}, which has only {length}", bytes(*size), archive.display())]
    BeyondEnd { archive: PathBuf, name: String, size: u64, offset: u64, length: u64 },
    #[error(
        "{} has an extended header of {size} bytes at byte {offset}, more than {MAX_EXTENSION_SIZE}", archive.display()
    )]
    ExtensionTooLarge { archive: PathBuf, offset: u64, size: u64 },
    #[error("\"{name}\" of {} is a sparse file, which cannot be read here", archive.display())]
    Sparse { archive: PathBuf, name: String },
    #[error("{} has more than {MAX_ENTRIES} entries", .0.display())]
    TooManyEntries(PathBuf),
}

impl Error {
    /// For `map_err`: what was being done to `path`.
    pub(super) fn io(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::Io { .. }
            | Self::BrokenOff(_)
            | Self::IsDirectory(_)
            | Self::IsFile(_)
            | Self::Occupied(_)
            | Self::IndexFull(_) => ErrorKind::Local,
            Self::NoTag { .. }
            | Self::NoManifest { .. }
            | Self::NoBlob { .. }
            | Self::Empty(_)
            | Self::Several { .. } => ErrorKind::NotFound,
            Self::Unmet { .. } => ErrorKind::Conflict,
            _ => ErrorKind::Content,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::IsDirectory(_) => Some("a layout in a directory is oci:DIR"),
            Self::IsFile(_) => Some("a layout in a tar archive is archive:FILE"),
            Self::Occupied(_) => Some("name a directory that is empty or not there yet"),
            Self::Several { .. } => Some("add one of its tags"),
            Self::Compressed(_) => Some("decompress it first"),
            _ => None,
        }
    }
}

impl From<Error> for content::Error {
    fn from(error: Error) -> Self {
        let hint = error.hint();
        let converted = Self::new(error.kind(), error);
        match hint {
            Some(hint) => converted.with_hint(hint),
            None => converted,
        }
    }
}
