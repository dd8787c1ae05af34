//! Bundles of several layers: what they have in common with those of one, and that a small change makes one of them another.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;

use bndlr::bundle::{Index, annotation, compare_paths};
use bndlr::content::Open;
use bndlr::digest::Digest;
use bndlr::pack::{Bundle, ImageFormat, ImageOptions, MAX_LAYERS, PackOptions, Selection, Split, pack, scan};
use bndlr::unpack::{UnpackOptions, list, unpack};
use tempfile::TempDir;

mod embedded;
mod program;

use embedded::Embedded;
use program::{Desk, noise};

/// Directories of text files, 40 bytes to 16 kB each.
fn tree(files: u32) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for number in 0..files {
        let path = directory.path().join(format!("{}/{}", number % 11, number % 5));
        fs::create_dir_all(&path).unwrap();
        let lines = (0..=number * 7919 % 400).map(|line| format!("key-{line}: value of {number} {line}\n"));
        fs::write(path.join(format!("{number}.yaml")), lines.collect::<Vec<_>>().concat()).unwrap();
    }
    directory
}

fn split(directory: &Path, split: Split) -> Bundle {
    pack_with(directory, &PackOptions { split, ..PackOptions::default() })
}

fn pack_with(directory: &Path, options: &PackOptions) -> Bundle {
    scan(directory, &Selection::default()).unwrap().pack(options, &|_| ()).unwrap()
}

fn digests(bundle: &Bundle) -> BTreeSet<String> {
    bundle.layers().iter().map(|layer| layer.digest.to_string()).collect()
}

/// The paths in each layer, as its index says.
async fn paths(bundle: &Bundle) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for layer in bundle.layers() {
        let bytes = bundle.open(layer).await.unwrap().read_all().await.unwrap();
        let index = Index::of_layer(&layer.annotations, layer.size).unwrap().unwrap();
        let list = &bytes[index.entries.offset as usize..][..index.entries.length as usize];
        let entries = index.decode_entries(list).unwrap();
        all.push(entries.into_iter().map(|(entry, _)| entry.path().to_owned()).collect());
    }
    all
}

#[tokio::test]
async fn several_layers_hold_what_one_does() {
    let tree = tree(600);
    let (one, several) = (pack(tree.path()).unwrap(), split(tree.path(), Split::Auto));
    assert_eq!(one.layers().len(), 1);
    assert!((8..=MAX_LAYERS).contains(&several.layers().len()), "{} layers", several.layers().len());
    // What is in a directory of an earlier layer comes with that directory again: some runtimes unpack layers one by one.
    let mut together = paths(&several).await.concat();
    together.sort_by(|a, b| compare_paths(a, b));
    together.dedup();
    assert_eq!(together, paths(&one).await.concat());
    let listed = async |bundle: &Bundle| list(bundle, bundle.raw_manifest(), &UnpackOptions::default()).await.unwrap();
    assert_eq!(listed(&several).await, listed(&one).await);
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("pulled");
    unpack(&several, several.raw_manifest(), &target, &UnpackOptions::default()).await.unwrap();
    assert_eq!(pack(&target).unwrap().raw_manifest().digest(), one.raw_manifest().digest());
    assert!(several.layers().iter().all(|layer| !layer.annotations.contains_key(annotation::TITLE)));
}

#[test]
fn layers_do_not_depend_on_threads() {
    let tree = tree(300);
    let digest = |threads| {
        let threads = NonZeroUsize::new(threads).unwrap();
        pack_with(tree.path(), &PackOptions { threads, split: Split::Auto, ..PackOptions::default() })
            .raw_manifest()
            .digest()
    };
    assert_eq!(BTreeSet::from([1, 2, 7].map(digest)).len(), 1);
}

/// Frozen: another cut would upload everything again, once.
#[test]
fn layers_are_cut_where_they_always_were() {
    let bundle = split(tree(300).path(), Split::Auto);
    let layers: Vec<String> = bundle.layers().iter().map(|layer| layer.digest.to_string()).collect();
    assert_eq!(
        (bundle.layers().len(), Digest::sha256(layers.join(" ").as_bytes()).short()),
        (5, "0cfd404a3caa".to_owned()),
        "{layers:#?}"
    );
}

#[test]
fn a_small_change_makes_one_layer_another() {
    let tree = tree(600);
    let before = digests(&split(tree.path(), Split::Auto));
    for (number, at_most) in [(17, 1), (300, 1), (599, 1)] {
        let path = tree.path().join(format!("{}/{}/{number}.yaml", number % 11, number % 5));
        let old = fs::read(&path).unwrap();
        fs::write(&path, [b"#", &old[1..]].concat()).unwrap();
        let after = digests(&split(tree.path(), Split::Auto));
        assert!(after.difference(&before).count() == at_most, "{number}");
        fs::write(&path, old).unwrap();
    }
    // What is new changes its own layer, or cuts it in two, or joins it with the next.
    fs::write(tree.path().join("5/0/new.yaml"), "new: file\n").unwrap();
    let after = digests(&split(tree.path(), Split::Auto));
    assert!((1..=3).contains(&after.difference(&before).count()));
}

