//! Packing as a user sees it: one digest for one tree, whatever else differs, and an error for what no bundle can hold.

mod golden;

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::num::NonZeroUsize;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bndlr::archive::padding;
use bndlr::bundle::{Cutter, END_OF_ARCHIVE, Entry, Index, IndexBuilder, Kind, Order, Place, read_entry};
use bndlr::content::{Open, Source};
use bndlr::digest::Digest;
use bndlr::manifest::{Descriptor, ImageConfig, Manifest};
use bndlr::pack::{Bundle, Error, ImageFormat, PackOptions, Selection, Symlinks, scan};
use golden::{chmod, golden_trees, noise, write};
use proptest::prelude::*;
use tempfile::TempDir;

fn pack_with(directory: &Path, selection: &Selection, options: &PackOptions) -> Result<Bundle, Error> {
    scan(directory, selection)?.pack(options, &|_| ())
}

fn pack(directory: &Path) -> Bundle {
    pack_with(directory, &Selection::default(), &PackOptions::default()).unwrap()
}

fn digest(directory: &Path) -> Digest {
    pack(directory).raw_manifest().digest()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn layer_of(bundle: &Bundle) -> (Descriptor, Vec<u8>) {
    let Manifest::Image(image) = bundle.raw_manifest().manifest() else { panic!("not an image") };
    let layer = image.layers[0].clone();
    let bytes = block_on(async { bundle.open(&layer).await.unwrap().read_all().await.unwrap() });
    (layer, bytes.to_vec())
}

fn config_of(bundle: &Bundle) -> ImageConfig {
    let Manifest::Image(image) = bundle.raw_manifest().manifest() else { panic!("not an image") };
    let bytes = block_on(async { bundle.open(&image.config).await.unwrap().read_all().await.unwrap() });
    serde_json::from_slice(&bytes).unwrap()
}

fn entries_of(bundle: &Bundle) -> Vec<Entry> {
    let (descriptor, layer) = layer_of(bundle);
    let index = Index::of_layer(&descriptor.annotations, descriptor.size).unwrap().unwrap();
    let list = &layer[index.entries.offset as usize..][..index.entries.length as usize];
    index.decode_entries(list).unwrap().into_iter().map(|(entry, _)| entry).collect()
}

fn paths_of(bundle: &Bundle) -> Vec<String> {
    entries_of(bundle).iter().map(|entry| entry.path().to_owned()).collect()
}

#[test]
fn golden_digests_stay() {
    let mut found = Vec::new();
    for (name, make) in golden_trees() {
        let root = TempDir::new().unwrap();
        make(root.path());
        let bundle = pack(root.path());
        let (layer, _) = layer_of(&bundle);
        let diff_id = config_of(&bundle).rootfs.diff_ids[0];
        let docker = PackOptions {
            image: bndlr::pack::ImageOptions { format: ImageFormat::Docker, ..Default::default() },
            ..Default::default()
        };
        let docker = pack_with(root.path(), &Selection::default(), &docker).unwrap();
        found.push(format!(
            "{name}\n  diff ID  {diff_id}\n  layer    {}\n  manifest {}\n  schema 2 {}\n",
            layer.digest,
            bundle.raw_manifest().digest(),
            docker.raw_manifest().digest()
        ));
    }
    let golden = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/golden.txt")).unwrap();
    let golden: Vec<_> = golden.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(
        found.concat().lines().collect::<Vec<_>>(),
        golden,
        "format version 1 is frozen: other bytes are another version"
    );
}

#[test]
fn the_same_tree_has_one_digest_however_it_came_to_be() {
    let (one, two) = (TempDir::new().unwrap(), TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    for (_, make) in golden_trees() {
        make(one.path());
    }
    // Made in another order, at another time, with other permissions where they do not count.
    for (_, make) in golden_trees().into_iter().rev() {
        make(two.path());
    }
    chmod(two.path(), "hello.txt", 0o600);
    chmod(two.path(), "a", 0o700);
    let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(two.path().join("hello.txt")).unwrap().set_modified(past).unwrap();
    let expected = digest(one.path());
    assert_eq!(digest(two.path()), expected);
    for threads in [1, 2, 3, 16] {
        let options = PackOptions { threads: NonZeroUsize::new(threads).unwrap(), ..Default::default() };
        let bundle = pack_with(two.path(), &Selection::default(), &options).unwrap();
        assert_eq!(bundle.raw_manifest().digest(), expected, "{threads} threads");
    }
}

#[test]
fn what_counts_changes_the_digest() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    write(root, "script", "#!/bin/sh\n");
    let mut digests = vec![digest(root)];
    chmod(root, "script", 0o755);
    digests.push(digest(root));
    write(root, "script", "#!/bin/sH\n");
    digests.push(digest(root));
    fs::create_dir(root.join("empty")).unwrap();
    digests.push(digest(root));
    symlink("script", root.join("link")).unwrap();
    digests.push(digest(root));
    fs::remove_file(root.join("link")).unwrap();
    symlink("empty", root.join("link")).unwrap();
    digests.push(digest(root));
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), 6);
}

