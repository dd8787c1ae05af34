//! The sink that makes files: everything through handles of directories, nothing by a path from the outside.
//!
//! Each name is made anew and never opened where something is, so no link is ever followed. A name that is there
//! although the view has none of that spelling is one that the file system does not tell from another.

use std::ffi::OsStr;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cap_std::fs::{Dir, DirBuilder, DirBuilderExt, File, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};

use flate2::Crc;
use rustix::fs::{Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};

use super::error::Fault;
use super::item::{Contents, Piece, Sink};
use super::place::Place;
use super::staging::open_directory;
use super::update::{Note, Stamp};

/// What there is to know of files, by number.
type Notes = Vec<Option<Note>>;

/// Makes things below a directory that belongs to nobody else.
pub(super) struct Writer {
    top: Dir,
    /// The directory that the last thing went to, and its place.
    current: Option<(Place, Dir)>,
    /// How many directories had been removed when that was opened: since then, another may have come in its place.
    removed: u64,
    /// How many have been by now, whoever removed them.
    all_removed: Arc<AtomicU64>,
    /// The permission bits that new files and directories do not get although they are asked for.
    withheld: u32,
    /// What there is to know of each file, if somebody wants to know.
    notes: Option<Arc<Mutex<Notes>>>,
}

impl Writer {
    /// A writer below `top`, which has to be empty.
    pub(super) fn new(top: Dir) -> io::Result<Self> {
        // What the umask, or the file system, takes from the permissions of a new file.
        let file = top.open_with("probe", OpenOptions::new().write(true).create_new(true).mode(0o777))?;
        let withheld = !file.metadata()?.permissions().mode() & 0o777;
        top.remove_file("probe")?;
        Ok(Self { top, current: None, removed: 0, all_removed: Arc::default(), withheld, notes: None })
    }

    /// The same, which notes what there is to know of each file.
    pub(super) fn noting(self) -> Self {
        Self { notes: Some(Arc::default()), ..self }
    }

    /// What has been noted, also by others that write to the same directory; without what was written so late that a change
    /// that comes next might get the same time.
    pub(super) fn notes(self) -> io::Result<Notes> {
        let Some(notes) = &self.notes else { return Ok(Notes::new()) };
        let mut notes = std::mem::take(&mut *locked(notes));
        // The file system says what time it is by its own clock.
        let time = |tv_nsec| Timespec { tv_sec: 0, tv_nsec };
        futimens(&self.top, &Timestamps { last_access: time(UTIME_OMIT), last_modification: time(UTIME_NOW) })?;
        let now = Stamp::of(&self.top.dir_metadata()?);
        for note in notes.iter_mut().flatten() {
            note.stamp = note.stamp.filter(|stamp| stamp.is_before(&now));
        }
        Ok(notes)
    }

    fn note(&self, place: &Place, number: u32, file: &File, checksum: u32) -> Result<(), Fault> {
        let Some(notes) = &self.notes else { return Ok(()) };
        let metadata = file.metadata().map_err(local("look at", place))?;
        let (mut notes, number) = (locked(notes), number as usize);
        if notes.len() <= number {
            notes.resize(number + 1, None);
        }
        notes[number] = Some(Note { stamp: Some(Stamp::of(&metadata)), checksum });
        Ok(())
    }

    /// Another one that writes to the same directory.
    pub(super) fn another(&self) -> io::Result<Self> {
        let (top, notes, all_removed) = (self.top.try_clone()?, self.notes.clone(), Arc::clone(&self.all_removed));
        Ok(Self { top, current: None, removed: 0, all_removed, withheld: self.withheld, notes })
    }

    /// The directory that `place` is in.
    fn parent(&mut self, place: &Place) -> Result<&Dir, Fault> {
        let (parent, removed) = (place.parent(), self.all_removed.load(Ordering::Acquire));
        let current = self.current.take().filter(|_| self.removed == removed);
        self.removed = removed;
        let dir = match current {
            Some((current, dir)) if current == parent => dir,
            Some((current, dir)) if !parent.is_top() && current == parent.parent() => {
                open(&dir, Path::new(parent.name())).map_err(local("open", &parent))?
            }
            _ if parent.is_top() => self.top.try_clone().map_err(local("open", &parent))?,
            _ => open(&self.top, &parent.to_path()).map_err(local("open", &parent))?,
        };
        Ok(&self.current.insert((parent, dir)).1)
    }
}

fn locked(notes: &Mutex<Notes>) -> MutexGuard<'_, Notes> {
    // Nothing that runs under this lock can panic.
    notes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn open(dir: &Dir, path: &Path) -> io::Result<Dir> {
    Ok(Dir::from_std_file(open_directory(dir, path)?.into_std()))
}

