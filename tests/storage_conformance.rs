//! The contract of `server::storage::Storage`, held against every implementation of it.

use bndlr::digest::{Algorithm, Digest};
use bndlr::reference::{Name, Tag};
use bndlr::server::storage::{
    BoxError, Chunks, Error, Filesystem, Memory, OpenError, SessionId, Storage, StoredManifest,
};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn chunks(parts: &[&[u8]]) -> Chunks<'static> {
    let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    stream::iter(parts).boxed()
}

/// Chunks that break off, as when a client is cut from the network.
fn cut(part: &[u8]) -> Chunks<'static> {
    let parts = [Ok(Bytes::copy_from_slice(part)), Err(BoxError::from("cut off"))];
    stream::iter(parts).boxed()
}

async fn upload(storage: &dyn Storage, repository: &Name, content: &[u8]) -> Digest {
    let session = storage.begin_upload(repository, Algorithm::Sha256).await.unwrap();
    storage.append(repository, &session, Some(0), chunks(&[content])).await.unwrap();
    let digest = Digest::sha256(content);
    storage.finish_upload(repository, &session, digest).await.unwrap();
    digest
}

async fn read(storage: &dyn Storage, repository: &Name, digest: Digest) -> Option<Vec<u8>> {
    let blob = storage.open_blob(repository, digest).await.unwrap()?;
    let parts: Vec<Bytes> = blob.read(0..blob.size()).try_collect().await.unwrap();
    Some(parts.concat())
}

/// What every storage does. It is given one with nothing in it.
async fn conformance(storage: &dyn Storage) {
    blobs_are_there_when_finished_and_only_where_linked(storage).await;
    sessions_grow_in_order_and_end(storage).await;
    sessions_survive_a_cut_and_refuse_wrong_content(storage).await;
    one_writer_at_a_time(storage).await;
    large_and_empty_blobs(storage).await;
    manifests_keep_bytes_and_media_type(storage).await;
    tags_point_and_are_listed_in_byte_order(storage).await;
    many_writers_lose_nothing(storage).await;
}

async fn blobs_are_there_when_finished_and_only_where_linked(storage: &dyn Storage) {
    let (here, there, nested) = (name("blobs/here"), name("blobs/there"), name("blobs/here/nested"));
    let digest = Digest::sha256(b"content");
    assert_eq!(storage.blob_size(&here, digest).await.unwrap(), None);
    assert!(read(storage, &here, digest).await.is_none());
    assert!(!storage.mount_blob(&there, &here, digest).await.unwrap());
    assert_eq!(storage.blob_size(&here, digest).await.unwrap(), None);

    upload(storage, &here, b"content").await;
    assert_eq!(storage.blob_size(&here, digest).await.unwrap(), Some(7));
    assert_eq!(read(storage, &here, digest).await.unwrap(), b"content");
    for elsewhere in [&there, &nested, &name("blobs")] {
        assert_eq!(storage.blob_size(elsewhere, digest).await.unwrap(), None, "{elsewhere}");
        assert!(read(storage, elsewhere, digest).await.is_none(), "{elsewhere}");
    }
    assert!(storage.manifest(&here, digest).await.unwrap().is_none(), "a blob is no manifest");

    assert!(!storage.mount_blob(&there, &nested, digest).await.unwrap());
    assert!(storage.mount_blob(&here, &there, digest).await.unwrap());
    assert!(storage.mount_blob(&here, &there, digest).await.unwrap(), "again");
    assert_eq!(read(storage, &there, digest).await.unwrap(), b"content");
    upload(storage, &here, b"content").await;
    assert_eq!(read(storage, &here, digest).await.unwrap(), b"content");
}

