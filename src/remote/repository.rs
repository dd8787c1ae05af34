//! A repository of a registry as a source and a target: what is a manifest goes one way, what is a blob the other.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Method;

use crate::content::{self, ErrorKind, Open, OpenRange, Outcome, Reader, Source, Target};
use crate::digest::Digest;
use crate::manifest::{Descriptor, RawManifest, media_type};
use crate::protocol::Scope;
use crate::reference::{Identifier, Repository, Tag};

use super::Error;
use super::session::Session;

/// A repository, and the client's conversation with its registry.
#[derive(Clone)]
pub struct RemoteRepository {
    pub(super) session: Arc<Session>,
    pub(super) repository: Repository,
    /// Whose turn it is to change a list of referrers.
    pub(super) listing: Arc<tokio::sync::Mutex<()>>,
}

impl RemoteRepository {
    pub(super) fn new(session: Arc<Session>, repository: Repository) -> Self {
        Self { session, repository, listing: Arc::default() }
    }

    /// Which repository it is.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    pub(super) fn pull(&self) -> Scope {
        Scope::pull(&self.repository.name)
    }

    pub(super) fn push(&self) -> Scope {
        Scope::push(&self.repository.name)
    }
}

impl fmt::Debug for RemoteRepository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteRepository({})", self.repository)
    }
}

#[async_trait]
impl Open for RemoteRepository {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        let answer = if media_type::is_manifest(&descriptor.media_type) {
            self.request_manifest(Method::GET, &descriptor.digest.into(), &self.pull()).await?
        } else {
            self.request_blob(Method::GET, descriptor, &self.pull()).await?
        };
        Ok(super::blobs::reader(answer, descriptor).await?)
    }

    fn origin(&self) -> Option<&Repository> {
        Some(&self.repository)
    }
}

#[async_trait]
impl OpenRange for RemoteRepository {
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, content::Error> {
        if length == 0 {
            return Ok(Bytes::new());
        }
        self.blob_range(descriptor, offset, length).await
    }
}

#[async_trait]
impl Source for RemoteRepository {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, content::Error> {
        Ok(self.resolve_manifest(identifier, &self.pull()).await?)
    }

    async fn manifest(&self, identifier: &Identifier) -> Result<RawManifest, content::Error> {
        Ok(self.get_manifest(identifier, &self.pull()).await?)
    }

    async fn referrers(&self, subject: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, content::Error> {
        Ok(self.list_referrers(subject, artifact_type).await?)
    }
}

#[async_trait]
impl Target for RemoteRepository {
    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, content::Error> {
        // Whoever asks this is about to push: the token for that is needed anyway.
        let found = if media_type::is_manifest(&descriptor.media_type) {
            self.resolve_manifest(&descriptor.digest.into(), &self.push()).await.map(|_| ())
        } else {
            self.head_blob(descriptor).await
        };
        match found {
            Ok(()) => Ok(true),
            Err(Error::Refused(refusal)) if refusal.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn push(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, content::Error> {
        if media_type::is_manifest(&descriptor.media_type) {
            let manifest = content::read_manifest(from, descriptor).await?;
            self.put_manifest(&manifest, &descriptor.digest.into()).await?;
            Ok(Outcome::Uploaded)
        } else {
            Ok(self.mount_or_upload(descriptor, from).await?)
        }
    }

    async fn tag(&self, manifest: &RawManifest, tag: &Tag) -> Result<(), content::Error> {
        Ok(self.put_manifest(manifest, &tag.clone().into()).await?)
    }
}
