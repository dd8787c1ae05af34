//! `/v2/<name>/blobs/uploads/` and the sessions below it (distribution-spec v1.1.1, "Pushing blobs", "Mounting a blob from
//! another repository").

use http::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderName, LOCATION, RANGE};
use http::{Response, StatusCode};

use super::answer::{self, Body, Problem, Result};
use super::auth::Caller;
use super::repositories::Repositories;
use super::request::{self, Request};
use super::storage::{Error, SessionId};
use crate::digest::{Algorithm, Digest};
use crate::protocol::header::{DOCKER_CONTENT_DIGEST, DOCKER_UPLOAD_UUID};
use crate::protocol::{ChunkRange, Endpoint, ErrorCode};
use crate::reference::Name;
use crate::text::bytes;

/// How many repositories are looked at at once for a blob to mount.
const PAGE: usize = 1000;

/// POST: mounts a blob (end-11), or takes a whole one (end-4b), or begins an upload session (end-4a,
/// end-4c). There is no `OCI-Chunk-Min-Length`, because a chunk may have any size.
pub(super) async fn begin(
    repositories: &Repositories,
    caller: &Caller,
    request: &Request,
    body: &mut request::Body,
    name: &Name,
) -> Result {
    if let Some(digest) = request.parsed::<Digest>("mount", &ErrorCode::DigestInvalid)? {
        let from = request.parsed::<Name>("from", &ErrorCode::NameInvalid)?;
        if mount(repositories, caller, from, name, digest).await? {
            return Ok(created(name, digest));
        }
    } else if let Some(digest) = digest(request)? {
        return take_whole(repositories, request, body, name, digest).await;
    }
    let algorithm = request.parsed("digest-algorithm", &ErrorCode::DigestInvalid)?.unwrap_or(Algorithm::Sha256);
    let session = repositories.begin_upload(name, algorithm).await?;
    Ok(progress(StatusCode::ACCEPTED, name, &session, 0))
}

/// Mounts the blob from `from`, or from wherever it is. What the caller may not read is mounted no more than what is not
/// there.
async fn mount(
    repositories: &Repositories,
    caller: &Caller,
    from: Option<Name>,
    to: &Name,
    digest: Digest,
) -> Result<bool> {
    if let Some(from) = from {
        return Ok(caller.may_pull(&from) && repositories.mount_blob(&from, to, digest).await?);
    }
    // There may be very many repositories to look at.
    if !repositories.may_have_blob(digest).await? {
        return Ok(false);
    }
    let mut after: Option<Name> = None;
    loop {
        let page = repositories.repositories(after.as_ref().map(Name::as_str), PAGE).await?;
        for from in page.iter().filter(|from| caller.may_pull(from)) {
            if repositories.mount_blob(from, to, digest).await? {
                return Ok(true);
            }
        }
        match page.into_iter().nth(PAGE - 1) {
            Some(last) => after = Some(last),
            None => return Ok(false),
        }
    }
}

/// A blob that comes whole with the POST has a session of which nobody hears, so nobody else could cancel it.
async fn take_whole(
    repositories: &Repositories,
    request: &Request,
    body: &mut request::Body,
    name: &Name,
    digest: Digest,
) -> Result {
    let session = repositories.begin_upload(name, digest.algorithm()).await?;
    let result = match append(repositories, request, body, name, &session).await {
        Ok(_) => repositories.finish_upload(name, &session, digest).await.map_err(Problem::from),
        Err(problem) => Err(problem),
    };
    match result {
        Ok(()) => Ok(created(name, digest)),
        Err(problem) => {
            match repositories.cancel_upload(name, &session).await {
                Ok(()) | Err(Error::UploadUnknown(_)) => {}
                Err(error) => tracing::warn!(target: "bndlr::server", %error, "an upload session is left behind"),
            }
            Err(problem)
        }
    }
}

/// PATCH: appends a chunk, or all there is. (end-5)
pub(super) async fn patch(
    repositories: &Repositories,
    request: &Request,
    body: &mut request::Body,
    name: &Name,
    session: &str,
) -> Result {
    let session = parse(session)?;
    let size = append(repositories, request, body, name, &session).await?;
    Ok(progress(StatusCode::ACCEPTED, name, &session, size))
}

