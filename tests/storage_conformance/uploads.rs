//! Upload sessions, and the contents that they become.

use super::*;

pub async fn contents_are_there_when_finished(storage: &dyn Storage) {
    let here = name("contents");
    let digest = Digest::sha256(b"content");
    assert!(content(storage, digest).await.is_none());
    for again in [false, true] {
        upload(storage, &here, b"content").await;
        assert_eq!(content(storage, digest).await.unwrap(), b"content", "{again}");
    }
    assert!(!is_there(storage, &Key::Blob(here, digest).into()).await, "the link is somebody else's to write");
}

pub async fn a_content_is_opened_by_its_link(storage: &dyn Storage) {
    let (here, there) = (name("linked"), name("linked/not"));
    let digest = Digest::sha256(b"linked");
    let link = |name: &Name| Key::Blob(name.clone(), digest);
    assert!(storage.open_linked(&link(&here), digest).await.unwrap().is_none(), "neither is there");
    put(storage, &link(&here), "").await;
    assert!(storage.open_linked(&link(&here), digest).await.unwrap().is_none(), "the content is not");
    upload(storage, &here, b"linked").await;
    let (modified, blob) = storage.open_linked(&link(&here), digest).await.unwrap().unwrap();
    assert_eq!(blob.size(), 6);
    assert_eq!(storage.find(&link(&here).into()).await.unwrap(), Some(modified));
    assert!(storage.open_linked(&link(&there), digest).await.unwrap().is_none(), "the link is not");
}

pub async fn a_content_may_be_linked_when_it_is_finished(storage: &dyn Storage) {
    let here = name("finished");
    let wrong = Digest::sha256(b"something else");
    for (content, digest) in [(&b"finished"[..], wrong), (b"finished", Digest::sha256(b"finished"))] {
        let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
        storage.append(&here, &session, Some(0), chunks(&[content])).await.unwrap();
        let link = Key::Blob(here.clone(), digest);
        let finished = storage.finish_linked(&here, &session, digest, &link).await;
        assert_eq!(finished.is_ok(), digest != wrong, "{finished:?}");
        assert_eq!(is_there(storage, &link.into()).await, digest != wrong, "what is not received is not linked");
        assert!(matches!(storage.upload_size(&here, &session).await, Err(Error::UploadUnknown(_))));
        assert_eq!(super::content(storage, digest).await.is_some(), digest != wrong);
    }
}

pub async fn sessions_grow_in_order_and_end(storage: &dyn Storage) {
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
    assert!(storage.open(digest).await.unwrap().is_none(), "not before it is finished");
    storage.finish_upload(&here, &session, digest).await.unwrap();
    assert_eq!(content(storage, digest).await.unwrap(), b"one, two, three");

    assert!(is_unknown(storage.finish_upload(&here, &session, digest).await.unwrap_err()));
    assert!(is_unknown(storage.append(&here, &session, None, chunks(&[b"x"])).await.unwrap_err()));
    let cancelled = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    storage.cancel_upload(&here, &cancelled).await.unwrap();
    assert!(is_unknown(storage.upload_size(&here, &cancelled).await.unwrap_err()));
    assert!(is_unknown(storage.upload_size(&here, &SessionId::random().unwrap()).await.unwrap_err()));
}

pub async fn sessions_survive_a_cut_and_refuse_wrong_content(storage: &dyn Storage) {
    let here = name("cut");
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    let error = storage.append(&here, &session, None, cut(b"first ")).await.unwrap_err();
    assert!(matches!(error, Error::Body(_)), "{error}");
    assert_eq!(storage.upload_size(&here, &session).await.unwrap(), 6, "what came is kept");
    storage.append(&here, &session, Some(6), chunks(&[b"last"])).await.unwrap();
    let digest = Digest::sha256(b"first last");
    storage.finish_upload(&here, &session, digest).await.unwrap();
    assert_eq!(content(storage, digest).await.unwrap(), b"first last");

    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    storage.append(&here, &session, None, chunks(&[b"something else"])).await.unwrap();
    let claimed = Digest::sha256(b"claimed");
    let error = storage.finish_upload(&here, &session, claimed).await.unwrap_err();
    assert!(matches!(error, Error::Digest(_)), "{error}");
    assert!(storage.open(claimed).await.unwrap().is_none());
    assert!(storage.open(Digest::sha256(b"something else")).await.unwrap().is_none());
    assert!(matches!(storage.upload_size(&here, &session).await, Err(Error::UploadUnknown(_))), "it has ended");
}

pub async fn one_writer_at_a_time(storage: &dyn Storage) {
    let here = name("busy");
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    let (sender, slow, has_started) = slow_chunks();
    sender.unbounded_send(Ok(Bytes::from_static(b"slow"))).unwrap();
    let writer = storage.append(&here, &session, None, slow);
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

pub async fn large_and_empty_contents(storage: &dyn Storage) {
    let here = name("sizes");
    let empty = upload(storage, &here, b"").await;
    assert_eq!(content(storage, empty).await.unwrap(), b"");

    let bytes: Vec<u8> = (0..3_000_001_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    let parts: Vec<&[u8]> = bytes.chunks(7919).collect();
    storage.append(&here, &session, None, chunks(&parts)).await.unwrap();
    // The session was begun for the other algorithm.
    let digest = Algorithm::Sha512.digest(&bytes);
    storage.finish_upload(&here, &session, digest).await.unwrap();
    assert!(content(storage, digest).await.unwrap() == bytes);
    let blob = storage.open(digest).await.unwrap().unwrap();
    for range in [0..1, 0..3_000_001, 999_999..2_000_000, 3_000_000..3_000_001, 5..5] {
        let parts: Vec<Bytes> = blob.read(range.clone()).try_collect().await.unwrap();
        assert!(parts.concat() == bytes[range.start as usize..range.end as usize], "{range:?}");
    }
}

pub async fn leftovers_are_counted_and_removed(storage: &dyn Storage) {
    let here = name("leftovers");
    let future = SystemTime::now() + Duration::from_hours(1);
    assert_eq!(storage.leftovers(future, Sweep::Count).await.unwrap(), Leftovers::default());
    let session = storage.begin_upload(&here, Algorithm::Sha256).await.unwrap();
    storage.append(&here, &session, None, chunks(&[b"left"])).await.unwrap();
    let past = SystemTime::now() - Duration::from_hours(1);
    assert_eq!(storage.leftovers(past, Sweep::Remove).await.unwrap(), Leftovers::default(), "too young");
    let found = Leftovers { uploads: 1, bytes: 4 };
    assert_eq!(storage.leftovers(future, Sweep::Count).await.unwrap(), found);
    assert_eq!(storage.upload_size(&here, &session).await.unwrap(), 4, "only counted");

    let (sender, slow, has_started) = slow_chunks();
    sender.unbounded_send(Ok(Bytes::from_static(b"over"))).unwrap();
    let append = storage.append(&here, &session, None, slow);
    let sweep = async {
        has_started.await.unwrap();
        assert_eq!(storage.leftovers(future, Sweep::Remove).await.unwrap(), Leftovers::default(), "in use");
        drop(sender);
    };
    assert_eq!(futures::join!(append, sweep).0.unwrap(), 8);
    let found = Leftovers { uploads: 1, bytes: 8 };
    assert_eq!(storage.leftovers(future, Sweep::Remove).await.unwrap(), found);
    assert!(matches!(storage.upload_size(&here, &session).await, Err(Error::UploadUnknown(_))));
    assert_eq!(storage.leftovers(future, Sweep::Count).await.unwrap(), Leftovers::default());
}