async fn sessions_grow_in_order_and_end(storage: &dyn Storage) {
    let (here, there) = (name("sessions"), name("sessions-too"));
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    assert_eq!(storage.upload_size(&here, &session).await.unwrap(), 0);
    assert_eq!(storage.append(&here, &session, None, chunks(&[b"one, ", b"two, "])).await.unwrap(), 10);
    assert_eq!(storage.upload_size(&here, &session).await.unwrap(), 10);
    for wrong in [0, 9, 11, u64::MAX] {
        let error = storage.append(&here, &session, Some(wrong), chunks(&[b"x"])).await.unwrap_err();
        assert!(matches!(error, Error::Offset { expected: 10, found } if found == wrong), "{error}");
    }
    assert_eq!(storage.append(&here, &session, Some(10), chunks(&[b"three"])).await.unwrap(), 15);

    let is_unknown = |error: Error| matches!(error, Error::UploadUnknown(_));
    let digest = Digest::sha256(b"one, two, three");
    assert!(is_unknown(storage.upload_size(&there, &session).await.unwrap_err()));
    assert!(is_unknown(storage.append(&there, &session, None, chunks(&[b"x"])).await.unwrap_err()));
    assert!(is_unknown(storage.finish_upload(&there, &session, digest).await.unwrap_err()));
    assert!(is_unknown(storage.cancel_upload(&there, &session).await.unwrap_err()));
    assert_eq!(storage.blob_size(&here, digest).await.unwrap(), None, "not before it is finished");
    storage.finish_upload(&here, &session, digest).await.unwrap();
    assert_eq!(read(storage, &here, digest).await.unwrap(), b"one, two, three");

    assert!(is_unknown(storage.finish_upload(&here, &session, digest).await.unwrap_err()));
    assert!(is_unknown(storage.append(&here, &session, None, chunks(&[b"x"])).await.unwrap_err()));
    let cancelled = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    storage.cancel_upload(&here, &cancelled).await.unwrap();
    assert!(is_unknown(storage.upload_size(&here, &cancelled).await.unwrap_err()));
    assert!(is_unknown(storage.upload_size(&here, &SessionId::random().unwrap()).await.unwrap_err()));
}

async fn sessions_survive_a_cut_and_refuse_wrong_content(storage: &dyn Storage) {
    let here = name("cut");
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    let error = storage.append(&here, &session, None, cut(b"first ")).await.unwrap_err();
    assert!(matches!(error, Error::Body(_)), "{error}");
    assert_eq!(storage.upload_size(&here, &session).await.unwrap(), 6, "what came is kept");
    storage.append(&here, &session, Some(6), chunks(&[b"last"])).await.unwrap();
    let digest = Digest::sha256(b"first last");
    storage.finish_upload(&here, &session, digest).await.unwrap();
    assert_eq!(read(storage, &here, digest).await.unwrap(), b"first last");

    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    storage.append(&here, &session, None, chunks(&[b"something else"])).await.unwrap();
    let claimed = Digest::sha256(b"claimed");
    let error = storage.finish_upload(&here, &session, claimed).await.unwrap_err();
    assert!(matches!(error, Error::Digest(_)), "{error}");
    assert_eq!(storage.blob_size(&here, claimed).await.unwrap(), None);
    assert_eq!(storage.blob_size(&here, Digest::sha256(b"something else")).await.unwrap(), None);
    assert!(matches!(storage.upload_size(&here, &session).await, Err(Error::UploadUnknown(_))), "it has ended");
}

async fn one_writer_at_a_time(storage: &dyn Storage) {
    let here = name("busy");
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    let (sender, receiver) = futures::channel::mpsc::unbounded::<Result<Bytes, BoxError>>();
    let (started, has_started) = tokio::sync::oneshot::channel();
    let mut started = Some(started);
    let slow = receiver.inspect(move |_| {
        if let Some(started) = started.take() {
            started.send(()).unwrap();
        }
    });
    sender.unbounded_send(Ok(Bytes::from_static(b"slow"))).unwrap();
    let writer = storage.append(&here, &session, None, slow.boxed());
    let other = async {
        has_started.await.unwrap();
        let busy = |error: Error| matches!(error, Error::UploadBusy(_));
        assert!(busy(storage.append(&here, &session, None, chunks(&[b"fast"])).await.unwrap_err()));
        assert!(busy(storage.finish_upload(&here, &session, Digest::sha256(b"")).await.unwrap_err()));
        assert!(busy(storage.cancel_upload(&here, &session).await.unwrap_err()));
        drop(sender);
    };
    assert_eq!(futures::join!(writer, other).0.unwrap(), 4);
    storage.finish_upload(&here, &session, Digest::sha256(b"slow")).await.unwrap();
}

