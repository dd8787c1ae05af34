//! Content that is sent in parts: read once from its beginning to its end, as long as each part begins where the last
//! one ended, and from the beginning once more where one does not.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::TryStreamExt;

use crate::content::{self, Open, Reader};
use crate::manifest::Descriptor;

/// How many bytes are handed over at once, at most: so few that the next ones are asked for as long as the registry
/// takes anything at all.
const PIECE: u64 = 256 * 1024;

/// Content, and how far it has been read.
pub(super) struct Parts<'a> {
    descriptor: &'a Descriptor,
    from: &'a dyn Open,
    kept: Kept,
}

/// Where a reader is between two parts.
type Kept = Arc<Mutex<Option<Position>>>;

struct Position {
    reader: Reader,
    /// What of the last chunk has not been sent.
    rest: Bytes,
    /// How many bytes come before it.
    at: u64,
}

impl<'a> Parts<'a> {
    pub(super) fn new(descriptor: &'a Descriptor, from: &'a dyn Open) -> Self {
        Self { descriptor, from, kept: Kept::default() }
    }

    /// How many bytes the whole content has.
    pub(super) fn size(&self) -> u64 {
        self.descriptor.size
    }

    /// The bytes in `range`. The last ones of content that is not what it should be never come: its reader sees to that.
    pub(super) async fn part(&self, range: Range<u64>) -> Result<Part, content::Error> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner).take();
        let position = match kept.filter(|position| position.at == range.start) {
            Some(position) => position,
            None => self.position(range.start).await?,
        };
        Ok(Part { position: Some(position), end: range.end, kept: Arc::clone(&self.kept) })
    }

    async fn position(&self, start: u64) -> Result<Position, content::Error> {
        let reader = self.from.open(self.descriptor).await?;
        let mut position = Position { reader, rest: Bytes::new(), at: 0 };
        while position.at < start && position.take(start).await?.is_some() {}
        Ok(position)
    }
}

impl Position {
    /// The next bytes, none from `end` on.
    async fn take(&mut self, end: u64) -> Result<Option<Bytes>, content::Error> {
        while self.rest.is_empty() {
            match self.reader.try_next().await? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(None),
            }
        }
        let wanted = end.saturating_sub(self.at).min(PIECE).min(self.rest.len() as u64);
        self.at += wanted;
        Ok(Some(self.rest.split_to(wanted as usize)))
    }
}

/// A part on its way.
pub(super) struct Part {
    position: Option<Position>,
    end: u64,
    kept: Kept,
}

impl Part {
    /// The next bytes; none after the last ones.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, content::Error> {
        let Some(mut position) = self.position.take() else { return Ok(None) };
        let piece = position.take(self.end).await?;
        if position.at < self.end {
            self.position = Some(position);
        } else {
            // Nobody asks for more than there is, so this is done with the last bytes and not after them.
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(position);
        }
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use futures::stream;

    use super::*;

    /// Content in chunks of three bytes, and how often it was opened.
    struct Counted(&'static [u8], AtomicUsize);

    #[async_trait]
    impl Open for Counted {
        async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
            self.1.fetch_add(1, Ordering::SeqCst);
            let chunks: Vec<_> = self.0.chunks(3).map(|chunk| Ok(Bytes::from_static(chunk))).collect();
            Ok(Reader::new(descriptor, stream::iter(chunks)))
        }
    }

    async fn read(parts: &Parts<'_>, range: Range<u64>) -> Result<Vec<u8>, content::Error> {
        let mut part = parts.part(range).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = part.next().await? {
            bytes.extend_from_slice(&piece);
        }
        Ok(bytes)
    }

    #[tokio::test]
    async fn content_is_opened_once_for_parts_that_follow_each_other() {
        let content = Counted(b"0123456789", AtomicUsize::new(0));
        let descriptor = Descriptor::of("", b"0123456789");
        let parts = Parts::new(&descriptor, &content);
        assert_eq!(read(&parts, 0..4).await.unwrap(), b"0123");
        assert_eq!(read(&parts, 4..5).await.unwrap(), b"4");
        assert_eq!(read(&parts, 5..10).await.unwrap(), b"56789");
        assert_eq!(content.1.load(Ordering::SeqCst), 1);
        assert_eq!(read(&parts, 7..9).await.unwrap(), b"78");
        assert_eq!(read(&parts, 0..10).await.unwrap(), b"0123456789");
        assert_eq!(content.1.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn the_last_part_of_wrong_content_does_not_come() {
        let content = Counted(b"0123456780", AtomicUsize::new(0));
        let descriptor = Descriptor::of("", b"0123456789");
        let parts = Parts::new(&descriptor, &content);
        assert_eq!(read(&parts, 0..4).await.unwrap(), b"0123");
        assert_eq!(read(&parts, 4..10).await.unwrap_err().kind(), content::ErrorKind::Content);
    }
}
