//! What every target keeps to, whatever it is made of. A new one is a new test at the end of this file.

mod sample;

use bndlr::content::{Error, ErrorKind, Memory, Open, OpenRange, Reader, Source, TagCondition, Target, read_manifest};
use bndlr::digest::{Algorithm, Digest};
use bndlr::layout::{Archive, ArchiveWriter, Directory};
use bndlr::manifest::{Descriptor, RawManifest, media_type};
use bndlr::reference::Identifier;
use bndlr::remote::{Client, ClientOptions, RemoteRepository};
use bndlr::server::{self, Registry, Running, Server};
use bytes::Bytes;
use sample::{Content, blob, image_index, kind, large, push_blobs, read, referrer_of, tag};
use tempfile::TempDir;

/// A source that must not be asked.
struct Unasked;

#[async_trait::async_trait]
impl Open for Unasked {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        panic!("{} was opened", descriptor.digest)
    }
}

/// Holds a kind of target to the contract of [`Target`], [`Source`] and [`Open`]. `fresh` makes an empty one, and
/// something that cleans up after it when it is dropped.
async fn conforms<T: Target, G>(fresh: impl AsyncFn() -> (T, G)) {
    let (target, _guard) = fresh().await;
    knows_nothing_at_first(&target).await;
    keeps_blobs(&target).await;
    keeps_large_blobs_and_other_algorithms(&target).await;
    takes_the_same_blob_from_several_at_once(&target).await;
    let (target, _guard) = fresh().await;
    refuses_wrong_content(&target).await;
    let (target, _guard) = fresh().await;
    keeps_manifests_verbatim(&target).await;
    keeps_manifests_under_other_algorithms(&target).await;
    let (target, _guard) = fresh().await;
    moves_tags(&target).await;
    let (target, _guard) = fresh().await;
    moves_tags_under_conditions(&target).await;
    let (target, _guard) = fresh().await;
    keeps_image_indexes(&target).await;
    let (target, _guard) = fresh().await;
    let about = push_referrers(&target).await;
    lists_referrers(&target, &about).await;
}

async fn knows_nothing_at_first(target: &dyn Target) {
    let (unknown, _) = blob(b"unknown");
    assert!(!target.exists(&unknown).await.unwrap());
    assert_eq!(kind(read(target, &unknown).await), ErrorKind::NotFound);
    for identifier in [Identifier::Tag(tag("unknown")), Identifier::Digest(unknown.digest)] {
        assert_eq!(kind(target.resolve(&identifier).await), ErrorKind::NotFound);
        assert_eq!(kind(target.manifest(&identifier).await), ErrorKind::NotFound);
    }
}

async fn keeps_blobs(target: &dyn Target) {
    for content in [b"some content".as_slice(), b""] {
        let (descriptor, from) = blob(content);
        target.push(&descriptor, &from).await.unwrap();
        assert!(target.exists(&descriptor).await.unwrap());
        assert_eq!(read(target, &descriptor).await.unwrap(), content);
        assert_eq!(read(target, &descriptor).await.unwrap(), content, "read a second time");
        target.push(&descriptor, &from).await.unwrap();
    }
    let (blob, _) = blob(b"some content");
    assert_eq!(kind(target.resolve(&blob.digest.into()).await), ErrorKind::NotFound, "a blob is no manifest");
    for wrong in [blob.size - 1, blob.size + 1] {
        let wrong = Descriptor::new(media_type::OCI_LAYER, blob.digest, wrong);
        assert_eq!(kind(read(target, &wrong).await), ErrorKind::Content, "a descriptor with the wrong size");
    }
}

async fn keeps_large_blobs_and_other_algorithms(target: &dyn Target) {
    let content = large();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let descriptor = Descriptor::new(media_type::OCI_LAYER, algorithm.digest(&content), content.len() as u64);
        target.push(&descriptor, &Content(content.clone())).await.unwrap();
        assert!(target.exists(&descriptor).await.unwrap());
        assert!(read(target, &descriptor).await.unwrap() == content, "{algorithm}");
    }
}

async fn takes_the_same_blob_from_several_at_once(target: &dyn Target) {
    let (descriptor, from) = blob(b"pushed by many");
    futures::future::try_join_all((0..16).map(|_| target.push(&descriptor, &from))).await.unwrap();
    assert_eq!(read(target, &descriptor).await.unwrap(), b"pushed by many".as_slice());
}

