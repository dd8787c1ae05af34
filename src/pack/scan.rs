//! Walking a directory: what is there, in the order of entries, before any of it is read.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::Error;
use super::read::{Identity, read_small};
use super::select::{IGNORE_FILE, Patterns, Selection, Symlinks};
use crate::bundle::{Entry, Kind, Links};

/// The largest `.bndlrignore`, in bytes.
const MAX_IGNORE_FILE: u64 = 1024 * 1024;

/// What goes into a bundle, found but not yet read.
#[derive(Debug)]
pub struct Tree {
    /// The directory as the user named it, for messages.
    pub(super) path: PathBuf,
    /// The directory, open.
    pub(super) root: OwnedFd,
    /// Whether files may be reached through links.
    pub(super) follow: bool,
    pub(super) entries: Vec<Found>,
    warnings: Vec<String>,
}

/// An entry, and which file it was when it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) identity: Identity,
}

impl Tree {
    /// How many regular files there are.
    #[must_use]
    pub fn files(&self) -> usize {
        self.entries().filter(|entry| matches!(entry.kind(), Kind::File { .. })).count()
    }

    /// How many bytes the files have together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries().map(Entry::size).sum()
    }

    /// The entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().map(|found| &found.entry)
    }

    /// What the user may want to know, although it is no error.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }
}

/// Finds what of `path`, a directory or a single file, goes into a bundle.
///
/// # Errors
/// When something cannot be read, cannot be in a bundle, or is a link that leads out.
pub fn scan(path: &Path, selection: &Selection) -> Result<Tree, Error> {
    let read = |error: Errno| Error::Read { path: path.to_owned(), source: error.into() };
    let stat = statat(CWD, path, AtFlags::empty()).map_err(read)?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Walk::new(path, selection)?.directory();
    }
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(read(Errno::ISDIR));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    // Who names a file by a link means the file.
    let selection = Selection { symlinks: Symlinks::Follow, ..Selection::default() };
    let mut walk = Walk::new(parent, &selection)?;
    let name = name.to_str().ok_or_else(|| Error::NotUtf8 { path: path.to_owned() })?;
    let root = rustix::io::dup(&walk.tree.root).map_err(read)?;
    walk.found(&root, name, name.to_owned(), &stat)?;
    Ok(walk.tree)
}

struct Walk<'a> {
    selection: &'a Selection,
    /// Of `--exclude`, and then of each `.bndlrignore` from the top down to where the walk is.
    patterns: Vec<Patterns>,
    /// The directories from the top down to where the walk is, as device and inode.
    above: Vec<(u64, u64)>,
    /// The top, with all links resolved.
    canonical: PathBuf,
    links: Links,
    tree: Tree,
}

impl<'a> Walk<'a> {
    fn new(path: &Path, selection: &'a Selection) -> Result<Self, Error> {
        let read = |source| Error::Read { path: path.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = openat(CWD, path, flags, Mode::empty()).map_err(|error| read(error.into()))?;
        let canonical = path.canonicalize().map_err(read)?;
        let follow = selection.symlinks == Symlinks::Follow;
        let tree = Tree { path: path.to_owned(), root, follow, entries: Vec::new(), warnings: Vec::new() };
        let patterns = vec![selection.patterns()?];
        Ok(Self { selection, patterns, above: Vec::new(), canonical, links: Links::default(), tree })
    }

    fn directory(mut self) -> Result<Tree, Error> {
        let root = rustix::io::dup(&self.tree.root).map_err(self.read_error(""))?;
        self.enter(&root, ".", "")?;
        self.links.check()?;
        Ok(self.tree)
    }

    /// Where `path` is for the user.
    fn shown(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.tree.path.clone() } else { self.tree.path.join(path) }
    }

    fn read_error(&self, path: &str) -> impl Fn(Errno) -> Error {
        let path = self.shown(path);
        move |error| Error::Read { path: path.clone(), source: error.into() }
    }

    /// Walks the directory that is called `name` in `parent`, and `path` from the top.
    fn enter(&mut self, parent: &OwnedFd, name: &str, path: &str) -> Result<(), Error> {
        let follow = if self.tree.follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | follow;
        let directory = openat(parent, name, flags, Mode::empty()).map_err(self.read_error(path))?;
        let stat = fstat(&directory).map_err(self.read_error(path))?;
        let identity = (stat.st_dev, stat.st_ino);
        if self.above.contains(&identity) {
            return Err(Error::Follow { path: self.shown(path), why: "it leads to a directory above itself".into() });
        }
        let names = self.names(path, &directory)?;
        self.above.push(identity);
        let ignores = names.iter().any(|name| name == IGNORE_FILE);
        if ignores {
            let patterns = self.ignore_file(path)?;
            self.patterns.push(patterns);
        }
        self.visit_all(&directory, path, &names)?;
        if ignores {
            self.patterns.pop();
        }
        self.above.pop();
        Ok(())
    }

