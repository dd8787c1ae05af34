//! Scanning: what is there, in the order of entries, before any of it is read.
//!
//! `walk` says what is in a directory; here directories are walked on all cores, because a tree of many small files
//! costs the kernel more time than a single thread should wait for, and put in order.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, fstat, statat};
use rustix::io::Errno;

use super::Error;
use super::read::Identity;
use super::select::{LeftOut, Selection, Symlinks, Why};
use super::walk::{Directory, Listing, Walk};
use crate::bundle::{Entry, Kind, Links};

/// What goes into a bundle, found but not yet read.
#[derive(Debug)]
pub struct Tree {
    /// The directory as the user named it, for messages; or the file, if that is open already.
    pub(super) path: PathBuf,
    pub(super) origin: Origin,
    pub(super) entries: Vec<Found>,
    left_out: Vec<LeftOut>,
    warnings: Vec<String>,
}

/// Where the contents of files come from.
#[derive(Debug)]
pub(super) enum Origin {
    /// From below a directory. If `follow`, they may be reached through links.
    Directory { root: Arc<OwnedFd>, follow: bool },
    /// There is one file, which is this.
    File(OwnedFd),
}

/// An entry, and which file it was when it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) identity: Identity,
    /// Otherwise it is a directory that goes in only if something in it does.
    pub(super) is_certain: bool,
}

impl Tree {
    /// A tree of one file, which is open already, as the entry `name`. `path` is what messages call it.
    ///
    /// # Errors
    /// When it is no regular file, or `name` is none of an entry.
    pub fn of_file(file: File, path: &Path, name: &str, executable: bool) -> Result<Self, Error> {
        let file = OwnedFd::from(file);
        let stat = fstat(&file).map_err(|error| Error::Read { path: path.to_owned(), source: error.into() })?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(Error::Special { path: path.to_owned(), kind: "special file" });
        }
        let kind = Kind::File { size: u64::try_from(stat.st_size).unwrap_or_default(), executable };
        let found = Found { entry: Entry::new(name, kind)?, identity: Identity::of(&stat), is_certain: true };
        let (entries, origin) = (vec![found], Origin::File(file));
        Ok(Self { path: path.to_owned(), origin, entries, left_out: Vec::new(), warnings: Vec::new() })
    }

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
    #[must_use]
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter().map(|found| &found.entry)
    }

    /// The entry with this number.
    #[must_use]
    pub fn entry(&self, number: usize) -> &Entry {
        &self.entries[number].entry
    }

    /// What does not go in, in order of paths.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
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
    let tree = look(path, selection)?;
    let mut links = Links::default();
    for entry in tree.entries() {
        if let Kind::Symlink { target } = entry.kind() {
            links.insert(entry.path(), target);
        }
    }
    links.check()?;
    Ok(tree)
}

/// The same for who only looks, and packs nothing: links may lead anywhere.
///
/// # Errors
/// When something cannot be read, or cannot be in a bundle.
pub fn look(path: &Path, selection: &Selection) -> Result<Tree, Error> {
    let read = |error: Errno| Error::Read { path: path.to_owned(), source: error.into() };
    let stat = statat(CWD, path, AtFlags::empty()).map_err(read)?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return directory(&Walk::new(path, selection)?, path, selection.symlinks);
    }
    let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
        return Err(read(Errno::ISDIR));
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let name = name.to_str().ok_or_else(|| Error::NotUtf8 { path: path.to_owned() })?;
    let selection = Selection::default();
    let walk = Walk::new(parent, &selection)?;
    let (entry, identity) = (Entry::new(name, walk.kind(name, &stat)?)?, Identity::of(&stat));
    let entries = vec![Found { entry, identity, is_certain: true }];
    // Who names a file by a link means the file.
    let origin = Origin::Directory { root: Arc::clone(walk.root()), follow: true };
    Ok(Tree { path: parent.to_owned(), origin, entries, left_out: Vec::new(), warnings: Vec::new() })
}

/// Finds what of a directory goes in.
fn directory(walk: &Walk<'_>, path: &Path, symlinks: Symlinks) -> Result<Tree, Error> {
    let InOrder { mut entries, mut left_out, warnings } = in_order(walk_all(walk))?;
    remove_around_caches(&mut entries, &mut left_out);
    let without_contents = remove_empty(&mut entries);
    if entries.is_empty() && walk.is_choosy() {
        return Err(Error::NothingIncluded { path: path.to_owned() });
    }
    left_out.extend(without_contents);
    left_out.sort_by(|one, two| one.path.cmp(&two.path));
    let origin = Origin::Directory { root: Arc::clone(walk.root()), follow: symlinks == Symlinks::Follow };
    Ok(Tree { path: path.to_owned(), origin, entries, left_out, warnings })
}

/// Removes directories that have nothing but a cache in them, which are left out with it: where it has not been made yet, they
/// are not there either.
fn remove_around_caches(entries: &mut Vec<Found>, left_out: &mut [LeftOut]) {
    for at in 0..left_out.len() {
        while left_out[at].why == Why::Cache
            && let Some((parent, _)) = left_out[at].path.rsplit_once('/')
        {
            let is_in = |path: &str| path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('/'));
            let mut others = left_out.iter().filter(|left| left.why != Why::Cache);
            if others.any(|left| is_in(&left.path)) || entries.iter().any(|found| is_in(found.entry.path())) {
                break;
            }
            let parent = parent.to_owned();
            entries.retain(|found| found.entry.path() != parent);
            left_out[at].path = parent;
        }
    }
}

