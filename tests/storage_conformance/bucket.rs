//! What only a storage in a bucket has to show: it is shared by processes, and leaves nothing in the bucket.

use bndlr::server::storage::{Bucket, BucketError};

use super::s3::S3Server;
use super::*;

async fn open(server: &S3Server, url: &str) -> Result<Bucket, BucketError> {
    Bucket::open_with(url, server.variables()).await
}

async fn bucket(server: &S3Server) -> Bucket {
    open(server, "s3://bucket/some/prefix").await.unwrap()
}

#[tokio::test]
async fn bucket_keeps_the_contract() {
    let server = S3Server::start();
    conformance(&bucket(&server).await).await;
    assert_eq!(server.keys("some/prefix/").len(), server.keys("").len(), "all is below the prefix");
    assert!(server.keys("some/prefix/aside/").is_empty());
    assert!(server.keys("some/prefix/repositories/come").is_empty());
}

#[tokio::test]
async fn bucket_is_shared_by_processes() {
    let server = S3Server::start();
    let (one, two) = (bucket(&server).await, bucket(&server).await);
    let here = name("shared");
    let session = one.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    let parts = [vec![1; 100_000], vec![2; 10], vec![3; 70_000], vec![4; 60_000], vec![5; 9_000_000], vec![6; 1]];
    let mut size = 0;
    for (part, storage) in parts.iter().zip([&one, &two, &two, &one, &two, &one]) {
        size = storage.append(&here, &session, Some(size), chunks(&[part])).await.unwrap();
    }
    assert_eq!(one.upload_size(&here, &session).await.unwrap(), size);
    let whole = parts.concat();
    let digest = Digest::sha256(&whole);
    two.finish_upload(&here, &session, digest).await.unwrap();
    assert!(content(&one, digest).await.unwrap() == whole);
    assert!(matches!(one.append(&here, &session, None, chunks(&[b"d"])).await, Err(Error::UploadUnknown(_))));

    one_writer_wins(&one, &two).await;
}

/// Two processes that write to one session at once: the one that is second is refused, and leaves nothing.
#[tokio::test]
async fn bucket_refuses_the_slower_of_two_processes() {
    let server = S3Server::start();
    let (one, two) = (bucket(&server).await, bucket(&server).await);
    let here = name("raced");
    let session = one.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    let large = vec![7; 100_000];
    let (sender, slow, has_started) = slow_chunks();
    sender.unbounded_send(Ok(large.clone().into())).unwrap();
    let slower = one.append(&here, &session, Some(0), slow);
    let faster = async {
        has_started.await.unwrap();
        two.append(&here, &session, Some(0), chunks(&[&large, b"fast"])).await.unwrap();
        drop(sender);
    };
    let (slower, ()) = futures::join!(slower, faster);
    assert!(matches!(slower, Err(Error::UploadBusy(_))), "{slower:?}");
    assert_eq!(server.keys("some/prefix/data/").len(), 1);
    let digest = Digest::sha256(&[large, b"fast".to_vec()].concat());
    one.finish_upload(&here, &session, digest).await.unwrap();
    assert_eq!(two.open(digest).await.unwrap().unwrap().size(), 100_004);
}

/// A small content is one object, and no more requests than it takes to be safe.
#[tokio::test]
async fn bucket_keeps_a_small_content_in_one_object() {
    let server = S3Server::start();
    let storage = bucket(&server).await;
    let before = server.requests();
    let digest = upload(&storage, &name("small"), b"small").await;
    assert!(server.requests() - before <= 7, "{}", server.requests() - before);
    let keys = server.keys("some/prefix/blobs/");
    assert_eq!(keys.len(), 1);
    assert!(server.keys("some/prefix/data/").is_empty() && server.keys("some/prefix/uploads/").is_empty());
    assert_eq!(content(&storage, digest).await.unwrap(), b"small");
}

/// Chunks that are much smaller than a part become few parts.
#[tokio::test]
async fn bucket_collects_small_chunks() {
    let server = S3Server::start();
    let (storage, here) = (bucket(&server).await, name("chunks"));
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    for i in 0..40_u8 {
        storage.append(&here, &session, Some(u64::from(i) * 10_000), chunks(&[&[i; 10_000]])).await.unwrap();
    }
    let whole: Vec<u8> = (0..40_u8).flat_map(|i| [i; 10_000]).collect();
    let digest = Digest::sha256(&whole);
    storage.finish_upload(&here, &session, digest).await.unwrap();
    assert!(content(&storage, digest).await.unwrap() == whole);
    assert_eq!(server.keys("some/prefix/data/").len(), 5);
}

