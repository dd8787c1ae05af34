//! Two processes over one directory are one registry.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use bndlr::digest::Digest;
use bndlr::manifest::RawManifest;
use bndlr::manifest::media_type::OCI_MANIFEST;
use bndlr::reference::{Name, Tag};
use bndlr::server::repositories::{Push, PutError, TagCondition};
use futures::stream::{self, StreamExt};
use reqwest::Method;

use super::embedded::{descriptor, header, image_manifest};
use super::{Process, Server, blob_path, manifest_path, repositories};

const WRITERS: usize = 32;

async fn created(server: &Server, method: Method, path: &str, body: impl Into<Vec<u8>>) {
    assert_eq!(server.send(method, path, body.into()).await.unwrap().status(), 201, "{path}");
}

async fn push_blob(server: &Server, content: &[u8]) {
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(content));
    created(server, Method::POST, &path, content).await;
}

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
    created(two, Method::PUT, &format!("{session}?digest={digest}"), "").await;
    assert_eq!(one.get(&blob_path("a", digest)).await.unwrap(), b"one, two, three, four");
}

#[tokio::test]
async fn tags_and_referrers_that_come_through_two_processes_are_all_there() {
    let root = tempfile::tempdir().unwrap();
    let processes = [Process::start(root.path()), Process::start(root.path())];
    let servers = [&processes[0].server, &processes[1].server];
    push_blob(servers[0], b"{}").await;
    push_blob(servers[1], b"layer").await;
    let subject = descriptor(OCI_MANIFEST, b"subject");
    stream::iter(0..WRITERS)
        .for_each_concurrent(8, async |i| {
            let manifest = image_manifest(b"layer");
            let about = format!(r#"{{"annotations":{{"i":"{i}"}},"subject":{subject},"#);
            created(
                servers[i % 2],
                Method::PUT,
                &manifest_path("a", format!("t{i}")),
                manifest.replacen('{', &about, 1),
            )
            .await;
            created(servers[i % 2], Method::PUT, &manifest_path("a", "all"), manifest).await;
        })
        .await;
    let here: Name = "a".parse().unwrap();
    let all = repositories(root.path());
    assert_eq!(all.tags(&here, None, usize::MAX).await.unwrap().unwrap().len(), WRITERS + 1);
    let referrers = all.referrers(&here, Digest::sha256(b"subject"), None, usize::MAX).await.unwrap();
    assert_eq!(referrers.len(), WRITERS);
    for server in servers {
        assert_eq!(server.get(&manifest_path("a", "all")).await.unwrap(), image_manifest(b"layer").into_bytes());
    }
}

/// How the test below tells a run of this program that it is one of the two.
const ROOT: &str = "BNDLR_TEST_MAKE_TAGS_IN";

/// Of all tags that both processes try to make, each is made once, and one that both add to misses none.
#[tokio::test(flavor = "multi_thread")]
async fn conditions_hold_between_processes() {
    if let Some(root) = std::env::var_os(ROOT) {
        return make_tags(&PathBuf::from(root)).await;
    }
    let root = tempfile::tempdir().unwrap();
    let process = Process::start(root.path());
    push_blob(&process.server, b"{}").await;
    push_blob(&process.server, b"layer").await;
    let runs: Vec<_> = (0..2)
        .map(|_| {
            let program = std::env::current_exe().unwrap();
            let arguments = ["--exact", "shared::conditions_hold_between_processes", "--nocapture"];
            let command = &mut Command::new(program);
            command.args(arguments).env(ROOT, root.path()).stdout(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let made: usize = runs
        .into_iter()
        .map(|run| {
            let output = run.wait_with_output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}");
            text.matches("made a tag").count()
        })
        .sum();
    assert_eq!(made, WRITERS);
    let last = process.server.get(&manifest_path("a", "counter")).await.unwrap();
    assert_eq!(last, counted(2 * WRITERS), "each step followed the one before");
}

/// The manifest that the counter's tag points to after so many steps.
fn counted(steps: usize) -> Vec<u8> {
    image_manifest(b"layer").replacen('{', &format!(r#"{{"annotations":{{"steps":"{steps}"}},"#), 1).into_bytes()
}

async fn make_tags(root: &Path) {
    let all = Arc::new(repositories(root));
    let put = async |steps: usize, tag: &str, condition| {
        let manifest = RawManifest::parse("", counted(steps).into()).unwrap();
        let tags = [tag.parse::<Tag>().unwrap()];
        let push = Push { manifest: &manifest, digest: manifest.digest(), tags: &tags, condition };
        match all.put_manifest(&"a".parse().unwrap(), &push).await {
            Ok(()) => true,
            Err(PutError::Condition { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    };
    for i in 0..WRITERS {
        if put(0, &format!("t{i}"), TagCondition::Absent).await {
            println!("made a tag");
        }
    }
    put(0, "counter", TagCondition::Absent).await;
    let mut own = 0;
    while own < WRITERS {
        let tag = all.tag(&"a".parse().unwrap(), &"counter".parse().unwrap()).await.unwrap().unwrap();
        let steps = (0..2 * WRITERS).find(|&steps| Digest::sha256(&counted(steps)) == tag).unwrap();
        if put(steps + 1, "counter", TagCondition::Is(tag)).await {
            own += 1;
        }
    }
}
