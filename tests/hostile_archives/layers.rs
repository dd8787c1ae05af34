//! Layers that hide what is elsewhere, and images that lie about their layers.

use super::archives::hostile::{Error, Safe, run_all};
use super::archives::{Image, Tar, gzip};
use super::{ABSOLUTE, UPWARDS};
use bndlr::digest::Digest;
use bndlr::manifest::media_type;

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
            ("a diff ID too few", without, Error(&["0 diff IDs", "each layer: 1"])),
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
