//! What goes over the wire, counted there.

use std::path::Path;

use bndlr::bundle::{Entry, Indexed, Kind};
use bndlr::compare::{self, Depth, Difference, Sides};
use bndlr::content::{CopyOptions, Source, copy};
use bndlr::pack::{Bundle, PackOptions, Selection, scan};
use bndlr::reference::Tag;
use bndlr::unpack::{Include, UnpackOptions, unpack_part};
use futures::TryStreamExt;

use crate::embedded::Embedded;
use crate::fake::repository;
use crate::meter::{Change, Meter};
use crate::trees::{self, Tree};

fn v1() -> Tag {
    "v1".parse().unwrap()
}

fn pack(directory: &Path) -> Bundle {
    scan(directory, &Selection::default()).unwrap().pack(&PackOptions::default(), &|_| ()).unwrap()
}

/// A registry that has the bundle, and a wire to it.
async fn behind(bundle: &Bundle, change: Change) -> (Embedded, Meter) {
    let registry = Embedded::in_memory().await;
    let address = registry.address().parse().unwrap();
    let digest = bundle.raw_manifest().digest().into();
    copy(bundle, &digest, &repository(&address), &[v1()], &CopyOptions::default()).await.unwrap();
    let meter = Meter::start(address, change).await;
    (registry, meter)
}

fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind(), Kind::File { .. })
}

/// The contents of some entries, read as a program reads them that has just been started.
async fn read(meter: &Meter, paths: &[&str]) -> Vec<u8> {
    let repository = repository(&meter.address);
    let manifest = repository.manifest(&v1().into()).await.unwrap();
    let bundle = Indexed::open(&repository, &manifest).await.unwrap().unwrap();
    let wanted: Vec<_> =
        bundle.entries().enumerate().filter(|(_, entry)| paths.contains(&entry.path())).map(|(at, _)| at).collect();
    let pieces: Vec<_> = bundle.contents(&repository, &wanted).try_collect().await.unwrap();
    pieces.iter().flat_map(|piece| piece.bytes.to_vec()).collect()
}

#[tokio::test]
async fn one_file_of_four_thousand_takes_a_hundredth_of_the_layer() {
    let directory = tempfile::tempdir().unwrap();
    trees::generate(Tree::Charts, directory.path()).unwrap();
    let bundle = pack(directory.path());
    let layer = bundle.layers()[0].size;
    let (_registry, meter) = behind(&bundle, |_| ()).await;
    let repository = repository(&meter.address);
    let manifest = repository.manifest(&v1().into()).await.unwrap();
    let indexed = Indexed::open(&repository, &manifest).await.unwrap().unwrap();
    let index = indexed.fetched();
    assert!(index * 1000 <= layer * 5, "an index of {index} bytes in a layer of {layer}");

    meter.take();
    meter.requests();
    let files: Vec<&str> = indexed.entries().filter(|entry| is_file(entry)).map(Entry::path).step_by(40).collect();
    assert_eq!(files.len(), 100);
    let mut bytes = 0;
    for path in &files {
        let found = read(&meter, &[path]).await;
        assert!(found == std::fs::read(directory.path().join(path)).unwrap(), "{path}");
        bytes += meter.take();
        // The manifest, the index, and what it is for.
        let requests = meter.requests();
        assert_eq!(requests.len(), 3, "{requests:#?}");
    }
    let average = bytes / files.len() as u64;
    println!("layer {layer}, index {index}, {average} bytes on the wire for a file");
    assert!(average * 100 <= layer, "{average} bytes on average, of a layer of {layer}");
}

/// Twelve files of incompressible bytes, each in a member of its own, and one that takes five.
fn noise(directory: &Path) {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    for number in 0..12 {
        let length = if number == 5 { 5_000_000 } else { 700_000 };
        let bytes: Vec<u8> = (0..length).map(|_| next()).collect();
        std::fs::write(directory.join(format!("{number:02}")), bytes).unwrap();
    }
}

#[tokio::test]
async fn what_is_asked_for_one_after_the_other_comes_over_one_connection() {
    let directory = tempfile::tempdir().unwrap();
    noise(directory.path());
    let (_registry, meter) = behind(&pack(directory.path()), |_| ()).await;
    read(&meter, &["01"]).await;
    // The manifest, the index, the member.
    assert_eq!((meter.requests().len(), meter.connections()), (3, 1));
}

