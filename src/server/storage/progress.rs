//! The digests of upload sessions as far as they have been computed. Their state does not leave the process: another one
//! that goes on with a session reads it again when it is finished.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::SessionId;
use crate::digest::{Algorithm, Digest, Hasher};

/// How many sessions the process remembers the state of the digest of; others are read again.
const MAX_REMEMBERED: usize = 4096;

/// The state of the digests of the upload sessions that this process has written to.
#[derive(Default)]
pub(super) struct Hashers(Mutex<HashMap<SessionId, Progress>>);

/// A digest as far as it has been computed.
pub(super) struct Progress {
    hasher: Hasher,
    algorithm: Algorithm,
    /// How many bytes it has seen.
    seen: u64,
}

impl Progress {
    fn new(algorithm: Algorithm) -> Self {
        Self { hasher: Hasher::new(algorithm), algorithm, seen: 0 }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.seen += bytes.len() as u64;
    }

    /// The digest, if it is of this algorithm.
    pub(super) fn finish(self, algorithm: Algorithm) -> Option<Digest> {
        (self.algorithm == algorithm).then(|| self.hasher.finish())
    }
}

impl Hashers {
    /// Begins the digest of a new session.
    pub(super) fn begin(&self, session: &SessionId, algorithm: Algorithm) {
        self.remember(session, Progress::new(algorithm));
    }

    pub(super) fn remember(&self, session: &SessionId, progress: Progress) {
        let mut sessions = self.sessions();
        if sessions.len() >= MAX_REMEMBERED
            && let Some(any) = sessions.keys().next().cloned()
        {
            sessions.remove(&any);
        }
        sessions.insert(session.clone(), progress);
    }

    /// The state of a session's digest, if it has seen as many bytes as the session has.
    pub(super) fn take(&self, session: &SessionId, size: u64) -> Option<Progress> {
        self.sessions().remove(session).filter(|progress| progress.seen == size)
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionId, Progress>> {
        // Insertions and removals only: a panic elsewhere leaves nothing half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
