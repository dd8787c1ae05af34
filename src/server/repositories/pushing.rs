//! How a manifest is put: checked, written, and looked at again.

use std::io;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::{Missing, PutError, Repositories, StoredManifest, manifests, tags};
use crate::content::TagCondition;
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, RawManifest, media_type};
use crate::reference::{Name, Tag};
use crate::server::storage::{Condition, Error, Key};

/// How many of the contents that a manifest refers to are looked for at once.
const CONCURRENT_LOOKUPS: usize = 16;
/// How often a manifest is put before the second look at what it refers to has to find everything.
const ATTEMPTS: usize = 3;

/// A manifest that is to be put.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The manifest.
    pub manifest: &'a RawManifest,
    /// The digest that it is put under, of any algorithm. That the bytes have it is the caller's to check.
    pub digest: Digest,
    /// The tags that are to point to it.
    pub tags: &'a [Tag],
    /// What has to hold for each of the tags.
    pub condition: TagCondition,
}

/// The same condition, of the record of a tag.
fn of_record(condition: TagCondition) -> Condition {
    match condition {
        TagCondition::Any => Condition::Any,
        TagCondition::Absent => Condition::Absent,
        TagCondition::Is(digest) => Condition::Is(value(digest)),
    }
}

/// What a tag that points to `digest` has in its record.
fn value(digest: Digest) -> Bytes {
    digest.to_string().into()
}

/// A tag, and what it had in its record before it was moved.
struct Moved {
    tag: Tag,
    before: Option<Bytes>,
}

impl Repositories {
    /// Puts a manifest, if everything that it refers to is there, and lets the tags point to it. When this fails, no tag
    /// has moved, unless it was the storage that failed.
    ///
    /// # Errors
    /// [`PutError::Missing`], [`PutError::Condition`], and [`PutError::Storage`].
    pub async fn put_manifest(&self, name: &Name, push: &Push<'_>) -> Result<(), PutError> {
        for _ in 0..ATTEMPTS {
            let tags = self.read_tags(name, push).await?;
            self.find_successors(name, push.manifest.manifest()).await?;
            let is_new = self.write_manifest(name, push).await?;
            let moved = self.move_tags(name, push, tags).await?;
            if self.is_whole(name, push).await? {
                return Ok(());
            }
            self.take_back(name, push.digest, moved).await?;
            if is_new {
                self.remove_manifest(name, push.digest, Some(push.manifest)).await?;
            }
            // What was taken back may be what somebody else had put meanwhile, who found everything there. Then it is
            // there in the next attempt, too.
        }
        let what = format!("put manifest {} while it is collected", push.digest);
        Err(Error::io(what)(io::ErrorKind::ResourceBusy.into()).into())
    }

    /// What the tags point to before they are moved, if they may be.
    async fn read_tags(&self, name: &Name, push: &Push<'_>) -> Result<Vec<Moved>, PutError> {
        let mut tags = Vec::with_capacity(push.tags.len());
        for tag in push.tags {
            let before = self.storage.read(&Key::Tag(name.clone(), tag.clone())).await?;
            if !of_record(push.condition).holds(before.as_deref()) {
                return Err(conflict(name, tag, push.condition, before.as_ref()));
            }
            tags.push(Moved { tag: tag.clone(), before });
        }
        Ok(tags)
    }

    /// Writes the manifest and, if it has a subject, that it is about it. Says whether the manifest is new.
    async fn write_manifest(&self, name: &Name, push: &Push<'_>) -> Result<bool, Error> {
        let key = Key::Manifest(name.clone(), push.digest);
        let media_type = push.manifest.media_type().to_owned();
        let value = StoredManifest { media_type, bytes: push.manifest.bytes().clone() }.encode();
        let is_new = self.storage.write(&key, value.clone(), Condition::Absent).await?;
        if !is_new {
            self.storage.write(&key, value, Condition::Any).await?;
        }
        if let Some((key, descriptor)) = manifests::referrer(name, push.digest, push.manifest) {
            self.storage.write(&key, descriptor, Condition::Any).await?;
        }
        Ok(is_new)
    }

