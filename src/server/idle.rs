//! Connections that end when nothing moves on them, so that clients that stall do not hold them for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use super::limits::Patience;

/// Counts the requests of a connection that are being answered: as long as there is one, it is the server's turn.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(Arc<Turns>);

#[derive(Debug, Default)]
struct Turns {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

/// One request that is being answered.
pub(super) struct Turn(Arc<Turns>);

impl Busy {
    pub(super) fn begin(&self) -> Turn {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Turn(Arc::clone(&self.0))
    }

    /// How many turns have ended, when none is going on.
    fn at_rest(&self) -> Option<usize> {
        let ended = self.0.ended.load(Ordering::Relaxed);
        (self.0.begun.load(Ordering::Relaxed) == ended).then_some(ended)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// A connection on which reading and writing fail when too little moves for too long, unless it is busy.
///
/// Most reads and writes have no need to wait, and cost nothing more than they would without this: time is asked for
/// when they begin and end to wait, and the alarm is set again only after it has gone off.
pub(super) struct Idle {
    stream: TcpStream,
    busy: Busy,
    patience: Patience,
    /// Since when the client has been waited for, and how many turns had ended then.
    waiting: Option<(Instant, Option<usize>)>,
    alarm: Pin<Box<Sleep>>,
}

impl Idle {
    pub(super) fn new(stream: TcpStream, busy: Busy, patience: Patience) -> Self {
        let alarm = Box::pin(tokio::time::sleep(patience.left()));
        Self { stream, busy, patience, waiting: None, alarm }
    }

    /// How long the client has been waited for. A turn of the server in between was not the client's time.
    fn waited(&self) -> Duration {
        let at_rest = self.busy.at_rest();
        match self.waiting {
            Some((since, before)) if at_rest.is_some() && at_rest == before => since.elapsed(),
            _ => Duration::ZERO,
        }
    }

    /// Notes that bytes moved.
    fn moved(&mut self, bytes: usize) {
        let waited = self.waited();
        self.waiting = None;
        self.patience.moved(bytes, waited);
    }

    /// Notes that nothing moved, and whether that is so for too long.
    fn wait<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.waiting.is_none() {
            self.waiting = Some((Instant::now(), self.busy.at_rest()));
        }
        while self.alarm.as_mut().poll(context).is_ready() {
            let waited = self.waited();
            if waited.is_zero() {
                self.waiting = Some((Instant::now(), self.busy.at_rest()));
            }
            let left = self.patience.left().saturating_sub(waited);
            if left.is_zero() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.alarm.as_mut().reset(Instant::now() + left);
        }
        Poll::Pending
    }

    /// Passes on how many bytes were written.
    fn written(&mut self, result: Poll<io::Result<usize>>, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &result {
            Poll::Pending => return self.wait(context),
            Poll::Ready(written) => self.moved(written.as_ref().map_or(0, |written| *written)),
        }
        result
    }
}

impl AsyncRead for Idle {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if result.is_pending() {
            return self.wait(context);
        }
        self.moved(buffer.filled().len() - before);
        result
    }
}

impl AsyncWrite for Idle {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::super::limits::Limits;
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_connection_ends_when_nothing_moves_and_not_while_it_is_busy() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let busy = Busy::default();
        let limits = Limits { idle_timeout: Duration::from_millis(20), ..Limits::default() };
        let mut server = Idle::new(listener.accept().await.unwrap().0, busy.clone(), limits.patience());

        client.write_all(b"a").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'a');
        let turn = busy.begin();
        let mut buffer = [0];
        let waited = tokio::time::timeout(Duration::from_millis(100), server.read(&mut buffer)).await;
        assert!(waited.is_err(), "busy connections wait");
        drop(turn);
        assert_eq!(server.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
