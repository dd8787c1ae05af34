//! `SIGKILL` at any moment loses nothing that was acknowledged, and shows nothing that is partial.

use std::path::Path;
use std::time::{Duration, SystemTime};

use bndlr::digest::Digest;
use bndlr::reference::Name;
use bndlr::server::storage::{Filesystem, Storage, Sweep};
use futures::future::join_all;
use reqwest::{Method, Response};

use super::embedded::{descriptor, header};
use super::random::{Random, seed};
use super::{Process, Server, blob_path, manifest_path, repositories};
use bndlr::manifest::media_type::OCI_MANIFEST;

const ROUNDS: u64 = 8;
const PUSHERS: u64 = 6;
/// How long a round may last, in milliseconds.
const LONGEST_ROUND: u64 = 400;
/// What all manifests that have a subject are about.
const SUBJECT: &[u8] = b"not pushed yet";

/// Something that was sent, and whether the server said that it has it.
struct Sent {
    /// Where it would be.
    path: String,
    digest: Digest,
    acknowledged: bool,
    is_referrer: bool,
}

/// What one client pushes: a chain of images to a repository of its own, and one tag that follows it.
pub struct Pusher {
    repository: String,
    random: Random,
    sent: Vec<Sent>,
    /// What the tag was to point to, in order, and how many of those pushes were acknowledged.
    tagged: Vec<Digest>,
    pub confirmed: usize,
}

impl Pusher {
    pub fn new(seed: u64, number: u64) -> Self {
        let repository = format!("crash/p{number}");
        Self { repository, random: Random(seed ^ (number << 32)), sent: Vec::new(), tagged: Vec::new(), confirmed: 0 }
    }

    /// Pushes until the server is gone.
    pub async fn run(&mut self, server: &Server) {
        while self.push_image(server).await.is_ok() {}
    }

