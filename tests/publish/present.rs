//! What a registry has because a manifest of its own names it: it is not asked for, and it is sent again if it is lost.

use std::sync::Arc;

use bndlr::content::{Copied, CopyOptions, Error, Look, Memory, Observer, Outcome, copy};
use bndlr::digest::Digest;
use bndlr::manifest::{Descriptor, RawManifest};
use bndlr::reference::Identifier;
use bndlr::remote::{Client, ClientOptions, RemoteRepository};
use reqwest::Method;

use crate::docker_registry::DockerRegistry;
use crate::embedded::{Embedded, client};
use crate::program::{Desk, noise};
use crate::proxy::Fault::Answer;
use crate::proxy::{Proxy, Rule, on};
use crate::sample::{copy_all, push_blobs, read, tag};

/// The layers of an image, all of them large for an image and small for a test.
const LAYERS: [&[u8]; 8] = [b"a", b"b", b"c", b"d", b"e", b"f", b"g", b"h"];

fn repository(address: impl std::fmt::Display) -> RemoteRepository {
    let options = ClientOptions { retry_times: 0, ..ClientOptions::default() };
    Client::new(options).unwrap().repository(&format!("{address}/team/app").parse().unwrap()).unwrap()
}

/// An image, and another one that has all of its blobs and one more.
struct Images {
    source: Memory,
    old: RawManifest,
    new: RawManifest,
}

impl Images {
    async fn new() -> Self {
        let source = Memory::new();
        let old = push_blobs(&source, &LAYERS).await;
        let new = push_blobs(&source, &[&LAYERS[..], &[b"i"]].concat()).await;
        for manifest in [&old, &new] {
            bndlr::content::Target::push(&source, &manifest.descriptor(), manifest).await.unwrap();
        }
        Self { source, old, new }
    }

    /// Pushes the new one as `v1`, of which is known what it points to.
    async fn push_new(&self, to: &RemoteRepository) -> Result<Copied, Error> {
        let look = Some(Look::at(to, &[tag("v1")]).await?);
        let options = CopyOptions { look, ..CopyOptions::default() };
        copy(&self.source, &self.new.digest().into(), to, &[tag("v1")], &options).await
    }

    /// A proxy before a registry that has the old one as `v1`, the repository as it is seen through it, and how many requests
    /// there have been.
    async fn behind_proxy(&self, registry: &Embedded) -> (Proxy, RemoteRepository, usize) {
        let proxy = before(registry, Vec::new()).await;
        let remote = repository(proxy.address);
        copy_all(&self.source, &self.old, &remote, &["v1"]).await;
        let known = proxy.asked().len();
        (proxy, remote, known)
    }

    /// A layer of both.
    fn shared(&self) -> Descriptor {
        self.old.manifest().successors().nth(3).unwrap().clone()
    }

    async fn assert_whole(&self, at: &RemoteRepository) {
        for blob in self.new.manifest().successors() {
            read(at, blob).await.unwrap();
        }
    }
}

fn count(asked: &[String], method: &str, path: &str) -> usize {
    asked.iter().filter(|line| line.starts_with(method) && line.contains(path)).count()
}

fn outcome(copied: &Copied, blob: &Descriptor) -> Outcome {
    copied.blobs.iter().find(|(other, _)| other.digest == blob.digest).unwrap().1
}

async fn before(registry: &Embedded, rules: Vec<Rule>) -> Proxy {
    Proxy::start(registry.address().parse().unwrap(), rules).await
}

async fn lose(address: impl std::fmt::Display, blob: Digest) {
    let url = format!("http://{address}/v2/team/app/blobs/{blob}");
    let answer = client(reqwest::Client::builder()).request(Method::DELETE, url).send().await.unwrap();
    assert_eq!(answer.status(), 202);
}

