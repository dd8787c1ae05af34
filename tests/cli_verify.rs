//! The program's command line where a directory is held against what it should be: `verify`.

mod archives;
mod embedded;
mod peer;
mod program;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use archives::Tar;
use embedded::Embedded;
use program::{Desk, Ran, noise};
use serde_json::json;

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The sample tree, pushed as `app:v1`, with links and more files.
async fn scene() -> (Embedded, Desk, String) {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    desk.write("tree/gone", "gone");
    desk.write("tree/turned", "was a file\n");
    let place = format!("{}/team/app:v1", registry.address());
    desk.run(&format!("push tree {place} -q")).ok();
    (registry, desk, place)
}

/// Every kind of drift.
fn drift(desk: &Desk) {
    desk.write("tree/a.txt", "omega\n");
    desk.write("tree/new/file", "added");
    fs::remove_file(desk.path("tree/gone")).unwrap();
    chmod(&desk.path("tree/sub/run.sh"), 0o600);
    for name in ["link", "turned"] {
        fs::remove_file(desk.path("tree").join(name)).unwrap();
    }
    symlink("sub", desk.path("tree/link")).unwrap();
    fs::create_dir(desk.path("tree/turned")).unwrap();
}

const DRIFT: &str = "\
changed  a.txt
missing  gone
target   link
added    new
added    new/file
mode     sub/run.sh
type     turned
";

