//! Several references in one push: packed once, and one that fails does not hide what became of the others.

use serde_json::json;

use crate::embedded::Embedded;
use crate::program::Desk;
use crate::proxy::{Fault, Proxy, on};

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("tree/a.txt", "alpha\n");
    desk
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_to_several_repositories_under_a_contract_is_packed_once_and_sent_once() {
    let (registry, desk) = (Embedded::in_memory().await, desk());
    let host = registry.address();
    for (flags, number) in [("--immutable", 1), ("--if-changed -l a=b", 2)] {
        desk.write("tree/a.txt", &format!("{number}\n"));
        let flags = format!("push tree {host}/a{number}:v1 {host}/b{number}:v1 oci:layout:v{number} {flags}");
        let pushed = desk.run(&format!("{flags} -v --format json"));
        let count = |part: &str| pushed.stderr.matches(part).count();
        assert_eq!((count("Packing "), count("\nUploading "), count("\nMounted ")), (1, 2, 2), "{pushed:?}");
        assert_eq!(count(&format!("PUT http://{host}/v2/b{number}/blobs/")), 0, "{pushed:?}");
        let json = pushed.json();
        assert_eq!((&json["result"], json["references"].as_array().unwrap().len()), (&json!("pushed"), 3));
        let again = desk.run(&format!("{flags} --format json")).json();
        assert_eq!((&again["result"], &again["bytesUploaded"]), (&json!("unchanged"), &json!(0)));
        assert_eq!(again["references"], json["references"]);
    }
}

