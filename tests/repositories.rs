//! What blobs, manifests, tags and referrers of a repository mean to each other, also beside a garbage collection.

mod embedded;
#[cfg(feature = "object-store")]
mod s3;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bndlr::digest::{Algorithm, Digest};
use bndlr::manifest::RawManifest;
use bndlr::manifest::media_type::{OCI_EMPTY, OCI_INDEX, OCI_MANIFEST};
use bndlr::reference::{Identifier, Name, Tag};
use bndlr::server::repositories::{Push, PutError, Repositories, TagCondition};
use bndlr::server::storage::{Condition, Error, Filesystem, Item, Key, Memory, Round, Storage};
use bytes::Bytes;
use embedded::{descriptor, image_manifest};
use futures::stream::{self, StreamExt};

const ALL: usize = usize::MAX;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn raw(json: &str) -> RawManifest {
    RawManifest::parse("", Bytes::copy_from_slice(json.as_bytes())).unwrap()
}

/// A repository `a` over a storage that tests reach into.
struct Desk {
    storage: Arc<dyn Storage>,
    all: Repositories,
    here: Name,
}

impl Desk {
    fn new() -> Self {
        Self::over(Memory::new())
    }

    fn over(storage: impl Storage) -> Self {
        let storage: Arc<dyn Storage> = Arc::new(storage);
        Self { all: Repositories::new(Arc::clone(&storage)), storage, here: name("a") }
    }

    async fn blob(&self, content: &'static [u8]) -> Digest {
        let digest = Digest::sha256(content);
        let session = self.all.begin_upload(&self.here, Algorithm::Sha256).await.unwrap();
        let chunks = stream::iter([Ok(Bytes::from_static(content))]).boxed();
        self.all.append(&self.here, &session, None, chunks).await.unwrap();
        self.all.finish_upload(&self.here, &session, digest).await.unwrap();
        digest
    }

    async fn try_put(&self, json: &str, tags: &[&str], condition: TagCondition) -> Result<Digest, PutError> {
        let manifest = raw(json);
        let tags: Vec<Tag> = tags.iter().map(|text| tag(text)).collect();
        let push = Push { manifest: &manifest, digest: manifest.digest(), tags: &tags, condition };
        self.all.put_manifest(&self.here, &push).await.map(|()| manifest.digest())
    }

    async fn put(&self, json: &str, tags: &[&str]) -> Digest {
        self.try_put(json, tags, TagCondition::Any).await.unwrap()
    }

    /// An image with this layer, which is pushed, too.
    async fn image(&self, layer: &'static [u8], tags: &[&str]) -> Digest {
        self.blob(b"{}").await;
        self.blob(layer).await;
        self.put(&image_manifest(layer), tags).await
    }

    async fn pull(&self, reference: &str) -> Option<Digest> {
        let identifier: Identifier = reference.parse().unwrap();
        let (digest, manifest) = self.all.manifest(&self.here, &identifier).await.unwrap()?;
        assert_eq!(digest.algorithm().digest(&manifest.bytes), digest);
        Some(digest)
    }

    async fn tags(&self) -> Vec<String> {
        let tags = self.all.tags(&self.here, None, ALL).await.unwrap().unwrap_or_default();
        tags.iter().map(ToString::to_string).collect()
    }

    async fn referrers(&self, subject: Digest) -> Vec<Digest> {
        let referrers = self.all.referrers(&self.here, subject, None, ALL).await.unwrap();
        referrers.iter().map(|descriptor| descriptor.digest).collect()
    }

    fn link(&self, digest: Digest) -> Item {
        Key::Blob(self.here.clone(), digest).into()
    }

    fn manifest(&self, digest: Digest) -> Item {
        Key::Manifest(self.here.clone(), digest).into()
    }

    /// As a collection does.
    async fn set_aside(&self, items: &[Item]) {
        let round = Round::random().unwrap();
        for item in items {
            self.storage.set_aside(&round, item).await.unwrap().unwrap();
        }
    }
}

