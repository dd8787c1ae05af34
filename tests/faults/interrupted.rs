//! Copies that are killed, at many moments, and made once more: they end right, fetch what is missing and nothing else,
//! and nobody ever sees a part of an image.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bndlr::content::{Source, Target};
use bndlr::digest::Digest;
use bndlr::layout::{Archive, Directory};
use bndlr::manifest::{Descriptor, RawManifest};
use bndlr::reference::Tag;
use serde_json::Value;

use crate::embedded::Embedded;
use crate::program::{Desk, LONG, noise};
use crate::proxy::Fault::{Down, Up};
use crate::proxy::{Harm, Proxy, Rule, on};
use crate::sample::{push_blobs, read};
use crate::scene::{options, repository};

const SIZE: usize = 50_000;

fn v1() -> Tag {
    "v1".parse().unwrap()
}

/// A registry with an image of six layers.
struct Origin {
    registry: Embedded,
    image: RawManifest,
}

impl Origin {
    async fn new() -> Self {
        let registry = Embedded::in_memory().await;
        let noise = noise(6 * SIZE);
        let layers: Vec<&[u8]> = noise.chunks(SIZE).collect();
        let repository = repository(&registry.address(), options());
        let image = push_blobs(&repository, &layers).await;
        repository.tag(&image, &v1()).await.unwrap();
        Self { registry, image }
    }

    /// Its config and its layers, in the order in which they are copied.
    fn blobs(&self) -> Vec<Descriptor> {
        self.image.manifest().successors().cloned().collect()
    }

    async fn behind(&self, rules: Vec<Rule>) -> Proxy {
        Proxy::start(self.registry.address().parse().unwrap(), rules).await
    }

    /// The requests for each blob, and how many bytes these have.
    fn fetched(&self, proxy: &Proxy) -> (Vec<Digest>, u64) {
        let asked = proxy.asked();
        let is_asked = |blob: &&Descriptor| asked.iter().any(|line| line.ends_with(&format!("/blobs/{}", blob.digest)));
        let blobs = self.blobs();
        let fetched: Vec<_> = blobs.iter().filter(is_asked).collect();
        let requests = asked.iter().filter(|line| line.contains("/blobs/")).count();
        assert_eq!(requests, fetched.len(), "each once, and whole: {asked:#?}");
        (fetched.iter().map(|blob| blob.digest).collect(), fetched.iter().map(|blob| blob.size).sum())
    }

    async fn assert_is_at(&self, place: &(impl Source + ?Sized)) {
        assert_eq!(place.manifest(&v1().into()).await.unwrap(), self.image);
        for blob in self.blobs() {
            assert_eq!(read(place, &blob).await.unwrap().len() as u64, blob.size);
        }
    }
}

/// Where the source stands still, and how many blobs are at the target by then.
fn moments(blobs: &[Descriptor]) -> Vec<(&'static str, String, u64, usize)> {
    let blob = |at: usize, after: u64| ("GET", format!("/blobs/{}", blobs[at].digest), after, at);
    vec![
        ("GET", "/manifests/v1".to_owned(), 10, 0),
        blob(0, 0),
        blob(1, SIZE as u64 / 2),
        blob(4, SIZE as u64 / 2),
        blob(6, SIZE as u64 - 1),
    ]
}

/// Begins a copy, and kills it once `stuck` has got so many of these requests.
async fn kill(desk: &Desk, arguments: String, stuck: &Proxy, (number, method, path): (usize, &str, &str)) {
    let mut child = desk.start(&arguments);
    let waited = tokio::time::timeout(LONG, stuck.until(number, method, path)).await;
    child.kill();
    waited.unwrap_or_else(|_| panic!("{path}: {}: {:#?}", child.log(), stuck.asked()));
}

/// Makes the copy once more, and says how many bytes it wrote.
async fn again(desk: &Arc<Desk>, from: &Proxy, place: &str) -> u64 {
    let (desk, arguments) = (Arc::clone(desk), copy(from, place) + " --format json");
    let ran = tokio::task::spawn_blocking(move || desk.run(&arguments)).await.unwrap();
    let copied: Value = serde_json::from_str(&ran.ok()).unwrap();
    copied["bytesUploaded"].as_u64().unwrap()
}

fn copy(from: &Proxy, place: &str) -> String {
    // One blob at a time, so that it is known which are there.
    format!("copy {}/team/app:v1 {place} --concurrency 1", from.address)
}

