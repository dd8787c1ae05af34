//! A collection that changes nothing.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use crate::digest::{Algorithm, Digest};
use crate::reference::{Name, Tag};
use crate::server::storage::{
    Aside, Blob, Chunks, Condition, Digests, Error, Item, Key, Leftovers, Round, SessionId, Storage, Sweep,
};

/// A storage as it would be if what a collection sets aside and discards were gone. [`collect`](super::collect) over it
/// changes nothing in the storage below, and [`discarded`](Self::discarded) says what would go.
///
/// What an earlier collection has left aside is not seen, nor is what it keeps. All that would go is in memory.
pub struct DryRun {
    storage: Arc<dyn Storage>,
    hidden: Mutex<Hidden>,
}

#[derive(Default)]
struct Hidden {
    aside: BTreeSet<Item>,
    discarded: BTreeSet<Item>,
}

impl DryRun {
    /// What `storage` has, and nothing gone yet.
    #[must_use]
    pub fn over(storage: Arc<dyn Storage>) -> Self {
        Self { storage, hidden: Mutex::default() }
    }

    /// What a collection would have removed.
    #[must_use]
    pub fn discarded(&self) -> Vec<Item> {
        self.hidden().discarded.iter().cloned().collect()
    }

    fn hidden(&self) -> MutexGuard<'_, Hidden> {
        // Insertions and removals only: a panic elsewhere leaves nothing half done.
        self.hidden.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hides(&self, item: &Item) -> bool {
        let hidden = self.hidden();
        hidden.aside.contains(item) || hidden.discarded.contains(item)
    }
}

fn refused<T>() -> Result<T, Error> {
    Err(Error::io("change what is only looked at")(ErrorKind::Unsupported.into()))
}

#[async_trait]
impl Storage for DryRun {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        if self.hides(&key.clone().into()) { Ok(None) } else { self.storage.read(key).await }
    }

    async fn find(&self, item: &Item) -> Result<Option<SystemTime>, Error> {
        if self.hides(item) { Ok(None) } else { self.storage.find(item).await }
    }

    async fn open(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        if self.hides(&Item::Content(digest)) { Ok(None) } else { self.storage.open(digest).await }
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error> {
        self.storage.repositories(after, limit).await
    }

    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error> {
        self.storage.tags(repository, after, limit).await
    }

    async fn digests(
        &self,
        list: &Digests,
        mut after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, SystemTime)>, Error> {
        let mut entries = Vec::new();
        // A page that is not full would say that it is the last one.
        while entries.len() < limit {
            let page = self.storage.digests(list, after, limit - entries.len()).await?;
            let Some((end, _)) = page.last() else { break };
            after = Some(*end);
            entries.extend(page.into_iter().filter(|(digest, _)| !self.hides(&list.item(*digest))));
        }
        Ok(entries)
    }

    async fn subjects(&self, repository: &Name, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, Error> {
        self.storage.subjects(repository, after, limit).await
    }

    async fn set_aside(&self, _round: &Round, item: &Item) -> Result<Option<SystemTime>, Error> {
        let modified = self.find(item).await?;
        if modified.is_some() {
            self.hidden().aside.insert(item.clone());
        }
        Ok(modified)
    }

    async fn restore(&self, item: &Item) -> Result<bool, Error> {
        Ok(self.hidden().aside.remove(item))
    }

    async fn discard(&self, _round: &Round, item: &Item) -> Result<Option<u64>, Error> {
        if !self.hidden().aside.contains(item) {
            return Ok(None);
        }
        let size = match item {
            Item::Record(key) => self.storage.read(key).await?.map(|value| value.len() as u64),
            Item::Content(digest) => self.storage.open(*digest).await?.map(|blob| blob.size()),
        };
        let mut hidden = self.hidden();
        hidden.aside.remove(item);
        hidden.discarded.insert(item.clone());
        Ok(size)
    }

    async fn aside(&self, _limit: usize) -> Result<Vec<Aside>, Error> {
        Ok(Vec::new())
    }

    async fn leftovers(&self, since: SystemTime, _sweep: Sweep) -> Result<Leftovers, Error> {
        self.storage.leftovers(since, Sweep::Count).await
    }

    async fn upload_size(&self, repository: &Name, session: &SessionId) -> Result<u64, Error> {
        self.storage.upload_size(repository, session).await
    }

    async fn write(&self, _key: &Key, _bytes: Bytes, _condition: Condition) -> Result<bool, Error> {
        refused()
    }

    async fn remove(&self, _key: &Key, _condition: Condition) -> Result<bool, Error> {
        refused()
    }

    async fn renew(&self, _item: &Item) -> Result<bool, Error> {
        refused()
    }

    async fn begin_upload(&self, _repository: &Name, _algorithm: Algorithm) -> Result<SessionId, Error> {
        refused()
    }

    async fn append(
        &self,
        _repository: &Name,
        _session: &SessionId,
        _at: Option<u64>,
        _chunks: Chunks<'_>,
    ) -> Result<u64, Error> {
        refused()
    }

    async fn finish_upload(&self, _repository: &Name, _session: &SessionId, _digest: Digest) -> Result<(), Error> {
        refused()
    }

    async fn cancel_upload(&self, _repository: &Name, _session: &SessionId) -> Result<(), Error> {
        refused()
    }
}
