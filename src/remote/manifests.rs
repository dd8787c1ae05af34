//! Manifests (distribution-spec v1.1.1, "Pulling manifests", "Pushing Manifests", "Deleting Manifests").

use std::iter;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode};

use crate::content::{TagCondition, Tagged};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Invalid, MAX_MANIFEST_SIZE, Manifest, RawManifest, media_type};
use crate::protocol::{Endpoint, Scope, header};
use crate::reference::{Identifier, Tag};

use super::Error;
use super::answer::Answer;
use super::payload::Payload;
use super::repository::RemoteRepository;
use super::transport::Call;

/// What registries answer once they have a manifest or a blob: that it is created, or something that means the same.
pub(super) const STORED: [StatusCode; 4] =
    [StatusCode::CREATED, StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT];

/// A manifest of any kind, as a registry has it: also of a kind that [`RawManifest`] does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyManifest {
    /// The media type that it is sent as, without parameters.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
}

impl AnyManifest {
    /// These bytes as a manifest that is sent as `media_type`.
    #[must_use]
    pub fn new(media_type: impl Into<String>, bytes: Bytes) -> Self {
        Self { media_type: media_type.into(), digest: Digest::sha256(&bytes), bytes }
    }

    /// The descriptor of this manifest.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.bytes.len() as u64)
    }
}

impl From<&RawManifest> for AnyManifest {
    fn from(manifest: &RawManifest) -> Self {
        let (media_type, bytes) = (manifest.media_type().to_owned(), manifest.bytes().clone());
        Self { media_type, digest: manifest.digest(), bytes }
    }
}

impl RemoteRepository {
    /// The manifest that `identifier` picks, of whatever kind (end-3): verified against the digest that is asked for, else
    /// against the one that the registry names. `accept` are the media types that the registry may choose from; if there
    /// are none, whatever it likes.
    ///
    /// Docker's schema 1 in signed form is not verified when it comes by tag: its digest is that of the part that is signed.
    ///
    /// # Errors
    /// [`crate::content::ErrorKind::NotFound`] when it picks nothing, [`crate::content::ErrorKind::Content`] when the
    /// digest is another, or there are more than [`MAX_MANIFEST_SIZE`] bytes.
    pub async fn fetch_manifest(&self, identifier: &Identifier, accept: &[&str]) -> Result<AnyManifest, Error> {
        Ok(self.fetch(identifier, accept, &self.pull()).await?.1)
    }

    /// The descriptor of the manifest that `identifier` picks, of whatever kind, as the registry says it (end-3): by HEAD,
    /// or by GET where its answer to HEAD does not say all of it. For `accept` see [`Self::fetch_manifest`].
    ///
    /// # Errors
    /// As there.
    pub async fn describe_manifest(&self, identifier: &Identifier, accept: &[&str]) -> Result<Descriptor, Error> {
        self.describe(identifier, accept, &self.pull()).await
    }

    /// The same, by whoever may do this.
    pub(super) async fn describe(
        &self,
        identifier: &Identifier,
        accept: &[&str],
        scope: &Scope,
    ) -> Result<Descriptor, Error> {
        match self.head_manifest(identifier, accept, scope).await? {
            Some(descriptor) => Ok(descriptor),
            None => Ok(self.fetch(identifier, accept, scope).await?.1.descriptor()),
        }
    }

    /// Stores a manifest of any kind under a tag or its digest (end-7), and returns its digest.
    ///
    /// # Errors
    /// [`crate::content::ErrorKind::Content`] when it has another digest than the one it is to be stored under, which is
    /// found out before anything is sent, or than the registry says.
    pub async fn push_manifest(&self, manifest: &AnyManifest, identifier: &Identifier) -> Result<Digest, Error> {
        let (digest, is_listed) = self.send_manifest(manifest, identifier, TagCondition::Any).await?;
        // What cannot be read here has no subject that could be known.
        if !is_listed && let Ok(manifest) = RawManifest::parse(&manifest.media_type, manifest.bytes.clone()) {
            self.list_as_referrer(&manifest, identifier).await?;
        }
        Ok(digest)
    }