#[tokio::test]
async fn what_the_tagged_manifest_names_is_not_asked_for() {
    let (registry, images) = (Embedded::in_memory().await, Images::new().await);
    let (proxy, remote, known) = images.behind_proxy(&registry).await;
    let copied = images.push_new(&remote).await.unwrap();
    let asked = proxy.asked().split_off(known);
    assert_eq!(count(&asked, "HEAD", "/blobs/"), 1, "the one that is new: {asked:#?}");
    assert_eq!(count(&asked, "", "/manifests/"), 2, "a look and a push: {asked:#?}");
    assert_eq!(outcome(&copied, &images.shared()), Outcome::Exists);
    images.assert_whole(&repository(registry.address())).await;
}

/// With more blobs than are under way at once, those whose turn comes after the look.
#[tokio::test]
async fn a_look_while_blobs_are_under_way_spares_the_rest_of_them() {
    let (registry, images) = (Embedded::in_memory().await, Images::new().await);
    let (proxy, remote, known) = images.behind_proxy(&registry).await;
    let options = CopyOptions { concurrency: 1, ..CopyOptions::default() };
    copy(&images.source, &images.new.digest().into(), &remote, &[tag("v1")], &options).await.unwrap();
    let asked = proxy.asked().split_off(known);
    assert!(count(&asked, "HEAD", "/blobs/") < LAYERS.len(), "{asked:#?}");
}

/// Who counts what an observer sees.
#[derive(Default)]
struct Finished(std::sync::Mutex<Vec<(Digest, Outcome)>>);

impl Observer for Finished {
    fn finished(&self, descriptor: &Descriptor, outcome: Outcome) {
        self.0.lock().unwrap().push((descriptor.digest, outcome));
    }
}

#[tokio::test]
async fn what_is_lost_nevertheless_is_sent_again() {
    let images = Images::new().await;
    let ours = Embedded::in_memory().await;
    let debians = DockerRegistry::start("");
    for address in [Some(ours.address()), debians.as_ref().map(|registry| registry.address.to_string())] {
        let Some(address) = address else { continue };
        let remote = repository(&address);
        copy_all(&images.source, &images.old, &remote, &["v1"]).await;
        let lost = images.shared();
        lose(&address, lost.digest).await;
        let finished = Arc::new(Finished::default());
        let look = Some(Look::at(&remote, &[tag("v1")]).await.unwrap());
        let options = CopyOptions { look, observer: Arc::clone(&finished) as _, ..CopyOptions::default() };
        let copied = copy(&images.source, &images.new.digest().into(), &remote, &[tag("v1")], &options).await.unwrap();
        assert_eq!((outcome(&copied, &lost), copied.bytes_uploaded()), (Outcome::Uploaded, 2), "{address}");
        assert_eq!(finished.0.lock().unwrap().last(), Some(&(lost.digest, Outcome::Uploaded)), "{address}");
        images.assert_whole(&remote).await;
    }
}

#[tokio::test]
async fn what_is_lost_is_sent_again_also_where_the_tag_need_not_be_moved() {
    let (registry, images) = (Embedded::in_memory().await, Images::new().await);
    let remote = repository(registry.address());
    copy_all(&images.source, &images.new, &remote, &["v1"]).await;
    lose(registry.address(), images.shared().digest).await;
    let copied = images.push_new(&remote).await.unwrap();
    assert_eq!((outcome(&copied, &images.shared()), copied.changed), (Outcome::Uploaded, true));
    images.assert_whole(&remote).await;
}

#[tokio::test]
async fn a_manifest_that_is_refused_for_another_reason_is_put_once() {
    let (registry, images) = (Embedded::in_memory().await, Images::new().await);
    copy_all(&images.source, &images.old, &repository(registry.address()), &["v1"]).await;
    for (status, asks) in [("400 Bad Request", LAYERS.len() + 2), ("403 Forbidden", 1), ("409 Conflict", 1)] {
        let picky = before(&registry, vec![on("PUT", "/manifests/", Answer(status)).always()]).await;
        let error = images.push_new(&repository(picky.address)).await.unwrap_err();
        assert!(error.to_string().contains(status), "{error}");
        let asked = picky.asked();
        assert_eq!(count(&asked, "PUT", "/manifests/"), 1, "{asked:#?}");
        // After the first of them, the registry has what is new.
        assert_eq!(count(&asked, "HEAD", "/blobs/"), asks, "{status}: {asked:#?}");
    }
}

