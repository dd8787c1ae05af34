//! Blobs: contents that a repository has a link to.

use std::time::SystemTime;

use bytes::Bytes;

use super::Repositories;
use crate::digest::Digest;
use crate::reference::Name;
use crate::server::storage::{Blob, Condition, Error, Item, Key, SessionId};

impl Repositories {
    /// How many bytes the blob has, if the repository has it. Whoever asks may go on to refer to it, so this renews it.
    pub async fn blob_size(&self, name: &Name, digest: Digest) -> Result<Option<u64>, Error> {
        let Some((modified, blob)) = self.find_blob(name, digest).await? else { return Ok(None) };
        self.renew(&Key::Blob(name.clone(), digest).into(), modified).await?;
        Ok(Some(blob.size()))
    }

    /// The blob, if the repository has it.
    pub async fn open_blob(&self, name: &Name, digest: Digest) -> Result<Option<Blob>, Error> {
        Ok(self.find_blob(name, digest).await?.map(|(_, blob)| blob))
    }

    /// Links a blob that `from` has in `to`; `false` when `from` does not have it.
    pub async fn mount_blob(&self, from: &Name, to: &Name, digest: Digest) -> Result<bool, Error> {
        Ok(self.blob_size(from, digest).await?.is_some() && self.link(to, digest).await?)
    }

    /// Whether there is a repository that could have the blob: without its content, there is none.
    pub async fn may_have_blob(&self, digest: Digest) -> Result<bool, Error> {
        self.exists(&Item::Content(digest)).await
    }

    /// Removes the blob from the repository, whatever refers to it; `false` when it does not have it.
    pub async fn delete_blob(&self, name: &Name, digest: Digest) -> Result<bool, Error> {
        self.delete(&Key::Blob(name.clone(), digest)).await
    }

    /// Makes a blob of what the session has received. The session ends with it.
    ///
    /// # Errors
    /// As [`Storage::finish_upload`](crate::server::storage::Storage::finish_upload).
    pub async fn finish_upload(&self, name: &Name, session: &SessionId, digest: Digest) -> Result<(), Error> {
        self.storage.finish_linked(name, session, digest, &Key::Blob(name.clone(), digest)).await?;
        if self.exists(&Item::Content(digest)).await? {
            return Ok(());
        }
        // A collection that has no grace was faster than the link. The client has to begin again.
        Err(Error::UploadUnknown(session.clone()))
    }

    /// Removes a record, and what may be aside of it, which would come back; `false` when there was neither.
    pub(super) async fn delete(&self, key: &Key) -> Result<bool, Error> {
        let mut removed = self.storage.remove(key, Condition::Any).await?;
        while self.storage.restore(&key.clone().into()).await? {
            removed |= self.storage.remove(key, Condition::Any).await?;
        }
        Ok(removed)
    }

    /// Links a content; `false` when it is gone.
    async fn link(&self, name: &Name, digest: Digest) -> Result<bool, Error> {
        self.storage.write(&Key::Blob(name.clone(), digest), Bytes::new(), Condition::Any).await?;
        self.exists(&Item::Content(digest)).await
    }

    /// The blob, and when its link was last renewed, after a look aside.
    async fn find_blob(&self, name: &Name, digest: Digest) -> Result<Option<(SystemTime, Blob)>, Error> {
        let link = Key::Blob(name.clone(), digest);
        let found = self.storage.open_linked(&link, digest).await?;
        if found.is_some() || !self.exists(&link.clone().into()).await? || !self.exists(&Item::Content(digest)).await? {
            return Ok(found);
        }
        self.storage.open_linked(&link, digest).await
    }
}
