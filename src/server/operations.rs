//! What a registry says to those who run it, `/healthz` and `/metrics`, and how many uploads it takes at once.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{Method, Response, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::answer::{self, Body, Problem, Result};
use super::health::Health;
use super::limits::Limits;
use super::metrics::{self, Metrics};
use super::repositories::Repositories;
use crate::protocol::ErrorCode;

/// When a client that was sent away may come back, in seconds.
const COME_BACK: u64 = 1;

/// What runs beside the answering of one registry's requests.
#[derive(Debug)]
pub(super) struct Operations {
    pub(super) limits: Limits,
    pub(super) metrics: Arc<Metrics>,
    health: Health,
    uploads: Semaphore,
}

impl Operations {
    pub(super) fn new(limits: Limits) -> Self {
        // The semaphore cannot count further.
        let uploads = Semaphore::new(limits.uploads.min(Semaphore::MAX_PERMITS));
        Self { limits, metrics: Arc::default(), health: Health::default(), uploads }
    }

    /// The answer to a request for `/healthz` or `/metrics`.
    pub(super) async fn answer(&self, repositories: &Repositories, method: &Method, endpoint: &str) -> Option<Result> {
        if !matches!(endpoint, "healthz" | "metrics") {
            return None;
        }
        if !matches!(*method, Method::GET | Method::HEAD) {
            return Some(Err(Problem::method_not_allowed(method, "GET, HEAD")));
        }
        let mut response = match endpoint {
            "healthz" => self.healthz(repositories).await,
            _ => answer::full(StatusCode::OK, metrics::CONTENT_TYPE, self.metrics.text(self.running_uploads()).into()),
        };
        answer::set(&mut response, CACHE_CONTROL, "no-store");
        Some(Ok(response))
    }

    async fn healthz(&self, repositories: &Repositories) -> Response<Body> {
        let (status, text) = if self.health.check(repositories).await {
            (StatusCode::OK, "ok\n")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "the storage failed; the log says why\n")
        };
        answer::full(status, "text/plain", text.into())
    }

    /// A request's turn to send a part of a blob, if that is what it does.
    ///
    /// # Errors
    /// When there was none in time. 503 and not 429: it is no fault of this client, and Docker tries again.
    pub(super) async fn admit(&self, method: &Method, endpoint: &str) -> Result<Option<SemaphorePermit<'_>>> {
        let uploads = matches!(endpoint, "uploads" | "upload");
        if !uploads || !matches!(*method, Method::POST | Method::PATCH | Method::PUT) {
            return Ok(None);
        }
        match tokio::time::timeout(self.limits.upload_wait, self.uploads.acquire()).await {
            // It is never closed.
            Ok(turn) => Ok(turn.ok()),
            Err(_elapsed) => {
                let message = format!("{} uploads are running, and no more are taken at once", self.limits.uploads);
                Err(Problem::new(ErrorCode::Other("UNAVAILABLE".to_owned()), message)
                    .with_status(StatusCode::SERVICE_UNAVAILABLE)
                    .with_header(RETRY_AFTER, COME_BACK))
            }
        }
    }

    fn running_uploads(&self) -> usize {
        self.limits.uploads.min(Semaphore::MAX_PERMITS) - self.uploads.available_permits()
    }
}
