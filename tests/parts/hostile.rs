//! Bundles whose index lies, read by it: each is refused, and nothing is written.

use bndlr::bundle::{Entry, IndexBuilder, Indexed, Kind, Place, annotation};
use bndlr::content::ErrorKind;
use bndlr::digest::Digest;
use bndlr::unpack::{Include, UnpackOptions, unpack_part};
use futures::TryStreamExt;

use crate::archives::ours::{Layer, Member, Row, bundle, compress, dir, file, honest, link, program, rows};
use crate::archives::{Image, snapshot};

fn annotate(key: &str, value: impl FnOnce(&str) -> String) -> Image {
    let mut layer = Layer::of(&rows());
    let new = value(&layer.annotations[key]);
    layer.annotations.insert(key.to_owned(), new);
    layer.image()
}

/// That who reads it, by its index, is told this, and has nothing.
async fn refused(name: &str, mut image: Image, word: &str) {
    let manifest = image.manifest();
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("target");
    let all = Include::new(["*"]).unwrap();
    let error = unpack_part(&image, &manifest, &target, &all, &UnpackOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Content, "{name}: {error}");
    assert!(error.to_string().contains(word), "{name}: {error}");
    assert_eq!(snapshot(parent.path()).len(), 1, "{name}: something is left");
}

#[tokio::test]
async fn what_the_index_says_of_entries_is_held_against_the_members() {
    for (name, image, word) in [
        ("missing", bundle(|_, index| drop(index[0].entries.remove(1))), "member table is not that of the entries"),
        ("too many", bundle(|_, index| index[2].entries.push(file("e", "").0)), "member table is not"),
        ("another size", bundle(|_, index| index[0].entries[1] = file("a/one", "x").0), "member table is not"),
        (
            "another size with as many blocks",
            bundle(|_, index| index[0].entries[1] = file("a/one", vec![0; 199_999]).0),
            "does not hold \"a/one\" as",
        ),
        (
            "another mode",
            bundle(|_, index| index[0].entries[1] = program("a/one", vec![0; 200_000]).0),
            "does not hold \"a/one\" as",
        ),
        ("another type", bundle(|_, index| index[2].entries[0] = dir("c").0), "does not hold \"c\" as"),
        ("another target", bundle(|_, index| index[2].entries[0] = link("c", "d").0), "does not hold \"c\" as"),
        (
            "another name",
            bundle(|_, index| index[1].entries[0] = file("bb", vec![0; 200_000]).0),
            "does not hold \"bb\" as",
        ),
        ("another order", bundle(|_, index| index[2].entries.reverse()), "in order"),
        (
            "in another member",
            bundle(|_, index| {
                let c = index[2].entries.remove(0);
                index[1].entries.push(c);
            }),
            "member table is not",
        ),
        (
            "a link that leads out",
            honest(|members| *members = crate::archives::ours::members(&[link("c", "../x")])),
            "leads out",
        ),
    ] {
        refused(name, image, word).await;
    }
}

