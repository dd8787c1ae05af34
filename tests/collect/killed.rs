//! Collections that are stopped, or that somebody gets in the way of.

use super::rules::stock;
use super::*;

/// After each call to the storage, or each so many, the collection is gone. What is alive can be found, and the next one ends right.
async fn stopped_anywhere(new: impl Fn() -> Desk, step: usize) {
    let expected = {
        let desk = new();
        stock(&desk).await;
        desk.collect(&at_once()).await;
        desk.names().await
    };
    for calls in (0..).step_by(step) {
        let desk = new();
        let live = stock(&desk).await;
        desk.stage.calls.store(calls, std::sync::atomic::Ordering::SeqCst);
        let result = collect(&*desk.stage, &at_once()).await;
        desk.stage.calls.store(ALL, std::sync::atomic::Ordering::SeqCst);
        for manifest in &live {
            assert!(desk.has(manifest).await, "after {calls} calls");
        }
        assert_eq!(desk.referrers(&live[0]).await, [digest(&live[1])], "after {calls} calls");
        desk.collect(&at_once()).await;
        // What the one that was stopped had begun may only now come to its end.
        while !desk.stage.inner.aside(1).await.unwrap().is_empty() {
            desk.collect(&at_once()).await;
        }
        assert_eq!(desk.names().await, expected, "after {calls} calls");
        if result.is_ok() {
            println!("stopped after up to {calls} calls");
            return;
        }
    }
}

#[tokio::test]
async fn a_collection_that_is_stopped_anywhere_loses_nothing_and_the_next_one_ends_right() {
    stopped_anywhere(Desk::in_memory, 1).await;
    stopped_anywhere(Desk::in_directory, 11).await;
}

#[tokio::test]
async fn what_an_earlier_collection_left_aside_is_judged_anew() {
    for desk in Desk::each() {
        let live = stock(&desk).await;
        let round = Round::random().unwrap();
        for item in desk.names().await {
            desk.stage.set_aside(&round, &item).await.unwrap().unwrap();
        }
        desk.collect(&at_once()).await;
        for manifest in &live {
            assert!(desk.has(manifest).await);
        }
        assert_eq!(desk.all.tags(&name("a"), None, ALL).await.unwrap().unwrap().len(), 3);
        assert_eq!(desk.list(&Digests::Manifests(name("a"))).await.len(), 5, "and what is dead is gone");
    }
}

#[tokio::test]
async fn two_collections_at_once_lose_nothing_and_leave_nothing() {
    for desk in Desk::each() {
        let live = stock(&desk).await;
        let options = at_once();
        let (one, two) = futures::join!(desk.collect(&options), desk.collect(&options));
        for manifest in &live {
            assert!(desk.has(manifest).await);
        }
        let mut freed = desk.collect(&at_once()).await;
        freed += one;
        freed += two;
        assert_eq!(freed.manifests, 4, "nothing counts twice");
        assert_eq!(desk.list(&Digests::Manifests(name("a"))).await.len(), 5);
        desk.everything().await;
    }
}

/// The collection saw something old, and by the time it moves it, it is young.
#[tokio::test]
async fn what_is_renewed_while_a_collection_looks_elsewhere_stays() {
    for Desk { stage, _root, .. } in Desk::each() {
        for what in ["manifest", "link", "content"] {
            let mut stage = Stage::over(Arc::clone(&stage.inner));
            let (layer, json) = (what, image_manifest(what.as_bytes()));
            stage.meddle = Some((
                Before::SetAside,
                match what {
                    "manifest" => Key::Manifest(name("a"), digest(&json)).into(),
                    "link" => Key::Blob(name("a"), digest(layer)).into(),
                    _ => Item::Content(digest(layer)),
                },
                Then::Renew,
            ));
            let desk = Desk::on(stage, None);
            desk.image(layer, &[]).await;
            desk.make_all_old().await;
            desk.collect(&after_an_hour()).await;
            let (_, item, _) = desk.stage.meddle.clone().unwrap();
            assert!(desk.stage.inner.find(&item).await.unwrap().is_some(), "{item}");
            if what == "manifest" {
                assert!(desk.has(&json).await, "with all that it needs");
            }
            desk.make_all_old().await;
            desk.everything().await;
        }
    }
}

