//! Asking a registry what tags point to while a directory is packed: when that is done, the answer is there.

use std::sync::{Mutex, PoisonError};

use tokio::task::JoinHandle;

use crate::content::{DEFAULT_CONCURRENCY, Error, ErrorKind, Look};
use crate::reference::Tag;
use crate::remote::RemoteRepository;

/// A look at tags that goes on by itself.
pub(super) struct Ahead(Mutex<Option<JoinHandle<Result<Look, Error>>>>);

impl Ahead {
    /// Begins to look at `tags`, and at as many blobs as would be asked for together.
    pub(super) fn begin(repository: RemoteRepository, tags: Vec<Tag>) -> Self {
        let look = async move { Look::closely(&repository, &tags, DEFAULT_CONCURRENCY).await };
        Self(Mutex::new(Some(tokio::spawn(look))))
    }

    /// Waits for what was found: once, because it does not stay true.
    pub(super) async fn look(&self) -> Result<Option<Look>, Error> {
        let Some(task) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() else { return Ok(None) };
        task.await.map_err(|error| Error::new(ErrorKind::Local, error))?.map(Some)
    }
}
