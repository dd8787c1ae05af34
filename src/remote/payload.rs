//! Bodies of requests: never held in memory whole, read anew for each attempt, and watched while they are sent.

use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream::{self, Stream};
use reqwest::{Body, Method};

use super::parts::{Part, Parts};
use crate::content;

/// How many bytes a registry can be expected to store, or to hash, in a second: with this it is waited for after the
/// last byte of an upload.
const SLOWEST_STORE: u64 = 16 * 1024 * 1024;

/// What a request carries.
pub(super) enum Payload<'a> {
    /// Nothing.
    Empty,
    /// Bytes in memory.
    Bytes(Bytes),
    /// Some bytes of content, as they are read; perhaps none.
    Part(&'a Parts<'a>, Range<u64>),
}

impl Payload<'_> {
    /// The value of `Content-Length`. A method that may have a body says so, too, when it has none.
    pub(super) fn length(&self, method: &Method) -> Option<u64> {
        match self {
            Self::Empty => matches!(*method, Method::POST | Method::PUT).then_some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Part(_, range) => Some(range.end - range.start),
        }
    }

    /// How long a registry may take to store it all: the whole content, of which this may be the last part.
    pub(super) fn time_to_store(&self) -> Duration {
        match self {
            Self::Empty | Self::Bytes(_) => Duration::ZERO,
            Self::Part(parts, _) => Duration::from_secs(parts.size() / SLOWEST_STORE),
        }
    }

    /// The body, from its beginning.
    pub(super) async fn body(&self, watch: &Arc<Watch>) -> Result<Option<Body>, content::Error> {
        Ok(match self {
            Self::Empty => None,
            Self::Bytes(bytes) => Some(Body::from(bytes.clone())),
            Self::Part(_, range) if range.is_empty() => None,
            Self::Part(parts, range) => {
                let part = parts.part(range.clone()).await?;
                Some(Body::wrap_stream(watched(part, Arc::clone(watch))))
            }
        })
    }
}

/// The part, and whose turn it is meanwhile.
fn watched(part: Part, watch: Arc<Watch>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::unfold((part, watch), |(mut part, watch)| async move {
        watch.turn_to(Turn::Source);
        let piece = match part.next().await {
            Ok(piece) => Ok(piece?),
            Err(error) => {
                watch.state().failure = Some(error);
                Err(io::Error::other("the content to be uploaded cannot be read"))
            }
        };
        watch.turn_to(Turn::Registry(Instant::now()));
        Some((piece, (part, watch)))
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
