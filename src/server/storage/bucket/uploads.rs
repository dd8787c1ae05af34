//! Upload sessions. A session is one object that says what has been received; whoever goes on with it advances that by a
//! conditional put, so of two that write at once in different processes one is refused. What it received is written where
//! it will stay.
//!
//! When a session ends, its object says what becomes of the data below its name, before anything is done about it. So
//! data always have an object that speaks for them: the content that consists of them, or the session. See `leftovers`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::{self, FutureExt};
use futures::stream::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::super::progress::{Hashers, Progress};
use super::super::{BoxError, Chunks, Error, SessionId};
use super::content::{self, Content};
use super::object::{Object, Value};
use super::objects::{Found, Objects};
use super::paths;
use crate::digest::{Algorithm, Digest, Hasher, Mismatch};
use crate::reference::Name;

/// How many bytes of an upload become a part. Twice as many are in memory.
const PART: usize = 8 * 1024 * 1024;
/// After how long what was received becomes a part though it is less, so that nobody takes the session for abandoned.
const LONGEST_PART: Duration = Duration::from_mins(10);
/// How long it may take, once a session has ended, until its content is there. It is much less than
/// [`leftovers`](super::leftovers) wait before they take the data for nobody's.
pub(super) const FINISH_LIMIT: Duration = Duration::from_mins(2);

/// What the object of a session says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) state: State,
    pub(super) content: Content,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// It belongs to this repository, and grows.
    Open(String),
    /// It has ended, and its data belong to this content, if that consists of them.
    Content(Digest),
    /// It has ended, and its data belong to nobody.
    Cancelled,
}

impl Session {
    pub(super) fn decode(found: &Found) -> Option<Self> {
        let value = &found.object.live.as_ref()?.bytes;
        let (mut session, tail) = content::decode::<Self>(value)?;
        session.content.tail = tail;
        Some(session)
    }

    fn encode(&self) -> Result<Object, Error> {
        Ok(Object::of(content::encode(self, &self.content.tail)?))
    }
}

/// The upload sessions of a bucket.
#[derive(Clone)]
pub(super) struct Uploads {
    objects: Objects,
    hashers: Arc<Hashers>,
    busy: Arc<Mutex<HashSet<SessionId>>>,
}

/// A session that nobody else in this process writes to.
pub(super) struct Upload {
    name: SessionId,
    session: Session,
    found: Found,
    objects: Objects,
    _busy: Busy,
}

/// As long as this is there, a session is being written to.
struct Busy(SessionId, Arc<Mutex<HashSet<SessionId>>>);

impl Drop for Busy {
    fn drop(&mut self) {
        lock(&self.1).remove(&self.0);
    }
}

fn lock(busy: &Mutex<HashSet<SessionId>>) -> MutexGuard<'_, HashSet<SessionId>> {
    // Insertions and removals only: a panic elsewhere leaves nothing half done.
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Uploads {
    pub(super) fn new(objects: Objects) -> Self {
        Self { objects, hashers: Arc::default(), busy: Arc::default() }
    }

    pub(super) async fn begin(&self, repository: &Name, algorithm: Algorithm) -> Result<SessionId, Error> {
        let name = SessionId::random().map_err(Error::io("name an upload session"))?;
        let session = Session { state: State::Open(repository.to_string()), content: Content::new(&name) };
        self.objects.replace(&paths::upload(&name), None, session.encode()?).await?;
        self.hashers.begin(&name, algorithm);
        Ok(name)
    }

    pub(super) async fn size(&self, repository: &Name, name: &SessionId) -> Result<u64, Error> {
        Ok(self.find(repository, name).await?.1.content.size())
    }

    async fn find(&self, repository: &Name, name: &SessionId) -> Result<(Found, Session), Error> {
        let unknown = || Error::UploadUnknown(name.clone());
        let found = self.objects.get(&paths::upload(name)).await?.ok_or_else(unknown)?;
        let session = Session::decode(&found).ok_or_else(|| Error::Damaged(format!("upload session {name}")))?;
        match &session.state {
            State::Open(owner) if owner == repository.as_str() => Ok((found, session)),
            _ => Err(unknown()),
        }
    }

    async fn open(&self, repository: &Name, name: &SessionId) -> Result<Upload, Error> {
        let busy = self.enter(name).ok_or_else(|| Error::UploadBusy(name.clone()))?;
        let (found, session) = self.find(repository, name).await?;
        Ok(Upload { name: name.clone(), session, found, objects: self.objects.clone(), _busy: busy })
    }

    fn enter(&self, name: &SessionId) -> Option<Busy> {
        lock(&self.busy).insert(name.clone()).then(|| Busy(name.clone(), Arc::clone(&self.busy)))
    }

    /// A session that was found while looking for abandoned ones; `None` when somebody is writing to it.
    pub(super) fn take(&self, name: &SessionId, found: Found, session: Session) -> Option<Upload> {
        let busy = self.enter(name)?;
        Some(Upload { name: name.clone(), session, found, objects: self.objects.clone(), _busy: busy })
    }

    pub(super) async fn append(
        &self,
        repository: &Name,
        name: &SessionId,
        at: Option<u64>,
        mut chunks: Chunks<'_>,
    ) -> Result<u64, Error> {
        let upload = self.open(repository, name).await?;
        let size = upload.session.content.size();
        if let Some(found) = at.filter(|&at| at != size) {
            return Err(Error::Offset { expected: size, found });
        }
        let mut progress = self.hashers.take(name, size);
        let mut batch = BytesMut::from(&upload.session.content.tail[..]);
        // While one part is written, the next is collected.
        let mut upload = future::ready(Ok(upload)).boxed();
        let (mut is_new, mut since, mut failure) = (false, Instant::now(), None);
        while let Some(chunk) = chunks.next().await {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            };
            if is_new && (batch.len() + chunk.len() > PART || since.elapsed() > LONGEST_PART) {
                upload = upload.await?.advance(batch.split().freeze()).boxed();
                (is_new, since) = (false, Instant::now());
            }
            if let Some(progress) = &mut progress {
                progress.update(&chunk);
            }
            is_new |= !chunk.is_empty();
            if batch.len() + chunk.len() > content::MAX_TAIL && batch.capacity() < PART {
                // At once: to double it again and again leaves memory behind.
                batch.reserve(PART - batch.len());
            }
            batch.extend_from_slice(&chunk);
        }
        let mut upload = upload.await?;
        if is_new {
            upload = upload.advance(batch.freeze()).await?;
        }
        // Only now has the session all that the digest has seen.
        if let Some(progress) = progress {
            self.hashers.remember(name, progress);
        }
        failure.map_or(Ok(upload.session.content.size()), |error| Err(Error::Body(error)))
    }

    pub(super) async fn finish(&self, repository: &Name, name: &SessionId, digest: Digest) -> Result<(), Error> {
        let upload = self.open(repository, name).await?;
        let progress = self.hashers.take(name, upload.session.content.size());
        let found = upload.digest(digest.algorithm(), progress).await?;
        if found != digest {
            upload.cancel().await?;
            return Err(Mismatch::Digest { expected: digest, found }.into());
        }
        upload.finish(digest).await
    }

    pub(super) async fn cancel(&self, repository: &Name, name: &SessionId) -> Result<(), Error> {
        self.open(repository, name).await?.cancel().await
    }
}