async fn refuses_wrong_content(target: &dyn Target) {
    let (descriptor, _) = blob(b"right");
    for wrong in ["wrong", "righ", "right!", ""] {
        let from = Content(Bytes::from_static(wrong.as_bytes()));
        assert_eq!(kind(target.push(&descriptor, &from).await), ErrorKind::Content, "{wrong:?} for \"right\"");
        assert!(!target.exists(&descriptor).await.unwrap(), "{wrong:?} for \"right\"");
        assert_eq!(kind(read(target, &descriptor).await), ErrorKind::NotFound, "{wrong:?} for \"right\"");
    }
    let (right, content) = blob(b"right");
    target.push(&right, &content).await.unwrap();
    assert!(target.exists(&right).await.unwrap(), "right content is taken after wrong");

    let no_manifest = Descriptor::of(media_type::OCI_MANIFEST, b"{}");
    assert_eq!(
        kind(target.push(&no_manifest, &Content(Bytes::from_static(b"{}"))).await),
        ErrorKind::Content,
        "what is announced as a manifest has to be one"
    );
    assert_eq!(kind(target.resolve(&no_manifest.digest.into()).await), ErrorKind::NotFound);
}

async fn keeps_manifests_verbatim(target: &dyn Target) {
    let manifest = push_blobs(target, &[b"a layer"]).await;
    let descriptor = manifest.descriptor();
    assert!(!target.exists(&descriptor).await.unwrap());
    target.push(&descriptor, &manifest).await.unwrap();
    assert!(target.exists(&descriptor).await.unwrap());
    assert_eq!(target.resolve(&descriptor.digest.into()).await.unwrap(), descriptor);
    assert_eq!(read_manifest(target, &descriptor).await.unwrap(), manifest);
    assert_eq!(target.manifest(&descriptor.digest.into()).await.unwrap().bytes(), manifest.bytes());
}

async fn keeps_manifests_under_other_algorithms(target: &dyn Target) {
    let manifest = push_blobs(target, &[b"of a manifest with a long digest"]).await;
    let digest = Algorithm::Sha512.digest(manifest.bytes());
    let descriptor = Descriptor { digest, ..manifest.descriptor() };
    target.push(&descriptor, &Content(manifest.bytes().clone())).await.unwrap();
    assert!(target.exists(&descriptor).await.unwrap());
    assert_eq!(target.resolve(&digest.into()).await.unwrap(), descriptor);
    assert_eq!(target.manifest(&digest.into()).await.unwrap(), manifest);
}

async fn moves_tags(target: &dyn Target) {
    let (first, second) = (push_blobs(target, &[b"first"]).await, push_blobs(target, &[b"second"]).await);
    let points_to = async |name: &str| target.manifest(&tag(name).into()).await.unwrap();

    target.tag(&first, &tag("v1")).await.unwrap();
    target.tag(&first, &tag("latest")).await.unwrap();
    assert_eq!(target.resolve(&tag("v1").into()).await.unwrap(), first.descriptor());
    assert!(target.exists(&first.descriptor()).await.unwrap(), "a tagged manifest is there");
    assert_eq!(points_to("latest").await, first);

    target.tag(&second, &tag("latest")).await.unwrap();
    target.tag(&second, &tag("latest")).await.unwrap();
    assert_eq!(points_to("latest").await, second);
    assert_eq!(points_to("v1").await, first, "a tag moves alone");
    assert_eq!(kind(target.resolve(&tag("v2").into()).await), ErrorKind::NotFound);

    target.tag(&second, &tag("v1")).await.unwrap();
    let old = target.resolve(&first.digest().into()).await.unwrap();
    assert_eq!(old, first.descriptor(), "a manifest that lost its tags has its digest still");
}

