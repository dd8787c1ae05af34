//! Bodies of requests: never held in memory whole, opened anew for each attempt, and watched while they are sent.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use reqwest::{Body, Method};

use crate::content::{self, Open, Reader};
use crate::manifest::Descriptor;

/// How many bytes a registry can be expected to store, or to hash, in a second: with this it is waited for after the
/// last byte of an upload.
const SLOWEST_STORE: u64 = 16 * 1024 * 1024;

/// How many bytes are handed over at once, at most.
const PIECE: usize = 256 * 1024;

/// What a request carries.
pub(super) enum Payload<'a> {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Content, as it is read.
    Content(&'a Descriptor, &'a dyn Open),
}

impl Payload<'_> {
    /// The value of `Content-Length`. A method that may have a body says so, too, when it has none.
    pub(super) fn length(&self, method: &Method) -> Option<u64> {
        match self {
            Self::Empty => matches!(*method, Method::POST | Method::PUT).then_some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Content(descriptor, _) => Some(descriptor.size),
        }
    }

    /// How long a registry may take to store it all.
    pub(super) fn time_to_store(&self) -> Duration {
        match self {
            Self::Empty | Self::Bytes(_) => Duration::ZERO,
            Self::Content(descriptor, _) => Duration::from_secs(descriptor.size / SLOWEST_STORE),
        }
    }

    /// The body, from its beginning.
    pub(super) async fn body(&self, watch: &Arc<Watch>) -> Result<Option<Body>, content::Error> {
        Ok(match self {
            Self::Empty => None,
            Self::Bytes(bytes) => Some(Body::from(bytes.clone())),
            Self::Content(descriptor, from) => {
                let reader = from.open(descriptor).await?;
                Some(Body::wrap_stream(watched(reader, Arc::clone(watch))))
            }
        })
    }
}

/// The content, in pieces so small that the next one is asked for as long as the registry takes anything at all.
fn watched(reader: Reader, watch: Arc<Watch>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold((reader, Bytes::new(), watch), |(mut reader, mut rest, watch)| async move {
        if rest.is_empty() {
            watch.turn_to(Turn::Source);
            let chunk = reader.next().await;
            match chunk? {
                Ok(chunk) => rest = chunk,
                Err(error) => {
                    watch.state().failure = Some(error);
                    let failed = io::Error::other("the content to be uploaded cannot be read");
                    return Some((Err(failed), (reader, rest, watch)));
                }
            }
        }
        watch.turn_to(Turn::Registry(Instant::now()));
        let piece = rest.split_to(rest.len().min(PIECE));
        Some((Ok(piece), (reader, rest, watch)))
    })
}

/// Whose turn it is while a request is under way, so that nobody is blamed, or waited for in vain, for another's delay.
#[derive(Debug)]
pub(super) struct Watch(Mutex<State>);

#[derive(Debug)]
struct State {
    turn: Turn,
    /// Why the content that was to be sent could not be read: HTTP would only say that the body failed.
    failure: Option<content::Error>,
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    /// Content is read.
    Source,
    /// The registry is to take, or to answer, since then.
    Registry(Instant),
}

impl Watch {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { turn: Turn::Registry(Instant::now()), failure: None })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_to(&self, turn: Turn) {
        self.state().turn = turn;
    }

    /// Why the content could not be read, if that is so.
    pub(super) fn source_failure(&self) -> Option<content::Error> {
        self.state().failure.take()
    }

    /// Returns once the registry has done nothing for so long.
    pub(super) async fn stalled(&self, patience: Duration) {
        loop {
            let turn = self.state().turn;
            let left = match turn {
                Turn::Source => patience,
                Turn::Registry(since) => patience.saturating_sub(since.elapsed()),
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}
