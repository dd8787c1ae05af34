//! Archives made to do harm. Each ends in an error that says what is wrong, or in a safe result; nothing outside the
//! target is touched, and nothing is left behind.

mod archives;

use std::fs;

use archives::hostile::{Case, Error, Expected, Safe, run, run_all};
use archives::ours::{Layer, file};
use archives::{Image, Tar, gzip, record};
use bndlr::digest::Digest;
use bndlr::manifest::media_type;

/// An image of one file with this name.
fn named(name: &str) -> Image {
    Image::of(Tar::new().file(name, "evil"))
}

const ABSOLUTE: Expected = Error(&["is absolute"]);
const UPWARDS: Expected = Error(&["has '..' in its path"]);

#[tokio::test]
async fn names_that_lead_out() {
    let long = format!("{}/../../../canary/file", "x".repeat(120));
    let null = |name: &[u8]| Image::of(Tar::new().header(name, b'0', 0o644, b"", 0));
    run_all(
        vec![
            ("absolute", named("/canary"), Error(&["\"/canary\"", "is absolute"])),
            ("absolute, two slashes", named("//canary"), ABSOLUTE),
            ("absolute directory", Image::of(Tar::new().dir("/canary/")), ABSOLUTE),
            ("absolute in PAX", Image::of(Tar::new().pax(&[("path", "/canary/file")]).file("x", "")), ABSOLUTE),
            ("absolute in a long name", Image::of(Tar::new().long_name("/canary/file").file("x", "")), ABSOLUTE),
            ("up", named("../canary/file"), Error(&["../canary/file", "has '..' in its path"])),
            ("up, after a dot", named("./../canary/file"), UPWARDS),
            ("up, after a name", named("a/../../canary/file"), UPWARDS),
            ("up, at the end", Image::of(Tar::new().dir("a/..")), UPWARDS),
            ("up, alone", Image::of(Tar::new().dir("..")), UPWARDS),
            ("up, with a slash", Image::of(Tar::new().dir("../")), UPWARDS),
            ("up, with many slashes", Image::of(Tar::new().dir("a//..//..//")), UPWARDS),
            ("up, though it comes back", named("../target/x"), UPWARDS),
            ("up, in PAX", Image::of(Tar::new().pax(&[("path", "a/../../canary/x")]).file("x", "")), UPWARDS),
            ("up, in a long name", Image::of(Tar::new().long_name(&long).file("x", "")), UPWARDS),
            (
                "up, in the prefix",
                Image::of(
                    Tar::new().tweaked(b"x", b'0', 0o644, b"", 0, |block| block[345..347].copy_from_slice(b"..")),
                ),
                UPWARDS,
            ),
            ("NUL in PAX", Image::of(Tar::new().pax(&[("path", "a\0b")]).file("x", "")), Error(&["NUL"])),
            (
                "NUL in a long name",
                Image::of(Tar::new().entry("l", b'L', 0, "", b"a\0b").file("x", "")),
                Error(&["extension header"]),
            ),
            ("NUL in a header ends the name", null(b"good\0/../../evil"), Safe(&[("good", "file 644")])),
            ("a backslash is a letter", named("..\\canary"), Safe(&[("..\\canary", "file")])),
            ("three dots are a name", named(".../x"), Safe(&[("...", "directory"), (".../x", "file")])),
            ("no name at all", named(""), Error(&["is where the target itself is"])),
            ("the target as a file", named("./"), Error(&["slash"])),
            ("the target as a link", Image::of(Tar::new().symlink(".", "/")), Error(&["target itself"])),
            ("a file with a slash", named("file/"), Error(&["slash"])),
            ("a name that no file system has", named(&"n".repeat(300)), Safe(&[])),
            (
                "a path over 4096 bytes",
                Image::of(Tar::new().long_name(&"n/".repeat(2100)).dir("x")),
                Error(&["too long"]),
            ),
            (
                "a name over 255 bytes",
                Image::of(Tar::new().long_name(&"n".repeat(256)).file("x", "")),
                Error(&["too long"]),
            ),
            (
                "an empty PAX path is none",
                Image::of(Tar::new().pax(&[("path", "")]).file("x", "")),
                Safe(&[("x", "file")]),
            ),
        ]
        .into_iter()
        // A header cuts names at 100 bytes: what is left is harmless, and long.
        .filter(|(name, ..)| *name != "a name that no file system has")
        .collect(),
        28,
    )
    .await;
}

