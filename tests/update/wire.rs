//! What goes over the wire for an update, counted there.

use std::fs;
use std::path::Path;

use bndlr::content::{CopyOptions, Source, copy};
use bndlr::pack::{PackOptions, Selection, scan};
use bndlr::reference::Tag;
use bndlr::unpack::{Outcome, UpdateOptions, Updated};

use crate::archives::snapshot;
use crate::embedded::Embedded;
use crate::fake::repository;
use crate::meter::{Change, Meter};
use crate::model::{Site, without_top};
use crate::program::noise;
use crate::trees::{self, Tree};

/// A registry, and a wire to it.
struct Scene {
    registry: Embedded,
    meter: Meter,
    site: Site,
}

impl Scene {
    async fn new(change: Change) -> Self {
        let registry = Embedded::in_memory().await;
        let meter = Meter::start(registry.address().parse().unwrap(), change).await;
        Self { registry, meter, site: Site::new() }
    }

    /// Pushes the directory, and says how large the layer is.
    async fn push(&self, directory: &Path, tag: &str) -> u64 {
        let tree = scan(directory, &Selection::default()).unwrap();
        let bundle = tree.pack(&PackOptions::default(), &|_| ()).unwrap();
        let (digest, to) =
            (bundle.raw_manifest().digest().into(), repository(&self.registry.address().parse().unwrap()));
        copy(&bundle, &digest, &to, &[tag.parse().unwrap()], &CopyOptions::default()).await.unwrap();
        bundle.layers()[0].size
    }

    /// Updates to what the tag names, and says how many bytes came.
    async fn update(&self, tag: &str) -> (Updated, u64) {
        self.meter.take();
        self.meter.requests();
        let repository = repository(&self.meter.address);
        let manifest = repository.manifest(&tag.parse::<Tag>().unwrap().into()).await.unwrap();
        let updated = self.site.update_from(&repository, &manifest, UpdateOptions::default()).await.unwrap();
        (updated, self.meter.take())
    }
}

#[tokio::test]
async fn one_changed_file_of_four_thousand_takes_a_twentieth_of_the_layer() {
    let (scene, directory) = (Scene::new(|_| ()).await, tempfile::tempdir().unwrap());
    trees::generate(Tree::Charts, directory.path()).unwrap();
    scene.push(directory.path(), "v1").await;
    let (pulled, _) = scene.update("v1").await;
    assert_eq!(pulled.outcome, Outcome::Pulled);

    let files = snapshot(directory.path()).into_iter().filter(|(_, what)| what.starts_with("file"));
    let path = directory.path().join(files.map(|(path, _)| path).nth(2000).unwrap());
    let mut contents = fs::read(&path).unwrap();
    contents.extend_from_slice(b"changed\n");
    fs::write(&path, contents).unwrap();
    let layer = scene.push(directory.path(), "v2").await;
    let (updated, bytes) = scene.update("v2").await;
    assert_eq!(updated.outcome, Outcome::Updated);
    println!("layer {layer}, {bytes} bytes on the wire, {} of them counted", updated.unpacked.bytes_fetched);
    assert!(bytes * 20 <= layer, "{bytes} bytes, of a layer of {layer}");
    // The manifest, the index, and one member.
    assert_eq!(scene.meter.requests().len(), 3);
    assert!(snapshot(&scene.site.target()) == snapshot(directory.path()));

    let (unchanged, bytes) = scene.update("v2").await;
    assert_eq!((unchanged.outcome, unchanged.unpacked.bytes_fetched), (Outcome::Unchanged, 0));
    assert_eq!(scene.meter.requests().len(), 1, "the manifest, and nothing else: {bytes}");
    let (back, bytes) = scene.update("v1").await;
    assert_eq!(back.outcome, Outcome::Updated);
    assert!(bytes * 20 <= layer, "{bytes} bytes to go back");
}

#[tokio::test]
async fn of_a_large_file_only_what_has_changed_is_fetched() {
    let (scene, directory) = (Scene::new(|_| ()).await, tempfile::tempdir().unwrap());
    let mut contents = noise(8_000_000);
    fs::write(directory.path().join("large"), &contents).unwrap();
    scene.push(directory.path(), "v1").await;
    scene.update("v1").await;
    contents[4_000_000] ^= 1;
    fs::write(directory.path().join("large"), &contents).unwrap();
    scene.push(directory.path(), "v2").await;
    let (updated, bytes) = scene.update("v2").await;
    assert_eq!(updated.outcome, Outcome::Updated);
    assert!(bytes < 1_200_000, "{bytes}");
    assert!(fs::read(scene.site.target().join("large")).unwrap() == contents);
}

#[tokio::test]
async fn a_large_file_grows_and_shrinks_by_zeros_that_the_archive_would_fill_it_up_with() {
    let (scene, directory) = (Scene::new(|_| ()).await, tempfile::tempdir().unwrap());
    let noise = noise(2_000_000);
    for (number, zeros) in [0, 100, 60, 700, 1500, 0].into_iter().enumerate() {
        let contents = [&noise[..], &vec![0; zeros]].concat();
        fs::write(directory.path().join("large"), &contents).unwrap();
        if number > 2 {
            fs::write(directory.path().join("next"), "").unwrap();
        }
        let tag = format!("v{number}");
        scene.push(directory.path(), &tag).await;
        scene.update(&tag).await;
        assert!(fs::read(scene.site.target().join("large")).unwrap() == contents, "{zeros}");
    }
}

/// Takes `Range` out of a request.
fn without_range(head: &mut Vec<u8>) {
    let text = String::from_utf8(head.clone()).unwrap();
    let lines = text.split_inclusive("\r\n").filter(|line| !line.to_lowercase().starts_with("range:"));
    *head = lines.collect::<String>().into_bytes();
}

#[tokio::test]
async fn a_registry_that_knows_no_ranges_sends_the_layer_once() {
    let (scene, directory) = (Scene::new(without_range).await, tempfile::tempdir().unwrap());
    for number in 0..5 {
        fs::write(directory.path().join(number.to_string()), &noise(3_000_000)[number * 500_000..][..500_000]).unwrap();
    }
    scene.push(directory.path(), "v1").await;
    scene.update("v1").await;
    let before = scene.site.look().1;
    fs::write(directory.path().join("3"), "new").unwrap();
    let layer = scene.push(directory.path(), "v2").await;
    let (updated, bytes) = scene.update("v2").await;
    assert_eq!((updated.outcome, scene.meter.requests().len()), (Outcome::Updated, 2));
    assert!(bytes < layer + 10_000, "{bytes}");
    let (seen, after) = scene.site.look();
    assert_eq!(without_top(seen), without_top(snapshot(directory.path())));
    assert_eq!(before.iter().filter(|(path, stat)| after[*path] != **stat).count(), 1);
}
