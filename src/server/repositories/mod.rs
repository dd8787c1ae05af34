//! What the records of a storage mean: repositories with blobs, manifests, tags and referrers.
//!
//! All that there is to know about how records depend on each other is here, once for every storage; `tests/repositories.rs`
//! says what it comes to. How a request asks for it is left to the files of the resources, and what nobody needs any
//! more to the garbage collection.
//!
//! # Beside a collection
//!
//! A garbage collection sets aside what looks dead, looks again at what could keep it alive, and then discards it. So
//! whoever writes here writes first, and then looks whether what that depends on is there; and *a miss looks aside*:
//! what is not found is restored if it was only set aside. Either the collection sees what was written, or the writer
//! sees what is missing. What was written is acknowledged only after that look.

mod blobs;
mod error;
mod manifests;
mod pushing;
mod tags;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::storage::{Chunks, Error, Item, SessionId, Storage};
use crate::digest::Algorithm;
use crate::reference::Name;

pub use crate::content::TagCondition;
pub use error::{Missing, PutError};
pub use manifests::StoredManifest;
pub use pushing::Push;
pub(super) use tags::parse as tag_target;

/// How old a link may be before a look at it renews it: renewing costs a write, and a collection's grace is much longer.
const RENEW_AFTER: Duration = Duration::from_mins(10);

/// The repositories of a registry. Cloning it gives another hold of the same ones.
#[derive(Clone)]
pub struct Repositories {
    storage: Arc<dyn Storage>,
    allow_missing_blobs: bool,
}

impl Repositories {
    /// The repositories that are kept in `storage`.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, allow_missing_blobs: false }
    }

    /// Whether a manifest may be put before what it refers to, which mirrors want. It may not unless this is called.
    #[must_use]
    pub fn allow_missing_blobs(mut self, allow: bool) -> Self {
        self.allow_missing_blobs = allow;
        self
    }

    /// Where they are kept.
    pub(super) fn storage(&self) -> &dyn Storage {
        &*self.storage
    }

    /// The repositories that have anything, in byte order: at most `limit` after `after`.
    pub async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error> {
        self.storage.repositories(after, limit).await
    }

    /// Begins an upload session: see [`Storage::begin_upload`].
    pub async fn begin_upload(&self, name: &Name, algorithm: Algorithm) -> Result<SessionId, Error> {
        self.storage.begin_upload(name, algorithm).await
    }

    /// How many bytes the session has: see [`Storage::upload_size`].
    pub async fn upload_size(&self, name: &Name, session: &SessionId) -> Result<u64, Error> {
        self.storage.upload_size(name, session).await
    }

    /// Appends to the session: see [`Storage::append`].
    pub async fn append(
        &self,
        name: &Name,
        session: &SessionId,
        at: Option<u64>,
        chunks: Chunks<'_>,
    ) -> Result<u64, Error> {
        self.storage.append(name, session, at, chunks).await
    }

    /// Ends the session and forgets its bytes: see [`Storage::cancel_upload`].
    pub async fn cancel_upload(&self, name: &Name, session: &SessionId) -> Result<(), Error> {
        self.storage.cancel_upload(name, session).await
    }

    /// Whether the item is there, after a look aside.
    async fn exists(&self, item: &Item) -> Result<bool, Error> {
        if self.storage.find(item).await?.is_some() {
            return Ok(true);
        }
        // If nothing is aside any more, that may be because somebody else has just restored it.
        Ok(self.storage.restore(item).await? || self.storage.find(item).await?.is_some())
    }

    /// Lets an item that was found be young again, so that no collection takes it from who relies on it.
    async fn renew(&self, item: &Item, modified: SystemTime) -> Result<(), Error> {
        let is_old = modified.elapsed().is_ok_and(|age| age > RENEW_AFTER);
        if is_old && !self.storage.renew(item).await? && self.storage.restore(item).await? {
            self.storage.renew(item).await?;
        }
        Ok(())
    }
}
