//! Records as files: read at once, written whole, changed by one at a time; and what becomes of items that are set aside.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW};

use super::super::{Blob, Condition, Error, Item, Key, Round};
use super::paths::Paths;
use super::{durable, found, listing};
use crate::digest::Digest;

pub(super) fn read(paths: &Paths, key: &Key) -> Result<Option<Bytes>, Error> {
    found(fs::read(paths.record(key)).map(Bytes::from)).map_err(Error::io(format_args!("read {key}")))
}

pub(super) fn find(paths: &Paths, item: &Item) -> Result<Option<SystemTime>, Error> {
    modified(&paths.item(item)).map_err(Error::io(format_args!("find {item}")))
}

/// When the file was last written or renewed, if it is there.
pub(super) fn modified(path: &Path) -> io::Result<Option<SystemTime>> {
    found(fs::metadata(path).and_then(|metadata| metadata.modified()))
}

pub(super) fn open(paths: &Paths, digest: Digest) -> Result<Option<Blob>, Error> {
    let blob = File::open(paths.content(digest)).and_then(Blob::of_file);
    found(blob).map_err(Error::io(format_args!("open content {digest}")))
}

pub(super) fn write(paths: &Paths, key: &Key, bytes: &[u8], condition: &Condition) -> Result<bool, Error> {
    let path = paths.record(key);
    let write = || match condition {
        Condition::Any if bytes.is_empty() => touch(&path).map(|()| true),
        Condition::Absent if bytes.is_empty() => durable::create_empty(&path),
        _ => write_file(paths, key, &path, bytes, condition),
    };
    write().map_err(Error::io(format_args!("write {key}")))
}

/// Makes an empty file, or lets the one that is there be as if it had been made now.
fn touch(path: &Path) -> io::Result<()> {
    // Between the two, somebody may have set it aside.
    while !durable::create_empty(path)? && !touch_existing(path)? {}
    Ok(())
}

/// What takes long is done before the lock is taken and after it is given up.
fn write_file(paths: &Paths, key: &Key, path: &Path, bytes: &[u8], condition: &Condition) -> io::Result<bool> {
    if *condition == Condition::Absent && path.try_exists()? {
        return Ok(false);
    }
    let prepared = durable::prepare(&paths.temporary(), bytes)?;
    match condition {
        Condition::Absent => durable::link(&prepared, path),
        Condition::Any | Condition::Is(_) => {
            let _lock = lock(paths, key)?;
            let holds = holds(path, condition)?;
            if holds {
                durable::replace(prepared, path)?;
            }
            Ok(holds)
        }
    }
}

pub(super) fn remove(paths: &Paths, key: &Key, condition: &Condition) -> Result<bool, Error> {
    let path = paths.record(key);
    let remove = || {
        // What is not there makes no lock either.
        if !path.try_exists()? {
            return Ok(false);
        }
        let _lock = lock(paths, key)?;
        Ok(holds(&path, condition)? && durable::remove(&path)?)
    };
    let removed = remove().map_err(Error::io(format_args!("remove {key}")))?;
    durable::prune(&path, &paths.repositories());
    Ok(removed)
}

pub(super) fn renew(paths: &Paths, item: &Item) -> Result<bool, Error> {
    touch_existing(&paths.item(item)).map_err(Error::io(format_args!("renew {item}")))
}

fn touch_existing(path: &Path) -> io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let times = Timestamps { last_access: now, last_modification: now };
    let touched = rustix::fs::utimensat(CWD, path, &times, AtFlags::empty());
    Ok(found(touched.map_err(io::Error::from))?.is_some())
}

fn holds(path: &Path, condition: &Condition) -> io::Result<bool> {
    match condition {
        Condition::Any => Ok(true),
        Condition::Absent | Condition::Is(_) => Ok(condition.holds(found(fs::read(path))?.as_deref())),
    }
}

/// Waits until nobody else changes the record, in this process or in another. The kernel gives the lock up with the
/// file, and so also when the process is killed.
fn lock(paths: &Paths, key: &Key) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(paths.lock(key))?;
    file.lock()?;
    Ok(file)
}

pub(super) fn set_aside(paths: &Paths, round: &Round, item: &Item) -> Result<Option<SystemTime>, Error> {
    let (from, to) = (paths.item(item), paths.aside(round).item(item));
    let set_aside = || {
        // What is not there makes no directories.
        let Some(modified) = modified(&from)? else { return Ok(None) };
        if found(durable::rename(&from, &to))?.is_none() {
            durable::prune(&to, &paths.rounds());
            return Ok(None);
        }
        // It may have been written anew since it was looked at, and somebody may have restored it already.
        Ok(Some(self::modified(&to)?.unwrap_or(modified)))
    };
    let modified = set_aside().map_err(Error::io(format_args!("set aside {item}")))?;
    prune(paths, item);
    Ok(modified)
}

pub(super) fn restore(paths: &Paths, item: &Item) -> Result<bool, Error> {
    let restore = || {
        let mut restored = false;
        for round in listing::rounds(paths)? {
            let aside = paths.aside(&round).item(item);
            // First the new name and then not the old one: it is always found in one of the places.
            if found(link_back(&aside, &paths.item(item)))?.is_some() {
                restored = true;
                found(fs::remove_file(&aside))?;
            }
            durable::prune(&aside, &paths.rounds());
        }
        Ok(restored)
    };
    restore().map_err(Error::io(format_args!("restore {item}")))
}

fn link_back(aside: &Path, path: &Path) -> io::Result<()> {
    // What is not there makes no directories.
    fs::metadata(aside)?;
    durable::link(aside, path).map(drop)
}

pub(super) fn discard(paths: &Paths, round: &Round, item: &Item) -> Result<Option<u64>, Error> {
    let path = paths.aside(round).item(item);
    let discard = || {
        let Some(file) = found(File::open(&path))? else { return Ok(None) };
        let is_removed = durable::remove(&path)?;
        let metadata = file.metadata()?;
        // One that has a name yet has just been given it back by somebody, who comes too late to remove the other one.
        Ok((is_removed && metadata.nlink() == 0).then_some(metadata.len()))
    };
    let freed = discard().map_err(Error::io(format_args!("discard {item}")))?;
    durable::prune(&path, &paths.rounds());
    Ok(freed)
}

/// Removes the empty directories that an item has left. Those of contents are few, and stay.
fn prune(paths: &Paths, item: &Item) {
    if let Item::Record(key) = item {
        durable::prune(&paths.record(key), &paths.repositories());
    }
}
