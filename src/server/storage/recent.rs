//! Small files that were read lately, whole and in memory, so that what many ask for is not read again for each.
//!
//! Only what is addressed by its digest is kept, contents and manifests, and never a tag. And only the bytes are: that a
//! file is there, the file system says each time, because another process may have removed it, set it aside, or written
//! it anew.

use std::ffi::OsString;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::super::stamp::Stamp;

/// The largest file that is kept, in bytes.
const MAX_SIZE: u64 = 512 * 1024;
/// How many bytes are kept.
const CAPACITY: u64 = 24 * 1024 * 1024;
/// How many bytes may be in memory, those among them that are kept no more, but that slow clients have yet to take.
const ROOM: usize = 32 * 1024 * 1024;
/// What a file costs beside its bytes and its path.
const OVERHEAD: u64 = 256;
/// Into how many parts the cache is divided, so that not all wait for each other. Each has room for several files.
const SHARDS: usize = 4;

/// The files that were read lately.
pub(super) struct Recent {
    /// By path, as it is written: to look at its components would take four times as long.
    files: Cache<OsString, File, Weight>,
    room: Arc<Semaphore>,
}

#[derive(Clone)]
struct File {
    stamp: Stamp,
    bytes: Bytes,
}

#[derive(Clone)]
struct Weight;

impl Weighter<OsString, File> for Weight {
    fn weight(&self, path: &OsString, file: &File) -> u64 {
        (file.bytes.len() + path.len()) as u64 + OVERHEAD
    }
}

impl Recent {
    pub(super) fn new() -> Arc<Self> {
        let mut options = OptionsBuilder::new();
        options.shards(SHARDS).weight_capacity(CAPACITY).estimated_items_capacity(4096);
        // All that it needs to know has been said on the line above.
        let options = options.build().expect("the options are complete");
        let files = Cache::with_options(options, Weight, DefaultHashBuilder::default(), DefaultLifecycle::default());
        Arc::new(Self { files, room: Arc::new(Semaphore::new(ROOM)) })
    }

    /// What the file at `path` has in it, and when it was last written or renewed, if it is kept and the file is still
    /// there as it was. The file system has just told of the file, and so remembers it in all likelihood.
    pub(super) fn get(&self, path: &Path) -> Option<(Bytes, SystemTime)> {
        let file = self.files.get(path.as_os_str())?;
        let metadata = std::fs::metadata(path).ok();
        let Some(metadata) = metadata.filter(|metadata| Stamp::of(metadata) == file.stamp) else {
            self.files.remove(path.as_os_str());
            return None;
        };
        Some((file.bytes, metadata.modified().ok()?))
    }

    /// A place for the file at `path`, if it is small enough. `metadata` is the open file's.
    pub(super) fn place(self: &Arc<Self>, path: PathBuf, metadata: &Metadata) -> Option<Place> {
        (metadata.len() <= MAX_SIZE).then(|| Place { recent: Arc::clone(self), path, stamp: Stamp::of(metadata) })
    }
}

/// Where a file can be kept once it has been read whole.
#[derive(Clone)]
pub(super) struct Place {
    recent: Arc<Recent>,
    path: PathBuf,
    stamp: Stamp,
}

impl Place {
    /// Room for `size` bytes, if there is any now.
    pub(super) fn room(&self, size: u64) -> Option<Room> {
        let permits = u32::try_from(size).ok()?;
        Some(Room(Arc::clone(&self.recent.room).try_acquire_many_owned(permits).ok()?))
    }

    /// Keeps the file's bytes.
    pub(super) fn keep(self, room: Room, bytes: Bytes) -> Bytes {
        let bytes = Bytes::from_owner(Held { bytes, _room: room });
        self.recent.files.insert(self.path.into_os_string(), File { stamp: self.stamp, bytes: bytes.clone() });
        bytes
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Place").field(&self.path).finish()
    }
}

/// Room in memory, until it is dropped.
pub(super) struct Room(#[expect(dead_code, reason = "it is given back when it is dropped")] OwnedSemaphorePermit);

/// Bytes that have room as long as anybody has them.
struct Held {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Puts a file of `size` bytes there, and keeps it, if there is a place and room.
    fn keep(recent: &Arc<Recent>, path: &Path, size: usize) -> Option<Bytes> {
        fs::write(path, vec![1; size]).unwrap();
        let place = recent.place(path.to_owned(), &fs::metadata(path).unwrap())?;
        Some(place.clone().keep(place.room(size as u64)?, fs::read(path).unwrap().into()))
    }

    #[test]
    fn what_is_kept_is_found_only_as_long_as_its_file_is_there_as_it_was() {
        let home = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (home.path().join("file"), home.path().join("elsewhere"));
        let recent = Recent::new();
        assert_eq!(recent.get(&path), None);
        keep(&recent, &path, 3).unwrap();
        assert_eq!(recent.get(&path).unwrap().0, [1, 1, 1][..]);

        fs::rename(&path, &elsewhere).unwrap();
        assert_eq!(recent.get(&path), None, "it was set aside");
        keep(&recent, &path, 3).unwrap();
        fs::write(&elsewhere, "new").unwrap();
        fs::rename(&elsewhere, &path).unwrap();
        assert_eq!(recent.get(&path), None, "it was written anew");
        keep(&recent, &path, 3).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(recent.get(&path), None, "it was removed");
    }

    #[test]
    fn memory_is_bounded_also_when_nobody_gives_it_back() {
        let home = tempfile::tempdir().unwrap();
        let path = |number: usize| home.path().join(number.to_string());
        let (recent, size) = (Recent::new(), MAX_SIZE as usize);
        assert!(keep(&recent, &path(0), size + 1).is_none(), "it is too large");
        for number in 0..2 * ROOM / size {
            keep(&recent, &path(number), size).expect("what nobody has any more makes room");
        }
        let held: Vec<Bytes> = (0..2 * ROOM / size).map_while(|number| keep(&recent, &path(number), size)).collect();
        assert!(held.len() <= ROOM / size, "{} files are in memory", held.len());
        drop(held);
        assert!(keep(&recent, &path(0), size).is_some());
    }
}