/// PUT: appends the last chunk, if there is one, and finishes the upload. (end-6)
pub(super) async fn finish(
    repositories: &Repositories,
    request: &Request,
    body: &mut request::Body,
    name: &Name,
    session: &str,
) -> Result {
    let session = parse(session)?;
    let digest = digest(request)?
        .ok_or_else(|| Problem::new(ErrorCode::DigestInvalid, "an upload is finished with the parameter \"digest\""))?;
    append(repositories, request, body, name, &session).await?;
    repositories.finish_upload(name, &session, digest).await?;
    Ok(created(name, digest))
}

/// GET: how far the upload has come. (end-13)
pub(super) async fn status(repositories: &Repositories, name: &Name, session: &str) -> Result {
    let session = parse(session)?;
    let size = repositories.upload_size(name, &session).await?;
    Ok(progress(StatusCode::NO_CONTENT, name, &session, size))
}

/// DELETE: cancels the upload. (end-14)
pub(super) async fn cancel(repositories: &Repositories, name: &Name, session: &str) -> Result {
    repositories.cancel_upload(name, &parse(session)?).await?;
    Ok(answer::empty(StatusCode::NO_CONTENT))
}

/// Appends the body to the session and returns how many bytes that has then.
async fn append(
    repositories: &Repositories,
    request: &Request,
    body: &mut request::Body,
    name: &Name,
    session: &SessionId,
) -> Result<u64> {
    let range = chunk_range(request)?;
    let chunks = body.chunks(range.map_or(u64::MAX, ChunkRange::length));
    let result = repositories.append(name, session, range.map(|range| range.first), chunks).await;
    let size = match result {
        // The client learns where it has to go on.
        Err(error @ Error::Offset { expected, .. }) => {
            return Err(Problem::from(error)
                .with_header(LOCATION, location(name, session))
                .with_header(RANGE, received(expected)));
        }
        result => result?,
    };
    match range {
        Some(range) if size != range.last.saturating_add(1) => Err(Problem::new(
            ErrorCode::SizeInvalid,
            format!("chunk {range} ended early: the upload session has {}", bytes(size)),
        )),
        _ => Ok(size),
    }
}

/// What `Content-Range` says, if it is there. It has to agree with `Content-Length`.
fn chunk_range(request: &Request) -> Result<Option<ChunkRange>> {
    let Some(text) = request.headers.get(CONTENT_RANGE) else { return Ok(None) };
    let invalid = |message: String| Problem::new(ErrorCode::SizeInvalid, message);
    let text = String::from_utf8_lossy(text.as_bytes());
    let range: ChunkRange = text.trim().parse().map_err(|error| invalid(format!("Content-Range: {error}")))?;
    match request.header(&CONTENT_LENGTH).and_then(|length| length.parse::<u64>().ok()) {
        Some(length) if length != range.length() => {
            Err(invalid(format!("Content-Range {range} has {}, and Content-Length is {length}", bytes(range.length()))))
        }
        _ => Ok(Some(range)),
    }
}

fn digest(request: &Request) -> Result<Option<Digest>> {
    request.parsed("digest", &ErrorCode::DigestInvalid)
}

fn parse(session: &str) -> Result<SessionId> {
    session.parse().map_err(|error| Problem::new(ErrorCode::BlobUploadUnknown, format!("{error}")))
}

fn created(name: &Name, digest: Digest) -> Response<Body> {
    let mut response = answer::empty(StatusCode::CREATED);
    answer::set(&mut response, LOCATION, Endpoint::Blob(name.clone(), digest));
    answer::set(&mut response, HeaderName::from_static(DOCKER_CONTENT_DIGEST), digest);
    response
}

fn progress(status: StatusCode, name: &Name, session: &SessionId, size: u64) -> Response<Body> {
    let mut response = answer::empty(status);
    answer::set(&mut response, LOCATION, location(name, session));
    answer::set(&mut response, RANGE, received(size));
    answer::set(&mut response, HeaderName::from_static(DOCKER_UPLOAD_UUID), session);
    response
}

/// The path of a session, without a host: a client that came through a proxy knows better which one that is.
fn location(name: &Name, session: &SessionId) -> Endpoint {
    Endpoint::Upload(name.clone(), session.to_string())
}

/// The bytes that a session has. There is no way to write that it has none, so that reads like one byte.
fn received(size: u64) -> ChunkRange {
    ChunkRange { first: 0, last: size.saturating_sub(1) }
}
