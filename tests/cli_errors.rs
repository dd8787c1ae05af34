//! The program's command line when something is wrong: the exit code, what is said, what the user can do, and that
//! nothing is left behind.

mod embedded;
mod fake;
mod peer;
mod program;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use bndlr::digest::Digest;
use bndlr::manifest::media_type::OCI_MANIFEST;
use embedded::Embedded;
use program::{Desk, LONG, Ran, Then, Wire, answer, finish, noise, signal, wait};
use serde_json::{Value, json};
use wiremock::ResponseTemplate;

/// That a run failed so, saying this, and hinting at that if a hint is expected.
#[track_caller]
fn assert_failed(ran: &Ran, code: i32, message: &str, hint: Option<&str>) {
    assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
    let said = ran.stderr.lines().find_map(|line| line.strip_prefix("error: ")).unwrap_or_default();
    assert!(said.contains(message), "expected {message:?}: {ran:?}");
    let hinted = ran.stderr.lines().find_map(|line| line.strip_prefix("hint: "));
    assert_eq!(hinted.is_some(), hint.is_some(), "{ran:?}");
    assert!(hinted.unwrap_or_default().contains(hint.unwrap_or_default()), "expected {hint:?}: {ran:?}");
    for junk in ["for url", "reqwest", "hyper", "Error {", "\u{1b}", "panicked"] {
        assert!(!ran.stderr.contains(junk), "{junk:?}: {ran:?}");
    }
}

#[test]
fn wrong_arguments_are_named_before_anything_is_done() {
    let desk = Desk::with_tree();
    let place = "127.0.0.1:1/team/app:v1";
    for (arguments, message, hint) in [
        (&["push", "tree", "127.0.0.1:1/Team/App"][..], "capital letters", "localhost:5000/demo:v1"),
        (&["push", "tree", "a b"], "white space", "a reference is"),
        (&["pull", ""], "empty", "a reference is"),
        (&["pull", "./tree"], "\".\"", "\"./tree\" is a directory here"),
        (&["push", "tree", "oci:"], "names no path", ""),
        (&["push", "tree", place, "--bogus"], "'--bogus'", "REFERENCE>..., or bndlr push [OPTIONS] --self <REF"),
        (&["push", "tree", place, "--exclud", "x"], "'--exclud'", "'--exclude'"),
        (&["pusj", "tree", place], "'pusj'", "'push'"),
        (&["push", "tree"], "not provided: <REFERENCE>...", "bndlr push [OPTIONS] <DIRECTORY> <REFERENCE>..."),
        (&["build", "tree"], "--output <LOCATION>", "--help"),
        (&["build", "tree", "-o", place], "is in a registry", "bndlr push"),
        (&["push", "tree", place, "-a", "novalue"], "'novalue'", "--help"),
        (&["push", "tree", place, "-t", "-x"], "", "--help"),
        (&["push", "tree", place, "--platform", "linux"], "'linux'", "--help"),
        (&["push", "tree", place, "--concurrency", "0"], "from 1 to 256", "--help"),
        (&["pull", place, "--timeout", "0"], "from 0.001 to 86400", "--help"),
        (&["pull", place, "--retry-times", "often"], "'often'", "--help"),
        (&["push", "tree", place, "--image-format", "docker", "-a", "k=v"], "no annotations", "-l for labels"),
        (&["push", "tree", place, "-u", "alice"], "needs a password", "--password-stdin"),
        (&["push", "tree", "oci:x", "-u", "alice", "-p", "x"], "none is named", ""),
        (&["push", "tree", "-u", "alice", "-p", "x", "a.io/b", "c.io/d"], "a.io and c.io", "one after the other"),
        (&["pull", "oci:x", "--format", "xml"], "'xml'", "--help"),
        (&["serve"], "--root <DIR>|--", "--help"),
        (&["serve", "--memory", "--root", "kept"], "cannot be used with", "--help"),
        (&["serve", "--memory", "--listen", "0.0.0.0:0"], "other machines", "--anonymous"),
        (&["serve", "--memory", "--max-connections", "0"], "a number from 1 on", "--help"),
        (&["serve", "--memory", "--max-uploads", "0"], "a number from 1 on", "--help"),
        (&["serve", "--memory", "--idle-timeout", "0"], "--idle-timeout", "--help"),
        (&["serve", "--memory", "--gc-interval", "0s"], "one second at least", "--help"),
        (&["serve", "--memory", "--host", "https://registry.example"], "registry.example", "--help"),
        (&["push", "--self", place, "--split"], "cannot be used with", "--help"),
        (&["push", "tree", "--list", "--check"], "cannot be used with", "--help"),
        (&["push", "tree", "--list", "--digest-file", "x"], "cannot be used with", "--help"),
        (&["build", "tree", "--list", "--digest-file", "x"], "cannot be used with", "--help"),
        (&["diff", "oci:a", "oci:b", "--exclude", "x"], "neither oci:a nor oci:b is one", "./x, ../x"),
        (&["diff", "oci:a", "oci:b", "--include-vcs"], "--include-vcs is for directories", "dir:x"),
        (&["diff", "oci:a", "oci:b", "--symlinks", "follow"], "--symlinks is for directories", "dir:x"),
        (&["why", "oci:a", "oci:b", "--exclude", "x"], "--exclude is for directories", "dir:x"),
    ] {
        let ran = desk.run_with(arguments, &[]);
        assert_failed(&ran, 2, message, (!hint.is_empty()).then_some(hint));
        assert!(!ran.stderr.contains("Packing"), "{ran:?}");
    }
    assert_eq!(desk.names(), ["tree"]);
}

