//! `/v2/<name>/manifests/<reference>` (distribution-spec v1.1.1, "Pulling manifests", "Pushing Manifests").

use bytes::Bytes;
use http::header::{CONTENT_TYPE, ETAG, HeaderName, LOCATION};
use http::{Response, StatusCode};

use super::answer::{self, Body, Problem, Result};
use super::repositories::{Push, Repositories, StoredManifest, TagCondition};
use super::request::{self, BodyError, Request};
use crate::digest::Digest;
use crate::manifest::{Invalid, MAX_MANIFEST_SIZE, RawManifest};
use crate::protocol::header::DOCKER_CONTENT_DIGEST;
use crate::protocol::{Endpoint, ErrorCode};
use crate::reference::{Identifier, Name};

/// GET and HEAD: the manifest, as it was pushed. What the client accepts is not asked: another form of it would have
/// another digest. (end-3)
pub(super) async fn get(repositories: &Repositories, name: &Name, identifier: &Identifier) -> Result {
    let unknown =
        || Problem::new(ErrorCode::ManifestUnknown, format!("repository {name} has no manifest {identifier}"));
    let (digest, manifest) = repositories.manifest(name, identifier).await?.ok_or_else(unknown)?;
    let StoredManifest { media_type, bytes } = manifest;
    let mut response = describe(answer::full(StatusCode::OK, &media_type, bytes), digest);
    answer::set(&mut response, ETAG, answer::etag(digest));
    Ok(response)
}

/// PUT: stores the manifest, if it is valid and everything that it refers to is there. (end-7)
pub(super) async fn put(
    repositories: &Repositories,
    request: &Request,
    body: &mut request::Body,
    name: &Name,
    identifier: &Identifier,
) -> Result {
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
    let tags = if let Identifier::Tag(tag) = identifier { std::slice::from_ref(tag) } else { &[] };
    let push = Push { manifest: &manifest, digest, tags, condition: TagCondition::Any };
    repositories.put_manifest(name, &push).await?;
    // No `OCI-Subject`: it would promise a list of referrers, and clients would not keep one themselves.
    let mut response = describe(answer::empty(StatusCode::CREATED), digest);
    answer::set(&mut response, LOCATION, Endpoint::Manifest(name.clone(), digest.into()));
    Ok(response)
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
    answer::set(&mut response, HeaderName::from_static(DOCKER_CONTENT_DIGEST), digest);
    response
}
