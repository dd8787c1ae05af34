//! Files as streams of chunks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, TryStreamExt};

use super::{Error, ErrorKind};
use crate::text;

/// How many bytes are read at once.
const CHUNK: u64 = 256 * 1024;

/// How much memory is taken for a range before any of it has been read, in bytes.
const MAX_AT_ONCE: u64 = 4 * 1024 * 1024;

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
        let mut chunk = Chunk::of(wanted as usize);
        chunk.filled = read_at_hand(&file, &mut chunk.buffer[..chunk.wanted], offset);
        if !chunk.is_full() {
            let reading = Arc::clone(&file);
            chunk = tokio::task::spawn_blocking(move || chunk.fill(&reading, offset))
                .await
                .map_err(|error| Error::local("read a file", io::Error::other(error)))?
                .map_err(|error| Error::local("read a file", error))?;
        }
        let chunk = Bytes::from_owner(chunk);
        let read = chunk.len() as u64;
        Ok((read > 0).then_some((chunk, (file, offset + read, left - read))))
    })
}

/// `length` bytes of `file` from `offset` on, at once.
///
/// # Errors
/// [`ErrorKind::Content`] when the file ends before them, [`ErrorKind::Local`] when it cannot be read.
pub async fn read_file_range(file: Arc<File>, offset: u64, length: u64) -> Result<Bytes, Error> {
    // Whoever asks says how many bytes there are, and not the file: as many as are usual have room from the start.
    let mut bytes = BytesMut::with_capacity(length.min(MAX_AT_ONCE) as usize);
    let mut chunks = std::pin::pin!(read_file(file, offset, length));
    while let Some(chunk) = chunks.try_next().await? {
        bytes.extend_from_slice(&chunk);
    }
    let bytes = bytes.freeze();
    if bytes.len() as u64 == length {
        return Ok(bytes);
    }
    let message = format!("the content ends after {} of {length} from {offset} on", text::bytes(bytes.len() as u64));
    Err(Error::new(ErrorKind::Content, message))
}

/// Reads what the system has in memory, and so never waits for a disk. How many bytes that is says nothing about how
/// many there are.
pub(crate) fn read_at_hand(file: &File, buffer: &mut [u8], offset: u64) -> usize {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::{Errno, ReadWriteFlags, preadv2};
        match preadv2(file, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => read,
            Err(Errno::OPNOTSUPP) if is_in_memory(file) => file.read_at(buffer, offset).unwrap_or(0),
            Err(_) => 0,
        }
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (file, buffer, offset);
        0
    }
}

/// Whether the file is on a tmpfs, which cannot be asked not to wait, and has no need to.
pub(crate) fn is_in_memory(file: &File) -> bool {
    #[cfg(target_os = "linux")]
    {
        const TMPFS_MAGIC: rustix::fs::FsWord = 0x0102_1994;
        rustix::fs::fstatfs(file).is_ok_and(|system| system.f_type == TMPFS_MAGIC)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = file;
        false
    }
}

/// A part of a file. Its buffer is spare once nobody has it any more.
struct Chunk {
    buffer: Box<[u8]>,
    /// How many bytes are to be read. The buffer has at least as many.
    wanted: usize,
    filled: usize,
}

impl Chunk {
    /// An empty one with room for `wanted` bytes, which are at most [`CHUNK`].
    fn of(wanted: usize) -> Self {
        // Many clients with little to read each must not have much memory each.
        let is_small = wanted < CHUNK as usize / 4;
        let spare = if is_small { None } else { SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop() };
        let fresh = || vec![0; if is_small { wanted } else { CHUNK as usize }].into();
        Self { buffer: spare.unwrap_or_else(fresh), wanted, filled: 0 }
    }

    fn is_full(&self) -> bool {
        self.filled == self.wanted
    }

    /// Reads the rest, up to the end of the file, on a thread that may wait. `offset` is where the chunk begins.
    fn fill(mut self, file: &File, offset: u64) -> io::Result<Self> {
        while !self.is_full() {
            match file.read_at(&mut self.buffer[self.filled..self.wanted], offset + self.filled as u64) {
                Ok(0) => break,
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn buffers_are_used_again_only_when_nobody_has_them() {
        let mut file = tempfile::tempfile().unwrap();
        let content: Vec<u8> = (0..2_000_000_u32).flat_map(u32::to_le_bytes).collect();
        file.write_all(&content).unwrap();
        let file = Arc::new(file);
        for (offset, length) in [(0, content.len()), (3, 700_001), (CHUNK as usize - 1, 2), (7_999_999, 9)] {
            // All chunks are held until the last has been read.
            let chunks: Vec<Bytes> =
                read_file(Arc::clone(&file), offset as u64, length as u64).try_collect().await.unwrap();
            let end = content.len().min(offset + length);
            assert!(chunks.concat() == content[offset..end], "{length} bytes from {offset} on");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_is_in_memory_is_at_hand() {
        use std::io::Write;
        let Ok(mut file) = tempfile::tempfile_in("/dev/shm") else { return eprintln!("skipped: no /dev/shm") };
        file.write_all(b"content").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(read_at_hand(&file, &mut buffer, 3), 4);
        assert_eq!(&buffer[..4], b"tent");
        assert_eq!(read_at_hand(&file, &mut buffer, 7), 0);
    }
}
