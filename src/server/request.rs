//! What a request says beside its method and path: headers, query and body, read with the care that a stranger's words
//! need.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt};
use http::StatusCode;
use http::header::{HeaderMap, HeaderName};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body as _;

use super::answer::Problem;
use super::limits::Patience;
use super::metrics::Metrics;
use super::operations::Operations;
use super::storage::{BoxError, Chunks};
use crate::protocol::ErrorCode;
use crate::text::bytes;

/// How much of a body is read, and for how long, only so that the client comes to read the answer.
const DRAIN: (usize, Duration) = (8 * 1024 * 1024, Duration::from_secs(2));

/// A request, without its method, path and body.
pub(super) struct Request {
    pub(super) headers: HeaderMap,
    query: String,
}

/// The body of a request.
pub(super) struct Body {
    frames: UnsyncBoxBody<Bytes, BoxError>,
    patience: Patience,
    metrics: Arc<Metrics>,
    ended: bool,
}

/// Why the body of a request cannot be read to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// There is more than there may be.
    #[error("the body has more than {}, which were announced or are the limit", bytes(*.0))]
    TooLong(u64),
    /// Too little came for too long.
    #[error("the body came too slowly")]
    Stalled,
    /// The client is gone, or does not speak HTTP.
    #[error("the body broke off: {0}")]
    Broken(#[source] BoxError),
}

impl Request {
    pub(super) fn new(headers: HeaderMap, query: &str) -> Self {
        Self { headers, query: query.to_owned() }
    }

    /// The first value of a query parameter, decoded.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        self.parameters(name).next()
    }

    /// All values of a query parameter, decoded.
    pub(super) fn parameters(&self, name: &str) -> impl Iterator<Item = String> {
        let all = form_urlencoded::parse(self.query.as_bytes());
        all.filter(move |(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// A query parameter, parsed.
    ///
    /// # Errors
    /// With `code`, when it is not valid.
    pub(super) fn parsed<T: FromStr>(&self, name: &str, code: &ErrorCode) -> Result<Option<T>, Problem>
    where
        T::Err: std::fmt::Display,
    {
        let parse = |value: String| {
            value.parse().map_err(|error| Problem::new(code.clone(), format!("parameter {name:?}: {error}")))
        };
        self.parameter(name).map(parse).transpose()
    }

    /// How many entries of a list are asked for, with `n`.
    ///
    /// # Errors
    /// When that is no number.
    pub(super) fn page_size(&self) -> Result<Option<usize>, Problem> {
        let n = self.parsed("n", &ErrorCode::Other("PAGINATION_NUMBER_INVALID".to_owned()));
        n.map_err(|problem| problem.with_status(StatusCode::BAD_REQUEST))
    }

    /// A header's value, if it is there and is text.
    pub(super) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl Body {
    pub(super) fn new(frames: UnsyncBoxBody<Bytes, BoxError>, operations: &Operations) -> Self {
        let (patience, metrics) = (operations.limits.patience(), Arc::clone(&operations.metrics));
        let ended = frames.is_end_stream();
        Self { frames, patience, metrics, ended }
    }

    /// The next bytes.
    async fn chunk(&mut self) -> Option<Result<Bytes, BodyError>> {
        while !self.ended {
            let began = Instant::now();
            let frame = tokio::time::timeout(self.patience.left(), self.frames.frame()).await;
            let result = match frame {
                Ok(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap_or_default();
                    self.patience.moved(data.len(), began.elapsed());
                    self.metrics.received(data.len());
                    if data.is_empty() {
                        continue;
                    }
                    return Some(Ok(data));
                }
                Ok(None) => None,
                Ok(Some(Err(error))) => Some(Err(BodyError::Broken(error))),
                Err(_elapsed) => Some(Err(BodyError::Stalled)),
            };
            self.ended = true;
            return result;
        }
        None
    }

    /// All bytes as they come, and an error instead of what comes after `limit` of them.
    pub(super) fn chunks(&mut self, limit: u64) -> Chunks<'_> {
        let within = move |chunk: Bytes, left: u64| match left.checked_sub(chunk.len() as u64) {
            Some(left) => Ok((chunk, left)),
            None => Err(BodyError::TooLong(limit)),
        };
        stream::unfold((self, limit), move |(body, left)| async move {
            Some(match body.chunk().await?.and_then(|chunk| within(chunk, left)) {
                Ok((chunk, left)) => (Ok(chunk), (body, left)),
                Err(error) => (Err(error.into()), (body, 0)),
            })
        })
        .boxed()
    }

    /// All bytes at once, when there are no more than `limit`.
    pub(super) async fn read_all(&mut self, limit: u64) -> Result<Bytes, BodyError> {
        if self.frames.size_hint().lower() > limit {
            return Err(BodyError::TooLong(limit));
        }
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.chunk().await.transpose()? {
            if (whole.len() + chunk.len()) as u64 > limit {
                return Err(BodyError::TooLong(limit));
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }

    /// Reads what nobody has read, up to a bound. A client that is still sending when the connection is closed may
    /// never come to see why.
    pub(super) async fn drain(&mut self) {
        if self.ended {
            return;
        }
        let (mut left, time) = DRAIN;
        let read = async {
            while let Some(Ok(chunk)) = self.chunk().await {
                left = left.saturating_sub(chunk.len());
                if left == 0 {
                    break;
                }
            }
        };
        // A client that takes longer is one that would not have read the answer either.
        let _ = tokio::time::timeout(time, read).await;
    }
}
