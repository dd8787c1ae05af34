//! Writing so that a crash at any moment leaves the old state or the new one: a file is synced before it gets its name,
//! and a directory after an entry of it has changed.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempPath;

/// How often directories are made for a file, while somebody else removes them because they are empty.
const ATTEMPTS: usize = 16;

/// Writes a file that has no name yet. `temporary` is a directory on the same file system.
pub(super) fn prepare(temporary: &Path, bytes: &[u8]) -> io::Result<TempPath> {
    let mut file = tempfile::Builder::new()
        .prefix(OsStr::new(""))
        // What every other file here has; the umask applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(temporary)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file.into_temp_path())
}

/// Gives a prepared file its name, over whatever has it now.
pub(super) fn replace(prepared: TempPath, path: &Path) -> io::Result<()> {
    rename(&prepared, path)?;
    // It has another name by now, and under the old one there is nothing to remove.
    prepared.keep()?;
    Ok(())
}

/// Gives a file that has been synced its final name, over whatever has it now.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    with_parent(to, || fs::rename(from, to))
}

/// The same, but for syncing the directory, which is left to the caller.
pub(super) fn move_to(from: &Path, to: &Path) -> io::Result<()> {
    with_directory(to, || fs::rename(from, to))
}

/// Gives a file that has been synced one more name; `false` when something has that already.
pub(super) fn link(from: &Path, to: &Path) -> io::Result<bool> {
    unless_exists(with_parent(to, || fs::hard_link(from, to)))
}

/// Creates an empty file; `false` when there is one already.
pub(super) fn create_empty(path: &Path) -> io::Result<bool> {
    unless_exists(with_parent(path, || OpenOptions::new().write(true).create_new(true).open(path).map(drop)))
}

fn unless_exists(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        result => result.map(|()| true),
    }
}

/// Removes a file for good; `false` when there is none.
pub(super) fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        result => result.and_then(|()| sync_parent(path)).map(|()| true),
    }
}

/// Removes the directories above `path` that are empty, as far as they lie below `top`.
pub(super) fn prune(path: &Path, top: &Path) {
    let above = path.ancestors().skip(1).take_while(|directory| *directory != top && directory.starts_with(top));
    for directory in above {
        // One that is not empty stays, and so does all above it.
        if fs::remove_dir(directory).is_err() {
            break;
        }
    }
}

/// Runs `change`, which makes the entry at `path`, with the directory around it in place, and syncs that directory.
fn with_parent(path: &Path, change: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let result = with_directory(path, change);
    // What is there already may be somebody's who has not come to syncing.
    match &result {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => result,
        _ => sync_parent(path).and(result),
    }
}

/// Runs `change`, which makes the entry at `path`, with the directory around it in place.
fn with_directory(path: &Path, change: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let mut result = change();
    for _ in 0..ATTEMPTS {
        match result {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            _ => break,
        }
        match create_directories(parent) {
            // Somebody has just removed one of them.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            made => made?,
        }
        result = change();
    }
    result
}

/// Creates a directory, if there is none, and those around it.
pub(super) fn create_directories(path: &Path) -> io::Result<()> {
    let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let created = match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_directories(parent)?;
            fs::create_dir(path)
        }
        result => result,
    };
    match created {
        Ok(()) => sync_parent(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the entry at `path` last, or its absence.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    // The parent of a relative path of one component is the empty path.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(parent) {
        // Somebody removed the entry, and then the empty directory.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        opened => opened?.sync_all(),
    }
}
