//! Manifests as they are found and deleted, and who refers to whom.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Repositories, tags};
use crate::digest::Digest;
use crate::manifest::{Descriptor, RawManifest};
use crate::reference::{Identifier, Name};
use crate::server::storage::{Condition, Digests, Error, Item, Key};

/// A manifest as it is kept: its bytes, verbatim, and the media type that it was pushed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredManifest {
    /// The media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Bytes,
}

impl StoredManifest {
    /// The value of a record: the media type, a line feed, and the bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut value = BytesMut::with_capacity(self.media_type.len() + 1 + self.bytes.len());
        value.put_slice(self.media_type.as_bytes());
        value.put_u8(b'\n');
        value.put_slice(&self.bytes);
        value.freeze()
    }

    /// What the value of a record says; `None` when that is damaged.
    #[must_use]
    pub fn decode(value: &Bytes) -> Option<Self> {
        let end = value.iter().position(|&byte| byte == b'\n')?;
        let media_type = std::str::from_utf8(&value[..end]).ok()?.to_owned();
        Some(Self { media_type, bytes: value.slice(end + 1..) })
    }

    /// Read again. What was stored has been valid.
    #[must_use]
    pub fn parse(&self) -> Option<RawManifest> {
        RawManifest::parse(&self.media_type, self.bytes.clone()).ok()
    }
}

impl Repositories {
    /// The manifest that `identifier` picks, and its digest, if the repository has it.
    pub async fn manifest(
        &self,
        name: &Name,
        identifier: &Identifier,
    ) -> Result<Option<(Digest, StoredManifest)>, Error> {
        let digest = match identifier {
            Identifier::Digest(digest) => *digest,
            Identifier::Tag(tag) => {
                let key = Key::Tag(name.clone(), tag.clone());
                let Some(value) = self.storage.read(&key).await? else { return Ok(None) };
                tags::parse(&value).ok_or_else(|| Error::Damaged(key.to_string()))?
            }
        };
        let key = Key::Manifest(name.clone(), digest);
        let value = match self.storage.read(&key).await? {
            None if self.manifest_exists(name, digest).await? => self.storage.read(&key).await?,
            found => found,
        };
        let Some(value) = value else { return Ok(None) };
        let manifest = StoredManifest::decode(&value).ok_or_else(|| Error::Damaged(key.to_string()))?;
        Ok(Some((digest, manifest)))
    }

    /// The repository's manifests in the order of their digests: at most `limit` after `after`.
    pub async fn manifests(&self, name: &Name, after: Option<Digest>, limit: usize) -> Result<Vec<Digest>, Error> {
        let found = self.storage.digests(&Digests::Manifests(name.clone()), after, limit).await?;
        Ok(found.into_iter().map(|(digest, _)| digest).collect())
    }

    /// Descriptors of the manifests that have `subject` as their subject, in the order of their digests: at most `limit`
    /// after `after` (distribution-spec v1.1.1, "Listing Referrers"). The subject need not be there. Fewer than `limit`
    /// are not always the last ones; none are.
    pub async fn referrers(
        &self,
        name: &Name,
        subject: Digest,
        after: Option<Digest>,
        limit: usize,
    ) -> Result<Vec<Descriptor>, Error> {
        let list = Digests::Referrers(name.clone(), subject);
        let mut referrers = Vec::new();
        for (digest, _) in self.storage.digests(&list, after, limit).await? {
            let key = Key::Referrer(name.clone(), subject, digest);
            // It may be gone by now.
            let Some(value) = self.storage.read(&key).await? else { continue };
            referrers.push(serde_json::from_slice(&value).map_err(|_| Error::Damaged(key.to_string()))?);
        }
        Ok(referrers)
    }

    /// Removes the manifest with its tags and from the referrers of its subject; `false` when the repository does not
    /// have it. What refers to it stays.
    pub async fn delete_manifest(&self, name: &Name, digest: Digest) -> Result<bool, Error> {
        let Some((_, manifest)) = self.manifest(name, &digest.into()).await? else { return Ok(false) };
        // The manifest goes before its tags: who tags it now looks for it after that, and does not find it.
        let removed = self.remove_manifest(name, digest, manifest.parse().as_ref()).await?;
        self.delete_tags_of(name, digest).await?;
        Ok(removed)
    }

    /// Removes a manifest, and from the referrers of its subject.
    pub(super) async fn remove_manifest(
        &self,
        name: &Name,
        digest: Digest,
        manifest: Option<&RawManifest>,
    ) -> Result<bool, Error> {
        let removed = self.delete(&Key::Manifest(name.clone(), digest)).await?;
        if let Some((key, _)) = manifest.and_then(|manifest| referrer(name, digest, manifest)) {
            self.delete(&key).await?;
        }
        Ok(removed)
    }

    /// Whether the repository has the manifest, after a look aside. One that is restored is a referrer again, too.
    pub(super) async fn manifest_exists(&self, name: &Name, digest: Digest) -> Result<bool, Error> {
        let key = Key::Manifest(name.clone(), digest);
        let item = Item::from(key.clone());
        if self.storage.find(&item).await?.is_some() {
            return Ok(true);
        }
        if !self.exists(&item).await? {
            return Ok(false);
        }
        let Some(value) = self.storage.read(&key).await? else { return Ok(false) };
        let manifest = StoredManifest::decode(&value).and_then(|manifest| manifest.parse());
        if let Some((key, descriptor)) = manifest.and_then(|manifest| referrer(name, digest, &manifest)) {
            self.storage.write(&key, descriptor, Condition::Absent).await?;
        }
        Ok(true)
    }
}

/// The record that says that a manifest has a subject, if it has one.
pub(super) fn referrer(name: &Name, digest: Digest, manifest: &RawManifest) -> Option<(Key, Bytes)> {
    let subject = manifest.manifest().subject()?.digest;
    let descriptor = Descriptor { digest, ..manifest.referrer() };
    // A descriptor is always JSON.
    let value = serde_json::to_vec(&descriptor).unwrap_or_default();
    Some((Key::Referrer(name.clone(), subject, digest), value.into()))
}