/// An image index that has the image that a tag points to, and another one.
#[tokio::test]
async fn what_an_image_of_an_index_lacks_is_sent_again() {
    let (registry, images) = (Embedded::in_memory().await, Images::new().await);
    let remote = repository(registry.address());
    copy_all(&images.source, &images.old, &remote, &["v1"]).await;
    lose(registry.address(), images.shared().digest).await;
    let index = crate::sample::image_index(&[&images.new]);
    bndlr::content::Target::push(&images.source, &index.descriptor(), &index).await.unwrap();
    let look = Some(Look::at(&remote, &[tag("v1")]).await.unwrap());
    let options = CopyOptions { look, ..CopyOptions::default() };
    let copied = copy(&images.source, &index.digest().into(), &remote, &[tag("v1")], &options).await.unwrap();
    assert_eq!(outcome(&copied, &images.shared()), Outcome::Uploaded);
    images.assert_whole(&remote).await;
}

/// What cannot be read is replaced, as it always was.
#[tokio::test]
async fn a_tag_that_points_to_nothing_readable_is_moved() {
    let (registry, images) = (Embedded::in_memory().await, Images::new().await);
    copy_all(&images.source, &images.old, &repository(registry.address()), &["v1"]).await;
    let wrong = crate::proxy::Fault::Down(10, crate::proxy::Harm::Flip);
    let broken = before(&registry, vec![on("GET", "/manifests/v1", wrong).always()]).await;
    assert!(images.push_new(&repository(broken.address)).await.unwrap().changed);
    let found = bndlr::content::Source::resolve(&repository(registry.address()), &Identifier::Tag(tag("v1"))).await;
    assert_eq!(found.unwrap().digest, images.new.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_split_bundle_with_one_changed_file_is_asked_for_by_its_tag_alone() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    std::fs::create_dir(desk.path("tree")).unwrap();
    for number in 0..24_u8 {
        std::fs::write(desk.path(&format!("tree/{number}")), noise(200_000).split_off(number.into())).unwrap();
    }
    let proxy = before(&registry, Vec::new()).await;
    let push =
        |flags: &str| desk.run(&format!("push tree {}/team/app:v1 --split --format json {flags}", proxy.address));
    push("").ok();
    desk.write("tree/3", "changed\n");
    let known = proxy.asked().len();
    let pushed = push("").json();
    let asked = proxy.asked().split_off(known);
    let layers = pushed["layers"].as_array().unwrap();
    let sent = layers.iter().filter(|layer| layer["result"] == "uploaded").count();
    assert!(sent > 0 && sent < layers.len(), "{pushed}");
    assert_eq!(count(&asked, "HEAD", "/blobs/"), sent + 1, "those, and the config: {asked:#?}");
    assert!(asked[0].starts_with("GET") && asked[0].contains("/manifests/v1"), "{asked:#?}");

    let kept = layers.iter().find(|layer| layer["result"] == "exists").unwrap()["digest"].as_str().unwrap();
    lose(registry.address(), kept.parse().unwrap()).await;
    let result = |of: &serde_json::Value| {
        let layer = of["layers"].as_array().unwrap().iter().find(|layer| layer["digest"] == kept);
        layer.unwrap()["result"].clone()
    };
    let checked = push("--check");
    assert_eq!((checked.code, result(&checked.json())), (Some(1), "uploaded".into()));
    desk.write("tree/3", "changed again\n");
    assert_eq!(result(&push("").json()), "uploaded");
    desk.run(&format!("pull {}/team/app:v1 -o pulled", registry.address())).ok();
}