    fn visit_all(&mut self, directory: &OwnedFd, path: &str, names: &[String]) -> Result<(), Error> {
        let mut folded = HashMap::new();
        for name in names {
            let child = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            if !self.visit(directory, name, child)? {
                continue;
            }
            if let Some(other) = folded.insert(name.to_lowercase(), name) {
                let (one, two) = (self.shown(path).join(other), self.shown(path).join(name));
                let warning = format!(
                    "{} and {} differ only in case: some systems can hold but one",
                    one.display(),
                    two.display()
                );
                self.tree.warnings.push(warning);
            }
        }
        Ok(())
    }

    /// The names in a directory, in byte order.
    fn names(&mut self, path: &str, directory: &OwnedFd) -> Result<Vec<String>, Error> {
        let read = self.read_error(path);
        let mut names = Vec::new();
        for entry in Dir::read_from(directory).map_err(&read)? {
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

    fn ignore_file(&self, directory: &str) -> Result<Patterns, Error> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let path = format!("{prefix}{IGNORE_FILE}");
        let shown = self.shown(&path);
        let bytes = read_small(&self.tree.root, &path, MAX_IGNORE_FILE)
            .map_err(|source| Error::Read { path: shown.clone(), source })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::Pattern { place: shown.display().to_string(), why: "the file is not UTF-8".into() })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        Patterns::new(prefix, text.lines(), |line| format!("{} line {line}", shown.display()))
    }

    /// Adds what is called `name` in `directory`, unless it is left out; says whether it went in.
    fn visit(&mut self, directory: &OwnedFd, name: &str, path: String) -> Result<bool, Error> {
        if self.selection.is_left_out(name) || name == IGNORE_FILE {
            return Ok(false);
        }
        let mut stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).map_err(self.read_error(&path))?;
        // A link counts as a file here, whatever it points to: as it does for git.
        let kind = FileType::from_raw_mode(stat.st_mode);
        let decide = |patterns: &Patterns| patterns.decide(&path, kind.is_dir());
        let nearest = || self.patterns.iter().skip(1).rev().find_map(decide);
        if self.patterns.first().and_then(decide).or_else(nearest) == Some(false) {
            return Ok(false);
        }
        if kind.is_symlink() {
            match self.selection.symlinks {
                Symlinks::Keep => return self.link(directory, name, path, &stat).map(|()| true),
                Symlinks::Error => return Err(Error::Symlink { path: self.shown(&path) }),
                Symlinks::Follow => stat = self.follow(&path)?,
            }
        }
        self.found(directory, name, path, &stat).map(|()| true)
    }

    fn link(&mut self, directory: &OwnedFd, name: &str, path: String, stat: &Stat) -> Result<(), Error> {
        let target = readlinkat(directory, name, Vec::new()).map_err(self.read_error(&path))?;
        let target = target.into_string().map_err(|_| Error::NotUtf8 { path: self.shown(&path) })?;
        self.links.insert(&path, &target);
        self.push(path, Kind::Symlink { target }, stat)
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
        statat(&self.tree.root, path, AtFlags::empty()).map_err(|error| follow(error.to_string()))
    }

    /// Adds what is at `path`, and all that is in it.
    fn found(&mut self, directory: &OwnedFd, name: &str, path: String, stat: &Stat) -> Result<(), Error> {
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                self.push(path.clone(), Kind::Directory, stat)?;
                return self.enter(directory, name, &path);
            }
            FileType::RegularFile => {
                // A regular file's size is never negative.
                let size = u64::try_from(stat.st_size).unwrap_or_default();
                return self.push(path, Kind::File { size, executable: stat.st_mode & 0o100 != 0 }, stat);
            }
            FileType::Fifo => "named pipe",
            FileType::Socket => "socket",
            FileType::CharacterDevice | FileType::BlockDevice => "device file",
            FileType::Symlink | FileType::Unknown => "file of a kind that is not known",
        };
        Err(Error::Special { path: self.shown(&path), kind })
    }

    fn push(&mut self, path: String, kind: Kind, stat: &Stat) -> Result<(), Error> {
        self.tree.entries.push(Found { entry: Entry::new(path, kind)?, identity: Identity::of(stat) });
        Ok(())
    }
}
