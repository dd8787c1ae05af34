//! What is in a directory, beside what is known of it: what of that is as an image put it there, and what has been changed
//! since.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, FileExt};
use flate2::Crc;

use super::known::{Known, Note, Row, RowKind, Stamp, Tree};
use super::local::{Found, FoundKind, Handles};
use super::state::{Held, State};
use crate::bundle::{Entry, Indexed, Last, MemberNumber, Piece, compare_paths};
use crate::text::printable;
use crate::unpack::error::Error;
use crate::unpack::place::path_of;

/// How many bytes of a file are read at once.
const BUFFER: usize = 256 * 1024;
/// How old a file has to be, in seconds, so that a change right after it was read shows in its time, on any file system.
const SETTLED: i64 = 2;

/// What somebody has done to what was in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// It was not there.
    Added,
    /// It is not there any more.
    Removed,
    /// It is something else, or has other contents or another mode.
    Modified,
}

/// Something in a directory that is not as it was put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalChange {
    /// Where, relative to the directory.
    pub path: PathBuf,
    /// What has been done.
    pub doing: Doing,
}

impl fmt::Display for LocalChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let doing = match self.doing {
            Doing::Added => "added",
            Doing::Removed => "removed",
            Doing::Modified => "modified",
        };
        write!(f, "{} ({doing})", printable(&self.path.to_string_lossy()))
    }
}

/// What is in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// What the known image with this number has there.
    Of(usize),
    /// What the new image has there.
    New,
    /// What the known image with this number has there, unless somebody has seen to it that it looks like that.
    Alike(usize),
    /// Nobody knows, or something else.
    Unknown,
    /// It is no file: all that it is shows without reading.
    Plain,
}

/// A directory that nobody else is at work in, what is in it, and what is known of that.
pub(super) struct Scene {
    pub(super) held: Held,
    pub(super) known: State,
    pub(super) handles: Handles,
    pub(super) found: Vec<Found>,
    /// Of each that was found.
    pub(super) standings: Vec<Standing>,
    distrusts: bool,
    /// What is older than this many seconds after 1970, and has just been read, is known from now on.
    settled: i64,
    last: Last,
}

/// All that is in a directory, without reading files.
pub(super) struct Looked {
    handles: Handles,
    found: Vec<Found>,
    settled: i64,
}

impl Looked {
    pub(super) fn at(path: &Path) -> Result<Self, Error> {
        let top = Dir::open_ambient_dir(path, ambient_authority()).map_err(Error::local("open", path))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut handles = Handles::new(top);
        let found = handles.scan().map_err(|(below, source)| {
            let what = "read directory";
            Error::Local { what, path: path.join(path_of(&below)), source }
        })?;
        Ok(Self { handles, found, settled: i64::try_from(now).unwrap_or(i64::MAX).saturating_sub(SETTLED) })
    }
}

