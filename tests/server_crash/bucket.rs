//! Processes over one bucket are one registry, and keep what they acknowledged however they end.

use std::time::Duration;

use bndlr::digest::Digest;
use futures::future::join_all;
use futures::stream::{self, StreamExt};
use reqwest::{Body, Method};

use super::embedded::{assert_refused, header, image_manifest};
use super::killed::Pusher;
use super::program::Program;
use super::random::{Random, seed};
use super::s3::S3Server;
use super::shared::{WRITERS, push_through};
use super::{Process, Server, blob_path, manifest_path};

const MIB: usize = 1024 * 1024;

fn start(bucket: &S3Server) -> Process {
    Process::run(Program::bndlr().args(["serve", "--storage", "s3://bucket/registry"]).envs(bucket.variables()))
}

async fn json(server: &Server, path: &str) -> serde_json::Value {
    serde_json::from_slice(&server.get(path).await.unwrap()).unwrap()
}

#[tokio::test]
async fn an_upload_goes_to_and_fro_between_processes_over_a_bucket() {
    let bucket = S3Server::start();
    let processes = [start(&bucket), start(&bucket)];
    let [one, two] = [&processes[0].server, &processes[1].server];
    let begun = one.send(Method::POST, "/v2/a/blobs/uploads/", Vec::new()).await.unwrap();
    let session = header(&begun, "location");
    let parts = [vec![1; 10], vec![2; 100_000], vec![3; 9 * MIB], vec![4; 20]];
    for (i, part) in parts.iter().enumerate() {
        let server = if i % 2 == 0 { two } else { one };
        assert_eq!(server.send(Method::PATCH, session, part.clone()).await.unwrap().status(), 202);
    }
    let whole = parts.concat();
    let digest = Digest::sha256(&whole);
    two.create(Method::PUT, &format!("{session}?digest={digest}"), "").await;
    assert!(one.get(&blob_path("a", digest)).await.unwrap() == whole);

    let image = one.push_image("v1", b"layer").await;
    assert_eq!(Digest::sha256(&two.get(&manifest_path("a", "v1")).await.unwrap()), image);
    assert_eq!(json(two, "/v2/_catalog").await["repositories"], serde_json::json!(["a"]));
}

#[tokio::test]
async fn tags_and_referrers_that_come_through_two_processes_over_a_bucket_are_all_there() {
    let bucket = S3Server::start();
    let processes = [start(&bucket), start(&bucket)];
    let servers = [&processes[0].server, &processes[1].server];
    push_through(servers).await;
    for server in servers {
        assert_eq!(json(server, "/v2/a/tags/list").await["tags"].as_array().unwrap().len(), WRITERS + 1);
        let referrers = json(server, &format!("/v2/a/referrers/{}", Digest::sha256(b"subject"))).await;
        assert_eq!(referrers["manifests"].as_array().unwrap().len(), WRITERS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_in_the_bucket_after_a_kill() {
    let seed = seed("BNDLR_CRASH_SEED");
    let bucket = S3Server::start();
    let mut random = Random(seed);
    let mut pushers: Vec<Pusher> = (0..4).map(|number| Pusher::new(seed, number)).collect();
    let confirmed = |pushers: &[Pusher]| pushers.iter().map(|pusher| pusher.confirmed).sum::<usize>();
    for round in 0..8 {
        if round >= 4 && confirmed(&pushers) > 0 {
            break;
        }
        let mut process = start(&bucket);
        let server = process.server.clone();
        // The moment is the test's own choice, and a later one where the machine is slow: nothing is waited for.
        let after = Duration::from_millis(100 + random.below(500 << round));
        let kill = async {
            tokio::time::sleep(after).await;
            process.kill();
        };
        futures::join!(join_all(pushers.iter_mut().map(|pusher| pusher.run(&server))), kill);
        let process = start(&bucket);
        for pusher in &pushers {
            pusher.check(&process.server).await;
        }
    }
    assert!(confirmed(&pushers) > 0, "something was pushed");
}

#[tokio::test]
async fn a_bucket_that_fails_is_the_servers_fault_and_no_damage() {
    let bucket = S3Server::start();
    let process = start(&bucket);
    let server = &process.server;
    let image = server.push_image("v1", b"layer").await;
    bucket.set_fails(true);
    let manifest = image_manifest(b"layer");
    let tag = manifest_path("a", "v1");
    let blob = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(b"blob"));
    let layer = blob_path("a", Digest::sha256(b"layer"));
    let answers = futures::join!(
        server.send(Method::PUT, &tag, manifest.into_bytes()),
        server.send(Method::GET, &tag, Vec::new()),
        server.send(Method::POST, &blob, b"blob".into()),
        server.send(Method::GET, &layer, Vec::new()),
    );
    for answer in [answers.0, answers.1, answers.2, answers.3] {
        assert_refused(answer.unwrap(), 500, "UNKNOWN").await;
    }
    bucket.set_fails(false);
    assert_eq!(Digest::sha256(&server.get(&tag).await.unwrap()), image);
    server.push_image("v2", b"blob").await;
}

/// How many bytes of a process are in memory, and were at most.
fn resident(process: &Process, field: &str) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<usize>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_passes_through_little_memory() {
    const CHUNKS: usize = 200;
    let bucket = S3Server::start();
    let process = start(&bucket);
    let server = &process.server;
    server.push_image("v1", b"layer").await;
    let before = resident(&process, "VmRSS");
    let chunk = |i: usize| vec![i as u8; MIB];
    let mut hasher = bndlr::digest::Hasher::new(bndlr::digest::Algorithm::Sha256);
    (0..CHUNKS).for_each(|i| hasher.update(&chunk(i)));
    let digest = hasher.finish();

    let url = |path: &str| format!("http://{}{path}", server.address);
    let body = Body::wrap_stream(stream::iter(0..CHUNKS).map(move |i| Ok::<_, std::io::Error>(chunk(i))));
    let push = server.http.post(url(&format!("/v2/a/blobs/uploads/?digest={digest}"))).body(body);
    assert_eq!(push.send().await.unwrap().status(), 201);
    let mut pulled = bndlr::digest::Hasher::new(bndlr::digest::Algorithm::Sha256);
    let mut answer = server.http.get(url(&blob_path("a", digest))).send().await.unwrap();
    while let Some(chunk) = answer.chunk().await.unwrap() {
        pulled.update(&chunk);
    }
    assert_eq!(pulled.finish(), digest);
    let ranged = server.http.get(url(&blob_path("a", digest))).header("range", "bytes=8388600-8388616");
    assert_eq!(ranged.send().await.unwrap().bytes().await.unwrap(), [[7; 8].as_slice(), &[8; 9]].concat());

    let most = resident(&process, "VmHWM");
    println!("{} MiB before, {} MiB at most", before / MIB, most / MIB);
    assert!(most < before + 64 * MIB, "{} MiB before, {} MiB at most", before / MIB, most / MIB);
}
