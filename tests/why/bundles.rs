//! Pairs of bundles, wherever they are: made with one flag more, or of a directory with one change.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use bndlr::manifest::media_type;
use flate2::Compression;
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
        use std::io::Write;
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
