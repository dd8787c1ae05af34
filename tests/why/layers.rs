//! Pairs whose layers differ in one thing: in their files, their tar headers, their order, their compression.

use flate2::{Compression, GzBuilder};
use std::io::Write;

use bndlr::manifest::media_type;

use crate::archives::{self, Tar};
use crate::picture::{Case, Layer, Picture, base, between, run_all};

/// The base, with a header of its last file changed.
fn tweaked(tweak: impl FnOnce(&mut [u8; 512])) -> Picture {
    let tar = Tar::new().dir("etc/").file("etc/a", "alpha\n");
    Picture::gzip(tar.tweaked(b"etc/b", b'0', 0o644, b"", 5, tweak).blocks(b"beta\n"))
}

fn with_last(last: impl FnOnce(Tar) -> Tar) -> Picture {
    Picture::gzip(last(Tar::new().dir("etc/").file("etc/a", "alpha\n")))
}

fn put(at: usize, text: &'static [u8]) -> impl FnOnce(&mut [u8; 512]) {
    move |block| block[at..at + text.len()].copy_from_slice(text)
}

fn gzipped(builder: GzBuilder, level: u32) -> Picture {
    let tar = base().file("text", &"some text that can be compressed\n".repeat(500)).end();
    let mut encoder = builder.write(Vec::new(), Compression::new(level));
    encoder.write_all(&tar).unwrap();
    Picture::of(vec![Layer::new(media_type::OCI_LAYER_GZIP, encoder.finish().unwrap(), tar)])
}

fn plain_gzip() -> GzBuilder {
    GzBuilder::new().operating_system(255)
}

/// Writes the checksum of the last header in another way: its block stands before one block of contents.
fn checksum_otherwise(mut tar: Tar) -> Tar {
    let at = tar.0.len() - 1024 + 148;
    let sum = [b"0", &tar.0[at..at + 6], b"\0"].concat();
    tar.0[at..at + 8].copy_from_slice(&sum);
    tar
}

/// The last of the base is a file with a name that a header has no room for.
fn long(tar: impl FnOnce(Tar, &str) -> Tar) -> Picture {
    Picture::gzip(tar(base(), &format!("{}/{}", "d".repeat(90), "f".repeat(90))))
}

#[test]
fn a_difference_between_files_is_named() {
    let large = |last: &str| Picture::gzip(base().file("large", &("x\n".repeat(500_000) + last)));
    let cases: Vec<Case> = vec![
        ("contents", Picture::base(), with_last(|tar| tar.file("etc/b", "bets\n")), "entry contents etc/b"),
        ("a longer file", Picture::base(), with_last(|tar| tar.file("etc/b", "beta\nbeta\n")), "entry contents etc/b"),
        ("the end of a large file", large("y"), large("z"), "entry contents large"),
        ("a file more", Picture::base(), Picture::gzip(base().file("new", "")), "entry added new"),
        ("a file less", Picture::gzip(base().file("old", "")), Picture::base(), "entry removed old"),
        ("an empty directory", Picture::gzip(base().dir("empty/")), Picture::base(), "entry removed empty"),
        (
            "a mode",
            Picture::base(),
            with_last(|tar| tar.entry("etc/b", b'0', 0o600, "", b"beta\n")),
            "entry mode etc/b",
        ),
        (
            "set-uid, which is dropped",
            Picture::base(),
            with_last(|tar| tar.entry("etc/b", b'0', 0o4644, "", b"beta\n")),
            "entry mode etc/b",
        ),
        (
            "a file and a directory",
            Picture::gzip(base().file("x", "")),
            Picture::gzip(base().entry("x/", b'5', 0o644, "", b"")),
            "entry type x",
        ),
        (
            "where a link points",
            Picture::gzip(base().symlink("l", "etc/a")),
            Picture::gzip(base().symlink("l", "etc/b")),
            "entry target l",
        ),
        (
            "a file and a link",
            Picture::gzip(base().symlink("l", "etc/a")),
            Picture::gzip(base().file("l", "etc/a")),
            "entry type l",
        ),
        (
            "a file of an artifact",
            Picture::files(&[("a", "1"), ("b", "2")]),
            Picture::files(&[("a", "1"), ("b", "3")]),
            "entry contents b",
        ),
        (
            "a file more in an artifact",
            Picture::files(&[("a", "1")]),
            Picture::files(&[("a", "1"), ("b", "3")]),
            "entry added b",
        ),
    ];
    run_all(cases);
}

#[test]
fn files_of_an_artifact_are_told_by_their_names() {
    let a = Picture::files(&[("a", "1"), ("b", "2")]);
    let found = between("another name", &a, &Picture::files(&[("a", "1"), ("c", "2")]));
    assert_eq!(found, ["entry removed b", "entry added c"]);
    let found = between("names the other way round", &a, &Picture::files(&[("b", "1"), ("a", "2")]));
    assert_eq!(found, ["entry contents a", "entry contents b"]);
    let found = between("another order", &a, &Picture::files(&[("b", "2"), ("a", "1")]));
    assert_eq!(found, ["manifest layer-order"]);
}