impl Scene {
    /// Puts what is in a directory beside what is known of it. If it `distrusts` sizes, times and inodes, nothing is known of a
    /// file until it has been read.
    pub(super) fn new(held: Held, known: State, looked: Looked, distrusts: bool) -> Self {
        let Looked { handles, found, settled } = looked;
        let standings = found.iter().map(|found| standing(found, &known, distrusts)).collect();
        Self { held, known, handles, found, standings, distrusts, settled, last: Last::default() }
    }

    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        self.last.find(path, &self.found, |found| &found.path)
    }

    /// Reads files that have to be read, and finds those that `new` has in this way, and then those of known images.
    pub(super) fn read_for(&mut self, new: Option<&Indexed>) {
        let Self { handles, found, standings, known, .. } = self;
        let numbered = known.images.iter().enumerate().rev();
        let of_known = numbered.filter_map(|(number, known)| Some((Standing::Of(number), known.tree.bundle()?)));
        for (standing, bundle) in new.map(|bundle| (Standing::New, bundle)).into_iter().chain(of_known) {
            let mut members = BTreeMap::new();
            for (found, is) in found.iter().zip(standings.iter_mut()) {
                if *is == Standing::Unknown && has_members(handles, bundle, found, &mut members) {
                    *is = standing;
                }
            }
        }
        for (found, is) in found.iter().zip(standings.iter_mut()) {
            if *is == Standing::Unknown
                && let Some(number) = alike(handles, known, found)
            {
                *is = Standing::Alike(number);
            }
        }
    }

    /// How much of what is there is from each of the known images.
    pub(super) fn uses(&self) -> Vec<usize> {
        let has = |known: &Known, found: &Found| {
            known.tree.find(&found.path).is_some_and(|row| found.is_like(&known.tree.row(row)))
        };
        let mut uses = vec![0; self.known.images.len()];
        for (found, standing) in self.found.iter().zip(&self.standings) {
            let number = match standing {
                Standing::Of(number) | Standing::Alike(number) => Some(*number),
                Standing::Plain => self.known.images.iter().rposition(|known| has(known, found)),
                Standing::New | Standing::Unknown => None,
            };
            if let Some(number) = number {
                uses[number] += 1;
            }
        }
        uses
    }

    /// Whether there is nothing that only looks as it should.
    pub(super) fn is_sure(&self) -> bool {
        !self.standings.iter().any(|standing| matches!(standing, Standing::Alike(_)))
    }

    /// Whether what `bundle` has at an entry's path is there; of a directory, its mode may be another. Where two bundles have
    /// the same path in members of the same digests, they have the same there.
    pub(super) fn has(&self, bundle: &Indexed, entry: usize) -> bool {
        let row = Row::from(bundle.entry(entry));
        if row.kind == RowKind::Directory {
            return true;
        }
        let Some(number) = self.find(row.path) else { return false };
        let found = &self.found[number];
        let has_same = |known: &Known| {
            let Some((old, at)) = known.tree.bundle().and_then(|old| Some((old, old.find(row.path)?))) else {
                return false;
            };
            old.entry(at).kind() == bundle.entry(entry).kind() && old.members_of(at).eq(bundle.members_of(entry))
        };
        found.is_in_place_of(&row)
            && match self.standings[number] {
                Standing::New => true,
                Standing::Alike(_) | Standing::Unknown => false,
                Standing::Of(known) => has_same(&self.known.images[known]),
                Standing::Plain => self.known.images.iter().any(has_same),
            }
    }

    /// Whether the directory has the part of a large file that is in the `nth` member with this entry. Where a known image
    /// says so, it is not read: it is verified when it is used.
    pub(super) fn has_part(&mut self, bundle: &Indexed, entry: usize, nth: usize) -> bool {
        let path = bundle.entry(entry).path().as_bytes();
        let Some(found) = self.find(path) else { return false };
        if let (Standing::Of(number), false) = (self.standings[found], self.distrusts)
            && let Some(old) = self.known.images[number].tree.bundle()
            && let Some(at) = old.find(path)
            // Its last member is filled up with zeros, which a file of another size may have there.
            && (nth + 1 < old.members_of(at).len() || old.entry(at).size() == bundle.entry(entry).size())
        {
            return old.members_of(at).nth(nth) == bundle.members_of(entry).nth(nth);
        }
        let member = bundle.members_with(entry).nth(nth);
        member.is_some_and(|member| rebuild(&mut self.handles, bundle, member).is_some())
    }

    /// Whether what an image has in a row is there, as far as shows without reading files.
    pub(super) fn seems_to_have(&self, row: &Row<'_>) -> bool {
        self.find(row.path)
            .map(|found| &self.found[found])
            .is_some_and(|found| found.is_in_place_of(row) && (found.mode == row.mode || !found.is_directory()))
    }

    /// Whether a file may be what `new` has at its path: then that has not been fetched yet.
    pub(super) fn may_have(&self, new: &Tree, path: &[u8]) -> bool {
        let (Some(found), Some(row)) = (self.find(path), new.find(path)) else { return false };
        self.standings[found] == Standing::Unknown && self.found[found].is_in_place_of(&new.row(row))
    }

    /// What has been changed, but for what is as `new` has it anyway.
    pub(super) fn changes(&self, new: Option<&Tree>) -> Vec<LocalChange> {
        let mut changes = Vec::new();
        let mut note = |path: &[u8], doing| changes.push(LocalChange { path: path_of(path), doing });
        let trees = || self.known.images.iter().map(|known| &known.tree).chain(new);
        for (found, standing) in self.found.iter().zip(&self.standings) {
            let mut rows = trees().filter_map(|tree| Some(tree.row(tree.find(&found.path)?))).peekable();
            if rows.peek().is_none() {
                note(&found.path, Doing::Added);
                continue;
            }
            if *standing == Standing::Unknown || !rows.any(|row| found.is_like(&row) && self.is_mode(found, row.mode)) {
                note(&found.path, Doing::Modified);
            }
        }
        // Where work was broken off, what is missing may be on its way.
        if let (Some(last), true) = (self.known.images.last(), self.known.is_complete) {
            let is_gone = |path: &[u8]| new.is_some_and(|new| new.find(path).is_none());
            let mut here = self.found.iter().peekable();
            for row in last.tree.rows() {
                while here.next_if(|found| compare_paths(&found.path, row.path).is_lt()).is_some() {}
                if here.peek().is_none_or(|found| found.path != row.path) && !is_gone(row.path) {
                    note(row.path, Doing::Removed);
                }
            }
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        changes
    }

    /// Whether something has the mode that it should have, or, where work was broken off, one that it may have meanwhile.
    fn is_mode(&self, found: &Found, mode: u32) -> bool {
        // A new directory has the set-group-ID bit of the one that it is in, until it gets its mode.
        let is_passing = || !self.known.is_complete && [mode | 0o700, 0o700].contains(&(found.mode & !0o2000));
        match found.kind {
            FoundKind::Symlink { .. } => true,
            FoundKind::Directory => found.mode == mode || is_passing(),
            FoundKind::File { .. } | FoundKind::Other => found.mode == mode,
        }
    }

    /// What a file is to be known by that is not touched.
    pub(super) fn note(&mut self, found: usize) -> Note {
        let stamp = self.stamp_of(found);
        let path = &self.found[found].path;
        let of = |number: usize| {
            let known = &self.known.images[number];
            Some(known.checksums[known.tree.find(path)?])
        };
        let known = if let Standing::Of(number) = self.standings[found] { of(number) } else { None };
        let checksum = known.unwrap_or_else(|| checksum(&mut self.handles, path).unwrap_or_default());
        Note { stamp, checksum }
    }

    pub(super) fn stamp_of(&self, found: usize) -> Option<Stamp> {
        let FoundKind::File { stamp, .. } = self.found[found].kind else { return None };
        let path = &self.found[found].path;
        let is_known = |known: &Known| known.tree.find(path).is_some_and(|row| known.stamps[row] == Some(stamp));
        (self.known.images.iter().any(is_known) || stamp.is_before_second(self.settled)).then_some(stamp)
    }

    /// Whether something that is known has been read, so that it shows without reading from now on.
    pub(super) fn has_learned(&self) -> bool {
        let Some(known) = self.known.images.last() else { return false };
        (0..self.found.len()).any(|number| {
            let row = known.tree.find(&self.found[number].path);
            self.stamp_of(number).is_some() && row.is_some_and(|row| known.stamps[row] != self.stamp_of(number))
        })
    }
}

