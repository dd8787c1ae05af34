//! The gzip members of a bundle's layer, one after the other, held to what the format allows of each.
//!
//! Where a member has to begin and end is for `bundle` to say; here it is only noticed.

use std::io::{self, BufRead, Read};

use bytes::Bytes;
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::chunks::{Chunks, Decoder};
use super::diff_id::{DiffId, Digests};
use super::error::Fault;
use super::feed::Feed;
use crate::bundle::{END_OF_ARCHIVE, MAX_MEMBER, MEMBER_HEADER};

/// How many tar bytes a member has at most: the last one has the end of the archive, too.
const MAX_TAR_SIZE: u64 = MAX_MEMBER + END_OF_ARCHIVE.len() as u64;

/// Reads the tar bytes of one member until it ends, which looks like the end of a file; [`Members::begin`] goes on.
pub(super) struct Members<'a> {
    tar: Chunks<Inflating<'a>>,
}

/// A member that has been read to its end.
pub(super) struct Done {
    pub(super) size: u64,
    pub(super) tar_size: u64,
}

impl<'a> Members<'a> {
    /// A reader of the members at the front of `feed`, none of which has begun, whose digests `diff_id` computes.
    pub(super) fn new(feed: &'a mut Feed, diff_id: DiffId) -> Self {
        let inflating = Inflating {
            feed,
            diff_id,
            inflate: Decompress::new(false),
            member: 0,
            offset: 0,
            tar_size: 0,
            crc: Crc::new(),
            ended: true,
        };
        Self { tar: Chunks::new(inflating) }
    }

    /// Begins the next member.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        self.tar.decoder_mut().begin()
    }

    /// Says that the member has been read to its end, and what it was.
    pub(super) fn done(&mut self) -> Done {
        self.tar.decoder_mut().done()
    }

    /// How many tar bytes of this member have been read.
    pub(super) fn position(&self) -> u64 {
        self.tar.decoder().tar_size - self.tar.ahead() as u64
    }

    /// How many bytes of the layer have been read.
    pub(super) fn layer_position(&self) -> u64 {
        self.tar.decoder().feed.position()
    }

    /// The next tar bytes of this member, at most so many; none at its end.
    pub(super) fn piece(&mut self, most: u64) -> io::Result<Bytes> {
        self.tar.piece(most)
    }

    /// The digests of all that was read.
    pub(super) fn finish(self) -> Result<Digests, Fault> {
        Ok(self.tar.into_decoder().diff_id.finish()?)
    }

    /// Something is wrong with this member.
    pub(super) fn fault(&self, problem: impl Into<String>) -> Fault {
        self.tar.decoder().fault(problem)
    }
}

impl BufRead for Members<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.tar.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.tar.consume(amount);
    }
}

impl Read for Members<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tar.read(buffer)
    }
}

/// Decompresses members, and sees to what comes out.
struct Inflating<'a> {
    feed: &'a mut Feed,
    diff_id: DiffId,
    inflate: Decompress,
    /// The number of the member and where it begins in the layer.
    member: u64,
    offset: u64,
    /// How many of its tar bytes have been decompressed.
    tar_size: u64,
    crc: Crc,
    ended: bool,
}

impl Inflating<'_> {
    fn begin(&mut self) -> Result<(), Fault> {
        self.offset = self.feed.position();
        let mut header = [0; MEMBER_HEADER.len()];
        self.feed.read_exact(&mut header).map_err(|error| self.broken(error))?;
        if header != MEMBER_HEADER {
            return Err(self.fault("has not the gzip header that it should have"));
        }
        self.inflate.reset(false);
        self.crc.reset();
        self.tar_size = 0;
        self.ended = false;
        Ok(())
    }

    fn done(&mut self) -> Done {
        self.diff_id.end_member();
        self.member += 1;
        Done { size: self.feed.position() - self.offset, tar_size: self.tar_size }
    }

    fn fault(&self, problem: impl Into<String>) -> Fault {
        Fault::Member { member: self.member, offset: self.offset, problem: problem.into() }
    }

    fn broken(&self, error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.fault("breaks off where the layer ends"),
            _ => Fault::Read(error),
        }
    }

    /// Decompresses until the buffer is full or the member ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Fault> {
        let mut filled = 0;
        while filled < buffer.len() && !self.ended {
            let input = self.feed.fill_buf()?;
            if input.is_empty() {
                return Err(self.fault("breaks off where the layer ends"));
            }
            let (read, written) = (self.inflate.total_in(), self.inflate.total_out());
            let status = self.inflate.decompress(input, &mut buffer[filled..], FlushDecompress::None);
            let (read, written) = (self.inflate.total_in() - read, self.inflate.total_out() - written);
            self.feed.consume(read as usize);
            filled += written as usize;
            match status {
                Ok(Status::StreamEnd) => self.ended = true,
                Ok(_) if read + written > 0 => {}
                Ok(_) | Err(_) => return Err(self.fault("is not valid deflate")),
            }
        }
        self.filled(&buffer[..filled]).map(|()| filled)
    }

    /// Sees to what was decompressed.
    fn filled(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.tar_size += bytes.len() as u64;
        if self.tar_size > MAX_TAR_SIZE {
            return Err(self.fault(format!("decompresses to more than {MAX_MEMBER} bytes")));
        }
        self.crc.update(bytes);
        if self.ended {
            let mut trailer = [0; 8];
            self.feed.read_exact(&mut trailer).map_err(|error| self.broken(error))?;
            // A member is far smaller than the 4 GiB at which gzip begins to count anew.
            let expected = u64::from(self.crc.sum()) | self.tar_size << 32;
            if u64::from_le_bytes(trailer) != expected {
                return Err(self.fault("has not the checksum or the length that it should have"));
            }
        }
        Ok(())
    }
}

impl Read for Inflating<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.ended { Ok(0) } else { self.fill(buffer).map_err(io::Error::other) }
    }
}

impl Decoder for Inflating<'_> {
    fn decoded(&mut self, chunk: &Bytes) {
        self.diff_id.update(chunk.clone());
    }
}
