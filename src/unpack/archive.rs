//! Tar archives of any origin: ustar, PAX, GNU's long names and sparse files, and what came before.
//!
//! The `tar` crate knows the headers. Going from one to the next is done here: that crate takes PAX records and long
//! names into memory whole, however many bytes they claim, and where two readers could see two things in an archive,
//! an error is better than a guess. What an entry does to a tree is left to `view`.

use std::io::{self, BufRead};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

use super::error::{Fault, shown};
use super::item::{Contents, Item, Kind, Piece};
use super::pax::Pax;
use crate::bundle::padding;

/// How many bytes the PAX records or the long name of one entry may have.
const MAX_EXTENSION: u64 = 1024 * 1024;
const BREAKS_OFF: &str = "the archive breaks off";
/// How many pieces a sparse file may have.
const MAX_PIECES: usize = 64 * 1024;

/// Reads the entries of a tar archive, one after another.
pub(super) struct Archive<R> {
    tar: R,
    /// The entry that was read last, for errors about one that has no name yet.
    path: Vec<u8>,
    /// What is left of its contents, and of the last block after them.
    pieces: std::vec::IntoIter<Extent>,
    data: u64,
    padding: u64,
    /// How many bytes of the reader's buffer have been handed out.
    taken: usize,
}

/// Some of a file's bytes: a hole, and then data.
#[derive(Clone, Copy)]
struct Extent {
    hole: u64,
    data: u64,
}

/// What stands before an entry and speaks of it.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

impl<R: BufRead> Archive<R> {
    pub(super) fn new(tar: R) -> Self {
        Self { tar, path: Vec::new(), pieces: Vec::new().into_iter(), data: 0, padding: 0, taken: 0 }
    }