    async fn push_image(&mut self, server: &Server) -> reqwest::Result<()> {
        let size = 1 + self.random.below(400_000) as usize;
        let mut layer = vec![self.random.below(256) as u8; size];
        layer.extend(self.random.below(u64::MAX).to_be_bytes());
        let config = format!(r#"{{"seed":{}}}"#, self.random.below(u64::MAX)).into_bytes();
        self.push_in_chunks(server, &layer).await?;
        self.push_at_once(server, &config).await?;

        let is_referrer = self.random.below(2) == 0;
        let subject =
            if is_referrer { format!(r#""subject":{},"#, descriptor(OCI_MANIFEST, SUBJECT)) } else { String::new() };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}",{subject}"config":{},"layers":[{}]}}"#,
            descriptor("application/x", &config),
            descriptor("application/y", &layer)
        );
        let digest = Digest::sha256(manifest.as_bytes());
        let entry = self.begin(manifest_path(&self.repository, digest), digest);
        self.sent[entry].is_referrer = is_referrer;
        self.tagged.push(digest);
        let tag = manifest_path(&self.repository, "latest");
        self.created(&server.send(Method::PUT, &tag, manifest.into_bytes()).await?, entry);
        self.confirmed = self.tagged.len();
        Ok(())
    }

    async fn push_at_once(&mut self, server: &Server, content: &[u8]) -> reqwest::Result<()> {
        let digest = Digest::sha256(content);
        let entry = self.begin(blob_path(&self.repository, digest), digest);
        let path = format!("/v2/{}/blobs/uploads/?digest={digest}", self.repository);
        self.created(&server.send(Method::POST, &path, content.to_vec()).await?, entry);
        Ok(())
    }

    async fn push_in_chunks(&mut self, server: &Server, content: &[u8]) -> reqwest::Result<()> {
        let digest = Digest::sha256(content);
        let entry = self.begin(blob_path(&self.repository, digest), digest);
        let begun = server.send(Method::POST, &format!("/v2/{}/blobs/uploads/", self.repository), Vec::new()).await?;
        let session = header(&begun, "location").to_owned();
        for chunk in content.chunks(100_000) {
            let sent = server.send(Method::PATCH, &session, chunk.to_vec()).await?;
            assert_eq!(sent.status(), 202);
        }
        self.created(&server.send(Method::PUT, &format!("{session}?digest={digest}"), Vec::new()).await?, entry);
        Ok(())
    }

    fn begin(&mut self, path: String, digest: Digest) -> usize {
        self.sent.push(Sent { path, digest, acknowledged: false, is_referrer: false });
        self.sent.len() - 1
    }

    fn created(&mut self, response: &Response, entry: usize) {
        assert_eq!(response.status(), 201, "{}", self.sent[entry].path);
        self.sent[entry].acknowledged = true;
    }

    /// Holds a server against what was sent to the one before.
    pub async fn check(&self, server: &Server) {
        for sent in &self.sent {
            match server.get(&sent.path).await {
                Some(content) => assert_eq!(Digest::sha256(&content), sent.digest, "{} is damaged", sent.path),
                None => assert!(!sent.acknowledged, "{} is lost", sent.path),
            }
        }
        let current = server.get(&manifest_path(&self.repository, "latest")).await.map(|bytes| Digest::sha256(&bytes));
        // The last acknowledged one, or one that was on its way when the server was killed.
        let allowed = &self.tagged[self.confirmed.saturating_sub(1)..];
        match current {
            Some(current) => assert!(allowed.contains(&current), "the tag of {} went back", self.repository),
            None => assert_eq!(self.confirmed, 0, "the tag of {} is lost", self.repository),
        }
    }

    async fn check_referrers(&self, root: &Path) {
        let name: Name = self.repository.parse().unwrap();
        let referrers = repositories(root).referrers(&name, Digest::sha256(SUBJECT), None, usize::MAX).await.unwrap();
        for sent in self.sent.iter().filter(|sent| sent.is_referrer && sent.acknowledged) {
            assert!(
                referrers.iter().any(|referrer| referrer.digest == sent.digest),
                "referrer {} is lost",
                sent.digest
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_outlives_a_kill_and_nothing_else_is_half_there() {
    let seed = seed("BNDLR_CRASH_SEED");
    let root = tempfile::tempdir().unwrap();
    let mut random = Random(seed);
    let mut pushers: Vec<Pusher> = (0..PUSHERS).map(|number| Pusher::new(seed, number)).collect();
    let mut process = Process::start(root.path());
    for round in 0..ROUNDS {
        let server = process.server.clone();
        // The moment is the test's own choice: nothing is waited for.
        let after = Duration::from_millis(20 + random.below(LONGEST_ROUND));
        let kill = async {
            tokio::time::sleep(after).await;
            process.kill();
        };
        futures::join!(join_all(pushers.iter_mut().map(|pusher| pusher.run(&server))), kill);

        process = Process::start(root.path());
        for pusher in &pushers {
            pusher.check(&process.server).await;
        }
        let sent: usize = pushers.iter().map(|pusher| pusher.sent.len()).sum();
        println!("round {round}: killed after {after:?}, {sent} things sent so far");
    }
    for pusher in &pushers {
        pusher.check_referrers(root.path()).await;
    }
    let confirmed: usize = pushers.iter().map(|pusher| pusher.confirmed).sum();
    assert!(confirmed > 0, "something was pushed");
    leftovers_go_and_the_rest_stays(root.path(), &process.server, &pushers).await;
}

/// A collection removes what the killed processes had begun, and only that.
async fn leftovers_go_and_the_rest_stays(root: &Path, server: &Server, pushers: &[Pusher]) {
    let left = |directory: &str| std::fs::read_dir(root.join(directory)).unwrap().count();
    let storage = Filesystem::open(root).unwrap();
    let later = SystemTime::now() + Duration::from_hours(1);
    let uploads = left("uploads");
    let found = storage.leftovers(later, Sweep::Remove).await.unwrap();
    assert_eq!(found.uploads, uploads as u64);
    println!("{found:?}");
    assert_eq!((left("uploads"), left("temporary"), left("aside")), (0, 0, 0));
    for pusher in pushers {
        pusher.check(server).await;
    }
}
