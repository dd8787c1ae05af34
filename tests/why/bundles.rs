//! Pairs of bundles, wherever they are: made with one flag more, or of a directory with one change.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bndlr::bundle::annotation::{ENTRIES, Location, MEMBERS};
use bndlr::digest::Digest;
use bndlr::manifest::media_type;
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde_json::json;

use crate::archives::ours::{self, Member};
use crate::embedded::Embedded;
use crate::picture::{Layer, Picture, between, reasons};
use crate::program::{Desk, noise};

fn why(desk: &Desk, arguments: &str) -> Vec<String> {
    reasons(&desk.run(&format!("why {arguments} --format json")))
}

#[test]
fn a_flag_of_a_push_is_named() {
    let desk = Desk::with_tree();
    fs::write(desk.path("tree/noise"), noise(300_000)).unwrap();
    desk.run("build tree -o oci:plain:v1 -q").ok();
    for (flags, expected) in [
        ("-l k=v", "config label k"),
        ("-a k=v", "manifest annotation k"),
        ("--platform linux/arm64", "config platform"),
        ("--artifact-type text/plain", "manifest artifact-type"),
        ("--subject oci:plain:v1", "manifest subject"),
        ("--image-format docker", "manifest format"),
        ("--split=100kB", "manifest layers"),
        ("--exclude a.txt", "entry removed a.txt"),
    ] {
        desk.run(&format!("build tree -o oci:flagged:v1 -q {flags}")).ok();
        assert_eq!(why(&desk, "oci:plain:v1 oci:flagged:v1"), [expected], "{flags}");
        // A directory is what a push without flags makes of it.
        let expected = expected.replace("removed", "added");
        assert_eq!(why(&desk, "oci:flagged:v1 ./tree"), [expected], "{flags}");
    }
    let dated = ["build", "tree", "-o", "oci:dated:v1", "-q"];
    desk.run_with(&dated, &[("SOURCE_DATE_EPOCH", "1700000000")]).ok();
    assert_eq!(why(&desk, "oci:plain:v1 oci:dated:v1"), ["config created"]);
    assert_eq!(why(&desk, "oci:plain:v1 ./tree"), [""; 0]);
    assert_eq!(desk.names(), ["dated", "flagged", "plain", "tree"]);
}