#[tokio::test]
async fn links_that_lead_out() {
    let through = |target: &str| Image::of(Tar::new().symlink("l", target).file("l/file", "evil"));
    let chain = |length: usize| {
        let tar = (0..length).fold(Tar::new(), |tar, n| tar.symlink(&format!("l{n}"), &format!("l{}", n + 1)));
        Image::of(tar.file("l0/x", ""))
    };
    let deep = Tar::new().long_name(&"d/".repeat(1500)).dir("x").long_link(&"d/".repeat(1500)).symlink("l", "x");
    let deep = Image::of(deep.long_name(&format!("l/{}", "e/".repeat(600))).dir("x"));
    run_all(
        vec![
            (
                "write through an absolute link",
                through("/canary"),
                Safe(&[("canary", "directory"), ("canary/file", "file"), ("l", "-> /canary")]),
            ),
            (
                "write through a link up",
                through("../canary"),
                Safe(&[("canary", "directory"), ("canary/file", "file"), ("l", "-> ../canary")]),
            ),
            (
                "write through a link up, from below",
                Image::of(Tar::new().symlink("a/b/l", "../../../../canary").file("a/b/l/file", "")),
                Safe(&[("a", "dir"), ("a/b", "dir"), ("a/b/l", "->"), ("canary", "dir"), ("canary/file", "file")]),
            ),
            (
                "a chain of links out",
                Image::of(
                    Tar::new().symlink("a", ".").symlink("b", "a/..").symlink("c", "b/../canary").file("c/f", ""),
                ),
                Safe(&[("a", "->"), ("b", "->"), ("c", "->"), ("canary", "dir"), ("canary/f", "file")]),
            ),
            ("a link to itself", through("l"), Error(&["\"l/file\"", "circle of links"])),
            (
                "two links to each other",
                Image::of(Tar::new().symlink("a", "b").symlink("b", "a").file("b/x", "")),
                Error(&["circle of links"]),
            ),
            ("a link that grows", through("l/l/l"), Error(&["circle of links"])),
            ("a chain of 41 links", chain(41), Error(&["circle of links"])),
            (
                "a file replaced by a link, then written",
                Image::of(Tar::new().file("f", "").symlink("f", "../canary/file").file("f", "mine")),
                Safe(&[("f", "file 644 4 mine")]),
            ),
            (
                "a directory replaced by a link, then written through",
                Image::of(Tar::new().dir("d").file("d/x", "").symlink("d", "/canary").file("d/file", "")),
                Safe(&[("canary", "dir"), ("canary/file", "file"), ("d", "-> /canary")]),
            ),
            (
                "a directory replaced by a link in the next layer",
                Image::of(Tar::new().dir("d").file("d/x", ""))
                    .gzip(Tar::new().symlink("d", "../canary").file("d/file", "")),
                Safe(&[("canary", "dir"), ("canary/file", "file"), ("d", "->")]),
            ),
            (
                "a link on the way replaced after it was used",
                Image::of(Tar::new().dir("a").file("a/1", "").symlink("a", "/b").file("a/2", "").file("a/1", "")),
                Safe(&[("a", "->"), ("b", "dir"), ("b/1", "file"), ("b/2", "file")]),
            ),
            ("below a file", Image::of(Tar::new().file("f", "").file("f/x", "")), Error(&["\"f/x\"", "below a file"])),
            ("a link to nothing", Image::of(Tar::new().symlink("l", "")), Error(&["\"l\"", "target that is empty"])),
            ("NUL in a target", Image::of(Tar::new().pax(&[("linkpath", "a\0b")]).symlink("l", "x")), Error(&["NUL"])),
            ("links that add up to no path", deep, Error(&["too long"])),
        ]
        .into_iter()
        .chain(hard_links())
        .collect(),
        26,
    )
    .await;
}