    /// Moves all tags, or none when one of them has been moved by somebody else against the condition. The manifest
    /// stays even then: the other may have pushed the same.
    async fn move_tags(&self, name: &Name, push: &Push<'_>, tags: Vec<Moved>) -> Result<Vec<Moved>, PutError> {
        let mut moved = Vec::with_capacity(tags.len());
        for tag in tags {
            let key = Key::Tag(name.clone(), tag.tag.clone());
            // Whoever has resolved the tag by now goes on with this manifest, which nothing may keep any more.
            if let Some(before) = tag.before.as_deref().and_then(tags::parse).filter(|before| *before != push.digest) {
                self.storage.renew(&Key::Manifest(name.clone(), before).into()).await?;
            }
            if self.storage.write(&key, value(push.digest), of_record(push.condition)).await? {
                moved.push(tag);
                continue;
            }
            self.take_back(name, push.digest, moved).await?;
            let found = self.storage.read(&key).await?;
            return Err(conflict(name, &tag.tag, push.condition, found.as_ref()));
        }
        Ok(moved)
    }

    /// Lets tags point to where they did before, unless somebody else has moved them since.
    async fn take_back(&self, name: &Name, digest: Digest, moved: Vec<Moved>) -> Result<(), Error> {
        for Moved { tag, before } in moved {
            let (key, mut current) = (Key::Tag(name.clone(), tag), value(digest));
            if let Some(before) = before {
                self.storage.write(&key, before.clone(), Condition::Is(current)).await?;
                // Nothing kept that manifest while no tag pointed to it.
                if let Some(digest) = tags::parse(&before)
                    && self.manifest_exists(name, digest).await?
                {
                    continue;
                }
                current = before;
            }
            self.storage.remove(&key, Condition::Is(current)).await?;
        }
        Ok(())
    }

    /// Whether the manifest and everything that it refers to is there, now that it has been written. The manifest comes
    /// first: what is there keeps what it refers to from being collected.
    async fn is_whole(&self, name: &Name, push: &Push<'_>) -> Result<bool, Error> {
        if !self.manifest_exists(name, push.digest).await? {
            return Ok(false);
        }
        match self.find_successors(name, push.manifest.manifest()).await {
            Ok(()) => Ok(true),
            Err(Unfound::Missing(_)) => Ok(false),
            Err(Unfound::Storage(error)) => Err(error),
        }
    }

    /// Makes sure that everything is in the repository without which the manifest means nothing.
    async fn find_successors(&self, name: &Name, manifest: &Manifest) -> Result<(), Unfound> {
        if self.allow_missing_blobs {
            return Ok(());
        }
        let mut wanted: Vec<&Descriptor> =
            manifest.successors().filter(|descriptor| !media_type::is_foreign_layer(&descriptor.media_type)).collect();
        wanted.sort_by_key(|descriptor| descriptor.digest);
        wanted.dedup_by_key(|descriptor| descriptor.digest);
        let is_index = matches!(manifest, Manifest::Index(_));
        let lookups: Vec<_> =
            wanted.into_iter().map(|descriptor| self.find_successor(name, descriptor, is_index)).collect();
        stream::iter(lookups).buffer_unordered(CONCURRENT_LOOKUPS).try_collect().await
    }

    async fn find_successor(&self, name: &Name, descriptor: &Descriptor, in_index: bool) -> Result<(), Unfound> {
        let Descriptor { digest, media_type, .. } = descriptor;
        // An image index may list what is no manifest; nothing else than a blob can be a config or a layer.
        let may_be_blob = !in_index || !media_type::is_manifest(media_type);
        if in_index && self.manifest_exists(name, *digest).await?
            || may_be_blob && self.blob_size(name, *digest).await?.is_some()
        {
            return Ok(());
        }
        let (repository, media_type) = (name.clone(), media_type.clone());
        Err(Missing { repository, digest: *digest, media_type, is_manifest: !may_be_blob }.into())
    }
}

/// Why something that a manifest refers to was not found.
#[derive(Debug, thiserror::Error)]
enum Unfound {
    #[error(transparent)]
    Missing(#[from] Missing),
    #[error(transparent)]
    Storage(#[from] Error),
}

impl From<Unfound> for PutError {
    fn from(unfound: Unfound) -> Self {
        match unfound {
            Unfound::Missing(missing) => missing.into(),
            Unfound::Storage(error) => error.into(),
        }
    }
}

fn conflict(repository: &Name, tag: &Tag, condition: TagCondition, found: Option<&Bytes>) -> PutError {
    let expected = if let TagCondition::Is(digest) = condition { Some(digest) } else { None };
    let found = found.and_then(|value| tags::parse(value));
    PutError::Condition { repository: repository.clone(), tag: tag.clone(), expected, found }
}
