//! Where in a tar archive each file of an image layout is: one pass over the headers that reads no contents.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tar::EntryType;

use super::error::Error;
use super::{BLOBS, INDEX, MARKER};
use crate::archive::{BLOCK, HeaderError, Headers, Input};
use crate::digest::Digest;
use crate::text::excerpt;

/// How many entries an archive may have, extended headers among them.
pub(super) const MAX_ENTRIES: u64 = 100_000;

/// How many bytes an extended header may have.
pub(super) const MAX_EXTENSION_SIZE: u64 = 64 * 1024;

/// Where some content is, in bytes of the archive. It is inside of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// The files of the layout. Of several entries with one name the last one counts, as it does when an archive is
/// unpacked; entries that are no part of a layout are passed over.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) marker: Option<Span>,
    pub(super) index: Option<Span>,
    pub(super) blobs: HashMap<Digest, Span>,
}

/// Finds the files of a layout in `file`, which errors call `archive`.
pub(super) fn scan(file: &File, archive: &Path) -> Result<Contents, Error> {
    let length = file.metadata().map_err(Error::io("read", archive))?.len();
    let headers = Headers::new(MAX_ENTRIES, MAX_EXTENSION_SIZE);
    let mut scan = Scan { archive, tar: Tar { file, length, offset: 0, header: 0 }, headers };
    let mut contents = Contents::default();
    while let Some((name, span)) = scan.next_file()? {
        match name.as_str() {
            MARKER => contents.marker = Some(span),
            INDEX => contents.index = Some(span),
            name => {
                if let Some(digest) = blob_digest(name) {
                    contents.blobs.insert(digest, span);
                }
            }
        }
    }
    Ok(contents)
}

/// The digest of the blob at `blobs/<algorithm>/<digest>`.
fn blob_digest(name: &str) -> Option<Digest> {
    let (algorithm, hex) = name.strip_prefix(BLOBS)?.strip_prefix('/')?.split_once('/')?;
    format!("{algorithm}:{hex}").parse().ok()
}

struct Scan<'a> {
    archive: &'a Path,
    tar: Tar<'a>,
    headers: Headers,
}

impl Scan<'_> {
    /// The name, without `./`, and the content of the next regular file.
    fn next_file(&mut self) -> Result<Option<(String, Span)>, Error> {
        loop {
            // An archive may end without an end mark for others, who read it whole; here that would go unnoticed.
            if self.tar.left() < BLOCK {
                return Err(self.ended());
            }
            let head = self.headers.next(&mut self.tar).map_err(|error| self.wrong_header(error))?;
            let Some(head) = head else { return Ok(None) };
            let name = String::from_utf8_lossy(&head.path).into_owned();
            let kind = head.header.entry_type();
            if kind == EntryType::GNUSparse {
                return Err(Error::Sparse { archive: self.archive.to_owned(), name: excerpt(&name) });
            }
            let span = self.skip(&name, if has_content(kind) { head.size } else { 0 })?;
            if matches!(kind, EntryType::Regular | EntryType::Continuous) {
                return Ok(Some((without_dots(&name).to_owned(), span)));
            }
        }
    }

    /// Moves on to what follows the content, of `size` bytes, that begins here.
    fn skip(&mut self, name: &str, size: u64) -> Result<Span, Error> {
        let span = Span { offset: self.tar.offset, size };
        let end = span.offset.checked_add(size).filter(|&end| end <= self.tar.length);
        let padded = end.and_then(|end| end.checked_next_multiple_of(BLOCK));
        self.tar.offset = padded.ok_or_else(|| Error::BeyondEnd {
            archive: self.archive.to_owned(),
            name: excerpt(name),
            size,
            offset: span.offset,
            length: self.tar.length,
        })?;
        Ok(span)
    }

    fn wrong_header(&self, error: HeaderError) -> Error {
        let archive = self.archive.to_owned();
        match error {
            HeaderError::Read(error) => Error::io("read", archive)(error),
            HeaderError::BreaksOff => self.ended(),
            HeaderError::Checksum if self.tar.header == 0 => self.not_tar(),
            HeaderError::Checksum | HeaderError::Invalid(_) => Error::Header { archive, offset: self.tar.header },
            HeaderError::TooLong { size, .. } => Error::ExtensionTooLarge { archive, offset: self.tar.header, size },
            HeaderError::TooMany(_) => Error::TooManyEntries(archive),
        }
    }

    /// The archive ends where it should not.
    fn ended(&self) -> Error {
        match self.tar.offset {
            0 => Error::NotTar(self.archive.to_owned()),
            _ => Error::CutShort { archive: self.archive.to_owned(), length: self.tar.length },
        }
    }

    /// What begins with something else than a header is no archive, or a compressed one.
    fn not_tar(&self) -> Error {
        const GZIP: &[u8] = &[0x1f, 0x8b];
        const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
        match read_span(self.tar.file, Span { offset: 0, size: 4 }) {
            Ok(front) if front.starts_with(GZIP) || front == ZSTD => Error::Compressed(self.archive.to_owned()),
            _ => Error::NotTar(self.archive.to_owned()),
        }
    }
}

/// An archive, and how far it has been looked through.
struct Tar<'a> {
    file: &'a File,
    length: u64,
    offset: u64,
    /// Where the last header began.
    header: u64,
}

impl Tar<'_> {
    fn left(&self) -> u64 {
        self.length.saturating_sub(self.offset)
    }
}

impl Input for Tar<'_> {
    fn block(&mut self, block: &mut [u8]) -> Result<bool, HeaderError> {
        if self.left() < BLOCK {
            return Ok(false);
        }
        self.header = self.offset;
        self.fill(block).map(|()| true)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), HeaderError> {
        self.file.read_exact_at(bytes, self.offset)?;
        self.skip(bytes.len() as u64)
    }

    fn skip(&mut self, size: u64) -> Result<(), HeaderError> {
        if size > self.left() {
            return Err(HeaderError::BreaksOff);
        }
        self.offset += size;
        Ok(())
    }
}

/// Whether what follows the header is content: with links, directories and devices it is not, whatever their size says.
fn has_content(kind: EntryType) -> bool {
    !matches!(
        kind,
        EntryType::Link
            | EntryType::Symlink
            | EntryType::Directory
            | EntryType::Char
            | EntryType::Block
            | EntryType::Fifo
    )
}

fn without_dots(mut name: &str) -> &str {
    while let Some(rest) = name.strip_prefix("./") {
        name = rest;
    }
    name
}

/// The content at `span`, of which the caller knows that it is small.
pub(super) fn read_span(file: &File, span: Span) -> std::io::Result<Vec<u8>> {
    let mut content = vec![0; span.size as usize];
    file.read_exact_at(&mut content, span.offset)?;
    Ok(content)
}