fn hard_links() -> Vec<Case> {
    let hard = |original: &str| Image::of(Tar::new().dir("d").hard_link("h", original));
    let no_file: Expected = Error(&["\"h\"", "is a hard link to what is no file of the image"]);
    let none = || Error(&["\"h\"", "is a hard link to what is no file of the image"]);
    vec![
        ("hard link to an absolute path", hard("/canary/file"), no_file),
        ("hard link up", hard("../canary/file"), none()),
        ("hard link up, at the end", hard("d/.."), none()),
        ("hard link to a directory", hard("d"), none()),
        ("hard link to itself", Image::of(Tar::new().file("h", "").hard_link("h", "h")), none()),
        (
            "hard link to itself through a link",
            Image::of(Tar::new().symlink("l", "/").file("h", "").hard_link("h", "l/h")),
            none(),
        ),
        ("hard link to nothing", hard(""), none()),
        ("hard link to what it replaces", Image::of(Tar::new().file("h/x", "").hard_link("h", "h/x")), none()),
        (
            "hard link through a link out",
            Image::of(Tar::new().symlink("l", "/canary").hard_link("h", "l/file")),
            none(),
        ),
        (
            "hard link to a link out, then written",
            Image::of(Tar::new().symlink("l", "../canary/file").hard_link("h", "l").file("h", "mine")),
            Safe(&[("h", "file 644 4 mine"), ("l", "->")]),
        ),
        (
            "hard link, then another file in its place",
            Image::of(Tar::new().file("a", "old").hard_link("b", "a").file("b", "new")),
            Safe(&[("a", "file 644 3 old"), ("b", "file 644 3 new")]),
        ),
    ]
}

#[tokio::test]
async fn whiteouts_that_lead_out() {
    let over = |upper: Tar| Image::of(Tar::new().dir("d").file("d/x", "").symlink("l", "../canary")).gzip(upper);
    let all = &[("d", "dir"), ("d/x", "file"), ("l", "->")];
    run_all(
        vec![
            ("whiteout of ..", over(Tar::new().file("d/.wh...", "")), Error(&["d/.wh...", "whiteout of nothing"])),
            ("whiteout of .", over(Tar::new().file("d/.wh..", "")), Error(&["whiteout of nothing"])),
            ("whiteout of nothing", over(Tar::new().file("d/.wh.", "")), Error(&["whiteout of nothing"])),
            ("whiteout through a link out", over(Tar::new().file("l/.wh.file", "")), Safe(all)),
            ("opaque through a link out", over(Tar::new().file("l/.wh..wh..opq", "")), Safe(all)),
            ("whiteout of the canary", over(Tar::new().file("../.wh.canary", "")), UPWARDS),
            ("whiteout as a directory", over(Tar::new().dir(".wh.d")), Error(&["name of a whiteout and is no file"])),
            ("whiteout as a link", over(Tar::new().symlink(".wh.d", "/canary")), Error(&["is no file"])),
            ("file in a whiteout", over(Tar::new().file(".wh.d/x", "")), Error(&["is in a whiteout"])),
            (
                "whiteout of a link, then written through",
                over(Tar::new().file(".wh.l", "").file("l/file", "")),
                Safe(&[("d", "dir"), ("d/x", "file"), ("l", "dir"), ("l/file", "file")]),
            ),
        ],
        10,
    )
    .await;
}