/// All files below a directory but hidden ones: their names, and their digests.
fn files(directory: &Path) -> BTreeMap<String, Digest> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.starts_with('.') {
            continue;
        }
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(name, Digest::sha256(&std::fs::read(entry.path()).unwrap()));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_a_registry_goes_on_after_it_was_killed() {
    let origin = Origin::new().await;
    let blobs = origin.blobs();
    for (method, path, after, done) in moments(&blobs) {
        let (desk, target) = (Arc::new(Desk::new()), Embedded::in_memory().await);
        let stuck = origin.behind(vec![on(method, &path, Down(after, Harm::Stall)).always()]).await;
        let place = format!("{}/team/app:v1", target.address());
        kill(&desk, copy(&stuck, &place), &stuck, (1, method, &path)).await;

        let there = repository(&target.address(), options());
        assert!(there.resolve(&v1().into()).await.is_err(), "{path}");
        for (at, blob) in blobs.iter().enumerate() {
            assert_eq!(there.exists(blob).await.unwrap(), at < done, "blob {at} after {path}");
        }
        let whole = origin.behind(Vec::new()).await;
        let bytes = again(&desk, &whole, &place).await;
        let missing: Vec<_> = blobs[done..].iter().map(|blob| blob.digest).collect();
        assert_eq!(origin.fetched(&whole), (missing, bytes), "{path}");
        origin.assert_is_at(&there).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_after_it_was_killed_while_the_target_took_it() {
    let origin = Origin::new().await;
    let blobs = origin.blobs();
    // In the middle of the config, of a layer, and of the manifest.
    for (path, number, done) in [("/blobs/uploads/", 1, 0), ("/blobs/uploads/", 4, 3), ("/manifests/v1", 1, 7)] {
        let (desk, registry) = (Arc::new(Desk::new()), Embedded::in_memory().await);
        let address = registry.address().parse().unwrap();
        let through = || on("PUT", path, Up(u64::MAX, Harm::Stall)).times(number - 1);
        let target = Proxy::start(address, vec![through(), on("PUT", path, Up(1, Harm::Stall)).always()]).await;
        let (from, place) = (origin.behind(Vec::new()).await, format!("{}/team/app:v1", target.address));
        kill(&desk, copy(&from, &place), &target, (number, "PUT", path)).await;

        let there = repository(&registry.address(), options());
        assert!(there.resolve(&v1().into()).await.is_err(), "{path}");
        let (whole, place) = (origin.behind(Vec::new()).await, format!("{}/team/app:v1", registry.address()));
        let bytes = again(&desk, &whole, &place).await;
        let missing: Vec<_> = blobs[done..].iter().map(|blob| blob.digest).collect();
        assert_eq!(origin.fetched(&whole), (missing, bytes), "{path}");
        origin.assert_is_at(&there).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_a_layout_goes_on_after_it_was_killed() {
    let origin = Origin::new().await;
    let blobs = origin.blobs();
    for (method, path, after, done) in moments(&blobs) {
        let desk = Arc::new(Desk::new());
        let stuck = origin.behind(vec![on(method, &path, Down(after, Harm::Stall)).always()]).await;
        kill(&desk, copy(&stuck, "oci:to:v1"), &stuck, (1, method, &path)).await;

        let found = files(&desk.path("to/blobs"));
        let expected = blobs[..done].iter().map(|blob| (blob.digest.hex(), blob.digest)).collect();
        assert_eq!(found, expected, "whole blobs, and no others, after {path}");
        if let Ok(layout) = Directory::at(desk.path("to")).await {
            assert!(layout.tags().await.unwrap().is_empty(), "{path}");
        }
        let whole = origin.behind(Vec::new()).await;
        let bytes = again(&desk, &whole, "oci:to:v1").await;
        let missing: Vec<_> = blobs[done..].iter().map(|blob| blob.digest).collect();
        assert_eq!(origin.fetched(&whole), (missing, bytes), "{path}");
        origin.assert_is_at(&Directory::at(desk.path("to")).await.unwrap()).await;
    }
}

/// An archive is written whole, so that all is fetched again; until then, what had its name is as it was.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_to_an_archive_that_was_killed_leaves_the_one_that_was_there() {
    let origin = Origin::new().await;
    for (method, path, after, _) in moments(&origin.blobs()) {
        let desk = Arc::new(Desk::with_tree());
        desk.run("build tree -o archive:to.tar:v1").ok();
        let before = std::fs::read(desk.path("to.tar")).unwrap();
        let stuck = origin.behind(vec![on(method, &path, Down(after, Harm::Stall)).always()]).await;
        kill(&desk, copy(&stuck, "archive:to.tar:v1"), &stuck, (1, method, &path)).await;
        assert!(std::fs::read(desk.path("to.tar")).unwrap() == before, "{path}");

        let whole = origin.behind(Vec::new()).await;
        let bytes = again(&desk, &whole, "archive:to.tar:v1").await;
        let all: Vec<_> = origin.blobs().iter().map(|blob| blob.digest).collect();
        assert_eq!(origin.fetched(&whole), (all, bytes), "{path}");
        origin.assert_is_at(&Archive::at(desk.path("to.tar")).await.unwrap()).await;
    }
}
