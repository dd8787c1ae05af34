//! What a registry says to those who run it, `/healthz` and `/metrics`, and how many uploads it takes at once.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use super::answer::{self, Body, Problem, Result};
use super::health::Health;
use super::limits::Limits;
use super::metrics::{self, Metrics};
use super::repositories::Repositories;
use crate::protocol::ErrorCode;
use crate::text::count;

/// When a client that was sent away may come back, in seconds.
const COME_BACK: u64 = 1;

/// What runs beside the answering of one registry's requests.
#[derive(Debug)]
pub(super) struct Operations {
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    health: Health,
    requests: Arc<Semaphore>,
    uploads: Semaphore,
}

/// The place of a request among those that are answered at once, until it is dropped.
pub(super) type Place = OwnedSemaphorePermit;

impl Operations {
    pub(super) fn new(limits: Limits) -> Self {
        // The semaphore cannot count further.
        let [requests, uploads] =
            [limits.requests, limits.uploads].map(|limit| Semaphore::new(limit.min(Semaphore::MAX_PERMITS)));
        Self { limits, metrics: Arc::default(), health: Health::default(), requests: Arc::new(requests), uploads }
    }

    /// A place for one more request, if there is one. Nobody waits for it: waiting requests need memory as well.
    pub(super) fn place(&self) -> Option<Place> {
        Arc::clone(&self.requests).try_acquire_owned().ok()
    }

    /// What a request is told that has no place.
    pub(super) fn no_place(&self) -> Problem {
        unavailable(format!("{} requests are being answered, and no more are taken at once", self.limits.requests))
    }

    /// The answer to a request for `/healthz` or `/metrics`.
    pub(super) async fn answer(
        &self,
        repositories: &Repositories,
        read_only: bool,
        method: &Method,
        endpoint: &str,
    ) -> Option<Result> {
        if !matches!(endpoint, "healthz" | "metrics") {
            return None;
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some(Err(Problem::method_not_allowed(method, "GET, HEAD")));
        }
        let mut response = match endpoint {
            "healthz" => self.healthz(repositories, read_only).await,
            _ => answer::full(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.text(self.running_uploads()).into()),
        };
        answer::set(&mut response, CACHE_CONTROL, "no-store");
        Some(Ok(response))
    }

    async fn healthz(&self, repositories: &Repositories, read_only: bool) -> Response<Body> {
        let (status, text) = if self.health.check(repositories, read_only).await {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the storage failed; the log says why\n")
        };
        answer::full(status, "text/plain", text.into())
    }

    /// A request's turn to send a part of a blob, if that is what it does.
    ///
    /// # Errors
    /// When there was none in time.
    pub(super) async fn admit(&self, method: &Method, endpoint: &str) -> Result<Option<SemaphorePermit<'_>>> {
        let uploads = matches!(endpoint, "uploads" | "upload");
        if !uploads || !matches!(*method, Method::POST | Method::PATCH | Method::PUT) {
            return Ok(None);
        }
        match tokio::time::timeout(self.limits.upload_wait, self.uploads.acquire()).await {
            // It is never closed.
            Ok(turn) => Ok(turn.ok()),
            Err(_elapsed) => {
                let message = format!(
                    "{} at once is all that is taken, and so many are running",
                    count(self.limits.uploads, "upload")
                );
                Err(unavailable(message))
            }
        }
    }

    fn running_uploads(&self) -> usize {
        self.limits.uploads.min(Semaphore::MAX_PERMITS) - self.uploads.available_permits()
    }
}

/// 503 and not 429: it is no fault of this client, and Docker tries again.
fn unavailable(message: String) -> Problem {
    Problem::new(ErrorCode::Other("UNAVAILABLE".to_owned()), message)
        .with_status(StatusCode::SERVICE_UNAVAILABLE)
        .with_header(RETRY_AFTER, COME_BACK)
}
