//! Archives that would fill disk or memory.

use super::archives::hostile::{Error, run_all};
use super::archives::{Image, Tar, record};
use bndlr::manifest::media_type;

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