/// Reads a layer member by member, makes its index again, and returns what is in it.
fn read_strictly(bundle: &Bundle) -> Vec<(Entry, Vec<u8>)> {
    let (descriptor, layer) = layer_of(bundle);
    let index = Index::of_layer(&descriptor.annotations, descriptor.size).unwrap().unwrap();
    let list = &layer[index.entries.offset as usize..][..index.entries.length as usize];
    let table = &layer[index.members.offset as usize..][..index.members.length as usize];
    let (list, members) = (index.decode_entries(list).unwrap(), index.decode_members(table).unwrap());
    let mut tar = Vec::new();
    let mut offset = 0;
    for member in &members {
        let gzip = &layer[offset..offset + member.size as usize];
        assert_eq!(gzip[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        let mut bytes = Vec::new();
        let mut decoder = flate2::bufread::GzDecoder::new(gzip);
        decoder.read_to_end(&mut bytes).unwrap();
        assert!(decoder.into_inner().is_empty(), "a member of the table is one gzip member");
        assert_eq!(Digest::sha256(&bytes), member.digest);
        assert_eq!(bytes.len() as u64, member.tar_size);
        tar.extend(bytes);
        offset += member.size as usize;
    }
    assert_eq!(Digest::sha256(&tar), config_of(bundle).rootfs.diff_ids[0]);

    let mut input = &tar[..];
    let (mut order, mut cutter, mut builder) = (Order::default(), Cutter::default(), IndexBuilder::default());
    let mut found = Vec::new();
    let mut places = Vec::new();
    while let Some(entry) = read_entry(&mut input).unwrap() {
        order.next(&entry).unwrap();
        let contents = input[..entry.size() as usize].to_vec();
        input = &input[(entry.size() + padding(entry.size())) as usize..];
        places.push(cutter.place(&entry));
        found.push((entry, contents));
    }
    assert!(input.is_empty(), "nothing follows the two zero blocks");
    assert!(tar.ends_with(&END_OF_ARCHIVE));
    // The member of each entry, counted from the places.
    let mut at = 0;
    let mut next = 0;
    for (((entry, _), place), (listed, member)) in found.iter().zip(&places).zip(&list) {
        if *place == Place::Begins {
            at = next;
            next += entry.tar_size().div_ceil(1024 * 1024).max(1);
        }
        builder.entry(entry, *place);
        assert_eq!((listed, *member), (entry, at));
    }
    assert_eq!(list.len(), found.len());
    found
}

#[test]
fn every_golden_tree_is_read_back_as_it_was() {
    for (name, make) in golden_trees() {
        let root = TempDir::new().unwrap();
        make(root.path());
        for (entry, contents) in read_strictly(&pack(root.path())) {
            let path = root.path().join(entry.path());
            match entry.kind() {
                Kind::Directory => assert!(path.is_dir(), "{name}: {path:?}"),
                Kind::Symlink { target } => assert_eq!(fs::read_link(&path).unwrap(), Path::new(target), "{name}"),
                Kind::File { executable, .. } => {
                    assert_eq!(fs::read(&path).unwrap(), contents, "{name}: {path:?}");
                    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o100 != 0, *executable, "{name}");
                }
            }
        }
    }
}

#[test]
fn other_tar_readers_see_the_same_names() {
    let root = TempDir::new().unwrap();
    for (_, make) in golden_trees() {
        make(root.path());
    }
    let bundle = pack(root.path());
    let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(std::io::Cursor::new(layer_of(&bundle).1)));
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        names.push(String::from_utf8(entry.path_bytes().into_owned()).unwrap().trim_end_matches('/').to_owned());
    }
    // The `tar` crate splits records at newlines, which a value may have in it; GNU tar and Python do not.
    let expected: Vec<_> = paths_of(&bundle).into_iter().collect();
    let readable = |names: Vec<String>| names.into_iter().filter(|name| !name.contains('\n')).collect::<Vec<_>>();
    assert_eq!(readable(names), readable(expected));
}

