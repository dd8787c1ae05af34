//! `bndlr gc`, and the collections of `bndlr serve`, as whoever runs them meets them.

mod embedded;
mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use bndlr::digest::Digest;
use embedded::Embedded;
use program::{Desk, signal, wait};
use serde_json::json;

/// A registry in `root` that has an image under a tag, and one under none.
async fn fill(desk: &Desk) -> Digest {
    let registry = Embedded::in_directory(&desk.path("root")).await;
    registry.push_image("a", "v1", b"live").await;
    let dead = registry.push_image("a", "old", b"dead").await;
    let deleted = registry.request(reqwest::Method::DELETE, "/v2/a/manifests/old").send().await.unwrap();
    assert_eq!(deleted.status(), 202);
    registry.begin_upload("a").await;
    registry.stop().await;
    dead
}

fn files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else {
            files.push(path.to_str().unwrap().to_owned());
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_says_what_is_damaged_after_all_else_is_done() {
    let desk = Desk::new();
    fill(&desk).await;
    let damaged = Digest::sha256(b"damaged");
    desk.write(&format!("root/repositories/a/_manifests/sha256/{}", damaged.hex()), "?");
    let ran = desk.run("gc --root root --grace 0s --upload-timeout 0s");
    assert_eq!(ran.code, Some(5), "{ran:?}");
    assert!(ran.stdout.starts_with("Freed 0 manifests, 0 blobs and 1 upload: "), "{ran:?}");
    assert!(ran.stderr.contains(&format!("manifest {damaged} of a is damaged")), "{ran:?}");
    let ran = desk.run("gc --root root --grace 0s --format json");
    assert_eq!((ran.code, &ran.json()["error"]["code"]), (Some(5), &json!("content")));
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_shows_what_would_go_and_then_what_it_freed() {
    let desk = Desk::new();
    let dead = fill(&desk).await;
    let before = files(&desk.path("root"));
    assert_eq!(desk.run("gc --root root").ok(), "Freed 0 manifests, 0 blobs and 0 uploads: 0 B\n", "all is young");
    let would = desk.run("gc --root root --grace 0s --upload-timeout 0s --dry-run").ok();
    assert_eq!(files(&desk.path("root")), before, "a dry run changes nothing");
    let content = Digest::sha256(b"dead");
    let expected = [
        format!("Would remove the link of blob {content} in a"),
        format!("Would remove manifest {dead} of a"),
        format!("Would remove content {content}"),
    ];
    let lines: Vec<_> = would.lines().collect();
    assert_eq!(lines[..3], expected);
    assert!(lines[3].starts_with("Would free 1 manifest, 1 blob and 1 upload: "), "{would}");

    let would = desk.run("gc --root root --grace 0s --dry-run --format json").json();
    assert_eq!((&would["dryRun"], would["items"].as_array().unwrap().len()), (&json!(true), 3));
    assert_eq!(would["items"][1], json!({"kind": "manifest", "repository": "a", "digest": dead.to_string()}));
    let kept = desk.run("gc --root root --grace 0s --keep-untagged --format json").json();
    assert_eq!(kept, json!({"manifests": 0, "links": 0, "blobs": 0, "uploads": 0, "bytes": 0, "dryRun": false}));
    let freed = desk.run("gc --root root --grace 0s --upload-timeout 0s --format json").json();
    assert_eq!(
        (&freed["manifests"], &freed["links"], &freed["blobs"], &freed["uploads"]),
        (&json!(1), &json!(1), &json!(1), &json!(1))
    );
    assert_eq!(freed["bytes"], would["bytes"]);
    assert!(files(&desk.path("root")).len() < before.len());
}

#[test]
fn gc_of_what_is_no_registry_is_an_error_and_makes_none() {
    let desk = Desk::new();
    std::fs::create_dir(desk.path("empty")).unwrap();
    desk.write("full/file", "precious");
    for (directory, code, message) in [
        ("nothing", 3, "error: there is no registry in nothing\n"),
        ("empty", 3, "error: there is no registry in empty\n"),
        (
            "full",
            8,
            "error: cannot keep a registry in full: full is neither empty nor a registry's: nothing in it was touched\n",
        ),
    ] {
        let ran = desk.run(&format!("gc --root {directory}"));
        assert_eq!((ran.code, &*ran.stderr), (Some(code), message));
    }
    assert!(!desk.path("nothing").exists());
    assert_eq!(std::fs::read_dir(desk.path("empty")).unwrap().count(), 0);
    assert_eq!(std::fs::read_dir(desk.path("full")).unwrap().count(), 1);
    assert_eq!(desk.run("gc").code, Some(2));
    let ran = desk.run("gc --root empty --grace 24");
    assert!(ran.code == Some(2) && ran.stderr.contains("such as 90s, 15m, 24h or 7d"), "{ran:?}");
}

fn serve(desk: &Desk, arguments: &str) -> (program::Running, String) {
    let mut child = desk.start(&format!("serve --listen 127.0.0.1:0 --root root {arguments}"));
    let mut address = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
    (child, address.trim_end().to_owned())
}

fn metrics(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Serves until a collection has ended, and returns what the metrics say then and what was said on standard error.
fn serve_until_collected(desk: &Desk, arguments: &str) -> (String, String) {
    let (child, address) = serve(desk, arguments);
    let text = loop {
        let text = metrics(&address);
        if !text.contains("bndlr_collections_total{result=\"done\"} 0\n") {
            break text;
        }
    };
    signal(&child, "TERM");
    let ran = wait(child);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    (text, ran.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_collects_when_told_to_and_says_what_it_freed() {
    let desk = Desk::new();
    fill(&desk).await;
    let (text, said) = serve_until_collected(&desk, "--gc-interval 1h --gc-grace 0s");
    assert!(text.contains("bndlr_collected_manifests_total 1\n"), "{text}");
    assert!(text.contains("bndlr_collected_blobs_total 1\n"), "{text}");
    assert!(text.contains("bndlr_collected_uploads_total 0\n"), "{text}");
    assert!(said.contains("manifests=1 links=1 blobs=1 uploads=0 bytes="), "{said}");
    let (_, said) = serve_until_collected(&desk, "--gc-interval 1h --gc-grace 0s");
    assert_eq!(said, "", "nothing was to be said");
}

/// The specification's draft: a registry SHOULD let unfinished uploads time out. Nothing else goes.
#[tokio::test(flavor = "multi_thread")]
async fn serve_lets_unfinished_uploads_time_out_and_collects_nothing_else_by_itself() {
    let desk = Desk::new();
    fill(&desk).await;
    let (text, _) = serve_until_collected(&desk, "");
    assert!(text.contains("bndlr_collected_uploads_total 0\n"), "it is young: {text}");
    let (text, said) = serve_until_collected(&desk, "--upload-timeout 0s");
    assert!(text.contains("bndlr_collected_uploads_total 1\n"), "{text}");
    assert!(text.contains("bndlr_collected_manifests_total 0\n"), "{text}");
    assert!(said.contains("manifests=0 links=0 blobs=0 uploads=1 bytes=0"), "{said}");
}

#[test]
fn serve_collects_nothing_when_it_is_read_only() {
    let desk = Desk::new();
    let ran = desk.run("serve --root root --read-only --gc-interval 1h");
    assert!(ran.code == Some(2) && ran.stderr.contains("cannot be used with"), "{ran:?}");
    let ran = desk.run("serve --root root --gc-grace 1h");
    assert!(ran.code == Some(2) && ran.stderr.contains("--gc-interval"), "{ran:?}");
}
