//! Answers, and the errors that become one.

use std::fmt::Write;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Body as _;

use super::conditions;
use super::repositories::PutError;
use super::request::BodyError;
use super::storage::{self, BoxError};
use crate::digest::Digest;
use crate::protocol::header::DOCKER_DISTRIBUTION_API_VERSION;
use crate::protocol::{ErrorBody, ErrorCode, ErrorEntry, InvalidPath};

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// What the part of the server that answers a request returns.
pub(super) type Result<T = Response<Body>> = std::result::Result<T, Problem>;

/// What is addressed by its digest never changes (RFC 8246). What a tag names does.
pub(super) const FOREVER: &str = "max-age=31536000, immutable";
/// How many headers most answers have at most.
const HEADERS: usize = 12;
/// How many bytes most values of headers have at most: those with a digest in them.
const VALUE: usize = 96;
/// To be asked for again each time, with `If-None-Match`.
pub(super) const NOT_WITHOUT_ASKING: &str = "no-cache";

/// An answer with no body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    with_body(status, Empty::new().map_err(|never| match never {}).boxed_unsync())
}

/// An answer with bytes that are in memory.
pub(super) fn full(status: StatusCode, content_type: &str, bytes: Bytes) -> Response<Body> {
    let mut response = with_body(status, Full::new(bytes).map_err(|never| match never {}).boxed_unsync());
    set(&mut response, CONTENT_TYPE, content_type);
    response
}

pub(super) fn with_body(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    // With room from the start, so that they are not moved as they become more.
    response.headers_mut().reserve(HEADERS);
    response
}

/// Sets a header. A value that cannot stand in one is left out.
pub(super) fn set(response: &mut Response<Body>, name: HeaderName, value: impl std::fmt::Display) {
    let mut text = String::with_capacity(VALUE);
    if write!(text, "{value}").is_ok()
        && let Ok(value) = HeaderValue::try_from(text)
    {
        response.headers_mut().insert(name, value);
    }
}

/// Sets a header that always has the same value.
pub(super) fn set_static(response: &mut Response<Body>, name: HeaderName, value: &'static str) {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
}

/// The entity tag of content that is addressed by its digest.
pub(super) fn etag(digest: Digest) -> String {
    format!("\"{digest}\"")
}

/// What every answer has, and what an answer to HEAD has not.
pub(super) fn complete(method: &Method, mut response: Response<Body>) -> Response<Body> {
    set_static(&mut response, const { HeaderName::from_static(DOCKER_DISTRIBUTION_API_VERSION) }, "registry/2.0");
    // What was pushed here is nobody's web page.
    set_static(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    let may_have_body = !matches!(response.status(), StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = response.body().size_hint().exact().filter(|_| may_have_body)
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    if method == Method::HEAD { response.map(|_| empty(StatusCode::OK).into_body()) } else { response }
}

/// Why a request is refused: an answer with an error body (distribution-spec v1.1.1, "Error Codes").
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    code: ErrorCode,
    message: String,
    headers: Vec<(HeaderName, String)>,
}

impl Problem {
    /// With the status that belongs to the code.
    pub(super) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { status: code.status(), code, message: message.into(), headers: Vec::new() }
    }

    /// With another code, and the status that belongs to it.
    pub(super) fn with_code(self, code: ErrorCode) -> Self {
        Self { status: code.status(), code, ..self }
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status;
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    pub(super) fn code(&self) -> &ErrorCode {
        &self.code
    }

    /// The endpoint exists, and does not do this.
    pub(super) fn method_not_allowed(method: &Method, allowed: &'static str) -> Self {
        Self::new(ErrorCode::Unsupported, format!("{method} is not supported here, only {allowed}"))
            .with_header(ALLOW, allowed)
    }

    pub(super) fn into_response(self) -> Response<Body> {
        let entry = ErrorEntry { code: self.code, message: self.message, detail: serde_json::Value::Null };
        // A code and a message are always JSON.
        let body = serde_json::to_vec(&ErrorBody { errors: vec![entry] }).unwrap_or_default();
        let mut response = full(self.status, "application/json", body.into());
        for (name, value) in self.headers {
            set(&mut response, name, value);
        }
        response
    }
}

impl From<InvalidPath> for Problem {
    fn from(invalid: InvalidPath) -> Self {
        let problem = Self::new(invalid.code, invalid.message);
        // What is no endpoint at all is not there, whatever the method.
        if problem.code == ErrorCode::Unsupported { problem.with_status(StatusCode::NOT_FOUND) } else { problem }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let (code, status) = match &error {
            BodyError::TooLong(_) => (ErrorCode::SizeInvalid, StatusCode::PAYLOAD_TOO_LARGE),
            BodyError::Stalled => (ErrorCode::BlobUploadInvalid, StatusCode::REQUEST_TIMEOUT),
            BodyError::Broken(_) => (ErrorCode::BlobUploadInvalid, StatusCode::BAD_REQUEST),
        };
        Self::new(code, error.to_string()).with_status(status)
    }
}

impl From<PutError> for Problem {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Storage(error) => error.into(),
            PutError::Missing(_) => Self::new(ErrorCode::ManifestBlobUnknown, error.to_string()),
            PutError::Condition { .. } => conditions::failed(error.to_string()),
        }
    }
}

impl From<storage::Error> for Problem {
    fn from(error: storage::Error) -> Self {
        use storage::Error;
        match error {
            Error::UploadUnknown(_) => Self::new(ErrorCode::BlobUploadUnknown, error.to_string()),
            Error::UploadBusy(_) => {
                Self::new(ErrorCode::BlobUploadInvalid, error.to_string()).with_status(StatusCode::CONFLICT)
            }
            Error::Offset { .. } => Self::new(ErrorCode::BlobUploadInvalid, error.to_string())
                .with_status(StatusCode::RANGE_NOT_SATISFIABLE),
            Error::Digest(mismatch) => Self::new(ErrorCode::DigestInvalid, mismatch.to_string()),
            Error::Body(cause) => match cause.downcast::<BodyError>() {
                Ok(error) => (*error).into(),
                Err(other) => BodyError::Broken(other).into(),
            },
            internal => Self::internal(&internal),
        }
    }
}

impl Problem {
    /// The server's own fault. The cause is for the log: it may have paths in it.
    fn internal(error: &storage::Error) -> Self {
        tracing::error!(target: "bndlr::server", %error, "the storage failed");
        let is_full = matches!(error, storage::Error::Io { source, .. }
            if matches!(source.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded));
        let (status, message) = if is_full {
            (StatusCode::INSUFFICIENT_STORAGE, "the registry has no room left")
        } else {
            (StatusCode::INTERNAL_SERVER_ERROR, "the registry failed; its log says why")
        };
        Self::new(ErrorCode::Other("UNKNOWN".to_owned()), message).with_status(status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[test]
    fn a_failing_medium_is_the_servers_fault_and_its_words_stay_here() {
        for (kind, status) in [
            (io::ErrorKind::StorageFull, 507),
            (io::ErrorKind::QuotaExceeded, 507),
            (io::ErrorKind::PermissionDenied, 500),
        ] {
            let source = io::Error::new(kind, "/secret/path");
            let problem = Problem::from(storage::Error::Io { what: "write /secret/path".to_owned(), source });
            assert_eq!(problem.status, status);
            assert!(!problem.message.contains("secret"), "{}", problem.message);
        }
    }
}
