//! Garbage collection: what goes, what stays, and that nothing is lost beside pushes, other collections and kills. What
//! holds for one storage holds for all; `Stage` stands before each of them.

mod beside;
#[path = "../embedded/mod.rs"]
mod embedded;
mod killed;
#[path = "../pusher/mod.rs"]
mod pusher;
#[path = "../random/mod.rs"]
mod random;
mod rules;
mod stage;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bndlr::digest::{Algorithm, Digest};
use bndlr::manifest::RawManifest;
use bndlr::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};
use bndlr::reference::{Name, Tag};
use bndlr::server::collect::{Collected, DryRun, Freed, Options, collect};
use bndlr::server::repositories::{Push, Repositories, StoredManifest, TagCondition};
use bndlr::server::storage::{Condition, Digests, Error, Filesystem, Item, Key, Memory, Round, Storage};
use bytes::Bytes;
use embedded::{descriptor, image_manifest};
use futures::stream::{self, StreamExt};
use stage::{Before, Stage, Then};
use tempfile::TempDir;

const ALL: usize = usize::MAX;

/// No grace, and uploads end after a day.
fn at_once() -> Options {
    Options { grace: Duration::ZERO, ..Options::default() }
}

fn after_an_hour() -> Options {
    Options { grace: Duration::from_hours(1), ..Options::default() }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn about(subject: &str, layer: &str) -> String {
    let subject = descriptor(OCI_MANIFEST, subject.as_bytes());
    image_manifest(layer.as_bytes()).replacen('{', &format!(r#"{{"subject":{subject},"#), 1)
}

fn index(manifests: &[&str]) -> String {
    let kind = |manifest: &str| if manifest.contains(r#""manifests""#) { OCI_INDEX } else { OCI_MANIFEST };
    let listed: Vec<_> = manifests.iter().map(|manifest| descriptor(kind(manifest), manifest.as_bytes())).collect();
    format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{}]}}"#, listed.join(","))
}

fn digest(manifest: &str) -> Digest {
    Digest::sha256(manifest.as_bytes())
}

/// A storage on a stage, and repositories over it.
struct Desk {
    stage: Arc<Stage>,
    all: Repositories,
    _root: Option<TempDir>,
}

impl Desk {
    fn over(inner: Arc<dyn Storage>, root: Option<TempDir>) -> Self {
        Self::on(Stage::over(inner), root)
    }

    fn on(stage: Stage, root: Option<TempDir>) -> Self {
        let stage = Arc::new(stage);
        Self { all: Repositories::new(Arc::clone(&stage) as Arc<dyn Storage>), stage, _root: root }
    }

    fn in_memory() -> Self {
        Self::over(Arc::new(Memory::new()), None)
    }

    fn in_directory() -> Self {
        let root = tempfile::tempdir().unwrap();
        Self::over(Arc::new(Filesystem::open(root.path()).unwrap()), Some(root))
    }

    /// One over each storage.
    fn each() -> [Self; 2] {
        [Self::in_memory(), Self::in_directory()]
    }

    async fn blob(&self, repository: &str, content: &str) -> Digest {
        self.blob_as(repository, content, Algorithm::Sha256).await
    }

    async fn blob_as(&self, repository: &str, content: &str, algorithm: Algorithm) -> Digest {
        let (here, digest) = (name(repository), algorithm.digest(content.as_bytes()));
        let session = self.all.begin_upload(&here, algorithm).await.unwrap();
        let chunks = stream::iter([Ok(Bytes::copy_from_slice(content.as_bytes()))]).boxed();
        self.all.append(&here, &session, None, chunks).await.unwrap();
        self.all.finish_upload(&here, &session, digest).await.unwrap();
        digest
    }

    async fn put(&self, repository: &str, json: &str, tags: &[&str]) -> Digest {
        self.put_as(&self.all, repository, json, digest(json), tags).await
    }

    async fn put_as(&self, all: &Repositories, repository: &str, json: &str, digest: Digest, tags: &[&str]) -> Digest {
        let manifest = RawManifest::parse("", Bytes::copy_from_slice(json.as_bytes())).unwrap();
        let tags: Vec<Tag> = tags.iter().map(|tag| tag.parse().unwrap()).collect();
        let push = Push { manifest: &manifest, digest, tags: &tags, condition: TagCondition::Any };
        all.put_manifest(&name(repository), &push).await.unwrap();
        digest
    }

    /// An image of one layer in repository `a`, and its manifest.
    async fn image(&self, layer: &str, tags: &[&str]) -> String {
        self.layers(layer).await;
        let json = image_manifest(layer.as_bytes());
        self.put("a", &json, tags).await;
        json
    }

    /// The same, about something.
    async fn referrer(&self, subject: &str, layer: &str) -> String {
        self.layers(layer).await;
        let json = about(subject, layer);
        self.put("a", &json, &[]).await;
        json
    }

    async fn layers(&self, layer: &str) {
        self.blob("a", "{}").await;
        self.blob("a", layer).await;
    }

    async fn collect(&self, options: &Options) -> Freed {
        let Collected { freed, damaged } = collect(&*self.stage, options).await.unwrap();
        assert!(damaged.is_empty(), "{damaged:?}");
        freed
    }

    /// What is there of these contents, and of nothing else, anywhere.
    async fn contents(&self) -> Vec<Digest> {
        self.list(&Digests::Contents).await
    }

    async fn list(&self, list: &Digests) -> Vec<Digest> {
        self.stage.inner.digests(list, None, ALL).await.unwrap().into_iter().map(|(digest, _)| digest).collect()
    }

    /// Everything that is kept, with when it was written.
    async fn everything(&self) -> BTreeMap<Item, SystemTime> {
        let storage = &self.stage.inner;
        let mut lists = vec![Digests::Contents];
        let mut items = BTreeMap::new();
        for name in storage.repositories(None, ALL).await.unwrap() {
            lists.extend([Digests::Blobs(name.clone()), Digests::Manifests(name.clone())]);
            let subjects = storage.subjects(&name, None, ALL).await.unwrap();
            lists.extend(subjects.into_iter().map(|subject| Digests::Referrers(name.clone(), subject)));
            for tag in storage.tags(&name, None, ALL).await.unwrap() {
                let item = Item::from(Key::Tag(name.clone(), tag));
                let modified = storage.find(&item).await.unwrap().unwrap();
                items.insert(item, modified);
            }
        }
        for list in lists {
            let page = storage.digests(&list, None, ALL).await.unwrap();
            items.extend(page.into_iter().map(|(digest, modified)| (list.item(digest), modified)));
        }
        assert_eq!(storage.aside(ALL).await.unwrap(), [], "nothing is left aside");
        items
    }

    async fn names(&self) -> Vec<Item> {
        self.everything().await.into_keys().collect()
    }

    /// Whether the manifest is in repository `a`, with everything in it.
    async fn has(&self, json: &str) -> bool {
        let reference = digest(json).into();
        let Some((_, manifest)) = self.all.manifest(&name("a"), &reference).await.unwrap() else { return false };
        for successor in manifest.parse().unwrap().manifest().successors() {
            let blob = self.all.open_blob(&name("a"), successor.digest).await.unwrap();
            let other = self.all.manifest(&name("a"), &successor.digest.into()).await.unwrap();
            assert!(blob.is_some() || other.is_some(), "{json} lacks {}", successor.digest);
        }
        true
    }

    async fn referrers(&self, subject: &str) -> Vec<Digest> {
        let referrers = self.all.referrers(&name("a"), digest(subject), None, ALL).await.unwrap();
        referrers.into_iter().map(|descriptor| descriptor.digest).collect()
    }

    fn make_old(&self, items: impl IntoIterator<Item = Item>) {
        self.stage.old.lock().unwrap().extend(items);
    }

    async fn make_all_old(&self) {
        self.make_old(self.names().await);
    }
}
