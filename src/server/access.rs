//! The access log: one event of `tracing` per request, with the target `bndlr::access` and the fields `method`, `path`,
//! `status`, `bytes` (of the answer's body) and `ms` (from the request's headers to the last of those bytes).
//! A client that goes before it has an answer leaves no event.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Method, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::answer::Body;
use super::storage::BoxError;

/// What is known of a request before it is answered.
pub(super) struct Access {
    method: Method,
    path: String,
    began: Instant,
}

impl Access {
    pub(super) fn begin(method: &Method, path: &str) -> Self {
        Self { method: method.clone(), path: path.to_owned(), began: Instant::now() }
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
        let Some(Access { method, path, began }) = self.access.take() else { return };
        let (status, ms) = (self.status.as_u16(), u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        tracing::info!(target: "bndlr::access", %method, path, status, bytes = self.sent, ms);
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
