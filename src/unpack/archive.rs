//! Tar archives of any origin: from headers to items, and the contents of files, sparse ones among them.
//!
//! From one header to the next it is `crate::archive` that goes; what an entry does to a tree is left to `view`.

use std::io::BufRead;

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::chunks::{Chunks, Decoder};
use super::error::{Fault, shown};
use super::item::{Contents, Item, Kind, Piece};
use crate::archive::{Head, HeaderError, Headers, Input, padding};

/// How many bytes the PAX records or the long name of one entry may have.
const MAX_EXTENSION: u64 = 1024 * 1024;
const BREAKS_OFF: &str = "the archive breaks off";
/// How many pieces a sparse file may have.
const MAX_PIECES: usize = 64 * 1024;

/// Reads the entries of a tar archive, one after another.
pub(super) struct Archive<D> {
    tar: Chunks<D>,
    headers: Headers,
    /// The entry that was read last, for errors about one that has no name yet.
    path: Vec<u8>,
    /// What is left of its contents, and of the last block after them.
    pieces: std::vec::IntoIter<Extent>,
    data: u64,
    padding: u64,
}

/// Some of a file's bytes: a hole, and then data.
#[derive(Clone, Copy)]
struct Extent {
    hole: u64,
    data: u64,
}

impl<D: Decoder> Archive<D> {
    pub(super) fn new(tar: Chunks<D>) -> Self {
        // How many headers there are is limited by the bytes that they take.
        let headers = Headers::new(u64::MAX, MAX_EXTENSION);
        Self { tar, headers, path: Vec::new(), pieces: Vec::new().into_iter(), data: 0, padding: 0 }
    }

    /// The next entry, whose contents are those of the archive itself until the one after it is asked for; or nothing
    /// at the end. Whatever comes after that is left unread.
    pub(super) fn next_item(&mut self) -> Result<Option<Item>, Fault> {
        self.skip()?;
        match self.headers.next(&mut self.tar) {
            Ok(head) => head.map(|head| self.item(head)).transpose(),
            Err(error) => Err(self.wrong_header(error)),
        }
    }

    /// The reader, at what comes after the end of the archive.
    pub(super) fn into_inner(self) -> Chunks<D> {
        self.tar
    }

    /// Something is wrong with the archive, here.
    fn broken(&self, problem: &'static str) -> Fault {
        Fault::Archive { problem, path: shown(&self.path) }
    }

    /// Something is wrong with the entry that this is about.
    fn fault(&self, problem: &'static str) -> Fault {
        Fault::Header { path: shown(&self.path), problem }
    }

    fn wrong_header(&self, error: HeaderError) -> Fault {
        let limit = |what, limit| Fault::Limit { what, path: shown(&self.path), limit };
        match error {
            HeaderError::Read(error) => error.into(),
            HeaderError::BreaksOff => self.broken(BREAKS_OFF),
            HeaderError::Checksum => self.broken("a header has a wrong checksum"),
            HeaderError::Invalid(problem) => self.broken(problem),
            HeaderError::TooLong { limit: most, .. } => limit("bytes of extension headers", most),
            HeaderError::TooMany(most) => limit("headers", most),
        }
    }

    /// Makes an item of what is said of an entry.
    fn item(&mut self, head: Head) -> Result<Item, Fault> {
        let Head { path, link, size, is_sparse_in_pax, header } = head;
        self.path = path;
        if is_sparse_in_pax {
            return Err(self.kind("a sparse file in PAX records"));
        }
        let kind = match header.entry_type() {
            // Before there was a type for them, directories were files with a slash.
            EntryType::Regular if self.path.ends_with(b"/") => {
                let is_old = header.as_bytes()[156] == 0 || header.as_ustar().is_none() && header.as_gnu().is_none();
                if is_old { Kind::Directory } else { return Err(self.fault("is a file whose name ends with a slash")) }
            }
            EntryType::Regular | EntryType::Continuous => Kind::File { size: self.plain(size) },
            EntryType::GNUSparse => Kind::File { size: self.sparse(&header, size)? },
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink { target: link },
            EntryType::Link => Kind::HardLink { original: link },
            EntryType::Char => return Err(self.kind("a character device")),
            EntryType::Block => return Err(self.kind("a block device")),
            EntryType::Fifo => return Err(self.kind("a named pipe")),
            other => return Err(self.kind(&format!("of type {:?}", char::from(other.as_byte())))),
        };
        // Some readers skip as many bytes, others do not: they would see two different archives.
        if size != 0 && !matches!(kind, Kind::File { .. }) {
            return Err(self.fault("has contents and is no file"));
        }
        let mode = header.mode().map_err(|_| self.fault("has a mode that is no number"))?;
        Ok(Item { path: self.path.clone(), mode, kind })
    }