async fn moves_tags_under_conditions(target: &dyn Target) {
    use TagCondition::{Absent, Any, Is};
    let (first, second) = (push_blobs(target, &[b"first"]).await, push_blobs(target, &[b"second"]).await);
    let (one, two, v1) = (first.digest(), second.digest(), tag("v1"));
    assert_eq!(target.tagged(&v1).await.unwrap(), None);
    for (manifest, condition, holds) in [
        (&first, Is(one), false),
        (&first, Absent, true),
        (&first, Absent, false),
        (&second, Absent, false),
        (&second, Is(two), false),
        (&second, Is(one), true),
        (&second, Is(two), true),
        (&first, Any, true),
    ] {
        let before = target.tagged(&v1).await.unwrap();
        let moved = target.tag_if(manifest, &v1, condition).await;
        if holds {
            moved.unwrap();
            assert_eq!(target.tagged(&v1).await.unwrap(), Some(manifest.descriptor()), "{condition:?}");
        } else {
            assert_eq!(kind(moved), ErrorKind::Conflict, "{condition:?}");
            assert_eq!(target.tagged(&v1).await.unwrap(), before, "{condition:?}");
        }
    }
    let raced = tag("raced");
    let moved = futures::future::join_all((0..16).map(|_| target.tag_if(&first, &raced, Absent))).await;
    assert_eq!(moved.iter().filter(|moved| moved.is_ok()).count(), 1, "one of many gets it");
}

async fn keeps_image_indexes(target: &dyn Target) {
    let image = push_blobs(target, &[b"a layer"]).await;
    let index = image_index(&[&image]);
    target.push(&image.descriptor(), &image).await.unwrap();
    target.tag(&index, &tag("multi")).await.unwrap();
    assert_eq!(target.manifest(&tag("multi").into()).await.unwrap(), index);
    assert_eq!(target.manifest(&image.digest().into()).await.unwrap(), image);
    assert!(target.exists(&image.descriptor()).await.unwrap(), "what an image index names is there");
}

/// An image that is not there, and manifests that refer to it: one of them is named by an image index, and one refers to
/// another.
struct About {
    subject: RawManifest,
    referrers: [RawManifest; 3],
    second: RawManifest,
}

async fn push_referrers(target: &dyn Target) -> About {
    let subject = push_blobs(target, &[b"what others refer to"]).await;
    let referrers = [("a/a", "one"), ("a/b", "two"), ("a/b", "three")];
    let referrers = referrers.map(|(kind, words)| referrer_of(&subject, kind, words));
    for referrer in &referrers {
        target.push(&referrer.descriptor(), referrer).await.unwrap();
    }
    target.push(&referrers[0].descriptor(), &referrers[0]).await.unwrap();
    target.tag(&referrers[1], &tag("signature")).await.unwrap();
    target.tag(&image_index(&[&referrers[2]]), &tag("index")).await.unwrap();
    let second = referrer_of(&referrers[0], "a/a", "about one");
    target.push(&second.descriptor(), &second).await.unwrap();
    About { subject, referrers, second }
}

async fn lists_referrers(source: &dyn Source, about: &About) {
    let sorted = |mut referrers: Vec<Descriptor>| {
        referrers.sort_unstable_by_key(|referrer| referrer.digest);
        referrers
    };
    let list = async |of: &RawManifest, kind| sorted(source.referrers(of.digest(), kind).await.unwrap());
    let all = about.referrers.each_ref().map(RawManifest::referrer);
    assert_eq!(list(&about.subject, None).await, sorted(all.to_vec()), "with artifact types and annotations");
    assert_eq!(list(&about.subject, Some("a/b")).await, sorted(all[1..].to_vec()));
    assert_eq!(list(&about.subject, Some("a/c")).await, []);
    assert_eq!(list(&about.referrers[0], None).await, [about.second.referrer()], "what refers to a referrer");
    assert_eq!(list(&about.second, None).await, []);
}

/// Holds what has content to the contract of [`OpenRange`]. `source` has been given [`large`].
async fn reads_ranges(source: &dyn OpenRange) {
    let content = large();
    let (descriptor, size) = (blob(&content).0, content.len() as u64);
    for (offset, length) in [(0, 1), (0, 0), (size, 0), (1000, 300_000), (size - 1, 1), (0, size)] {
        let part = source.read_range_unverified(&descriptor, offset, length).await.unwrap();
        assert!(part == content[offset as usize..][..length as usize], "{offset}+{length}");
    }
    for (offset, length) in [(0, size + 1), (size, 1), (u64::MAX, 1), (1, u64::MAX)] {
        let part = source.read_range_unverified(&descriptor, offset, length).await;
        assert_eq!(kind(part), ErrorKind::Content, "{offset}+{length}");
    }
    let unknown = Descriptor::new("", Digest::sha256(b"unknown"), 7);
    assert_eq!(kind(source.read_range_unverified(&unknown, 0, 7).await), ErrorKind::NotFound);
}

