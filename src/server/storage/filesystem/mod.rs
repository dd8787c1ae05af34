//! A storage in a directory, which any number of processes may share. The file system has to tell capitals from small
//! letters, because tags do.
//!
//! Every call goes to tokio's threads for blocking work, and none of them waits there for a client: what is uploaded is
//! collected first, and written in large pieces.

mod durable;
mod paths;
mod upload;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::{self, FutureExt};

use self::paths::Paths;
use self::upload::{Hashers, Upload};
use super::{Blob, Chunks, Error, OpenError, SessionId, Storage, StoredManifest};
use crate::digest::{Algorithm, Digest};
use crate::reference::{Name, Tag};

/// How many bytes of an upload are written at once. Twice as many are in memory.
const BATCH: usize = 512 * 1024;

/// A storage in a directory.
pub struct Filesystem {
    paths: Paths,
    hashers: Arc<Hashers>,
}

impl Filesystem {
    /// Opens the storage at `root`, or makes a new one where there is nothing or an empty directory.
    ///
    /// # Errors
    /// [`OpenError::NotOurs`] when the directory has other things in it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, OpenError> {
        let paths = Paths::new(root.into());
        claim(paths.root())?;
        let io = |source| OpenError::Io { path: paths.root().to_owned(), source };
        for directory in [paths.uploads(), paths.temporary()] {
            durable::create_directories(&directory).map_err(io)?;
        }
        Ok(Self { paths, hashers: Arc::default() })
    }

    async fn open_upload(&self, repository: &Name, session: &SessionId) -> Result<Upload, Error> {
        let (hashers, path) = (Arc::clone(&self.hashers), self.paths.upload(repository, session));
        let session = session.clone();
        blocking(move || Upload::open(hashers, session, path)).await
    }
}

/// Makes sure that `root` is a directory of ours, and of this version.
fn claim(root: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: root.to_owned(), source };
    durable::create_directories(root).map_err(io)?;
    let mut is_empty = true;
    for entry in fs::read_dir(root).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name == paths::MARKER {
            return Ok(());
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
    // The marker comes first, so that a second process that starts now sees it or nothing.
    durable::create_empty(&root.join(paths::MARKER)).map_err(io)
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
    async fn blob_size(&self, repository: &Name, digest: Digest) -> Result<Option<u64>, Error> {
        let (link, content) = (self.paths.blob_link(repository, digest), self.paths.content(digest));
        blocking(move || {
            let metadata = found(fs::metadata(link).and_then(|_| fs::metadata(content)));
            Ok(metadata.map_err(Error::io(format_args!("find {digest}")))?.map(|metadata| metadata.len()))
        })
        .await
    }

    async fn open_blob(&self, repository: &Name, digest: Digest) -> Result<Option<Blob>, Error> {
        let (link, content) = (self.paths.blob_link(repository, digest), self.paths.content(digest));
        blocking(move || {
            let blob = fs::metadata(link).and_then(|_| File::open(content)).and_then(Blob::of_file);
            found(blob).map_err(Error::io(format_args!("open {digest}")))
        })
        .await
    }

    async fn mount_blob(&self, from: &Name, to: &Name, digest: Digest) -> Result<bool, Error> {
        if self.blob_size(from, digest).await?.is_none() {
            return Ok(false);
        }
        let link = self.paths.blob_link(to, digest);
        blocking(move || durable::create_empty(&link).map_err(Error::io(format_args!("mount {digest}")))).await?;
        Ok(true)
    }

    async fn manifest(&self, repository: &Name, digest: Digest) -> Result<Option<StoredManifest>, Error> {
        let (link, content) = (self.paths.manifest_link(repository, digest), self.paths.content(digest));
        blocking(move || {
            let read = || {
                let media_type = fs::read_to_string(link)?;
                Ok(StoredManifest { media_type, bytes: fs::read(content)?.into() })
            };
            found(read()).map_err(Error::io(format_args!("read manifest {digest}")))
        })
        .await
    }

    async fn put_manifest(&self, repository: &Name, digest: Digest, manifest: &StoredManifest) -> Result<(), Error> {
        let (link, content) = (self.paths.manifest_link(repository, digest), self.paths.content(digest));
        let (temporary, manifest) = (self.paths.temporary(), manifest.clone());
        blocking(move || {
            durable::write(&temporary, &content, &manifest.bytes)
                .and_then(|()| durable::write(&temporary, &link, manifest.media_type.as_bytes()))
                .map_err(Error::io(format_args!("write manifest {digest}")))
        })
        .await
    }

    async fn tag(&self, repository: &Name, tag: &Tag) -> Result<Option<Digest>, Error> {
        let (path, what) = (self.paths.tag(repository, tag), format!("tag {tag} of {repository}"));
        blocking(move || {
            let text = found(fs::read_to_string(path)).map_err(Error::io(format_args!("read {what}")))?;
            text.map(|text| text.parse().map_err(|_| Error::Damaged(what))).transpose()
        })
        .await
    }

    async fn put_tag(&self, repository: &Name, tag: &Tag, digest: Digest) -> Result<(), Error> {
        let (path, what) = (self.paths.tag(repository, tag), format!("write tag {tag} of {repository}"));
        let temporary = self.paths.temporary();
        blocking(move || durable::write(&temporary, &path, digest.to_string().as_bytes()).map_err(Error::io(what)))
            .await
    }

    async fn tags(&self, repository: &Name, after: Option<&str>, limit: usize) -> Result<Option<Vec<Tag>>, Error> {
        let (directory, after) = (self.paths.tags(repository), after.map(ToOwned::to_owned));
        let links = [self.paths.manifest_links(repository), self.paths.blob_links(repository)];
        let what = format!("list the tags of {repository}");
        blocking(move || {
            let Some(entries) = found(fs::read_dir(directory)).map_err(Error::io(&what))? else {
                return Ok(links.iter().any(|links| links.exists()).then(Vec::new));
            };
            let mut tags = Vec::new();
            for entry in entries {
                let name = entry.map_err(Error::io(&what))?.file_name();
                let tag = name.to_str().and_then(|name| name.parse::<Tag>().ok());
                tags.extend(tag.filter(|tag| after.as_deref().is_none_or(|after| tag.as_str() > after)));
            }
            tags.sort_unstable();
            tags.truncate(limit);
            Ok(Some(tags))
        })
        .await
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
        let (link, content) = (self.paths.blob_link(repository, digest), self.paths.content(digest));
        blocking(move || {
            upload.finish(digest, &content)?;
            durable::create_empty(&link).map_err(Error::io(format_args!("link {digest}")))
        })
        .await
    }

    async fn cancel_upload(&self, repository: &Name, session: &SessionId) -> Result<(), Error> {
        let upload = self.open_upload(repository, session).await?;
        blocking(move || upload.cancel()).await
    }
}
