//! The way of a blob's bytes from the async side to the thread that unpacks: a bounded channel.
//!
//! [`feed`] opens the blobs one after another and verifies them as it sends them; [`Feed`] is what the other side reads
//! from. Dropping either end stops the other.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{Buf, Bytes};
use futures::stream::TryStreamExt;
use tokio::sync::mpsc;

use super::error::Fault;
use crate::content::{self, Observer, Open, Outcome};
use crate::manifest::Descriptor;

/// How many chunks may wait: at some 256 KiB a chunk, 4 MiB.
const WAITING: usize = 16;

/// What goes through the channel.
pub(super) enum Message {
    /// More bytes of the blob.
    Chunk(Bytes),
    /// The blob is whole, and what it should be.
    End,
}

/// Both ends of a channel, and what stops the reading end at once when it is dropped.
pub(super) fn channel() -> (mpsc::Sender<Message>, Feed, Stop) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let stopped = Arc::new(AtomicBool::new(false));
    let feed = Feed { receiver, stopped: Arc::clone(&stopped), chunk: Bytes::new(), ended: false, position: 0 };
    (sender, feed, Stop(stopped))
}

/// Tells the reading end, when dropped, that nobody waits for it any more.
pub(super) struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends each of `blobs`, the first first. Ends early, and without an error, when the other side stops listening.
pub(super) async fn feed(
    source: &dyn Open,
    blobs: &[Descriptor],
    observer: &dyn Observer,
    sender: mpsc::Sender<Message>,
) -> Result<(), content::Error> {
    for blob in blobs {
        let mut reader = source.open(blob).await?;
        observer.started(blob);
        while let Some(chunk) = reader.try_next().await? {
            observer.advanced(blob, chunk.len() as u64);
            if sender.send(Message::Chunk(chunk)).await.is_err() {
                return Ok(());
            }
        }
        if sender.send(Message::End).await.is_err() {
            return Ok(());
        }
        observer.finished(blob, Outcome::Uploaded);
    }
    Ok(())
}

/// Reads one blob after another.
pub(super) struct Feed {
    receiver: mpsc::Receiver<Message>,
    stopped: Arc<AtomicBool>,
    chunk: Bytes,
    ended: bool,
    position: u64,
}

impl Feed {
    /// How many bytes of this blob have been read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next bytes, as many as have come at once; none at the end.
    pub(super) fn piece(&mut self) -> io::Result<Bytes> {
        self.position += self.fill_buf()?.len() as u64;
        Ok(std::mem::take(&mut self.chunk))
    }

    /// Says that the blob has been read to its end, which it must have been, and that all of it was verified. What is
    /// read after this is the next blob.
    pub(super) fn finish(&mut self) -> Result<(), Fault> {
        if !self.fill_buf()?.is_empty() {
            return Err(Fault::Trailing);
        }
        self.ended = false;
        self.position = 0;
        Ok(())
    }

    /// Fails when nobody waits any more.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.stopped.load(Ordering::Relaxed) { Err(stopped()) } else { Ok(()) }
    }
}

/// What nobody gets to see: either the future was dropped, or the source failed and its error is the one that counts.
fn stopped() -> io::Error {
    io::Error::other("stopped before the end")
}

impl BufRead for Feed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        while self.chunk.is_empty() && !self.ended {
            match self.receiver.blocking_recv() {
                Some(Message::Chunk(chunk)) => self.chunk = chunk,
                Some(Message::End) => self.ended = true,
                None => return Err(stopped()),
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount);
        self.position += amount as u64;
    }
}

impl Read for Feed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}