#[test]
fn a_difference_between_tar_headers_is_named() {
    let hard = |tar: Tar| tar.hard_link("etc/b", "etc/a");
    let cases: Vec<Case> = vec![
        ("a time", Picture::base(), tweaked(put(136, b"14524770400")), "entry time etc/b"),
        ("a user", Picture::base(), tweaked(put(108, b"0001750")), "entry owner etc/b"),
        ("a group", Picture::base(), tweaked(put(116, b"0001750")), "entry owner etc/b"),
        ("the name of a user", Picture::base(), tweaked(put(265, b"root")), "entry owner-name etc/b"),
        ("the name of a group", Picture::base(), tweaked(put(297, b"wheel")), "entry owner-name etc/b"),
        ("GNU's header", Picture::base(), tweaked(put(257, b"ustar  \0")), "entry header-format etc/b"),
        ("a header of old", Picture::base(), tweaked(put(257, &[0; 8])), "entry header-format etc/b"),
        ("a file as of old", Picture::base(), tweaked(put(156, &[0])), "entry entry-type etc/b"),
        ("a user that is no text", tweaked(put(265, b"\xe8")), tweaked(put(265, b"\xe9")), "entry owner-name etc/b"),
        (
            "a checksum",
            Picture::base(),
            with_last(|tar| checksum_otherwise(tar.file("etc/b", "beta\n"))),
            "entry header-field etc/b",
        ),
        ("a device number", Picture::base(), tweaked(put(329, b"0000001")), "entry header-field etc/b"),
        ("how a number is written", Picture::base(), tweaked(put(100, b"   644 \0")), "entry header-field etc/b"),
        ("what fills up the block", Picture::base(), tweaked(put(505, b"x")), "entry header-field etc/b"),
        ("./ in front", Picture::base(), with_last(|tar| tar.file("./etc/b", "beta\n")), "entry spelling etc/b"),
        ("a hard link", with_last(|tar| tar.file("etc/b", "alpha\n")), with_last(hard), "entry entry-type etc/b"),
        (
            "a PAX record",
            Picture::base(),
            with_last(|tar| tar.pax(&[("atime", "1700000000.5")]).file("etc/b", "beta\n")),
            "entry record etc/b",
        ),
        (
            "a PAX record that is no text",
            with_last(|tar| tar.entry("x", b'x', 0o644, "", b"11 xattr=\xe8\n").file("etc/b", "beta\n")),
            with_last(|tar| tar.entry("x", b'x', 0o644, "", b"11 xattr=\xe9\n").file("etc/b", "beta\n")),
            "entry record etc/b",
        ),
        (
            "the end of a long PAX record",
            with_last(|tar| tar.pax(&[("comment", &("x".repeat(5000) + "y"))]).file("etc/b", "beta\n")),
            with_last(|tar| tar.pax(&[("comment", &("x".repeat(5000) + "z"))]).file("etc/b", "beta\n")),
            "entry record etc/b",
        ),
        (
            "what PAX records are in",
            with_last(|tar| tar.entry("PaxHeaders.1/b", b'x', 0o644, "", b"11 atime=1\n").file("etc/b", "beta\n")),
            with_last(|tar| tar.entry("PaxHeaders.2/b", b'x', 0o644, "", b"11 atime=1\n").file("etc/b", "beta\n")),
            "entry header-field etc/b",
        ),
        (
            "a part of a second",
            tweaked(put(136, b"14524770400")),
            with_last(|tar| {
                let tar = tar.pax(&[("mtime", "1700000000.5")]);
                tar.tweaked(b"etc/b", b'0', 0o644, b"", 5, put(136, b"14524770400")).blocks(b"beta\n")
            }),
            "entry time etc/b",
        ),
        (
            "how a long name is written",
            long(|tar, name| tar.pax(&[("path", name)]).file("short", "x")),
            long(|tar, name| tar.long_name(name).file("short", "x")),
            "entry long-name {long}",
        ),
        (
            "order",
            Picture::base(),
            Picture::gzip(Tar::new().dir("etc/").file("etc/b", "beta\n").file("etc/a", "alpha\n")),
            "entry order",
        ),
        (
            "a directory that has no entry",
            Picture::base(),
            Picture::gzip(Tar::new().file("etc/a", "alpha\n").file("etc/b", "beta\n")),
            "entry unlisted etc",
        ),
        (
            "an entry for the top",
            Picture::base(),
            Picture::gzip(Tar::new().dir("./").dir("etc/").file("etc/a", "alpha\n").file("etc/b", "beta\n")),
            "entry unlisted ./",
        ),
        (
            "an entry that another replaces",
            Picture::base(),
            Picture::gzip(base().file("etc/b", "beta\n")),
            "entry unlisted etc/b",
        ),
    ];
    for (name, a, b, expected) in cases {
        let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
        assert_eq!(between(name, &a, &b), [expected.replace("{long}", &long)], "{name}");
    }
}

