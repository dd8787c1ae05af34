//! What the system has in memory: that is read where a request is answered, because to hand it to a thread that may wait
//! takes longer than to read it. Nothing here waits for a disk, but for a `stat` of what was read lately, which the system
//! remembers in all likelihood. What is not at hand, for whatever reason, is left to such
//! a thread, and so is finding out the reason.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::super::recent::Recent;
use super::super::{Blob, Item, Key};
use super::paths::Paths;
use crate::content::read_at_hand;
use crate::digest::Digest;

/// The largest manifest that is read while other requests wait.
const MAX_MANIFEST: u64 = 256 * 1024;
/// What a small record has less of: a tag, and most referrers. All of it is in the first block of its file.
const SMALL: usize = 512;

/// A record's value. A manifest's may be kept in memory, because its digest says what it is; a tag is read each time.
pub(super) fn read(paths: &Paths, recent: &Arc<Recent>, key: &Key) -> Option<Bytes> {
    match key {
        Key::Manifest(..) => manifest(paths, recent, key),
        Key::Blob(..) | Key::Tag(..) | Key::Referrer(..) => small_record(paths, key),
    }
}

fn manifest(paths: &Paths, recent: &Arc<Recent>, key: &Key) -> Option<Bytes> {
    let path = paths.record(key);
    if let Some((bytes, _)) = recent.get(&path) {
        return Some(bytes);
    }
    let file = open(&path, For::Reading)?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.len() <= MAX_MANIFEST)?;
    let mut bytes = vec![0; metadata.len() as usize];
    if read_into(&mut bytes, paths, &file) < bytes.len() {
        return None;
    }
    let place = recent.place(path, &metadata)?;
    Some(match place.room(metadata.len()) {
        Some(room) => place.keep(room, bytes.into()),
        None => bytes.into(),
    })
}

/// It takes one read, with no question about its size first. What is as large as that may be larger, and nothing may
/// mean that nothing is at hand.
fn small_record(paths: &Paths, key: &Key) -> Option<Bytes> {
    let file = open(&paths.record(key), For::Reading)?;
    let mut buffer = [0; SMALL];
    let read = read_into(&mut buffer, paths, &file);
    (0 < read && read < SMALL).then(|| Bytes::copy_from_slice(&buffer[..read]))
}

/// Reads what is at hand of a file, and says how many bytes that is.
fn read_into(buffer: &mut [u8], paths: &Paths, file: &File) -> usize {
    if paths.are_in_memory() { file.read_at(buffer, 0).unwrap_or(0) } else { read_at_hand(file, buffer, 0) }
}

pub(super) fn find(paths: &Paths, item: &Item) -> Option<SystemTime> {
    open(&paths.item(item), For::Finding)?.metadata().ok()?.modified().ok()
}

pub(super) fn content(paths: &Paths, recent: &Arc<Recent>, digest: Digest) -> Option<Blob> {
    let path = paths.content(digest);
    if let Some((bytes, _)) = recent.get(&path) {
        return Some(Blob::of_bytes(bytes));
    }
    let file = open(&path, For::Reading)?;
    let metadata = file.metadata().ok()?;
    Some(Blob::of_file(file).ok()?.kept(recent.place(path, &metadata)))
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::{Filesystem, records};
    use super::*;
    use crate::server::storage::{Condition, Storage};
    use bytes::Bytes;
    use futures::TryStreamExt;
    use std::path::PathBuf;

    const NAME: &str = "a/b";

    /// Directories on a disk, or what passes for one here, and in memory.
    fn roots() -> Vec<tempfile::TempDir> {
        let places = [PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target"), "/dev/shm".into()];
        places.iter().filter_map(|place| tempfile::tempdir_in(place).ok()).collect()
    }

    #[tokio::test]
    async fn what_was_just_written_is_at_hand() {
        for root in roots() {
            let storage = Filesystem::open(root.path()).unwrap();
            let paths = &storage.paths;
            let tag = Key::Tag(NAME.parse().unwrap(), "v1".parse().unwrap());
            storage.write(&tag, "value".into(), Condition::Any).await.unwrap();
            // Asking for it the long way is what makes the system remember the way.
            records::read(paths, &tag).unwrap().unwrap();
            assert_eq!(read(paths, &storage.recent, &tag).unwrap(), "value", "{}", root.path().display());
            assert!(find(paths, &tag.clone().into()).is_some());
        }
    }

    #[tokio::test]
    async fn a_manifest_is_kept_until_anybody_removes_it_and_a_tag_is_not() {
        for root in roots() {
            let [storage, other] = [(), ()].map(|()| Filesystem::open(root.path()).unwrap());
            let (paths, recent) = (&storage.paths, &storage.recent);
            let manifest = Key::Manifest(NAME.parse().unwrap(), Digest::sha256(b"manifest"));
            let tag = Key::Tag(NAME.parse().unwrap(), "v1".parse().unwrap());
            for key in [&manifest, &tag] {
                storage.write(key, "value".into(), Condition::Any).await.unwrap();
                records::read(paths, key).unwrap().unwrap();
                assert_eq!(read(paths, recent, key).unwrap(), "value", "{key}");
            }
            assert_eq!(recent.get(&paths.record(&manifest)).unwrap().0, "value");
            assert_eq!(recent.get(&paths.record(&tag)), None);
            other.remove(&manifest, Condition::Any).await.unwrap();
            assert_eq!(read(paths, recent, &manifest), None);
            assert_eq!(storage.read(&manifest).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_record_is_read_whole_whether_it_is_small_or_not() {
        for root in roots() {
            let storage = Filesystem::open(root.path()).unwrap();
            let subject = Digest::sha256(b"subject");
            for size in [0, 1, SMALL - 1, SMALL, SMALL + 1, 10 * SMALL] {
                let key = Key::Referrer(NAME.parse().unwrap(), subject, Digest::sha256(&size.to_be_bytes()));
                let value = Bytes::from(vec![b'x'; size]);
                storage.write(&key, value.clone(), Condition::Any).await.unwrap();
                records::read(&storage.paths, &key).unwrap().unwrap();
                assert_eq!(storage.read(&key).await.unwrap().unwrap(), value, "{size} bytes");
            }
        }
    }

    #[tokio::test]
    async fn a_content_is_kept_once_it_was_read_whole() {
        for root in roots() {
            let storage = Filesystem::open(root.path()).unwrap();
            let (paths, recent) = (&storage.paths, &storage.recent);
            let digest = Digest::sha256(b"content");
            let path = paths.content(digest);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, b"content").unwrap();
            let open = || content(paths, recent, digest).unwrap();
            let part: Vec<Bytes> = open().read(1..3).try_collect().await.unwrap();
            assert_eq!(part.concat(), b"on");
            assert_eq!(recent.get(&path), None, "who asks for its size or a part of it needs no memory");
            let whole: Vec<Bytes> = open().read(0..7).try_collect().await.unwrap();
            assert_eq!(whole.concat(), b"content");
            assert_eq!(recent.get(&path).unwrap().0, "content");
            let part: Vec<Bytes> = open().read(1..3).try_collect().await.unwrap();
            assert_eq!(part.concat(), b"on");
        }
    }
}
