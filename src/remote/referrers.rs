//! Referrers (distribution-spec v1.1.1, "Listing Referrers", "Referrers Tag Schema"): as the registry lists them, and,
//! where it does not, as clients do, in an image index under a tag.

use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};

use crate::content::ErrorKind;
use crate::digest::Digest;
use crate::manifest::{Descriptor, MAX_MANIFEST_SIZE, Manifest, RawManifest, media_type, to_canonical_json};
use crate::protocol::Endpoint;
use crate::reference::{Identifier, Tag};

use super::Error;
use super::answer::Answer;
use super::manifests::STORED;
use super::pages::next_url;
use super::payload::Payload;
use super::repository::RemoteRepository;
use super::retry::Repeat;
use super::transport::Call;

/// How many bytes all pages of a list may have together.
const MAX_LIST_SIZE: usize = 64 * 1024 * 1024;
/// How many pages a list may have.
const MAX_PAGES: usize = 10_000;
/// How often a list under a tag is changed again after somebody else has changed it.
const TRIES: usize = 10;

impl RemoteRepository {
    /// The referrers of `subject` (end-12), each once.
    pub(super) async fn list_referrers(
        &self,
        subject: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, Error> {
        let mut found = match self.registry_list(subject, artifact_type).await? {
            Some(found) => found,
            None => {
                self.tagged_list(&Tag::of_referrers(subject)).await?.map(List::into_descriptors).unwrap_or_default()
            }
        };
        let mut seen = HashSet::new();
        // A registry need not filter, and a tag cannot.
        found.retain(|referrer| referrer.has_artifact_type(artifact_type) && seen.insert(referrer.digest));
        Ok(found)
    }

    fn list_url(&self, subject: Digest) -> Url {
        self.session.url(&Endpoint::Referrers(self.repository.name.clone(), subject))
    }

    /// Whether the registry keeps lists of referrers itself.
    async fn keeps_lists(&self, subject: Digest) -> Result<bool, Error> {
        let answer = self.session.send(&Call::new(Method::GET, self.list_url(subject)), &self.pull()).await?;
        if is_unknown(&answer) {
            return Ok(false);
        }
        answer.expect(StatusCode::OK).await.map(|_| true)
    }

    /// The list that the registry keeps, if it keeps any: page after page.
    async fn registry_list(
        &self,
        subject: Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, Error> {
        let mut url = self.list_url(subject);
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let (mut found, mut size) = (Vec::new(), 0);
        for page in 0..MAX_PAGES {
            let answer = self.session.send(&Call::new(Method::GET, url.clone()), &self.pull()).await?;
            if page == 0 && is_unknown(&answer) {
                return Ok(None);
            }
            let answer = answer.expect(StatusCode::OK).await?;
            let (request, next) = (answer.request().to_owned(), next_url(&answer, answer.url())?);
            let bytes = answer.read(MAX_MANIFEST_SIZE).await?;
            size += bytes.len();
            if size > MAX_LIST_SIZE {
                return Err(Error::content(&request, format!("lists more than {MAX_LIST_SIZE} bytes of referrers")));
            }
            found.extend(List::parse(&request, bytes, None)?.into_descriptors());
            match next {
                Some(next) if next == url => return Err(Error::answer(&request, "goes on at the same page again")),
                Some(next) => url = next,
                None => return Ok(Some(found)),
            }
        }
        Err(Error::content(&self.repository.to_string(), format!("lists referrers on more than {MAX_PAGES} pages")))
    }

    /// The list under `tag`, if there is one.
    async fn tagged_list(&self, tag: &Tag) -> Result<Option<List>, Error> {
        let answer = self.request_manifest(Method::GET, &tag.clone().into(), &self.pull()).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = answer.expect(StatusCode::OK).await?;
        answer.reject_web_page()?;
        let version = answer.header(ETAG.as_str()).map(str::to_owned);
        let request = answer.request().to_owned();
        List::parse(&request, answer.read(MAX_MANIFEST_SIZE).await?, version).map(Some)
    }

    /// Sees to it that a manifest, which has just been stored under `identifier`, is listed as a referrer of its subject,
    /// if it has one, by a registry that did not say that it lists it (distribution-spec v1.1.1, "Pushing Manifests with
    /// Subject").
    pub(super) async fn list_as_referrer(&self, manifest: &RawManifest, identifier: &Identifier) -> Result<(), Error> {
        let Some(subject) = manifest.manifest().subject().map(|subject| subject.digest) else { return Ok(()) };
        if self.keeps_lists(subject).await? {
            return Ok(());
        }
        let digest = match identifier {
            Identifier::Digest(digest) => *digest,
            Identifier::Tag(_) => manifest.digest(),
        };
        self.change_list(&Tag::of_referrers(subject), &Change::Add(Descriptor { digest, ..manifest.referrer() })).await
    }

    /// Sees to it that a manifest, which is gone, is not listed as a referrer of `subject` any more, unless the registry
    /// sees to that itself (distribution-spec v1.1.1, "Deleting Manifests").
    pub(super) async fn unlist_referrer(&self, subject: Digest, digest: Digest) -> Result<(), Error> {
        let tag = Tag::of_referrers(subject);
        let unlisted = async {
            if self.keeps_lists(subject).await? {
                return Ok(());
            }
            self.change_list(&tag, &Change::Remove(digest)).await
        };
        match unlisted.await {
            // What is no list lists nothing.
            Ok(()) | Err(Error::Content { .. } | Error::Manifest { .. }) => Ok(()),
            Err(error) => Err(Error::StillListed { digest, tag, source: Box::new(error) }),
        }
    }

    /// Changes the list under `tag`, as often as it takes.
    async fn change_list(&self, tag: &Tag, change: &Change) -> Result<(), Error> {
        let _turn = self.listing.lock().await;
        // Other programs have no turns. Whether one of them has replaced the list meanwhile shows when it is read again.
        for _ in 0..TRIES {
            let list = self.tagged_list(tag).await?;
            if change.is_made(list.as_ref()) {
                return Ok(());
            }
            match self.put_list(list, tag, change).await {
                Err(Error::Refused(refusal)) if refusal.kind() == ErrorKind::Conflict => {}
                put => put?,
            }
        }
        let what = format!("others change the list of referrers {tag} all the time: it does not come to {change}");
        Err(Error::answer(&self.repository.to_string(), what))
    }

    /// Stores `list`, or a new one, with a change made: if it is what it was, where the registry heeds that.
    async fn put_list(&self, list: Option<List>, tag: &Tag, change: &Change) -> Result<(), Error> {
        let (name, value) = match &list {
            None => (IF_NONE_MATCH, Some("*")),
            // One that is weak never matches.
            Some(list) => (IF_MATCH, list.version.as_deref().filter(|version| !version.starts_with("W/"))),
        };
        let condition = value.and_then(|value| HeaderValue::from_str(value).ok());
        let body =
            List::with(list, change).map_err(|what| Error::answer(&format!("{}:{tag}", self.repository), what))?;
        let url = self.session.url(&Endpoint::Manifest(self.repository.name.clone(), tag.clone().into()));
        let put = Call::new(Method::PUT, url)
            // Stored again after its answer was lost, it would meet its own list, and be refused.
            .repeat(Repeat::IfRefused)
            .with_header(CONTENT_TYPE, HeaderValue::from_static(media_type::OCI_INDEX))
            .with_payload(Payload::Bytes(body));
        let put = if let Some(condition) = condition { put.with_header(name, condition) } else { put };
        self.session.send(&put, &self.push()).await?.expect_one_of(&STORED).await?.reject_web_page()
    }
}

/// Whether the registry does not know what it is asked: it says so, or sends what it has for all other paths.
fn is_unknown(answer: &Answer) -> bool {
    match answer.status() {
        StatusCode::OK => !answer.media_type().eq_ignore_ascii_case(media_type::OCI_INDEX),
        status => matches!(
            status,
            StatusCode::NOT_FOUND
                | StatusCode::BAD_REQUEST
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::NOT_ACCEPTABLE
                | StatusCode::NOT_IMPLEMENTED
        ),
    }
}

/// What is to become of a list of referrers.
enum Change {
    /// This is to be in it.
    Add(Descriptor),
    /// This is not to be in it.
    Remove(Digest),
}

impl Change {
    /// Whether nothing is left to be done. Where there is no list, nothing is in it.
    fn is_made(&self, list: Option<&List>) -> bool {
        let has = |digest| list.is_some_and(|list| list.has(digest));
        match self {
            Self::Add(referrer) => has(referrer.digest),
            Self::Remove(digest) => !has(*digest),
        }
    }

    fn make(&self, manifests: &mut Vec<Value>) -> serde_json::Result<()> {
        match self {
            Self::Add(referrer) => manifests.push(serde_json::to_value(referrer)?),
            Self::Remove(digest) => {
                let digest = digest.to_string();
                manifests.retain(|listed| listed["digest"] != digest.as_str());
            }
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(referrer) => write!(f, "have {}", referrer.digest),
            Self::Remove(digest) => write!(f, "be without {digest}"),
        }
    }
}

/// A list of referrers: an image index.
struct List {
    bytes: Bytes,
    manifests: Vec<Descriptor>,
    /// What to name when it is to be replaced and nothing else.
    version: Option<String>,
}

impl List {
    fn parse(request: &str, bytes: Bytes, version: Option<String>) -> Result<Self, Error> {
        let manifest = RawManifest::parse("", bytes.clone())
            .map_err(|source| Error::Manifest { request: request.to_owned(), source })?;
        match manifest.manifest() {
            Manifest::Index(index) if manifest.media_type() == media_type::OCI_INDEX => {
                Ok(Self { bytes, manifests: index.manifests.clone(), version })
            }
            _ => Err(Error::content(request, format!("is no list of referrers, but a {}", manifest.media_type()))),
        }
    }

    fn into_descriptors(self) -> Vec<Descriptor> {
        self.manifests
    }

    fn has(&self, digest: Digest) -> bool {
        self.manifests.iter().any(|referrer| referrer.digest == digest)
    }

    /// The bytes of `list`, or of a new one, with a change made. What else is in it stays.
    fn with(list: Option<Self>, change: &Change) -> Result<Bytes, String> {
        let words = |error: serde_json::Error| error.to_string();
        let mut index: Value = match list {
            Some(list) => serde_json::from_slice(&list.bytes).map_err(words)?,
            None => json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []}),
        };
        change.make(index["manifests"].as_array_mut().ok_or("has no manifests")?).map_err(words)?;
        let bytes = to_canonical_json(&index).map_err(words)?;
        if bytes.len() as u64 > MAX_MANIFEST_SIZE {
            return Err(format!("the list of referrers is full: it may have {MAX_MANIFEST_SIZE} bytes"));
        }
        Ok(bytes.into())
    }
}
