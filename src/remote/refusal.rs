//! Answers that say no: the registry's own words, as far as they are words, and what the user can do.

use std::fmt;

use bytes::Bytes;
use reqwest::StatusCode;

use crate::content::ErrorKind;
use crate::protocol::{ErrorBody, ErrorCode, ErrorEntry};
use crate::text::excerpt;

use super::Error;

/// How many of a registry's errors are repeated.
const MAX_ENTRIES: usize = 3;

/// An answer with a status that is not the one of success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    request: String,
    status: StatusCode,
    /// The registry's errors.
    entries: Vec<ErrorEntry>,
    /// The media type of a body that has no such errors in it.
    junk: Option<String>,
    /// Whether it came from where a redirect or a location led, and not from the registry.
    foreign: bool,
    /// Whether a manifest was refused, perhaps because something that it names is not there.
    is_lacking: bool,
    hint: Option<String>,
}

impl Refusal {
    /// Reads the beginning of a body, which may be cut off, as what the registry says.
    pub(super) fn new(request: &str, status: StatusCode, media_type: &str, body: &Bytes, foreign: bool) -> Self {
        let entries = serde_json::from_slice::<ErrorBody>(body).map(|body| body.errors);
        let junk = (entries.is_err() && !body.is_empty()).then(|| excerpt(media_type));
        let mut refusal = Self {
            request: request.to_owned(),
            status,
            entries: entries.unwrap_or_default(),
            junk,
            foreign,
            is_lacking: false,
            hint: None,
        };
        refusal.hint = refusal.own_hint(body).map(str::to_owned);
        refusal
    }

    /// What the user can do, as far as the answer alone says it.
    fn own_hint(&self, body: &Bytes) -> Option<&'static str> {
        let says = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
        if says("HTTP request to an HTTPS server") || says("HTTP request was sent to HTTPS port") {
            return Some("it speaks HTTPS: use --plain-http=false");
        }
        match self.status {
            StatusCode::PAYLOAD_TOO_LARGE => Some("the registry, or a proxy before it, limits the size of uploads"),
            StatusCode::TOO_MANY_REQUESTS => Some("wait, or log in if you are not: the limit may be higher then"),
            _ if self.junk.is_some() => Some(NOT_A_REGISTRY),
            _ => None,
        }
    }

    /// Which status it was.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The registry's errors, if it named any.
    #[must_use]
    pub fn entries(&self) -> &[ErrorEntry] {
        &self.entries
    }

    /// Whether the answer came without a word.
    pub(super) fn is_silent(&self) -> bool {
        self.entries.is_empty() && self.junk.is_none()
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    pub(super) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// The same about a manifest that was put.
    pub(super) fn lacking(mut self) -> Self {
        self.is_lacking = matches!(self.status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND);
        self
    }

    pub(super) fn is_lacking(&self) -> bool {
        self.is_lacking
    }

    /// What kind of failure it is. That a host elsewhere wants to know who asks is a failure of the registry, which sent
    /// us there.
    pub(super) fn kind(&self) -> ErrorKind {
        if self.entries.iter().any(|entry| entry.code == ErrorCode::DigestInvalid) {
            return ErrorKind::Content;
        }
        match self.status {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !self.foreign => ErrorKind::Denied,
            StatusCode::CONFLICT | StatusCode::PRECONDITION_FAILED => ErrorKind::Conflict,
            _ => ErrorKind::Remote,
        }
    }
}

/// The hint for answers that no registry gives.
pub(super) const NOT_A_REGISTRY: &str = "is this a registry? is there a proxy between?";

/// `not a registry's answer (text/html)`
pub(super) fn not_an_answer(request: &str, media_type: &str) -> Error {
    Error::Answer {
        request: request.to_owned(),
        what: format!("not a registry's answer ({})", excerpt(media_type)),
        hint: Some(NOT_A_REGISTRY.to_owned()),
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.request, self.status)?;
        for (at, entry) in self.entries.iter().take(MAX_ENTRIES).enumerate() {
            let separator = if at == 0 { ": " } else { "; " };
            let message = if entry.message.is_empty() { entry.code.message() } else { &entry.message };
            write!(f, "{separator}{}: {}", excerpt(entry.code.as_str()), excerpt(message))?;
        }
        match &self.junk {
            Some(media_type) => write!(f, ": not a registry's answer ({media_type})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, media_type: &str, body: &'static str) -> Refusal {
        let status = StatusCode::from_u16(status).unwrap();
        Refusal::new("GET h.io/v2/a/manifests/v1", status, media_type, &Bytes::from_static(body.as_bytes()), false)
    }

    #[test]
    fn a_registry_is_quoted() {
        let said = refusal(
            404,
            "application/json",
            r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown to registry"},{"code":"X","message":"y"}]}"#,
        );
        assert_eq!(
            said.to_string(),
            "GET h.io/v2/a/manifests/v1: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown to registry; X: y"
        );
        assert_eq!((said.kind(), said.hint()), (ErrorKind::NotFound, None));
        assert_eq!(refusal(403, "", "").to_string(), "GET h.io/v2/a/manifests/v1: 403 Forbidden");
        let wordless = refusal(401, "application/json", r#"{"errors":[{"code":"UNAUTHORIZED"}]}"#);
        assert!(wordless.to_string().ends_with("UNAUTHORIZED: authentication required"));
    }

    #[test]
    fn junk_is_named_and_not_quoted() {
        let page = refusal(502, "text/html", "<html>secret</html>");
        assert_eq!(
            page.to_string(),
            "GET h.io/v2/a/manifests/v1: 502 Bad Gateway: not a registry's answer (text/html)"
        );
        assert_eq!(page.hint(), Some(NOT_A_REGISTRY));
        let https = refusal(400, "text/plain", "Client sent an HTTP request to an HTTPS server.\n");
        assert!(https.hint().unwrap().contains("--plain-http=false"));
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        let said = refusal(
            500,
            "application/json",
            r#"{"errors":[{"code":"A\u001b[2J","message":"one\ntwo\u001b]0;x\u0007\u202ethree"}]}"#,
        );
        assert!(said.to_string().ends_with(r": A\u{1b}[2J: one\ntwo\u{1b}]0;x\u{7}\u{202e}three"), "{said}");
    }
}
