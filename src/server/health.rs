//! Whether the storage does what a registry needs: it begins an upload session, finds it, and cancels it.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::storage::{Error, Storage};
use crate::digest::Algorithm;
use crate::reference::Name;

/// How long a verdict counts. Anybody may ask for it, and asking must not cost the storage much.
const KEPT: Duration = Duration::from_secs(1);
/// How long the storage may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Where the session is begun. A repository becomes visible only with what is linked in it.
const REPOSITORY: &str = "healthz";

/// The last verdict.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<Option<(Instant, bool)>>);

impl Health {
    /// Whether the storage can be written to and read from, as far as is known.
    pub(super) async fn check(&self, storage: &dyn Storage) -> bool {
        let mut last = self.0.lock().await;
        if let Some((when, verdict)) = *last
            && when.elapsed() < KEPT
        {
            return verdict;
        }
        let verdict = match tokio::time::timeout(LIMIT, probe(storage)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                tracing::error!(target: "bndlr::server", %error, "the storage is not healthy");
                false
            }
            Err(_elapsed) => {
                tracing::error!(target: "bndlr::server", "the storage did not answer within {} seconds", LIMIT.as_secs());
                false
            }
        };
        *last = Some((Instant::now(), verdict));
        verdict
    }
}

async fn probe(storage: &dyn Storage) -> Result<(), Error> {
    // It is a name.
    let Ok(name) = REPOSITORY.parse::<Name>() else { return Ok(()) };
    let session = storage.begin_upload(&name, Algorithm::Sha256).await?;
    storage.upload_size(&name, &session).await?;
    storage.cancel_upload(&name, &session).await
}
