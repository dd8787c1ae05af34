//! Whether the storage does what a registry needs: it begins an upload session, finds it, and cancels it. Where nothing
//! may be written, it is only read.

use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::repositories::Repositories;
use super::storage::Error;
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
    /// Whether the storage can be read from, and written to unless this is `read_only`, as far as is known.
    pub(super) async fn check(&self, repositories: &Repositories, read_only: bool) -> bool {
        let mut last = self.0.lock().await;
        if let Some((when, verdict)) = *last
            && when.elapsed() < KEPT
        {
            return verdict;
        }
        let verdict = match tokio::time::timeout(LIMIT, probe(repositories, read_only)).await {
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

async fn probe(repositories: &Repositories, read_only: bool) -> Result<(), Error> {
    if read_only {
        return repositories.repositories(None, 1).await.map(|_| ());
    }
    // It is a name.
    let Ok(name) = REPOSITORY.parse::<Name>() else { return Ok(()) };
    let session = repositories.begin_upload(&name, Algorithm::Sha256).await?;
    repositories.upload_size(&name, &session).await?;
    repositories.cancel_upload(&name, &session).await
}