type Change = fn(&Path);

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_a_directory_is_named_wherever_the_other_is() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let place = format!("{}/team/app:v1", registry.address());
    let tree = desk.path("tree");
    let changes: [(Change, &str); 8] = [
        (|tree| fs::write(tree.join("a.txt"), "alphA\n").unwrap(), "entry contents a.txt"),
        (|tree| fs::write(tree.join("new"), "").unwrap(), "entry added new"),
        (|tree| fs::remove_file(tree.join("a.txt")).unwrap(), "entry removed a.txt"),
        (|tree| fs::remove_dir(tree.join("empty")).unwrap(), "entry removed empty"),
        (
            |tree| fs::set_permissions(tree.join("a.txt"), fs::Permissions::from_mode(0o755)).unwrap(),
            "entry mode a.txt",
        ),
        (
            |tree| {
                fs::remove_file(tree.join("link")).unwrap();
                symlink("sub", tree.join("link")).unwrap();
            },
            "entry target link",
        ),
        (
            |tree| {
                fs::remove_file(tree.join("link")).unwrap();
                fs::create_dir(tree.join("link")).unwrap();
            },
            "entry type link",
        ),
        (|tree| fs::write(tree.join("sub/noise"), noise(20_001)).unwrap(), "entry contents sub/noise"),
    ];
    desk.run(&format!("push tree {place} -q")).ok();
    desk.run("build tree -o oci:layout:v1 -q --image-format docker").ok();
    for (change, expected) in changes {
        fs::remove_dir_all(&tree).unwrap();
        crate::program::make_tree(&tree);
        assert_eq!(why(&desk, &format!("{place} ./tree")), [""; 0]);
        change(&tree);
        desk.run("build tree -o archive:changed.tar -q").ok();
        for changed in ["./tree", "archive:changed.tar"] {
            assert_eq!(why(&desk, &format!("{place} {changed}")), [expected], "{changed}");
        }
        assert_eq!(why(&desk, "oci:layout:v1 ./tree"), [expected, "manifest format"]);
        fs::remove_file(desk.path("changed.tar")).unwrap();
    }
    assert_eq!(desk.names(), ["layout", "tree"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_bundles_only_what_differs_is_fetched() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    for number in 0..40 {
        desk.write(&format!("tree/{number:02}"), &String::from_utf8_lossy(&noise(40_000 + number)));
    }
    let place = format!("{}/team/app", registry.address());
    desk.run(&format!("push tree {place}:v1 -q")).ok();
    desk.write("tree/20", &String::from_utf8_lossy(&noise(40_020)).replacen('a', "b", 1));
    desk.run(&format!("push tree {place}:v2 -q")).ok();
    let ran = desk.run(&format!("why {place}:v1 {place}:v2 -v"));
    let gets = |ran: &str| ran.lines().filter(|line| line.contains("> GET") && line.contains("/blobs/")).count();
    // Of each: the config, the index, one member.
    assert_eq!((ran.code, gets(&ran.stderr)), (Some(1), 6), "{ran:?}");
}

/// A bundle, as a picture.
fn picture(level: u32) -> Picture {
    let rows = [ours::dir("a"), ours::file("a/text", "some text that can be compressed\n".repeat(500))];
    let compress = |member: Member| {
        let builder = flate2::GzBuilder::new().operating_system(255);
        let mut encoder = builder.write(Vec::new(), Compression::new(level));
        encoder.write_all(&member.tar).unwrap();
        let mut gzip = encoder.finish().unwrap();
        // The header says nothing, not even the level.
        gzip[8] = 0;
        Member { gzip, ..member }
    };
    let members: Vec<Member> = ours::members(&rows).into_iter().map(compress).collect();
    let layer = ours::Layer::new(&members, ours::index(&members));
    let mut annotated = Layer::new(media_type::OCI_LAYER_GZIP, layer.bytes, layer.tar);
    annotated.annotations = json!(layer.annotations);
    Picture::of(vec![annotated])
}

#[test]
fn another_compressor_is_named() {
    assert_eq!(between("bundles", &picture(1), &picture(9)), ["layer compressor 0"]);
}

#[test]
fn a_bundle_is_told_from_the_same_archive_of_another_program() {
    let bundle = picture(5);
    let tar = bundle.layers[0].tar.clone();
    let foreign = Picture::of(vec![Layer::of(tar)]);
    assert_eq!(between("foreign", &bundle, &foreign), ["manifest bundle", "layer compressor 0"]);
}

/// The same section, compressed at another level: it is one piece in one gzip member, with a kind and a length in one byte
/// each before the deflate.
fn written_otherwise(section: &[u8]) -> Vec<u8> {
    let (head, payload) = (&section[..12], &section[16..section.len() - 10]);
    let (front, deflate) = payload.split_at(2);
    let mut body = Vec::new();
    DeflateDecoder::new(deflate).read_to_end(&mut body).unwrap();
    assert_eq!(usize::from(front[1]), body.len());
    let mut encoder = DeflateEncoder::new(front.to_vec(), Compression::none());
    encoder.write_all(&body).unwrap();
    let payload = encoder.finish().unwrap();
    let length = payload.len() as u16;
    let lengths = [(length + 4).to_le_bytes(), *b"BN", length.to_le_bytes()].concat();
    [&head[..10], &lengths, &payload, &section[section.len() - 10..]].concat()
}

#[test]
fn an_index_that_is_written_otherwise_is_named() {
    let mut other = picture(5);
    let layer = &mut other.layers[0];
    let location = |key: &str| layer.annotations[key].as_str().unwrap().parse::<Location>().unwrap();
    let (entries, members) = (location(ENTRIES), location(MEMBERS));
    let section = |location: Location| &layer.blob[location.offset as usize..][..location.length as usize];
    let sections = [section(entries), section(members)].map(written_otherwise);
    let mut at = entries.offset;
    for (key, section) in [ENTRIES, MEMBERS].into_iter().zip(&sections) {
        let location = Location { offset: at, length: section.len() as u64, digest: Digest::sha256(section) };
        layer.annotations[key] = json!(location.to_string());
        at += location.length;
    }
    layer.blob.truncate(entries.offset as usize);
    layer.blob.extend(sections.concat());
    assert_eq!(between("index", &picture(5), &other), ["layer index 0"]);
}

#[test]
fn files_that_are_in_other_layers_are_named() {
    let desk = Desk::new();
    for number in 0..60 {
        desk.write(&format!("tree/{number:02}"), &String::from_utf8_lossy(&noise(20_000 + number)));
    }
    let mut seen = std::collections::BTreeMap::new();
    for size in (300..900).step_by(50) {
        let name = format!("size{size}");
        let digest = desk.run(&format!("build tree -o oci:{name}:v1 -q --split={size}kB")).ok();
        let layers =
            desk.run(&format!("inspect oci:{name}:v1 --format json")).json()["layers"].as_array().unwrap().len();
        match seen.insert(layers, (name.clone(), digest.clone())) {
            Some((other, before)) if layers > 1 && before != digest => {
                assert_eq!(why(&desk, &format!("oci:{other}:v1 oci:{name}:v1")), ["manifest division"]);
                return;
            }
            _ => {}
        }
    }
    panic!("no two splits have as many layers: {seen:?}");
}