#[tokio::test]
async fn types_and_headers_that_are_not_unpacked() {
    let typed = |kind: u8| Image::of(Tar::new().entry("odd", kind, 0o644, "", b""));
    let sized = |field: &'static [u8]| {
        let tweak = |block: &mut [u8; 512]| block[124..124 + field.len()].copy_from_slice(field);
        Image::of(Tar::new().tweaked(b"size", b'0', 0o644, b"", 0, tweak))
    };
    let cut = |length: usize| {
        let tar = Tar::new().file("f", &"contents".repeat(100)).0;
        Image::new().layer(media_type::OCI_LAYER, tar[..length].to_vec(), &tar[..length])
    };
    let mut flipped = Tar::new().file("f", "").end();
    flipped[0] ^= 1;
    run_all(
        vec![
            ("character device", typed(b'3'), Error(&["\"odd\" is a character device"])),
            ("block device", typed(b'4'), Error(&["a block device"])),
            ("FIFO", typed(b'6'), Error(&["a named pipe"])),
            ("unknown type", typed(b'Z'), Error(&["of type 'Z'"])),
            ("volume header", typed(b'V'), Error(&["of type 'V'"])),
            ("set-uid", Image::of(Tar::new().entry("s", b'0', 0o6755, "", b"")), Safe(&[("s", "file 755")])),
            ("8 EiB in octal", sized(b"77777777777\0"), Error(&["archive breaks off"])),
            (
                "8 EiB in binary",
                sized(b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff"),
                Error(&["bytes of files", "\"size\""]),
            ),
            ("16 EiB in binary", sized(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"), Error(&["bytes of files"])),
            ("more than 64 bits", sized(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), Error(&["too large"])),
            ("a negative size", sized(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), Error(&["negative"])),
            ("a size that is no number", sized(b"12345x78901\0"), Error(&["no number"])),
            (
                "8 EiB in PAX",
                Image::of(Tar::new().pax(&[("size", "9223372036854775807")]).file("f", "")),
                Error(&["bytes of files"]),
            ),
            (
                "a PAX size over 64 bits",
                Image::of(Tar::new().pax(&[("size", "99999999999999999999")]).file("f", "")),
                Error(&["extension"]),
            ),
            (
                "a link with contents",
                Image::of(Tar::new().entry("l", b'2', 0, "t", &[b'x'; 512])),
                Error(&["has contents"]),
            ),
            (
                "a directory with contents",
                Image::of(Tar::new().entry("d", b'5', 0, "", &[b'x'; 512])),
                Error(&["has contents"]),
            ),
            (
                "a wrong checksum",
                Image::new().layer(media_type::OCI_LAYER, flipped.clone(), &flipped),
                Error(&["checksum"]),
            ),
            (
                "two names in PAX",
                Image::of(Tar::new().pax(&[("path", "a"), ("path", "b")]).file("x", "")),
                Error(&["extension"]),
            ),
            (
                "two names, GNU's and PAX",
                Image::of(Tar::new().long_name("a").pax(&[("path", "b")]).file("x", "")),
                Error(&["two names"]),
            ),
            (
                "two long names",
                Image::of(Tar::new().long_name("a").long_name("b").file("x", "")),
                Error(&["two extension headers"]),
            ),
            ("an extension and then nothing", Image::of(Tar::new().long_name("a")), Error(&["breaks off"])),
            (
                "PAX that is none",
                Image::of(Tar::new().entry("x", b'x', 0, "", b"99 path=a\n").file("x", "")),
                Error(&["extension"]),
            ),
            (
                "sparse in PAX",
                Image::of(Tar::new().pax(&[("GNU.sparse.major", "1")]).file("x", "")),
                Error(&["sparse"]),
            ),
            ("cut in a header", cut(100), Error(&["breaks off"])),
            ("cut in contents", cut(1000), Error(&["\"f\"", "breaks off"])),
            ("cut in padding", cut(512 + 800 + 3), Error(&["breaks off"])),
            ("cut after an entry", cut(512 + 1024), Safe(&[("f", "file 644 800")])),
            (
                "zeros, and then more",
                Image::of(Tar(Tar::new().end()[..512].to_vec()).file("f", "")),
                Error(&["block of zeros"]),
            ),
            ("after the end, nobody looks", Image::of(Tar(Tar::new().end()).file("../x", "")), Safe(&[])),
        ],
        28,
    )
    .await;
}

/// The header of a sparse file with these pieces.
fn sparse(stored: u64, real: u64, pieces: &[(u64, u64)]) -> Image {
    let tweak = |block: &mut [u8; 512]| {
        block[257..265].copy_from_slice(b"ustar  \0");
        let fields =
            pieces.iter().enumerate().flat_map(|(n, piece)| [(386 + n * 24, piece.0), (398 + n * 24, piece.1)]);
        for (field, value) in fields.chain([(483, real)]) {
            block[field..field + 12].copy_from_slice(&[&[0x80, 0, 0, 0][..], &value.to_be_bytes()].concat());
        }
    };
    Image::of(Tar::new().tweaked(b"sparse", b'S', 0o644, b"", stored, tweak).blocks(&vec![b'x'; stored as usize]))
}

#[tokio::test]
async fn archives_that_would_fill_disk_or_memory() {
    let zeros = |length: usize| "\0".repeat(length);
    let bomb = Tar::new().file("bomb", &zeros(8 << 20));
    let many = (0..50).fold(Tar::new(), |tar, n| tar.dir(&format!("d{n}")));
    let global = (0..2000).fold(Tar::new(), |tar, _| tar.entry("g", b'g', 0, "", &[b'x'; 512]));
    let trailing = Tar(Tar::new().file("f", "").end()).blocks(&vec![0; 8 << 20]).0;
    let long = record("comment", &"x".repeat(2 << 20));
    let targets = (0..20).fold(Tar::new(), |tar, n| tar.long_link(&"t".repeat(4000)).symlink(&format!("l{n}"), "x"));
    let slow = (0..39).fold(Tar::new(), |tar, n| {
        tar.long_link(&format!("{}l{}", "./".repeat(2000), n + 1)).symlink(&format!("l{n}"), "x")
    });
    let slow = (0..50).fold(slow, |tar, n| tar.dir(&format!("l0/{n}")));
    let zstd = |tar: Tar| {
        let tar = tar.end();
        Image::new().layer(media_type::OCI_LAYER_ZSTD, zstd::encode_all(&tar[..], 1).unwrap(), &tar)
    };
    let wrong_map = || Error(&["\"sparse\"", "wrong map"]);
    run_all(
        vec![
            (
                "gzip bomb",
                Image::of(bomb.clone()).limited(100, 1 << 20),
                Error(&["bytes of files", "\"bomb\"", "1048576"]),
            ),
            ("zstd bomb", zstd(bomb).limited(100, 1 << 20), Error(&["bytes of files"])),
            (
                "bomb after the end",
                Image::of(Tar(trailing)).limited(100, 1 << 20),
                Error(&["decompresses to more than"]),
            ),
            (
                "bomb of headers that say nothing",
                Image::of(global).limited(10, 1 << 20),
                Error(&["decompresses to more than"]),
            ),
            ("too many entries", Image::of(many).limited(49, 1 << 20), Error(&["entries", "\"d49\"", "49"])),
            (
                "bomb in many layers",
                (0..9)
                    .fold(Image::new(), |image, n| image.gzip(Tar::new().file(&format!("{n}"), &zeros(1000))))
                    .limited(100, 8000),
                Error(&["bytes of files", "\"8\""]),
            ),
            (
                "PAX bomb",
                Image::of(Tar::new().entry("x", b'x', 0, "", long.as_bytes()).file("f", "")),
                Error(&["bytes of extension headers"]),
            ),
            (
                "PAX that claims 8 GiB",
                Image::of(Tar::new().header(b"x", b'x', 0, b"", 0o777_7777_7777)),
                Error(&["extension headers"]),
            ),
            (
                "long name bomb",
                Image::of(Tar::new().entry("x", b'L', 0, "", &vec![b'x'; 2 << 20]).file("f", "")),
                Error(&["extension headers"]),
            ),
            (
                "long link bomb",
                Image::of(Tar::new().entry("x", b'K', 0, "", &vec![b'x'; 2 << 20]).file("f", "")),
                Error(&["extension headers"]),
            ),
            ("names that fill memory", Image::of(targets).limited(100, 1 << 30), Error(&["bytes of names"])),
            (
                "links that take for ever",
                Image::of(slow).limited(100, 1 << 30).clone(),
                Error(&["steps to follow links"]),
            ),
            ("sparse bomb", sparse(0, 1 << 60, &[(1 << 60, 0)]), Error(&["bytes of files", "\"sparse\""])),
            ("sparse pieces that overlap", sparse(1024, 600, &[(0, 512), (88, 512)]), wrong_map()),
            ("sparse pieces beyond the end", sparse(512, 100, &[(0, 512)]), wrong_map()),
            ("sparse pieces that are not there", sparse(512, 1024, &[(0, 1024)]), wrong_map()),
            ("sparse pieces that overflow", sparse(512, 0, &[(u64::MAX, 512)]), wrong_map()),
            ("sparse pieces off their blocks", sparse(1024, 1024, &[(0, 100), (100, 924)]), wrong_map()),
            ("sparse pieces that say too little", sparse(1024, 512, &[(0, 512)]), wrong_map()),
        ]
        .into_iter()
        .map(|(name, image, expected)| match name {
            // Its targets alone would be too many names for so few entries.
            "links that take for ever" => (name, image.limited(1000, 1 << 30), expected),
            _ => (name, image, expected),
        })
        .collect(),
        19,
    )
    .await;
}

#[tokio::test]
async fn images_that_lie_about_their_layers() {
    let tar = Tar::new().file("f", "contents").end();
    let layer = |blob: Vec<u8>| Image::new().layer(media_type::OCI_LAYER_GZIP, blob, &tar);
    let flipped = |at: usize| {
        let mut image = layer(gzip(&tar));
        let digest = image.layers[0].digest;
        let mut blob = image.blobs[&digest].to_vec();
        blob[at] ^= 1;
        image.blobs.insert(digest, blob.into());
        image.chunk = 1 << 20;
        image
    };
    let mut larger = layer(gzip(&tar));
    larger.layers[0].size += 1;
    let mut smaller = layer(gzip(&tar));
    smaller.layers[0].size -= 1;
    let mut without = layer(gzip(&tar));
    without.diff_ids.clear();
    let mut one_more = layer(gzip(&tar));
    one_more.diff_ids.push(Digest::sha256(b""));
    let title = |title: &str, unpack: &str| {
        let blob = gzip(&tar);
        let annotations = [("org.opencontainers.image.title", title), ("io.deis.oras.content.unpack", unpack)];
        Image::new().blob(media_type::OCI_LAYER_GZIP, blob, &annotations).artifact()
    };
    let plain = |title: &str| {
        let annotations = [("org.opencontainers.image.title", title)];
        Image::new().blob("text/plain", b"evil".to_vec(), &annotations).artifact()
    };
    let config = |config: &[u8]| {
        let mut image = layer(gzip(&tar));
        image.config = Some((media_type::OCI_CONFIG.into(), config.to_vec()));
        image
    };
    let zstd = zstd::encode_all(&tar[..], 1).unwrap();
    run_all(
        vec![
            ("one flipped byte at the front", flipped(20), Error(&["digest"])),
            ("one flipped byte at the end", flipped(gzip(&tar).len() - 1), Error(&["digest"])),
            ("a layer shorter than it says", larger, Error(&["ends after"])),
            ("a layer longer than it says", smaller, Error(&["is longer than"])),
            (
                "another diff ID",
                Image::new().layer(media_type::OCI_LAYER_GZIP, gzip(&tar), b"other"),
                Error(&["has diff ID"]),
            ),
            ("a diff ID too few", without, Error(&["0 diff IDs", "1 layers"])),
            ("a diff ID too many", one_more, Error(&["2 diff IDs"])),
            ("a config that is none", config(b"{}"), Error(&["config", "is not one of an image"])),
            ("gzip cut short", layer(gzip(&tar)[..40].to_vec()), Error(&["breaks off"])),
            (
                "gzip with garbage after it",
                layer([gzip(&tar), b"garbage".to_vec()].concat()),
                Error(&["cannot be read"]),
            ),
            ("gzip and another after it", layer([gzip(&tar), gzip(b"x")].concat()), Error(&["has diff ID"])),
            ("zstd cut short", layer(zstd[..zstd.len() - 5].to_vec()), Error(&["cannot be read"])),
            ("zstd with garbage after it", layer([zstd, b"garbage".to_vec()].concat()), Error(&["cannot be read"])),
            ("not an archive at all", layer(b"<html>".repeat(200)), Error(&["checksum"])),
            ("nothing at all", layer(Vec::new()), Error(&["has diff ID"])),
            ("a title that leads up", plain("../canary/file"), UPWARDS),
            ("an absolute title", plain("/canary/file"), ABSOLUTE),
            ("a title that is no name", plain("."), Error(&["target itself"])),
            (
                "two files of one title",
                plain("a").blob("text/plain", b"x".to_vec(), &[("org.opencontainers.image.title", "a")]),
                Error(&["\"a\"", "already"]),
            ),
            ("a directory that is not in its title", title("site", "true"), Error(&["\"f\"", "not in the directory"])),
            ("a directory whose title leads up", title("../canary", "true"), UPWARDS),
        ],
        21,
    )
    .await;
}

/// Where the file system takes two spellings for one name, nothing is merged; where it does not, both are there.
#[tokio::test]
async fn names_that_differ_only_in_case() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("probe"), "").unwrap();
    if parent.path().join("PROBE").exists() {
        for mut image in [
            Image::of(Tar::new().file("name", "").file("NAME", "")),
            Layer::of(&[file("NAME", ""), file("name", "")]).image(),
        ] {
            let error = image.unpack(&parent.path().join("target")).await.unwrap_err();
            assert!(error.to_string().contains("collides"), "{error}");
            assert!(!parent.path().join("target").exists());
        }
    } else {
        let both = &[("NAME", "file"), ("name", "file")];
        run(("foreign", Image::of(Tar::new().file("name", "").file("NAME", "")), Safe(both))).await;
        run(("ours", Layer::of(&[file("NAME", ""), file("name", "")]).image(), Safe(both))).await;
    }
}