    /// Stores a manifest, and returns its digest and whether the registry says that it lists it as a referrer.
    /// Not all registries heed the condition.
    async fn send_manifest(
        &self,
        manifest: &AnyManifest,
        identifier: &Identifier,
        condition: TagCondition,
    ) -> Result<(Digest, bool), Error> {
        let place = self.repository.to_string();
        if manifest.bytes.len() as u64 > MAX_MANIFEST_SIZE {
            let source = Invalid::TooLarge(manifest.bytes.len() as u64);
            return Err(Error::Manifest { request: place, source });
        }
        if let Identifier::Digest(expected) = identifier {
            verify(&place, *expected, &manifest.bytes)?;
        }
        let content_type = header_value(&place, &manifest.media_type)?;
        let call = self
            .manifest_call(Method::PUT, identifier)
            .with_header(CONTENT_TYPE, content_type)
            .with_payload(Payload::Bytes(manifest.bytes.clone()));
        let call = match conditional(&place, condition)? {
            Some((name, value)) => call.with_header(name, value),
            None => call,
        };
        let answer = self.session.send(&call, &self.push()).await?;
        let answer = answer.expect_one_of(&STORED).await.map_err(lacking)?;
        answer.reject_web_page()?;
        let digest = match answer.digest() {
            Some(named) if !is_signed(&manifest.media_type) => {
                answer.confirm(named.algorithm().digest(&manifest.bytes))?;
                named
            }
            _ => manifest.digest,
        };
        Ok((digest, answer.header(header::OCI_SUBJECT).is_some()))
    }

    /// Removes a manifest, with every tag that points to it (end-9). If it has a subject, and the registry keeps no lists of
    /// referrers, it is also taken off the list that clients keep (distribution-spec v1.1.1, "Deleting Manifests").
    ///
    /// # Errors
    /// [`crate::content::ErrorKind::NotFound`] when there is no such manifest. Some registries remove nothing on request.
    /// [`Error::StillListed`] when it is gone, and the list could not be changed.
    pub async fn delete_manifest(&self, digest: Digest) -> Result<(), Error> {
        let hint = "this registry lets nobody remove manifests; its configuration may have an option for that";
        // Once it is gone, nobody can say what it was about.
        let subject = self.subject_of(digest).await?;
        self.remove(&Endpoint::Manifest(self.repository.name.clone(), digest.into()), hint).await?;
        match subject {
            Some(subject) => self.unlist_referrer(subject, digest).await,
            None => Ok(()),
        }
    }

