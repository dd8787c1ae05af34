//! What archives are read into, whatever their format: items, and the pieces of a file's contents.

use bytes::Bytes;

use super::error::Fault;
use super::place::Place;
use crate::bundle::{self, Entry};

/// An entry of a layer, as the archive has it: nothing in it has been checked.
#[derive(Debug)]
pub(super) struct Item {
    /// The path, with slashes.
    pub(super) path: Vec<u8>,
    /// The permission bits, and whatever stands beside them.
    pub(super) mode: u32,
    /// What it is.
    pub(super) kind: Kind,
}

impl From<&Entry> for Item {
    fn from(entry: &Entry) -> Self {
        let kind = match entry.kind() {
            bundle::Kind::Directory => Kind::Directory,
            bundle::Kind::File { size, .. } => Kind::File { size: *size },
            bundle::Kind::Symlink { target } => Kind::Symlink { target: target.as_bytes().to_vec() },
        };
        Self { path: entry.path().as_bytes().to_vec(), mode: entry.mode(), kind }
    }
}

/// What an item is.
#[derive(Debug)]
pub(super) enum Kind {
    Directory,
    /// A regular file of this many bytes, holes among them.
    File {
        size: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of what is at `original`.
    HardLink {
        original: Vec<u8>,
    },
}

/// A piece of a file's contents.
pub(super) enum Piece {
    /// These bytes, of which there are some.
    Data(Bytes),
    /// This many zeros.
    Hole(u64),
    /// There is no more.
    End,
}

impl From<Bytes> for Piece {
    /// No bytes are the end.
    fn from(bytes: Bytes) -> Self {
        if bytes.is_empty() { Self::End } else { Self::Data(bytes) }
    }
}

/// The contents of a file, piece by piece.
pub(super) trait Contents {
    /// The next piece; after the last one, [`Piece::End`].
    fn next(&mut self) -> Result<Piece, Fault>;

    /// Reads whatever is left.
    fn skip(&mut self) -> Result<(), Fault> {
        while !matches!(self.next()?, Piece::End) {}
        Ok(())
    }
}

/// Makes what a view shows: on a file system, or nowhere.
///
/// Paths are those of [`Place`]: every directory on the way is there and is no link.
pub(super) trait Sink {
    /// Makes a directory that its owner can fill; what else `mode` has is exact.
    fn directory(&mut self, place: &Place, mode: u32) -> Result<(), Fault>;
    /// Makes a file with exactly these permission bits. So many files, its `number`, have been made before it.
    fn file(&mut self, place: &Place, mode: u32, number: u32, contents: &mut dyn Contents) -> Result<(), Fault>;
    /// Makes a link with this text in it.
    fn symlink(&mut self, place: &Place, target: &[u8]) -> Result<(), Fault>;
    /// Gives what is at `original` another name.
    fn hard_link(&mut self, place: &Place, original: &Place) -> Result<(), Fault>;
    /// Removes what is there: of a directory, all that was in it has been removed.
    fn remove(&mut self, place: &Place, is_directory: bool) -> Result<(), Fault>;
    /// Gives a directory exactly these permission bits.
    fn set_mode(&mut self, place: &Place, mode: u32) -> Result<(), Fault>;
}

/// Makes nothing: for who only wants to know.
pub(super) struct Nowhere;

impl Sink for Nowhere {
    fn directory(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }

    fn file(&mut self, _: &Place, _: u32, _: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
        contents.skip()
    }

    fn symlink(&mut self, _: &Place, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn hard_link(&mut self, _: &Place, _: &Place) -> Result<(), Fault> {
        Ok(())
    }

    fn remove(&mut self, _: &Place, _: bool) -> Result<(), Fault> {
        Ok(())
    }

    fn set_mode(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }
}
