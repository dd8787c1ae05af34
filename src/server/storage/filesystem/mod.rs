//! A storage in a directory, which any number of processes may share. The file system has to tell capitals from small
//! letters, because tags do.
//!
//! What may wait for the disk goes to tokio's threads for blocking work; what the system has in memory is read at once.
//! Nothing waits there for a client: what is uploaded is collected first, and written in large pieces.

mod at_hand;
mod durable;
mod leftovers;
mod listing;
mod paths;
mod records;
mod upload;

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::{self, FutureExt};

use self::paths::Paths;
use self::upload::Upload;
use super::progress::Hashers;
use super::recent::Recent;
use super::{
    Aside, Blob, Chunks, Condition, Digests, Error, Item, Key, Leftovers, OpenError, Round, SessionId, Storage, Sweep,
};
use crate::digest::{Algorithm, Digest};
use crate::reference::{Name, Tag};

/// How many bytes of an upload are written at once. Twice as many are in memory.
const BATCH: usize = 512 * 1024;

/// A storage in a directory.
pub struct Filesystem {
    paths: Paths,
    hashers: Arc<Hashers>,
    recent: Arc<Recent>,
}

impl Filesystem {
    /// Opens the storage at `root`, or makes a new one where there is nothing or an empty directory.
    ///
    /// # Errors
    /// [`OpenError::NotOurs`] when the directory has other things in it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let paths = Paths::new(root.into());
        let io = |source| OpenError::Io { path: paths.root().to_owned(), source };
        durable::create_directories(paths.root()).map_err(io)?;
        if !is_ours(paths.root())? {
            // The marker comes first, so that a second process that starts now sees it or nothing.
            durable::create_empty(&paths.root().join(paths::MARKER)).map_err(io)?;
        }
        Self::over(paths)
    }

    /// Opens the storage that is at `root`, and makes none.
    ///
    /// # Errors
    /// [`OpenError::Absent`] when there is none, and the same as from [`open`](Self::open).
    pub fn open_existing(root: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let paths = Paths::new(root.into());
        if !paths.root().exists() || !is_ours(paths.root())? {
            return Err(OpenError::Absent(paths.root().to_owned()));
        }
        Self::over(paths)
    }

    fn over(mut paths: Paths) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: paths.root().to_owned(), source };
        for directory in [paths.uploads(), paths.temporary(), paths.rounds(), paths.locks()] {
            durable::create_directories(&directory).map_err(io)?;
        }
        paths.look_at_medium();
        Ok(Self { paths, hashers: Arc::default(), recent: Recent::new() })
    }

    /// Runs `work` where it may block.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Paths) -> Result<T, Error> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> {
        let paths = self.paths.clone();
        blocking(move || work(&paths))
    }

    async fn open_upload(&self, repository: &Name, session: &SessionId) -> Result<Upload, Error> {
        let (hashers, path) = (Arc::clone(&self.hashers), self.paths.upload(repository, session));
        let session = session.clone();
        match at_hand::upload(&path) {
            Some(file) => Upload::of_file(hashers, session, path, file),
            None => blocking(move || Upload::open(hashers, session, path)).await,
        }
    }
}

/// Whether the directory `root` is one of ours, and of this version. It is empty if not.
fn is_ours(root: &Path) -> Result<bool, OpenError> {
    let io = |source| OpenError::Io { path: root.to_owned(), source };
    let mut is_empty = true;
    for entry in fs::read_dir(root).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name == paths::MARKER {
            return Ok(true);
        }
        if name.to_str().is_some_and(|name| name.starts_with(paths::ANY_MARKER)) {
            return Err(OpenError::Version(root.to_owned()));
        }
        // The root of a fresh volume has it.
        is_empty &= name == "lost+found";
    }
    // Another process may have begun to fill it since the first entry was read.
    if !is_empty && !root.join(paths::MARKER).exists() {
        return Err(OpenError::NotOurs(root.to_owned()));
    }
    Ok(!is_empty)
}

/// Runs `work` where it may block. It begins at once, and not when the future is polled.
fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> impl Future<Output = Result<T, Error>> {
    let task = tokio::task::spawn_blocking(work);
    task.map(|joined| joined.unwrap_or_else(|error| Err(Error::io("run a task")(io::Error::other(error)))))
}

/// `None` for what is not there.
fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        result => result.map(Some),
    }
}

/// Appends `bytes`. This begins at once, too.
fn write(mut upload: Upload, bytes: Bytes) -> impl Future<Output = Result<Upload, Error>> {
    blocking(move || upload.write(&bytes).map(|()| upload))
}

#[async_trait]
impl Storage for Filesystem {
    async fn read(&self, key: &Key) -> Result<Option<Bytes>, Error> {
        if let Some(value) = at_hand::read(&self.paths, &self.recent, key) {
            return Ok(Some(value));
        }
        let key = key.clone();
        self.run(move |paths| records::read(paths, &key)).await
    }

    async fn find(&self, item: &Item) -> Result<Option<SystemTime>, Error> {
        if let Some(modified) = at_hand::find(&self.paths, item) {
            return Ok(Some(modified));
        }
        let item = item.clone();
        self.run(move |paths| records::find(paths, &item)).await
    }

