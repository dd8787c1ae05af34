//! Objects in a bucket: read, changed by conditional puts, deleted, and listed.
//!
//! # Deleting
//!
//! Nothing can be deleted on a condition. So an object is first replaced by one that says that it is gone, which is when
//! it ceases to be there, and that is deleted at once. Who wants to write under the key meanwhile waits until it is
//! deleted; or, when whoever should do it has been killed, for [`PATIENCE`], which is much longer than a delete can take
//! effect after it was asked for.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::StreamExt;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, UpdateVersion,
};
use tokio::time::Instant;

use super::super::{BoxError, Error};
use super::object::{self, Object, TooFew};

/// How long an object that is gone may be in the way.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a delete may take.
const DELETE_LIMIT: Duration = Duration::from_secs(10);
/// How many bytes are read where only the first line of an object is wanted. Nearly all lines are shorter.
const START: u64 = 512;
/// How many keys are asked for at once.
const PAGE: usize = 1000;
/// How often a change is tried, when others are always faster.
const ATTEMPTS: u32 = 1000;

/// What can be done with a bucket.
pub(super) trait Store: ObjectStore + PaginatedListStore {}

impl<T: ObjectStore + PaginatedListStore> Store for T {}

/// The objects below a prefix of a bucket. Cloning it gives another hold of the same ones.
#[derive(Clone, Debug)]
pub(super) struct Objects {
    store: Arc<dyn Store>,
    /// Empty, or ends with a slash.
    prefix: Arc<str>,
}

/// An object as it was found.
#[derive(Clone, Debug)]
pub(super) struct Found {
    id: String,
    version: UpdateVersion,
    pub(super) object: Object,
}

impl Found {
    /// Whether it is about to be deleted.
    fn is_gone(&self) -> bool {
        self.object.is_empty()
    }
}

/// A key in a list.
pub(super) enum Entry<'a> {
    /// Of an object.
    Object(&'a ObjectMeta),
    /// Of objects that have this much in common.
    Folder,
}

impl Objects {
    /// `prefix` has no slash at either end.
    pub(super) fn new(store: Arc<dyn Store>, prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Self { store, prefix: prefix.into() }
    }

    fn location(&self, path: &str) -> Path {
        Path::from(format!("{}{path}", self.prefix))
    }

    /// The object. One that is gone is found, too.
    pub(super) async fn get(&self, path: &str) -> Result<Option<Found>, Error> {
        let failed = |error: StoreError| Error::io(format_args!("read {path}"))(error.into());
        let found = match self.store.get_opts(&self.location(path), GetOptions::default()).await {
            Err(StoreError::NotFound { .. }) => return Ok(None),
            found => found,
        };
        let read = async {
            let found = found?;
            let meta = found.meta.clone();
            Ok((meta, found.bytes().await?))
        };
        let (meta, bytes) = read.await.map_err(failed)?;
        let (id, object) =
            Object::decode(&bytes, written(&meta)).ok_or_else(|| Error::Damaged(format!("object {path}")))?;
        Ok(Some(Found { id, version: UpdateVersion { e_tag: meta.e_tag, version: meta.version }, object }))
    }

    /// When the value was last written or renewed, if there is one.
    pub(super) async fn modified(&self, path: &str) -> Result<Option<SystemTime>, Error> {
        let options = GetOptions { range: Some(GetRange::Bounded(0..START)), ..GetOptions::default() };
        let read = async {
            let found = self.store.get_opts(&self.location(path), options).await?;
            let written = written(&found.meta);
            Ok(object::modified(&found.bytes().await?, written))
        };
        match read.await {
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(Error::io(format_args!("find {path}"))(error.into())),
            Ok(Ok(modified)) => Ok(modified),
            Ok(Err(TooFew)) => {
                let found = self.get(path).await?;
                Ok(found.and_then(|found| found.object.live?.modified))
            }
        }
    }

