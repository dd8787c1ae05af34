//! Traces: a line for each request and each answer, and for what is waited for between them, for people who want to see
//! what goes over the wire; and with fields, for those who want to see more.
//!
//! They are events, of the target [`TARGET`] at level DEBUG, and of the target [`DETAILS`] at level TRACE; the command
//! line decides whether and how to print them. Bodies are never in them, and what `shown` keeps back is not either.

use std::time::Duration;

use reqwest::{Request, Response};
use tracing::Span;

use super::shown::{ShownHeaders, ShownUrl};
use crate::manifest::Descriptor;
use crate::text::bytes;

/// The target of the lines.
pub const TARGET: &str = "bndlr::wire";

/// The target of what has fields: `request.headers`, `request.method` and `url` of a request, `response.headers`,
/// `status` and `url` of an answer; and of the spans around both, with `digest`, `mediatype` and `size` of the content that
/// they are about.
pub const DETAILS: &str = "bndlr::details";

/// `> GET http://localhost:5000/v2/ HTTP/1.1`. Which version it becomes is agreed on later; the answer shows it.
pub(super) fn request(request: &Request) {
    let (method, url) = (request.method(), request.url());
    tracing::debug!(target: TARGET, "> {method} {} HTTP/1.1", ShownUrl(url));
    tracing::trace!(
        target: DETAILS,
        {
            request.headers = ?ShownHeaders(request.headers(), url).to_string(),
            request.method = %method,
            url = ?ShownUrl(url).to_string(),
        },
        "do request"
    );
}

/// `< HTTP/1.1 200 OK`
pub(super) fn answer(response: &Response) {
    let (status, url) = (response.status(), response.url());
    tracing::debug!(target: TARGET, "< {:?} {status}", response.version());
    tracing::trace!(
        target: DETAILS,
        {
            response.headers = ?ShownHeaders(response.headers(), url).to_string(),
            status = ?status.to_string(),
            url = ?ShownUrl(url).to_string(),
        },
        "fetch response received"
    );
}

/// `push` or `fetch`: what is done from now on, in the span that this returns, is about this content.
pub(super) fn begin(what: &'static str, descriptor: &Descriptor) -> Span {
    let span = about(descriptor);
    span.in_scope(|| tracing::trace!(target: DETAILS, "{what}"));
    span
}

/// The span of what is done about this content.
pub(super) fn about(descriptor: &Descriptor) -> Span {
    let Descriptor { digest, media_type, size, .. } = descriptor;
    tracing::trace_span!(target: DETAILS, "content", digest = ?digest.to_string(), mediatype = ?media_type, size)
}

/// `* http://localhost:5000 asked to be left alone for 2.5 s`
pub(super) fn pause(host: &str, length: Duration) {
    tracing::debug!(target: TARGET, "* {host} asked to be left alone for {:.1} s", length.as_secs_f64());
}

/// `* tries again in 0.3 s`
pub(super) fn again(delay: Duration) {
    tracing::debug!(target: TARGET, "* tries again in {:.1} s", delay.as_secs_f64());
}

/// `* a part was asked for, and all of sha256:… comes, 9437184 bytes`
pub(super) fn whole(descriptor: &Descriptor) {
    let Descriptor { digest, size, .. } = descriptor;
    let all = bytes(*size);
    tracing::debug!(target: TARGET, "* a part was asked for, and all of {digest} comes, {all}: no ranges here");
}
