//! A directory of this machine as it is: what is in it, through handles of directories that are opened one name at a time,
//! so that no link is followed, whoever put it there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use cap_std::fs::{Dir, File, FileExt, Metadata, MetadataExt, OpenOptions, OpenOptionsExt, PermissionsExt};
use rustix::fs::OFlags;

use super::known::{Row, RowKind, Stamp};
use crate::unpack::staging::open_directory;

/// How many directories are kept open at once, on the way to the last one.
const MAX_OPEN: usize = 64;
/// How many bytes of two files are compared at once.
const BUFFER: usize = 256 * 1024;

/// Opens directories below one.
pub(super) struct Handles {
    top: Dir,
    /// Those on the way to the last one that was asked for, from the top down.
    open: Vec<(Vec<u8>, Dir)>,
}

/// The names of a path.
fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

/// A path's directory, which is empty for the top one, and its name there.
pub(super) fn split(path: &[u8]) -> (&[u8], &OsStr) {
    let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&path[..0], path),
    };
    (parent, OsStr::from_bytes(name))
}

impl Handles {
    pub(super) fn new(top: Dir) -> Self {
        Self { top, open: Vec::new() }
    }

    /// The directory at `path`, the top one if that is empty.
    pub(super) fn directory(&mut self, path: &[u8]) -> io::Result<Dir> {
        let same = names(path).zip(&self.open).take_while(|(name, (open, _))| name == open).count();
        self.open.truncate(same);
        let mut last = match self.open.last() {
            Some((_, dir)) => dir.try_clone()?,
            None => self.top.try_clone()?,
        };
        for name in names(path).skip(same) {
            let next = open_directory(&last, Path::new(OsStr::from_bytes(name)))?;
            last = Dir::from_std_file(next.into_std());
            if self.open.len() < MAX_OPEN {
                self.open.push((name.to_vec(), last.try_clone()?));
            }
        }
        Ok(last)
    }

    /// What is at `path`, if anything is.
    pub(super) fn look(&mut self, path: &[u8]) -> io::Result<Option<Found>> {
        let (parent, name) = split(path);
        let looked = self.directory(parent).and_then(|dir| Ok((dir.symlink_metadata(name)?, dir)));
        match looked {
            Ok((metadata, dir)) => Found::new(path.to_vec(), &metadata, &dir).map(Some),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether something has just this name in its directory, and not only one that the file system takes for it.
    pub(super) fn has_name(&mut self, path: &[u8]) -> io::Result<bool> {
        let (parent, name) = split(path);
        for entry in self.directory(parent)?.entries()? {
            if entry?.file_name() == name {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Opens the regular file at `path`, and never waits for what is none.
    pub(super) fn file(&mut self, path: &[u8]) -> io::Result<File> {
        let (parent, name) = split(path);
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = self.directory(parent)?.open_with(name, OpenOptions::new().read(true).custom_flags(flags))?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("is no regular file")) }
    }

    /// Closes what is open: a directory at such a path may be another one now.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    /// Everything below the top directory, in order. Fails with the directory that cannot be read.
    pub(super) fn scan(&mut self) -> Result<Vec<Found>, (Vec<u8>, io::Error)> {
        let device = self.top.dir_metadata().map_err(|error| (Vec::new(), error))?.dev();
        let mut ahead = self.list(&[], device).map_err(|error| (Vec::new(), error))?;
        let mut all = Vec::new();
        while let Some(found) = ahead.pop() {
            if found.is_directory() {
                ahead.extend(self.list(&found.path, device).map_err(|error| (found.path.clone(), error))?);
            }
            all.push(found);
        }
        all.shrink_to_fit();
        Ok(all)
    }

    /// What is in a directory, the last first.
    fn list(&mut self, path: &[u8], device: u64) -> io::Result<Vec<Found>> {
        let dir = self.directory(path)?;
        let mut found = Vec::new();
        for entry in dir.entries()? {
            let entry = entry?;
            let name = entry.file_name().into_vec();
            let below = if path.is_empty() { name } else { [path, b"/", &name].concat() };
            let metadata = entry.metadata()?;
            if metadata.is_dir() && metadata.dev() != device {
                let name = entry.file_name().display().to_string();
                return Err(io::Error::other(format!("{name} in it is on another file system")));
            }
            found.push(Found::new(below, &metadata, &dir)?);
        }
        found.sort_unstable_by(|a, b| b.path.cmp(&a.path));
        Ok(found)
    }
}

/// What is at a path of the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) path: Vec<u8>,
    /// The permission bits, and those beside them.
    pub(super) mode: u32,
    pub(super) kind: FoundKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FoundKind {
    Directory,
    File {
        size: u64,
        stamp: Stamp,
    },
    Symlink {
        target: OsString,
    },
    /// A device, a socket or a pipe.
    Other,
}

impl Found {
    fn new(path: Vec<u8>, metadata: &Metadata, parent: &Dir) -> io::Result<Self> {
        let kind = if metadata.is_dir() {
            FoundKind::Directory
        } else if metadata.is_file() {
            FoundKind::File { size: metadata.len(), stamp: Stamp::of(metadata) }
        } else if metadata.is_symlink() {
            FoundKind::Symlink { target: parent.read_link_contents(split(&path).1)?.into_os_string() }
        } else {
            FoundKind::Other
        };
        Ok(Self { path, mode: metadata.permissions().mode() & 0o7777, kind })
    }

    /// Whether it is what the row says, as far as shows without reading a file.
    pub(super) fn is_like(&self, row: &Row<'_>) -> bool {
        match (&self.kind, row.kind) {
            (FoundKind::Directory, RowKind::Directory) => true,
            (FoundKind::File { size, .. }, RowKind::File { size: expected }) => *size == expected,
            (FoundKind::Symlink { target }, RowKind::Symlink { target: expected }) => target.as_bytes() == expected,
            _ => false,
        }
    }

    /// Whether it can stay where the row is to be, if it has the same contents. A file gets another mode by becoming another
    /// one: its inode may have other names, which whoever gave them did not mean to change.
    pub(super) fn is_in_place_of(&self, row: &Row<'_>) -> bool {
        self.is_like(row) && (self.mode == row.mode || !matches!(self.kind, FoundKind::File { .. }))
    }

    pub(super) fn is_directory(&self) -> bool {
        matches!(self.kind, FoundKind::Directory)
    }
}

/// Whether two files have the same contents.
pub(super) fn is_same(a: &File, b: &File) -> io::Result<bool> {
    let length = a.metadata()?.len();
    if length != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut at = 0;
    while at < length {
        let count = (length - at).min(BUFFER as u64) as usize;
        a.read_exact_at(&mut left[..count], at)?;
        b.read_exact_at(&mut right[..count], at)?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
        at += count as u64;
    }
    Ok(true)
}
