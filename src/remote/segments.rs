//! A large blob over several connections at once, where one gets but a share of what the line can carry: because of the
//! time that its acknowledgements need, or because a storage gives no connection more.
//!
//! A blob begins to come over one connection, as any does. If whoever reads it waits for it, it goes on in segments, each by
//! a Range request of its own (RFC 9110, section 14): the next one is passed on as it comes, those after it wait in memory, a
//! few of them, until it is their turn. If one of them fails, the rest comes over one connection again.

use std::collections::VecDeque;
use std::iter;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;
use super::downloads::Download;
use super::repository::RemoteRepository;
use crate::manifest::Descriptor;

/// How many bytes a segment has.
const SEGMENT: u64 = 4 * 1024 * 1024;
/// How many bytes a blob has at least that may come in segments.
const LARGE: u64 = 6 * SEGMENT;
/// How many segments may wait in memory, of all the blobs of a registry that are read at the same time.
const WAITING: usize = 3;
/// How many bytes of what has waited are passed on at once.
const PIECE: usize = 256 * 1024;
/// For how long a reader has to have waited for less than a segment. Over a network without delays, 4 MiB come sooner.
const PATIENCE: Duration = Duration::from_millis(100);

/// Room for segments that wait.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WAITING))
}

/// A blob that may come in segments.
pub(super) struct Segments {
    repository: RemoteRepository,
    descriptor: Descriptor,
    /// What is passed on now.
    front: BoxStream<'static, Result<Bytes, Error>>,
    /// Where that ends.
    end: u64,
    /// How many bytes have been passed on.
    at: u64,
    /// What comes after the front, in order.
    ahead: VecDeque<Segment>,
    /// Where the segment begins that is to be asked for next; nothing, while the blob comes over one connection.
    next: Option<u64>,
    /// Whether no segment has failed.
    is_divisible: bool,
    pace: Pace,
}

impl Segments {
    /// Whether a blob is large enough to come in segments.
    pub(super) fn suit(descriptor: &Descriptor) -> bool {
        descriptor.size >= LARGE
    }

    /// The blob that `whole` brings, from a registry that knows ranges.
    pub(super) fn of(whole: Download, repository: &RemoteRepository, descriptor: &Descriptor) -> Self {
        Self {
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            front: whole.into_stream().boxed(),
            end: descriptor.size,
            at: 0,
            ahead: VecDeque::new(),
            next: None,
            is_divisible: true,
            pace: Pace::default(),
        }
    }

    /// Lets the blob go on in segments, if it is worth it and there is room for one that waits.
    fn divide(&mut self) {
        let is_worth_it = self.descriptor.size.saturating_sub(self.at) >= 2 * SEGMENT;
        if self.is_divisible && is_worth_it && self.repository.session.room.available_permits() > 0 {
            self.end = self.at + SEGMENT;
            self.next = Some(self.end);
        }
    }

    /// Lets the rest come over one connection.
    fn unite(&mut self) {
        self.front = Download::rest(&self.repository, &self.descriptor, self.at).into_stream().boxed();
        (self.end, self.next) = (self.descriptor.size, None);
        self.ahead.clear();
        self.pace = Pace::default();
    }

    /// Asks for as many segments as there is room for.
    fn ask(&mut self) {
        while let Some(start) = self.next.filter(|next| *next < self.descriptor.size)
            && let Ok(room) = Arc::clone(&self.repository.session.room).try_acquire_owned()
        {
            let end = self.descriptor.size.min(start + SEGMENT);
            let download = Download::segment(&self.repository, &self.descriptor, start..end);
            self.ahead.push_back(Segment {
                body: download.into_stream().boxed(),
                end,
                come: BytesMut::new(),
                how: None,
                _room: room,
            });
            self.next = Some(end);
        }
    }

    /// Goes on behind the front, which has ended.
    fn turn(&mut self) {
        match self.ahead.pop_front() {
            Some(segment) => (self.end, self.front) = (segment.end, segment.into_stream()),
            None => self.unite(),
        }
    }

