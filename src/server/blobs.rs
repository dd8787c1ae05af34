//! `/v2/<name>/blobs/<digest>` (distribution-spec v1.1.1, "Pulling blobs", "Checking if content exists in the registry").

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_RANGE, RANGE};
use http::{HeaderName, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use futures::TryStreamExt;

use super::answer::{self, Body, Problem, Result};
use super::repositories::Repositories;
use super::request::Request;
use crate::digest::Digest;
use crate::protocol::header::DOCKER_CONTENT_DIGEST;
use crate::protocol::{ByteRange, ErrorCode};
use crate::reference::Name;

/// HEAD: whether the blob is there, and its size. (end-2)
pub(super) async fn head(repositories: &Repositories, name: &Name, digest: Digest) -> Result {
    let size = repositories.blob_size(name, digest).await?.ok_or_else(|| unknown(name, digest))?;
    let mut response = describe(answer::empty(StatusCode::OK), digest);
    answer::set(&mut response, CONTENT_LENGTH, size);
    Ok(response)
}

/// GET: the blob, or one range of it. (end-2)
pub(super) async fn get(repositories: &Repositories, request: &Request, name: &Name, digest: Digest) -> Result {
    let blob = repositories.open_blob(name, digest).await?.ok_or_else(|| unknown(name, digest))?;
    let size = blob.size();
    let (status, range) = match wanted(request, digest) {
        None => (StatusCode::OK, 0..size),
        Some(range) => {
            let unsatisfiable = || {
                Problem::new(ErrorCode::SizeInvalid, format!("{range} has no byte of a blob of {size} bytes"))
                    .with_status(StatusCode::RANGE_NOT_SATISFIABLE)
                    .with_header(CONTENT_RANGE, format_args!("bytes */{size}"))
            };
            (StatusCode::PARTIAL_CONTENT, range.resolve(size).ok_or_else(unsatisfiable)?)
        }
    };
    // A body cannot carry an error: the connection is cut before the announced length is reached, and the log says why.
    let read = blob.read(range.clone()).inspect_err(move |error| {
        tracing::error!(target: "bndlr::server", %error, %digest, "a blob cannot be read to its end");
    });
    let body = StreamBody::new(read.map_ok(Frame::data)).boxed_unsync();
    let mut response = describe(answer::with_body(status, body), digest);
    answer::set(&mut response, CONTENT_LENGTH, range.end - range.start);
    if status == StatusCode::PARTIAL_CONTENT {
        answer::set(&mut response, CONTENT_RANGE, format_args!("bytes {}-{}/{size}", range.start, range.end - 1));
    }
    Ok(response)
}

/// The range that is asked for, if one is. What cannot be understood, and a range of some other content (`If-Range`),
/// is ignored, as RFC 9110 (section 14.2) has it.
fn wanted(request: &Request, digest: Digest) -> Option<ByteRange> {
    let same_content = request.header(&IF_RANGE).is_none_or(|etag| etag == answer::etag(digest));
    request.header(&RANGE).filter(|_| same_content)?.parse().ok()
}

fn describe(mut response: Response<Body>, digest: Digest) -> Response<Body> {
    answer::set(&mut response, CONTENT_TYPE, "application/octet-stream");
    answer::set(&mut response, ACCEPT_RANGES, "bytes");
    answer::set(&mut response, ETAG, answer::etag(digest));
    answer::set(&mut response, HeaderName::from_static(DOCKER_CONTENT_DIGEST), digest);
    response
}

fn unknown(name: &Name, digest: Digest) -> Problem {
    Problem::new(ErrorCode::BlobUnknown, format!("{name} has no blob {digest}"))
}