#[cfg(feature = "object-store")]
#[test]
fn a_bucket_that_cannot_be_used_is_named_before_anything_is_served() {
    let desk = Desk::new();
    assert_failed(&desk.run("serve --memory --storage s3://x"), 2, "cannot be used with", Some("--help"));
    assert_failed(&desk.run("serve --storage ./x"), 2, "\"./x\" is no bucket, expected s3://BUCKET/PREFIX", None);
    assert_failed(&desk.run("serve --storage az://x"), 6, "cannot use az://x", Some("AWS_REGION"));
    assert!(desk.names().is_empty());
}

#[test]
fn an_error_is_one_document_where_json_is_asked_for() {
    let desk = Desk::with_tree();
    for (arguments, code, word, message) in [
        ("push --format json", 2, "usage", "<DIRECTORY> <REFERENCE>..."),
        ("--format=json psh", 2, "usage", "'psh'"),
        ("pull Foo --format json", 2, "usage", "capital letters"),
        ("ls oci:nowhere --format json", 8, "local", "nowhere"),
        ("resolve 127.0.0.1:1/a --format json", 6, "remote", "connection refused"),
    ] {
        let ran = desk.run(arguments);
        assert_eq!((ran.code, &*ran.stderr), (Some(code), ""), "{ran:?}");
        let json = ran.json();
        assert_eq!(json["error"].as_object().unwrap().keys().collect::<Vec<_>>(), ["code", "hint", "message"]);
        assert_eq!(json["error"]["code"], word);
        assert!(json["error"]["message"].as_str().unwrap().contains(message), "{json}");
        assert!(!json["error"]["message"].as_str().unwrap().contains('\n'), "{json}");
    }
}

