//! A repository of a registry as a source and a target: what is a manifest goes one way, what is a blob the other.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use reqwest::Method;
use tracing::Instrument;

use crate::content::{self, ErrorKind, Open, OpenRange, Outcome, Reader, Source, TagCondition, Tagged, Target};
use crate::digest::Digest;
use crate::manifest::{Descriptor, RawManifest, media_type};
use crate::protocol::Scope;
use crate::reference::{Identifier, Repository, Tag};

use super::session::Session;
use super::wholes::Wholes;
use super::{Error, trace};

/// A repository, and the client's conversation with its registry.
#[derive(Clone)]
pub struct RemoteRepository {
    pub(super) session: Arc<Session>,
    pub(super) repository: Repository,
    /// Whose turn it is to change a list of referrers.
    pub(super) listing: Arc<tokio::sync::Mutex<()>>,
    /// What came whole although a part was wanted.
    pub(super) wholes: Wholes,
}

impl RemoteRepository {
    pub(super) fn new(session: Arc<Session>, repository: Repository) -> Self {
        Self { session, repository, listing: Arc::default(), wholes: Wholes::default() }
    }

    /// Which repository it is.
    #[must_use]
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Asks the registry first, before anything is wanted of it, whether it wants to know who asks (distribution-spec
    /// v1.1.1, end-1), and gets a token for `scope` if it does: the next request comes with it. Without this, what is
    /// wanted is asked for at once, and a second time if need be.
    ///
    /// # Errors
    /// When the registry asks in a way that cannot or must not be followed.
    pub async fn introduce(&self, scope: &Scope) -> Result<(), Error> {
        self.session.introduce(scope).await
    }

    pub(super) fn pull(&self) -> Scope {
        Scope::pull(&self.repository.name)
    }

    pub(super) fn push(&self) -> Scope {
        Scope::push(&self.repository.name)
    }

    pub(super) fn delete(&self) -> Scope {
        Scope::delete(&self.repository.name)
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
        let span = trace::begin("fetch", descriptor);
        if media_type::is_manifest(&descriptor.media_type) {
            let (identifier, scope) = (descriptor.digest.into(), self.pull());
            let answer = self.request_manifest(Method::GET, &identifier, &scope).instrument(span).await?;
            let body = answer.expect_whole(descriptor).await?.into_stream();
            return Ok(Reader::new(descriptor, body.map_err(content::Error::from)));
        }
        let answer = self.request_blob(Method::GET, descriptor, &self.pull()).instrument(span).await?;
        Ok(self.go_on_with(answer, descriptor).await?)
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
        let span = trace::begin("push", descriptor);
        let found = if media_type::is_manifest(&descriptor.media_type) {
            let (identifier, scope) = (descriptor.digest.into(), self.push());
            self.resolve_manifest(&identifier, &scope).instrument(span).await.map(|_| ())
        } else {
            self.head_blob(descriptor).instrument(span).await
        };
        match found {
            Ok(()) => Ok(true),
            Err(Error::Refused(refusal)) if refusal.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn push(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, content::Error> {
        let span = trace::about(descriptor);
        if media_type::is_manifest(&descriptor.media_type) {
            let manifest = content::read_manifest(from, descriptor).await?;
            self.put_manifest(&manifest, &descriptor.digest.into(), TagCondition::Any).instrument(span).await?;
            Ok(Outcome::Uploaded)
        } else {
            Ok(self.mount_or_upload(descriptor, from).instrument(span).await?)
        }
    }

    async fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>, content::Error> {
        match self.describe(&tag.clone().into(), &media_type::MANIFESTS, &self.push()).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::Refused(refusal)) if refusal.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Registries refuse an image without its blobs (distribution-spec v1.1.1, "Pushing Manifests"), or may do so.
    async fn tagged_with(&self, tag: &Tag) -> Result<Option<Tagged>, content::Error> {
        match self.tagged_image(tag).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Content) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn tag_if(&self, manifest: &RawManifest, tag: &Tag, condition: TagCondition) -> Result<(), content::Error> {
        let span = trace::begin("push", &manifest.descriptor());
        Ok(self.put_manifest(manifest, &tag.clone().into(), condition).instrument(span).await?)
    }
}
