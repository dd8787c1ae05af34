//! Where a registry keeps things: one trait, and what passes through it.
//!
//! [`Filesystem`], `Bucket` and [`Memory`] implement [`Storage`]; `tests/storage_conformance` holds every implementation
//! against the contract that stands here. A storage is dumb: what its records mean to each other is left to
//! `repositories`, what may go to the collection, and who may ask to the rest of `server`.

mod blob;
#[cfg(feature = "object-store")]
mod bucket;
mod error;
mod filesystem;
mod key;
mod memory;
mod progress;
mod recent;
mod session;

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use blob::{Blob, RemoteBlob};
#[cfg(feature = "object-store")]
pub use bucket::{Bucket, BucketError};
pub use error::{Error, OpenError};
pub use filesystem::Filesystem;
pub use key::{Aside, Condition, Digests, InvalidRound, Item, Key, Leftovers, Round, Sweep};
pub use memory::Memory;
pub use session::{InvalidSession, SessionId};

use crate::digest::{Algorithm, Digest};
use crate::reference::{Name, Tag};

/// Any error of somebody else.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The bytes of a chunk as they come in. An error ends the stream.
pub type Chunks<'a> = BoxStream<'a, Result<Bytes, BoxError>>;

/// Keeps the records, contents and upload sessions of a registry.
///
/// *Records* are small values under a [`Key`]. *Contents* are blobs of any size under their digest, once for the whole
/// registry. *Upload sessions* become contents. The storage draws no conclusions from one to another: a content may be
/// there without a link to it, and a link without the content.
///
/// # What holds, whatever happens
///
/// - *Whole or not at all.* A content is found only after all of its bytes are there and have been held against its
///   digest. Nobody sees a part of a content or of a record.
/// - *Kept.* When a method that changes something returns `Ok`, the change outlives the death of the process at any
///   moment and, where the medium allows it, a loss of power. Upload sessions, renewals, and what is set aside need to
///   outlive the process only.
/// - *One at a time.* Any number of tasks, and of processes over the same medium, may call any method at once. Each
///   record and content is changed on its own. A [`Condition`] is examined and the change made in one step: of many
///   writers whose condition only one of them can meet, one succeeds.
/// - *Dropped futures* leave nothing behind but what the method had finished or will finish on its own, and perhaps an
///   upload session with some of the bytes.
///
/// # Set aside
///
/// A garbage collection cannot look everywhere at once. So what looks dead is [set aside](Self::set_aside), then looked
/// at again, and then [restored](Self::restore) or [discarded](Self::discard). What is aside is found by no other
/// method, but anybody may restore it, as whoever misses something does. Each collection sets aside under a [`Round`] of
/// its own, and nothing twice in one round: so what is discarded in a round was aside all the time since it was seen
/// there. While it is moved to or fro, an item is always in one of the two places, or in both.
///
/// # Upload sessions
///
/// A session belongs to one repository, and is unknown in every other. It only grows, by [`append`](Self::append), and
/// ends with [`finish_upload`](Self::finish_upload) or [`cancel_upload`](Self::cancel_upload). Any process over the same
/// medium may go on with it.
///
/// # Lists
///
/// Lists are in order and come in pages: at most `limit` entries after `after`. A page that is not full is the last one.
/// What is written or removed meanwhile may be in a list or not; all else is. Memory is bounded by the page, and by the
/// number of repositories in one folder.
///
/// # Errors
///
/// What is not there is `None` or `false`, or [`Error::UploadUnknown`] for a session. [`Error::Io`] and
/// [`Error::Damaged`] can come from every method; they are no fault of the client, and are not for its eyes.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The record's value.
    async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error>;

    /// When the item was last written or renewed, if it is there.
    async fn find(&self, item: &Item) -> Result<Option<SystemTime>, Error>;

    /// Writes the record, if `condition` holds; else nothing is changed, and this is `false`. A [`Key::Blob`] has no
    /// bytes.
    async fn write(&self, key: &Key, bytes: Bytes, condition: Condition) -> Result<bool, Error>;

    /// Removes the record; `false` when it was not there, or `condition` does not hold.
    async fn remove(&self, key: &Key, condition: Condition) -> Result<bool, Error>;

    /// Lets the item be as if it had been written now; `false` when it is not there.
    async fn renew(&self, item: &Item) -> Result<bool, Error>;

    /// The content. What has been opened can be read to its end, whatever happens meanwhile.
    async fn open(&self, digest: Digest) -> Result<Option<Blob>, Error>;

    /// The content, if the record `link` is there, too, and when that was last written or renewed. A storage that can
    /// do it in one go does.
    async fn open_linked(&self, link: &Key, digest: Digest) -> Result<Option<(SystemTime, Blob)>, Error> {
        let Some(modified) = self.find(&link.clone().into()).await? else { return Ok(None) };
        Ok(self.open(digest).await?.map(|blob| (modified, blob)))
    }

    /// The repositories that have a record, in byte order. One whose last record is gone may be among them for a while.
    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error>;

    /// The tags of a repository, in byte order.
    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error>;

    /// The digests of a list, in order, and when each item was last written or renewed.
    async fn digests(
        &self,
        list: &Digests,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, SystemTime)>, Error>;

    /// The subjects in a repository that have a [`Key::Referrer`], in order. One whose last referrer is gone may be
    /// among them for a while.
    async fn subjects(&self, repository: &Name, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, Error>;

    /// Sets the item aside and returns when it was last written or renewed; `None` when it is not there.
    async fn set_aside(&self, round: &Round, item: &Item) -> Result<Option<SystemTime>, Error>;

    /// Puts the item back, in whichever round it was set aside; `false` when it is not aside. What has been written
    /// there meanwhile stays.
    async fn restore(&self, item: &Item) -> Result<bool, Error>;

    /// Removes the item that was set aside in this round, and returns how many bytes it had; `None` when it is not
    /// there any more. Of a [`restore`](Self::restore) at the same time and this, only one finds it.
    async fn discard(&self, round: &Round, item: &Item) -> Result<Option<u64>, Error>;

    /// At most `limit` of the items that are aside, of any round, in any order.
    async fn aside(&self, limit: usize) -> Result<Vec<Aside>, Error>;

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

    /// Makes a content of what the session has, as if it had all been written now. The session ends with it. The
    /// content is linked nowhere.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadBusy`]; [`Error::Digest`] when the bytes have another digest, which ends
    /// the session, too.
    async fn finish_upload(&self, repository: &Name, session: &SessionId, digest: Digest) -> Result<(), Error>;

    /// The same, and then the record `link`, which is written as it may be and has no bytes. A storage that can do it in
    /// one go does.
    ///
    /// # Errors
    /// Those of [`finish_upload`](Self::finish_upload).
    async fn finish_linked(
        &self,
        repository: &Name,
        session: &SessionId,
        digest: Digest,
        link: &Key,
    ) -> Result<(), Error> {
        self.finish_upload(repository, session, digest).await?;
        self.write(link, Bytes::new(), Condition::Any).await.map(drop)
    }

    /// Ends the session and forgets its bytes.
    ///
    /// # Errors
    /// [`Error::UploadUnknown`]; [`Error::UploadBusy`].
    async fn cancel_upload(&self, repository: &Name, session: &SessionId) -> Result<(), Error>;

    /// Looks for upload sessions, and for other work of processes that were killed, that nobody has written to since
    /// `since`. What somebody is writing to is left alone.
    async fn leftovers(&self, since: SystemTime, sweep: Sweep) -> Result<Leftovers, Error>;
}
