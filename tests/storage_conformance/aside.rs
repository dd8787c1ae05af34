//! What a collection sets aside, and what becomes of it.

use super::*;

pub async fn what_is_set_aside_is_restored_or_discarded(storage: &dyn Storage) {
    let digest = upload(storage, &name("aside"), b"aside").await;
    for key in keys("aside") {
        put(storage, &key, if matches!(key, Key::Blob(..)) { "" } else { "12345" }).await;
    }
    let items: Vec<Item> = keys("aside").map(Item::from).into_iter().chain([Item::Content(digest)]).collect();
    let round = Round::random().unwrap();
    assert_eq!(storage.set_aside(&round, &keys("aside/not")[0].clone().into()).await.unwrap(), None);
    assert!(storage.aside(ALL).await.unwrap().is_empty());
    for item in &items {
        assert!(!storage.restore(item).await.unwrap(), "{item}: it is not aside");
        assert_eq!(storage.discard(&round, item).await.unwrap(), None, "{item}: it is not aside");
        let modified = storage.find(item).await.unwrap();
        assert_eq!(storage.set_aside(&round, item).await.unwrap(), modified, "{item}");
        assert!(!is_there(storage, item).await, "{item}");
        assert_eq!(storage.set_aside(&Round::random().unwrap(), item).await.unwrap(), None, "{item}: it is gone");
        let aside = storage.aside(ALL).await.unwrap();
        let [found] = &aside[..] else { panic!("{aside:?}") };
        assert_eq!((&found.round, &found.item, Some(found.modified)), (&round, item, modified));

        assert!(storage.restore(item).await.unwrap(), "{item}");
        assert_eq!(storage.find(item).await.unwrap(), modified, "{item}: it has not become younger");
        assert!(!storage.restore(item).await.unwrap(), "{item}: only once");
        assert!(storage.aside(ALL).await.unwrap().is_empty(), "{item}");
    }
    assert_eq!(content(storage, digest).await.unwrap(), b"aside");

    let open = storage.open(digest).await.unwrap().unwrap();
    let round = Round::random().unwrap();
    for item in &items {
        storage.set_aside(&round, item).await.unwrap().unwrap();
    }
    assert!(content(storage, digest).await.is_none());
    let mut aside: Vec<Item> = storage.aside(ALL).await.unwrap().into_iter().map(|aside| aside.item).collect();
    aside.sort();
    assert_eq!(aside, items);
    assert_eq!(storage.aside(2).await.unwrap().len(), 2);
    for item in &items {
        let size = if matches!(item, Item::Record(Key::Blob(..))) { 0 } else { 5 };
        assert_eq!(storage.discard(&round, item).await.unwrap(), Some(size), "{item}");
        assert_eq!(storage.discard(&round, item).await.unwrap(), None, "{item}: only once");
        assert!(!storage.restore(item).await.unwrap(), "{item}: it is gone");
        assert!(!is_there(storage, item).await, "{item}");
    }
    assert!(storage.aside(ALL).await.unwrap().is_empty());
    assert!(storage.repositories(Some("asid"), 1).await.unwrap() != [name("aside")], "nothing of it is there");
    let parts: Vec<Bytes> = open.read(0..5).try_collect().await.unwrap();
    assert_eq!(parts.concat(), b"aside", "what has been opened can be read");
}

pub async fn what_is_written_meanwhile_outlives_a_restore(storage: &dyn Storage) {
    let (key, round) = (keys("meanwhile")[1].clone(), Round::random().unwrap());
    let item = Item::from(key.clone());
    put(storage, &key, "old").await;
    storage.set_aside(&round, &item).await.unwrap().unwrap();
    assert!(write(storage, &key, "new", Condition::Absent).await);
    assert!(storage.restore(&item).await.unwrap());
    assert_eq!(value(storage, &key).await.unwrap(), "new");
    assert!(storage.aside(ALL).await.unwrap().is_empty());
    storage.set_aside(&round, &item).await.unwrap().unwrap();
    put(storage, &key, "newer").await;
    assert_eq!(storage.discard(&round, &item).await.unwrap(), Some(3));
    assert_eq!(value(storage, &key).await.unwrap(), "newer");
}

pub async fn a_round_discards_only_its_own(storage: &dyn Storage) {
    let (key, one, two) = (keys("rounds")[2].clone(), Round::random().unwrap(), Round::random().unwrap());
    let item = Item::from(key.clone());
    put(storage, &key, "x").await;
    storage.set_aside(&one, &item).await.unwrap().unwrap();
    storage.restore(&item).await.unwrap();
    storage.set_aside(&two, &item).await.unwrap().unwrap();
    assert_eq!(storage.discard(&one, &item).await.unwrap(), None, "it has been restored since");
    assert!(storage.restore(&item).await.unwrap());
    // In two rounds at once.
    storage.set_aside(&one, &item).await.unwrap().unwrap();
    put(storage, &key, "y").await;
    storage.set_aside(&two, &item).await.unwrap().unwrap();
    assert_eq!(storage.aside(ALL).await.unwrap().len(), 2);
    assert!(storage.restore(&item).await.unwrap());
    assert!(is_there(storage, &item).await);
    assert!(storage.aside(ALL).await.unwrap().is_empty(), "restored is restored");
}

/// Writers and collections over the same repository, whose folders come and go with what is in them.
pub async fn items_that_come_and_go_are_never_half_there(storage: &dyn Storage) {
    stream::iter(0..200_u32)
        .for_each_concurrent(16, async |i| {
            let key = &keys("come/and/go")[i as usize % 4];
            let (item, round) = (Item::from(key.clone()), Round::random().unwrap());
            let text = if matches!(key, Key::Blob(..)) { "" } else { "whole" };
            put(storage, key, text).await;
            if storage.set_aside(&round, &item).await.unwrap().is_some() && i % 3 == 0 {
                storage.discard(&round, &item).await.unwrap();
            }
            storage.restore(&item).await.unwrap();
            assert!(value(storage, key).await.is_none_or(|value| value == text));
            storage.remove(key, Condition::Any).await.unwrap();
        })
        .await;
    assert!(storage.aside(ALL).await.unwrap().is_empty());
    for key in keys("come/and/go") {
        assert!(!is_there(storage, &key.into()).await);
    }
}

/// A collection relies on it: what it has discarded nobody has.
pub async fn of_a_restore_and_a_discard_at_once_one_finds_the_item(storage: &dyn Storage) {
    let (key, round) = (keys("at/once")[1].clone(), Round::random().unwrap());
    let item = Item::from(key.clone());
    let mut restored = 0;
    for _ in 0..100 {
        put(storage, &key, "x").await;
        storage.set_aside(&round, &item).await.unwrap().unwrap();
        let (is_restored, discarded) = futures::join!(storage.restore(&item), storage.discard(&round, &item));
        let is_restored = is_restored.unwrap();
        assert!(is_restored != discarded.unwrap().is_some());
        assert_eq!(is_there(storage, &item).await, is_restored);
        assert!(storage.aside(ALL).await.unwrap().is_empty());
        restored += usize::from(is_restored);
    }
    println!("restored {restored} times of 100");
    storage.remove(&key, Condition::Any).await.unwrap();
}