async fn large_and_empty_blobs(storage: &dyn Storage) {
    let here = name("sizes");
    let empty = upload(storage, &here, b"").await;
    assert_eq!(read(storage, &here, empty).await.unwrap(), b"");

    let content: Vec<u8> = (0..3_000_001_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    let parts: Vec<&[u8]> = content.chunks(7919).collect();
    storage.append(&here, &session, None, chunks(&parts)).await.unwrap();
    // The session was begun for the other algorithm.
    let digest = Algorithm::Sha512.digest(&content);
    storage.finish_upload(&here, &session, digest).await.unwrap();
    assert!(read(storage, &here, digest).await.unwrap() == content);
    let blob = storage.open_blob(&here, digest).await.unwrap().unwrap();
    for range in [0..1, 0..3_000_001, 999_999..2_000_000, 3_000_000..3_000_001, 5..5] {
        let parts: Vec<Bytes> = blob.read(range.clone()).try_collect().await.unwrap();
        assert!(parts.concat() == content[range.start as usize..range.end as usize], "{range:?}");
    }
}

async fn manifests_keep_bytes_and_media_type(storage: &dyn Storage) {
    let (here, there) = (name("manifests"), name("manifests/too"));
    let manifest = StoredManifest { media_type: "application/x".to_owned(), bytes: Bytes::from_static(b"{ }\n") };
    let digest = Digest::sha256(b"{ }\n");
    assert!(storage.manifest(&here, digest).await.unwrap().is_none());
    storage.put_manifest(&here, digest, &manifest).await.unwrap();
    assert_eq!(storage.manifest(&here, digest).await.unwrap().unwrap(), manifest);
    assert!(storage.manifest(&there, digest).await.unwrap().is_none());
    assert_eq!(storage.blob_size(&here, digest).await.unwrap(), None, "a manifest is no blob");

    let other = StoredManifest { media_type: "application/y".to_owned(), ..manifest.clone() };
    storage.put_manifest(&there, digest, &other).await.unwrap();
    assert_eq!(storage.manifest(&here, digest).await.unwrap().unwrap(), manifest);
    assert_eq!(storage.manifest(&there, digest).await.unwrap().unwrap(), other);
}

async fn tags_point_and_are_listed_in_byte_order(storage: &dyn Storage) {
    let (here, nested) = (name("tags"), name("tags/list"));
    let (one, two) = (Digest::sha256(b"1"), Algorithm::Sha512.digest(b"2"));
    assert_eq!(storage.tags(&here, None, 9).await.unwrap(), None, "nobody has heard of it");
    upload(storage, &here, b"a blob").await;
    assert_eq!(storage.tags(&here, None, 9).await.unwrap(), Some(vec![]));

    for text in ["b", "a", "_", "B", "v1.10", "v1.9", &"t".repeat(128)] {
        assert_eq!(storage.tag(&here, &tag(text)).await.unwrap(), None);
        storage.put_tag(&here, &tag(text), one).await.unwrap();
    }
    storage.put_tag(&here, &tag("b"), two).await.unwrap();
    assert_eq!(storage.tag(&here, &tag("b")).await.unwrap(), Some(two));
    assert_eq!(storage.tag(&here, &tag("B")).await.unwrap(), Some(one));
    assert_eq!(storage.tag(&nested, &tag("b")).await.unwrap(), None);

    let long = "t".repeat(128);
    let list = async |after, limit| {
        let tags = storage.tags(&here, after, limit).await.unwrap().unwrap();
        tags.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(list(None, usize::MAX).await, ["B", "_", "a", "b", &long, "v1.10", "v1.9"]);
    assert_eq!(list(None, 2).await, ["B", "_"]);
    assert_eq!(list(Some("_"), 2).await, ["a", "b"]);
    assert_eq!(list(Some("not / a tag"), 1).await, [long.as_str()], "from where it would be");
    assert_eq!(list(Some("v1.9"), 2).await, [""; 0]);
    assert_eq!(list(None, 0).await, [""; 0]);
}

async fn many_writers_lose_nothing(storage: &dyn Storage) {
    let here = name("many/writers");
    stream::iter(0..64_u32)
        .for_each_concurrent(16, async |i| {
            // Every content is pushed twice, and all move one tag.
            let digest = upload(storage, &here, &(i / 2).to_be_bytes()).await;
            storage.put_tag(&here, &tag(&format!("t{i}")), digest).await.unwrap();
            storage.put_tag(&here, &tag("contended"), digest).await.unwrap();
            storage.tag(&here, &tag("contended")).await.unwrap().unwrap();
        })
        .await;
    assert_eq!(storage.tags(&here, None, usize::MAX).await.unwrap().unwrap().len(), 65);
    for i in 0..32_u32 {
        assert_eq!(read(storage, &here, Digest::sha256(&i.to_be_bytes())).await.unwrap(), i.to_be_bytes());
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    conformance(&Memory::new()).await;
}

#[tokio::test]
async fn filesystem_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    conformance(&Filesystem::open(root.path()).unwrap()).await;
    for directory in ["uploads", "temporary"] {
        let left: Vec<_> = std::fs::read_dir(root.path().join(directory)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

#[tokio::test]
async fn filesystem_keeps_everything_when_it_is_opened_again() {
    let root = tempfile::tempdir().unwrap();
    let here = name("a/b");
    let manifest = StoredManifest { media_type: "m".to_owned(), bytes: Bytes::from_static(b"{}") };
    let digest = {
        let storage = Filesystem::open(root.path().join("new/root")).unwrap();
        storage.put_manifest(&here, Digest::sha256(b"{}"), &manifest).await.unwrap();
        storage.put_tag(&here, &tag("v1"), Digest::sha256(b"{}")).await.unwrap();
        upload(&storage, &here, b"blob").await
    };
    let storage = Filesystem::open(root.path().join("new/root")).unwrap();
    assert_eq!(read(&storage, &here, digest).await.unwrap(), b"blob");
    let tagged = storage.tag(&here, &tag("v1")).await.unwrap().unwrap();
    assert_eq!(storage.manifest(&here, tagged).await.unwrap().unwrap(), manifest);
}

/// A process that is killed in the middle of an upload: its successor serves nothing of it, and can go on with it.
#[tokio::test]
async fn filesystem_serves_nothing_of_an_upload_that_was_dropped_and_resumes_it() {
    let root = tempfile::tempdir().unwrap();
    let here = name("a");
    let (first, last) = (vec![1_u8; 1_500_000], vec![2_u8; 700_000]);
    let digest = Digest::sha256(&[first.clone(), last.clone()].concat());
    let session = {
        let storage = Filesystem::open(root.path()).unwrap();
        let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
        let endless = chunks(&[&first]).chain(stream::pending()).boxed();
        let mut append = storage.append(&here, &session, None, endless);
        // Until something has reached the file, and then no further.
        while storage.upload_size(&here, &session).await.unwrap() == 0 {
            assert!(futures::poll!(&mut append).is_pending());
        }
        drop(append);
        session
    };
    let storage = Filesystem::open(root.path()).unwrap();
    for digest in [digest, Digest::sha256(&first)] {
        assert_eq!(storage.blob_size(&here, digest).await.unwrap(), None);
    }
    assert_eq!(storage.tags(&here, None, 1).await.unwrap(), None, "not even the repository is there");
    loop {
        let size = storage.upload_size(&here, &session).await.unwrap();
        let rest = [&first[size as usize..], &last].concat();
        match storage.append(&here, &session, Some(size), chunks(&[&rest])).await {
            // The last write of the dropped upload may still be under way.
            Err(Error::UploadBusy(_) | Error::Offset { .. }) => tokio::task::yield_now().await,
            result => break assert_eq!(result.unwrap(), 2_200_000),
        }
    }
    storage.finish_upload(&here, &session, digest).await.unwrap();
    assert_eq!(storage.blob_size(&here, digest).await.unwrap(), Some(2_200_000));
}

/// Two processes behind one address: a session goes to and fro between them.
#[tokio::test]
async fn filesystem_is_shared_by_processes() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (Filesystem::open(root.path()).unwrap(), Filesystem::open(root.path()).unwrap());
    let here = name("shared");
    let session = one.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    one.append(&here, &session, Some(0), chunks(&[b"a"])).await.unwrap();
    two.append(&here, &session, Some(1), chunks(&[b"b"])).await.unwrap();
    one.append(&here, &session, Some(2), chunks(&[b"c"])).await.unwrap();
    let digest = Digest::sha256(b"abc");
    two.finish_upload(&here, &session, digest).await.unwrap();
    assert_eq!(read(&one, &here, digest).await.unwrap(), b"abc");
    assert!(matches!(one.append(&here, &session, None, chunks(&[b"d"])).await, Err(Error::UploadUnknown(_))));
}

#[test]
fn filesystem_refuses_a_directory_that_is_somebody_elses() {
    let root = tempfile::tempdir().unwrap();
    let precious = root.path().join("precious");
    std::fs::write(&precious, "x").unwrap();
    assert!(matches!(Filesystem::open(root.path()), Err(OpenError::NotOurs(_))));
    assert!(matches!(Filesystem::open(&precious), Err(OpenError::Io { .. })));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "nothing was written");
    std::fs::remove_file(&precious).unwrap();
    std::fs::write(root.path().join("bndlr-registry-2"), "").unwrap();
    assert!(matches!(Filesystem::open(root.path()), Err(OpenError::Version(_))));
    std::fs::remove_file(root.path().join("bndlr-registry-2")).unwrap();
    std::fs::create_dir(root.path().join("lost+found")).unwrap();
    assert!(Filesystem::open(root.path()).is_ok());
}
