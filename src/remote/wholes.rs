//! Blobs that came whole although a part was asked for, because the registry knows no ranges: they are kept in temporary
//! files without a name, so that the next part costs nothing.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use futures::TryStreamExt;
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use super::trace;
use crate::content::{self, Reader};
use crate::digest::Digest;
use crate::manifest::Descriptor;

/// What is kept, as long as somebody works with the repository.
#[derive(Clone, Default)]
pub(super) struct Wholes(Arc<Mutex<HashMap<Digest, Arc<File>>>>);

impl Wholes {
    /// The whole blob, if it is kept.
    pub(super) async fn get(&self, descriptor: &Descriptor) -> Option<Arc<File>> {
        self.0.lock().await.get(&descriptor.digest).cloned()
    }

    /// Reads the whole blob and keeps it, unless somebody else has done so meanwhile.
    pub(super) async fn keep(&self, descriptor: &Descriptor, reader: Reader) -> Result<Arc<File>, content::Error> {
        let mut kept = self.0.lock().await;
        if let Some(file) = kept.get(&descriptor.digest) {
            return Ok(Arc::clone(file));
        }
        trace::whole(descriptor);
        let file = Arc::new(spool(reader).await?);
        kept.insert(descriptor.digest, Arc::clone(&file));
        Ok(file)
    }
}

/// Writes all to a temporary file. Once it has been read to its end, it is what it should be.
async fn spool(mut reader: Reader) -> Result<File, content::Error> {
    let failed = |error| content::Error::local(format!("keep a blob in {}", std::env::temp_dir().display()), error);
    let mut file = tokio::fs::File::from_std(tempfile::tempfile().map_err(failed)?);
    while let Some(chunk) = reader.try_next().await? {
        file.write_all(&chunk).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    Ok(file.into_std().await)
}
