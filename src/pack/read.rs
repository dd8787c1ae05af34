//! Reading files that have been found: without following links, and only if they are still what they were.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags, Stat, fstat, openat};
use rustix::io::{Errno, pread};

use super::Error;
use super::scan::{Found, Origin, Tree};

/// Which file it is, and when it was last written to: device, inode, mode, size and time as one number. There is one for
/// each file of a tree, and nothing is asked of it but whether it is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64);

impl Identity {
    pub(super) fn of(stat: &Stat) -> Self {
        let time = (stat.st_mtime, stat.st_mtime_nsec);
        let mut hasher = DefaultHasher::new();
        (stat.st_dev, stat.st_ino, stat.st_mode, stat.st_size, time).hash(&mut hasher);
        Self(hasher.finish())
    }
}

impl Tree {
    /// Appends `length` bytes of a file's contents, from `offset` on, to `out`.
    ///
    /// The file is looked at after it has been read, so that one look finds both that it was another file from the
    /// start and that somebody wrote to it meanwhile.
    pub(super) fn read(&self, found: &Found, offset: u64, length: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        let path = found.entry.path();
        let shown = || match &self.origin {
            Origin::Directory { .. } => self.path.join(path),
            Origin::File(_) => self.path.clone(),
        };
        let read = |error: Errno| match error {
            Errno::LOOP | Errno::NOENT | Errno::NOTDIR => Error::Changed { path: shown() },
            error => Error::Read { path: shown(), source: error.into() },
        };
        let opened;
        let file = match &self.origin {
            Origin::Directory { root, follow } => {
                opened = open(root, path, *follow).map_err(read)?;
                &opened
            }
            Origin::File(file) => file,
        };
        let (start, at_end) = (out.len(), offset + length == found.entry.size());
        let filled = append(file, out, length as usize, offset).map_err(read)?;
        out.truncate(start + length as usize);
        let now = fstat(file).map_err(read)?;
        let is_whole = if at_end { filled as u64 == length } else { filled as u64 >= length };
        if !is_whole || Identity::of(&now) != found.identity {
            return Err(Error::Changed { path: shown() });
        }
        Ok(())
    }
}

fn open(root: &OwnedFd, path: &str, follow: bool) -> Result<OwnedFd, Errno> {
    let follow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    // Where a named pipe has taken the place of a file, opening must not wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK | follow;
    openat(root, path, flags, Mode::empty())
}

/// Reads on until `wanted` bytes are there or the file ends, and says how many there are: more, if there is room for more. For
/// one more there is, which shows in one call whether the file goes on where it should end.
fn append(file: &OwnedFd, out: &mut Vec<u8>, wanted: usize, offset: u64) -> Result<usize, Errno> {
    out.reserve(wanted + 1);
    let mut filled = 0;
    loop {
        match pread(file, spare_capacity(out), offset + filled as u64) {
            Ok(0) => return Ok(filled),
            Ok(read) => filled += read,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if filled >= wanted {
            return Ok(filled);
        }
    }
}

/// All of a small file, which is no link.
pub(super) fn read_small(root: &OwnedFd, path: &str, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(root, path, false)?;
    let mut bytes = Vec::new();
    let filled = append(&file, &mut bytes, limit as usize + 1, 0)?;
    if filled as u64 > limit { Err(io::Error::other(format!("it has more than {limit} bytes"))) } else { Ok(bytes) }
}