#[tokio::test]
async fn what_the_index_says_of_members_is_held_against_the_layer() {
    let empty = compress(b"", |builder| builder);
    let named = |bytes: &[u8]| compress(bytes, |builder| builder.operating_system(255).filename("name"));
    for (name, image, word) in [
        ("another digest", bundle(|_, index| index[1].tar[0] ^= 1), "expected sha256:"),
        (
            "offsets that are wrong by one",
            bundle(|_, index| {
                index[0].gzip.push(0);
                index[1].gzip.pop();
            }),
            "gzip",
        ),
        ("another tar size", bundle(|_, index| index[2].tar.push(0)), "member table is not"),
        ("overlapping", bundle(|_, index| index[1].gzip.push(0)), "members fill"),
        ("missing", bundle(|_, index| drop(index.pop())), "members fill"),
        ("a header field", honest(|members| members[1].gzip = named(&members[1].tar)), "gzip header"),
        ("two gzip members in one", honest(|members| members[1].gzip.extend(&empty)), "is not one gzip member"),
        ("a byte after the end", honest(|members| members[2].gzip.push(0)), "is not one gzip member"),
        (
            "a wrong checksum",
            honest(|members| {
                let at = members[0].gzip.len() - 8;
                members[0].gzip[at] ^= 1;
            }),
            "checksum",
        ),
        (
            "no end of the archive",
            honest(|members| {
                let end = members[2].tar.len() - 1;
                members[2].tar[end] = 1;
                members[2] = Member::new(members[2].tar.clone(), members[2].entries.clone());
            }),
            "does not end",
        ),
        (
            "padding that is not zeros",
            honest(|members| {
                let end = members[1].tar.len() - 1;
                members[1].tar[end] = 1;
                members[1] = Member::new(members[1].tar.clone(), members[1].entries.clone());
            }),
            "does not hold \"b\" as",
        ),
        ("a section beyond the layer", annotate(annotation::MEMBERS, |value| format!("9{value}")), "do not lie"),
        (
            "another section digest",
            annotate(annotation::MEMBERS, |value| value.replace("@sha256:", "@sha256:0")[..value.len()].to_owned()),
            "digest",
        ),
        ("a format of the future", annotate(annotation::FORMAT, |_| "2".into()), "format \"2\""),
    ] {
        refused(name, image, word).await;
    }
}

#[tokio::test]
async fn numbers_that_are_too_large_take_neither_memory_nor_time() {
    for (name, entry_size, size, tar_size) in [
        ("an entry of all bytes there are", u64::MAX, 100, 2048),
        ("an entry of exbibytes", 1 << 62, 100, 1 << 62),
        ("a member of exbibytes", 100, 1 << 62, 2048),
        ("tar bytes of exbibytes", 100, 100, u64::MAX),
    ] {
        let mut builder = IndexBuilder::default();
        let entry = Entry::new("f", Kind::File { size: entry_size, executable: false }).unwrap();
        builder.entry(&entry, Place::Begins);
        builder.member(size, tar_size, &Digest::sha256(b""));
        let (section, index) = builder.finish(size.min(100)).unwrap();
        let layer = Layer {
            bytes: [vec![0; size.min(100) as usize], section].concat(),
            tar: Vec::new(),
            annotations: index.annotations(),
        };
        refused(name, layer.image(), if size > 100 { "members fill" } else { "member table is not" }).await;
    }
}

#[tokio::test]
async fn layers_of_one_bundle_do_not_hide_each_other() {
    let two = |second: &[Row]| Layer::of(second).add_to(Layer::of(&rows()).image());
    for (name, second, word) in [
        ("a file twice", &[file("b", "")][..], "\"b\" is in two layers"),
        ("a file over a directory", &[file("a", "")], "\"a\" is in two layers"),
        ("a directory over a link", &[dir("c"), file("c/x", "")], "\"c\" is in two layers"),
        ("a link that leads out through another", &[dir("z"), link("z/c", "../c/../..")], "leads out"),
    ] {
        refused(name, two(second), word).await;
    }
    let mut image = two(&[dir("a"), file("a/b", "two"), file("z", "")]);
    let manifest = image.manifest();
    let bundle = Indexed::open(&image, &manifest).await.unwrap().unwrap();
    let paths: Vec<_> = bundle.entries().map(Entry::path).collect();
    assert_eq!(paths, ["a", "a/b", "a/one", "b", "c", "d", "z"]);
    let pieces: Vec<_> = bundle.contents(&image, &[6, 1, 3]).try_collect().await.unwrap();
    let found: Vec<_> = pieces.iter().map(|piece| (piece.entry, piece.offset, piece.bytes.len())).collect();
    assert_eq!(found, [(6, 0, 0), (1, 0, 3), (3, 0, 200_000)]);
    assert_eq!(pieces[1].bytes, "two");
}
