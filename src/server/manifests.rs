//! `/v2/<name>/manifests/<reference>` (distribution-spec v1.1.1, "Pulling manifests", "Pushing Manifests").

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION};
use http::{Response, StatusCode};

use super::answer::{self, Body, Problem, Result};
use super::conditions::{self, Tags};
use super::only::Only;
use super::repositories::{Push, Repositories, StoredManifest, TagCondition};
use super::request::{self, BodyError, Request};
use crate::digest::Digest;
use crate::manifest::{Invalid, MAX_MANIFEST_SIZE, RawManifest};
use crate::protocol::header::{DOCKER_CONTENT_DIGEST, OCI_SUBJECT, OCI_TAG};
use crate::protocol::{Endpoint, ErrorCode};
use crate::reference::{Identifier, Name, Tag};

/// How many tags one request may set. A header of the answer names each, and clients bound those: Go's to 1 MiB,
/// Python's to 100 of them.
const MAX_TAGS: usize = 64;

/// GET and HEAD: the manifest, as it was pushed. What the client accepts is not asked, unless the registry has another
/// one to offer: another form of it would have another digest. (end-3)
pub(super) async fn get(
    repositories: &Repositories,
    only: &Only,
    request: &Request,
    name: &Name,
    identifier: &Identifier,
) -> Result {
    let found = repositories.manifest(name, identifier).await?;
    let found = found.ok_or_else(|| unknown(name, identifier))?;
    let found = only.preferred(repositories, request, (name, identifier), found).await?;
    let (digest, StoredManifest { media_type, bytes }) = found;
    let unchanged = conditions::check(request, digest)?;
    let mut response = unchanged.unwrap_or_else(|| answer::full(StatusCode::OK, &media_type, bytes));
    let lasting = match identifier {
        Identifier::Digest(_) => answer::FOREVER,
        Identifier::Tag(_) => answer::NOT_WITHOUT_ASKING,
    };
    answer::set_static(&mut response, CACHE_CONTROL, lasting);
    answer::set(&mut response, ETAG, answer::etag(digest));
    only.vary(&mut response, identifier);
    Ok(describe(response, digest))
}

/// PUT: stores the manifest, if it is valid and everything that it refers to is there, and sets the tags that path and
/// query name. (end-7)
pub(super) async fn put(
    repositories: &Repositories,
    request: &Request,
    body: &mut request::Body,
    name: &Name,
    identifier: &Identifier,
) -> Result {
    let tags = tags(request, identifier)?;
    let bytes = read(body).await?;
    let announced = request.header(&CONTENT_TYPE).unwrap_or_default();
    let manifest = RawManifest::parse(announced, bytes).map_err(|invalid| {
        let too_large = matches!(invalid, Invalid::TooLarge(_));
        let problem = Problem::new(ErrorCode::ManifestInvalid, invalid.to_string());
        if too_large { problem.with_status(StatusCode::PAYLOAD_TOO_LARGE) } else { problem }
    })?;
    let digest = match identifier {
        Identifier::Tag(_) => manifest.digest(),
        Identifier::Digest(expected) => verify(*expected, manifest.bytes())?,
    };
    let push = Push { manifest: &manifest, digest, tags: &tags, condition: condition(request)? };
    repositories.put_manifest(name, &push).await?;
    let mut response = describe(answer::empty(StatusCode::CREATED), digest);
    answer::set(&mut response, LOCATION, Endpoint::Manifest(name.clone(), digest.into()));
    if let Some(subject) = manifest.manifest().subject() {
        answer::set(&mut response, HeaderName::from_static(OCI_SUBJECT), subject.digest);
    }
    if let Identifier::Digest(_) = identifier {
        append_tags(&mut response, &tags);
    }
    Ok(response)
}

/// DELETE: removes a tag, and leaves its manifest; or a manifest, with its tags and from the referrers of its subject.
/// (end-9)
pub(super) async fn delete(repositories: &Repositories, name: &Name, identifier: &Identifier) -> Result {
    let deleted = match identifier {
        Identifier::Tag(tag) => repositories.delete_tag(name, tag).await?,
        Identifier::Digest(digest) => repositories.delete_manifest(name, *digest).await?,
    };
    if deleted { Ok(answer::empty(StatusCode::ACCEPTED)) } else { Err(unknown(name, identifier)) }
}

fn unknown(name: &Name, identifier: &Identifier) -> Problem {
    Problem::new(ErrorCode::ManifestUnknown, format!("repository {name} has no manifest {identifier}"))
}

/// What has to hold for the tags (RFC 9110, section 13.1): `If-None-Match: *`, that they are not there; `If-Match` with
/// an entity tag, that this is what they point to. Other conditions would be ignored in silence, so they are refused.
fn condition(request: &Request) -> Result<TagCondition> {
    let invalid = || {
        let message = "a manifest can be put with \"If-None-Match: *\" or \"If-Match: \\\"<digest>\\\"\"";
        Problem::new(ErrorCode::Unsupported, message).with_status(StatusCode::BAD_REQUEST)
    };
    match (Tags::of(request, &IF_NONE_MATCH), Tags::of(request, &IF_MATCH)) {
        (None, None) => Ok(TagCondition::Any),
        (Some(Tags::Any), None) => Ok(TagCondition::Absent),
        (None, Some(Tags::These(tags))) => match &tags[..] {
            [tag] => Ok(TagCondition::Is(tag.parse().map_err(|_| invalid())?)),
            _ => Err(invalid()),
        },
        _ => Err(invalid()),
    }
}

/// The tags that the manifest gets, each once: the one in the path, or, when it is pushed by its digest, those in the
/// query. (end-7b of the draft after v1.1.1)
fn tags(request: &Request, identifier: &Identifier) -> Result<Vec<Tag>> {
    if let Identifier::Tag(tag) = identifier {
        return Ok(vec![tag.clone()]);
    }
    let mut tags = Vec::new();
    for text in request.parameters("tag") {
        let invalid = |error| Problem::new(ErrorCode::ManifestInvalid, format!("parameter \"tag\": {error}"));
        let tag = text.parse().map_err(invalid)?;
        if tags.len() == MAX_TAGS {
            return Err(Problem::new(ErrorCode::ManifestInvalid, format!("more than {MAX_TAGS} tags at once"))
                .with_status(StatusCode::URI_TOO_LONG));
        }
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    Ok(tags)
}

/// Says which tags were set, a header for each.
fn append_tags(response: &mut Response<Body>, tags: &[Tag]) {
    for tag in tags {
        // A tag has no character that a header could not have.
        if let Ok(value) = HeaderValue::from_str(tag.as_str()) {
            response.headers_mut().append(HeaderName::from_static(OCI_TAG), value);
        }
    }
}

async fn read(body: &mut request::Body) -> Result<Bytes> {
    body.read_all(MAX_MANIFEST_SIZE).await.map_err(|error| match error {
        BodyError::TooLong(limit) => {
            Problem::new(ErrorCode::ManifestInvalid, format!("manifest has more than the {limit} bytes allowed"))
                .with_status(StatusCode::PAYLOAD_TOO_LARGE)
        }
        other => other.into(),
    })
}

fn verify(expected: Digest, bytes: &[u8]) -> Result<Digest> {
    let found = expected.algorithm().digest(bytes);
    if found == expected {
        return Ok(found);
    }
    Err(Problem::new(ErrorCode::DigestInvalid, format!("manifest has digest {found}, expected {expected}")))
}

fn describe(mut response: Response<Body>, digest: Digest) -> Response<Body> {
    answer::set(&mut response, const { HeaderName::from_static(DOCKER_CONTENT_DIGEST) }, digest);
    response
}