#[test]
fn version_control_and_ignore_files_stay_out() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    for path in
        [".git/config", "sub/.git", ".hg/x", ".svn/x", "a.yaml", "sub/b.log", "sub/c.log", "build/out", "sub/build/out"]
    {
        write(root, path, "x");
    }
    write(root, ".bndlrignore", "# made by the build\n*.log\n/build/\n");
    write(root, "sub/.bndlrignore", "!c.log\n");
    write(root, ".gitignore", "a.yaml\n");
    assert_eq!(paths_of(&pack(root)), [".gitignore", "a.yaml", "sub", "sub/build", "sub/build/out", "sub/c.log"]);

    let selection = Selection { exclude: vec!["sub/build".into(), "*.yaml".into()], ..Default::default() };
    let bundle = pack_with(root, &selection, &PackOptions::default()).unwrap();
    assert_eq!(paths_of(&bundle), [".gitignore", "sub", "sub/c.log"]);

    let selection = Selection { include_vcs: true, ..Default::default() };
    let bundle = pack_with(root, &selection, &PackOptions::default()).unwrap();
    assert!(paths_of(&bundle).contains(&".git/config".to_owned()));
    assert!(!paths_of(&bundle).contains(&".bndlrignore".to_owned()));
}

#[test]
fn a_pattern_that_is_none_is_an_error_that_names_its_line() {
    let root = TempDir::new().unwrap();
    write(root.path(), ".bndlrignore", "ok\na[b\n");
    let error = scan(root.path(), &Selection::default()).unwrap_err().to_string();
    assert!(error.contains(".bndlrignore line 2"), "{error}");
    let selection = Selection { exclude: vec!["a[b".into()], ..Default::default() };
    assert!(matches!(scan(root.path(), &selection), Err(Error::Pattern { .. })));
}

#[test]
fn links_are_kept_followed_or_refused_and_never_dropped() {
    let root = TempDir::new().unwrap();
    let outside = TempDir::new().unwrap();
    let root = root.path();
    write(root, "a/file", "contents");
    write(root, ".git/config", "token");
    symlink("a/file", root.join("link")).unwrap();
    symlink("a", root.join("dir")).unwrap();
    let mode = |symlinks| Selection { symlinks, ..Default::default() };
    let entries = entries_of(&pack(root));
    assert_eq!(entries.iter().filter(|entry| matches!(entry.kind(), Kind::Symlink { .. })).count(), 2);

    let followed = pack_with(root, &mode(Symlinks::Follow), &PackOptions::default()).unwrap();
    assert_eq!(paths_of(&followed), ["a", "a/file", "dir", "dir/file", "link"]);
    assert!(matches!(scan(root, &mode(Symlinks::Error)), Err(Error::Symlink { .. })));

    for target in
        [outside.path().to_str().unwrap(), "..", "a/../../x", "/etc/passwd", ".git/config", "no-such", "a/loop"]
    {
        let link = root.join("a/loop");
        symlink(if target == "a/loop" { "../a" } else { target }, &link).unwrap();
        let error = scan(root, &mode(Symlinks::Follow)).unwrap_err();
        assert!(matches!(error, Error::Follow { .. }) && error.to_string().contains("a/loop"), "{target}: {error}");
        fs::remove_file(link).unwrap();
    }
    symlink("../../etc", root.join("a/out")).unwrap();
    let error = scan(root, &Selection::default()).unwrap_err();
    assert!(matches!(error, Error::Escape(_)) && error.to_string().contains("a/out"), "{error}");
}

#[test]
fn a_file_that_changes_is_an_error_that_names_it_and_no_bundle() {
    let change: [fn(&Path); 5] = [
        |file| fs::write(file, "longer than before").unwrap(),
        |file| fs::write(file, "s").unwrap(),
        |file| fs::remove_file(file).unwrap(),
        |file| {
            fs::remove_file(file).unwrap();
            symlink("/etc/hostname", file).unwrap();
        },
        |file| {
            fs::rename(file, file.with_extension("old")).unwrap();
            fs::write(file, "before").unwrap();
        },
    ];
    for (at, change) in change.into_iter().enumerate() {
        let root = TempDir::new().unwrap();
        write(root.path(), "dir/file", "before");
        let tree = scan(root.path(), &Selection::default()).unwrap();
        change(&root.path().join("dir/file"));
        let error = tree.pack(&PackOptions::default(), &|_| ()).unwrap_err();
        assert!(matches!(error, Error::Changed { .. }), "{at}: {error}");
        assert!(error.to_string().contains("dir/file"), "{error}");
    }
}

