//! Where in a tar archive each file of an image layout is: one pass over the headers that reads no contents.
//!
//! The headers are walked here, and not by the `tar` crate's reader, because that reads extended headers of any size
//! into memory.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tar::{EntryType, Header, PaxExtensions};

use super::error::Error;
use super::{BLOBS, INDEX, MARKER};
use crate::digest::Digest;

/// How many entries an archive may have, extended headers among them.
pub(super) const MAX_ENTRIES: usize = 100_000;

/// How many bytes an extended header may have.
pub(super) const MAX_EXTENSION_SIZE: u64 = 64 * 1024;

const BLOCK: u64 = 512;

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
    let mut scan = Scan { file, archive, length, offset: 0, entries: 0 };
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
    file: &'a File,
    archive: &'a Path,
    length: u64,
    offset: u64,
    entries: usize,
}

/// What extended headers say of the entry that follows them.
#[derive(Default)]
struct Extension {
    name: Option<Vec<u8>>,
    size: Option<u64>,
}

impl Scan<'_> {
    /// The name, without `./`, and the content of the next regular file.
    fn next_file(&mut self) -> Result<Option<(String, Span)>, Error> {
        let mut extension = Extension::default();
        loop {
            let at = self.offset;
            let Some(header) = self.next_header()? else { return Ok(None) };
            let kind = header.entry_type();
            let name = extension.name.clone().unwrap_or_else(|| header.path_bytes().into_owned());
            let name = String::from_utf8_lossy(&name).into_owned();
            let declared = header.entry_size().map_err(|_| self.broken(at))?;
            let size = match kind {
                EntryType::GNUSparse => return Err(Error::Sparse { archive: self.archive.to_owned(), name }),
                _ if is_extension(kind) => declared,
                _ if has_content(kind) => extension.size.unwrap_or(declared),
                _ => 0,
            };
            let span = self.skip(&name, size)?;
            match kind {
                EntryType::XHeader => self.read_pax(&name, span, at, &mut extension)?,
                EntryType::GNULongName => {
                    let name = self.read_extension(&name, span)?;
                    extension.name = Some(name.split(|&byte| byte == 0).next().unwrap_or_default().to_vec());
                }
                EntryType::XGlobalHeader | EntryType::GNULongLink => {}
                EntryType::Regular | EntryType::Continuous => {
                    return Ok(Some((without_dots(&name).to_owned(), span)));
                }
                _ => extension = Extension::default(),
            }
        }
    }

    /// The next header, if the archive does not end here.
    fn next_header(&mut self) -> Result<Option<Header>, Error> {
        let at = self.offset;
        if self.length.saturating_sub(at) < BLOCK {
            return Err(match at {
                0 => Error::NotTar(self.archive.to_owned()),
                _ => Error::CutShort { archive: self.archive.to_owned(), length: self.length },
            });
        }
        let mut header = Header::new_old();
        self.file.read_exact_at(header.as_mut_bytes(), at).map_err(Error::io("read", self.archive))?;
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            return Ok(None);
        }
        let mut summed = header.clone();
        summed.set_cksum();
        if header.cksum().ok() != summed.cksum().ok() {
            return Err(self.broken_at(at, header.as_bytes()));
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(Error::TooManyEntries(self.archive.to_owned()));
        }
        self.offset = at + BLOCK;
        Ok(Some(header))
    }

    /// Moves on to what follows the content, of `size` bytes, that begins here.
    fn skip(&mut self, name: &str, size: u64) -> Result<Span, Error> {
        let span = Span { offset: self.offset, size };
        let end = span.offset.checked_add(size).filter(|&end| end <= self.length);
        let padded = end.and_then(|end| end.checked_next_multiple_of(BLOCK));
        self.offset = padded.ok_or_else(|| Error::BeyondEnd {
            archive: self.archive.to_owned(),
            name: name.to_owned(),
            size,
            offset: span.offset,
            length: self.length,
        })?;
        Ok(span)
    }

    fn read_pax(&self, name: &str, span: Span, at: u64, extension: &mut Extension) -> Result<(), Error> {
        let records = self.read_extension(name, span)?;
        for record in PaxExtensions::new(&records) {
            let record = record.map_err(|_| self.broken(at))?;
            match record.key_bytes() {
                b"path" => extension.name = Some(record.value_bytes().to_vec()),
                b"size" => {
                    let size = record.value().ok().and_then(|value| value.parse().ok());
                    extension.size = Some(size.ok_or_else(|| self.broken(at))?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn read_extension(&self, name: &str, span: Span) -> Result<Vec<u8>, Error> {
        if span.size > MAX_EXTENSION_SIZE {
            let (archive, name) = (self.archive.to_owned(), name.to_owned());
            return Err(Error::ExtensionTooLarge { archive, name, size: span.size });
        }
        read_span(self.file, span).map_err(Error::io("read", self.archive))
    }

    fn broken(&self, offset: u64) -> Error {
        Error::Header { archive: self.archive.to_owned(), offset }
    }

    /// What is wrong where `block` should have been a header.
    fn broken_at(&self, offset: u64, block: &[u8]) -> Error {
        const GZIP: &[u8] = &[0x1f, 0x8b];
        const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
        match offset {
            0 if block.starts_with(GZIP) || block.starts_with(ZSTD) => Error::Compressed(self.archive.to_owned()),
            0 => Error::NotTar(self.archive.to_owned()),
            _ => self.broken(offset),
        }
    }
}

fn is_extension(kind: EntryType) -> bool {
    matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName | EntryType::GNULongLink)
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
