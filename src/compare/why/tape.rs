//! Archives as they lie on the tape: which entries there are, in which order, and what comes after the last one.

use std::fs::File;
use std::os::unix::fs::FileExt;

use tar::EntryType;

use crate::archive::{BLOCK, Head, HeaderError, Headers, Input, padding};
use crate::content::{self, ErrorKind};
use crate::digest::Digest;

/// How many bytes the PAX records or the long name of one entry may have.
const MAX_EXTENSION: u64 = 1024 * 1024;
/// How many bytes before an entry's contents are held against those of another: more than those of any that is meant.
const MAX_HEAD: u64 = 4 * 1024 * 1024;

/// An archive, uncompressed, in a file.
pub(super) struct Tape {
    pub(super) file: File,
    pub(super) size: u64,
}

/// An entry of an archive. There may be very many, so its path stays on the tape.
pub(super) struct Mark {
    /// The front of the digest of its path, however that is written: where it is the same, so is the path.
    pub(super) key: u128,
    /// Where its first header begins.
    start: u64,
    /// How many bytes there are from there to its contents, or [`MAX_HEAD`].
    head: u32,
    pub(super) is_directory: bool,
}

/// What is on a tape.
pub(super) struct Index {
    /// The entries, in order.
    pub(super) marks: Vec<Mark>,
    /// Where the last one ends.
    pub(super) end: u64,
}

impl Tape {
    /// Reads all headers.
    ///
    /// # Errors
    /// When it is no archive.
    pub(super) fn index(&self) -> Result<Index, content::Error> {
        let mut cursor = Cursor { tape: self, at: 0 };
        let mut headers = headers();
        let (mut marks, mut end) = (Vec::new(), 0);
        while let Some(head) = headers.next(&mut cursor).map_err(wrong)? {
            let (start, is_directory) = (end, is_directory(&head));
            cursor.skip_map(&head).map_err(wrong)?;
            let length = (cursor.at - start).min(MAX_HEAD) as u32;
            marks.push(Mark { key: key(&normal(&head.path)), start, head: length, is_directory });
            cursor.skip(head.size.saturating_add(padding(head.size))).map_err(wrong)?;
            end = cursor.at;
        }
        Ok(Index { marks, end })
    }

    /// The blocks that stand before an entry's contents, or as many as anybody needs.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn head(&self, mark: &Mark) -> Result<Vec<u8>, content::Error> {
        self.read(mark.start, mark.head.into())
    }

    /// Where an entry goes, however that is written.
    ///
    /// # Errors
    /// When its headers cannot be read.
    pub(super) fn path(&self, mark: &Mark) -> Result<Vec<u8>, content::Error> {
        let head = headers().next(&mut Cursor { tape: self, at: mark.start }).map_err(wrong)?;
        Ok(head.map(|head| normal(&head.path)).unwrap_or_default())
    }

    /// `length` bytes from `offset` on, which are there.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>, content::Error> {
        let mut bytes = vec![0; length as usize];
        let read = self.file.read_exact_at(&mut bytes, offset);
        read.map_err(|error| content::Error::local("read a temporary file", error)).map(|()| bytes)
    }
}

/// Reads headers. How many there may be, whoever has read it all before has seen to.
fn headers() -> Headers {
    Headers::new(u64::MAX, MAX_EXTENSION)
}

fn key(path: &[u8]) -> u128 {
    let digest = Digest::sha256(path);
    digest.as_bytes()[..16].iter().fold(0, |key, &byte| key << 8 | u128::from(byte))
}

/// A place on a tape.
struct Cursor<'a> {
    tape: &'a Tape,
    at: u64,
}

impl Cursor<'_> {
    /// Passes over what a sparse file of GNU's has in front of its contents beside its header.
    fn skip_map(&mut self, head: &Head) -> Result<(), HeaderError> {
        let is_extended = |gnu: &tar::GnuHeader| gnu.is_extended();
        let mut goes_on =
            head.header.entry_type() == EntryType::GNUSparse && head.header.as_gnu().is_some_and(is_extended);
        while goes_on {
            let mut more = tar::GnuExtSparseHeader::new();
            self.fill(more.as_mut_bytes())?;
            goes_on = more.is_extended();
        }
        Ok(())
    }
}

impl Input for Cursor<'_> {
    fn block(&mut self, block: &mut [u8]) -> Result<bool, HeaderError> {
        if self.at == self.tape.size {
            return Ok(false);
        }
        self.fill(block).map(|()| true)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), HeaderError> {
        self.tape.file.read_exact_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn skip(&mut self, size: u64) -> Result<(), HeaderError> {
        let end = self.at.checked_add(size).filter(|end| *end <= self.tape.size);
        self.at = end.ok_or(HeaderError::BreaksOff)?;
        Ok(())
    }
}

fn wrong(error: HeaderError) -> content::Error {
    match error {
        HeaderError::Read(error) => content::Error::local("read a temporary file", error),
        error => content::Error::new(ErrorKind::Content, error),
    }
}

fn is_directory(head: &Head) -> bool {
    head.header.entry_type() == EntryType::Directory || head.path.ends_with(b"/")
}

/// A path without what says nothing: `./`, and slashes at its ends.
fn normal(path: &[u8]) -> Vec<u8> {
    let names = path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
    names.collect::<Vec<_>>().join(&b'/')
}

/// Whether the last `size - from` bytes are zeros, as long as nothing is wrong with reading them.
pub(super) fn is_zero(tape: &Tape, from: u64) -> Result<bool, content::Error> {
    let mut at = from;
    while at < tape.size {
        let length = (tape.size - at).min(64 * BLOCK);
        if tape.read(at, length)?.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += length;
    }
    Ok(true)
}