#[test]
fn what_no_bundle_can_hold_is_an_error_that_names_it() {
    let root = TempDir::new().unwrap();
    let root = root.path();
    let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();
    let error = scan(root, &Selection::default()).unwrap_err();
    assert!(error.to_string().ends_with("socket is a socket, which cannot be packed"), "{error}");
    let selection = Selection { exclude: vec!["socket".into()], ..Default::default() };
    scan(root, &selection).unwrap();
    fs::remove_file(root.join("socket")).unwrap();

    let odd = std::ffi::OsStr::new("odd-\u{fffd}");
    fs::write(root.join(odd), "").unwrap();
    scan(root, &Selection::default()).unwrap();
    let latin1 = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"latin-\xe9");
    fs::write(root.join(latin1), "").unwrap();
    assert!(matches!(scan(root, &Selection::default()), Err(Error::NotUtf8 { .. })));

    fs::remove_file(root.join(latin1)).unwrap();

    // A container runtime would remove a file instead of making one.
    write(root, "d/.wh.file", "");
    let error = scan(root, &Selection::default()).unwrap_err();
    assert!(error.to_string().contains("d/.wh.file"), "{error}");

    let missing = scan(&root.join("no-such"), &Selection::default()).unwrap_err();
    assert!(missing.to_string().contains("no-such"), "{missing}");
}

#[test]
fn names_that_differ_only_in_case_are_a_warning() {
    let root = TempDir::new().unwrap();
    write(root.path(), "d/README", "");
    write(root.path(), "d/Readme", "");
    let tree = scan(root.path(), &Selection::default()).unwrap();
    assert_eq!(tree.warnings().len(), 1);
    assert!(tree.warnings()[0].contains("README") && tree.warnings()[0].contains("Readme"));
}

#[test]
fn a_single_file_is_a_bundle_of_one() {
    let root = TempDir::new().unwrap();
    write(root.path(), "dir/app.yaml", "kind: Pod\n");
    assert_eq!(paths_of(&pack(&root.path().join("dir/app.yaml"))), ["app.yaml"]);
}

#[test]
fn schema_2_carries_in_labels_what_oci_carries_in_annotations() {
    let root = TempDir::new().unwrap();
    write(root.path(), "a", "a");
    let mut options = PackOptions::default();
    options.image.format = ImageFormat::Docker;
    options.image.labels.insert("team".into(), "orders".into());
    let bundle = pack_with(root.path(), &Selection::default(), &options).unwrap();
    let labels = config_of(&bundle).config.unwrap().labels.unwrap();
    let annotations: BTreeMap<_, _> =
        labels.iter().filter_map(|(key, value)| Some((key.strip_suffix(".0")?.to_owned(), value.clone()))).collect();
    let (layer, bytes) = layer_of(&bundle);
    assert!(layer.annotations.is_empty());
    assert!(Index::of_layer(&annotations, bytes.len() as u64).unwrap().is_some());
    assert_eq!(labels["team"], "orders");

    options.image.annotations.insert("a".into(), "b".into());
    assert!(matches!(pack_with(root.path(), &Selection::default(), &options), Err(Error::Option(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_tree_is_read_back_as_it_was(
        files in proptest::collection::btree_map(
            "[a-c]{1,2}(/[a-cé]{1,3}){0,3}", (0_usize..400_000, any::<bool>()), 0..12),
        threads in 1_usize..4,
    ) {
        let root = TempDir::new().unwrap();
        let mut expected = BTreeMap::new();
        for (path, (size, executable)) in files {
            let file = root.path().join(&path);
            if fs::create_dir_all(file.parent().unwrap()).is_err() || file.exists() {
                continue;
            }
            let contents = noise(size, size as u64);
            fs::write(&file, &contents).unwrap();
            chmod(root.path(), &path, if executable { 0o755 } else { 0o644 });
            expected.insert(path, (contents, executable));
        }
        let options = PackOptions { threads: NonZeroUsize::new(threads).unwrap(), ..Default::default() };
        let bundle = pack_with(root.path(), &Selection::default(), &options).unwrap();
        let mut found = BTreeMap::new();
        for (entry, contents) in read_strictly(&bundle) {
            if let Kind::File { executable, .. } = entry.kind() {
                found.insert(entry.path().to_owned(), (contents, *executable));
            }
        }
        prop_assert!(found == expected);
        prop_assert_eq!(block_on(bundle.resolve(&bundle.raw_manifest().digest().into())).unwrap(), bundle.raw_manifest().descriptor());
    }
}