#[test]
fn a_size_says_how_large_layers_are_and_no_bundle_has_more_than_64() {
    let tree = tree(600);
    let of = |size| split(tree.path(), Split::Every(size)).layers().len();
    let (large, small) = (of(2_000_000), of(400_000));
    assert!(1 < large && large < small && small < MAX_LAYERS, "{large} {small}");
    assert_eq!(of(u64::MAX), 1);
    let many = tempfile::tempdir().unwrap();
    for number in 0..90 {
        fs::write(many.path().join(number.to_string()), noise(140_000)).unwrap();
    }
    assert!((MAX_LAYERS / 3..=MAX_LAYERS).contains(&split(many.path(), Split::Every(1)).layers().len()));
}

#[tokio::test]
async fn a_file_is_never_cut() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a"), noise(5_000_000)).unwrap();
    fs::write(directory.path().join("b"), noise(2_000_000)).unwrap();
    let bundle = split(directory.path(), Split::Every(100_000));
    assert_eq!(paths(&bundle).await, [["a"], ["b"]]);
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(split(empty.path(), Split::Auto).layers().len(), 1);
}

#[tokio::test]
async fn a_docker_image_has_several_layers_too() {
    let tree = tree(300);
    let image = ImageOptions { format: ImageFormat::Docker, ..ImageOptions::default() };
    let bundle = pack_with(tree.path(), &PackOptions { image, split: Split::Auto, ..PackOptions::default() });
    assert!(bundle.layers().len() > 2);
    let scratch = tempfile::tempdir().unwrap();
    let target = scratch.path().join("pulled");
    unpack(&bundle, bundle.raw_manifest(), &target, &UnpackOptions::default()).await.unwrap();
    assert_eq!(pack(&target).unwrap().raw_manifest().digest(), pack(tree.path()).unwrap().raw_manifest().digest());
}

#[test]
fn each_layer_is_cached() {
    let (tree, scratch) = (tree(600), tempfile::tempdir().unwrap());
    let cached = || {
        let cache = Some(bndlr::pack::Cache::open(scratch.path(), 1 << 30).unwrap());
        pack_with(tree.path(), &PackOptions { cache, split: Split::Auto, ..PackOptions::default() })
    };
    let first = cached();
    let all = first.reuse().members;
    assert_eq!((cached().raw_manifest().digest(), cached().reuse().cached), (first.raw_manifest().digest(), all));
    let path = tree.path().join("3/4/14.yaml");
    fs::write(&path, [fs::read(&path).unwrap(), b"more: text\n".to_vec()].concat()).unwrap();
    let changed = cached();
    assert_eq!(changed.reuse().cached, all - 1);
    assert_eq!(changed.raw_manifest().digest(), split(tree.path(), Split::Auto).raw_manifest().digest());
}

#[test]
fn the_program_splits_and_lists_and_pulls() {
    let desk = Desk::new();
    fs::rename(tree(600).keep(), desk.path("tree")).unwrap();
    desk.run("build tree -o oci:one:v1").ok();
    desk.run("build tree -o oci:several:v1 --split").ok();
    desk.run("build tree -o oci:large:v1 --split=1MB").ok();
    let layers = |reference: &str| {
        desk.run(&format!("inspect {reference} --format json")).json()["layers"].as_array().unwrap().len()
    };
    let (one, several, large) = (layers("oci:one:v1"), layers("oci:several:v1"), layers("oci:large:v1"));
    assert!(one == 1 && 1 < large && large < several, "{one} {large} {several}");
    assert!(desk.run("ls -l oci:several:v1").ok() == desk.run("ls -l oci:one:v1").ok(), "another list");
    desk.run("pull oci:several:v1 -o copy").ok();
    assert_eq!(
        desk.run("build copy -o oci:again:v1").ok(),
        desk.run("resolve oci:one:v1").ok().replace("oci:one@", "")
    );
    assert!(desk.run("diff oci:one:v1 oci:several:v1").ok().is_empty());
    assert_eq!(desk.run("cat oci:several:v1 3/4/14.yaml").ok(), desk.read("tree/3/4/14.yaml"));
    desk.run("pull oci:several:v1 --include /3/4 -o part").ok();
    assert_eq!(
        desk.run("ls oci:one:v1").ok().matches("\n3/4/").count(),
        fs::read_dir(desk.path("part/3/4")).unwrap().count()
    );
    assert_eq!(desk.read("part/3/4/14.yaml"), desk.read("tree/3/4/14.yaml"));
    let ran = desk.run("build tree -o oci:other:v1 --split=none");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("expected a number of bytes"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_changed_file_a_tenth_is_uploaded_at_most() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    fs::rename(tree(3000).keep(), desk.path("tree")).unwrap();
    let push = format!("push tree {}/team/app:v1 --split --format json", registry.address());
    let pushed = desk.run(&push).json();
    let all: u64 = pushed["layers"].as_array().unwrap().iter().map(|layer| layer["size"].as_u64().unwrap()).sum();
    let changed = [5, 700, 1400, 2100, 2990];
    let mut uploaded = 0;
    for number in changed {
        let path = format!("tree/{}/{}/{number}.yaml", number % 11, number % 5);
        desk.write(&path, &format!("# changed\n{}", desk.read(&path)));
        uploaded += desk.run(&push).json()["bytesUploaded"].as_u64().unwrap();
    }
    let average = uploaded / changed.len() as u64;
    eprintln!("layers {all}, {average} bytes uploaded after a file has changed");
    assert!(average * 10 <= all, "{average} of {all}");
    registry.stop().await;
}
