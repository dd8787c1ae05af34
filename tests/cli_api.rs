//! The commands that show and change what a registry has: manifest, blob, tags, tag, catalog.

mod embedded;
mod program;

use std::io::Write;
use std::process::Stdio;

use bndlr::digest::Digest;
use bndlr::manifest::media_type::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use embedded::{Embedded, image_manifest};
use program::{Desk, Ran, Then, Wire, answer, finish, noise, wait};
use serde_json::json;

/// A registry with an image of one layer at `team/app:v1`.
async fn with_image() -> (Embedded, String, Digest) {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_image("team/app", "v1", b"layer").await;
    let place = format!("{}/team/app", registry.address());
    (registry, place, digest)
}

/// Runs a line of sh, in which bndlr is found by its name.
fn sh(desk: &Desk, line: &str) -> Ran {
    let mut command = desk.process("sh");
    command.args(["-c", line]);
    finish(command)
}

/// Runs bndlr with this on its standard input.
fn run_on(desk: &Desk, arguments: &str, input: &[u8]) -> Ran {
    let mut child = desk.bndlr().args(arguments.split_whitespace()).stdin(Stdio::piped()).start();
    child.stdin.take().unwrap().write_all(input).unwrap();
    wait(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_is_got_byte_for_byte_and_described_in_one_line() {
    let (_registry, place, digest) = with_image().await;
    let (desk, manifest) = (Desk::new(), image_manifest(b"layer"));
    for name in [format!("{place}:v1"), format!("{place}@{digest}"), format!("{place}:v1@{digest}")] {
        assert_eq!(desk.run(&format!("manifest get {name}")).ok(), manifest);
        let line = format!("{digest} {} {OCI_MANIFEST}\n", manifest.len());
        assert_eq!(desk.run(&format!("manifest head {name}")).ok(), line);
    }
    let head = desk.run(&format!("manifest head {place}:v1 --format json")).json();
    let expected = json!({"reference": format!("{place}:v1"), "digest": digest, "mediaType": OCI_MANIFEST, "size": manifest.len()});
    assert_eq!(head, expected);
    for command in ["get", "head"] {
        let missing = desk.run(&format!("manifest {command} {place}:v2"));
        assert_eq!((missing.code, &*missing.stdout), (Some(3), ""), "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_goes_from_one_place_to_another_as_it_is() {
    let (_registry, place, digest) = with_image().await;
    let (desk, manifest) = (Desk::new(), image_manifest(b"layer"));
    let put = run_on(&desk, &format!("manifest put {place}:v2 -"), manifest.as_bytes()).ok();
    assert_eq!(put, format!("{digest}\n"));
    assert_eq!(desk.run(&format!("manifest get {place}:v2")).ok(), manifest);
    desk.write("manifest.json", &manifest);
    let put = desk.run(&format!("manifest put {place}@{digest} manifest.json --format json")).json();
    assert_eq!(put["reference"], format!("{place}@{digest}"));
    assert_eq!((&put["digest"], &put["mediaType"]), (&json!(digest), &json!(OCI_MANIFEST)));

    let other = Digest::sha256(b"other");
    let wrong = desk.run(&format!("manifest put {place}@{other} manifest.json"));
    assert!(wrong.code == Some(7) && wrong.stderr.contains(&format!("{digest}, expected {other}")), "{wrong:?}");
    let mismatch = desk.run(&format!("manifest put {place}:v3 manifest.json --content-type {DOCKER_MANIFEST}"));
    assert!(mismatch.code == Some(6) && mismatch.stderr.contains("MANIFEST_INVALID"), "{mismatch:?}");
    desk.write("mute.json", r#"{"schemaVersion":2,"manifests":[]}"#);
    let mute = desk.run(&format!("manifest put {place}:v3 mute.json"));
    assert!(mute.code == Some(2) && mute.stderr.contains("--content-type"), "{mute:?}");
    desk.run(&format!("manifest put {place}:v3 mute.json -t {OCI_INDEX}")).ok();
    assert_eq!(desk.run(&format!("manifest put {place}:v3 missing.json")).code, Some(8));
    desk.write("large.json", &" ".repeat(4 * 1024 * 1024 + 1));
    assert_eq!(desk.run(&format!("manifest put {place}:v3 large.json -t a/b")).code, Some(5));
    assert_eq!(desk.run(&format!("manifest put {place}:v3 mute.json -t a\u{7f}b")).code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_image_index_the_image_for_a_platform_is_shown_if_that_is_asked_for() {
    let (_registry, place, digest) = with_image().await;
    let (desk, manifest) = (Desk::new(), image_manifest(b"layer"));
    let platform = json!({"os": "linux", "architecture": "riscv64"});
    let entry = json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len(), "platform": platform});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry, entry]}).to_string();
    run_on(&desk, &format!("manifest put {place}:index -"), index.as_bytes()).ok();
    assert_eq!(desk.run(&format!("manifest get {place}:index")).ok(), index);
    assert_eq!(desk.run(&format!("inspect --raw {place}:index")).ok(), index);
    for command in ["manifest get", "inspect --raw"] {
        assert_eq!(desk.run(&format!("{command} {place}:index --platform linux/riscv64")).ok(), manifest);
        let other = desk.run(&format!("{command} {place}:index --platform linux/arm64"));
        assert!(other.code == Some(3) && other.stderr.contains("it has linux/riscv64"), "{other:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_named_is_deleted() {
    let (registry, place, digest) = with_image().await;
    let desk = Desk::new();
    registry.push_image("team/app", "v2", b"layer").await;
    registry.push_image("team/app", "latest", b"other").await;
    for vague in [place.clone(), format!("{place}:v1@{digest}")] {
        let refused = desk.run(&format!("manifest delete {vague}"));
        assert!(refused.code == Some(2) && refused.stderr.contains("hint: name a tag"), "{refused:?}");
    }
    assert_eq!(desk.run(&format!("manifest delete {place}:v1")).ok(), format!("{place}:v1\n"));
    assert_eq!(desk.run(&format!("tags {place}")).ok(), "latest\nv2\n");
    assert_eq!(desk.run(&format!("manifest delete {place}:v1")).code, Some(3));
    let deleted = desk.run(&format!("manifest delete {place}@{digest} --format json")).json();
    assert_eq!(deleted, json!({"reference": format!("{place}@{digest}"), "result": "deleted"}));
    assert_eq!(desk.run(&format!("tags {place}")).ok(), "latest\n");

    let layer = Digest::sha256(b"layer");
    assert_eq!(desk.run(&format!("blob delete {place}@{layer}")).ok(), format!("{place}@{layer}\n"));
    assert_eq!(desk.run(&format!("blob delete {place} {layer}")).code, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_got_whole_or_in_part() {
    let (registry, place, _) = with_image().await;
    let desk = Desk::new();
    let digest = registry.push_blob("team/app", b"0123456789").await;
    assert_eq!(desk.run(&format!("blob get {place}@{digest}")).ok(), "0123456789");
    assert_eq!(desk.run(&format!("blob get {place} {digest}")).ok(), "0123456789");
    for (range, expected) in [("2-4", "234"), ("7-", "789"), ("-3", "789")] {
        assert_eq!(desk.run(&format!("blob get {place} {digest} --range {range}")).ok(), expected);
    }
    assert_eq!(desk.run(&format!("blob get {place} {digest} --range 10-")).code, Some(3));
    assert_eq!(desk.run(&format!("blob get {place} {digest} --range x")).code, Some(2));
    assert_eq!(
        desk.run(&format!("blob head {place}@{digest}")).ok(),
        format!("{digest} 10 application/octet-stream\n")
    );
    let other = Digest::sha256(b"other");
    for command in ["get", "head"] {
        assert_eq!(desk.run(&format!("blob {command} {place}@{other}")).code, Some(3));
        assert_eq!(desk.run(&format!("blob {command} {place}")).code, Some(2));
        assert_eq!(desk.run(&format!("blob {command} {place}@{digest} {other}")).code, Some(2));
    }
}

#[test]
fn a_blob_of_a_layout_or_an_archive_is_got_too() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1 -o archive:image.tar:v1").ok();
    let config = desk.run("inspect oci:layout:v1 --format json").json()["config"].clone();
    let (digest, size) = (config["digest"].as_str().unwrap(), config["size"].as_u64().unwrap());
    let content = desk.read(&format!("layout/blobs/{}", digest.replace(':', "/")));
    for place in ["oci:layout", "archive:image.tar"] {
        assert_eq!(desk.run(&format!("blob get {place}@{digest}")).ok(), content);
        assert_eq!(desk.run(&format!("blob get {place} {digest} --range 2-9")).ok(), content[2..10]);
        assert_eq!(desk.run(&format!("blob get {place} {digest} --range {size}-")).code, Some(3));
        let line = format!("{digest} {size} application/octet-stream\n");
        assert_eq!(desk.run(&format!("blob head {place}@{digest}")).ok(), line);
        let other = Digest::sha256(b"other");
        assert_eq!(desk.run(&format!("blob get {place}@{other}")).code, Some(3));
        assert_eq!(desk.run(&format!("blob delete {place}@{digest}")).code, Some(2));
    }
}

#[test]
fn a_blob_that_is_wrong_is_never_written_whole() {
    let wire = Wire::start(|_| (answer("200 OK", "", 10, b"0123456780"), Then::Close));
    let digest = Digest::sha256(b"0123456789");
    let got = Desk::new().run(&format!("blob get {}/a {digest}", wire.address));
    assert_eq!((got.code, &*got.stdout), (Some(5), ""), "{got:?}");
    let desk = Desk::new();
    desk.write("there", "as it was");
    for name in ["there", "new"] {
        let got = desk.run(&format!("blob get {}/a {digest} -o {name}", wire.address));
        assert_eq!((got.code, &*got.stdout), (Some(5), ""), "{got:?}");
    }
    assert_eq!((desk.names(), desk.read("there")), (vec!["there".to_owned()], "as it was".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_saved_as_a_file_like_any_other() {
    let (registry, place, _) = with_image().await;
    let (desk, content) = (Desk::new(), noise(300_000));
    let digest = registry.push_blob("team/app", &content).await;
    desk.write("plain", "");
    for _ in 0..2 {
        assert_eq!(desk.run(&format!("blob get {place}@{digest} -o blob")).ok(), "blob\n");
        assert!(std::fs::read(desk.path("blob")).unwrap() == content);
    }
    let mode = |name: &str| desk.path(name).metadata().unwrap().permissions();
    assert_eq!(mode("blob"), mode("plain"));
    let part =
        desk.run(&format!("blob get {place} {digest} --range 0-9 -o {} --format json", desk.path("part").display()));
    assert_eq!(part.json(), json!({"file": desk.path("part"), "digest": digest, "size": 10}));
    assert!(std::fs::read(desk.path("part")).unwrap() == content[..10]);
    for (name, message) in
        [("missing/blob", "cannot write missing/blob: "), (".", "is no file"), ("/dev/null", "is no file")]
    {
        let ran = desk.run(&format!("blob get {place} {digest} -o {name}"));
        assert!(ran.code == Some(8) && ran.stderr.contains(message), "{ran:?}");
    }
    assert_eq!(desk.names(), ["blob", "part", "plain"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_is_put_from_a_file_or_from_a_pipe_once() {
    let (_registry, place, _) = with_image().await;
    let desk = Desk::new();
    let content = noise(300_000);
    let digest = Digest::sha256(&content);
    std::fs::write(desk.path("blob"), &content).unwrap();
    let first = desk.run(&format!("blob put {place} blob --format json")).json();
    let expected = json!({"repository": place, "digest": digest, "size": 300_000, "result": "uploaded"});
    assert_eq!(first, expected);
    assert_eq!(desk.run(&format!("blob put {place} blob --format json")).json()["result"], "exists");
    assert_eq!(run_on(&desk, &format!("blob put {place} -"), b"piped").ok(), format!("{}\n", Digest::sha256(b"piped")));
    assert_eq!(sh(&desk, &format!("bndlr blob get {place} {digest} | cmp - blob")).code, Some(0));
    assert_eq!(run_on(&desk, &format!("blob put {place} - -u x --password-stdin"), b"y").code, Some(2));
    let other = Digest::sha256(b"other");
    let wrong = desk.run(&format!("blob put {place} blob --digest {other}"));
    assert!(wrong.code == Some(7) && wrong.stderr.contains(&format!("{digest}, expected {other}")), "{wrong:?}");
    assert_eq!(desk.run(&format!("blob put {place} missing")).code, Some(8));
    assert_eq!(desk.names(), ["blob"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_and_repositories_are_listed_one_a_line_or_as_one_document() {
    let (registry, place, _) = with_image().await;
    let (desk, host) = (Desk::with_tree(), registry.address());
    registry.push_image("team/app", "v2", b"layer").await;
    registry.push_image("a", "v1", b"layer").await;
    assert_eq!(desk.run(&format!("tags {place}")).ok(), "v1\nv2\n");
    assert_eq!(
        desk.run(&format!("tags {place} --format json")).json(),
        json!({"repository": place, "tags": ["v1", "v2"]})
    );
    assert_eq!(desk.run(&format!("catalog {host}")).ok(), format!("{host}/a\n{place}\n"));
    let catalog = desk.run(&format!("catalog {host} --format json")).json();
    assert_eq!(catalog, json!({"registry": host, "repositories": [format!("{host}/a"), place]}));
    assert_eq!(desk.run(&format!("tags {host}/b")).code, Some(3));
    let vague = desk.run(&format!("tags {place}:v1"));
    assert!(vague.code == Some(2) && vague.stderr.contains("bndlr resolve"), "{vague:?}");
    for layout in ["oci:layout", "archive:image.tar"] {
        desk.run(&format!("build tree -o {layout}:v1 -t v2")).ok();
        assert_eq!(desk.run(&format!("tags {layout}")).ok(), "v1\nv2\n");
        assert_eq!(desk.run(&format!("tags {layout}:v1")).code, Some(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_added_to_what_is_there() {
    let (_registry, place, digest) = with_image().await;
    let desk = Desk::with_tree();
    assert_eq!(desk.run(&format!("tag {place}:v1 v2 v3")).ok(), format!("{place}:v2\n{place}:v3\n"));
    let tagged = desk.run(&format!("tag {place}@{digest} v4 --format json")).json();
    assert_eq!(tagged, json!({"digest": digest, "references": [format!("{place}:v4")]}));
    for tag in ["v2", "v3", "v4"] {
        assert_eq!(desk.run(&format!("resolve {place}:{tag}")).ok(), format!("{digest}\n"));
    }
    assert_eq!(desk.run(&format!("tag {place}:v9 v5")).code, Some(3));
    assert_eq!(desk.run(&format!("tag {place}:v1 .v5")).code, Some(2));
    desk.run("build tree -o oci:layout:v1").ok();
    assert_eq!(desk.run("tag oci:layout:v1 v2").ok(), "oci:layout:v2\n");
    assert_eq!(desk.run("resolve oci:layout:v2").ok(), desk.run("resolve oci:layout:v1").ok());
    desk.run("build tree -o archive:image.tar:v1").ok();
    assert_eq!(desk.run("tag archive:image.tar:v1 v2").code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_that_is_closed_is_no_error() {
    let (registry, place, _) = with_image().await;
    let desk = Desk::new();
    let digest = registry.push_blob("team/app", &noise(3_000_000)).await;
    let status = "2>err; echo $? >status";
    for command in [format!("blob get {place} {digest}"), format!("get-blob {place} {digest}")] {
        let first = sh(&desk, &format!("(bndlr {command} {status}) | head -c 10 | wc -c"));
        assert_eq!((first.stdout.trim(), &*desk.read("status"), &*desk.read("err")), ("10", "0\n", ""), "{command}");
    }
    for command in
        [format!("manifest get {place}:v1"), format!("tags {place}"), format!("catalog {}", registry.address())]
    {
        sh(&desk, &format!("(bndlr {command} {status}) | true")).ok();
        assert_eq!((&*desk.read("status"), &*desk.read("err")), ("0\n", ""), "{command}");
    }
}
