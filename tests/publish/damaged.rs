//! Pushes to where something is damaged or lost: a tag whose image cannot be read, a blob that is gone while the tag stays.

use std::fs;

use serde_json::{Value, json};

use crate::embedded::Embedded;
use crate::place::Place;
use crate::program::Desk;
use crate::proxy::Fault::{Answer, Down, Says};
use crate::proxy::{Fault, Harm, Proxy, on};

/// A registry where `team/app:v1` has the content of `tree`, and what it has on the way to the client is another; and the
/// digest that the tag has.
async fn scene(faults: &[(&'static str, &'static str, Fault)]) -> (Embedded, Proxy, Desk, String) {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    desk.write("tree/a.txt", "alpha\n");
    desk.run(&format!("push tree {}/team/app:v1 -l revision=1", registry.address())).ok();
    let first = resolved(&registry, &desk);
    let rules = faults.iter().map(|(method, path, fault)| on(method, *path, *fault).always()).collect();
    let proxy = Proxy::start(registry.address().parse().unwrap(), rules).await;
    (registry, proxy, desk, first)
}

fn resolved(registry: &Embedded, desk: &Desk) -> String {
    desk.run(&format!("resolve {}/team/app:v1", registry.address())).ok().trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_cannot_be_read_is_other_content() {
    let flip = |at| Down(at, Harm::Flip);
    for (fault, is_same) in [
        (("GET", "/blobs/nothing", Answer("404 Not Found")), true),
        (("HEAD", "/manifests/v1", Says("content-type", "application/vnd.example.unknown+json")), false),
        (("HEAD", "/manifests/v1", Says("content-type", "application/vnd.oci.image.index.v1+json")), false),
        (("GET", "/manifests/sha256:", Answer("404 Not Found")), false),
        (("GET", "/manifests/sha256:", flip(10)), false),
        (("GET", "/manifests/sha256:", Says("content-type", "application/vnd.oci.image.index.v1+json")), false),
        (("GET", "/blobs/sha256:", Answer("404 Not Found")), false),
        (("GET", "/blobs/sha256:", flip(10)), false),
    ] {
        let (registry, proxy, desk, first) = scene(&[fault]).await;
        let push = |flags: &str| {
            desk.run(&format!("push tree {}/team/app:v1 -l revision=2 --retry-times 0 {flags}", proxy.address))
        };
        let ran = push("--immutable");
        assert_eq!(ran.code, Some(if is_same { 0 } else { 7 }), "{fault:?}: {ran:?}");
        assert_eq!(resolved(&registry, &desk), first, "{fault:?}");
        let ran = push("--if-changed --format json");
        let result = if is_same { "unchanged" } else { "pushed" };
        assert_eq!((ran.code, &ran.json()["result"]), (Some(0), &json!(result)), "{fault:?}: {ran:?}");
        assert_eq!(resolved(&registry, &desk) == first, is_same, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_cannot_be_found_out_what_a_tag_has_nothing_is_sent() {
    for (fault, code) in [
        (("HEAD", "/manifests/v1", Answer("500 Internal Server Error")), 6),
        (("GET", "/manifests/sha256:", Answer("500 Internal Server Error")), 6),
        (("GET", "/blobs/sha256:", Answer("403 Forbidden")), 4),
        (("GET", "/blobs/sha256:", Answer("500 Internal Server Error")), 6),
    ] {
        let (registry, proxy, desk, first) = scene(&[fault]).await;
        for flags in ["--immutable", "--if-changed", "--if-changed --check"] {
            let push = format!("push tree {}/team/app:v1 -l revision=2 --retry-times 0 {flags}", proxy.address);
            let ran = desk.run(&push);
            assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{fault:?} {flags}: {ran:?}");
        }
        let asked = proxy.asked();
        assert!(asked.iter().all(|line| line.starts_with("HEAD") || line.starts_with("GET")), "{asked:#?}");
        assert_eq!(resolved(&registry, &desk), first);
    }
}

/// The file of a layout that has this in it.
fn file(digest: &str) -> String {
    format!("layout/blobs/{}", digest.replace(':', "/"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_layout_has_other_content() {
    let desk = Desk::new();
    desk.write("tree/a.txt", "alpha\n");
    let push = |flags: &str| desk.run(&format!("push tree oci:layout:v1 --format json {flags}"));
    let mut last = push("").json()["digest"].as_str().unwrap().to_owned();
    let damage = [("manifest", false), ("manifest", true), ("config", false), ("config", true)];
    for (number, (what, is_gone)) in damage.into_iter().enumerate() {
        let manifest: Value = serde_json::from_str(&desk.read(&file(&last))).unwrap();
        let config = manifest["config"]["digest"].as_str().unwrap();
        let damaged = file(if what == "config" { config } else { &last });
        desk.write(&damaged, "{}");
        if is_gone {
            fs::remove_file(desk.path(&damaged)).unwrap();
        }
        let said = format!("-l revision={number}");
        let ran = push(&format!("--immutable {said}"));
        assert_eq!(ran.code, Some(7), "{what}: {ran:?}");
        let pushed = push(&format!("--if-changed {said}")).json();
        assert_eq!(pushed["result"], "pushed", "{what}");
        pushed["digest"].as_str().unwrap().clone_into(&mut last);
        assert_eq!(desk.run("resolve oci:layout:v1").ok().trim_end(), last);
    }
    // Of what is no layout, nothing is known at all.
    desk.write("layout/index.json", "?");
    for flags in ["--immutable", "--if-changed"] {
        assert_eq!((push(flags).code, &*desk.read("layout/index.json")), (Some(5), "?"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_lost_is_sent_again_by_a_push_that_keeps_no_tags() {
    for place in Place::all().await {
        let first = place.pushed("REF:v1");
        let layer = first["layers"][0]["digest"].as_str().unwrap();
        if place.is_layout() {
            fs::remove_file(place.desk().path(&file(layer))).unwrap();
        } else {
            place.desk().run(&format!("blob delete {}@{layer}", place.name)).ok();
        }
        for flags in ["--if-changed", "--immutable", "--if-changed --check"] {
            let json = place.without_writing(|place| {
                let ran = place.push(&format!("REF:v1 {flags} --format json"));
                assert_eq!(ran.code, Some(0), "{ran:?}");
                let json = ran.json();
                (ran, json)
            });
            assert_eq!((&json["result"], &json["bytesUploaded"]), (&json!("unchanged"), &json!(0)), "{flags}");
        }
        let check = place.push("REF:v1 --check --format json");
        assert_eq!(check.code, Some(1), "{check:?}");
        assert_eq!(check.stderr.matches("\nWould upload ").count(), 1, "{check:?}");
        let mended = place.push("REF:v1 --format json");
        assert_eq!((mended.code, mended.stderr.matches("layer").count()), (Some(0), 1), "{mended:?}");
        let (would, did) = (check.json(), mended.json());
        for json in [&would, &did] {
            assert_eq!((&json["result"], &json["layers"][0]["result"]), (&json!("pushed"), &json!("uploaded")));
            assert_eq!((&json["digest"], &json["bytesUploaded"]), (&first["digest"], &first["layers"][0]["size"]));
        }
        assert_eq!(place.pushed("REF:v1")["result"], "unchanged");
        place.desk().run(&format!("validate {}:v1", place.name)).ok();
    }
}
