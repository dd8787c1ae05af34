//! What `copy` promises to whoever has something at one end and wants it at the other.

mod sample;

use std::sync::{Arc, Mutex};

use bndlr::content::{Copied, CopyOptions, Error, ErrorKind, Memory, Observer, Open, Outcome, Reader};
use bndlr::content::{Source, TagCondition, Target, copy};
use bndlr::digest::Digest;
use bndlr::layout::{Archive, ArchiveWriter, Directory};
use bndlr::manifest::{Descriptor, RawManifest, media_type};
use bndlr::reference::{Identifier, Tag};
use sample::{blob, copy_all, image_index, kind, push_blobs, read, referrer_of, tag};
use tempfile::TempDir;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Pushed(Digest),
    Tagged(Tag),
}

/// A target that writes down what it was given, and can refuse one content.
#[derive(Default)]
struct Recording {
    memory: Memory,
    events: Mutex<Vec<Event>>,
    refused: Option<Digest>,
}

impl Recording {
    fn refusing(digest: Digest) -> Self {
        Self { refused: Some(digest), ..Self::default() }
    }

    fn record(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    /// What happened since this was last asked.
    fn events(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

#[async_trait::async_trait]
impl Open for Recording {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        self.memory.open(descriptor).await
    }
}

#[async_trait::async_trait]
impl Source for Recording {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, Error> {
        self.memory.resolve(identifier).await
    }
}

#[async_trait::async_trait]
impl Target for Recording {
    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        self.memory.exists(descriptor).await
    }

    async fn push(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, Error> {
        // Others get their turn here, as they do while bytes are on their way.
        tokio::task::yield_now().await;
        if self.refused == Some(descriptor.digest) {
            return Err(Error::new(ErrorKind::Remote, "refused"));
        }
        let outcome = self.memory.push(descriptor, from).await?;
        self.record(Event::Pushed(descriptor.digest));
        Ok(outcome)
    }

    async fn tag_if(&self, manifest: &RawManifest, tag: &Tag, condition: TagCondition) -> Result<(), Error> {
        self.memory.tag_if(manifest, tag, condition).await?;
        self.record(Event::Tagged(tag.clone()));
        Ok(())
    }
}

/// An image in memory.
async fn image(source: &Memory, layers: &[&[u8]]) -> RawManifest {
    let manifest = push_blobs(source, layers).await;
    source.push(&manifest.descriptor(), &manifest).await.unwrap();
    manifest
}

/// An index of two images that share a layer and their config, in memory.
async fn index_of_two(source: &Memory) -> (RawManifest, [RawManifest; 2]) {
    let images = [image(source, &[b"shared", b"one"]).await, image(source, &[b"shared", b"two"]).await];
    let index = image_index(&[&images[0], &images[1]]);
    source.push(&index.descriptor(), &index).await.unwrap();
    (index, images)
}

fn position(events: &[Event], digest: Digest) -> usize {
    let positions: Vec<_> = events.iter().enumerate().filter(|(_, event)| **event == Event::Pushed(digest)).collect();
    assert_eq!(positions.len(), 1, "{digest} is pushed once: {events:?}");
    positions[0].0
}

#[tokio::test]
async fn nothing_is_named_before_it_is_there() {
    let (source, target) = (Memory::new(), Recording::default());
    let manifest = image(&source, &[b"one", b"two", b"three", b"two"]).await;
    copy_all(&source, &manifest, &target, &[]).await;
    let events = target.events();
    assert_eq!(events.len(), 5, "a config, three layers (one is there twice), a manifest: {events:?}");
    assert_eq!(position(&events, manifest.digest()), 4, "the manifest comes last");

    let other = image(&source, &[b"one", b"four"]).await;
    copy_all(&source, &other, &target, &["v1", "latest"]).await;
    let four = Event::Pushed(blob(b"four").0.digest);
    assert_eq!(target.events(), [four, Event::Tagged(tag("v1")), Event::Tagged(tag("latest"))], "tags come last");
}

#[tokio::test]
async fn what_the_images_of_an_index_share_is_sent_once() {
    let (source, target) = (Memory::new(), Recording::default());
    let (index, images) = index_of_two(&source).await;
    let copied = copy_all(&source, &index, &target, &["multi"]).await;
    assert_eq!(copied.blobs.len(), 4, "a config and three layers: {:?}", copied.blobs);
    assert!(copied.blobs.iter().all(|(_, outcome)| *outcome == Outcome::Uploaded));
    assert_eq!(copied.bytes_uploaded(), 2 + 6 + 3 + 3);

    let events = target.events();
    for (image, own) in images.iter().zip([b"one", b"two"]) {
        for needed in [b"shared".as_slice(), own, b"{}"] {
            assert!(position(&events, Digest::sha256(needed)) < position(&events, image.digest()));
        }
    }
    assert_eq!(events.last(), Some(&Event::Tagged(tag("multi"))));
    assert_eq!(target.manifest(&tag("multi").into()).await.unwrap(), index);
}

#[tokio::test]
async fn a_second_copy_sends_nothing_and_says_so() {
    let (source, target) = (Memory::new(), Recording::default());
    let (index, _) = index_of_two(&source).await;
    assert!(copy_all(&source, &index, &target, &["v1"]).await.changed);
    target.events();

    let again = copy_all(&source, &index, &target, &["v1"]).await;
    assert!(!again.changed);
    assert_eq!(again.bytes_uploaded(), 0);
    assert_eq!(target.events(), []);
    assert!(!copy_all(&source, &index, &target, &[]).await.changed);
    assert_eq!(target.events(), []);

    assert!(copy_all(&source, &index, &target, &["v1", "v2"]).await.changed);
    assert_eq!(target.events(), [Event::Tagged(tag("v2"))], "only the tag that is missing is set");
}

#[tokio::test]
async fn a_copy_that_fails_leaves_no_manifest_and_no_tag() {
    let source = Memory::new();
    let (index, images) = index_of_two(&source).await;
    for refused in [Digest::sha256(b"two"), Digest::sha256(b"{}"), images[1].digest()] {
        let target = Recording::refusing(refused);
        let copied = copy(&source, &index.digest().into(), &target, &[tag("v1")], &CopyOptions::default()).await;
        assert_eq!(kind(copied), ErrorKind::Remote);
        assert_eq!(kind(target.resolve(&tag("v1").into()).await), ErrorKind::NotFound);
        assert!(!target.exists(&index.descriptor()).await.unwrap());
        assert!(!target.exists(&images[1].descriptor()).await.unwrap());
    }
}

#[tokio::test]
async fn what_the_source_does_not_have_is_not_found() {
    let (source, target) = (Memory::new(), Memory::new());
    let incomplete = push_blobs(&Memory::new(), &[b"missing"]).await;
    source.push(&incomplete.descriptor(), &incomplete).await.unwrap();
    for identifier in [Identifier::from(tag("unknown")), incomplete.digest().into()] {
        let copied = copy(&source, &identifier, &target, &[tag("v1")], &CopyOptions::default()).await;
        assert_eq!(kind(copied), ErrorKind::NotFound);
        assert_eq!(kind(target.resolve(&tag("v1").into()).await), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn image_indexes_nested_too_deep_are_refused() {
    let source = Memory::new();
    let mut manifest = image(&source, &[b"at the bottom"]).await;
    for _ in 0..20 {
        manifest = image_index(&[&manifest]);
        source.push(&manifest.descriptor(), &manifest).await.unwrap();
    }
    let identifier = manifest.digest().into();
    let copied = copy(&source, &identifier, &Memory::new(), &[], &CopyOptions::default()).await;
    assert_eq!(kind(copied), ErrorKind::Content);
}

/// Counts the bytes of each content.
#[derive(Default)]
struct Counting {
    advanced: Mutex<Vec<(Digest, u64)>>,
    finished: Mutex<Vec<(Digest, Outcome)>>,
}

impl Observer for Counting {
    fn advanced(&self, descriptor: &Descriptor, bytes: u64) {
        self.advanced.lock().unwrap().push((descriptor.digest, bytes));
    }

    fn finished(&self, descriptor: &Descriptor, outcome: Outcome) {
        self.finished.lock().unwrap().push((descriptor.digest, outcome));
    }
}

#[tokio::test]
async fn observers_see_every_byte_and_every_blob() {
    let (source, target) = (Memory::new(), Memory::new());
    let manifest = image(&source, &[b"here already", b"to be sent"]).await;
    let (here, content) = blob(b"here already");
    target.push(&here, &content).await.unwrap();
    let observer = Arc::new(Counting::default());
    let options = CopyOptions { observer: observer.clone(), concurrency: 1, ..CopyOptions::default() };
    copy(&source, &manifest.digest().into(), &target, &[], &options).await.unwrap();

    let sent = [(Digest::sha256(b"{}"), 2), (Digest::sha256(b"to be sent"), 10)];
    assert_eq!(*observer.advanced.lock().unwrap(), sent);
    let mut finished = observer.finished.lock().unwrap().clone();
    finished.sort_by_key(|(digest, _)| *digest);
    let mut expected =
        vec![(sent[0].0, Outcome::Uploaded), (here.digest, Outcome::Exists), (sent[1].0, Outcome::Uploaded)];
    expected.sort_by_key(|(digest, _)| *digest);
    assert_eq!(finished, expected);
}

#[tokio::test]
async fn layouts_pass_on_bit_for_bit_what_they_were_given() {
    let home = TempDir::new().unwrap();
    let source = Memory::new();
    let (index, images) = index_of_two(&source).await;
    let directory = Directory::create(home.path().join("layout")).await.unwrap();
    assert!(copy_all(&source, &index, &directory, &["v1"]).await.changed);
    let again = copy_all(&source, &index, &directory, &["v1"]).await;
    assert!(!again.changed && again.bytes_uploaded() == 0, "{again:?}");

    let path = home.path().join("layout.tar");
    let writer = ArchiveWriter::create(&path).await.unwrap();
    copy_all(&directory, &index, &writer, &["v1"]).await;
    writer.finish().await.unwrap();
    let archive = Archive::at(&path).await.unwrap();
    let end = Memory::new();
    copy_all(&archive, &index, &end, &["v1"]).await;
    assert_eq!(end.manifest(&tag("v1").into()).await.unwrap(), index);
    for image in &images {
        assert_eq!(end.manifest(&image.digest().into()).await.unwrap(), *image);
    }
    let layer = Descriptor::of(media_type::OCI_LAYER, b"shared");
    assert_eq!(read(&end, &layer).await.unwrap(), b"shared".as_slice());
}

/// How to copy with all that refers to what is copied.
/// The manifest of an image with an ordinary layer, which is in `source`, and a foreign one, which is not.
async fn with_foreign_layer(source: &Memory, media_type: &str) -> (RawManifest, Descriptor) {
    let image = push_blobs(source, &[b"ordinary"]).await;
    let foreign = Descriptor { urls: vec!["http://127.0.0.1:1/x".into()], ..Descriptor::of(media_type, b"foreign") };
    let mut json: serde_json::Value = serde_json::from_slice(image.bytes()).unwrap();
    json["layers"].as_array_mut().unwrap().push(serde_json::to_value(&foreign).unwrap());
    let manifest = RawManifest::parse(image.media_type(), json.to_string().into()).unwrap();
    source.push(&manifest.descriptor(), &manifest).await.unwrap();
    (manifest, foreign)
}

const FOREIGN: [&str; 3] = [
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
];

#[tokio::test]
async fn a_foreign_layer_is_copied_if_it_is_there_and_left_out_if_it_is_not() {
    for media_type in FOREIGN {
        let (source, target) = (Memory::new(), Memory::new());
        let (manifest, foreign) = with_foreign_layer(&source, media_type).await;
        let outcome = |copied: &Copied| copied.blobs.iter().find(|(blob, _)| blob.digest == foreign.digest).unwrap().1;
        let first = copy_all(&source, &manifest, &target, &["v1"]).await;
        assert_eq!((outcome(&first), first.bytes_uploaded()), (Outcome::LeftOut, 2 + 8), "{media_type}");
        assert_eq!(target.manifest(&tag("v1").into()).await.unwrap(), manifest);
        let again = copy_all(&source, &manifest, &target, &["v1"]).await;
        assert!(!again.changed && outcome(&again) == Outcome::LeftOut);

        source.push(&foreign, &blob(b"foreign").1).await.unwrap();
        let late = copy_all(&source, &manifest, &target, &["v1"]).await;
        assert_eq!(outcome(&late), Outcome::Uploaded, "{media_type}");
        assert_eq!(read(&target, &foreign).await.unwrap(), "foreign");
    }
    let (source, target) = (Memory::new(), Memory::new());
    let (manifest, _) = with_foreign_layer(&source, media_type::OCI_LAYER_GZIP).await;
    let copied = copy(&source, &manifest.digest().into(), &target, &[], &CopyOptions::default()).await;
    assert_eq!(kind(copied), ErrorKind::NotFound, "URLs alone do not make a layer foreign");
}

fn with_referrers() -> CopyOptions {
    CopyOptions { referrers: true, ..CopyOptions::default() }
}

async fn push_manifest(target: &dyn Target, manifest: &RawManifest) {
    target.push(&manifest.descriptor(), manifest).await.unwrap();
}

#[tokio::test]
async fn referrers_come_after_what_they_refer_to_and_before_the_tags() {
    let (source, target) = (Memory::new(), Recording::default());
    let (index, images) = index_of_two(&source).await;
    let signature = referrer_of(&index, "a/signature", "");
    let list = referrer_of(&images[1], "a/list", "of an image in the index");
    let of_list = referrer_of(&list, "a/signature", "of that");
    for referrer in [&signature, &list, &of_list] {
        push_manifest(&source, referrer).await;
    }
    let (root, tags) = (index.digest().into(), [tag("v1")]);
    let without = copy(&source, &root, &Memory::new(), &tags, &CopyOptions::default()).await.unwrap();
    assert_eq!(without.referrers, [], "none unless they are asked for");

    let copied = copy(&source, &root, &target, &tags, &with_referrers()).await.unwrap();
    assert_eq!(copied.referrers.len(), 3);
    assert!(copied.referrers.iter().all(|(_, outcome)| *outcome == Outcome::Uploaded));
    let events = target.events();
    for (subject, referrer) in [(&index, &signature), (&images[1], &list), (&list, &of_list)] {
        assert!(position(&events, subject.digest()) < position(&events, referrer.digest()), "{events:?}");
    }
    assert_eq!(events.last(), Some(&Event::Tagged(tag("v1"))));
    assert_eq!(target.memory.referrers(index.digest(), None).await.unwrap(), [signature.referrer()]);

    let again = copy(&source, &root, &target, &tags, &with_referrers()).await.unwrap();
    assert!(!again.changed && again.referrers.iter().all(|(_, outcome)| *outcome == Outcome::Exists));
    assert_eq!(target.events(), []);
    push_manifest(&source, &referrer_of(&images[0], "a/late", "")).await;
    let late = copy(&source, &root, &target, &tags, &with_referrers()).await.unwrap();
    assert!(late.changed, "what came after the image is copied after the image");
    assert_eq!(target.events().len(), 1);
}

#[tokio::test]
async fn an_image_and_an_index_that_refers_to_it_and_names_it_do_not_wait_for_each_other() {
    let (source, target) = (Memory::new(), Memory::new());
    let image = image(&source, &[b"a layer"]).await;
    let mut circle = serde_json::to_value(image_index(&[&image]).manifest().successors().collect::<Vec<_>>()).unwrap();
    circle = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": circle, "subject": image.descriptor(),
    });
    let circle = RawManifest::parse(media_type::OCI_INDEX, circle.to_string().into()).unwrap();
    push_manifest(&source, &circle).await;
    for root in [&image, &circle] {
        copy(&source, &root.digest().into(), &target, &[tag("v1")], &with_referrers()).await.unwrap();
    }
    assert!(target.exists(&circle.descriptor()).await.unwrap());
}

/// A source with a list of referrers that is not true, or has no end.
struct Listing<'a> {
    memory: Memory,
    list: &'a (dyn Fn(Digest) -> RawManifest + Sync),
    /// Whether what is listed is there.
    true_to_it: bool,
}

#[async_trait::async_trait]
impl Open for Listing<'_> {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        self.memory.open(descriptor).await
    }
}