#[test]
fn what_cannot_be_packed_is_named() {
    let desk = Desk::new();
    desk.write("tree/a", "a");
    assert_failed(&desk.run("push nowhere oci:out"), 8, "cannot read nowhere: No such file", None);
    assert_failed(
        &desk.run("push localhost:5000/a:v1 oci:out"),
        8,
        "localhost:5000/a:v1",
        Some("directory comes first"),
    );
    let leave_out = Some("--exclude");
    let socket = UnixListener::bind(desk.path("tree/socket")).unwrap();
    assert_failed(&desk.run("push tree oci:out"), 8, "tree/socket is a socket", leave_out);
    fs::remove_file(desk.path("tree/socket")).unwrap();
    drop(socket);
    assert!(Command::new("mkfifo").arg(desk.path("tree/pipe")).status().unwrap().success());
    assert_failed(&desk.run("build tree -o archive:out"), 8, "tree/pipe is a", leave_out);
    assert_eq!(desk.run("build tree -o archive:fine --exclude pipe").code, Some(0));
    fs::remove_file(desk.path("tree/pipe")).unwrap();
    for (target, message) in [("../outside", "link"), ("/etc/passwd", "link")] {
        symlink(target, desk.path("tree/link")).unwrap();
        assert_failed(&desk.run("push tree oci:out"), 8, message, leave_out);
        fs::remove_file(desk.path("tree/link")).unwrap();
    }
    symlink("a", desk.path("tree/link")).unwrap();
    assert_failed(
        &desk.run("push tree oci:out --symlinks error"),
        8,
        "tree/link is a symbolic link",
        Some("--symlinks"),
    );
    assert_eq!(desk.names(), ["fine", "tree"]);
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let desk = Desk::new();
    desk.write("tree/secret", "x");
    fs::set_permissions(desk.path("tree/secret"), fs::Permissions::from_mode(0o000)).unwrap();
    let mut command = desk.bndlr();
    if fs::read(desk.path("tree/secret")).is_ok() {
        // Who may read everything has to be somebody else, who may not even see where this program was built.
        let Some(setpriv) = peer::require("setpriv") else { return };
        desk.install("bndlr");
        fs::set_permissions(desk.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(desk.path(".tmp"), fs::Permissions::from_mode(0o777)).unwrap();
        command = desk.process(setpriv);
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(desk.path("bndlr"));
    }
    command.args(["push", "tree", "127.0.0.1:1/a:v1"]);
    assert_failed(&finish(command), 8, "cannot read tree/secret: Permission denied", Some("--exclude"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_into_a_directory_that_is_in_use_changes_nothing() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let place = format!("{}/team/app:v1", registry.address());
    desk.run(&format!("push tree {place}")).ok();
    desk.write("used/mine", "mine");
    desk.write("file", "mine");
    for target in ["used", "file"] {
        let ran = desk.run(&format!("pull {place} -o {target}"));
        assert_failed(&ran, 8, "is there already", Some("does not exist yet"));
    }
    assert_eq!(fs::read_dir(desk.path("used")).unwrap().count(), 1);
    assert_eq!(desk.names(), ["file", "tree", "used"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_was_expected_and_is_not_there_stops_a_push_before_it_begins() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let (host, other) = (registry.address(), Digest::sha256(b"other"));
    let ran = desk.run(&format!("push tree {host}/first:v1 {host}/second@{other}"));
    assert_failed(&ran, 7, &format!("expected {other}"), Some("nothing was sent"));
    assert_failed(&desk.run(&format!("resolve {host}/first:v1")), 3, "404 Not Found", None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_index_without_a_match_says_what_it_has() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let place = format!("{}/team/app", registry.address());
    let mut manifests = Vec::new();
    for platform in ["linux/s390x", "linux/arm/v7"] {
        desk.run(&format!("push tree {place} --platform {platform}")).ok();
        let image = desk.run(&format!("resolve {place} --format json")).json();
        let parts: Vec<_> = platform.split('/').collect();
        manifests.push(json!({
            "mediaType": image["mediaType"], "digest": image["digest"], "size": image["size"],
            "platform": {"os": parts[0], "architecture": parts[1]},
        }));
    }
    let kind = "application/vnd.oci.image.index.v1+json";
    let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": manifests});
    let put = registry.put("/v2/team/app/manifests/all", kind, index.to_string()).await;
    assert_eq!(put.status(), 201);
    let ran = desk.run(&format!("pull {place}:all --platform windows/amd64"));
    assert_failed(&ran, 3, "has nothing for windows/amd64", Some("linux/s390x, linux/arm: pick one with --platform"));
    assert_eq!(desk.run(&format!("pull {place}:all --platform linux/s390x")).code, Some(0));
}

#[test]
fn a_registry_that_says_no_or_nonsense_is_quoted_as_far_as_it_makes_sense() {
    let desk = Desk::with_tree();
    let says = |status: &'static str, kind: &str, body: &'static str| {
        let headers = format!("Content-Type: {kind}\r\n");
        Wire::start(move |_| (answer(status, &headers, body.len(), body.as_bytes()), Then::Close))
    };
    let error = |code: &str| -> &'static str {
        json!({"errors": [{"code": code, "message": "no such luck"}]}).to_string().leak()
    };
    let kind = "application/json";
    for (wire, code, message, hint) in [
        (says("200 OK", "text/html", "<html>hello</html>"), 6, "text/html", Some("is this a registry?")),
        (says("401 Unauthorized", kind, error("UNAUTHORIZED")), 4, "401 Unauthorized", Some("--password-stdin")),
        (says("403 Forbidden", kind, error("DENIED")), 4, "403 Forbidden: DENIED: no such luck", Some("log in")),
        (says("404 Not Found", kind, error("MANIFEST_UNKNOWN")), 3, "MANIFEST_UNKNOWN: no such luck", None),
        (says("500 Internal Server Error", kind, error("UNKNOWN")), 6, "500 Internal Server Error", None),
        (says("502 Bad Gateway", "text/html", "<html>"), 6, "502 Bad Gateway", Some("is this a registry?")),
    ] {
        let ran = desk.run(&format!("pull {}/team/app:v1", wire.address));
        assert_failed(&ran, code, message, hint);
        assert!(ran.stderr.contains(&format!("GET {}/v2/team/app/manifests/v1: ", wire.address)), "{ran:?}");
    }
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for command in ["pull HOST/a:v1", "push tree HOST/a:v1", "resolve HOST/a:v1", "ls HOST/a:v1", "inspect HOST/a:v1"] {
        let ran = desk.run(&command.replace("HOST", &free.to_string()));
        assert_failed(&ran, 6, "connection refused", Some("is a registry running"));
    }
    assert_eq!(desk.names(), ["tree"]);
}

#[test]
fn a_path_that_is_taken_for_a_reference_is_explained() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1").ok();
    // A name without a host is one of Docker Hub, which nobody reaches through a proxy that is not there.
    let proxy = [("https_proxy", "http://127.0.0.1:1")];
    let ran = desk.run_with(&["pull", "layout"], &proxy);
    assert_failed(&ran, 6, "index.docker.io", Some("write oci:layout"));
    let ran = desk.run_with(&["push", "tree", "tree"], &proxy);
    assert_failed(&ran, 6, "index.docker.io", Some("\"tree\" is a directory here"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_is_not_there_is_met_with_the_one_that_may_be_meant() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let place = format!("{}/team/app", registry.address());
    desk.run(&format!("push tree {place}:v1.2.3 -t stable,v2")).ok();
    desk.run("build tree -o oci:layout:v1.2.3").ok();
    for command in ["resolve", "pull", "ls", "inspect"] {
        let hint = format!("did you mean {place}:v1.2.3?");
        assert_failed(&desk.run(&format!("{command} {place}:v1.2.4")), 3, "404 Not Found", Some(&hint));
    }
    assert_failed(&desk.run("resolve oci:layout:v1.2"), 3, "v1.2", Some("did you mean oci:layout:v1.2.3?"));
    assert_failed(&desk.run(&format!("resolve {place}:stabel")), 3, "404", Some("did you mean"));
    assert_failed(&desk.run(&format!("resolve {place}:other")), 3, "404", None);
}

/// An image of one large file, as a registry would answer with it.
struct Image {
    manifest: Vec<u8>,
    layer: Vec<u8>,
    config: Vec<u8>,
}

impl Image {
    fn build(desk: &Desk) -> Self {
        fs::create_dir(desk.path("noisy")).unwrap();
        fs::write(desk.path("noisy/noise"), noise(200_000)).unwrap();
        desk.run("build noisy -o oci:source:v1").ok();
        let manifest = desk.run("inspect oci:source:v1 --raw").ok();
        let json: Value = serde_json::from_str(&manifest).unwrap();
        let blob = |part: &Value| {
            fs::read(desk.path("source/blobs/sha256").join(&part["digest"].as_str().unwrap()[7..])).unwrap()
        };
        let image = Self { layer: blob(&json["layers"][0]), config: blob(&json["config"]), manifest: manifest.into() };
        fs::remove_dir_all(desk.path("source")).unwrap();
        fs::remove_dir_all(desk.path("noisy")).unwrap();
        image
    }

    /// A registry that has it, but answers so where the layer is asked for.
    fn serve(self, layer: impl Fn(&[u8]) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Wire {
        let config = Digest::sha256(&self.config).to_string();
        Wire::start(move |request| {
            if request.contains("/manifests/") {
                let kind = format!("Content-Type: {OCI_MANIFEST}\r\n");
                (answer("200 OK", &kind, self.manifest.len(), &self.manifest), Then::Close)
            } else if request.contains(&config) {
                (answer("200 OK", "", self.config.len(), &self.config), Then::Close)
            } else {
                layer(&self.layer)
            }
        })
    }
}

/// A change to a layer that its digest does not allow.
type Spoil = fn(&mut Vec<u8>);

#[test]
fn what_is_not_what_its_digest_says_is_never_unpacked() {
    let desk = Desk::new();
    let wire = Image::build(&desk).serve(|layer| (answer("200 OK", "", layer.len(), layer), Then::Close));
    let place = format!("{}/team/app", wire.address);
    desk.run(&format!("pull {place}:v1 -o fine")).ok();
    let other = Digest::sha256(b"other");
    let ran = desk.run(&format!("pull {place}@{other} -o bad"));
    assert_failed(&ran, 5, &format!("expected {other}"), None);
    let spoilt: [(Spoil, &str); 4] = [
        (|layer| layer[40_000] ^= 1, "sha256:"),
        (|layer| *layer.last_mut().unwrap() ^= 1, "sha256:"),
        (|layer| layer.truncate(50_000), "bytes"),
        (|layer| layer.push(0), "bytes"),
    ];
    for (spoil, message) in spoilt {
        let wire = Image::build(&desk).serve(move |layer| {
            let mut layer = layer.to_vec();
            spoil(&mut layer);
            (answer("200 OK", "", layer.len(), &layer), Then::Close)
        });
        let ran = desk.run(&format!("pull {}/team/app:v1 -o bad/deep", wire.address));
        assert_failed(&ran, 5, message, None);
        assert_eq!(desk.names(), ["fine"]);
    }
    let wire = Image::build(&desk).serve(|layer| (answer("200 OK", "", layer.len(), &layer[..50_000]), Then::Close));
    let ran = desk.run(&format!("pull {}/team/app:v1 -o bad/deep", wire.address));
    assert_failed(&ran, 6, "broke off", None);
    assert_eq!(desk.names(), ["fine"]);
}

#[test]
fn for_a_target_that_is_not_vacant_no_layer_is_asked_for() {
    let desk = Desk::with_tree();
    desk.write("file", "");
    let wire = Image::build(&desk).serve(|layer| (answer("200 OK", "", layer.len(), layer), Then::Close));
    for target in ["tree", "file"] {
        for part in ["", " --include *.yaml"] {
            let ran = desk.run(&format!("pull {}/team/app:v1 -o {target}{part}", wire.address));
            assert_failed(&ran, 8, &format!("\"{target}\" is there already"), Some("--update"));
            assert!(!ran.stderr.contains("Downloading"), "{ran:?}");
        }
    }
}

#[test]
fn an_interrupted_pull_leaves_nothing_behind() {
    let desk = Desk::new();
    for name in ["INT", "TERM"] {
        let half = |layer: &[u8]| (answer("200 OK", "", layer.len(), &layer[..layer.len() / 2]), Then::Hang);
        let wire = Image::build(&desk).serve(half);
        let child = desk.start(&format!("pull {}/team/app:v1 -o target/deep", wire.address));
        wire.wait_for("GET /v2/team/app/blobs/");
        wire.wait_for("GET /v2/team/app/blobs/");
        signal(&child, name);
        let ran = wait(child);
        assert_failed(&ran, 130, "interrupted", None);
        assert_eq!(desk.names(), [""; 0], "{name}");
    }
}

/// With a registry that hears that the upload is given up, and with one that does not answer to that either.
#[test]
fn an_interrupted_push_leaves_nothing_behind_here_or_there() {
    for hears in [true, false] {
        let desk = Desk::with_tree();
        let wire = Wire::start(move |request| match request.split(' ').next() {
            Some("HEAD" | "GET") => (answer("404 Not Found", "", 0, b""), Then::Close),
            Some("POST") => (answer("202 Accepted", "Location: /upload\r\n", 0, b""), Then::Close),
            Some("DELETE") if hears => (answer("204 No Content", "", 0, b""), Then::Close),
            _ => (Vec::new(), Then::Hang),
        });
        let child = desk.start(&format!("push tree {}/team/app:v1 --digest-file digest.txt", wire.address));
        wire.wait_for("PUT /upload");
        let begun = Instant::now();
        signal(&child, "INT");
        assert_failed(&wait(child), 130, "interrupted", None);
        assert!(begun.elapsed() < LONG / 4, "nobody waits long for a registry that does not answer");
        wire.wait_for("DELETE /upload");
        assert_eq!(desk.names(), ["tree"]);
    }
}

/// The connections that are open then belong to what is ending.
#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_push_cancels_its_uploads_where_connections_are_kept() {
    let desk = Desk::with_tree();
    let (sender, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let uploads = AtomicUsize::new(0);
    let registry = fake::server(move |request| match request.method.as_str() {
        "HEAD" | "GET" => ResponseTemplate::new(404),
        "POST" => fake::redirect(202, format!("/uploads/{}", uploads.fetch_add(1, Ordering::Relaxed))),
        "PUT" => {
            // The test may have seen enough.
            let _ = sender.send(());
            ResponseTemplate::new(201).set_delay(LONG)
        }
        _ => ResponseTemplate::new(204),
    })
    .await;
    let child = desk.start(&format!("push tree {}/team/app:v1", registry.address()));
    for _ in ["config", "layer"] {
        begun.recv().await.unwrap();
    }
    signal(&child, "INT");
    let ran = tokio::task::spawn_blocking(|| wait(child)).await.unwrap();
    assert_failed(&ran, 130, "interrupted", None);
    let asked = fake::asked(&registry).await;
    for upload in ["DELETE /uploads/0", "DELETE /uploads/1"] {
        assert!(asked.iter().any(|line| line == upload), "{upload} is not among {asked:?}");
    }
}

#[test]
fn an_interrupted_push_cancels_an_upload_again_where_the_connection_ends_under_it() {
    let desk = Desk::with_tree();
    let is_first = AtomicBool::new(true);
    let wire = Wire::start(move |request| match request.split(' ').next() {
        Some("HEAD" | "GET") => (answer("404 Not Found", "", 0, b""), Then::Close),
        Some("POST") => (answer("202 Accepted", "Location: /upload\r\n", 0, b""), Then::Close),
        Some("DELETE") if is_first.swap(false, Ordering::Relaxed) => (Vec::new(), Then::Close),
        Some("DELETE") => (answer("204 No Content", "", 0, b""), Then::Close),
        _ => (Vec::new(), Then::Hang),
    });
    let child = desk.start(&format!("push tree {}/team/app:v1", wire.address));
    for _ in ["config", "layer"] {
        wire.wait_for("PUT /upload");
    }
    signal(&child, "INT");
    assert_failed(&wait(child), 130, "interrupted", None);
    for _ in ["config", "layer", "the first of these, again"] {
        wire.wait_for("DELETE /upload");
    }
}

/// Of the sixteen colours, yellow, cyan and white cannot be read on white, and black and blue not on black.
#[test]
fn colours_can_be_read_on_any_background() {
    let desk = Desk::with_tree();
    desk.write("tree/A.TXT", "the same name, to some file systems");
    desk.run("build tree -o oci:layout:v1").ok();
    desk.write("tree/a.txt", "other");
    for (arguments, expected) in [
        ("build tree -o oci:layout:v2", "\u{1b}[1;35mwarning:\u{1b}[0m "),
        ("pull oci:layout:v3 -o out", "\u{1b}[1;31merror:\u{1b}[0m "),
        ("cat oci:layout:v1 a.tx", "\u{1b}[1mhint:\u{1b}[0m "),
        ("diff oci:layout:v1 ./tree", "\u{1b}[35m@@ "),
    ] {
        let words: Vec<&str> = arguments.split(' ').collect();
        for (key, coloured) in [("CLICOLOR_FORCE", true), ("NO_COLOR", false)] {
            let ran = desk.run_with(&words, &[(key, "1")]);
            let said = ran.stderr + &ran.stdout;
            assert_eq!((said.contains(expected), said.contains('\u{1b}')), (coloured, coloured), "{said:?}");
            let codes = said.split("\u{1b}[").skip(1).filter_map(|rest| rest.split_once('m')).map(|(codes, _)| codes);
            let readable = |code: &str| matches!(code, "0" | "1" | "31" | "32" | "35");
            assert!(codes.flat_map(|codes| codes.split(';')).all(readable), "{said:?}");
        }
    }
}

/// What waits for a lock cannot be broken off: that of the layout is held here, by somebody who does not let go.
#[test]
fn a_second_interruption_ends_the_program_whatever_is_under_way() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1").ok();
    let lock = File::open(desk.path("layout/oci-layout")).unwrap();
    lock.lock().unwrap();
    desk.write("tree/more", "so that there is something to write");
    let blobs = || fs::read_dir(desk.path("layout/blobs/sha256")).unwrap().count();
    let before = blobs();
    let mut child = desk.start("build tree -o oci:layout:v2");
    let deadline = Instant::now() + LONG;
    // Layer, config and manifest: then only the tag is missing, for which it waits.
    while blobs() < before + 3 {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "it does not come to the tag");
    }
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline, "it does not end");
        signal(&child, "INT");
    }
    assert_eq!(wait(child).code, Some(130));
    drop(lock);
    assert_eq!(desk.run("resolve oci:layout:v2").code, Some(3));
}

/// What cannot be written may be the error, too: then it is said where it can be.
#[test]
fn results_that_cannot_be_written_are_an_error_that_is_seen() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1").ok();
    desk.write("tree/a.txt", "other");
    for command in [
        "ls oci:layout:v1",
        "ls oci:layout:v1 --format json",
        "cat oci:layout:v1 a.txt",
        "inspect oci:layout:v1 --format json",
        "diff oci:layout:v1 ./tree",
        "diff oci:layout:v1 ./tree --format json",
        "build tree -o oci:layout:v2 --format json",
        "pull oci:none -o x --format json",
        "psh --format json",
        "push --help",
        "--version",
    ] {
        let mut shell = desk.process("sh");
        shell.args(["-c", &format!("bndlr {command} >/dev/full")]);
        let ran = finish(shell);
        assert_eq!(ran.code, Some(if command.starts_with("psh") { 2 } else { 8 }), "{command}: {ran:?}");
        assert_eq!(ran.stderr.matches("error: ").count(), 1, "{command}: {ran:?}");
    }
}
