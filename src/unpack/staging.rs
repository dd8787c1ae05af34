//! Where an image is unpacked before it gets its name: a hidden directory beside the target, which is gone unless all
//! went well. Where the target is there, the hidden directory is in it, and what is in that moves up in the end: the
//! target may be a mount point or the current directory, and its owner and mode are somebody's choice.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions, OpenOptionsExt, Permissions, PermissionsExt};
use rustix::fs::OFlags;
#[cfg(any(target_os = "linux", target_vendor = "apple"))]
use rustix::{
    fs::{RenameFlags, renameat_with},
    io::Errno,
};

use super::error::Error;
use super::update::{Held, States, hold_if_possible};

/// How much of the target's name is in that of the hidden directory: file systems have no names over 255 bytes.
const MAX_NAME: usize = 200;
/// What stands in it before what no other has.
const HIDDEN: &str = "bndlr-";

/// Where `target` is, and whether it is there already, as an empty directory. Anything else that is there is an error.
fn vacancy(target: &Path) -> Result<(PathBuf, bool), Error> {
    // Where the target is reached through links, or is called `.`, its own name is another.
    match fs::canonicalize(target) {
        Ok(path) if is_empty(&path) => Ok((path, true)),
        Err(error) if error.kind() == ErrorKind::NotFound && fs::symlink_metadata(target).is_err() => {
            Ok((target.to_owned(), false))
        }
        Ok(_) => Err(Error::Occupied(target.to_owned())),
        Err(error) => Err(Error::local("unpack to", target)(error)),
    }
}

/// Whether an image can be unpacked to `target`, which must not exist or be an empty directory: to be asked before anything
/// is fetched for it. Unpacking asks once more. What somebody has left there who was killed at it is removed, if that is known
/// to `states`.
///
/// # Errors
///
/// [`Error::Occupied`] if it cannot, [`Error::Busy`], and [`Error::Local`] if that cannot be found out.
pub fn check_vacant(target: &Path, states: Option<&States>) -> Result<(), Error> {
    let vacancy = || vacancy(target).map(drop);
    match vacancy() {
        Err(Error::Occupied(_)) if states.is_some() => hold_if_possible(states, target).and_then(|_held| vacancy()),
        vacancy => vacancy,
    }
}

/// A hidden directory beside a target, or in it. Dropped, it is removed with all that is in it.
pub(super) struct Staging {
    parent: Dir,
    /// Directories that were made for the target to be in, the deepest first.
    made: Vec<PathBuf>,
    /// The name of the hidden directory in `parent`, until it has the target's.
    name: Option<OsString>,
    target: PathBuf,
    /// The target's name in `parent`; none if `parent` is the target.
    target_name: Option<OsString>,
}