#[async_trait::async_trait]
impl Source for Listing<'_> {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, Error> {
        self.memory.resolve(identifier).await
    }

    async fn referrers(&self, subject: Digest, _: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        let listed = (self.list)(subject);
        if self.true_to_it {
            push_manifest(&self.memory, &listed).await;
        }
        Ok(vec![listed.descriptor()])
    }
}

#[tokio::test]
async fn referrers_that_refer_to_each_other_without_end_are_refused() {
    let memory = Memory::new();
    let image = image(&memory, &[b"a layer"]).await;
    let list = |of: Digest| referrer_of(&image, "a/b", &format!("about {of}"));
    let source = Listing { memory, list: &list, true_to_it: true };
    let copied = copy(&source, &image.digest().into(), &Memory::new(), &[], &with_referrers()).await;
    assert_eq!(kind(copied), ErrorKind::Content);
}

#[tokio::test]
async fn a_referrer_that_is_listed_and_gone_is_left_out_and_one_that_is_not_whole_is_an_error() {
    let memory = Memory::new();
    let image = image(&memory, &[b"a layer"]).await;
    let gone = |_| referrer_of(&image, "a/b", "gone");
    let source = Listing { memory, list: &gone, true_to_it: false };
    copy(&source, &image.digest().into(), &Memory::new(), &[], &with_referrers()).await.unwrap();

    let broken = push_blobs(&Memory::new(), &[b"missing"]).await;
    let list = |_| broken.clone();
    let source = Listing { list: &list, true_to_it: true, ..source };
    let copied = copy(&source, &image.digest().into(), &Memory::new(), &[], &with_referrers()).await;
    assert_eq!(kind(copied), ErrorKind::NotFound);
}
