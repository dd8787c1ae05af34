//! The bytes of a tar archive in chunks that several threads have at once: the one that reads the archive, the one that
//! computes its digests, and those that write files. None is copied on the way from one to another, and the memory of what
//! nobody has any more is used again.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes, BytesMut};

/// How many bytes a chunk has at most.
const CHUNK: usize = 256 * 1024;

/// What a layer's bytes are decompressed by.
pub(super) trait Decoder: Read {
    /// Takes notice of what has been read, chunk after chunk.
    fn decoded(&mut self, chunk: &Bytes);
}

/// Reads what a decoder makes, chunk by chunk.
pub(super) struct Chunks<D> {
    decoder: D,
    /// What has not been taken of the last chunk.
    chunk: Bytes,
    /// What comes after it.
    failed: Option<io::Error>,
    memory: Memory,
}

impl<D: Decoder> Chunks<D> {
    pub(super) fn new(decoder: D) -> Self {
        Self { decoder, chunk: Bytes::new(), failed: None, memory: Memory::default() }
    }

    pub(super) fn decoder(&self) -> &D {
        &self.decoder
    }

    pub(super) fn decoder_mut(&mut self) -> &mut D {
        &mut self.decoder
    }

    pub(super) fn into_decoder(self) -> D {
        self.decoder
    }

    /// How many bytes have been read from the decoder and not been taken.
    pub(super) fn ahead(&self) -> usize {
        self.chunk.len()
    }

    /// The next bytes, as many as are at hand and not more than `most`; none when the decoder has ended.
    pub(super) fn piece(&mut self, most: u64) -> io::Result<Bytes> {
        let length = most.min(self.fill_buf()?.len() as u64);
        Ok(self.chunk.split_to(length as usize))
    }

    /// Reads a chunk, which is at least half full unless the decoder ends or fails.
    fn read_chunk(&mut self) -> io::Result<Bytes> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut buffer = self.memory.take();
        let mut filled = 0;
        while filled < CHUNK / 2 {
            match self.decoder.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(length) => filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if filled == 0 => return Err(error),
                Err(error) => {
                    self.failed = Some(error);
                    break;
                }
            }
        }
        Ok(self.memory.lend(buffer, filled))
    }
}

impl<D: Decoder> BufRead for Chunks<D> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() {
            self.chunk = self.read_chunk()?;
            if !self.chunk.is_empty() {
                self.decoder.decoded(&self.chunk);
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, amount: usize) {
        self.chunk.advance(amount);
    }
}

impl<D: Decoder> Read for Chunks<D> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

/// The memory that chunks are in, of [`CHUNK`] bytes each.
#[derive(Default)]
struct Memory(Vec<Bytes>);

impl Memory {
    /// Some that nobody has any more, or else new.
    fn take(&mut self) -> BytesMut {
        let free = self.0.iter().position(Bytes::is_unique).map(|free| self.0.swap_remove(free));
        free.and_then(|free| free.try_into_mut().ok()).unwrap_or_else(|| BytesMut::zeroed(CHUNK))
    }

    /// The first bytes of a buffer, for whoever wants them. If they are few, they do not keep it from being used again.
    fn lend(&mut self, buffer: BytesMut, length: usize) -> Bytes {
        let buffer = buffer.freeze();
        let lent = if length < CHUNK / 2 { Bytes::copy_from_slice(&buffer[..length]) } else { buffer.slice(..length) };
        self.0.push(buffer);
        lent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives so many bytes at a time, and then fails or ends.
    struct Dripping {
        steps: Vec<usize>,
        fails: bool,
        decoded: Vec<usize>,
    }

    impl Read for Dripping {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.steps.pop() {
                Some(step) => {
                    buffer[..step].fill(self.steps.len() as u8);
                    Ok(step)
                }
                None if self.fails => Err(io::Error::other("broken")),
                None => Ok(0),
            }
        }
    }

    impl Decoder for Dripping {
        fn decoded(&mut self, chunk: &Bytes) {
            self.decoded.push(chunk.len());
        }
    }

    fn chunks(steps: &[usize], fails: bool) -> Chunks<Dripping> {
        let steps = steps.iter().rev().copied().collect();
        Chunks::new(Dripping { steps, fails, decoded: Vec::new() })
    }

    #[test]
    fn memory_is_used_again_once_nobody_has_a_chunk_of_it() {
        let mut chunks = chunks(&[CHUNK; 4], false);
        let first = chunks.piece(u64::MAX).unwrap();
        let part = first.slice(10..20);
        let kept = first.as_ptr();
        drop(first);
        let second = chunks.piece(u64::MAX).unwrap();
        assert!(second.as_ptr() != kept && part[..] == [3; 10], "somebody has some of it");
        drop(part);
        assert_eq!(chunks.piece(u64::MAX).unwrap().as_ptr(), kept);
        assert!(second.iter().all(|&byte| byte == 2));
    }

    #[test]
    fn a_few_bytes_do_not_keep_the_memory_of_many() {
        let mut chunks = chunks(&[CHUNK / 2 - 1, 0, CHUNK], false);
        let few = chunks.piece(u64::MAX).unwrap();
        let many = chunks.piece(u64::MAX).unwrap();
        assert_eq!((few.len(), many.len()), (CHUNK / 2 - 1, CHUNK));
        assert_eq!(chunks.memory.0.len(), 1, "the buffer was free again");
    }

    #[test]
    fn a_source_that_drips_fills_chunks() {
        let mut chunks = chunks(&[1000; 1000], false);
        while !chunks.piece(700).unwrap().is_empty() {}
        let Dripping { mut decoded, .. } = chunks.into_decoder();
        assert_eq!(decoded.iter().sum::<usize>(), 1_000_000);
        decoded.pop();
        assert!(decoded.iter().all(|&length| length >= CHUNK / 2), "{decoded:?}");
    }

    #[test]
    fn what_came_before_an_error_is_read_first() {
        let mut chunks = chunks(&[100], true);
        assert_eq!(chunks.piece(60).unwrap().len(), 60);
        assert_eq!(chunks.ahead(), 40);
        assert_eq!(chunks.piece(60).unwrap().len(), 40);
        assert_eq!(chunks.piece(60).unwrap_err().to_string(), "broken");
    }
}
