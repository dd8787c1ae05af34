//! Two processes over one directory are one registry.

use std::process::{Command, Stdio};

use bndlr::digest::Digest;
use bndlr::manifest::media_type::OCI_MANIFEST;
use bndlr::reference::Name;
use bndlr::server::storage::{Condition, Filesystem, Key, Storage};
use futures::stream::{self, StreamExt};
use reqwest::Method;

use super::embedded::{descriptor, header, image_manifest};
use super::{Process, Server, blob_path, manifest_path, repositories};

/// How many tags, and as many referrers, are pushed through two servers.
pub const WRITERS: usize = 32;

#[tokio::test]
async fn an_upload_goes_to_and_fro_between_processes() {
    let root = tempfile::tempdir().unwrap();
    let processes = [Process::start(root.path()), Process::start(root.path())];
    let [one, two] = [&processes[0].server, &processes[1].server];
    let begun = one.send(Method::POST, "/v2/a/blobs/uploads/", Vec::new()).await.unwrap();
    let session = header(&begun, "location");
    for (i, part) in [b"one, ".as_slice(), b"two, ", b"three, ", b"four"].into_iter().enumerate() {
        let server = if i % 2 == 0 { two } else { one };
        assert_eq!(server.send(Method::PATCH, session, part.to_vec()).await.unwrap().status(), 202);
    }
    let digest = Digest::sha256(b"one, two, three, four");
    two.create(Method::PUT, &format!("{session}?digest={digest}"), "").await;
    assert_eq!(one.get(&blob_path("a", digest)).await.unwrap(), b"one, two, three, four");
}

/// Pushes tags and referrers through both servers at the same time, and one tag again and again.
pub async fn push_through(servers: [&Server; 2]) {
    servers[0].push_blob(b"{}").await;
    servers[1].push_blob(b"layer").await;
    let subject = descriptor(OCI_MANIFEST, b"subject");
    stream::iter(0..WRITERS)
        .for_each_concurrent(8, async |i| {
            let manifest = image_manifest(b"layer");
            let about = format!(r#"{{"annotations":{{"i":"{i}"}},"subject":{subject},"#);
            servers[i % 2]
                .create(Method::PUT, &manifest_path("a", format!("t{i}")), manifest.replacen('{', &about, 1))
                .await;
            servers[i % 2].create(Method::PUT, &manifest_path("a", "all"), manifest).await;
        })
        .await;
    for server in servers {
        assert_eq!(server.get(&manifest_path("a", "all")).await.unwrap(), image_manifest(b"layer").into_bytes());
    }
}

#[tokio::test]
async fn tags_and_referrers_that_come_through_two_processes_are_all_there() {
    let root = tempfile::tempdir().unwrap();
    let processes = [Process::start(root.path()), Process::start(root.path())];
    let servers = [&processes[0].server, &processes[1].server];
    push_through(servers).await;
    let here: Name = "a".parse().unwrap();
    let all = repositories(root.path());
    assert_eq!(all.tags(&here, None, usize::MAX).await.unwrap().unwrap().len(), WRITERS + 1);
    let referrers = all.referrers(&here, Digest::sha256(b"subject"), None, usize::MAX).await.unwrap();
    assert_eq!(referrers.len(), WRITERS);
}

/// How the test below tells a run of this program that it is one of the two.
const ROOT: &str = "BNDLR_TEST_WRITE_TAGS_IN";
const STEPS: usize = 200;

/// Of all tags that both processes try to make, each is made once, and one that both count with misses no step.
#[tokio::test]
async fn conditions_hold_between_processes() {
    if let Some(root) = std::env::var_os(ROOT) {
        return write_tags(&Filesystem::open(root).unwrap()).await;
    }
    let root = tempfile::tempdir().unwrap();
    let storage = Filesystem::open(root.path()).unwrap();
    assert!(storage.write(&tag("counter"), "0".into(), Condition::Absent).await.unwrap());
    let run = || {
        let arguments = ["--exact", "shared::conditions_hold_between_processes", "--nocapture"];
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments).env(ROOT, root.path()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let made: usize = [run(), run()]
        .map(|run| {
            let output = run.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}");
            text.matches("made a tag").count()
        })
        .iter()
        .sum();
    assert_eq!(made, STEPS);
    assert_eq!(count(&storage).await, 2 * STEPS, "each step followed the one before");
}

async fn write_tags(storage: &Filesystem) {
    for i in 0..STEPS {
        if storage.write(&tag(&format!("t{i}")), "x".into(), Condition::Absent).await.unwrap() {
            println!("made a tag");
        }
    }
    for _ in 0..STEPS {
        loop {
            let now = count(storage).await;
            let condition = Condition::Is(now.to_string().into());
            if storage.write(&tag("counter"), (now + 1).to_string().into(), condition).await.unwrap() {
                break;
            }
        }
    }
}

async fn count(storage: &Filesystem) -> usize {
    let value = storage.read(&tag("counter")).await.unwrap().unwrap();
    std::str::from_utf8(&value).unwrap().parse().unwrap()
}

fn tag(text: &str) -> Key {
    Key::Tag("a".parse().unwrap(), text.parse().unwrap())
}