fn about(subject: &str, layer: &[u8]) -> String {
    image_manifest(layer).replacen('{', &format!(r#"{{"subject":{subject},"#), 1)
}

#[tokio::test]
async fn a_blob_is_deleted_where_it_is_and_nowhere_else() {
    let desk = Desk::new();
    let (digest, there) = (desk.blob(b"blob").await, name("there"));
    assert!(desk.all.mount_blob(&desk.here, &there, digest).await.unwrap());
    assert!(desk.all.delete_blob(&desk.here, digest).await.unwrap());
    assert!(!desk.all.delete_blob(&desk.here, digest).await.unwrap());
    assert_eq!(desk.all.blob_size(&desk.here, digest).await.unwrap(), None);
    assert!(!desk.all.mount_blob(&desk.here, &name("else"), digest).await.unwrap());
    assert_eq!(desk.all.blob_size(&there, digest).await.unwrap(), Some(4));
}

#[tokio::test]
async fn a_manifest_goes_with_its_tags_and_from_the_referrers_of_its_subject() {
    let desk = Desk::new();
    let subject = desk.image(b"subject", &["v1", "latest"]).await;
    let other = desk.image(b"other", &["other"]).await;
    let referrer =
        desk.put(&about(&descriptor(OCI_MANIFEST, image_manifest(b"subject").as_bytes()), b"other"), &[]).await;
    assert_eq!(desk.referrers(subject).await, [referrer]);

    assert!(desk.all.delete_manifest(&desk.here, subject).await.unwrap());
    assert!(!desk.all.delete_manifest(&desk.here, subject).await.unwrap());
    assert_eq!(desk.tags().await, ["other"]);
    assert_eq!((desk.pull("v1").await, desk.pull(&subject.to_string()).await), (None, None));
    assert_eq!(desk.pull("other").await, Some(other));
    assert_eq!(desk.referrers(subject).await, [referrer], "who refers to it stays");

    assert!(desk.all.delete_manifest(&desk.here, referrer).await.unwrap());
    assert!(desk.referrers(subject).await.is_empty());
    let manifests = desk.all.manifests(&desk.here, None, ALL).await.unwrap();
    assert_eq!(manifests, [other]);
}

#[tokio::test]
async fn a_deleted_tag_leaves_its_manifest() {
    let desk = Desk::new();
    let digest = desk.image(b"layer", &["v1", "v2"]).await;
    assert!(desk.all.delete_tag(&desk.here, &tag("v1")).await.unwrap());
    assert!(!desk.all.delete_tag(&desk.here, &tag("v1")).await.unwrap());
    assert_eq!((desk.pull("v1").await, desk.pull("v2").await), (None, Some(digest)));
    assert!(desk.all.delete_tag(&desk.here, &tag("v2")).await.unwrap());
    assert_eq!(desk.pull(&digest.to_string()).await, Some(digest));
    assert_eq!(desk.all.tags(&desk.here, None, ALL).await.unwrap(), Some(vec![]), "the repository is there");
    assert_eq!(desk.all.tags(&name("else"), None, ALL).await.unwrap(), None);
}

#[tokio::test]
async fn many_tags_of_a_manifest_go_and_others_stay() {
    let desk = Desk::new();
    let tags: Vec<String> = (0..1500).map(|i| format!("t{i}")).collect();
    let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
    let one = desk.image(b"one", &tags).await;
    let two = desk.image(b"two", &["t7", "t1499"]).await;
    assert!(desk.all.delete_manifest(&desk.here, one).await.unwrap());
    assert_eq!(desk.tags().await, ["t1499", "t7"]);
    assert_eq!(desk.pull("t7").await, Some(two));
}

#[tokio::test]
async fn a_referrer_is_described_by_its_type_and_annotations() {
    let desk = Desk::new();
    desk.image(b"layer", &[]).await;
    let subject = Digest::sha256(b"not pushed yet");
    let subject_json = descriptor(OCI_MANIFEST, b"not pushed yet");
    let image = about(&subject_json, b"layer").replacen('{', r#"{"annotations":{"a":"b"},"#, 1);
    let typed = about(&subject_json, b"layer").replacen('{', r#"{"artifactType":"application/x","#, 1);
    let index = format!(r#"{{"schemaVersion":2,"subject":{subject_json},"manifests":[]}}"#);
    for json in [&image, &typed, &index] {
        desk.put(json, &[]).await;
        desk.put(json, &["again"]).await;
    }
    let mut expected = [
        (Digest::sha256(image.as_bytes()), OCI_MANIFEST, Some(OCI_EMPTY), 1, image.len()),
        (Digest::sha256(typed.as_bytes()), OCI_MANIFEST, Some("application/x"), 0, typed.len()),
        (Digest::sha256(index.as_bytes()), OCI_INDEX, None, 0, index.len()),
    ];
    expected.sort();
    let found = desk.all.referrers(&desk.here, subject, None, ALL).await.unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|d| (d.digest, &*d.media_type, d.artifact_type.as_deref(), d.annotations.len(), d.size as usize))
        .collect();
    assert_eq!(found, expected);
    let page = desk.all.referrers(&desk.here, subject, Some(expected[0].0), 1).await.unwrap();
    assert_eq!(page[0].digest, expected[1].0);
    assert!(desk.all.referrers(&name("else"), subject, None, ALL).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_tag_moves_only_if_the_condition_holds() {
    let desk = Desk::new();
    let (one, two) = (desk.image(b"one", &["v1"]).await, desk.image(b"two", &[]).await);
    let put = async |json: &str, tags: &[&str], condition| match desk.try_put(json, tags, condition).await {
        Err(PutError::Condition { found, .. }) => Err(found),
        result => Ok(result.unwrap()),
    };
    let (first, second) = (&image_manifest(b"one"), &image_manifest(b"two"));
    assert_eq!(put(second, &["v1"], TagCondition::Absent).await, Err(Some(one)));
    assert_eq!(put(second, &["v1"], TagCondition::Is(two)).await, Err(Some(one)));
    assert_eq!(put(second, &["v2"], TagCondition::Is(one)).await, Err(None));
    assert_eq!(put(second, &["new", "v1"], TagCondition::Absent).await, Err(Some(one)), "all or none");
    assert_eq!((desk.tags().await, desk.pull("v1").await), (vec!["v1".to_owned()], Some(one)));

    assert_eq!(put(second, &["v1"], TagCondition::Is(one)).await, Ok(two));
    assert_eq!(put(second, &["x", "y"], TagCondition::Absent).await, Ok(two));
    assert_eq!(put(first, &["x", "y"], TagCondition::Is(two)).await, Ok(one));
    assert_eq!((desk.pull("v1").await, desk.pull("y").await), (Some(two), Some(one)));
}

async fn one_of_many_makes_a_tag(desk: &Desk) {
    desk.image(b"layer", &[]).await;
    let contents: Vec<String> =
        (0..16).map(|i| image_manifest(b"layer").replacen('{', &format!("{{{}", " ".repeat(i / 2)), 1)).collect();
    let attempts = stream::iter(&contents).map(async |json| desk.try_put(json, &["v1"], TagCondition::Absent).await);
    let won: Vec<Digest> = attempts.buffer_unordered(8).filter_map(async |result| result.ok()).collect().await;
    assert_eq!(won.len(), 1, "{won:?}");
    assert_eq!(desk.pull("v1").await, Some(won[0]), "also when others pushed the same manifest and lost");
}

#[tokio::test]
async fn of_many_who_make_a_tag_one_wins() {
    one_of_many_makes_a_tag(&Desk::new()).await;
    let root = tempfile::tempdir().unwrap();
    one_of_many_makes_a_tag(&Desk::over(Filesystem::open(root.path()).unwrap())).await;
}

#[cfg(feature = "object-store")]
#[tokio::test]
async fn a_bucket_does_as_a_directory_does() {
    let server = s3::S3Server::start();
    let desk =
        async |url| Desk::over(bndlr::server::storage::Bucket::open_with(url, server.variables()).await.unwrap());
    one_of_many_makes_a_tag(&desk("s3://bucket/one").await).await;
    what_is_set_aside_comes_back(desk("s3://bucket/two").await).await;
}

#[tokio::test]
async fn a_manifest_is_refused_with_what_is_missing_and_leaves_nothing() {
    let desk = Desk::new();
    desk.blob(b"{}").await;
    let json = image_manifest(b"layer");
    let error = desk.try_put(&json, &["v1"], TagCondition::Any).await.unwrap_err();
    let PutError::Missing(missing) = error else { panic!("{error}") };
    assert_eq!((missing.digest, missing.is_manifest), (Digest::sha256(b"layer"), false));
    assert!(desk.all.manifests(&desk.here, None, ALL).await.unwrap().is_empty());
    assert!(desk.tags().await.is_empty());

    let mirror = Repositories::new(Arc::clone(&desk.storage)).allow_missing_blobs(true);
    let desk = Desk { all: mirror, ..desk };
    assert_eq!(desk.pull("v1").await, None);
    let digest = desk.put(&json, &["v1"]).await;
    assert_eq!(desk.pull("v1").await, Some(digest), "a mirror wants it");
}

#[tokio::test]
async fn what_a_collection_set_aside_comes_back_when_it_is_missed() {
    let root = tempfile::tempdir().unwrap();
    for desk in [Desk::new(), Desk::over(Filesystem::open(root.path()).unwrap())] {
        what_is_set_aside_comes_back(desk).await;
    }
}

async fn what_is_set_aside_comes_back(desk: Desk) {
    let digest = desk.image(b"layer", &["v1"]).await;
    let layer = Digest::sha256(b"layer");
    let referrer = desk.put(&about(&descriptor(OCI_MANIFEST, b"subject"), b"layer"), &[]).await;
    let subject = Digest::sha256(b"subject");
    let all = [
        desk.manifest(digest),
        desk.manifest(referrer),
        Key::Referrer(desk.here.clone(), subject, referrer).into(),
        desk.link(layer),
        Item::Content(layer),
    ];
    desk.set_aside(&all).await;
    assert_eq!(desk.all.blob_size(&desk.here, layer).await.unwrap(), Some(5));
    assert_eq!(desk.pull("v1").await, Some(digest));
    assert_eq!(desk.pull(&referrer.to_string()).await, Some(referrer));
    assert_eq!(desk.referrers(subject).await, [referrer], "it refers again");

    desk.set_aside(&all[..2]).await;
    desk.set_aside(&all[3..]).await;
    assert_eq!(desk.put(&image_manifest(b"layer"), &["v2"]).await, digest);
    desk.set_aside(&all[3..]).await;
    assert!(desk.all.mount_blob(&desk.here, &name("there"), layer).await.unwrap());
    desk.set_aside(&all[3..4]).await;
    assert!(desk.all.delete_blob(&desk.here, layer).await.unwrap());
    assert_eq!(desk.all.blob_size(&desk.here, layer).await.unwrap(), None, "what is deleted does not come back");
}

/// Runs `meanwhile` between the writing of a manifest and that of its tag: it holds the locks that a tag is written
/// under, and waits for the manifest.
async fn put_while(
    desk: &Desk,
    root: &Path,
    json: &str,
    meanwhile: impl AsyncFnOnce(Digest),
) -> Result<Digest, PutError> {
    let locks: Vec<File> = (0..=u8::MAX)
        .map(|byte| {
            let lock = File::create(root.join(format!("locks/{byte:02x}"))).unwrap();
            lock.lock().unwrap();
            lock
        })
        .collect();
    let meddle = async {
        let digest = Digest::sha256(json.as_bytes());
        while desk.storage.find(&desk.manifest(digest)).await.unwrap().is_none() {}
        meanwhile(digest).await;
        drop(locks);
    };
    futures::join!(desk.try_put(json, &["v1"], TagCondition::Any), meddle).0
}

#[tokio::test]
async fn a_manifest_whose_blob_goes_while_it_is_put_is_taken_back() {
    for tagged_before in [false, true] {
        let root = tempfile::tempdir().unwrap();
        let desk = Desk::over(Filesystem::open(root.path()).unwrap());
        desk.blob(b"{}").await;
        let before = if tagged_before { Some(desk.image(b"before", &["v1"]).await) } else { None };
        let layer = desk.blob(b"layer").await;
        let link = root.path().join(format!("repositories/a/_blobs/sha256/{}", layer.hex()));
        let remove = async |_| std::fs::remove_file(link).unwrap();
        let json = about(&descriptor(OCI_MANIFEST, b"subject"), b"layer");
        let error = put_while(&desk, root.path(), &json, remove).await.unwrap_err();
        assert!(matches!(&error, PutError::Missing(missing) if missing.digest == layer), "{error}");
        assert_eq!(desk.pull("v1").await, before, "the tag points where it did");
        let manifests = desk.all.manifests(&desk.here, None, ALL).await.unwrap();
        assert_eq!(manifests, before.into_iter().collect::<Vec<_>>());
        assert!(desk.referrers(Digest::sha256(b"subject")).await.is_empty());
    }
}

#[tokio::test]
async fn a_manifest_that_a_collection_takes_while_it_is_put_is_there_in_the_end() {
    let root = tempfile::tempdir().unwrap();
    let desk = Desk::over(Filesystem::open(root.path()).unwrap());
    desk.image(b"before", &["v1"]).await;
    let layer = desk.blob(b"layer").await;
    let round = Round::random().unwrap();
    for is_discarded in [false, true] {
        let json = image_manifest(b"layer").replacen('{', if is_discarded { "{ " } else { "{" }, 1);
        let collect = async |digest| {
            for item in [desk.manifest(digest), desk.link(layer), Item::Content(layer)] {
                desk.storage.set_aside(&round, &item).await.unwrap().unwrap();
            }
            if is_discarded {
                desk.storage.discard(&round, &desk.manifest(digest)).await.unwrap().unwrap();
            }
        };
        let digest = put_while(&desk, root.path(), &json, collect).await.unwrap();
        assert_eq!(desk.pull("v1").await, Some(digest));
        assert_eq!(desk.storage.aside(ALL).await.unwrap(), []);
        assert!(desk.storage.open_linked(&Key::Blob(desk.here.clone(), layer), layer).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn who_relies_on_a_blob_renews_it() {
    let root = tempfile::tempdir().unwrap();
    let desk = Desk::over(Filesystem::open(root.path()).unwrap());
    let (blob, _) = (desk.blob(b"blob").await, desk.blob(b"{}").await);
    let path = root.path().join(format!("repositories/a/_blobs/sha256/{}", blob.hex()));
    let age = async || desk.storage.find(&desk.link(blob)).await.unwrap().unwrap().elapsed().unwrap_or_default();
    let grow = |minutes| {
        let then = SystemTime::now() - Duration::from_mins(minutes);
        std::fs::File::open(&path).unwrap().set_modified(then).unwrap();
    };
    grow(9);
    desk.all.blob_size(&desk.here, blob).await.unwrap().unwrap();
    assert!(age().await > Duration::from_mins(8), "it is young enough to save a write");
    for i in 0..3 {
        grow(60);
        desk.all.open_blob(&desk.here, blob).await.unwrap().unwrap();
        assert!(age().await > Duration::from_mins(50), "reading is not relying");
        match i {
            0 => drop(desk.all.blob_size(&desk.here, blob).await.unwrap()),
            1 => drop(desk.all.mount_blob(&desk.here, &name("there"), blob).await.unwrap()),
            _ => drop(desk.put(&image_manifest(b"blob"), &[]).await),
        }
        assert!(age().await < Duration::from_mins(1), "{i}");
    }
}

#[tokio::test]
async fn a_record_that_is_no_manifest_is_damage_and_not_absence() {
    let desk = Desk::new();
    let digest = desk.image(b"layer", &["v1"]).await;
    let Item::Record(manifest) = desk.manifest(digest) else { unreachable!() };
    for (key, reference) in [(Key::Tag(desk.here.clone(), tag("v1")), "v1"), (manifest, &*digest.to_string())] {
        desk.storage.write(&key, Bytes::from_static(b"?"), Condition::Any).await.unwrap();
        let error = desk.all.manifest(&desk.here, &reference.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, Error::Damaged(_)), "{error}");
    }
}
