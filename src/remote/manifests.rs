//! Manifests (distribution-spec v1.1.1, "Pulling manifests", "Pushing Manifests").

use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode};

use crate::digest::Digest;
use crate::manifest::{Descriptor, MAX_MANIFEST_SIZE, RawManifest, media_type};
use crate::protocol::{Endpoint, Scope, header};
use crate::reference::Identifier;

use super::Error;
use super::answer::Answer;
use super::payload::Payload;
use super::repository::RemoteRepository;
use super::transport::Call;

impl RemoteRepository {
    fn manifest_call(&self, method: Method, identifier: &Identifier) -> Call<'static> {
        let endpoint = Endpoint::Manifest(self.repository.name.clone(), identifier.clone());
        Call::new(method, self.session.url(&endpoint))
    }

    /// The registry's answer to a request for a manifest (end-3).
    pub(super) async fn request_manifest(
        &self,
        method: Method,
        identifier: &Identifier,
        scope: &Scope,
    ) -> Result<Answer, Error> {
        // One line, because some registries read only the first. What is joined is ASCII, so that it never fails.
        let accept = HeaderValue::from_str(&media_type::MANIFESTS.join(", "));
        let accept = accept.unwrap_or(HeaderValue::from_static("*/*"));
        let call = self.manifest_call(method, identifier).with_header(ACCEPT, accept);
        self.session.send(&call, scope).await
    }

    /// The descriptor of a manifest: by HEAD, or by GET where a registry's answer to HEAD does not say enough.
    pub(super) async fn resolve_manifest(&self, identifier: &Identifier, scope: &Scope) -> Result<Descriptor, Error> {
        if let Some(descriptor) = self.head_manifest(identifier, scope).await? {
            return Ok(descriptor);
        }
        let found = self.get_manifest(identifier, scope).await?.descriptor();
        Ok(match identifier {
            // It may have another algorithm than the one that the manifest names itself by.
            Identifier::Digest(digest) => Descriptor { digest: *digest, ..found },
            Identifier::Tag(_) => found,
        })
    }

    async fn head_manifest(&self, identifier: &Identifier, scope: &Scope) -> Result<Option<Descriptor>, Error> {
        let answer = self.request_manifest(Method::HEAD, identifier, scope).await?;
        if matches!(
            answer.status(),
            StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED
        ) {
            return Ok(None);
        }
        let answer = answer.expect(StatusCode::OK).await?;
        answer.reject_web_page()?;
        let digest = match identifier {
            Identifier::Digest(digest) => {
                answer.confirm(*digest)?;
                Some(*digest)
            }
            Identifier::Tag(_) => answer.digest(),
        };
        let size = answer.content_length().filter(|size| *size > 0);
        let media_type = Some(answer.media_type()).filter(|media_type| media_type::is_manifest(media_type));
        Ok(match (media_type, digest, size) {
            (Some(media_type), Some(digest), Some(size)) => Some(Descriptor::new(media_type, digest, size)),
            _ => None,
        })
    }

    /// A manifest, verified: against the digest that was asked for, else against the one that the registry names.
    pub(super) async fn get_manifest(&self, identifier: &Identifier, scope: &Scope) -> Result<RawManifest, Error> {
        let answer = self.request_manifest(Method::GET, identifier, scope).await?.expect(StatusCode::OK).await?;
        answer.reject_web_page()?;
        let request = answer.request().to_owned();
        let media_type = answer.media_type().to_owned();
        let expected = match identifier {
            Identifier::Digest(digest) => Some(*digest),
            Identifier::Tag(_) => answer.digest(),
        };
        let bytes = answer.read(MAX_MANIFEST_SIZE).await?;
        if let Some(expected) = expected {
            let found = expected.algorithm().digest(&bytes);
            if found != expected {
                return Err(Error::content(&request, format!("manifest has digest {found}, expected {expected}")));
            }
        }
        RawManifest::parse(&media_type, bytes).map_err(|source| Error::Manifest { request, source })
    }

    /// Stores a manifest under a tag or its digest (end-7).
    pub(super) async fn put_manifest(&self, manifest: &RawManifest, identifier: &Identifier) -> Result<(), Error> {
        let media_type = HeaderValue::from_str(manifest.media_type()).map_err(|error| {
            Error::content(&self.repository.to_string(), format!("media type of a manifest: {error}"))
        })?;
        let call = self
            .manifest_call(Method::PUT, identifier)
            .with_header(CONTENT_TYPE, media_type)
            .with_payload(Payload::Bytes(manifest.bytes().clone()));
        let answer = self.session.send(&call, &self.push()).await?.expect(StatusCode::CREATED).await?;
        let found = answer.digest().map_or(manifest.digest(), |named| named.algorithm().digest(manifest.bytes()));
        answer.confirm(found)?;
        if answer.header(header::OCI_SUBJECT).is_some() {
            return Ok(());
        }
        self.list_as_referrer(manifest, identifier).await
    }
}

impl Answer {
    /// Fails if the registry names another digest for what it has, or took, than the one that it should. A digest of
    /// another algorithm says nothing.
    pub(super) fn confirm(&self, expected: Digest) -> Result<(), Error> {
        match self.digest() {
            Some(named) if named.algorithm() == expected.algorithm() && named != expected => {
                Err(Error::content(self.request(), format!("the registry has digest {named}, expected {expected}")))
            }
            _ => Ok(()),
        }
    }
}
