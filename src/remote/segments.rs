//! A large blob over several connections at once: one of them often gets but a share of what the line can carry, because
//! of the time that its acknowledgements need, or because a storage gives no connection more.
//!
//! The blob comes in segments, each by a Range request of its own (RFC 9110, section 14). Whoever reads gets the first one as
//! it comes; those after it wait in memory, a few of them, until it is their turn.

use std::collections::VecDeque;
use std::iter;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;
use super::answer::Answer;
use super::downloads::Download;
use super::repository::RemoteRepository;
use crate::manifest::Descriptor;

/// How many bytes a segment has.
const SEGMENT: u64 = 4 * 1024 * 1024;
/// How many bytes a blob has at least that comes in segments.
const LARGE: u64 = 6 * SEGMENT;
/// How many segments may wait in memory, of all the blobs of a registry that are read at the same time.
const WAITING: usize = 3;
/// How many bytes of what has waited are passed on at once.
const PIECE: usize = 256 * 1024;

/// The first segment of a blob, if it comes in segments.
pub(super) fn first(descriptor: &Descriptor) -> Option<Range<u64>> {
    (descriptor.size >= LARGE).then_some(0..SEGMENT)
}

/// Room for what may wait.
pub(super) fn room() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WAITING))
}

/// A blob that comes in segments.
pub(super) struct Segments {
    repository: RemoteRepository,
    descriptor: Descriptor,
    /// What is passed on now.
    front: BoxStream<'static, Result<Bytes, Error>>,
    /// What comes after it, in order.
    ahead: VecDeque<Segment>,
    /// Where the segment begins that is to be asked for next.
    next: u64,
}

impl Segments {
    /// The blob of which `answer` brings the first segment.
    pub(super) fn beginning_with(answer: Answer, repository: &RemoteRepository, descriptor: &Descriptor) -> Self {
        let front = Download::begun(repository, descriptor, 0..SEGMENT, answer);
        Self {
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            front: front.into_stream().boxed(),
            ahead: VecDeque::new(),
            next: SEGMENT,
        }
    }

    /// The next segment, not yet asked for; nothing after the last one.
    fn segment(&mut self) -> Option<Download> {
        let end = self.descriptor.size.min(self.next + SEGMENT);
        let range = std::mem::replace(&mut self.next, end)..end;
        (!range.is_empty()).then(|| Download::new(&self.repository, &self.descriptor, range))
    }

    /// Asks for as many segments as there is room for.
    fn ask(&mut self) {
        while let Ok(room) = Arc::clone(&self.repository.session.room).try_acquire_owned() {
            let Some(download) = self.segment() else { return };
            self.ahead.push_back(Segment::new(download, room));
        }
    }

    /// Goes on to the next segment, and says whether there is one.
    fn turn(&mut self) -> bool {
        let waiting = self.ahead.pop_front().map(Segment::into_stream);
        let front = waiting.or_else(|| Some(self.segment()?.into_stream().boxed()));
        front.is_some_and(|front| {
            self.front = front;
            true
        })
    }
}

impl Stream for Segments {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            self.ask();
            let came = self.ahead.iter_mut().map(|segment| segment.receive(context)).fold(false, |any, one| any | one);
            match self.front.poll_next_unpin(context) {
                Poll::Ready(None) if self.turn() => {}
                Poll::Pending if came => {}
                item => return item,
            }
        }
    }
}

/// A segment before its turn.
struct Segment {
    body: BoxStream<'static, Result<Bytes, Error>>,
    come: BytesMut,
    /// How it ended, if it has.
    end: Option<Result<(), Error>>,
    _room: OwnedSemaphorePermit,
}

impl Segment {
    fn new(download: Download, room: OwnedSemaphorePermit) -> Self {
        Self { body: download.into_stream().boxed(), come: BytesMut::new(), end: None, _room: room }
    }

    /// Takes what has come, and says whether to ask again at once.
    fn receive(&mut self, context: &mut Context<'_>) -> bool {
        if self.end.is_some() {
            return false;
        }
        match self.body.poll_next_unpin(context) {
            Poll::Pending => return false,
            Poll::Ready(Some(Ok(chunk))) => {
                self.come.reserve(SEGMENT as usize - self.come.len());
                self.come.extend_from_slice(&chunk);
            }
            Poll::Ready(Some(Err(error))) => self.end = Some(Err(error)),
            Poll::Ready(None) => self.end = Some(Ok(())),
        }
        true
    }

    /// What has come, and what is to come.
    fn into_stream(self) -> BoxStream<'static, Result<Bytes, Error>> {
        let Self { mut come, body, end, .. } = self;
        let pieces = stream::iter(iter::from_fn(move || {
            let length = come.len().min(PIECE);
            (length > 0).then(|| Ok(come.split_to(length).freeze()))
        }));
        match end {
            None => pieces.chain(body).boxed(),
            Some(end) => pieces.chain(stream::iter(end.err().map(Err))).boxed(),
        }
    }
}
