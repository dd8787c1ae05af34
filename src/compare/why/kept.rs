//! A source that fetches each blob once: what is read whole is kept in a temporary file without a name.

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::TryStreamExt;
use tokio::io::AsyncWriteExt;

use crate::content::{Error, Open, OpenRange, Reader, read_file, read_file_range};
use crate::digest::Digest;
use crate::manifest::Descriptor;

/// What was read of a source. Copies share it.
#[derive(Clone)]
pub(super) struct Kept(Arc<Inner>);

struct Inner {
    source: Box<dyn OpenRange>,
    files: Mutex<HashMap<Digest, Arc<File>>>,
}

impl Kept {
    pub(super) fn new(source: Box<dyn OpenRange>) -> Self {
        Self(Arc::new(Inner { source, files: Mutex::default() }))
    }

    fn at_hand(&self, digest: Digest) -> Option<Arc<File>> {
        // Nothing that runs under this lock can panic.
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner).get(&digest).cloned()
    }

    /// A file with the content that `descriptor` names, whole and verified.
    ///
    /// # Errors
    /// When it cannot be had, or kept, or is not what it should be.
    pub(super) async fn file(&self, descriptor: &Descriptor) -> Result<Arc<File>, Error> {
        if let Some(file) = self.at_hand(descriptor.digest) {
            return Ok(file);
        }
        let local = |error| Error::local("write to a temporary file", error);
        let mut reader = self.0.source.open(descriptor).await?;
        let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(local)?);
        while let Some(chunk) = reader.try_next().await? {
            file.write_all(&chunk).await.map_err(local)?;
        }
        file.flush().await.map_err(local)?;
        let file = Arc::new(file.into_std().await);
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner).insert(descriptor.digest, Arc::clone(&file));
        Ok(file)
    }
}

#[async_trait]
impl Open for Kept {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        let file = self.file(descriptor).await?;
        Ok(Reader::new(descriptor, read_file(file, 0, descriptor.size)))
    }
}

#[async_trait]
impl OpenRange for Kept {
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, Error> {
        match self.at_hand(descriptor.digest) {
            Some(file) => read_file_range(file, offset, length).await,
            None => self.0.source.range_within(descriptor, offset, length).await,
        }
    }
}