/// Nobody listens at port 1.
const NOWHERE: &str = "127.0.0.1:1/nowhere:v1";

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_does_not_keep_the_others_from_it_and_is_named() {
    let (registry, desk) = (Embedded::in_memory().await, desk());
    let host = registry.address();
    let push = |flags: &str| desk.run(&format!("push tree {host}/a:v1 {NOWHERE} {host}/b:v1 --retry-times 0 {flags}"));
    let ran = push("");
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let digest = desk.run(&format!("resolve {host}/a:v1")).ok();
    assert_eq!(desk.run(&format!("resolve {host}/b:v1")).ok(), digest);
    assert_eq!(ran.stdout, format!("{host}/a@{digest}{host}/b@{digest}"));
    assert!(ran.stderr.contains("\nerror: 1 of 3 failed: 127.0.0.1:1/nowhere: GET 127.0.0.1:1/"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("\nPushed {host}/b:v1 with digest ")), "{ran:?}");

    let json = push("--format json");
    assert_eq!(json.code, Some(6), "{json:?}");
    let json = json.json();
    assert_eq!(json["error"]["code"], "remote");
    assert_eq!(json["references"].as_array().unwrap().len(), 2);
    let result = |at: usize| &json["destinations"][at]["result"];
    assert_eq!((result(0), result(1), result(2)), (&json!("unchanged"), &json!("failed"), &json!("unchanged")));
    let failed = &json["destinations"][1];
    assert_eq!((&failed["reference"], &failed["error"]["code"]), (&json!("127.0.0.1:1/nowhere"), &json!("remote")));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_the_highest_one() {
    let (registry, desk) = (Embedded::in_memory().await, desk());
    desk.write("file", "not a layout");
    let host = registry.address();
    for (references, code) in [
        (format!("{NOWHERE} oci:file:v1 {host}/a:v1"), 8),
        (format!("oci:file:v1 {NOWHERE} {host}/a:v1"), 8),
        (format!("{NOWHERE} {host}/a:v1"), 6),
    ] {
        let ran = desk.run(&format!("push tree {references} --retry-times 0"));
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert_eq!(ran.stdout.lines().count(), 1, "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_to_stand_in_the_way_of_one_keeps_everything_from_all() {
    let (registry, desk) = (Embedded::in_memory().await, desk());
    let host = registry.address();
    desk.run(&format!("push tree {host}/b:v1 oci:layout:v1")).ok();
    desk.write("tree/a.txt", "beta\n");
    let immutable = format!("{host}/a:v1 {host}/b:v1 oci:layout:v1 oci:new:v1 --immutable");
    let unreachable = format!("{host}/a:v1 {NOWHERE} --if-changed --retry-times 0");
    let unexpected = format!("{host}/a:v1 {host}/c:v1 --expect-digest sha256:{}", "0".repeat(64));
    for (references, code, message) in [
        (immutable, 7, "error: 2 of 4 failed: "),
        (unreachable, 6, "error: 1 of 2 failed: "),
        (unexpected, 7, "error: the image has digest "),
    ] {
        let ran = desk.run(&format!("push tree {references} -v"));
        assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(message) && !ran.stderr.contains(" > P"), "{ran:?}");
        assert_eq!(desk.run(&format!("resolve {host}/a:v1")).code, Some(3));
        assert!(!desk.path("new").exists());
    }
}

/// It may have nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_mounted_from_a_repository_for_which_the_push_failed() {
    for flags in ["", "--immutable", "--if-changed"] {
        let (registry, desk) = (Embedded::in_memory().await, desk());
        let full = on("POST", "/v2/a/blobs/uploads/", Fault::Answer("507 Insufficient Storage")).always();
        let proxy = Proxy::start(registry.address().parse().unwrap(), vec![full]).await;
        let host = proxy.address;
        let references = format!("{host}/a:v1 {host}/b:v1 {host}/c:v1");
        let ran = desk.run(&format!("push tree {references} --retry-times 0 {flags} --format json"));
        assert_eq!(ran.code, Some(6), "{ran:?}");
        let results = ran.json()["destinations"].as_array().unwrap().clone();
        assert_eq!(results.iter().map(|one| &one["result"]).collect::<Vec<_>>(), ["failed", "pushed", "pushed"]);
        assert_eq!(ran.json()["references"].as_array().unwrap().len(), 2);
        let asked = proxy.asked();
        let from = |name: &str| asked.iter().filter(|line| line.contains(&format!("&from={name}"))).count();
        assert_eq!((from("a"), from("b")), (0, 2), "{asked:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_says_of_every_tag_what_became_of_it_also_where_one_fails() {
    for flags in ["", "--immutable", "--if-changed"] {
        let (registry, desk) = (Embedded::in_memory().await, desk());
        let failing = on("PUT", "/v2/a/manifests/v2", Fault::Answer("507 Insufficient Storage")).always();
        let proxy = Proxy::start(registry.address().parse().unwrap(), vec![failing]).await;
        let host = proxy.address;
        let push = format!("push tree {host}/a:v1 {host}/b:v1 -t v2,v3 --retry-times 0 {flags}");
        let ran = desk.run(&format!("{push} --format json"));
        let digest = desk.run(&format!("resolve {host}/a:v1")).ok().trim().to_owned();
        assert!(ran.stderr.contains(&format!("\nPushed {host}/a:v1 with digest {digest}\n")), "{ran:?}");
        let json = ran.json();
        assert_eq!((ran.code, &json["result"], &json["error"]["code"]), (Some(6), &json!("failed"), &json!("remote")));
        assert_eq!(json["references"], json!([format!("{host}/b@{digest}")]));
        assert_eq!(json["tags"], json!(["v1", "v2", "v3"]));
        let [failed, done] = [0, 1].map(|at| &json["destinations"][at]);
        assert_eq!((&failed["result"], &done["result"]), (&json!("failed"), &json!("pushed")));
        assert_eq!(failed["tags"], json!({"v1": digest, "v2": null, "v3": null}), "{flags}");
        assert_eq!(done["tags"], json!({"v1": digest, "v2": digest, "v3": digest}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_says_of_every_layer_whether_it_is_there_also_where_the_push_fails() {
    for (path, layer) in [("/manifests/v1", json!("uploaded")), ("/blobs/uploads/", json!(null))] {
        for flags in ["", "--immutable"] {
            let (registry, desk) = (Embedded::in_memory().await, desk());
            let failing = on("PUT", path, Fault::Answer("507 Insufficient Storage")).always();
            let proxy = Proxy::start(registry.address().parse().unwrap(), vec![failing]).await;
            let ran = desk.run(&format!("push tree {}/a:v1 --retry-times 0 {flags} --format json", proxy.address));
            let json = ran.json();
            assert_eq!((ran.code, &json["result"], &json["reference"]), (Some(6), &json!("failed"), &json!(null)));
            assert_eq!((&json["layers"][0]["result"], &json["tags"]), (&layer, &json!([])), "{path} {flags}");
            assert_eq!(json["bytesUploaded"].as_u64().unwrap() > 0, layer == "uploaded", "{path} {flags}");
            assert_eq!(json["destinations"][0]["tags"], json!({"v1": null}));
        }
    }
}

/// What is in it is what to deploy: not what an earlier run has left there, and not where one of the references failed.
#[tokio::test(flavor = "multi_thread")]
async fn a_digest_file_is_there_when_all_is_done_and_only_then() {
    let (registry, desk) = (Embedded::in_memory().await, desk());
    let host = registry.address();
    desk.run("build tree -o oci:layout:v1").ok();
    let digest = desk.run("resolve oci:layout:v1").ok();
    for (command, code) in [
        (format!("push tree {host}/a:v1 {host}/b:v1"), 0),
        (format!("push tree {host}/a:v1 {NOWHERE} --retry-times 0"), 6),
        (format!("push tree {host}/a:v1 --expect-digest sha256:{}", "0".repeat(64)), 7),
        (format!("push missing {host}/a:v1"), 8),
        ("build tree -o oci:layout:v1".to_owned(), 0),
        ("build tree -o oci:tree/a.txt:v1".to_owned(), 8),
        (format!("attach {host}/a:v1 tree/a.txt --artifact-type a/b"), 0),
        (format!("attach {host}/a:v9 tree/a.txt --artifact-type a/b"), 3),
    ] {
        desk.write("digest", "of an earlier run\n");
        let ran = desk.run(&format!("{command} --digest-file digest"));
        assert_eq!((ran.code, desk.path("digest").exists()), (Some(code), code == 0), "{ran:?}");
        assert!(code != 0 || command.starts_with("attach") || desk.read("digest") == digest, "{command}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_file_that_cannot_be_written_is_found_out_before_anything_is_sent() {
    let (registry, desk) = (Embedded::in_memory().await, desk());
    let push = |file: &str| desk.run(&format!("push tree {}/a:v1 -v --digest-file {file}", registry.address()));
    for (file, reason) in [("tree", "Is a directory"), ("none/digest", "No such file"), ("tree/a.txt/x", "Not a dir")] {
        let ran = push(file);
        assert_eq!((ran.code, ran.stderr.contains(" > ")), (Some(8), false), "{ran:?}");
        assert!(ran.stderr.contains(&format!("error: cannot write {file}: {reason}")), "{ran:?}");
    }
    desk.write("kept/digest", "old");
    std::os::unix::fs::symlink("kept/digest", desk.path("link")).unwrap();
    for file in ["link", "/dev/stderr", "/dev/null"] {
        push(file).ok();
    }
    assert!(desk.read("kept/digest").starts_with("sha256:"), "what the link leads to gets it");
    assert!(push("/dev/stderr").stderr.contains("\nsha256:"), "a device is written to, and stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_files_are_attached_at_once_as_is_said() {
    let (registry, desk) = (Embedded::in_memory().await, desk());
    desk.run(&format!("push tree {}/a:v1", registry.address())).ok();
    let files = ["one", "two", "three"].map(|name| {
        desk.write(name, name);
        name
    });
    let proxy = Proxy::start(registry.address().parse().unwrap(), Vec::new()).await;
    let attach = format!("attach {}/a:v1 {} --artifact-type a/b --concurrency 1", proxy.address, files.join(" "));
    desk.run(&attach).ok();
    for together in proxy.round_trips() {
        assert!(together.iter().filter(|line| line.contains("/blobs/")).count() <= 1, "{together:#?}");
    }
}
