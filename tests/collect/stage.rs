//! A storage that can be stopped, and in which things can be old.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bndlr::server::storage::{
    Aside, Blob, Chunks, Condition, Digests, Error, Item, Key, Leftovers, Round, SessionId, Storage, Sweep,
};
use bytes::Bytes;

use super::*;

/// What happens just before an item is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    SetAside,
    Discard,
}

/// What somebody else does at that moment.
#[derive(Clone, Debug)]
pub enum Then {
    Renew,
    Restore,
    /// Another collection sets this aside.
    SetAside(Item),
    /// This is pushed.
    Write(Key, Bytes),
}

pub struct Stage {
    pub inner: Arc<dyn Storage>,
    /// After so many calls, everything fails, as when the process is gone.
    pub calls: AtomicUsize,
    /// What looks a day older than it is.
    pub old: Mutex<HashSet<Item>>,
    /// What happens just before the item is moved.
    pub meddle: Option<(Before, Item, Then)>,
}

impl Stage {
    pub fn over(inner: Arc<dyn Storage>) -> Self {
        Self { inner, calls: AtomicUsize::new(usize::MAX), old: Mutex::default(), meddle: None }
    }

    fn call(&self) -> Result<&dyn Storage, Error> {
        let left = self.calls.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() {
            Ok(&*self.inner)
        } else {
            Err(Error::Io { what: "go on".to_owned(), source: ErrorKind::Interrupted.into() })
        }
    }

    fn age(&self, item: &Item, modified: SystemTime) -> SystemTime {
        if self.old.lock().unwrap().contains(item) { modified - Duration::from_hours(24) } else { modified }
    }

    async fn meddle(&self, before: Before, item: &Item) {
        let Some((when, which, then)) = &self.meddle else { return };
        if (*when, which) != (before, item) {
            return;
        }
        match then {
            Then::Renew => {
                self.old.lock().unwrap().remove(item);
                assert!(self.inner.renew(item).await.unwrap());
            }
            Then::Restore => assert!(self.inner.restore(item).await.unwrap()),
            Then::SetAside(other) => {
                let round = Round::random().unwrap();
                self.inner.set_aside(&round, other).await.unwrap().unwrap();
            }
            Then::Write(key, bytes) => {
                assert!(self.inner.write(key, bytes.clone(), Condition::Absent).await.unwrap());
            }
        }
    }
}

#[async_trait]
impl Storage for Stage {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        self.call()?.read(key).await
    }

    async fn find(&self, item: &Item) -> Result<Option<SystemTime>, Error> {
        Ok(self.call()?.find(item).await?.map(|modified| self.age(item, modified)))
    }

    async fn write(&self, key: &Key, bytes: Bytes, condition: Condition) -> Result<bool, Error> {
        self.old.lock().unwrap().remove(&key.clone().into());
        self.call()?.write(key, bytes, condition).await
    }

    async fn remove(&self, key: &Key, condition: Condition) -> Result<bool, Error> {
        self.call()?.remove(key, condition).await
    }

    async fn renew(&self, item: &Item) -> Result<bool, Error> {
        self.old.lock().unwrap().remove(item);
        self.call()?.renew(item).await
    }

    async fn open(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        self.call()?.open(digest).await
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error> {
        self.call()?.repositories(after, limit).await
    }

    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error> {
        self.call()?.tags(repository, after, limit).await
    }

    async fn digests(
        &self,
        list: &Digests,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, SystemTime)>, Error> {
        let page = self.call()?.digests(list, after, limit).await?;
        Ok(page.into_iter().map(|(digest, modified)| (digest, self.age(&list.item(digest), modified))).collect())
    }

    async fn subjects(&self, repository: &Name, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, Error> {
        self.call()?.subjects(repository, after, limit).await
    }

    async fn set_aside(&self, round: &Round, item: &Item) -> Result<Option<SystemTime>, Error> {
        self.meddle(Before::SetAside, item).await;
        Ok(self.call()?.set_aside(round, item).await?.map(|modified| self.age(item, modified)))
    }

    async fn restore(&self, item: &Item) -> Result<bool, Error> {
        self.call()?.restore(item).await
    }

    async fn discard(&self, round: &Round, item: &Item) -> Result<Option<u64>, Error> {
        self.meddle(Before::Discard, item).await;
        self.call()?.discard(round, item).await
    }

    async fn aside(&self, limit: usize) -> Result<Vec<Aside>, Error> {
        self.call()?.aside(limit).await
    }

    async fn begin_upload(&self, repository: &Name, algorithm: Algorithm) -> Result<SessionId, Error> {
        self.call()?.begin_upload(repository, algorithm).await
    }

    async fn upload_size(&self, repository: &Name, session: &SessionId) -> Result<u64, Error> {
        self.call()?.upload_size(repository, session).await
    }

    async fn append(
        &self,
        repository: &Name,
        session: &SessionId,
        at: Option<u64>,
        chunks: Chunks<'_>,
    ) -> Result<u64, Error> {
        self.call()?.append(repository, session, at, chunks).await
    }

    async fn finish_upload(&self, repository: &Name, session: &SessionId, digest: Digest) -> Result<(), Error> {
        self.old.lock().unwrap().remove(&Item::Content(digest));
        self.call()?.finish_upload(repository, session, digest).await
    }

    async fn cancel_upload(&self, repository: &Name, session: &SessionId) -> Result<(), Error> {
        self.call()?.cancel_upload(repository, session).await
    }

    async fn leftovers(&self, since: SystemTime, sweep: Sweep) -> Result<Leftovers, Error> {
        self.call()?.leftovers(since, sweep).await
    }
}