    /// Takes note of what has come, and returns what of it is to be passed on.
    fn pass(&mut self, mut chunk: Bytes) -> Bytes {
        if self.next.is_some() {
            chunk.truncate(usize::try_from(self.end - self.at).unwrap_or(usize::MAX));
        }
        self.at += chunk.len() as u64;
        if self.pace.is_slow(chunk.len() as u64, Instant::now()) && self.next.is_none() {
            self.divide();
        }
        chunk
    }
}

impl Stream for Segments {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.at == self.end && self.end < self.descriptor.size {
                self.turn();
            }
            self.ask();
            let came = self.ahead.iter_mut().map(|segment| segment.receive(context)).filter(|came| *came).count();
            match self.front.poll_next_unpin(context) {
                Poll::Pending if came > 0 => {}
                Poll::Pending => {
                    self.pace.wait(Instant::now());
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(chunk))) => return Poll::Ready(Some(Ok(self.pass(chunk)))),
                Poll::Ready(None | Some(Err(_))) if self.next.is_some() && self.at < self.descriptor.size => {
                    self.is_divisible = false;
                    self.unite();
                }
                Poll::Ready(item) => return Poll::Ready(item),
            }
        }
    }
}

/// A segment before its turn.
struct Segment {
    body: BoxStream<'static, Result<Bytes, Error>>,
    /// Where in the blob it ends.
    end: u64,
    come: BytesMut,
    /// How it came to its end, if it has.
    how: Option<Result<(), Error>>,
    _room: OwnedSemaphorePermit,
}

impl Segment {
    /// Takes what has come, and says whether something had.
    fn receive(&mut self, context: &mut Context<'_>) -> bool {
        if self.how.is_some() {
            return false;
        }
        match self.body.poll_next_unpin(context) {
            Poll::Pending => return false,
            Poll::Ready(Some(Ok(chunk))) => {
                if self.come.is_empty() {
                    self.come.reserve(SEGMENT as usize);
                }
                self.come.extend_from_slice(&chunk);
            }
            Poll::Ready(Some(Err(error))) => self.how = Some(Err(error)),
            Poll::Ready(None) => self.how = Some(Ok(())),
        }
        true
    }

    /// What has come, and what is to come.
    fn into_stream(self) -> BoxStream<'static, Result<Bytes, Error>> {
        let Self { mut come, body, how, .. } = self;
        let pieces = stream::iter(iter::from_fn(move || {
            let length = come.len().min(PIECE);
            (length > 0).then(|| Ok(come.split_to(length).freeze()))
        }));
        match how {
            None => pieces.chain(body).boxed(),
            Some(how) => pieces.chain(stream::iter(how.err().map(Err))).boxed(),
        }
    }
}

/// How long a reader waits for what comes over one connection.
#[derive(Default)]
struct Pace {
    since: Option<Instant>,
    waited: Duration,
    /// How many bytes it was for.
    bytes: u64,
}

impl Pace {
    fn wait(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Whether so many bytes more, which have come by now, took too long.
    fn is_slow(&mut self, bytes: u64, now: Instant) -> bool {
        self.waited += self.since.take().map_or(Duration::ZERO, |since| now - since);
        self.bytes += bytes;
        let is_slow = self.waited >= PATIENCE;
        if self.bytes >= SEGMENT {
            *self = Self::default();
        }
        is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_slow_whose_reader_waits_long_for_little() {
        let (begin, most) = (Instant::now(), PATIENCE.mul_f32(0.99));
        let mut pace = Pace::default();
        pace.wait(begin);
        assert!(!pace.is_slow(SEGMENT - 1, begin + most), "not for long");
        assert!(!pace.is_slow(1, begin + 2 * PATIENCE), "what is there when it is asked for was not waited for");
        pace.wait(begin);
        assert!(!pace.is_slow(1, begin + most), "before so many bytes, it does not count any more");
        pace.wait(begin);
        pace.wait(begin + PATIENCE);
        assert!(pace.is_slow(1, begin + PATIENCE), "from when it began to wait");
    }
}