impl Staging {
    /// Makes a directory, on the target's file system, that only this user can enter. The target must not exist or be an
    /// empty directory. `held` is told first, so that somebody removes it if this does not.
    pub(super) fn new(target: &Path, held: Option<&mut Held>) -> Result<Self, Error> {
        let (path, exists) = vacancy(target)?;
        let target_name = match path.file_name() {
            _ if exists => None,
            Some(name) => Some(name.to_owned()),
            None => return Err(Error::Occupied(target.to_owned())),
        };
        let parent = match path.parent() {
            _ if target_name.is_none() => path.as_path(),
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let made = make_directories(parent)?;
        let opened = Dir::open_ambient_dir(parent, ambient_authority());
        let opened = opened.and_then(|opened| Ok((opened, hidden(parent, target_name.as_deref(), held)?)));
        match opened {
            Ok((parent, name)) => Ok(Self { parent, made, name: Some(name), target: target.to_owned(), target_name }),
            Err(error) => {
                remove_directories(&made);
                Err(Error::local("make a directory beside", target)(error))
            }
        }
    }

    /// The same in a target that is there, whatever is in it; it is never published.
    pub(super) fn within(target: &Path, held: &mut Held) -> Result<Self, Error> {
        let parent = Dir::open_ambient_dir(target, ambient_authority());
        let made = parent.and_then(|parent| Ok((parent, hidden(target, None, Some(held))?)));
        let (parent, name) = made.map_err(Error::local("make a directory in", target))?;
        Ok(Self { parent, made: Vec::new(), name: Some(name), target: target.to_owned(), target_name: None })
    }

    /// Whether publishing moves up one thing after the other, and not all at once.
    pub(super) fn moves_up(&self) -> bool {
        self.target_name.is_none()
    }

    /// The hidden directory, which nobody else can enter.
    pub(super) fn open(&self) -> Result<Dir, Error> {
        // Exactly this mode: a set-group-ID bit, inherited from the parent, would be inherited by all that is made.
        self.set_mode(0o700).map_err(Error::local("open the directory beside", &self.target))
    }

    fn set_mode(&self, mode: u32) -> io::Result<Dir> {
        let top = open_directory(&self.parent, Path::new(self.name.as_deref().unwrap_or_default()))?;
        top.set_permissions(Permissions::from_mode(mode))?;
        Ok(Dir::from_std_file(top.into_std()))
    }

    /// Gives the hidden directory its name, in place of the empty directory that may be there.
    pub(super) fn publish(mut self) -> Result<(), Error> {
        let top = self.set_mode(0o755).map_err(Error::local("set the mode of", &self.target))?;
        let name = self.name.as_deref().unwrap_or_default();
        let Some(target_name) = &self.target_name else { return self.move_up(&top) };
        match self.parent.rename(name, &self.parent, target_name) {
            Ok(()) => {
                self.name = None;
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory) => {
                Err(Error::Occupied(self.target.clone()))
            }
            Err(error) => Err(Error::local("rename a directory to", &self.target)(error)),
        }
    }

    /// Moves what is in the hidden directory to the target around it: all, or nothing unless the system fails twice.
    fn move_up(&self, top: &Dir) -> Result<(), Error> {
        let local = Error::local("move what was unpacked to", &self.target);
        let names = top.entries().and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        let names: Vec<OsString> = match names {
            Ok(names) => names,
            Err(error) => return Err(local(error)),
        };
        for (moved, name) in names.iter().enumerate() {
            if let Err(error) = move_to_free(top, &self.parent, name) {
                for name in &names[..moved] {
                    let _ = self.parent.rename(name, top, name);
                }
                let is_free = error.kind() != ErrorKind::AlreadyExists;
                return Err(if is_free { local(error) } else { Error::Occupied(self.target.clone()) });
            }
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // There is nobody left to tell, and what is left is hidden and only this user's.
            let _ = remove(&self.parent, name);
            remove_directories(&self.made);
        }
    }
}

/// Moves what is called `name` to another directory, unless something has that name there.
pub(super) fn move_to_free(from: &Dir, to: &Dir, name: &OsStr) -> io::Result<()> {
    // Where the system can see to that itself, nothing comes in between.
    #[cfg(any(target_os = "linux", target_vendor = "apple"))]
    match renameat_with(from, name, to, name, RenameFlags::NOREPLACE) {
        // Not every file system can.
        Err(error) if [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP].contains(&error) => {}
        moved => return Ok(moved?),
    }
    match to.symlink_metadata(name) {
        Ok(_) => Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => from.rename(name, to, name),
        Err(error) => Err(error),
    }
}

fn is_empty(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

/// Makes a directory and those that it is in, and returns the new ones, the deepest first.
fn make_directories(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && fs::symlink_metadata(path).is_err();
    let missing: Vec<PathBuf> = path.ancestors().take_while(missing).map(Path::to_owned).collect();
    match fs::create_dir_all(path) {
        Ok(()) => Ok(missing),
        Err(error) => {
            remove_directories(&missing);
            Err(Error::local("make directory", path)(error))
        }
    }
}

/// Removes directories that are empty; one that has been put to use meanwhile stays.
fn remove_directories(paths: &[PathBuf]) {
    for path in paths {
        let _ = fs::remove_dir(path);
    }
}

/// Makes a directory with a name of its own that only this user can enter.
fn hidden(parent: &Path, target_name: Option<&OsStr>, mut held: Option<&mut Held>) -> io::Result<OsString> {
    let mut prefix = OsString::from(".");
    if let Some(name) = target_name.filter(|name| name.len() <= MAX_NAME) {
        prefix.push(name);
        prefix.push(".");
    }
    prefix.push(HIDDEN);
    let private = |path: &Path| {
        if let Some(held) = &mut held {
            held.note(path);
        }
        fs::DirBuilder::new().mode(0o700).create(path)
    };
    let made = tempfile::Builder::new().prefix(&prefix).make_in(parent, private)?;
    let ((), path) = made.keep().map_err(|error| error.error)?;
    path.file_name().map(OsStr::to_owned).ok_or_else(|| io::Error::other("a new directory has no name"))
}

/// Whether a name is one that hidden directories have.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    let (name, hidden) = (name.as_encoded_bytes(), HIDDEN.as_bytes());
    name.starts_with(b".") && name.windows(hidden.len()).any(|window| window == hidden)
}

/// Whether a directory with this mode keeps its owner from changing what is in it.
pub(super) fn is_closed(mode: u32) -> bool {
    mode & 0o700 != 0o700
}

/// Opens a directory, not a link to one, so that its mode can be changed.
pub(super) fn open_directory(parent: &Dir, path: &Path) -> io::Result<File> {
    let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits();
    parent.open_with(path, OpenOptions::new().read(true).custom_flags(flags.cast_signed()))
}

/// Removes a directory with all that is in it, however deep: what is in a directory in it moves up, so that neither paths nor
/// the handles that are open at once grow with that.
pub(super) fn remove(parent: &Dir, name: &OsStr) -> io::Result<()> {
    let top = open_to_empty(parent, Path::new(name))?;
    let mut number = 0_u64;
    while let Some(below) = remove_files(&top)? {
        let dir = open_to_empty(&top, Path::new(&below))?;
        while let Some(deeper) = remove_files(&dir)? {
            // Only who may write to a directory may move it to another one.
            open_to_empty(&dir, Path::new(&deeper))?;
            loop {
                number += 1;
                match dir.rename(&deeper, &top, number.to_string()) {
                    // There is something else with that name.
                    Err(error) if matches!(error.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::NotADirectory) => {}
                    moved => break moved?,
                }
            }
        }
        top.remove_dir(&below)?;
    }
    parent.remove_dir(name)
}

/// Opens a directory, and lets its owner change what is in it if its mode does not.
fn open_to_empty(parent: &Dir, path: &Path) -> io::Result<Dir> {
    let opened = open_directory(parent, path).or_else(|_| {
        parent.set_permissions(path, Permissions::from_mode(0o700))?;
        open_directory(parent, path)
    })?;
    if is_closed(opened.metadata()?.permissions().mode()) {
        opened.set_permissions(Permissions::from_mode(0o700))?;
    }
    Ok(Dir::from_std_file(opened.into_std()))
}

/// Removes the files in a directory, and returns the first directory in it that is met.
fn remove_files(dir: &Dir) -> io::Result<Option<OsString>> {
    for entry in dir.entries()? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            return Ok(Some(entry.file_name()));
        }
        entry.remove_file()?;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory in which nothing can be named from the top: paths have 4,095 bytes at most.
    #[test]
    fn what_is_too_deep_for_a_path_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let parent = Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap();
        let name = "n".repeat(200);
        parent.create_dir("top").unwrap();
        // Names that would be used for what moves up.
        parent.create_dir_all("top/1/1").unwrap();
        parent.write("top/2", "").unwrap();
        let mut dir = parent.open_dir("top").unwrap();
        for _ in 0..50 {
            dir.create_dir(&name).unwrap();
            dir = dir.open_dir(&name).unwrap();
            dir.write("file", "").unwrap();
            dir.create_dir("beside").unwrap();
        }
        remove(&parent, OsStr::new("top")).unwrap();
        assert_eq!(parent.entries().unwrap().count(), 0);
    }

    #[test]
    fn what_has_come_to_a_directory_meanwhile_is_not_replaced() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let open = |top: &tempfile::TempDir| Dir::open_ambient_dir(top.path(), ambient_authority()).unwrap();
        for name in ["free", "file", "link", "directory"] {
            fs::write(from.path().join(name), "new").unwrap();
        }
        fs::write(to.path().join("file"), "mine").unwrap();
        std::os::unix::fs::symlink("nowhere", to.path().join("link")).unwrap();
        fs::create_dir(to.path().join("directory")).unwrap();
        let moved = |name: &str| move_to_free(&open(&from), &open(&to), OsStr::new(name));
        moved("free").unwrap();
        assert!(!from.path().join("free").exists());
        assert_eq!(fs::read(to.path().join("free")).unwrap(), b"new");
        for name in ["file", "link", "directory"] {
            assert_eq!(moved(name).unwrap_err().kind(), ErrorKind::AlreadyExists, "{name}");
            assert!(from.path().join(name).is_file());
        }
        assert_eq!(fs::read(to.path().join("file")).unwrap(), b"mine");
    }
}
