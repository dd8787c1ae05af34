//! Walking: what of one directory goes in, and which directories of it are to be walked next.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dev, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};

use super::Error;
use super::cache::is_cache;
use super::read::{Identity, read_small};
use super::scan::Found;
use super::select::{IGNORE_FILE, IgnoreFile, LeftOut, Selection, Symlinks, Why, patterns_of};
use crate::bundle::{Entry, Kind, Patterns};

/// The largest `.bndlrignore`, in bytes.
const MAX_IGNORE_FILE: u64 = 1024 * 1024;

/// A directory at the top, and what of it goes in.
pub(super) struct Walk<'a> {
    selection: &'a Selection,
    exclude: Patterns,
    include: Patterns,
    /// The directory as the user named it, for messages.
    path: &'a Path,
    root: Arc<OwnedFd>,
    /// The top, with all links resolved.
    canonical: PathBuf,
}

/// A directory that is to be walked.
pub(super) struct Directory {
    parent: Arc<OwnedFd>,
    name: String,
    /// From the top; of the top itself, empty.
    path: String,
    above: Option<Arc<Level>>,
}

/// A directory that others are in.
struct Level {
    device: Dev,
    inode: u64,
    /// Its `.bndlrignore`, if it has one.
    ignore_file: Option<IgnoreFile>,
    above: Option<Arc<Level>>,
}

/// What is in a directory, in byte order.
#[derive(Default)]
pub(super) struct Listing {
    pub(super) entries: Vec<Found>,
    /// The directories among the entries, each with its place there.
    pub(super) directories: Vec<(usize, Directory)>,
    pub(super) left_out: Vec<LeftOut>,
    pub(super) warnings: Vec<String>,
}

/// What there is about a name.
enum Visited {
    In(Kind, Stat),
    /// A directory that goes in if something in it does.
    Perhaps(Stat),
    Out(Why, bool),
}

/// Where in a walk a name was found.
struct Here<'a> {
    directory: &'a Arc<OwnedFd>,
    level: &'a Arc<Level>,
}

