//! A storage in memory: for tests and demonstrations. It is gone with the process, has no bound, and goes through all
//! it has to make a list.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

use super::{Aside, Blob, Chunks, Condition, Digests, Error, Item, Key, Leftovers, Round, SessionId, Storage, Sweep};
use crate::digest::{Algorithm, Digest, Hasher, Mismatch};
use crate::reference::{Name, Tag};

/// A storage in memory.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Clone)]
struct Kept {
    bytes: Bytes,
    /// When it was last written or renewed.
    modified: SystemTime,
}

#[derive(Default)]
struct State {
    items: BTreeMap<Item, Kept>,
    aside: BTreeMap<(Round, Item), Kept>,
    uploads: HashMap<(Name, SessionId), Arc<Upload>>,
}

struct Upload {
    size: AtomicU64,
    /// When somebody last wrote. Who only wants to know does not lock what is written to: the next request would find it busy.
    modified: Mutex<SystemTime>,
    /// Locked by whoever writes; `None` once the session has ended.
    received: tokio::sync::Mutex<Option<Received>>,
}

struct Received {
    bytes: BytesMut,
    hasher: Hasher,
    algorithm: Algorithm,
}

impl Upload {
    fn touch(&self) {
        *self.modified.lock().unwrap_or_else(PoisonError::into_inner) = SystemTime::now();
    }

    fn is_abandoned(&self, since: SystemTime) -> bool {
        *self.modified.lock().unwrap_or_else(PoisonError::into_inner) < since
    }
}

impl Memory {
    /// A storage with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is made of insertions and removals that mean something on their own, so a panic elsewhere
        // cannot have left the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upload(&self, repository: &Name, session: &SessionId) -> Result<Arc<Upload>, Error> {
        let key = (repository.clone(), session.clone());
        self.state().uploads.get(&key).cloned().ok_or_else(|| Error::UploadUnknown(session.clone()))
    }

    /// Ends the session, and returns what it has received.
    fn end_upload(&self, repository: &Name, session: &SessionId) -> Result<Received, Error> {
        let upload = self.upload(repository, session)?;
        let mut received = upload.received.try_lock().map_err(|_| Error::UploadBusy(session.clone()))?;
        let received = received.take().ok_or_else(|| Error::UploadUnknown(session.clone()))?;
        self.state().uploads.remove(&(repository.clone(), session.clone()));
        Ok(received)
    }
}

impl State {
    fn holds(&self, item: &Item, condition: &Condition) -> bool {
        condition.holds(self.items.get(item).map(|record| &record.bytes[..]))
    }

    fn insert(&mut self, item: Item, bytes: Bytes) {
        self.items.insert(item, Kept { bytes, modified: SystemTime::now() });
    }
}

/// The page of a list that has all entries in order.
fn page<T>(all: impl Iterator<Item = T>, limit: usize, is_after: impl Fn(&T) -> bool) -> Vec<T> {
    all.filter(is_after).take(limit).collect()
}