    fn kind(&self, kind: &str) -> Fault {
        Fault::Type { path: shown(&self.path), kind: kind.to_owned() }
    }

    fn plain(&mut self, size: u64) -> u64 {
        self.pieces = vec![Extent { hole: 0, data: size }].into_iter();
        self.padding = padding(size);
        size
    }

    /// Reads the map of a sparse file, of which the archive has `stored` bytes, and returns how many it really has.
    fn sparse(&mut self, header: &Header, stored: u64) -> Result<u64, Fault> {
        let wrong = |archive: &Self| archive.fault("is a sparse file with a wrong map");
        let gnu = header.as_gnu().ok_or_else(|| wrong(self))?;
        let mut map = Map::default();
        let mut valid = gnu.sparse.iter().try_for_each(|piece| map.add(piece));
        let mut is_extended = gnu.is_extended();
        while valid.is_some() && is_extended {
            let mut more = GnuExtSparseHeader::new();
            self.tar.fill(more.as_mut_bytes()).map_err(|error| self.wrong_header(error))?;
            valid = more.sparse.iter().try_for_each(|piece| map.add(piece));
            is_extended = more.is_extended();
        }
        if valid.is_none() || map.stored != stored || gnu.real_size().ok() != Some(map.end) {
            return Err(wrong(self));
        }
        self.pieces = map.extents.into_iter();
        self.padding = padding(stored);
        Ok(map.end)
    }

    /// Passes over what fills up the last block of an entry. At the end of the archive it may be missing, because some
    /// programs write none there, `umoci insert` among them: all the contents are there, and every reader sees the same.
    fn skip_padding(&mut self) -> Result<(), Fault> {
        let padding = std::mem::take(&mut self.padding);
        if padding == 0 || self.tar.fill_buf()?.is_empty() {
            return Ok(());
        }
        self.tar.skip(padding).map_err(|error| self.wrong_header(error))
    }
}

/// The pieces of a sparse file.
#[derive(Default)]
struct Map {
    extents: Vec<Extent>,
    /// Where the last piece ends in the file, and in the archive.
    end: u64,
    stored: u64,
}

impl Map {
    /// Adds a piece, which has to lie after the others, and which begins on a block in the archive.
    fn add(&mut self, piece: &GnuSparseHeader) -> Option<()> {
        if piece.is_empty() {
            return Some(());
        }
        let (offset, data) = (piece.offset().ok()?, piece.length().ok()?);
        let hole = offset.checked_sub(self.end)?;
        if self.extents.len() == MAX_PIECES || (data > 0 && padding(self.stored) > 0) {
            return None;
        }
        self.extents.push(Extent { hole, data });
        self.end = offset.checked_add(data)?;
        self.stored = self.stored.checked_add(data)?;
        Some(())
    }
}

impl<D: Decoder> Contents for Archive<D> {
    fn next(&mut self) -> Result<Piece, Fault> {
        while self.data == 0 {
            let Some(Extent { hole, data }) = self.pieces.next() else {
                self.skip_padding()?;
                return Ok(Piece::End);
            };
            self.data = data;
            if hole > 0 {
                return Ok(Piece::Hole(hole));
            }
        }
        let bytes = self.tar.piece(self.data)?;
        if bytes.is_empty() {
            return Err(self.broken(BREAKS_OFF));
        }
        self.data -= bytes.len() as u64;
        Ok(Piece::Data(bytes))
    }
}
