//! What a server does beside answering: it collects garbage, or at least lets unfinished uploads time out.

use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::collect::{self, Collected, Freed, Options};
use super::registry::Registry;
use super::storage;

/// How often abandoned uploads are looked for where nothing else is collected.
const UPLOADS_INTERVAL: Duration = Duration::from_hours(1);

/// What a server does beside answering, and how often. The first time is when it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upkeep {
    interval: Duration,
    work: Work,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    Collect(Options),
    EndUploads(Duration),
}

impl Upkeep {
    /// Collects garbage: see [`collect`](collect::collect).
    #[must_use]
    pub fn collect(interval: Duration, options: Options) -> Self {
        Self { interval, work: Work::Collect(options) }
    }

    /// Ends upload sessions that nobody has written to for `timeout`, once an hour, and collects nothing else.
    #[must_use]
    pub fn end_uploads(timeout: Duration) -> Self {
        Self { interval: UPLOADS_INTERVAL, work: Work::EndUploads(timeout) }
    }

    /// Goes on until it is dropped, which may be at any moment.
    pub(super) async fn run(self, registry: Registry) {
        // An interval cannot be nothing.
        let mut interval = tokio::time::interval(self.interval.max(Duration::from_millis(1)));
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let result = self.work(&registry).await;
            registry.operations().metrics.collected(result.as_ref().ok());
            match result {
                Ok(collected) => log(&collected),
                Err(error) => tracing::error!(target: "bndlr::collection", %error, "a collection failed"),
            }
        }
    }

    async fn work(&self, registry: &Registry) -> Result<Collected, storage::Error> {
        let storage = registry.repositories().storage();
        match &self.work {
            Work::Collect(options) => collect::collect(storage, options).await,
            Work::EndUploads(timeout) => {
                let freed = collect::end_uploads(storage, *timeout).await?;
                Ok(Collected { freed, damaged: Vec::new() })
            }
        }
    }
}

fn log(Collected { freed, damaged }: &Collected) {
    for error in damaged {
        tracing::error!(target: "bndlr::collection", %error, "a repository keeps all it has, because a collection cannot read it");
    }
    if !freed.is_nothing() {
        let Freed { manifests, links, blobs, uploads, bytes } = freed;
        tracing::info!(
            target: "bndlr::collection",
            manifests, links, blobs, uploads, bytes, "a collection freed what nobody needs any more"
        );
    }
}