impl Level {
    /// This one and those around it, the nearest first.
    fn upwards(&self) -> impl Iterator<Item = &Level> {
        std::iter::successors(Some(self), |level| level.above.as_deref())
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(path: &'a Path, selection: &'a Selection) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|error| read(error.into()))?;
        let canonical = path.canonicalize().map_err(read)?;
        let exclude = patterns_of("--exclude", &selection.exclude)?;
        let include = patterns_of("--include", &selection.include)?;
        Ok(Self { selection, exclude, include, path, root: Arc::new(root), canonical })
    }

    /// The directory at the top, open.
    pub(super) fn root(&self) -> &Arc<OwnedFd> {
        &self.root
    }

    /// The directory at the top, to be walked.
    pub(super) fn top(&self) -> Directory {
        Directory { parent: Arc::clone(&self.root), name: ".".into(), path: String::new(), above: None }
    }

    /// Where `path` is for the user.
    fn shown(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.path.to_owned() } else { self.path.join(path) }
    }

    fn read_error(&self, path: &str) -> impl Fn(Errno) -> Error {
        let path = self.shown(path);
        move |error| Error::Read { path: path.clone(), source: error.into() }
    }

    /// What of `directory` goes in.
    pub(super) fn list(&self, directory: Directory) -> Result<Listing, Error> {
        let Directory { parent, name, path, above } = directory;
        let follow = if self.follows() { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
        let opened = openat(&parent, name, flags, Mode::empty()).map_err(self.read_error(&path))?;
        drop(parent);
        let stat = fstat(&opened).map_err(self.read_error(&path))?;
        let mut level = Level { device: stat.st_dev, inode: stat.st_ino, ignore_file: None, above };
        if level.upwards().skip(1).any(|above| (above.device, above.inode) == (level.device, level.inode)) {
            return Err(Error::Follow { path: self.shown(&path), why: "it leads to a directory above itself".into() });
        }
        let names = self.names(&path, &opened)?;
        if names.iter().any(|name| name == IGNORE_FILE) {
            level.ignore_file = Some(self.ignore_file(&path)?);
        }
        let (directory, level) = (&Arc::new(opened), &Arc::new(level));
        self.visit_all(&Here { directory, level }, &path, names)
    }

    /// Whether only what patterns match goes in.
    pub(super) fn is_choosy(&self) -> bool {
        !self.include.is_empty()
    }

    fn follows(&self) -> bool {
        self.selection.symlinks == Symlinks::Follow
    }

    fn visit_all(&self, here: &Here<'_>, path: &str, names: Vec<String>) -> Result<Listing, Error> {
        let mut listing = Listing::default();
        // Names that are what they are in lower case, and differ, differ there, too.
        let is_folded = |name: &String| name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
        let may_collide = !names.iter().all(is_folded);
        let mut folded = HashMap::new();
        listing.entries.reserve_exact(names.len());
        for name in names {
            let child = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            let (kind, stat, is_certain) = match self.visit(here, &name, &child)? {
                Visited::In(kind, stat) => (kind, stat, true),
                Visited::Perhaps(stat) => (Kind::Directory, stat, false),
                Visited::Out(why, is_directory) => {
                    listing.left_out.push(LeftOut { path: child, is_directory, why });
                    continue;
                }
            };
            if kind == Kind::Directory {
                let (parent, above) = (Arc::clone(here.directory), Some(Arc::clone(here.level)));
                let directory = Directory { parent, name: name.clone(), path: child.clone(), above };
                listing.directories.push((listing.entries.len(), directory));
            }
            listing.entries.push(Found { entry: Entry::new(child, kind)?, identity: Identity::of(&stat), is_certain });
            if may_collide && let Some(other) = folded.insert(name.to_lowercase(), name.clone()) {
                let (one, two) = (self.shown(path).join(other), self.shown(path).join(name));
                let (one, two) = (one.display(), two.display());
                let warning = format!("{one} and {two} differ only in case: some systems can hold but one");
                listing.warnings.push(warning);
            }
        }
        Ok(listing)
    }

    /// The names in a directory, in byte order.
    fn names(&self, path: &str, directory: &OwnedFd) -> Result<Vec<String>, Error> {
        let read = self.read_error(path);
        let mut names = Vec::new();
        for entry in fcntl_dupfd_cloexec(directory, 0).and_then(Dir::new).map_err(&read)? {
            let entry = entry.map_err(&read)?;
            match entry.file_name().to_str() {
                Ok("." | "..") => {}
                Ok(name) => names.push(name.to_owned()),
                Err(_) => {
                    let name = OsStr::from_bytes(entry.file_name().to_bytes());
                    return Err(Error::NotUtf8 { path: self.shown(path).join(name) });
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn ignore_file(&self, directory: &str) -> Result<IgnoreFile, Error> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let path = format!("{prefix}{IGNORE_FILE}");
        let shown = self.shown(&path);
        let bytes = read_small(&self.root, &path, MAX_IGNORE_FILE)
            .map_err(|source| Error::Read { path: shown.clone(), source })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Pattern { place: shown.display().to_string(), why: "the file is not UTF-8".into() })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        IgnoreFile::new(prefix, &shown.to_string_lossy(), text)
    }

    /// What is called `name` in a directory, and `path` from the top.
    fn visit(&self, here: &Here<'_>, name: &str, path: &str) -> Result<Visited, Error> {
        let mut stat = statat(here.directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.read_error(path))?;
        // A link counts as a file here, whatever it points to: as it does for git.
        let kind = FileType::from_raw_mode(stat.st_mode);
        let is_directory = kind.is_dir();
        if let Err(why) = self.decide(here, name, path, is_directory) {
            return Ok(Visited::Out(why, is_directory));
        }
        if !self.include.is_empty() && !self.include.pick(path, is_directory) {
            return Ok(if is_directory { Visited::Perhaps(stat) } else { Visited::Out(Why::NotIncluded, false) });
        }
        if kind.is_symlink() {
            match self.selection.symlinks {
                Symlinks::Keep => return Ok(Visited::In(self.link(here.directory, name, path)?, stat)),
                Symlinks::Error => return Err(Error::Symlink { path: self.shown(path) }),
                Symlinks::Follow => stat = self.follow(path)?,
            }
        }
        Ok(Visited::In(self.kind(path, &stat)?, stat))
    }

    /// Whether anything keeps this out.
    fn decide(&self, here: &Here<'_>, name: &str, path: &str, is_directory: bool) -> Result<(), Why> {
        if self.selection.is_left_out(name) {
            return Err(Why::VersionControl);
        }
        if name == IGNORE_FILE {
            return Err(Why::IgnoreFile);
        }
        if is_directory && is_cache(here.directory, name) {
            return Err(Why::Cache);
        }
        if let Some(pattern) = self.exclude.decide(path, is_directory) {
            return if pattern.is_negated() { Ok(()) } else { Err(Why::Excluded(pattern.to_string())) };
        }
        let mut files = here.level.upwards().filter_map(|level| level.ignore_file.as_ref());
        files.find_map(|file| file.decide(path, is_directory)).unwrap_or(Ok(()))
    }

    fn link(&self, directory: &OwnedFd, name: &str, path: &str) -> Result<Kind, Error> {
        let target = readlinkat(directory, name, Vec::new()).map_err(self.read_error(path))?;
        let target = target.into_string().map_err(|_| Error::NotUtf8 { path: self.shown(path) })?;
        Ok(Kind::Symlink { target })
    }

    /// What the link at `path` points to, which has to be inside the directory and not version control's.
    fn follow(&self, path: &str) -> Result<Stat, Error> {
        let follow = |why: String| Error::Follow { path: self.shown(path), why };
        let target = self.shown(path).canonicalize().map_err(|error| follow(error.to_string()))?;
        let Ok(inside) = target.strip_prefix(&self.canonical) else {
            return Err(follow(format!("it leads out of the directory, to {}", target.display())));
        };
        let mut names = inside.iter().filter_map(OsStr::to_str);
        if let Some(name) = names.find(|name| self.selection.is_left_out(name)) {
            return Err(follow(format!("it leads into {name}, which is left out")));
        }
        statat(&self.root, path, AtFlags::empty()).map_err(|error| follow(error.to_string()))
    }

    /// What `stat` says is at `path`, if a bundle can hold it.
    pub(super) fn kind(&self, path: &str, stat: &Stat) -> Result<Kind, Error> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => return Ok(Kind::Directory),
            FileType::RegularFile => {
                // A regular file's size is never negative.
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                return Ok(Kind::File { size, executable: stat.st_mode & 0o100 != 0 });
            }
            FileType::Fifo => "named pipe",
            FileType::Socket => "socket",
            FileType::CharacterDevice | FileType::BlockDevice => "device file",
            FileType::Symlink | FileType::Unknown => "file of a kind that is not known",
        };
        Err(Error::Special { path: self.shown(path), kind })
    }
}