impl Upload {
    /// Lets the session have `end` after its parts, in place of what came after them. It begins at once, and is not
    /// stopped by dropping the future.
    fn advance(mut self, end: Bytes) -> impl Future<Output = Result<Self, Error>> {
        let task = tokio::spawn(async move {
            self.session.content = self.session.content.with_end(&self.objects, end).await?;
            if self.put().await? {
                return Ok(self);
            }
            // What was written for it is nobody's.
            self.session.content.delete_last_part(&self.objects).await?;
            Err(self.lost().await)
        });
        task.map(|joined| joined.unwrap_or_else(|error| Err(Error::io("run a task")(std::io::Error::other(error)))))
    }

    /// Writes the session; `false` when somebody else has done so.
    async fn put(&mut self) -> Result<bool, Error> {
        let object = self.session.encode()?;
        let put = self.objects.replace(&paths::upload(&self.name), Some(&self.found), object).await?;
        let is_put = put.is_some();
        self.found = put.unwrap_or_else(|| self.found.clone());
        Ok(is_put)
    }

    /// Why the session could not be written: somebody else has done so.
    async fn lost(&self) -> Error {
        match self.objects.get(&paths::upload(&self.name)).await {
            Err(error) => error,
            Ok(Some(found)) if matches!(Session::decode(&found), Some(Session { state: State::Open(_), .. })) => {
                Error::UploadBusy(self.name.clone())
            }
            Ok(_) => Error::UploadUnknown(self.name.clone()),
        }
    }

    async fn digest(&self, algorithm: Algorithm, progress: Option<Progress>) -> Result<Digest, Error> {
        if let Some(digest) = progress.and_then(|progress| progress.finish(algorithm)) {
            return Ok(digest);
        }
        let mut hasher = Hasher::new(algorithm);
        let mut chunks = self.session.content.clone().read(&self.objects);
        let failed = |error: BoxError| {
            Error::io(format_args!("read upload session {}", self.name))(std::io::Error::other(error))
        };
        while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
            hasher.update(&chunk);
        }
        Ok(hasher.finish())
    }

    async fn finish(mut self, digest: Digest) -> Result<(), Error> {
        let begun = Instant::now();
        self.session.state = State::Content(digest);
        if !self.put().await? {
            return Err(self.lost().await);
        }
        let value = self.session.content.encode()?;
        let decide = |object: Object| match object.live {
            // It has been there before, and is young now.
            Some(Value { bytes, .. }) => (Some(Object { live: Some(Value::new(bytes)), ..object }), false),
            None => (Some(Object { live: Some(Value::new(value.clone())), ..object }), true),
        };
        let path = paths::content(digest);
        let finished = timeout_at(begun + FINISH_LIMIT, self.objects.change(&path, true, decide)).await;
        let is_ours = finished.unwrap_or_else(|_| {
            let what = format!("finish upload session {}", self.name);
            Err(Error::io(what)(std::io::ErrorKind::TimedOut.into()))
        })?;
        if is_ours { self.objects.delete(&paths::upload(&self.name)).await } else { self.forget().await }
    }

    /// Ends the session, unless somebody has come back to it.
    pub(super) async fn cancel(mut self) -> Result<(), Error> {
        self.session.state = State::Cancelled;
        if !self.put().await? {
            return Err(self.lost().await);
        }
        self.forget().await
    }

    /// Deletes the data of a session that has ended, and then what speaks for them.
    pub(super) async fn forget(self) -> Result<(), Error> {
        if self.session.content.has_parts() {
            Content::delete_data(&self.name, &self.objects).await?;
        }
        self.objects.delete(&paths::upload(&self.name)).await
    }
}
