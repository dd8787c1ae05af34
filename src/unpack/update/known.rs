//! What is known of a directory: what an image put there, and what the files were when they were put there.

use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use cap_std::fs::{Metadata, MetadataExt};
use serde::{Deserialize, Serialize};

use crate::bundle::{Entry, Indexed, Kind, compare_paths};
use crate::digest::Digest;
use crate::unpack::{Listed, ListedKind};

/// What shows without reading it that a file has not changed, beside its size: when it last did (seconds and
/// nanoseconds), and its inode. Not when its inode did: giving a file its name, or another one, counts as that.
///
/// There are very many of them: where there may be none, that takes no more room, because no inode has the number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(in crate::unpack) struct Stamp(i64, i64, NonZeroU64);

impl Stamp {
    pub(in crate::unpack) fn of(metadata: &Metadata) -> Self {
        Self(metadata.mtime(), metadata.mtime_nsec(), NonZeroU64::new(metadata.ino()).unwrap_or(NonZeroU64::MAX))
    }

    /// Whether it is of an earlier time.
    pub(in crate::unpack) fn is_before(&self, other: &Self) -> bool {
        (self.0, self.1) < (other.0, other.1)
    }

    /// Whether the time is earlier than this many seconds after 1970.
    pub(super) fn is_before_second(&self, second: i64) -> bool {
        self.0 < second
    }
}

/// What is noted of a file when it is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::unpack) struct Note {
    /// Nothing, if it cannot be relied on.
    pub(in crate::unpack) stamp: Option<Stamp>,
    /// The CRC-32 of its contents.
    pub(in crate::unpack) checksum: u32,
}

impl Note {
    /// What is noted of a file with this number, if it is one: of what nothing is noted, nothing can be relied on.
    pub(in crate::unpack) fn among(notes: &[Option<Self>], file: Option<u32>) -> Self {
        let note = file.and_then(|number| notes.get(number as usize).copied().flatten());
        note.unwrap_or(Self { stamp: None, checksum: 0 })
    }
}

/// An image, and what its files were where they were put.
#[derive(Debug)]
pub(in crate::unpack) struct Known {
    /// The digest of its manifest.
    pub(super) digest: Digest,
    pub(super) tree: Tree,
    /// For each row of the tree, what the file was, if that can be relied on.
    pub(super) stamps: Vec<Option<Stamp>>,
    /// For each row the CRC-32 of the file's contents. It says which of the files in a member has been changed; with
    /// `--verify`, it is never what a file is left alone for.
    pub(super) checksums: Vec<u32>,
}

/// What an image has where, in order.
#[derive(Debug)]
pub(in crate::unpack) enum Tree {
    /// A bundle has members, too, which say what is in its files.
    Bundle(Arc<Indexed>),
    Other(Vec<Listed>),
}

/// What is at a path of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub(super) path: &'a [u8],
    pub(super) mode: u32,
    pub(super) kind: RowKind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RowKind<'a> {
    Directory,
    File { size: u64 },
    Symlink { target: &'a [u8] },
}

impl<'a> From<&'a Entry> for Row<'a> {
    fn from(entry: &'a Entry) -> Self {
        let kind = match entry.kind() {
            Kind::Directory => RowKind::Directory,
            Kind::File { size, .. } => RowKind::File { size: *size },
            Kind::Symlink { target } => RowKind::Symlink { target: target.as_bytes() },
        };
        Self { path: entry.path().as_bytes(), mode: entry.mode(), kind }
    }
}

impl<'a> From<&'a Listed> for Row<'a> {
    fn from(listed: &'a Listed) -> Self {
        let kind = match &listed.kind {
            ListedKind::Directory => RowKind::Directory,
            ListedKind::File { size } => RowKind::File { size: *size },
            ListedKind::Symlink { target } => RowKind::Symlink { target: target.as_os_str().as_bytes() },
        };
        Self { path: listed.path.as_os_str().as_bytes(), mode: listed.mode, kind }
    }
}

impl Tree {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bundle(bundle) => bundle.entries().len(),
            Self::Other(rows) => rows.len(),
        }
    }

    /// The row with this number.
    pub(super) fn row(&self, number: usize) -> Row<'_> {
        match self {
            Self::Bundle(bundle) => bundle.entry(number).into(),
            Self::Other(rows) => (&rows[number]).into(),
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        (0..self.len()).map(|number| self.row(number))
    }

    /// The number of the row at a path.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        match self {
            Self::Bundle(bundle) => bundle.find(path),
            Self::Other(rows) => rows.binary_search_by(|row| compare_paths(row.path.as_os_str().as_bytes(), path)).ok(),
        }
    }

    pub(super) fn bundle(&self) -> Option<&Indexed> {
        match self {
            Self::Bundle(bundle) => Some(bundle),
            Self::Other(_) => None,
        }
    }

    /// How many files there are, and how many bytes they have together.
    pub(super) fn totals(&self) -> (u64, u64) {
        let sizes = self.rows().filter_map(|row| if let RowKind::File { size } = row.kind { Some(size) } else { None });
        sizes.fold((0, 0), |(files, bytes), size| (files + 1, bytes + size))
    }
}
