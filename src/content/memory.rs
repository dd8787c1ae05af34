//! A store in memory: for tests and demonstrations.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Error, Open, OpenRange, Outcome, Reader, Source, TagCondition, Target, check_range};
use crate::digest::Digest;
use crate::manifest::{Descriptor, RawManifest};
use crate::reference::{Identifier, Tag};

/// Content, manifests and tags in memory.
#[derive(Debug, Default)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    contents: BTreeMap<Digest, Bytes>,
    manifests: BTreeMap<Digest, Descriptor>,
    tags: BTreeMap<Tag, Digest>,
}

impl Memory {
    /// A store with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn bytes(&self, descriptor: &Descriptor) -> Result<Bytes, Error> {
        let contents = self.state().contents.get(&descriptor.digest).cloned();
        contents.ok_or_else(|| Error::not_found(format!("{} is not in memory", descriptor.digest)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is a single insertion, so a panic elsewhere cannot have left the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert_manifest(&self, digest: Digest, manifest: &RawManifest) {
        let mut state = self.state();
        state.contents.insert(digest, manifest.bytes().clone());
        state.manifests.insert(digest, Descriptor { digest, ..manifest.descriptor() });
    }
}

#[async_trait]
impl Open for Memory {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        Ok(Reader::of_bytes(descriptor, self.bytes(descriptor)?))
    }
}

#[async_trait]
impl OpenRange for Memory {
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, Error> {
        let bytes = self.bytes(descriptor)?;
        let stored = Descriptor { size: bytes.len() as u64, ..descriptor.clone() };
        check_range(&stored, offset, length)?;
        Ok(bytes.slice(offset as usize..(offset + length) as usize))
    }
}

#[async_trait]
impl Source for Memory {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, Error> {
        let state = self.state();
        let digest = match identifier {
            Identifier::Digest(digest) => Some(digest),
            Identifier::Tag(tag) => state.tags.get(tag),
        };
        let found = digest.and_then(|digest| state.manifests.get(digest));
        found.cloned().ok_or_else(|| Error::not_found(format!("manifest {identifier} is not in memory")))
    }

    async fn referrers(&self, subject: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        let state = self.state();
        let mut found = Vec::new();
        for (&digest, described) in &state.manifests {
            let Some(bytes) = state.contents.get(&digest) else { continue };
            let manifest = RawManifest::parse(&described.media_type, bytes.clone())?;
            if manifest.manifest().subject().is_some_and(|of| of.digest == subject) {
                found.push(Descriptor { digest, ..manifest.referrer() });
            }
        }
        found.retain(|referrer| referrer.has_artifact_type(artifact_type));
        Ok(found)
    }
}

#[async_trait]
impl Target for Memory {
    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        Ok(self.state().contents.contains_key(&descriptor.digest))
    }

    async fn push(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, Error> {
        let bytes = from.open(descriptor).await?.read_all().await?;
        if crate::manifest::media_type::is_manifest(&descriptor.media_type) {
            self.insert_manifest(descriptor.digest, &RawManifest::parse(&descriptor.media_type, bytes)?);
        } else {
            self.state().contents.insert(descriptor.digest, bytes);
        }
        Ok(Outcome::Uploaded)
    }

    async fn tag_if(&self, manifest: &RawManifest, tag: &Tag, condition: TagCondition) -> Result<(), Error> {
        self.insert_manifest(manifest.digest(), manifest);
        let mut state = self.state();
        condition.check(tag, state.tags.get(tag).copied())?;
        state.tags.insert(tag.clone(), manifest.digest());
        Ok(())
    }
}
