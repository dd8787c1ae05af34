//! What the system has in memory: that is read where a request is answered, because to hand it to a thread that may wait
//! takes longer than to read it. Nothing here waits for a disk. What is not at hand, for whatever reason, is left to such
//! a thread, and so is finding out the reason.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::SystemTime;

use super::super::{Blob, Item, Key, Record};
use super::paths::Paths;
use crate::content::read_at_hand;
use crate::digest::Digest;

/// The largest record that is read while other requests wait.
const MAX_RECORD: u64 = 256 * 1024;

pub(super) fn read(paths: &Paths, key: &Key) -> Option<Record> {
    let file = open(&paths.record(key), For::Reading)?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.len() <= MAX_RECORD)?;
    let mut bytes = vec![0; metadata.len() as usize];
    let read =
        if paths.are_in_memory() { file.read_at(&mut bytes, 0).ok()? } else { read_at_hand(&file, &mut bytes, 0) };
    let is_whole = read == bytes.len();
    is_whole.then_some(Record { bytes: bytes.into(), modified: metadata.modified().ok()? })
}

pub(super) fn find(paths: &Paths, item: &Item) -> Option<SystemTime> {
    open(&paths.item(item), For::Finding)?.metadata().ok()?.modified().ok()
}

pub(super) fn content(paths: &Paths, digest: Digest) -> Option<Blob> {
    Blob::of_file(open(&paths.content(digest), For::Reading)?).ok()
}

/// The file of an upload session, to be read and appended to.
pub(super) fn upload(path: &Path) -> Option<File> {
    open(path, For::Appending)
}

/// What a file is opened for.
#[derive(Clone, Copy)]
enum For {
    Reading,
    Appending,
    /// No more than that it is there, and when it was changed.
    Finding,
}

/// Opens a file, if the system remembers the whole way to it.
#[cfg(target_os = "linux")]
fn open(path: &Path, what_for: For) -> Option<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let access = match what_for {
        For::Reading => OFlags::RDONLY,
        For::Appending => OFlags::RDWR | OFlags::APPEND,
        For::Finding => OFlags::PATH,
    };
    openat2(CWD, path, access | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::CACHED).ok().map(File::from)
}

#[cfg(not(target_os = "linux"))]
fn open(_path: &Path, _what_for: For) -> Option<File> {
    None
}