    /// Puts `object` where `found` is, or nothing; `None` when something else is there by now.
    pub(super) async fn replace(
        &self,
        path: &str,
        found: Option<&Found>,
        object: Object,
    ) -> Result<Option<Found>, Error> {
        let failed = |error: io::Error| Error::io(format_args!("write {path}"))(error);
        let (id, bytes) = object.encode().map_err(failed)?;
        let mode = found.map_or(PutMode::Create, |found| PutMode::Update(found.version.clone()));
        match self.store.put_opts(&self.location(path), bytes.into(), mode.into()).await {
            Ok(put) => Ok(Some(Found { id, version: put.into(), object })),
            // A put whose answer was lost is repeated, and then meets what it has written itself.
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                Ok(self.get(path).await?.filter(|found| found.id == id))
            }
            Err(error) => Err(failed(error.into())),
        }
    }

    /// Changes an object in one step. `decide` gets what is there, and says what is to be there, if that is anything
    /// else, and what comes of it. It may be asked again.
    ///
    /// Where there is probably nothing, `is_new` saves a look.
    pub(super) async fn change<T>(
        &self,
        path: &str,
        is_new: bool,
        decide: impl Fn(Object) -> (Option<Object>, T) + Send + Sync,
    ) -> Result<T, Error> {
        let (mut found, mut waiting) = (if is_new { None } else { self.get(path).await? }, None);
        for attempt in 0..ATTEMPTS {
            let (next, outcome) = decide(found.as_ref().map(|found| found.object.clone()).unwrap_or_default());
            let is_done = match (&found, next) {
                (_, None) => true,
                (None, Some(next)) => next.is_empty() || self.replace(path, None, next).await?.is_some(),
                (Some(gone), Some(next)) if gone.is_gone() => {
                    next.is_empty()
                        || waited(&mut waiting, gone).await && self.replace(path, Some(gone), next).await?.is_some()
                }
                (Some(found), Some(next)) if next.is_empty() => self.bury(path, found.clone()).await?,
                (Some(found), Some(next)) => self.replace(path, Some(found), next).await?.is_some(),
            };
            if is_done {
                return Ok(outcome);
            }
            if attempt > 0 {
                tokio::time::sleep(Duration::from_millis(u64::from(attempt.min(20)))).await;
            }
            found = self.get(path).await?;
        }
        Err(Error::io(format_args!("change {path}"))(io::ErrorKind::ResourceBusy.into()))
    }

    /// Lets what was found be gone, and deletes it; `false` when something else is there by now.
    ///
    /// Once it is gone, it is deleted even if nobody waits for it any more.
    async fn bury(&self, path: &str, found: Found) -> Result<bool, Error> {
        let (objects, path) = (self.clone(), path.to_owned());
        let task = tokio::spawn(async move {
            let is_gone = objects.replace(&path, Some(&found), Object::default()).await?.is_some();
            if is_gone {
                // If this fails, it is gone all the same: see the top of this file.
                let _ = tokio::time::timeout(DELETE_LIMIT, objects.delete(&path)).await;
            }
            Ok(is_gone)
        });
        task.await.unwrap_or_else(|error| Err(Error::io("run a task")(io::Error::other(error))))
    }

    /// Deletes what is gone, and has not been deleted.
    pub(super) async fn clear(&self, path: &str) -> Result<(), Error> {
        match self.get(path).await? {
            Some(found) if found.is_gone() => self.bury(path, found).await.map(drop),
            _ => Ok(()),
        }
    }

    /// Writes under a key that nobody else writes to.
    pub(super) async fn put(&self, path: &str, bytes: Bytes) -> Result<(), Error> {
        let put = self.store.put(&self.location(path), bytes.into()).await;
        put.map(drop).map_err(|error| Error::io(format_args!("write {path}"))(error.into()))
    }

    /// Deletes what is under a key that nobody else writes to, if there is anything.
    pub(super) async fn delete(&self, path: &str) -> Result<(), Error> {
        match self.store.delete(&self.location(path)).await {
            Err(StoreError::NotFound { .. }) => Ok(()),
            deleted => deleted.map_err(|error| Error::io(format_args!("delete {path}"))(error.into())),
        }
    }

    /// Some bytes of an object that is what it is, as they come.
    pub(super) async fn stream(
        &self,
        path: &str,
        range: std::ops::Range<u64>,
    ) -> Result<futures::stream::BoxStream<'static, Result<Bytes, BoxError>>, BoxError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let found = self.store.get_opts(&self.location(path), options).await?;
        Ok(found.into_stream().map(|chunk| chunk.map_err(BoxError::from)).boxed())
    }

    /// At most `limit` of what `pick` makes of the keys below `place`, in order, from `after` on. With `folders`, keys
    /// that have a slash after `place` count only up to that, and only once.
    pub(super) async fn list<T>(
        &self,
        place: &str,
        folders: bool,
        after: Option<&str>,
        limit: usize,
        mut pick: impl FnMut(&str, Entry<'_>) -> Option<T> + Send,
    ) -> Result<Vec<T>, Error> {
        let place = format!("{}{place}", self.prefix);
        let mut options = PaginatedListOptions {
            offset: after.map(|after| format!("{place}{after}")),
            delimiter: folders.then_some("/".into()),
            ..PaginatedListOptions::default()
        };
        let mut page = Vec::new();
        while page.len() < limit {
            options.max_keys = Some(PAGE.min(limit - page.len()));
            let found = self.store.list_paginated(Some(&place), options.clone()).await;
            let found = found.map_err(|error| Error::io(format_args!("list {place}"))(error.into()))?;
            for folder in &found.result.common_prefixes {
                page.extend(below(folder, &place).and_then(|name| pick(name, Entry::Folder)));
            }
            for meta in &found.result.objects {
                page.extend(below(&meta.location, &place).and_then(|name| pick(name, Entry::Object(meta))));
            }
            options.page_token = found.page_token;
            if options.page_token.is_none() {
                break;
            }
        }
        Ok(page)
    }
}

fn below<'a>(location: &'a Path, place: &str) -> Option<&'a str> {
    location.as_ref().strip_prefix(place)
}

/// Waits a moment. `true` when what is gone has been in the way for so long that nobody is about to delete it.
async fn waited(waiting: &mut Option<(String, Instant)>, gone: &Found) -> bool {
    match waiting {
        Some((id, since)) if *id == gone.id => {
            let pause = (since.elapsed() / 2).clamp(Duration::from_millis(5), Duration::from_secs(1));
            tokio::time::sleep(pause).await;
            since.elapsed() >= PATIENCE
        }
        _ => {
            *waiting = Some((gone.id.clone(), Instant::now()));
            false
        }
    }
}

/// When the object was written, in seconds: some answers of a store say it no more precisely, and all have to agree.
pub(super) fn written(meta: &ObjectMeta) -> SystemTime {
    let seconds = u64::try_from(meta.last_modified.timestamp()).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}