    async fn write(&self, key: &Key, bytes: Bytes, condition: Condition) -> Result<bool, Error> {
        let key = key.clone();
        self.run(move |paths| records::write(paths, &key, &bytes, &condition)).await
    }

    async fn remove(&self, key: &Key, condition: Condition) -> Result<bool, Error> {
        let key = key.clone();
        self.run(move |paths| records::remove(paths, &key, &condition)).await
    }

    async fn renew(&self, item: &Item) -> Result<bool, Error> {
        let item = item.clone();
        self.run(move |paths| records::renew(paths, &item)).await
    }

    async fn open(&self, digest: Digest) -> Result<Option<Blob>, Error> {
        if let Some(blob) = at_hand::content(&self.paths, &self.recent, digest) {
            return Ok(Some(blob));
        }
        self.run(move |paths| records::open(paths, digest)).await
    }

    async fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error> {
        let after = after.map(ToOwned::to_owned);
        self.run(move |paths| listing::repositories(paths, after.as_deref(), limit)).await
    }

    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error> {
        let (repository, after) = (repository.clone(), after.map(ToOwned::to_owned));
        self.run(move |paths| listing::tags(paths, &repository, after.as_deref(), limit)).await
    }

    async fn digests(
        &self,
        list: &Digests,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<(Digest, SystemTime)>, Error> {
        let list = list.clone();
        self.run(move |paths| listing::digests(paths, &list, after, limit)).await
    }

    async fn subjects(&self, repository: &Name, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, Error> {
        let repository = repository.clone();
        self.run(move |paths| listing::subjects(paths, &repository, after, limit)).await
    }

    async fn set_aside(&self, round: &Round, item: &Item) -> Result<Option<SystemTime>, Error> {
        let (round, item) = (round.clone(), item.clone());
        self.run(move |paths| records::set_aside(paths, &round, &item)).await
    }

    async fn restore(&self, item: &Item) -> Result<bool, Error> {
        let item = item.clone();
        self.run(move |paths| records::restore(paths, &item)).await
    }

    async fn discard(&self, round: &Round, item: &Item) -> Result<Option<u64>, Error> {
        let (round, item) = (round.clone(), item.clone());
        self.run(move |paths| records::discard(paths, &round, &item)).await
    }

    async fn aside(&self, limit: usize) -> Result<Vec<Aside>, Error> {
        self.run(move |paths| listing::aside(paths, limit)).await
    }

    async fn begin_upload(&self, repository: &Name, algorithm: Algorithm) -> Result<SessionId, Error> {
        let session = SessionId::random().map_err(Error::io("name an upload session"))?;
        let path = self.paths.upload(repository, &session);
        blocking(move || {
            let created = OpenOptions::new().write(true).create_new(true).open(path);
            created.map(drop).map_err(Error::io("begin an upload session"))
        })
        .await?;
        self.hashers.begin(&session, algorithm);
        Ok(session)
    }

    async fn upload_size(&self, repository: &Name, session: &SessionId) -> Result<u64, Error> {
        let (path, session) = (self.paths.upload(repository, session), session.clone());
        blocking(move || {
            let metadata =
                found(fs::metadata(path)).map_err(Error::io(format_args!("find upload session {session}")))?;
            metadata.map(|metadata| metadata.len()).ok_or(Error::UploadUnknown(session))
        })
        .await
    }

    async fn append(
        &self,
        repository: &Name,
        session: &SessionId,
        at: Option<u64>,
        mut chunks: Chunks<'_>,
    ) -> Result<u64, Error> {
        let upload = self.open_upload(repository, session).await?;
        if let Some(found) = at.filter(|&at| at != upload.size()) {
            return Err(Error::Offset { expected: upload.size(), found });
        }
        // While one batch is written, the next is collected.
        let mut upload = future::ready(Ok(upload)).boxed();
        let mut batch = BytesMut::new();
        let mut failure = None;
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) => batch.extend_from_slice(&chunk),
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
            if batch.len() >= BATCH {
                upload = write(upload.await?, batch.split().freeze()).boxed();
            }
        }
        let mut upload = upload.await?;
        if !batch.is_empty() {
            upload = write(upload, batch.freeze()).await?;
        }
        failure.map_or(Ok(upload.size()), |error| Err(Error::Body(error)))
    }

    async fn finish_upload(&self, repository: &Name, session: &SessionId, digest: Digest) -> Result<(), Error> {
        let upload = self.open_upload(repository, session).await?;
        self.run(move |paths| upload::finish(paths, upload, digest, None)).await
    }

    async fn finish_linked(
        &self,
        repository: &Name,
        session: &SessionId,
        digest: Digest,
        link: &Key,
    ) -> Result<(), Error> {
        let (upload, link) = (self.open_upload(repository, session).await?, link.clone());
        self.run(move |paths| upload::finish(paths, upload, digest, Some(&link))).await
    }

    async fn cancel_upload(&self, repository: &Name, session: &SessionId) -> Result<(), Error> {
        let upload = self.open_upload(repository, session).await?;
        blocking(move || upload.cancel()).await
    }

    async fn leftovers(&self, since: SystemTime, sweep: Sweep) -> Result<Leftovers, Error> {
        let hashers = Arc::clone(&self.hashers);
        self.run(move |paths| leftovers::find(paths, &hashers, since, sweep)).await
    }
}
