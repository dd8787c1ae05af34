//! What only a storage in a directory has to show: it outlives its process, and is shared by several.

use super::*;

#[tokio::test]
async fn filesystem_keeps_everything_when_it_is_opened_again() {
    let root = tempfile::tempdir().unwrap();
    let digest = {
        let storage = Filesystem::open(root.path().join("new/root")).unwrap();
        for key in &keys("a/b")[1..] {
            put(&storage, key, "kept").await;
        }
        put(&storage, &keys("a/b")[0], "").await;
        storage.set_aside(&Round::random().unwrap(), &keys("a/b")[1].clone().into()).await.unwrap().unwrap();
        upload(&storage, &name("a/b"), b"blob").await
    };
    let storage = Filesystem::open(root.path().join("new/root")).unwrap();
    assert_eq!(content(&storage, digest).await.unwrap(), b"blob");
    assert!(storage.restore(&keys("a/b")[1].clone().into()).await.unwrap(), "what was aside is aside");
    for key in &keys("a/b")[1..] {
        assert_eq!(value(&storage, key).await.unwrap(), "kept");
    }
}

/// An upload that took days is a new content, and none for the next collection.
#[tokio::test]
async fn filesystem_takes_a_content_for_as_old_as_its_end() {
    let root = tempfile::tempdir().unwrap();
    let (storage, here) = (Filesystem::open(root.path()).unwrap(), name("slow"));
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    storage.append(&here, &session, None, chunks(&[b"slow"])).await.unwrap();
    let file = std::fs::read_dir(root.path().join("uploads")).unwrap().next().unwrap().unwrap().path();
    let days_ago = SystemTime::now() - Duration::from_hours(72);
    std::fs::File::open(file).unwrap().set_modified(days_ago).unwrap();
    let digest = Digest::sha256(b"slow");
    storage.finish_upload(&here, &session, digest).await.unwrap();
    let modified = storage.find(&Item::Content(digest)).await.unwrap().unwrap();
    assert!(modified.elapsed().is_ok_and(|age| age < Duration::from_mins(1)));
}

/// A process that is killed while it writes a record leaves a file without a name.
#[tokio::test]
async fn filesystem_removes_what_never_got_a_name() {
    let root = tempfile::tempdir().unwrap();
    let storage = Filesystem::open(root.path()).unwrap();
    std::fs::write(root.path().join("temporary/abc"), "half").unwrap();
    let future = SystemTime::now() + Duration::from_hours(1);
    let found = Leftovers { uploads: 0, bytes: 4 };
    assert_eq!(storage.leftovers(future, Sweep::Count).await.unwrap(), found);
    assert_eq!(storage.leftovers(future, Sweep::Remove).await.unwrap(), found);
    assert_eq!(std::fs::read_dir(root.path().join("temporary")).unwrap().count(), 0);
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
        assert!(storage.open(digest).await.unwrap().is_none());
    }
    assert!(storage.repositories(None, 1).await.unwrap().is_empty(), "not even the repository is there");
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
    assert_eq!(storage.open(digest).await.unwrap().unwrap().size(), 2_200_000);
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
    assert_eq!(content(&one, digest).await.unwrap(), b"abc");
    assert!(matches!(one.append(&here, &session, None, chunks(&[b"d"])).await, Err(Error::UploadUnknown(_))));

    one_writer_wins(&one, &two).await;
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
    std::fs::write(root.path().join("bndlr-registry-1"), "").unwrap();
    assert!(matches!(Filesystem::open(root.path()), Err(OpenError::Version(_))));
    std::fs::remove_file(root.path().join("bndlr-registry-1")).unwrap();
    std::fs::create_dir(root.path().join("lost+found")).unwrap();
    assert!(Filesystem::open(root.path()).is_ok());
}

/// Who restores an item gives it back its name before taking the other one away; a collection may come in between.
#[tokio::test]
async fn filesystem_discards_nothing_that_is_just_being_restored() {
    let root = tempfile::tempdir().unwrap();
    let (storage, round) = (Filesystem::open(root.path()).unwrap(), Round::random().unwrap());
    let digest = upload(&storage, &name("a"), b"content").await;
    let item = Item::Content(digest);
    storage.set_aside(&round, &item).await.unwrap().unwrap();
    let path = format!("blobs/sha256/{}/{}", &digest.hex()[..2], digest.hex());
    let aside = root.path().join(format!("aside/{round}/{path}"));
    std::fs::hard_link(aside, root.path().join(path)).unwrap();
    assert_eq!(storage.discard(&round, &item).await.unwrap(), None);
    assert_eq!(content(&storage, digest).await.unwrap(), b"content");
    assert!(storage.aside(ALL).await.unwrap().is_empty());
}

#[tokio::test]
async fn filesystem_is_opened_where_it_is_and_made_nowhere_when_it_has_to_exist() {
    let root = tempfile::tempdir().unwrap();
    let (new, full) = (root.path().join("new"), root.path().join("full"));
    assert!(matches!(Filesystem::open_existing(&new), Err(OpenError::Absent(_))));
    assert!(matches!(Filesystem::open_existing(root.path()), Err(OpenError::Absent(_))));
    assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0, "nothing was made");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("precious"), "").unwrap();
    assert!(matches!(Filesystem::open_existing(&full), Err(OpenError::NotOurs(_))));
    drop(Filesystem::open(&new).unwrap());
    Filesystem::open_existing(&new).unwrap();
}

/// What is read over and over is kept in memory, and yet a collection or a deletion by another process counts at once.
#[tokio::test]
async fn filesystem_sees_what_another_process_does_to_what_was_just_read() {
    let root = tempfile::tempdir().unwrap();
    let [here, there] = [(); 2].map(|()| Filesystem::open(root.path()).unwrap());
    let (key, round) = (keys("a")[1].clone(), Round::random().unwrap());
    let digest = upload(&here, &name("a"), b"content").await;
    put(&here, &key, "one").await;
    let read = async || {
        // Twice, so that the second one is what was kept.
        assert_eq!(value(&here, &key).await, value(&here, &key).await);
        assert_eq!(content(&here, digest).await, content(&here, digest).await);
        (value(&here, &key).await, content(&here, digest).await)
    };
    let items = [Item::from(key.clone()), Item::Content(digest)];
    let both = |record: &str| (Some(record.to_owned()), Some(b"content".to_vec()));

    assert_eq!(read().await, both("one"));
    put(&there, &key, "two").await;
    assert_eq!(read().await, both("two"), "it was written anew");
    for item in &items {
        there.set_aside(&round, item).await.unwrap().unwrap();
    }
    assert_eq!(read().await, (None, None), "they are aside");
    for item in &items {
        assert!(there.restore(item).await.unwrap());
    }
    assert_eq!(read().await, both("two"), "they were restored");
    assert!(there.remove(&key, Condition::Any).await.unwrap());
    there.set_aside(&round, &items[1]).await.unwrap().unwrap();
    there.discard(&round, &items[1]).await.unwrap().unwrap();
    assert_eq!(read().await, (None, None), "they are gone");
}
