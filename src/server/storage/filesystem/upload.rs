//! What an upload session has received: a file whose size is the offset, and its digest as far as it is known.
//!
//! The file is locked by whoever writes to it, across processes. The state of the digest does not leave the process:
//! another one that goes on with a session computes it from the file when the upload is finished.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::super::progress::{Hashers, Progress};
use super::super::{Condition, Error, Key, SessionId};
use super::paths::Paths;
use super::{durable, records};
use crate::digest::{Algorithm, Digest, Hasher, Mismatch};

/// How many bytes are read at once when a file is read again for its digest.
const BUFFER: usize = 256 * 1024;

/// Makes a content of what the upload has received, and links it.
pub(super) fn finish(paths: &Paths, upload: Upload, digest: Digest, link: Option<&Key>) -> Result<(), Error> {
    let content = paths.content(digest);
    upload.finish(digest, &content)?;
    if let Some(link) = link {
        records::write(paths, link, &[], &Condition::Any)?;
    }
    // Last, because most disks have made both entries last with the first one that is synced.
    durable::sync_parent(&content).map_err(Error::io(format_args!("sync content {digest}")))
}

/// An upload session that nobody else can write to, in this process or in another, until this is dropped.
pub(super) struct Upload {
    session: SessionId,
    path: PathBuf,
    file: File,
    size: u64,
    progress: Option<Progress>,
    hashers: Arc<Hashers>,
}

impl Upload {
    /// Opens the session whose file is at `path`.
    pub(super) fn open(hashers: Arc<Hashers>, session: SessionId, path: PathBuf) -> Result<Self, Error> {
        let describe = || format!("open upload session {session}");
        let file = match OpenOptions::new().read(true).append(true).open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(Error::UploadUnknown(session)),
            result => result.map_err(Error::io(describe()))?,
        };
        Self::of_file(hashers, session, path, file)
    }

    /// The session whose file at `path` is open, to be read and appended to.
    pub(super) fn of_file(hashers: Arc<Hashers>, session: SessionId, path: PathBuf, file: File) -> Result<Self, Error> {
        let describe = || format!("open upload session {session}");
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(Error::UploadBusy(session)),
            Err(TryLockError::Error(error)) => return Err(Error::io(describe())(error)),
            Ok(()) => {}
        }
        // Between opening and locking, the session may have ended, and the file may be a blob by now.
        let opened = file.metadata().map_err(Error::io(describe()))?;
        let is_current = fs::metadata(&path).is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino()));
        if !is_current {
            return Err(Error::UploadUnknown(session));
        }
        let size = opened.len();
        let progress = hashers.take(&session, size);
        Ok(Self { session, path, file, size, progress, hashers })
    }

    /// How many bytes it has.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Appends `bytes`. After an error, some of them may be there.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(Error::io(format_args!("write to upload session {}", self.session)))?;
        self.size += bytes.len() as u64;
        if let Some(progress) = &mut self.progress {
            progress.update(bytes);
        }
        Ok(())
    }

    /// Moves what was received to `content`, if that is its digest; else removes it. The directory there is not synced.
    fn finish(mut self, digest: Digest, content: &Path) -> Result<(), Error> {
        let what = format!("finish upload session {}", self.session);
        let found = self.digest(digest.algorithm()).map_err(Error::io(&what))?;
        if found != digest {
            self.cancel()?;
            return Err(Mismatch::Digest { expected: digest, found }.into());
        }
        // It is a content from now on, however long the upload took.
        let finish = || {
            self.file.set_modified(SystemTime::now())?;
            self.file.sync_all()?;
            durable::move_to(&self.path, content)
        };
        finish().map_err(Error::io(what))
    }

    /// Removes what was received.
    pub(super) fn cancel(mut self) -> Result<(), Error> {
        self.progress = None;
        fs::remove_file(&self.path).map_err(Error::io(format_args!("cancel upload session {}", self.session)))
    }

    fn digest(&mut self, algorithm: Algorithm) -> io::Result<Digest> {
        if let Some(digest) = self.progress.take().and_then(|progress| progress.finish(algorithm)) {
            return Ok(digest);
        }
        let mut hasher = Hasher::new(algorithm);
        self.file.seek(SeekFrom::Start(0))?;
        io::copy(&mut BufReader::with_capacity(BUFFER, &self.file), &mut hasher)?;
        Ok(hasher.finish())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Before the file is unlocked, which lets the next one in.
        if let Some(progress) = self.progress.take() {
            self.hashers.remember(&self.session, progress);
        }
        // To close it would not be enough: a process that is just being started from this one has it open, too. If this
        // fails, closing it is all there is.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_free_again_also_while_a_process_begins_that_has_its_file_open() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("upload");
        fs::write(&path, "").unwrap();
        let (hashers, session) = (Arc::<Hashers>::default(), SessionId::random().unwrap());
        let upload = Upload::open(Arc::clone(&hashers), session.clone(), path.clone()).unwrap();
        let inherited = upload.file.try_clone().unwrap();
        drop(upload);
        Upload::open(hashers, session, path).unwrap();
        drop(inherited);
    }
}