async fn given_large<T: Target>(target: T) -> T {
    let (descriptor, from) = blob(&large());
    target.push(&descriptor, &from).await.unwrap();
    target
}

#[tokio::test]
async fn parts_are_read_from_everything_that_has_content() {
    reads_ranges(&given_large(Memory::new()).await).await;
    let home = TempDir::new().unwrap();
    reads_ranges(&given_large(Directory::create(home.path().join("layout")).await.unwrap()).await).await;
    let archive = home.path().join("layout.tar");
    given_large(ArchiveWriter::create(&archive).await.unwrap()).await.finish().await.unwrap();
    reads_ranges(&Archive::at(&archive).await.unwrap()).await;
    let (repository, _server) = repository().await;
    reads_ranges(&given_large(repository).await).await;
}

#[tokio::test]
async fn memory_conforms() {
    conforms(async || (Memory::new(), ())).await;
}

#[tokio::test]
async fn layout_in_a_directory_conforms() {
    conforms(async || {
        let home = TempDir::new().unwrap();
        (Directory::create(home.path().join("layout")).await.unwrap(), home)
    })
    .await;
}

#[tokio::test]
async fn layout_in_an_archive_conforms_while_it_is_written() {
    conforms(async || {
        let home = TempDir::new().unwrap();
        (ArchiveWriter::create(home.path().join("layout.tar")).await.unwrap(), home)
    })
    .await;
}

#[tokio::test]
async fn what_is_there_is_not_read_again() {
    let home = TempDir::new().unwrap();
    let directory = Directory::create(home.path().join("layout")).await.unwrap();
    let (descriptor, from) = blob(b"once");
    directory.push(&descriptor, &from).await.unwrap();
    directory.push(&descriptor, &Unasked).await.unwrap();
}

#[tokio::test]
async fn what_was_pushed_to_an_archive_is_read_back() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("layout.tar");
    let writer = ArchiveWriter::create(&path).await.unwrap();
    keeps_blobs(&writer).await;
    keeps_large_blobs_and_other_algorithms(&writer).await;
    keeps_image_indexes(&writer).await;
    let about = push_referrers(&writer).await;
    let image = push_blobs(&writer, &[b"tagged"]).await;
    writer.tag(&image, &tag("v1")).await.unwrap();
    writer.finish().await.unwrap();

    let archive = Archive::at(&path).await.unwrap();
    lists_referrers(&archive, &about).await;
    assert_eq!(archive.manifest(&tag("v1").into()).await.unwrap(), image);
    assert_eq!(archive.resolve(&image.digest().into()).await.unwrap(), image.descriptor());
    for content in [b"some content".as_slice(), b"", b"tagged", b"{}"] {
        assert_eq!(read(&archive, &blob(content).0).await.unwrap(), content);
    }
    let content = large();
    let descriptor = Descriptor::new("", Algorithm::Sha512.digest(&content), content.len() as u64);
    assert!(read(&archive, &descriptor).await.unwrap() == content);

    let unknown = Descriptor::new("", Digest::sha256(b"unknown"), 7);
    assert_eq!(kind(read(&archive, &unknown).await), ErrorKind::NotFound);
    assert_eq!(kind(archive.resolve(&unknown.digest.into()).await), ErrorKind::NotFound);
    assert_eq!(kind(archive.resolve(&tag("v2").into()).await), ErrorKind::NotFound);
    let index = archive.manifest(&tag("multi").into()).await.unwrap();
    for named in index.manifest().successors() {
        archive.manifest(&named.digest.into()).await.expect("what an image index names is found by its digest");
    }
}

async fn repository() -> (RemoteRepository, Running) {
    let registry = Registry::new(server::storage::Memory::new());
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), registry).await.unwrap().spawn();
    let repository = format!("{}/some/repository", server.address()).parse().unwrap();
    let client = Client::new(ClientOptions::default()).unwrap();
    (client.repository(&repository).unwrap(), server)
}

#[tokio::test]
async fn a_repository_in_our_registry_conforms() {
    conforms(repository).await;
}
