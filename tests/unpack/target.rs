//! The target: it appears whole or not at all, whatever happens on the way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bndlr::content::{self, ErrorKind, Observer, Open, Outcome, Reader};
use bndlr::manifest::{Descriptor, media_type};
use bndlr::unpack::{self, Error, UnpackOptions};

use super::archives::ours::{Layer, dir, file};
use super::archives::{Image, Tar, snapshot};

#[tokio::test]
async fn the_target_has_to_be_new_or_empty() {
    let parent = tempfile::tempdir().unwrap();
    let mut image = Layer::of(&[file("new", "")]).image();
    let target = |name: &str| parent.path().join(name);
    fs::create_dir(target("empty")).unwrap();
    image.unpack(&target("empty")).await.unwrap();
    assert!(target("empty/new").is_file());

    fs::create_dir(target("full")).unwrap();
    fs::write(target("full/mine"), "").unwrap();
    fs::write(target("file"), "").unwrap();
    std::os::unix::fs::symlink("nowhere", target("dangling")).unwrap();
    let before = snapshot(parent.path());
    for name in ["full", "file", "empty", "dangling"] {
        let error = content::Error::from(image.unpack(&target(name)).await.unwrap_err());
        assert_eq!(error.kind(), ErrorKind::Local, "{name}");
        assert!(error.to_string().contains(name), "{error}");
    }
    assert_eq!(snapshot(parent.path()), before);

    fs::create_dir(target("shared")).unwrap();
    fs::set_permissions(target("shared"), fs::Permissions::from_mode(0o2775)).unwrap();
    Layer::of(&[dir("a"), dir("a/b")]).image().unpack(&target("shared/t")).await.unwrap();
    let modes: Vec<_> = snapshot(&target("shared/t")).into_values().collect();
    assert_eq!(modes, ["directory 755"; 3], "the set-group-ID bit of the directory around it is inherited");

    std::os::unix::fs::symlink("behind", target("link")).unwrap();
    fs::create_dir(target("behind")).unwrap();
    image.unpack(&target("link")).await.unwrap();
    assert!(target("behind/new").is_file());
}

#[tokio::test]
async fn directories_that_nobody_can_enter_are_removed_after_an_error() {
    let tar = Tar::new()
        .entry("d", b'5', 0o500, "", b"")
        .entry("d/e", b'5', 0o000, "", b"")
        .entry("d/e/f", b'0', 0o000, "", b"");
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("t");
    let mut image = Image::of(tar);
    let manifest = image.manifest();
    // Somebody else takes the name while the layer is on its way, so that all is done but the last step.
    let image = Meanwhile(image, target.clone());
    let error = unpack::unpack(&image, &manifest, &target, &UnpackOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::Occupied(_)), "{error}");
    let left: Vec<_> = snapshot(parent.path()).into_keys().collect();
    assert_eq!(left, ["", "t", "t/mine"]);
}

/// Makes the target before it yields the last layer.
struct Meanwhile(Image, PathBuf);

#[async_trait::async_trait]
impl Open for Meanwhile {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        let parent = self.1.parent().unwrap();
        while descriptor.media_type != media_type::OCI_CONFIG && fs::read_dir(parent).unwrap().count() == 0 {
            tokio::task::yield_now().await;
        }
        if descriptor.media_type != media_type::OCI_CONFIG {
            fs::create_dir(&self.1).unwrap();
            fs::write(self.1.join("mine"), "").unwrap();
        }
        self.0.open(descriptor).await
    }
}

/// A blob that never ends, or fails in its middle.
struct Broken(Image, bool);

#[async_trait::async_trait]
impl Open for Broken {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        if descriptor.media_type == media_type::OCI_CONFIG {
            return self.0.open(descriptor).await;
        }
        let front = self.0.blobs[&descriptor.digest].slice(..descriptor.size as usize / 2);
        let front = futures::stream::iter([Ok(front)]);
        let error = || content::Error::new(ErrorKind::Remote, "connection reset");
        Ok(if self.1 {
            Reader::new(descriptor, futures::StreamExt::chain(front, futures::stream::iter([Err(error())])))
        } else {
            Reader::new(descriptor, futures::StreamExt::chain(front, futures::stream::pending()))
        })
    }
}

#[tokio::test]
async fn a_source_that_fails_leaves_nothing_and_its_own_error() {
    let parent = tempfile::tempdir().unwrap();
    let mut image = Layer::of(&[dir("a"), file("a/b", (0..=255).collect::<Vec<u8>>().repeat(999))]).image();
    let manifest = image.manifest();
    let target = parent.path().join("not/there/t");
    let error = unpack::unpack(&Broken(image, true), &manifest, &target, &UnpackOptions::default()).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string()), (ErrorKind::Remote, "connection reset".into()));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0, "directories on the way are left");
}

#[test]
fn dropping_the_future_stops_the_thread_and_removes_what_it_wrote() {
    let parent = tempfile::tempdir().unwrap();
    let mut image = Layer::of(&[dir("a"), file("a/b", (0..=255).collect::<Vec<u8>>().repeat(9999))]).image();
    let manifest = image.manifest();
    let target = parent.path().join("t");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let (source, options) = (Broken(image, false), UnpackOptions::default());
        let unpacking = unpack::unpack(&source, &manifest, &target, &options);
        let begun = async {
            while fs::read_dir(parent.path()).unwrap().count() == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            result = unpacking => panic!("{result:?}"),
            () = begun => {}
        }
    });
    // This waits for the thread.
    drop(runtime);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[derive(Default)]
struct Counting(AtomicU64, AtomicU64);

impl Observer for Counting {
    fn advanced(&self, _: &Descriptor, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn finished(&self, _: &Descriptor, _: Outcome) {
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn an_observer_sees_every_byte_of_every_layer() {
    let parent = tempfile::tempdir().unwrap();
    let mut image = Image::of(Tar::new().file("a", "")).gzip(Tar::new().file("b", ""));
    let manifest = image.manifest();
    let observer = Arc::new(Counting::default());
    let options = UnpackOptions { observer: observer.clone(), ..UnpackOptions::default() };
    unpack::unpack(&image, &manifest, &parent.path().join("t"), &options).await.unwrap();
    let size: u64 = image.layers.iter().map(|layer| layer.size).sum();
    assert_eq!((observer.0.load(Ordering::Relaxed), observer.1.load(Ordering::Relaxed)), (size, 2));
}
