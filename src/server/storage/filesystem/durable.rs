//! Writing so that a crash at any moment leaves the old state or the new one: a file is synced before it gets its name,
//! and a directory after an entry of it has changed.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Creates or replaces the file at `path`. `temporary` is a directory on the same file system.
pub(super) fn write(temporary: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new()
        .prefix(OsStr::new(""))
        // What every other file here has; the umask applies.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(temporary)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    let written = file.into_temp_path();
    rename(&written, path)?;
    // It has another name by now, and under the old one there is nothing to remove.
    written.keep()?;
    Ok(())
}

/// Gives a file that has been synced its final name, over whatever has it now.
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    with_parent(to, || fs::rename(from, to))
}

/// Creates an empty file, if there is none.
pub(super) fn create_empty(path: &Path) -> io::Result<()> {
    with_parent(path, || OpenOptions::new().create(true).append(true).open(path).map(drop))
}

/// Runs `change`, which makes the entry at `path`, with the directory around it in place, and syncs that directory.
fn with_parent(path: &Path, change: impl Fn() -> io::Result<()>) -> io::Result<()> {
    let parent = path.parent().ok_or(ErrorKind::InvalidInput)?;
    match change() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_directories(parent)?;
            change()?;
        }
        result => result?,
    }
    sync_directory(parent)
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
        Ok(()) => sync_directory(parent),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the entries of a directory last.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    // The parent of a relative path of one component is the empty path.
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path)?.sync_all()
}