    /// The next entry, whose contents are those of the archive itself until the one after it is asked for; or nothing
    /// at the end. Whatever comes after that is left unread.
    pub(super) fn next_item(&mut self) -> Result<Option<Item>, Fault> {
        self.skip()?;
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                return if extensions.is_empty() { Ok(None) } else { Err(self.broken(BREAKS_OFF)) };
            };
            let size = self.size(&header)?;
            match header.entry_type() {
                EntryType::GNULongName => self.extension(size, &mut extensions.long_name, truncated)?,
                EntryType::GNULongLink => self.extension(size, &mut extensions.long_link, truncated)?,
                EntryType::XHeader => self.extension(size, &mut extensions.pax, Pax::parse)?,
                // Comments, mostly. What it might say of paths and sizes, no reader of images heeds.
                EntryType::XGlobalHeader => self.skip_bytes(size.saturating_add(padding(size)))?,
                _ => return self.item(&header, size, extensions).map(Some),
            }
        }
    }

    /// The reader, at what comes after the end of the archive.
    pub(super) fn into_inner(self) -> R {
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

    /// The next header block, or nothing at the end of the archive: two zero blocks, or the end of the file.
    fn header(&mut self) -> Result<Option<Header>, Fault> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return Ok(None);
        }
        if header.as_bytes().iter().all(|&byte| byte == 0) {
            return if self.block(header.as_mut_bytes())? && header.as_bytes().iter().any(|&byte| byte != 0) {
                Err(self.broken("a block of zeros is followed by something else"))
            } else {
                Ok(None)
            };
        }
        let bytes = header.as_bytes();
        let sum = bytes[..148].iter().chain(&bytes[156..]).fold(8 * 32, |sum, &byte| sum + u32::from(byte));
        if header.cksum().ok() != Some(sum) {
            return Err(self.broken("a header has a wrong checksum"));
        }
        Ok(Some(header))
    }

    /// Reads a whole block, or nothing at the end of the file.
    fn block(&mut self, block: &mut [u8]) -> Result<bool, Fault> {
        if self.tar.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.tar.read_exact(block).map_err(|error| self.unread(error))?;
        Ok(true)
    }

    fn unread(&self, error: io::Error) -> Fault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.broken(BREAKS_OFF),
            _ => error.into(),
        }
    }

    /// The size in a header. Of numbers in binary, the `tar` crate reads the lowest eight bytes, whatever the rest say.
    fn size(&self, header: &Header) -> Result<u64, Fault> {
        let field = &header.as_old().size;
        let (high, low) = field.split_at(4);
        match high {
            [0x80, 0, 0, 0] => Ok(low.iter().fold(0, |size, &byte| size << 8 | u64::from(byte))),
            [0x80..=0xff, ..] => Err(self.broken("a header has a size that is negative or too large")),
            _ if field.iter().all(|byte| matches!(byte, 0 | b' ')) => Ok(0),
            _ => header.entry_size().map_err(|_| self.broken("a header has a size that is no number")),
        }
    }

    /// Reads what an extension header carries.
    fn extension<T>(&mut self, size: u64, into: &mut Option<T>, parse: fn(Vec<u8>) -> Option<T>) -> Result<(), Fault> {
        if size > MAX_EXTENSION {
            let path = shown(&self.path);
            return Err(Fault::Limit { what: "bytes of extension headers", path, limit: MAX_EXTENSION });
        }
        let mut bytes = vec![0; size as usize];
        self.tar.read_exact(&mut bytes).map_err(|error| self.unread(error))?;
        self.skip_bytes(padding(size))?;
        let value = parse(bytes).ok_or_else(|| self.broken("an extension header is not one"))?;
        match into.replace(value) {
            None => Ok(()),
            Some(_) => Err(self.broken("two extension headers say the same of one entry")),
        }
    }

    /// Puts together what is said of an entry.
    fn item(&mut self, header: &Header, size: u64, extensions: Extensions) -> Result<Item, Fault> {
        let pax = extensions.pax.unwrap_or_default();
        let is_twice = |long: &Option<Vec<u8>>, pax: &Option<Vec<u8>>| long.is_some() && pax.is_some();
        if is_twice(&extensions.long_name, &pax.path) || is_twice(&extensions.long_link, &pax.linkpath) {
            return Err(self.broken("an entry has two names"));
        }
        self.path = extensions.long_name.or(pax.path).unwrap_or_else(|| header.path_bytes().into_owned());
        if pax.is_sparse {
            return Err(self.kind("a sparse file in PAX records"));
        }
        let size = pax.size.unwrap_or(size);
        let link = || {
            let link = extensions.long_link.or(pax.linkpath);
            link.unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned())
        };
        let kind = match header.entry_type() {
            // Before there was a type for them, directories were files with a slash.
            EntryType::Regular if self.path.ends_with(b"/") => {
                let is_old = header.as_bytes()[156] == 0 || header.as_ustar().is_none() && header.as_gnu().is_none();
                if is_old { Kind::Directory } else { return Err(self.fault("is a file whose name ends with a slash")) }
            }
            EntryType::Regular | EntryType::Continuous => Kind::File { size: self.plain(size) },
            EntryType::GNUSparse => Kind::File { size: self.sparse(header, size)? },
            EntryType::Directory => Kind::Directory,
            EntryType::Symlink => Kind::Symlink { target: link() },
            EntryType::Link => Kind::HardLink { original: link() },
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
            self.tar.read_exact(more.as_mut_bytes()).map_err(|error| self.unread(error))?;
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
        self.skip_bytes(padding)
    }

    fn skip_bytes(&mut self, size: u64) -> Result<(), Fault> {
        let mut left = size;
        while left > 0 {
            let available = self.tar.fill_buf()?.len() as u64;
            if available == 0 {
                return Err(self.broken(BREAKS_OFF));
            }
            let length = available.min(left);
            self.tar.consume(length as usize);
            left -= length;
        }
        Ok(())
    }
}

/// A long name, up to its first NUL. There may be nothing but NULs after that.
fn truncated(mut name: Vec<u8>) -> Option<Vec<u8>> {
    let length = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    let is_clean = name[length..].iter().all(|&byte| byte == 0);
    name.truncate(length);
    is_clean.then_some(name)
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.long_name.is_none() && self.long_link.is_none() && self.pax.is_none()
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

impl<R: BufRead> Contents for Archive<R> {
    fn next(&mut self) -> Result<Piece<'_>, Fault> {
        self.tar.consume(std::mem::take(&mut self.taken));
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
        if self.tar.fill_buf()?.is_empty() {
            return Err(self.broken(BREAKS_OFF));
        }
        let bytes = self.tar.fill_buf()?;
        let length = self.data.min(bytes.len() as u64);
        self.taken = length as usize;
        self.data -= length;
        Ok(Piece::Data(&bytes[..length as usize]))
    }
}
