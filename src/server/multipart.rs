//! Several parts of a blob in one body: `multipart/byteranges` (RFC 9110, section 14.6).

use std::ops::Range;

use bytes::Bytes;
use futures::stream::{self, StreamExt};

use super::storage::{Blob, BoxError, Chunks};

/// Parts of a blob, and what stands between them.
pub(super) struct Multipart {
    boundary: String,
    size: u64,
    parts: Vec<Range<u64>>,
}

impl Multipart {
    /// The parts of content that has `size` bytes.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub(super) fn new(parts: Vec<Range<u64>>, size: u64) -> Result<Self, getrandom::Error> {
        // Random, so that nobody can push a blob that has the next boundary in it.
        let boundary = format!("{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?);
        Ok(Self { boundary, size, parts })
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// How many bytes the body has.
    pub(super) fn length(&self) -> u64 {
        let parts = self.parts.iter().map(|part| self.head(part).len() as u64 + part.end - part.start);
        parts.sum::<u64>() + self.end().len() as u64
    }

    /// The body.
    pub(super) fn read(self, blob: Blob) -> Chunks<'static> {
        let end = self.end();
        let parts: Vec<_> = self.parts.iter().map(|part| (self.head(part), part.clone())).collect();
        let parts = stream::iter(parts).flat_map(move |(head, part)| text(head).chain(blob.read(part)));
        parts.chain(text(end)).boxed()
    }

    fn head(&self, part: &Range<u64>) -> String {
        let Self { boundary, size, .. } = self;
        let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
        format!("\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: {range}\r\n\r\n")
    }

    fn end(&self) -> String {
        format!("\r\n--{}--\r\n", self.boundary)
    }
}

fn text(text: String) -> stream::Iter<std::array::IntoIter<Result<Bytes, BoxError>, 1>> {
    stream::iter([Ok(Bytes::from(text))])
}
