//! A blob that has been opened.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::BoxError;
use super::recent::{Place, Room};
use crate::content::read_file;

/// A blob that has been opened: its size, and its bytes from wherever they are wanted.
#[derive(Debug)]
pub struct Blob {
    size: u64,
    bytes: Source,
}

#[derive(Debug)]
enum Source {
    Memory(Bytes),
    /// And where it can be kept in memory.
    File(Arc<File>, Option<Place>),
    Remote(Arc<dyn RemoteBlob>),
}

/// The bytes of a blob that are neither in memory nor in a file.
pub trait RemoteBlob: fmt::Debug + Send + Sync + 'static {
    /// The bytes of `range`, which lies within the blob, in chunks of bounded size.
    fn read(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BoxError>>;
}

impl Blob {
    /// A blob in memory.
    #[must_use]
    pub fn of_bytes(bytes: Bytes) -> Self {
        Self { size: bytes.len() as u64, bytes: Source::Memory(bytes) }
    }

    /// A blob that is all of a file, which nobody changes.
    ///
    /// # Errors
    /// When the file's size cannot be found out.
    pub fn of_file(file: File) -> std::io::Result<Self> {
        Ok(Self { size: file.metadata()?.len(), bytes: Source::File(Arc::new(file), None) })
    }

    /// The same, to be kept at `place`, if there is one, by whoever reads all of it.
    pub(super) fn kept(self, place: Option<Place>) -> Self {
        let bytes = match self.bytes {
            Source::File(file, _) => Source::File(file, place),
            other => other,
        };
        Self { bytes, ..self }
    }

    /// A blob of `size` bytes that is somewhere else.
    #[must_use]
    pub fn of_remote(size: u64, bytes: Arc<dyn RemoteBlob>) -> Self {
        Self { size, bytes: Source::Remote(bytes) }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of `range`, which lies within the blob, in chunks of bounded size. They are not verified: whoever
    /// fetches them knows the digest and checks the whole.
    #[must_use]
    pub fn read(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BoxError>> {
        let range = range.start.min(self.size)..range.end.min(self.size);
        match &self.bytes {
            // Content in memory has a size that fits into `usize`.
            Source::Memory(bytes) => {
                let part = bytes.slice(range.start as usize..(range.end as usize).max(range.start as usize));
                stream::iter([Ok(part)]).boxed()
            }
            Source::File(file, place) => {
                let (file, length) = (Arc::clone(file), range.end.saturating_sub(range.start));
                let whole = place.as_ref().filter(|_| length == self.size);
                match whole.and_then(|place| Some((place.clone(), place.room(length)?))) {
                    Some((place, room)) => stream::once(read_and_keep(file, length, place, room)).boxed(),
                    None => read_file(file, range.start, length).map_err(Into::into).boxed(),
                }
            }
            Source::Remote(remote) => remote.read(range),
        }
    }
}

/// Reads all of a file, of the size that there is room for.
async fn read_and_keep(file: Arc<File>, size: u64, place: Place, room: Room) -> Result<Bytes, BoxError> {
    let mut bytes = BytesMut::with_capacity(size as usize);
    let mut chunks = pin!(read_file(file, 0, size));
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    let is_whole = bytes.len() as u64 == size;
    let bytes = bytes.freeze();
    Ok(if is_whole { place.keep(room, bytes) } else { bytes })
}
