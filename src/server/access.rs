//! The access log: one event of `tracing` per request, with the target `bndlr::access` and the fields `method`, `path`,
//! `status`, `bytes` (of the answer's body), `ms` (from the request's headers to the last of those bytes), `client` (its address, as
//! far as it is known) and `agent` (what it calls itself). The same is counted.
//! A client that goes before it has an answer leaves no event.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue, USER_AGENT};
use http::{Method, Response, StatusCode, Uri, request};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::answer::{self, Body};
use super::metrics::Metrics;
use super::operations::{Operations, Place};
use super::storage::BoxError;

/// Where a request comes from, as far as it is known.
#[derive(Clone, Copy, Default)]
pub(super) struct Peer {
    pub(super) address: Option<SocketAddr>,
    /// Whether it came over TLS.
    pub(super) is_secure: bool,
}

/// What is known of a request before it is answered.
pub(super) struct Access {
    method: Method,
    uri: Uri,
    endpoint: &'static str,
    client: Option<SocketAddr>,
    agent: Option<HeaderValue>,
    began: Instant,
    metrics: Arc<Metrics>,
    /// It is kept until the request is logged, which is when its answer ends.
    place: Option<Place>,
}

impl Access {
    pub(super) fn begin(parts: &request::Parts, peer: Peer, endpoint: &'static str, operations: &Operations) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            endpoint,
            client: peer.address,
            agent: parts.headers.get(USER_AGENT).cloned(),
            began: Instant::now(),
            metrics: Arc::clone(&operations.metrics),
            place: operations.place(),
        }
    }

    /// Whether the request is among those that are answered at once. Whoever runs the registry always is.
    ///
    /// # Errors
    /// When too many are being answered.
    pub(super) fn check_place(&self, operations: &Operations) -> answer::Result<()> {
        let is_operators = matches!(self.endpoint, "healthz" | "metrics");
        if self.place.is_some() || is_operators { Ok(()) } else { Err(operations.no_place()) }
    }

    /// Sees to it that the event is sent just before the client gets the last byte of the answer, so that who has the
    /// answer finds it logged; or when the answer is given up.
    pub(super) fn log(self, response: Response<Body>) -> Response<Body> {
        let status = response.status();
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        response.map(|body| {
            let expected = body.size_hint().exact().or(length);
            let mut logged = Logged { body, access: Some(self), status, sent: 0, expected };
            logged.log_when_complete();
            logged.boxed_unsync()
        })
    }
}

/// A body that is counted.
struct Logged {
    body: Body,
    access: Option<Access>,
    status: StatusCode,
    sent: u64,
    expected: Option<u64>,
}

impl Logged {
    fn log_when_complete(&mut self) {
        if self.expected == Some(self.sent) {
            self.log();
        }
    }

    fn log(&mut self) {
        let Some(access) = self.access.take() else { return };
        let Access { method, uri, endpoint, client, agent, began, metrics, .. } = access;
        let took = began.elapsed();
        metrics.answered(endpoint, &method, self.status, took, self.sent);
        let (status, ms) = (self.status.as_u16(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let (path, client) = (uri.path(), client.map(tracing::field::display));
        let agent = String::from_utf8_lossy(agent.as_ref().map_or(&[], HeaderValue::as_bytes));
        tracing::info!(target: "bndlr::access", %method, path, status, bytes = self.sent, ms, client, agent = &*agent);
    }
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                self.sent += frame.data_ref().map_or(0, |data| data.len() as u64);
                self.log_when_complete();
            }
            Some(Err(_)) | None => self.log(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.log();
    }
}
