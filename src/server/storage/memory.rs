//! A storage in memory: for tests and demonstrations. It is gone with the process, and has no bound.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;

use super::{Blob, Chunks, Error, SessionId, Storage, StoredManifest};
use crate::digest::{Algorithm, Digest, Hasher, Mismatch};
use crate::reference::{Name, Tag};

/// A storage in memory.
#[derive(Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    contents: HashMap<Digest, Bytes>,
    repositories: HashMap<Name, Repository>,
    uploads: HashMap<(Name, SessionId), Arc<Upload>>,
}

#[derive(Default)]
struct Repository {
    blobs: BTreeSet<Digest>,
    manifests: BTreeMap<Digest, String>,
    tags: BTreeMap<Tag, Digest>,
}

struct Upload {
    size: AtomicU64,
    /// Locked by whoever writes; `None` once the session has ended.
    received: tokio::sync::Mutex<Option<Received>>,
}

struct Received {
    bytes: BytesMut,
    hasher: Hasher,
    algorithm: Algorithm,
}

impl Memory {
    /// A storage with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is made of insertions that mean something on their own, so a panic elsewhere cannot have
        // left the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn blob(&self, repository: &Name, digest: Digest) -> Option<Bytes> {
        let state = self.state();
        let linked = state.repositories.get(repository)?.blobs.contains(&digest);
        if linked { state.contents.get(&digest).cloned() } else { None }
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

#[async_trait]
impl Storage for Memory {
    async fn blob_size(&self, repository: &Name, digest: Digest) -> Result<Option<u64>, Error> {
        Ok(self.blob(repository, digest).map(|bytes| bytes.len() as u64))
    }

    async fn open_blob(&self, repository: &Name, digest: Digest) -> Result<Option<Blob>, Error> {
        Ok(self.blob(repository, digest).map(Blob::of_bytes))
    }

    async fn mount_blob(&self, from: &Name, to: &Name, digest: Digest) -> Result<bool, Error> {
        let mut state = self.state();
        let found = state.repositories.get(from).is_some_and(|repository| repository.blobs.contains(&digest));
        if found {
            state.repositories.entry(to.clone()).or_default().blobs.insert(digest);
        }
        Ok(found)
    }

    async fn manifest(&self, repository: &Name, digest: Digest) -> Result<Option<StoredManifest>, Error> {
        let state = self.state();
        let media_type = state.repositories.get(repository).and_then(|repository| repository.manifests.get(&digest));
        let bytes = state.contents.get(&digest);
        Ok(media_type
            .zip(bytes)
            .map(|(media_type, bytes)| StoredManifest { media_type: media_type.clone(), bytes: bytes.clone() }))
    }

    async fn put_manifest(&self, repository: &Name, digest: Digest, manifest: &StoredManifest) -> Result<(), Error> {
        let mut state = self.state();
        state.contents.insert(digest, manifest.bytes.clone());
        let manifests = &mut state.repositories.entry(repository.clone()).or_default().manifests;
        manifests.insert(digest, manifest.media_type.clone());
        Ok(())
    }

    async fn tag(&self, repository: &Name, tag: &Tag) -> Result<Option<Digest>, Error> {
        Ok(self.state().repositories.get(repository).and_then(|repository| repository.tags.get(tag).copied()))
    }

    async fn put_tag(&self, repository: &Name, tag: &Tag, digest: Digest) -> Result<(), Error> {
        self.state().repositories.entry(repository.clone()).or_default().tags.insert(tag.clone(), digest);
        Ok(())
    }

    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Option<Vec<Tag>>, Error> {
        let state = self.state();
        let Some(repository) = state.repositories.get(repository) else { return Ok(None) };
        let tags = repository.tags.keys().filter(|tag| after.is_none_or(|after| tag.as_str() > after));
        Ok(Some(tags.take(limit).cloned().collect()))
    }

    async fn begin_upload(&self, repository: &Name, algorithm: Algorithm) -> Result<SessionId, Error> {
        let session = SessionId::random().map_err(Error::io("name an upload session"))?;
        let received = Received { bytes: BytesMut::new(), hasher: Hasher::new(algorithm), algorithm };
        let upload = Upload { size: AtomicU64::new(0), received: tokio::sync::Mutex::new(Some(received)) };
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
            upload.size.store(received.bytes.len() as u64, Ordering::Release);
        }
        Ok(received.bytes.len() as u64)
    }

    async fn finish_upload(&self, repository: &Name, session: &SessionId, digest: Digest) -> Result<(), Error> {
        let Received { bytes, hasher, algorithm } = self.end_upload(repository, session)?;
        let expected = digest.algorithm();
        let found = if algorithm == expected { hasher.finish() } else { expected.digest(&bytes) };
        if found != digest {
            return Err(Mismatch::Digest { expected: digest, found }.into());
        }
        let mut state = self.state();
        state.contents.insert(digest, bytes.freeze());
        state.repositories.entry(repository.clone()).or_default().blobs.insert(digest);
        Ok(())
    }

    async fn cancel_upload(&self, repository: &Name, session: &SessionId) -> Result<(), Error> {
        self.end_upload(repository, session).map(drop)
    }
}
