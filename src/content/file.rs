//! Files as streams of chunks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, TryStreamExt};

use super::{Error, ErrorKind};

/// How many bytes are read at once.
const CHUNK: u64 = 256 * 1024;

/// Buffers that have been read to their end. Fresh memory of that size has to be zeroed and mapped page by page, which takes
/// longer than reading a file that the system has in memory.
static SPARE: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());
/// How many of them are kept.
const MAX_SPARE: usize = 16;

/// `length` bytes of `file` from `offset` on, read by position, so that many readers can share one file. Ends early
/// where the file does.
pub fn read_file(
    file: Arc<File>,
    offset: u64,
    length: u64,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    stream::try_unfold((file, offset, length), |(file, offset, left)| async move {
        let wanted = left.min(CHUNK);
        if wanted == 0 {
            return Ok(None);
        }
        let reading = Arc::clone(&file);
        let chunk = tokio::task::spawn_blocking(move || read_at(&reading, offset, wanted))
            .await
            .map_err(|error| Error::local("read a file", std::io::Error::other(error)))?
            .map_err(|error| Error::local("read a file", error))?;
        let read = chunk.len() as u64;
        Ok((read > 0).then_some((chunk, (file, offset + read, left - read))))
    })
}

/// `length` bytes of `file` from `offset` on, at once.
///
/// # Errors
/// [`ErrorKind::Content`] when the file ends before them, [`ErrorKind::Local`] when it cannot be read.
pub async fn read_file_range(file: Arc<File>, offset: u64, length: u64) -> Result<Bytes, Error> {
    let bytes = read_file(file, offset, length).try_collect::<BytesMut>().await?.freeze();
    if bytes.len() as u64 == length {
        return Ok(bytes);
    }
    let message = format!("the content ends after {} of the {length} bytes from {offset} on", bytes.len());
    Err(Error::new(ErrorKind::Content, message))
}

fn read_at(file: &File, offset: u64, wanted: u64) -> std::io::Result<Bytes> {
    // It is at most CHUNK.
    let wanted = wanted as usize;
    let mut chunk = Chunk::of(wanted);
    let buffer = &mut chunk.buffer[..wanted];
    while chunk.filled < buffer.len() {
        match file.read_at(&mut buffer[chunk.filled..], offset + chunk.filled as u64) {
            Ok(0) => break,
            Ok(read) => chunk.filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Bytes::from_owner(chunk))
}

/// What was read. Its buffer is spare once nobody has it any more.
struct Chunk {
    buffer: Box<[u8]>,
    filled: usize,
}

impl Chunk {
    /// One with room for `length` bytes.
    fn of(length: usize) -> Self {
        // Many clients with little to read each must not have much memory each.
        let is_small = length < CHUNK as usize / 4;
        let spare = if is_small { None } else { SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop() };
        let fresh = || vec![0; if is_small { length } else { CHUNK as usize }].into();
        Self { buffer: spare.unwrap_or_else(fresh), filled: 0 }
    }
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.buffer.len() < CHUNK as usize {
            return;
        }
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MAX_SPARE {
            spare.push(std::mem::take(&mut self.buffer));
        }
    }
}
