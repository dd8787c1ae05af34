//! Content as it is read: chunks, verified on their way.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};

use super::Error;
use crate::digest::Verifier;
use crate::manifest::Descriptor;
use crate::protocol::ByteRange;
use crate::text::bytes;

/// A stream of some content's bytes that verifies them: it never yields the last bytes of content that has the wrong
/// digest, more bytes than the descriptor says, or an end before them.
pub struct Reader {
    stream: BoxStream<'static, Result<Bytes, Error>>,
    verifier: Verifier,
    size: u64,
    ended: bool,
}

impl Reader {
    /// Verifies what `stream` yields against `descriptor`.
    pub fn new(descriptor: &Descriptor, stream: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Self {
        Self {
            stream: stream.boxed(),
            verifier: Verifier::new(descriptor.digest, descriptor.size),
            size: descriptor.size,
            ended: false,
        }
    }

    /// A reader of bytes that are in memory.
    #[must_use]
    pub fn of_bytes(descriptor: &Descriptor, bytes: Bytes) -> Self {
        Self::new(descriptor, stream::iter([Ok(bytes)]))
    }

    /// How many bytes the whole content has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Lets `seen` see each chunk as it is read.
    #[must_use]
    pub fn inspect(mut self, seen: impl FnMut(&Bytes) + Send + 'static) -> Self {
        self.stream = self.stream.inspect_ok(seen).boxed();
        self
    }

    /// Only the bytes that `range` picks. All are read, which verifies them.
    ///
    /// # Errors
    /// [`super::ErrorKind::NotFound`] when it picks none.
    pub fn only(self, range: ByteRange) -> Result<impl Stream<Item = Result<Bytes, Error>> + Send + 'static, Error> {
        let nothing = || Error::not_found(format!("of {}, none is in the range {range}", bytes(self.size)));
        let part = range.resolve(self.size).ok_or_else(nothing)?;
        Ok(stream::try_unfold((self, 0, part), |(mut reader, at, part)| async move {
            let Some(chunk) = reader.try_next().await? else { return Ok(None) };
            let next = at + chunk.len() as u64;
            let (start, end) = (part.start.clamp(at, next) - at, part.end.clamp(at, next) - at);
            Ok(Some((chunk.slice(start as usize..end as usize), (reader, next, part))))
        }))
    }

    /// All bytes at once: for content whose size the caller has found small enough.
    ///
    /// # Errors
    /// Whatever the stream fails with, and [`super::ErrorKind::Content`] when the content is not what it should be.
    pub async fn read_all(mut self) -> Result<Bytes, Error> {
        let mut whole = BytesMut::new();
        while let Some(chunk) = self.try_next().await? {
            if chunk.len() as u64 == self.size {
                return Ok(chunk);
            }
            whole.extend_from_slice(&chunk);
        }
        Ok(whole.freeze())
    }
}

impl Stream for Reader {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let item = match ready!(self.stream.poll_next_unpin(context)) {
            Some(Ok(chunk)) => self.verifier.update(&chunk).map(|()| chunk).map_err(Error::from),
            Some(Err(error)) => Err(error),
            None => {
                self.ended = true;
                return Poll::Ready(self.verifier.finish().err().map(|mismatch| Err(mismatch.into())));
            }
        };
        self.ended = item.is_err();
        Poll::Ready(Some(item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::ErrorKind;

    async fn read(descriptor: &Descriptor, chunks: &[&'static str]) -> (String, Option<ErrorKind>) {
        let chunks: Vec<_> = chunks.iter().map(|chunk| Ok(Bytes::from_static(chunk.as_bytes()))).collect();
        let mut reader = Reader::new(descriptor, stream::iter(chunks));
        let mut seen = String::new();
        loop {
            match reader.next().await {
                Some(Ok(chunk)) => seen.push_str(std::str::from_utf8(&chunk).unwrap()),
                Some(Err(error)) => return (seen, Some(error.kind())),
                None => return (seen, None),
            }
        }
    }

    #[tokio::test]
    async fn wrong_content_is_never_yielded_whole() {
        let descriptor = Descriptor::of("text/plain", b"hello world");
        assert_eq!(read(&descriptor, &["hello", " world"]).await, ("hello world".into(), None));
        assert_eq!(read(&descriptor, &["hello", " worlD"]).await, ("hello".into(), Some(ErrorKind::Content)));
        assert_eq!(read(&descriptor, &["hello"]).await, ("hello".into(), Some(ErrorKind::Content)));
        assert_eq!(read(&descriptor, &["hello world", "!"]).await, ("hello world".into(), Some(ErrorKind::Content)));
        assert_eq!(read(&descriptor, &["hello world!"]).await, (String::new(), Some(ErrorKind::Content)));
    }
}