#[track_caller]
fn assert_drifted(ran: &Ran, expected: &str) {
    assert_eq!((ran.code, &*ran.stderr), (Some(1), ""), "{ran:?}");
    assert_eq!(ran.stdout, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_file_that_has_drifted_is_named() {
    let (_registry, desk, place) = scene().await;
    desk.run("build tree -o oci:layout:v1 -q").ok();
    desk.run("build tree -o archive:image.tar -q --image-format docker").ok();
    drift(&desk);
    for reference in [&place, "oci:layout:v1", "archive:image.tar"] {
        for directory in ["tree", "./tree", "dir:tree"] {
            assert_drifted(&desk.run(&format!("verify {directory} {reference}")), DRIFT);
        }
    }
    assert_eq!(desk.names(), ["image.tar", "layout", "tree"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_the_same_is_said_to_people_alone() {
    let (_registry, desk, place) = scene().await;
    desk.run(&format!("pull {place} -o copy -q")).ok();
    for directory in ["tree", "copy"] {
        let same = desk.run(&format!("verify {directory} {place}"));
        let message = format!("{directory} is what {place} says (8 paths)\n");
        assert_eq!((same.code, &*same.stdout, &*same.stderr), (Some(0), "", &*message));
        let quiet = desk.run(&format!("verify {directory} {place} -q"));
        assert_eq!((quiet.code, &*quiet.stdout, &*quiet.stderr), (Some(0), "", ""));
    }
    desk.run(&format!("push tree/a.txt {place}-one -q")).ok();
    desk.run(&format!("verify tree/a.txt {place}-one")).ok();
    // No mode but the owner's right to execute is kept, and no time.
    chmod(&desk.path("tree/a.txt"), 0o600);
    chmod(&desk.path("tree/sub/run.sh"), 0o700);
    desk.run(&format!("verify tree {place}")).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_gets_one_document() {
    let (_registry, desk, place) = scene().await;
    let digest = desk.run(&format!("resolve {place}")).ok();
    let same = desk.run(&format!("verify tree {place} --format json"));
    let digest = digest.trim_end().rsplit_once('@').map_or(digest.trim_end(), |(_, digest)| digest);
    let expected = json!({"reference": place, "digest": digest, "directory": "tree", "result": "same", "changes": []});
    assert_eq!((same.code, same.json()), (Some(0), expected));
    drift(&desk);
    let json = desk.run(&format!("verify tree {place} --format json")).json();
    assert_eq!(json["result"], "differs");
    let changes = json["changes"].as_array().unwrap();
    let word = |change: &serde_json::Value, key: &str| change[key].as_str().unwrap().to_owned();
    let lines: Vec<_> =
        changes.iter().map(|change| format!("{:<7}  {}", word(change, "kind"), word(change, "path"))).collect();
    assert_eq!(lines, DRIFT.lines().collect::<Vec<_>>());
    assert_eq!(
        changes[5],
        json!({"path": "sub/run.sh", "kind": "mode",
            "expected": {"path": "sub/run.sh", "type": "file", "mode": "0755", "size": 10},
            "found": {"path": "sub/run.sh", "type": "file", "mode": "0644", "size": 10}})
    );
    assert_eq!((&changes[1]["found"], &changes[3]["expected"]), (&json!(null), &json!(null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_passed_over_is_on_both_sides() {
    let (_registry, desk, place) = scene().await;
    drift(&desk);
    let with = |arguments: &[&str]| desk.run_with(&[&["verify", "tree", &place][..], arguments].concat(), &[]);
    let some = ["--ignore", "gone", "--ignore", "/new", "--ignore", "*.sh", "--ignore", "turned"];
    assert_drifted(&with(&some), "changed  a.txt\ntarget   link\n");
    assert_drifted(&with(&["--ignore", "*", "--ignore", "!a.txt"]), "changed  a.txt\n");
    with(&["--ignore", "*"]).ok();
    // Nor is it looked at: what could not be packed is no trouble there.
    let _socket = UnixListener::bind(desk.path("tree/new/socket")).unwrap();
    assert_eq!(with(&[]).code, Some(8));
    with(&["--ignore", "*"]).ok();
    assert_eq!(with(&["--ignore", "[a"]).code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_push_leaves_out_is_not_added_and_may_be_missing() {
    let (_registry, desk, place) = scene().await;
    desk.write("tree/.bndlrignore", "*.log\n");
    desk.write("tree/sub/x.log", "x");
    desk.write("tree/.git/config", "x");
    desk.run(&format!("verify tree {place}")).ok();
    desk.write("tree/.bndlrignore", "*.log\n/gone\n");
    let ran = desk.run(&format!("verify tree {place}"));
    assert_eq!((ran.code, &*ran.stdout), (Some(1), "missing  gone\n"));
    assert!(ran.stderr.starts_with("warning: gone: missing, because a push would leave it out"), "{ran:?}");
    let ran = desk.run(&format!("verify tree {place} --ignore gone --exclude empty"));
    assert_eq!((ran.code, &*ran.stdout), (Some(1), "missing  empty\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_bundle_no_more_is_fetched_than_is_needed() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    for number in 0..40 {
        desk.write(&format!("tree/{number:02}"), &String::from_utf8_lossy(&noise(40_000 + number)));
    }
    let place = format!("{}/team/app:v1", registry.address());
    desk.run(&format!("push tree {place} -q")).ok();
    let blobs =
        |ran: &Ran| ran.stderr.lines().filter(|line| line.contains("> GET") && line.contains("/blobs/")).count();
    let same = desk.run(&format!("verify tree {place} -v"));
    assert_eq!((same.code, blobs(&same)), (Some(0), 1), "{same:?}");
    desk.write("tree/20", &String::from_utf8_lossy(&noise(40_020)).replacen('a', "b", 1));
    let changed = desk.run(&format!("verify tree {place} -v"));
    assert_eq!((changed.code, blobs(&changed)), (Some(1), 2), "{changed:?}");
    assert_eq!(changed.stdout, "changed  20\n");
    // That sizes differ is in the index.
    desk.write("tree/20", "short");
    let changed = desk.run(&format!("verify tree {place} -v"));
    assert_eq!(changed.stdout, "changed  20\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_image_is_held_against_what_it_unpacks_to() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let tar = Tar::new().entry("etc/", b'5', 0o700, "", b"").entry("etc/a", b'0', 0o4750, "", b"same\n");
    let tar = tar.hard_link("etc/c", "etc/a").file("etc/b", "old\n").symlink("etc/l", "/usr/a").file("no/parent", "");
    registry.push_image("team/foreign", "v1", &archives::gzip(&tar.end())).await;
    let place = format!("{}/team/foreign:v1", registry.address());
    desk.run(&format!("pull {place} -o copy -q")).ok();
    desk.run(&format!("verify copy {place}")).ok();
    chmod(&desk.path("copy/etc/a"), 0o640);
    desk.write("copy/etc/b", "new\n");
    assert_drifted(&desk.run(&format!("verify copy {place}")), "mode     etc/a\nchanged  etc/b\nmode     etc/c\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn that_it_cannot_be_said_is_no_drift() {
    let (_registry, desk, place) = scene().await;
    desk.run("build tree -o oci:layout:v1 -q").ok();
    let inspected = desk.run("inspect oci:layout:v1 --format json").json();
    let digest = inspected["layers"][0]["digest"].as_str().unwrap().replace(':', "/");
    let layer = desk.path("layout/blobs").join(digest);
    let mut bytes = fs::read(&layer).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(layer, bytes).unwrap();
    for (arguments, code, words) in [
        ("verify tree oci:layout:v1".to_owned(), 5, "digest"),
        (format!("verify tree {place}-not"), 3, "not"),
        (format!("verify nowhere {place}"), 8, "nowhere"),
        (format!("verify {place} tree"), 2, "hint: the directory comes first, and then the reference"),
        (format!("verify {place} ./tree"), 2, "hint: the directory comes first, and then the reference"),
        ("verify tree ./tree".to_owned(), 2, "reference"),
        ("verify tree".to_owned(), 2, "<REFERENCE>"),
    ] {
        let ran = desk.run(&arguments);
        assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}