fn local(what: &'static str, place: &Place) -> impl FnOnce(io::Error) -> Fault {
    move |source| Fault::Local { what, path: place.to_string(), source }
}

/// As [`local`], for names that the view says are free.
fn made(what: &'static str, place: &Place) -> impl FnOnce(io::Error) -> Fault {
    move |source| match source.kind() {
        ErrorKind::AlreadyExists => Fault::Collision(place.to_string()),
        _ => Fault::Local { what, path: place.to_string(), source },
    }
}

impl Sink for Writer {
    fn directory(&mut self, place: &Place, mode: u32) -> Result<(), Fault> {
        let (withheld, name) = (self.withheld, place.name());
        let dir = self.parent(place)?;
        dir.create_dir_with(name, DirBuilder::new().mode(mode)).map_err(made("make directory", place))?;
        if mode & withheld == 0 { Ok(()) } else { self.set_mode(place, mode) }
    }

    fn file(&mut self, place: &Place, mode: u32, number: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
        let (withheld, name) = (self.withheld, place.name());
        let dir = self.parent(place)?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let mut file = dir.open_with(name, &options).map_err(made("create", place))?;
        let mut contents = Summed { contents, crc: Crc::new() };
        write(&mut file, place, &mut contents)?;
        let checksum = contents.crc.sum();
        if mode & withheld != 0 {
            file.set_permissions(Permissions::from_mode(mode)).map_err(local("set the mode of", place))?;
        }
        self.note(place, number, &file, checksum)
    }

    fn symlink(&mut self, place: &Place, target: &[u8]) -> Result<(), Fault> {
        let dir = self.parent(place)?;
        dir.symlink_contents(OsStr::from_bytes(target), place.name()).map_err(made("make link", place))
    }

    fn hard_link(&mut self, place: &Place, original: &Place) -> Result<(), Fault> {
        let from = match original.parent() {
            parent if parent.is_top() => self.top.try_clone(),
            parent => open(&self.top, &parent.to_path()),
        };
        let from = from.map_err(local("open the directory of", original))?;
        let dir = self.parent(place)?;
        from.hard_link(original.name(), dir, place.name()).map_err(made("make hard link", place))
    }

    fn remove(&mut self, place: &Place, is_directory: bool) -> Result<(), Fault> {
        let dir = self.parent(place)?;
        let removed = if is_directory { dir.remove_dir(place.name()) } else { dir.remove_file(place.name()) };
        removed.map_err(local("remove", place))?;
        self.all_removed.fetch_add(u64::from(is_directory), Ordering::Release);
        Ok(())
    }

    fn set_mode(&mut self, place: &Place, mode: u32) -> Result<(), Fault> {
        let set =
            |dir: &Dir| open_directory(dir, Path::new(place.name()))?.set_permissions(Permissions::from_mode(mode));
        set(self.parent(place)?).map_err(local("set the mode of", place))
    }
}

/// Contents that are summed up as they are read.
struct Summed<'a> {
    contents: &'a mut dyn Contents,
    crc: Crc,
}

impl Contents for Summed<'_> {
    fn next(&mut self) -> Result<Piece, Fault> {
        let piece = self.contents.next()?;
        match &piece {
            Piece::Data(bytes) => self.crc.update(bytes),
            Piece::Hole(size) => add_zeros(&mut self.crc, *size),
            Piece::End => {}
        }
        Ok(piece)
    }
}

fn add_zeros(crc: &mut Crc, mut size: u64) {
    let zeros = [0; 4096];
    while size > 0 {
        let count = size.min(zeros.len() as u64);
        crc.update(&zeros[..count as usize]);
        size -= count;
    }
}

/// Writes the contents, and leaves holes where they have some.
fn write(file: &mut File, place: &Place, contents: &mut dyn Contents) -> Result<(), Fault> {
    let mut hole = false;
    loop {
        match contents.next()? {
            Piece::Data(bytes) => {
                file.write_all(&bytes).map_err(local("write", place))?;
                hole = false;
            }
            Piece::Hole(size) => {
                let size = i64::try_from(size).map_err(io::Error::other).map_err(local("write", place))?;
                file.seek(SeekFrom::Current(size)).map_err(local("write", place))?;
                hole = true;
            }
            Piece::End => break,
        }
    }
    if hole {
        let end = file.stream_position().map_err(local("write", place))?;
        file.set_len(end).map_err(local("write", place))?;
    }
    Ok(())
}