/// What is in a file, as far as shows without reading it.
fn standing(found: &Found, known: &State, distrusts: bool) -> Standing {
    let FoundKind::File { stamp, .. } = found.kind else { return Standing::Plain };
    let is_of = |known: &Known| {
        let row = known.tree.find(&found.path);
        row.is_some_and(|row| found.is_like(&known.tree.row(row)) && known.stamps[row] == Some(stamp))
    };
    let number = known.images.iter().rposition(is_of).filter(|_| !distrusts);
    number.map_or(Standing::Unknown, Standing::Of)
}

/// Whether a bundle has a file with these contents at its path: all of its members are what they should be. Those that have
/// been put together are in `seen`.
fn has_members(
    handles: &mut Handles,
    bundle: &Indexed,
    found: &Found,
    seen: &mut BTreeMap<MemberNumber, bool>,
) -> bool {
    let Some(entry) = bundle.find(&found.path).filter(|&entry| found.is_like(&bundle.entry(entry).into())) else {
        return false;
    };
    let mut members = bundle.members_with(entry);
    members.all(|member| *seen.entry(member).or_insert_with(|| rebuild(handles, bundle, member).is_some()))
}

/// The last known image that has a file at its path with the same checksum.
fn alike(handles: &mut Handles, known: &State, found: &Found) -> Option<usize> {
    let checksum_in = |known: &Known| {
        let row = known.tree.find(&found.path).filter(|&row| found.is_like(&known.tree.row(row)))?;
        Some(known.checksums[row])
    };
    let expected: Vec<_> = known.images.iter().map(checksum_in).collect();
    expected.iter().find_map(|checksum| *checksum)?;
    let checksum = checksum(handles, &found.path).ok()?;
    expected.iter().rposition(|expected| *expected == Some(checksum))
}

/// The CRC-32 of a file.
fn checksum(handles: &mut Handles, path: &[u8]) -> io::Result<u32> {
    let mut file = handles.file(path)?;
    let (mut crc, mut buffer) = (Crc::new(), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(crc.sum()),
            count => crc.update(&buffer[..count]),
        }
    }
}

/// What is in a member, if files have that. Links are taken from the index: of them, all shows without reading.
fn rebuild(handles: &mut Handles, bundle: &Indexed, member: MemberNumber) -> Option<Vec<Piece>> {
    let mut open: Option<(String, File)> = None;
    let mut read = |entry: &Entry, offset: u64, buffer: &mut [u8]| {
        if buffer.is_empty() {
            return Ok(());
        }
        let file = match open.take() {
            Some((path, file)) if path == entry.path() => file,
            _ => handles.file(entry.path().as_bytes())?,
        };
        file.read_exact_at(buffer, offset)?;
        open = Some((entry.path().to_owned(), file));
        Ok(())
    };
    // What cannot be read is not what it should be.
    bundle.rebuild(member, &mut read).unwrap_or_default()
}
