//! Archives of other programs, or of nobody: unpacked, they stay where they belong, and a list shows what is unpacked.

use std::fs;

use crate::archives::{Image, Tar, snapshot};
use crate::random::Random;
use crate::run::fuzz;

const NAMES: &[&str] = &[
    "a",
    "a/b",
    "a/b/",
    "./a",
    "link",
    "link/x",
    "..",
    "../canary",
    "../canary/file",
    "/canary",
    "a/../../canary",
    "",
    ".",
    "a//b",
    ".wh.a",
    "a/.wh.b",
    ".wh..wh..opq",
    "a/.wh..wh..opq",
    "größe",
    "A",
    "a\n",
];
const TARGETS: &[&str] = &["a", "b", "..", "../canary", "../canary/file", "/", "/a", "link", "a/b", "../..", ""];

fn tar(random: &mut Random) -> Tar {
    let mut tar = Tar::new();
    for _ in 0..random.below(8) {
        let (name, original, target) = (*random.pick(NAMES), *random.pick(NAMES), *random.pick(TARGETS));
        let size = if random.once_in(2) { random.next() % 600 } else { random.number() };
        tar = match random.below(10) {
            0 | 1 => tar.dir(name),
            2 | 3 => tar.file(name, &random.text(600)),
            4 | 5 => tar.symlink(name, target),
            6 => tar.hard_link(name, original),
            7 => tar.pax(&[(*random.pick(&["path", "linkpath", "size", "GNU.sparse.map"]), &size.to_string())]),
            8 => tar.long_name(name).long_link(target).symlink("short", "short"),
            _ => tar.header(
                name.as_bytes(),
                *random.pick(b"01234567gxSLK\0"),
                0o7777,
                target.as_bytes(),
                size % (1 << 33),
            ),
        };
    }
    if random.once_in(3) {
        random.mutate(&mut tar.0);
        tar.0.resize(tar.0.len().next_multiple_of(512), 0);
    }
    tar
}

#[test]
fn no_archive_leaves_its_directory_and_a_list_shows_what_is_unpacked() {
    let parent = tempfile::tempdir().unwrap();
    let (canary, target) = (parent.path().join("canary"), parent.path().join("target"));
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "untouched").unwrap();
    let before = snapshot(parent.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    fuzz(|random| {
        let mut image = Image::of(tar(random)).limited(100, 1 << 20);
        for _ in 0..random.below(3) {
            image = image.gzip(tar(random));
        }
        let (unpacked, listed) = runtime.block_on(async { (image.unpack(&target).await, image.list().await) });
        assert_eq!(unpacked.is_ok(), listed.is_ok(), "{unpacked:?}, {listed:?}");
        if unpacked.is_ok() {
            assert_eq!(listed.unwrap().len() + 1, snapshot(&target).len());
            fs::remove_dir_all(&target).unwrap();
        }
        assert_eq!(snapshot(parent.path()), before, "{unpacked:?}");
    });
}