/// A reader finds an image index that is aside, and takes it for alive: then so is what it lists.
#[tokio::test]
async fn what_is_restored_at_the_last_moment_is_whole() {
    for Desk { stage, _root, .. } in Desk::each() {
        let child = image_manifest(b"child");
        let list = index(&[&child]);
        let list_of_lists = index(&[&list]);
        for restored in [&list_of_lists, &list, &child] {
            let mut stage = Stage::over(Arc::clone(&stage.inner));
            stage.meddle = Some((Before::Discard, Key::Manifest(name("a"), digest(restored)).into(), Then::Restore));
            let desk = Desk::on(stage, None);
            desk.image("child", &[]).await;
            desk.put("a", &list, &[]).await;
            desk.put("a", &list_of_lists, &[]).await;
            desk.referrer(&list, "signature").await;
            desk.collect(&at_once()).await;
            assert!(desk.has(restored).await);
            for manifest in [&list_of_lists, &list, &child] {
                // What is there has all that it lists.
                desk.has(manifest).await;
            }
            desk.everything().await;
        }
    }
}

/// A manifest comes just after the collection has looked at all of them.
#[tokio::test]
async fn a_blob_is_looked_at_again_after_it_was_set_aside() {
    for Desk { stage, _root, .. } in Desk::each() {
        let json = image_manifest(b"layer");
        let manifest = StoredManifest { media_type: OCI_MANIFEST.to_owned(), bytes: json.clone().into() };
        let push = Then::Write(Key::Manifest(name("a"), digest(&json)), manifest.encode());
        let mut stage = Stage::over(Arc::clone(&stage.inner));
        stage.meddle = Some((Before::SetAside, Key::Blob(name("a"), digest("layer")).into(), push));
        let desk = Desk::on(stage, None);
        desk.layers("layer").await;
        assert_eq!(desk.collect(&at_once()).await, Freed::default());
        assert!(desk.has(&json).await);
    }
}

/// Another collection has a manifest aside, and will find that it is alive.
#[tokio::test]
async fn what_is_aside_elsewhere_keeps_what_it_refers_to() {
    for Desk { stage, _root, .. } in Desk::each() {
        let item =
            |layer: &[u8]| Item::from(Key::Manifest(name("a"), Digest::sha256(image_manifest(layer).as_bytes())));
        let mut stage = Stage::over(Arc::clone(&stage.inner));
        stage.meddle = Some((Before::Discard, item(b"dead"), Then::SetAside(item(b"live"))));
        let desk = Desk::on(stage, None);
        let live = desk.image("live", &["v1"]).await;
        desk.image("dead", &[]).await;
        assert_eq!(desk.collect(&at_once()).await.links, 1);
        assert!(desk.has(&live).await);

        let mut stage = Stage::over(Arc::clone(&desk.stage.inner));
        let links = ["dead", "live"].map(|content| Item::from(Key::Blob(name("a"), digest(content))));
        stage.meddle = Some((Before::Discard, links[0].clone(), Then::SetAside(links[1].clone())));
        let desk = Desk::on(stage, None);
        desk.blob("a", "dead").await;
        assert_eq!(desk.collect(&at_once()).await.blobs, 1);
        assert!(desk.has(&live).await, "the content is there though its link was aside");
    }
}

#[tokio::test]
async fn damage_that_shows_only_after_something_was_set_aside_brings_it_back() {
    let dead = image_manifest(b"dead");
    let mut stage = Stage::over(Arc::new(Memory::new()));
    let damaged = Then::Write(Key::Manifest(name("a"), digest("damaged")), Bytes::from_static(b"?"));
    stage.meddle = Some((Before::SetAside, Key::Manifest(name("a"), digest(&dead)).into(), damaged));
    let desk = Desk::on(stage, None);
    desk.image("dead", &[]).await;
    let Collected { freed, damaged } = collect(&*desk.stage, &at_once()).await.unwrap();
    assert_eq!((freed, damaged.len()), (Freed::default(), 1));
    assert!(desk.stage.inner.aside(1).await.unwrap().is_empty(), "a link that is aside keeps no content");
    assert!(desk.has(&dead).await, "with all that it needs");
}