/// Removes directories that are there only for what is in them, where nothing is, and says which.
fn remove_empty(entries: &mut Vec<Found>) -> Vec<LeftOut> {
    let (mut kept, mut removed): (Vec<Found>, Vec<LeftOut>) = (Vec::new(), Vec::new());
    if entries.iter().all(|found| found.is_certain) {
        return removed;
    }
    // From the end, what is in a directory comes before it, and next to it.
    while let Some(found) = entries.pop() {
        let path = found.entry.path();
        let has_contents = kept
            .last()
            .is_some_and(|next| next.entry.path().strip_prefix(path).is_some_and(|rest| rest.starts_with('/')));
        if found.is_certain || has_contents {
            kept.push(found);
        } else {
            removed.push(LeftOut { path: path.to_owned(), is_directory: true, why: Why::NotIncluded });
        }
    }
    kept.reverse();
    *entries = kept;
    removed
}

/// A directory that has been walked.
struct Walked {
    entries: Vec<Found>,
    /// The directories among the entries: the place of each, and its number.
    directories: Vec<(usize, usize)>,
    left_out: Vec<LeftOut>,
    warnings: Vec<String>,
}

/// Walks all directories, on all cores. The top has number 0.
fn walk_all(walk: &Walk<'_>) -> Vec<Option<Result<Walked, Error>>> {
    let queue = Queue::new(walk.top());
    std::thread::scope(|scope| {
        let others = std::thread::available_parallelism().map_or(0, |threads| threads.get() - 1);
        for _ in 0..others {
            scope.spawn(|| queue.work(walk));
        }
        queue.work(walk);
    });
    queue.state.into_inner().unwrap_or_else(PoisonError::into_inner).walked
}

/// The directories that are still to be walked.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The last comes first, so that few directories are open at a time.
    waiting: Vec<(usize, Directory)>,
    /// How many are being walked, from which more may come.
    busy: usize,
    /// By number.
    walked: Vec<Option<Result<Walked, Error>>>,
}

impl Queue {
    fn new(top: Directory) -> Self {
        let state = State { waiting: vec![(0, top)], busy: 0, walked: vec![None] };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Walks directories until there are no more.
    fn work(&self, walk: &Walk<'_>) {
        while let Some((number, directory)) = self.take() {
            let listing = walk.list(directory);
            self.done(number, listing);
        }
    }

    fn take(&self) -> Option<(usize, Directory)> {
        let more_may_come = |state: &mut State| state.waiting.is_empty() && state.busy > 0;
        let mut state = self.changed.wait_while(self.state(), more_may_come).unwrap_or_else(PoisonError::into_inner);
        let next = state.waiting.pop()?;
        state.busy += 1;
        Some(next)
    }

    /// Notes what came of a directory, and that those in it are to be walked.
    fn done(&self, number: usize, listing: Result<Listing, Error>) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.busy -= 1;
        state.walked[number] = Some(listing.map(|Listing { entries, directories, left_out, warnings }| {
            let first = state.walked.len();
            let numbers = first..first + directories.len();
            state.walked.resize_with(numbers.end, || None);
            let places = directories.iter().map(|(place, _)| *place).zip(numbers.clone()).collect();
            state.waiting.extend(numbers.zip(directories.into_iter().map(|(_, directory)| directory)).rev());
            Walked { entries, directories: places, left_out, warnings }
        }));
        drop(guard);
        self.changed.notify_all();
    }
}

/// What is in all directories.
struct InOrder {
    entries: Vec<Found>,
    left_out: Vec<LeftOut>,
    warnings: Vec<String>,
}

/// All entries and warnings, those of a directory after the directory itself.
fn in_order(mut walked: Vec<Option<Result<Walked, Error>>>) -> Result<InOrder, Error> {
    let count = |walked: &Option<Result<Walked, Error>>| match walked {
        Some(Ok(directory)) => directory.entries.len(),
        Some(Err(_)) | None => 0,
    };
    let mut entries = Vec::with_capacity(walked.iter().map(count).sum());
    let (mut left_out, mut warnings) = (Vec::new(), Vec::new());
    let mut enter = |number: usize| -> Result<_, Error> {
        let Some(directory) = walked[number].take() else {
            unreachable!("every directory is walked, and entered once")
        };
        let mut directory = directory?;
        left_out.append(&mut directory.left_out);
        warnings.append(&mut directory.warnings);
        Ok((directory.entries.into_iter().enumerate(), directory.directories.into_iter().peekable()))
    };
    let mut open = vec![enter(0)?];
    while let Some((rest, directories)) = open.last_mut() {
        let Some((place, found)) = rest.next() else {
            open.pop();
            continue;
        };
        entries.push(found);
        if let Some((_, number)) = directories.next_if(|(of, _)| *of == place) {
            open.push(enter(number)?);
        }
    }
    Ok(InOrder { entries, left_out, warnings })
}