#[async_trait]
impl Storage for Memory {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        Ok(self.state().items.get(&key.clone().into()).map(|record| record.bytes.clone()))
    }

    async fn find(&self, item: &Item) -> Result<Option<SystemTime>, Error> {
        Ok(self.state().items.get(item).map(|record| record.modified))
    }

    async fn write(&self, key: &Key, bytes: Bytes, condition: Condition) -> Result<bool, Error> {
        let (mut state, item) = (self.state(), Item::from(key.clone()));
        let holds = state.holds(&item, &condition);
        if holds {
            state.insert(item, bytes);
        }
        Ok(holds)
    }

    async fn remove(&self, key: &Key, condition: Condition) -> Result<bool, Error> {
        let (mut state, item) = (self.state(), Item::from(key.clone()));
        Ok(state.holds(&item, &condition) && state.items.remove(&item).is_some())
    }

    async fn renew(&self, item: &Item) -> Result<bool, Error> {
        let renewed = self.state().items.get_mut(item).map(|record| record.modified = SystemTime::now());
        Ok(renewed.is_some())
    }

    async fn open(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        Ok(self.state().items.get(&Item::Content(digest)).map(|content| Blob::of_bytes(content.bytes.clone())))
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error> {
        let state = self.state();
        let names: BTreeSet<&Name> = state
            .items
            .keys()
            .filter_map(|item| match item {
                Item::Content(_) => None,
                Item::Record(
                    Key::Blob(name, _) | Key::Manifest(name, _) | Key::Tag(name, _) | Key::Referrer(name, ..),
                ) => Some(name),
            })
            .collect();
        Ok(page(names.into_iter().cloned(), limit, |name| after.is_none_or(|after| name.as_str() > after)))
    }

    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error> {
        let state = self.state();
        let tags = state.items.keys().filter_map(|item| match item {
            Item::Record(Key::Tag(name, tag)) if name == repository => Some(tag.clone()),
            _ => None,
        });
        Ok(page(tags, limit, |tag| after.is_none_or(|after| tag.as_str() > after)))
    }

    async fn digests(
        &self,
        list: &Digests,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, SystemTime)>, Error> {
        let state = self.state();
        let entries = state.items.iter().filter_map(|(item, record)| {
            let (Item::Content(digest)
            | Item::Record(Key::Blob(_, digest) | Key::Manifest(_, digest) | Key::Referrer(_, _, digest))) = item
            else {
                return None;
            };
            (list.item(*digest) == *item).then_some((*digest, record.modified))
        });
        Ok(page(entries, limit, |(digest, _)| after.is_none_or(|after| *digest > after)))
    }

    async fn subjects(&self, repository: &Name, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, Error> {
        let state = self.state();
        let subjects: BTreeSet<Digest> = state
            .items
            .keys()
            .filter_map(|item| match item {
                Item::Record(Key::Referrer(name, subject, _)) if name == repository => Some(*subject),
                _ => None,
            })
            .collect();
        Ok(page(subjects.into_iter(), limit, |subject| after.is_none_or(|after| *subject > after)))
    }

    async fn set_aside(&self, round: &Round, item: &Item) -> Result<Option<SystemTime>, Error> {
        let mut state = self.state();
        let Some(record) = state.items.remove(item) else { return Ok(None) };
        let modified = record.modified;
        state.aside.insert((round.clone(), item.clone()), record);
        Ok(Some(modified))
    }

    async fn restore(&self, item: &Item) -> Result<bool, Error> {
        let mut state = self.state();
        let mut found: Vec<_> = state.aside.extract_if(.., |(_, aside), _| aside == item).collect();
        let Some((_, record)) = found.pop() else { return Ok(false) };
        state.items.entry(item.clone()).or_insert(record);
        Ok(true)
    }

    async fn discard(&self, round: &Round, item: &Item) -> Result<Option<u64>, Error> {
        let discarded = self.state().aside.remove(&(round.clone(), item.clone()));
        Ok(discarded.map(|record| record.bytes.len() as u64))
    }

    async fn aside(&self, limit: usize) -> Result<Vec<Aside>, Error> {
        let state = self.state();
        let aside = state.aside.iter().map(|((round, item), record)| Aside {
            round: round.clone(),
            item: item.clone(),
            modified: record.modified,
        });
        Ok(aside.take(limit).collect())
    }

    async fn begin_upload(&self, repository: &Name, algorithm: Algorithm) -> Result<SessionId, Error> {
        let session = SessionId::random().map_err(Error::io("name an upload session"))?;
        let received = Received { bytes: BytesMut::new(), hasher: Hasher::new(algorithm), algorithm };
        let upload = Upload {
            size: AtomicU64::new(0),
            modified: Mutex::new(SystemTime::now()),
            received: tokio::sync::Mutex::new(Some(received)),
        };
        self.state().uploads.insert((repository.clone(), session.clone()), Arc::new(upload));
        Ok(session)
    }

    async fn upload_size(&self, repository: &Name, session: &SessionId) -> Result<u64, Error> {
        Ok(self.upload(repository, session)?.size.load(Ordering::Acquire))
    }

    async fn append(
        &self,
        repository: &Name,
        session: &SessionId,
        at: Option<u64>,
        mut chunks: Chunks<'_>,
    ) -> Result<u64, Error> {
        let upload = self.upload(repository, session)?;
        let mut received = upload.received.try_lock().map_err(|_| Error::UploadBusy(session.clone()))?;
        let received = received.as_mut().ok_or_else(|| Error::UploadUnknown(session.clone()))?;
        let size = received.bytes.len() as u64;
        if let Some(found) = at.filter(|&at| at != size) {
            return Err(Error::Offset { expected: size, found });
        }
        while let Some(chunk) = chunks.try_next().await.map_err(Error::Body)? {
            received.hasher.update(&chunk);
            received.bytes.extend_from_slice(&chunk);
            upload.touch();
            upload.size.store(received.bytes.len() as u64, Ordering::Release);
        }
        Ok(received.bytes.len() as u64)
    }

    async fn finish_upload(&self, repository: &Name, session: &SessionId, digest: Digest) -> Result<(), Error> {
        let Received { bytes, hasher, algorithm, .. } = self.end_upload(repository, session)?;
        let expected = digest.algorithm();
        let found = if algorithm == expected { hasher.finish() } else { expected.digest(&bytes) };
        if found != digest {
            return Err(Mismatch::Digest { expected: digest, found }.into());
        }
        self.state().insert(Item::Content(digest), bytes.freeze());
        Ok(())
    }

    async fn cancel_upload(&self, repository: &Name, session: &SessionId) -> Result<(), Error> {
        self.end_upload(repository, session).map(drop)
    }

    async fn leftovers(&self, since: SystemTime, sweep: Sweep) -> Result<Leftovers, Error> {
        let mut found = Leftovers::default();
        self.state().uploads.retain(|_, upload| {
            if !upload.is_abandoned(since) {
                return true;
            }
            // What is locked is being written to, and somebody may have done so just now.
            let Ok(mut received) = upload.received.try_lock() else { return true };
            let Some(abandoned) = received.as_ref().filter(|_| upload.is_abandoned(since)) else { return true };
            found.uploads += 1;
            found.bytes += abandoned.bytes.len() as u64;
            if sweep == Sweep::Remove {
                *received = None;
            }
            sweep == Sweep::Count
        });
        Ok(found)
    }
}