#[test]
fn a_difference_between_whole_layers_is_named() {
    let ending = |bytes: usize| {
        let mut tar = base().0;
        tar.resize(tar.len() + bytes, 0);
        Picture::of(vec![Layer::of(tar)])
    };
    let trailing = |last: u8| {
        let mut tar = base().end();
        tar.push(last);
        Picture::of(vec![Layer::of(tar)])
    };
    let tar = base().end();
    let zstd = zstd::encode_all(&tar[..], 3).unwrap();
    let of = |kind: &str, blob: &[u8]| Picture::of(vec![Layer::new(kind, blob.to_vec(), base().end())]);
    let other = || Layer::of(Tar::new().file("other", "x").end());
    let two = |layers: [Layer; 2]| Picture::of(layers.to_vec());
    let first = || Layer::of(base().end());
    let cases: Vec<Case> = vec![
        ("padding", ending(1024), ending(10_240), "layer padding 0"),
        ("no end", ending(0), ending(1024), "layer padding 0"),
        ("what comes after the end", trailing(1), trailing(2), "layer trailing 0"),
        ("a level", gzipped(plain_gzip(), 1), gzipped(plain_gzip(), 9), "layer compressor 0"),
        (
            "a name in gzip",
            gzipped(plain_gzip(), 6),
            gzipped(plain_gzip().filename("layer.tar"), 6),
            "member gzip-field file name",
        ),
        (
            "a time in gzip",
            gzipped(plain_gzip(), 6),
            gzipped(plain_gzip().mtime(1_700_000_000), 6),
            "member gzip-field time",
        ),
        (
            "a system in gzip",
            gzipped(plain_gzip(), 6),
            gzipped(GzBuilder::new().operating_system(3), 6),
            "member gzip-field operating system",
        ),
        ("zstd", Picture::base(), of(media_type::OCI_LAYER_ZSTD, &zstd), "layer compression 0"),
        ("no compression", Picture::base(), of(media_type::OCI_LAYER, &tar), "layer compression 0"),
        (
            "a level of zstd",
            of(media_type::OCI_LAYER_ZSTD, &zstd),
            of(media_type::OCI_LAYER_ZSTD, &zstd::encode_all(&tar[..], 19).unwrap()),
            "layer compressor 0",
        ),
        (
            "what a layer is called",
            Picture::base(),
            of(media_type::DOCKER_LAYER_GZIP, &archives::gzip(&tar)),
            "manifest layer-type 0",
        ),
        ("order of layers", two([first(), other()]), two([other(), first()]), "manifest layer-order"),
        ("an empty layer", Picture::base(), two([first(), Layer::of(Tar::new().end())]), "manifest layers"),
        (
            "what another layer hides",
            two([Layer::of(Tar::new().file("x", "1").end()), Layer::of(Tar::new().file("x", "3").end())]),
            two([Layer::of(Tar::new().file("x", "2").end()), Layer::of(Tar::new().file("x", "3").end())]),
            "layer bytes 0",
        ),
    ];
    run_all(cases);
}

#[test]
fn two_things_are_both_named() {
    let a = Picture::base();
    let b = tweaked(put(136, b"14524770400")).with(|picture| picture.config["created"] = "2024-01-01T00:00:00Z".into());
    assert_eq!(between("two", &a, &b), ["config created", "entry time etc/b"]);
    let b = with_last(|tar| tar.tweaked(b"etc/b", b'0', 0o644, b"", 5, put(136, b"14524770400")).blocks(b"bets\n"));
    assert_eq!(between("two of an entry", &a, &b), ["entry contents etc/b", "entry time etc/b"]);
    let b = with_last(|tar| tar.entry("etc/b", b'0', 0o4644, "", b"bets\n"));
    assert_eq!(between("what is not unpacked", &a, &b), ["entry contents etc/b", "entry mode etc/b"]);
    let of_time_and = |at: usize, text: &'static [u8]| {
        tweaked(move |block| {
            put(136, b"14524770400")(block);
            put(at, text)(block);
        })
    };
    let found = between("two of a header", &a, &of_time_and(329, b"0000001"));
    assert_eq!(found, ["entry time etc/b", "entry header-field etc/b"]);
    let a = tweaked(put(265, b"\xe8"));
    let found = between("one of them no text", &a, &of_time_and(265, b"\xe9"));
    assert_eq!(found, ["entry time etc/b", "entry owner-name etc/b"]);
}