#[tokio::test]
async fn members_that_follow_each_other_are_asked_for_together() {
    let directory = tempfile::tempdir().unwrap();
    noise(directory.path());
    let bundle = pack(directory.path());
    let (_registry, meter) = behind(&bundle, |_| ()).await;
    for (paths, ranges, megabytes) in
        [(&["01", "02"][..], 1, 2), (&["01", "03"], 2, 2), (&["05"], 3, 6), (&["00", "01", "02", "03"], 2, 3)]
    {
        let expected: Vec<u8> =
            paths.iter().flat_map(|path| std::fs::read(directory.path().join(path)).unwrap()).collect();
        meter.take();
        meter.requests();
        assert!(read(&meter, paths).await == expected, "{paths:?}");
        let (requests, bytes) = (meter.requests(), meter.take());
        assert_eq!(requests.len(), 2 + ranges, "{paths:?}: {requests:#?}");
        assert!(bytes < megabytes * 1_000_000, "{paths:?}: {bytes}");
    }
    let repository = repository(&meter.address);
    let manifest = repository.manifest(&v1().into()).await.unwrap();
    let (target, include) = (directory.path().join("out"), Include::new(["/02", "/11"]).unwrap());
    meter.take();
    let unpacked = unpack_part(&repository, &manifest, &target, &include, &UnpackOptions::default()).await.unwrap();
    assert_eq!((unpacked.files, unpacked.bytes), (2, 1_400_000));
    let wire = meter.take();
    assert!(wire < 1_500_000 && wire > unpacked.bytes_fetched, "{wire} for {unpacked:?}");
    assert_eq!(std::fs::read(target.join("11")).unwrap(), std::fs::read(directory.path().join("11")).unwrap());
}

/// Takes `Range` out of a request.
fn without_range(head: &mut Vec<u8>) {
    let text = String::from_utf8(head.clone()).unwrap();
    let lines = text.split_inclusive("\r\n").filter(|line| !line.to_lowercase().starts_with("range:"));
    *head = lines.collect::<String>().into_bytes();
}

#[tokio::test]
async fn a_registry_that_knows_no_ranges_sends_the_layer_once() {
    let directory = tempfile::tempdir().unwrap();
    noise(directory.path());
    let bundle = pack(directory.path());
    let (_registry, meter) = behind(&bundle, without_range).await;
    let expected: Vec<u8> =
        ["01", "05", "09"].iter().flat_map(|path| std::fs::read(directory.path().join(path)).unwrap()).collect();
    assert!(read(&meter, &["01", "05", "09"]).await == expected);
    let (requests, bytes) = (meter.requests(), meter.take());
    assert_eq!(requests.len(), 2, "{requests:#?}");
    assert!(bytes < bundle.layers()[0].size + 10_000, "{bytes}");
}

#[tokio::test]
async fn of_two_bundles_only_members_that_differ_are_compared() {
    let directory = tempfile::tempdir().unwrap();
    noise(directory.path());
    let (_first, old) = behind(&pack(directory.path()), |_| ()).await;
    let mut changed = std::fs::read(directory.path().join("03")).unwrap();
    changed[350_000] ^= 1;
    std::fs::write(directory.path().join("03"), changed).unwrap();
    let mut changed = std::fs::read(directory.path().join("05")).unwrap();
    changed[2_000_000] ^= 1;
    std::fs::write(directory.path().join("05"), changed).unwrap();
    let (_second, new) = behind(&pack(directory.path()), |_| ()).await;
    let sides = Sides::new(UnpackOptions::default());
    let side = async |meter: &Meter| {
        let repository = repository(&meter.address);
        let manifest = repository.manifest(&v1().into()).await.unwrap();
        sides.image(Box::new(repository), &manifest).await.unwrap()
    };
    let local = sides.directory(directory.path(), &Selection::default()).await.unwrap();
    let (a, b) = (side(&old).await, side(&new).await);
    for (a, b, expected) in [(&a, &b, &["03", "05"][..]), (&a, &local, &["03", "05"]), (&b, &local, &[])] {
        old.take();
        new.take();
        let mut found = Vec::new();
        let visit = |difference: Difference| {
            found.push(difference.new.unwrap().path.to_str().unwrap().to_owned());
            Ok::<(), compare::Error>(())
        };
        assert_eq!(compare::compare(a, b, Depth::Texts, visit).await.unwrap(), !expected.is_empty());
        assert_eq!(found, expected);
        // One member has 03. Those of 05 are many, and say enough.
        assert!(old.take() < 800_000 && new.take() < 800_000);
    }
}
