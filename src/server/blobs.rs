//! `/v2/<name>/blobs/<digest>` (distribution-spec v1.1.1, "Pulling blobs", "Checking if content exists in the registry").

use std::ops::Range;

use futures::TryStreamExt;
use http::header::{ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE};
use http::{HeaderName, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use super::answer::{self, Body, Problem, Result};
use super::conditions;
use super::multipart::Multipart;
use super::repositories::Repositories;
use super::request::Request;
use super::storage::{self, Blob, Chunks};
use crate::digest::Digest;
use crate::manifest::media_type;
use crate::protocol::header::DOCKER_CONTENT_DIGEST;
use crate::protocol::{ByteRanges, ErrorCode, Selection};
use crate::reference::Name;
use crate::text::bytes;

/// HEAD: whether the blob is there, and its size. (end-2)
pub(super) async fn head(repositories: &Repositories, request: &Request, name: &Name, digest: Digest) -> Result {
    let size = repositories.blob_size(name, digest).await?.ok_or_else(|| unknown(name, digest))?;
    if let Some(response) = conditions::check(request, digest)? {
        return Ok(describe(response, digest));
    }
    let mut response = describe(answer::empty(StatusCode::OK), digest);
    answer::set_static(&mut response, CONTENT_TYPE, media_type::OCTET_STREAM);
    answer::set(&mut response, CONTENT_LENGTH, size);
    Ok(response)
}

/// GET: the blob, or one range of it, or several. (end-2)
pub(super) async fn get(repositories: &Repositories, request: &Request, name: &Name, digest: Digest) -> Result {
    let blob = repositories.open_blob(name, digest).await?.ok_or_else(|| unknown(name, digest))?;
    if let Some(response) = conditions::check(request, digest)? {
        return Ok(describe(response, digest));
    }
    let size = blob.size();
    let response = match wanted(request, digest).map_or(Selection::Whole, |ranges| ranges.select(size)) {
        Selection::Whole => part(StatusCode::OK, &blob, 0..size, digest),
        Selection::Part(range) => {
            let content_range = format!("bytes {}-{}/{size}", range.start, range.end - 1);
            let mut response = part(StatusCode::PARTIAL_CONTENT, &blob, range, digest);
            answer::set(&mut response, CONTENT_RANGE, content_range);
            response
        }
        Selection::Parts(ranges) => parts(blob, ranges, digest)?,
        Selection::Nothing => {
            let message = format!("the ranges that were asked for have no byte of a blob of {}", bytes(size));
            return Err(Problem::new(ErrorCode::SizeInvalid, message)
                .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
                .with_header(CONTENT_RANGE, format_args!("bytes */{size}")));
        }
    };
    Ok(describe(response, digest))
}

/// DELETE: removes the blob from the repository, whatever refers to it. (end-10)
pub(super) async fn delete(repositories: &Repositories, name: &Name, digest: Digest) -> Result {
    let deleted = repositories.delete_blob(name, digest).await?;
    if deleted { Ok(answer::empty(StatusCode::ACCEPTED)) } else { Err(unknown(name, digest)) }
}

/// The ranges that are asked for, if any are. What cannot be understood, and a range of some other content (`If-Range`),
/// is ignored, as RFC 9110 (section 14.2) has it.
fn wanted(request: &Request, digest: Digest) -> Option<ByteRanges> {
    let same_content = request.header(&IF_RANGE).is_none_or(|etag| etag == answer::etag(digest));
    request.header(&RANGE).filter(|_| same_content)?.parse().ok()
}

fn part(status: StatusCode, blob: &Blob, range: Range<u64>, digest: Digest) -> Response<Body> {
    let length = range.end - range.start;
    let mut response = answer::with_body(status, stream(blob.read(range), digest));
    answer::set_static(&mut response, CONTENT_TYPE, media_type::OCTET_STREAM);
    answer::set(&mut response, CONTENT_LENGTH, length);
    response
}

fn parts(blob: Blob, ranges: Vec<Range<u64>>, digest: Digest) -> Result {
    let multipart = Multipart::new(ranges, blob.size())
        .map_err(|error| storage::Error::io("make a boundary")(std::io::Error::other(error.to_string())))?;
    let (content_type, length) = (multipart.content_type(), multipart.length());
    let mut response = answer::with_body(StatusCode::PARTIAL_CONTENT, stream(multipart.read(blob), digest));
    answer::set(&mut response, CONTENT_TYPE, content_type);
    answer::set(&mut response, CONTENT_LENGTH, length);
    Ok(response)
}

/// A body cannot carry an error: the connection is cut before the announced length is reached, and the log says why.
fn stream(chunks: Chunks<'static>, digest: Digest) -> Body {
    let chunks = chunks.inspect_err(move |error| {
        tracing::error!(target: "bndlr::server", %error, %digest, "a blob cannot be read to its end");
    });
    StreamBody::new(chunks.map_ok(Frame::data)).boxed_unsync()
}

fn describe(mut response: Response<Body>, digest: Digest) -> Response<Body> {
    answer::set_static(&mut response, ACCEPT_RANGES, "bytes");
    answer::set_static(&mut response, CACHE_CONTROL, answer::FOREVER);
    answer::set(&mut response, ETAG, answer::etag(digest));
    answer::set(&mut response, const { HeaderName::from_static(DOCKER_CONTENT_DIGEST) }, digest);
    response
}

fn unknown(name: &Name, digest: Digest) -> Problem {
    Problem::new(ErrorCode::BlobUnknown, format!("{name} has no blob {digest}"))
}
