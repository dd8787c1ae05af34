//! A storage in a bucket: of S3 or what is compatible with it, of Google Cloud Storage, or of Azure. Any number of
//! processes may share it.
//!
//! A bucket can do little: it puts an object as a whole, on the condition that there is none or that it is still the one
//! that was read; it deletes without a condition, and renames nothing. So every record is one object, changed by
//! conditional puts (`objects`), which also says what of it is set aside (`object`, `aside`). The bytes of an upload are
//! written where they will stay, under keys of their own, and a content is a record that lists them (`content`). An
//! upload session is a record that is advanced (`uploads`). There are no multipart uploads, so none is left behind.
//!
//! The store has to be consistent: who reads or lists after a write sees it. All three are. Times are those of the store,
//! in whole seconds, so an item may look up to a second older than it is. What has been restored looks young in lists.

mod aside;
mod content;
mod leftovers;
mod listing;
mod object;
mod objects;
mod open;
mod paths;
mod uploads;

use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;

use self::content::Content;
use self::object::{Object, Value};
use self::objects::Objects;
use self::uploads::Uploads;
use super::{Aside, Blob, Chunks, Condition, Digests, Error, Item, Key, Leftovers, Round, SessionId, Storage, Sweep};
use crate::digest::{Algorithm, Digest};
use crate::reference::{Name, Tag};

pub use open::BucketError;

/// A storage in a bucket.
pub struct Bucket {
    objects: Objects,
    uploads: Uploads,
}

impl Bucket {
    fn of(objects: Objects) -> Self {
        Self { uploads: Uploads::new(objects.clone()), objects }
    }
}

fn value(object: &Object) -> Option<&[u8]> {
    object.live.as_ref().map(|value| &value.bytes[..])
}

#[async_trait]
impl Storage for Bucket {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        let found = self.objects.get(&paths::record(key)).await?;
        Ok(found.and_then(|found| found.object.live).map(|value| value.bytes))
    }

    async fn find(&self, item: &Item) -> Result<Option<SystemTime>, Error> {
        self.objects.modified(&paths::item(item)).await
    }

    async fn write(&self, key: &Key, bytes: Bytes, condition: Condition) -> Result<bool, Error> {
        // Most records are new, and what is conditional on a value is not.
        let is_new = !matches!(condition, Condition::Is(_));
        let write = |object: Object| {
            let holds = condition.holds(value(&object));
            (holds.then(|| Object { live: Some(Value::new(bytes.clone())), ..object }), holds)
        };
        self.objects.change(&paths::record(key), is_new, write).await
    }

    async fn remove(&self, key: &Key, condition: Condition) -> Result<bool, Error> {
        let remove = |object: Object| {
            let removes = object.live.is_some() && condition.holds(value(&object));
            (removes.then(|| Object { live: None, ..object }), removes)
        };
        self.objects.change(&paths::record(key), false, remove).await
    }

    async fn renew(&self, item: &Item) -> Result<bool, Error> {
        let renew = |object: Object| match object.live {
            Some(Value { bytes, .. }) => (Some(Object { live: Some(Value::new(bytes)), ..object }), true),
            None => (None, false),
        };
        self.objects.change(&paths::item(item), false, renew).await
    }

    async fn open(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        let found = self.objects.get(&paths::content(digest)).await?;
        let Some(value) = found.and_then(|found| found.object.live) else { return Ok(None) };
        let content = Content::decode(&value.bytes).ok_or_else(|| Error::Damaged(format!("content {digest}")))?;
        Ok(Some(content.open(self.objects.clone())))
    }

    async fn open_linked(&self, link: &Key, digest: Digest) -> Result<Option<(SystemTime, Blob)>, Error> {
        let link = Item::from(link.clone());
        // Each takes as long as a request to the store does.
        let (modified, blob) = futures::try_join!(self.find(&link), self.open(digest))?;
        Ok(modified.zip(blob))
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error> {
        listing::repositories(&self.objects, after, limit).await
    }

    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error> {
        listing::tags(&self.objects, repository, after, limit).await
    }

    async fn digests(
        &self,
        list: &Digests,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, SystemTime)>, Error> {
        listing::digests(&self.objects, list, after, limit).await
    }

    async fn subjects(&self, repository: &Name, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, Error> {
        listing::subjects(&self.objects, repository, after, limit).await
    }

    async fn set_aside(&self, round: &Round, item: &Item) -> Result<Option<SystemTime>, Error> {
        aside::set_aside(&self.objects, round, item).await
    }

    async fn restore(&self, item: &Item) -> Result<bool, Error> {
        aside::restore(&self.objects, item).await
    }

    async fn discard(&self, round: &Round, item: &Item) -> Result<Option<u64>, Error> {
        aside::discard(&self.objects, round, item).await
    }

    async fn aside(&self, limit: usize) -> Result<Vec<Aside>, Error> {
        aside::list(&self.objects, limit).await
    }

    async fn begin_upload(&self, repository: &Name, algorithm: Algorithm) -> Result<SessionId, Error> {
        self.uploads.begin(repository, algorithm).await
    }

    async fn upload_size(&self, repository: &Name, session: &SessionId) -> Result<u64, Error> {
        self.uploads.size(repository, session).await
    }

    async fn append(
        &self,
        repository: &Name,
        session: &SessionId,
        at: Option<u64>,
        chunks: Chunks<'_>,
    ) -> Result<u64, Error> {
        self.uploads.append(repository, session, at, chunks).await
    }

    async fn finish_upload(&self, repository: &Name, session: &SessionId, digest: Digest) -> Result<(), Error> {
        self.uploads.finish(repository, session, digest).await
    }

    async fn cancel_upload(&self, repository: &Name, session: &SessionId) -> Result<(), Error> {
        self.uploads.cancel(repository, session).await
    }

    async fn leftovers(&self, since: SystemTime, sweep: Sweep) -> Result<Leftovers, Error> {
        leftovers::find(&self.uploads, &self.objects, since, sweep).await
    }
}
