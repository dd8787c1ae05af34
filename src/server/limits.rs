//! What clients may take of a registry: room, and time.

use std::time::Duration;

/// What clients may take of a registry, all of them together or each. The size of a manifest is bounded by
/// [`MAX_MANIFEST_SIZE`](crate::manifest::MAX_MANIFEST_SIZE), whatever stands here; a blob's is not.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// How many connections are served at once; others wait to be accepted. 512: below the 1,024 open files that a
    /// process usually may have, because blobs are open files, too.
    pub connections: usize,
    /// How many requests are answered at once, from the headers of each to the last byte of its answer; others are told
    /// to come back later. 512: of HTTP/1, each connection has one; of HTTP/2, a few connections could have very many.
    pub requests: usize,
    /// How many requests may send parts of blobs at once. 64: each has up to 1 MiB in memory.
    pub uploads: usize,
    /// How long another such request waits for its turn, before it is told to come back later. 5 seconds.
    pub upload_wait: Duration,
    /// How many bytes the headers of a request may have. 64 KiB; at least 8 KiB.
    pub header_bytes: usize,
    /// How long a client may take for the headers of a request, and between two requests. 30 seconds.
    pub header_timeout: Duration,
    /// How long a client may be waited for, while it sends a body or takes an answer. One minute. Each byte
    /// that moves earns it some of that time back, as [`min_rate`](Self::min_rate) says.
    pub idle_timeout: Duration,
    /// How many bytes a second a client has to send or take to be waited for without end. 1 KiB.
    pub min_rate: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            requests: 512,
            uploads: 64,
            upload_wait: Duration::from_secs(5),
            header_bytes: 64 * 1024,
            header_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_mins(1),
            min_rate: 1024,
        }
    }
}

impl Limits {
    pub(super) fn patience(&self) -> Patience {
        Patience { limit: self.idle_timeout, rate: self.min_rate, left: self.idle_timeout }
    }
}

/// How much longer somebody is waited for. Waiting uses it up, and bytes that move restore it.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    limit: Duration,
    rate: u64,
    left: Duration,
}

impl Patience {
    /// How much there is left.
    pub(super) fn left(&self) -> Duration {
        self.left
    }

    /// Notes that `bytes` moved after a time.
    pub(super) fn moved(&mut self, bytes: usize, after: Duration) {
        // Without a rate, any byte will do.
        let earned =
            (bytes as u64).saturating_mul(1000).checked_div(self.rate).map_or(self.limit, Duration::from_millis);
        let earned = if bytes == 0 { Duration::ZERO } else { earned };
        self.left = self.left.saturating_sub(after).saturating_add(earned).min(self.limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trickle_uses_patience_up_and_a_stream_keeps_it() {
        let second = Duration::from_secs(1);
        let limits = Limits { idle_timeout: 10 * second, min_rate: 100, ..Limits::default() };
        let mut patience = limits.patience();
        for _ in 0..1000 {
            patience.moved(100, second);
        }
        assert_eq!(patience.left(), 10 * second);
        for _ in 0..20 {
            patience.moved(50, second);
        }
        assert!(patience.left() < second, "half the rate is too little in the end: the next second is not waited for");
        patience.moved(1_000_000, second);
        assert_eq!(patience.left(), 10 * second, "no more can be earned than there is at first");
    }
}