    /// The subject of a manifest, if it can be read here and has one. What cannot be read may still be removed.
    async fn subject_of(&self, digest: Digest) -> Result<Option<Digest>, Error> {
        match self.get_manifest(&digest.into(), &self.delete()).await {
            Ok(manifest) => Ok(manifest.manifest().subject().map(|subject| subject.digest)),
            Err(Error::Refused(_) | Error::Answer { .. } | Error::Content { .. } | Error::Manifest { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn manifest_call(&self, method: Method, identifier: &Identifier) -> Call<'static> {
        let endpoint = Endpoint::Manifest(self.repository.name.clone(), identifier.clone());
        Call::new(method, self.session.url(&endpoint))
    }

    /// The registry's answer to a request for a manifest of a kind that is read here (end-3).
    pub(super) async fn request_manifest(
        &self,
        method: Method,
        identifier: &Identifier,
        scope: &Scope,
    ) -> Result<Answer, Error> {
        self.request_accepting(method, identifier, &media_type::MANIFESTS, scope).await
    }

    async fn request_accepting(
        &self,
        method: Method,
        identifier: &Identifier,
        accept: &[&str],
        scope: &Scope,
    ) -> Result<Answer, Error> {
        // One line, because some registries read only the first.
        let accept = if accept.is_empty() { "*/*".to_owned() } else { accept.join(", ") };
        let accept = header_value(&self.repository.to_string(), &accept)?;
        let call = self.manifest_call(method, identifier).with_header(ACCEPT, accept);
        self.session.send(&call, scope).await
    }

    /// The descriptor of a manifest: by HEAD, or by GET where a registry's answer to HEAD does not say enough.
    pub(super) async fn resolve_manifest(&self, identifier: &Identifier, scope: &Scope) -> Result<Descriptor, Error> {
        let found = self.head_manifest(identifier, &media_type::MANIFESTS, scope).await?;
        if let Some(descriptor) = found.filter(|found| media_type::is_manifest(&found.media_type)) {
            return Ok(descriptor);
        }
        let found = self.get_manifest(identifier, scope).await?.descriptor();
        Ok(match identifier {
            // It may have another algorithm than the one that the manifest names itself by.
            Identifier::Digest(digest) => Descriptor { digest: *digest, ..found },
            Identifier::Tag(_) => found,
        })
    }

    /// What an answer to HEAD says, if it says all of it.
    async fn head_manifest(
        &self,
        identifier: &Identifier,
        accept: &[&str],
        scope: &Scope,
    ) -> Result<Option<Descriptor>, Error> {
        let answer = self.request_accepting(Method::HEAD, identifier, accept, scope).await?;
        if answer.knows_no_head() {
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
        let media_type = Some(answer.media_type()).filter(|media_type| !media_type.is_empty());
        Ok(match (media_type, digest, size) {
            (Some(media_type), Some(digest), Some(size)) => Some(Descriptor::new(media_type, digest, size)),
            _ => None,
        })
    }

    /// A manifest of a kind that is read here, verified.
    pub(super) async fn get_manifest(&self, identifier: &Identifier, scope: &Scope) -> Result<RawManifest, Error> {
        let (request, found) = self.fetch(identifier, &media_type::MANIFESTS, scope).await?;
        RawManifest::parse(&found.media_type, found.bytes).map_err(|source| Error::Manifest { request, source })
    }

    /// What `tag` points to, of whatever kind, and the blobs that it names, if it is an image.
    pub(super) async fn tagged_image(&self, tag: &Tag) -> Result<Tagged, Error> {
        let (_, found) = self.fetch(&tag.clone().into(), &media_type::MANIFESTS, &self.push()).await?;
        let vouched = match RawManifest::parse(&found.media_type, found.bytes).as_ref().map(RawManifest::manifest) {
            Ok(Manifest::Image(image)) => {
                let blobs = iter::once(&image.config).chain(&image.layers);
                blobs.filter(|blob| !media_type::is_foreign_layer(&blob.media_type)).cloned().collect()
            }
            // What an image index names are manifests, and what those name is not at hand.
            _ => Vec::new(),
        };
        Ok(Tagged { digest: found.digest, vouched })
    }

    /// A manifest, verified as far as that can be done, and the request for it.
    async fn fetch(
        &self,
        identifier: &Identifier,
        accept: &[&str],
        scope: &Scope,
    ) -> Result<(String, AnyManifest), Error> {
        let answer = self.request_accepting(Method::GET, identifier, accept, scope).await?;
        let answer = answer.expect(StatusCode::OK).await?;
        answer.reject_web_page()?;
        let (request, media_type) = (answer.request().to_owned(), answer.media_type().to_owned());
        let named = answer.digest();
        let bytes = answer.read(MAX_MANIFEST_SIZE).await?;
        let digest = match (identifier, named) {
            (Identifier::Digest(digest), _) => Some(*digest),
            (Identifier::Tag(_), named) => named.filter(|_| !is_signed(&media_type)),
        };
        if let Some(digest) = digest {
            verify(&request, digest, &bytes)?;
        }
        let digest = digest.or(named).unwrap_or_else(|| Digest::sha256(&bytes));
        Ok((request, AnyManifest { media_type, digest, bytes }))
    }

    /// Stores a manifest under a tag or its digest (end-7), if the condition holds for the tag.
    pub(super) async fn put_manifest(
        &self,
        manifest: &RawManifest,
        identifier: &Identifier,
        condition: TagCondition,
    ) -> Result<(), Error> {
        let (_, is_listed) = self.send_manifest(&manifest.into(), identifier, condition).await?;
        if is_listed { Ok(()) } else { self.list_as_referrer(manifest, identifier).await }
    }
}

/// Whether the digest of such a manifest is that of a part of it.
fn is_signed(media_type: &str) -> bool {
    media_type == media_type::DOCKER_MANIFEST_SIGNED
}

/// The same error, if a manifest was put. Registries have several words for it that one names what they do not have.
fn lacking(error: Error) -> Error {
    match error {
        Error::Refused(refusal) => Error::Refused(Box::new(refusal.lacking())),
        error => error,
    }
}

fn verify(request: &str, expected: Digest, bytes: &[u8]) -> Result<(), Error> {
    let found = expected.algorithm().digest(bytes);
    if found == expected {
        return Ok(());
    }
    Err(Error::content(request, format!("manifest has digest {found}, expected {expected}")))
}

/// The header that says that a tag is to be moved only if this holds (RFC 9110, section 13.1). An entity tag of a manifest is
/// its digest.
fn conditional(request: &str, condition: TagCondition) -> Result<Option<(HeaderName, HeaderValue)>, Error> {
    Ok(match condition {
        TagCondition::Any => None,
        TagCondition::Absent => Some((IF_NONE_MATCH, HeaderValue::from_static("*"))),
        TagCondition::Is(digest) => Some((IF_MATCH, header_value(request, &format!("\"{digest}\""))?)),
    })
}

fn header_value(request: &str, media_type: &str) -> Result<HeaderValue, Error> {
    HeaderValue::from_str(media_type)
        .map_err(|error| Error::content(request, format!("media type of a manifest: {error}")))
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
