//! Where a registry keeps things: one trait, and what passes through it.
//!
//! [`Filesystem`] and [`Memory`] implement [`Storage`]; `tests/storage_conformance.rs` holds every implementation
//! against the contract that stands here. What a request means, and who may make it, is left to the rest of `server`.

mod blob;
mod error;
mod filesystem;
mod memory;
mod session;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use blob::Blob;
pub use error::{Error, OpenError};
pub use filesystem::Filesystem;
pub use memory::Memory;
pub use session::{InvalidSession, SessionId};

use crate::digest::{Algorithm, Digest};
use crate::reference::{Name, Tag};

/// Any error of somebody else.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a chunk as they come in. An error ends the stream.
pub type Chunks<'a> = BoxStream<'a, Result<Bytes, BoxError>>;

/// A manifest as it is kept: its bytes, verbatim, and the media type that it was pushed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// The media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

/// Keeps the contents, tags and upload sessions of a registry.
///
/// # Contents
///
/// Blobs and manifests are contents: kept once for the whole registry, under their digest, and *linked* in each
/// repository that has them. Every method looks only at the links of the repository that it is given, so that what one
/// repository has is no proof of access for another, and a manifest's link is none to a blob of the same digest.
///
/// # What holds, whatever happens
///
/// - *Whole or not at all.* Content is found under its digest only after all of its bytes are there and have been held
///   against that digest. Nobody sees a part of a blob, a manifest or a tag.
/// - *Kept.* When a method that writes returns `Ok`, what it wrote outlives the death of the process at any moment and,
///   where the medium allows it, a loss of power. Upload sessions need to outlive the process only.
/// - *One at a time.* Any number of tasks, and of processes over the same medium, may call any method at once. Each
///   blob, link and tag is written on its own, and of two writers of one tag the last one wins.
/// - *Dropped futures* leave nothing behind but what the method had finished, and perhaps an upload session with some
///   of the bytes.
///
/// # Upload sessions
///
/// A session belongs to one repository, and is unknown in every other. It only grows, by [`append`](Self::append), and
/// ends with [`finish_upload`](Self::finish_upload) or [`cancel_upload`](Self::cancel_upload). Any process over the same
/// medium may go on with it.
///
/// # Errors
///
/// What is not there is `None`, or [`Error::UploadUnknown`] for a session. [`Error::Io`] and [`Error::Damaged`] can come
/// from every method; they are no fault of the client, and are not for its eyes.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// How many bytes the blob has, if `repository` has it.
    async fn blob_size(&self, repository: &Name, digest: Digest) -> Result<Option<u64>, Error>;

    /// The blob, if `repository` has it. What has been opened can be read to its end, whatever is deleted meanwhile.
    async fn open_blob(&self, repository: &Name, digest: Digest) -> Result<Option<Blob>, Error>;

    /// Links a blob that `from` has in `to`; `false` when `from` does not have it.
    async fn mount_blob(&self, from: &Name, to: &Name, digest: Digest) -> Result<bool, Error>;

    /// The manifest, if `repository` has it.
    async fn manifest(&self, repository: &Name, digest: Digest) -> Result<Option<StoredManifest>, Error>;

    /// Stores `manifest` and links it in `repository`. That its bytes have this digest, and that what it refers to is
    /// there, is the caller's to check.
    async fn put_manifest(&self, repository: &Name, digest: Digest, manifest: &StoredManifest) -> Result<(), Error>;

    /// What the tag points to.
    async fn tag(&self, repository: &Name, tag: &Tag) -> Result<Option<Digest>, Error>;

    /// Lets the tag point to `digest`, wherever it pointed before.
    async fn put_tag(&self, repository: &Name, tag: &Tag, digest: Digest) -> Result<(), Error>;

    /// At most `limit` tags in byte order, from the first that comes after `after`; `None` when nothing was ever linked
    /// in `repository`.
    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Option<Vec<Tag>>, Error>;

    /// Begins an upload session. The content's digest is expected to be of this algorithm; when it turns out to be of
    /// another, finishing takes longer.
    async fn begin_upload(&self, repository: &Name, algorithm: Algorithm) -> Result<SessionId, Error>;

    /// How many bytes the session has.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`].
    async fn upload_size(&self, repository: &Name, session: &SessionId) -> Result<u64, Error>;

    /// Appends `chunks` to the session, which has to have exactly `at` bytes, if that is given, and returns how many it
    /// has afterwards. When the stream fails, the session keeps what came before that.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::Offset`] before any byte of `chunks` is read; [`Error::UploadBusy`] while
    /// somebody else writes to it; [`Error::Body`] when `chunks` fails.
    async fn append(
        &self,
        repository: &Name,
        session: &SessionId,
        at: Option<u64>,
        chunks: Chunks<'_>,
    ) -> Result<u64, Error>;

    /// Makes a blob of what the session has, and links it in its repository. The session ends with it.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadBusy`]; [`Error::Digest`] when the bytes have another digest, which ends
    /// the session, too.
    async fn finish_upload(&self, repository: &Name, session: &SessionId, digest: Digest) -> Result<(), Error>;

    /// Ends the session and forgets its bytes.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadBusy`].
    async fn cancel_upload(&self, repository: &Name, session: &SessionId) -> Result<(), Error>;
}