/// Data that nobody refers to any more go a while later, and no others.
#[tokio::test]
async fn bucket_deletes_the_data_of_what_is_discarded_a_while_later() {
    let server = S3Server::start();
    let (storage, here, large) = (bucket(&server).await, name("data"), vec![1; 100_000]);
    let digest = upload(&storage, &here, &large).await;
    // Cancelled, wrong, and there already: none of them leaves anything.
    let cancelled = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    storage.append(&here, &cancelled, None, chunks(&[&large])).await.unwrap();
    storage.cancel_upload(&here, &cancelled).await.unwrap();
    let wrong = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    storage.append(&here, &wrong, None, chunks(&[&large])).await.unwrap();
    storage.finish_upload(&here, &wrong, Digest::sha256(b"x")).await.unwrap_err();
    upload(&storage, &here, &large).await;
    assert_eq!(server.keys("some/prefix/data/").len(), 1);
    assert!(server.keys("some/prefix/uploads/").is_empty());

    // Discarded, but for what has been pushed again meanwhile.
    let (item, round) = (Item::Content(digest), Round::random().unwrap());
    storage.set_aside(&round, &item).await.unwrap().unwrap();
    upload(&storage, &here, &large).await;
    let open = storage.open(digest).await.unwrap().unwrap();
    assert_eq!(storage.discard(&round, &item).await.unwrap(), Some(100_000));
    assert_eq!(server.keys("some/prefix/data/").len(), 2);
    let now = SystemTime::now();
    assert_eq!(storage.leftovers(now, Sweep::Remove).await.unwrap(), Leftovers::default());
    assert_eq!(server.keys("some/prefix/data/").len(), 2, "somebody may be reading it");
    server.age(now - Duration::from_hours(48));
    storage.leftovers(now - Duration::from_hours(24), Sweep::Count).await.unwrap();
    assert_eq!(server.keys("some/prefix/data/").len(), 2);
    assert_eq!(
        storage.leftovers(now - Duration::from_hours(24), Sweep::Remove).await.unwrap(),
        Leftovers::default(),
        "it was counted when it was discarded"
    );
    assert_eq!(server.keys("some/prefix/data/").len(), 1);
    assert!(server.keys("some/prefix/uploads/").is_empty());
    let read: Vec<Bytes> = open.read(0..open.size()).try_collect().await.unwrap();
    assert!(read.concat() == large);

    // What says that data may be nobody's can be wrong.
    storage.set_aside(&round, &item).await.unwrap().unwrap();
    assert!(storage.restore(&item).await.unwrap());
    server.age(now - Duration::from_hours(48));
    storage.leftovers(now - Duration::from_hours(24), Sweep::Remove).await.unwrap();
    assert!(content(&storage, digest).await.unwrap() == large);
    assert!(server.keys("some/prefix/uploads/").is_empty());
}

/// A process that is killed while it lets a record be gone leaves an object that is in nobody's way for long, and that
/// the next list removes.
#[tokio::test]
async fn bucket_removes_what_was_not_deleted_to_its_end() {
    let server = S3Server::start();
    let storage = bucket(&server).await;
    let (tag, here) = (tag_key("killed", "v1"), name("killed"));
    put(&storage, &tag, "x").await;
    let path = server.keys("some/prefix/repositories/").pop().unwrap();
    // The remainder of its size by three is 2, which says what it is.
    let gone = "{\"id\":\"00000000000000000000000000000000\"}  \n";
    assert_eq!(gone.len() % 3, 2);
    server.put(&path, gone);
    assert_eq!(value(&storage, &tag).await, None);
    assert!(!storage.remove(&tag, Condition::Any).await.unwrap());
    assert!(storage.tags(&here, None, ALL).await.unwrap().is_empty());
    assert_eq!(server.keys(&path).len(), 1, "somebody may be about to delete it");
    server.age(SystemTime::now() - Duration::from_hours(1));
    assert!(storage.tags(&here, None, ALL).await.unwrap().is_empty());
    assert!(server.keys(&path).is_empty());
    put(&storage, &tag, "y").await;
    assert_eq!(value(&storage, &tag).await.unwrap(), "y");
}

#[tokio::test]
async fn bucket_fails_with_its_store_and_keeps_what_there_was() {
    let server = S3Server::start();
    let storage = bucket(&server).await;
    let (tag, here) = (tag_key("failing", "v1"), name("failing"));
    put(&storage, &tag, "kept").await;
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    server.set_fails(true);
    let failures = futures::join!(
        async { storage.read(&tag).await.unwrap_err() },
        async { storage.write(&tag, "new".into(), Condition::Any).await.unwrap_err() },
        async { storage.remove(&tag, Condition::Any).await.unwrap_err() },
        async { storage.append(&here, &session, None, chunks(&[b"x"])).await.unwrap_err() },
        async { storage.tags(&here, None, ALL).await.unwrap_err() },
    );
    for error in [failures.0, failures.1, failures.2, failures.3, failures.4] {
        assert!(matches!(error, Error::Io { .. }), "{error}");
    }
    server.set_fails(false);
    assert_eq!(value(&storage, &tag).await.unwrap(), "kept");
    storage.append(&here, &session, Some(0), chunks(&[b"x"])).await.unwrap();
    storage.finish_upload(&here, &session, Digest::sha256(b"x")).await.unwrap();
}

#[tokio::test]
async fn bucket_is_refused_when_it_is_somebody_elses_or_cannot_do_it() {
    let server = S3Server::start();
    for url in ["bucket", "file:///tmp", "s3://", "s3:///x", "s3://u:p@bucket", "s3://bucket?x"] {
        assert!(matches!(open(&server, url).await, Err(BucketError::Url(_))), "{url}");
    }
    assert!(matches!(open(&server, "s3://nowhere").await, Err(BucketError::Storage { .. })));
    server.put("theirs/precious", "x");
    assert!(matches!(open(&server, "s3://bucket/theirs").await, Err(BucketError::NotOurs(_))));
    assert!(matches!(open(&server, "s3://bucket").await, Err(BucketError::NotOurs(_))));
    server.put("newer/bndlr-registry-2", "x");
    assert!(matches!(open(&server, "s3://bucket/newer/").await, Err(BucketError::Version(_))));
    assert_eq!(server.keys("").len(), 2, "nothing was written");
    open(&server, "s3://bucket/ours/").await.unwrap();
    open(&server, "s3://bucket/ours").await.unwrap();
    server.ignore_conditions();
    assert!(matches!(open(&server, "s3://bucket/ours").await, Err(BucketError::Unconditional(_))));
}
