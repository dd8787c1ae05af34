//! `/v2/<name>/manifests/<reference>` (distribution-spec v1.1.1, "Pulling manifests", "Pushing Manifests").

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, LOCATION};
use http::{Response, StatusCode};

use super::answer::{self, Body, Problem, Result};
use super::conditions;
use super::registry::Options;
use super::request::{self, BodyError, Request};
use super::storage::{Storage, StoredManifest};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Invalid, MAX_MANIFEST_SIZE, Manifest, RawManifest, media_type};
use crate::protocol::header::{DOCKER_CONTENT_DIGEST, OCI_TAG};
use crate::protocol::{Endpoint, ErrorCode};
use crate::reference::{Identifier, Name, Tag};

/// How many of the contents that a manifest refers to are looked for at once.
const CONCURRENT_LOOKUPS: usize = 16;
/// How many tags one request may set. A header of the answer names each, and clients bound those: Go's to 1 MiB,
/// Python's to 100 of them.
const MAX_TAGS: usize = 64;

/// GET and HEAD: the manifest, as it was pushed. What the client accepts is not asked: another form of it would have
/// another digest. (end-3)
pub(super) async fn get(storage: &dyn Storage, request: &Request, name: &Name, identifier: &Identifier) -> Result {
    let unknown =
        || Problem::new(ErrorCode::ManifestUnknown, format!("repository {name} has no manifest {identifier}"));
    let digest = match identifier {
        Identifier::Digest(digest) => *digest,
        Identifier::Tag(tag) => storage.tag(name, tag).await?.ok_or_else(unknown)?,
    };
    let StoredManifest { media_type, bytes } = storage.manifest(name, digest).await?.ok_or_else(unknown)?;
    let unchanged = conditions::check(request, digest)?;
    let mut response = unchanged.unwrap_or_else(|| answer::full(StatusCode::OK, &media_type, bytes));
    let lasting = match identifier {
        Identifier::Digest(_) => answer::FOREVER,
        Identifier::Tag(_) => answer::NOT_WITHOUT_ASKING,
    };
    answer::set(&mut response, CACHE_CONTROL, lasting);
    answer::set(&mut response, ETAG, answer::etag(digest));
    Ok(describe(response, digest))
}

/// PUT: stores the manifest, if it is valid and everything that it refers to is there, and sets the tags that path and
/// query name. (end-7)
pub(super) async fn put(
    storage: &dyn Storage,
    options: &Options,
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
    if !options.allow_missing_blobs {
        find_successors(storage, name, manifest.manifest()).await?;
    }

    let media_type = manifest.media_type().to_owned();
    let stored = StoredManifest { media_type, bytes: manifest.bytes().clone() };
    storage.put_manifest(name, digest, &stored).await?;
    for tag in &tags {
        storage.put_tag(name, tag, digest).await?;
    }
    // No `OCI-Subject`: it would promise a list of referrers, and clients would not keep one themselves.
    let mut response = describe(answer::empty(StatusCode::CREATED), digest);
    answer::set(&mut response, LOCATION, Endpoint::Manifest(name.clone(), digest.into()));
    if let Identifier::Digest(_) = identifier {
        append_tags(&mut response, &tags);
    }
    Ok(response)
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

/// Makes sure that everything is in the repository without which the manifest means nothing.
async fn find_successors(storage: &dyn Storage, name: &Name, manifest: &Manifest) -> Result<()> {
    let mut wanted: Vec<&Descriptor> = manifest.successors().filter(|descriptor| !is_elsewhere(descriptor)).collect();
    wanted.sort_by_key(|descriptor| descriptor.digest);
    wanted.dedup_by_key(|descriptor| descriptor.digest);
    let is_index = matches!(manifest, Manifest::Index(_));
    let lookups: Vec<_> = wanted.into_iter().map(|descriptor| find(storage, name, descriptor, is_index)).collect();
    stream::iter(lookups).buffer_unordered(CONCURRENT_LOOKUPS).try_collect().await
}

async fn find(storage: &dyn Storage, name: &Name, descriptor: &Descriptor, in_index: bool) -> Result<()> {
    let Descriptor { digest, media_type, .. } = descriptor;
    // An image index may list what is no manifest; nothing else than a blob can be a config or a layer.
    let is_manifest = in_index && storage.manifest(name, *digest).await?.is_some();
    let may_be_blob = !in_index || !media_type::is_manifest(media_type);
    if is_manifest || may_be_blob && storage.blob_size(name, *digest).await?.is_some() {
        return Ok(());
    }
    let kind = if may_be_blob { "blob" } else { "manifest" };
    let message =
        format!("the manifest refers to {kind} {digest} ({media_type}), which repository {name} does not have");
    Err(Problem::new(ErrorCode::ManifestBlobUnknown, message))
}

/// Whether this is a layer that is by its media type not to be pushed to registries, and is fetched from its URLs.
fn is_elsewhere(descriptor: &Descriptor) -> bool {
    let media_type = &descriptor.media_type;
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
}

fn describe(mut response: Response<Body>, digest: Digest) -> Response<Body> {
    answer::set(&mut response, HeaderName::from_static(DOCKER_CONTENT_DIGEST), digest);
    response
}
