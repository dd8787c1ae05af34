//! Records: whole, apart from each other, and changed by one writer at a time.

use super::*;

pub async fn records_are_written_read_and_removed(storage: &dyn Storage) {
    for key in keys("records") {
        let item = Item::from(key.clone());
        let values = if matches!(key, Key::Blob(..)) { ["", ""] } else { ["one", "another, longer"] };
        assert!(storage.read(&key).await.unwrap().is_none(), "{key}");
        assert!(!is_there(storage, &item).await, "{key}");
        assert!(!storage.remove(&key, Condition::Any).await.unwrap(), "{key}");
        assert!(!storage.renew(&item).await.unwrap(), "{key}");
        for expected in values {
            put(storage, &key, expected).await;
            assert_eq!(storage.read(&key).await.unwrap().unwrap(), expected, "{key}");
            let modified = storage.find(&item).await.unwrap().unwrap();
            assert!(modified.elapsed().is_ok_and(|age| age < Duration::from_mins(1)), "{key}");
        }
        assert!(storage.remove(&key, Condition::Any).await.unwrap(), "{key}");
        assert!(!storage.remove(&key, Condition::Any).await.unwrap(), "{key}");
        assert!(storage.read(&key).await.unwrap().is_none(), "{key}");
    }
    let large = "m".repeat(4 * 1024 * 1024 + 100);
    let manifest = Key::Manifest(name("records"), Digest::sha256(b"large"));
    put(storage, &manifest, &large).await;
    assert!(value(storage, &manifest).await.unwrap() == large, "a manifest and its media type");
}

pub async fn records_are_kept_apart(storage: &dyn Storage) {
    let repositories = ["apart", "apart/nested", "apart-too"];
    for repository in repositories {
        for key in keys(repository).iter().filter(|key| !matches!(key, Key::Blob(..))) {
            assert!(write(storage, key, &key.to_string(), Condition::Absent).await, "{key}");
        }
    }
    for repository in repositories {
        let [blob, rest @ ..] = keys(repository);
        for key in rest {
            assert_eq!(value(storage, &key).await.unwrap(), key.to_string());
        }
        assert!(!is_there(storage, &blob.into()).await, "a manifest is no blob");
    }
    assert!(!is_there(storage, &tag_key("apart", "V1").into()).await, "capitals are other letters");
    assert!(!is_there(storage, &Item::Content(Digest::sha256(b"1"))).await, "a manifest is no content");
}

pub async fn conditions_hold_or_nothing_changes(storage: &dyn Storage) {
    for key in keys("conditions").into_iter().filter(|key| !matches!(key, Key::Blob(..))) {
        for condition in [is("x"), is("")] {
            assert!(!write(storage, &key, "x", condition.clone()).await, "{key}");
            assert!(!storage.remove(&key, condition).await.unwrap(), "{key}");
        }
        assert!(!is_there(storage, &key.clone().into()).await, "{key}");
        assert!(write(storage, &key, "one", Condition::Absent).await, "{key}");
        assert!(!write(storage, &key, "two", Condition::Absent).await, "{key}");
        assert!(!write(storage, &key, "two", is("on")).await, "{key}");
        assert_eq!(value(storage, &key).await.unwrap(), "one", "{key}");
        assert!(write(storage, &key, "two", is("one")).await, "{key}");
        assert_eq!(value(storage, &key).await.unwrap(), "two", "{key}");
        assert!(!storage.remove(&key, is("one")).await.unwrap(), "{key}");
        assert!(storage.remove(&key, is("two")).await.unwrap(), "{key}");
        assert!(write(storage, &key, "three", Condition::Absent).await, "{key}");
    }
    let link = Key::Blob(name("conditions"), Digest::sha256(b""));
    assert!(write(storage, &link, "", Condition::Absent).await);
    assert!(!write(storage, &link, "", Condition::Absent).await);
    assert!(write(storage, &link, "", is("")).await);
    let repositories = storage.repositories(Some("condition"), 1).await.unwrap();
    assert_eq!(repositories, [name("conditions")]);
}

pub async fn renewing_makes_young(storage: &dyn Storage) {
    let digest = upload(storage, &name("renewed"), b"young").await;
    let items = keys("renewed").map(Item::from).into_iter().chain([Item::Content(digest)]);
    // All at once: some clocks tick once in a second.
    let renewals = items.map(async |item| {
        let write_again = async || match &item {
            Item::Record(key) => put(storage, key, if matches!(key, Key::Blob(..)) { "" } else { "x" }).await,
            Item::Content(_) => drop(upload(storage, &name("renewed"), b"young").await),
        };
        write_again().await;
        let modified = async || storage.find(&item).await.unwrap().unwrap();
        let first = modified().await;
        while modified().await == first {
            assert!(storage.renew(&item).await.unwrap(), "{item}");
        }
        let second = modified().await;
        assert!(second > first, "{item}");
        while modified().await == second {
            write_again().await;
        }
        assert!(modified().await > second, "{item}");
    });
    futures::future::join_all(renewals).await;
}

pub async fn many_writers_lose_nothing(storage: &dyn Storage) {
    let (here, subject) = (name("many/writers"), Digest::sha256(b"subject"));
    stream::iter(0..64_u32)
        .for_each_concurrent(16, async |i| {
            // Every content is pushed twice, and all move one tag.
            let digest = upload(storage, &here, &(i / 2).to_be_bytes()).await;
            put(storage, &Key::Blob(here.clone(), digest), "").await;
            put(storage, &Key::Referrer(here.clone(), subject, digest), "{}").await;
            put(storage, &tag_key("many/writers", &format!("t{i}")), &digest.to_string()).await;
            put(storage, &tag_key("many/writers", "contended"), &digest.to_string()).await;
            value(storage, &tag_key("many/writers", "contended")).await.unwrap().parse::<Digest>().unwrap();
        })
        .await;
    assert_eq!(storage.tags(&here, None, ALL).await.unwrap().len(), 65);
    let referrers = storage.digests(&Digests::Referrers(here, subject), None, ALL).await.unwrap();
    assert_eq!(referrers.len(), 32);
    for i in 0..32_u32 {
        assert_eq!(content(storage, Digest::sha256(&i.to_be_bytes())).await.unwrap(), i.to_be_bytes());
    }
}

pub async fn of_many_writers_with_a_condition_one_wins(storage: &dyn Storage) {
    let key = tag_key("winners", "v1");
    let race = async |condition: Condition| {
        let attempts = (0..32).map(|i| (i, condition.clone()));
        let wins = stream::iter(attempts)
            .map(async |(i, condition)| write(storage, &key, &format!("{condition:?} {i}"), condition).await);
        wins.buffer_unordered(16).filter(|won| futures::future::ready(*won)).count().await
    };
    assert_eq!(race(Condition::Absent).await, 1);
    let first = value(storage, &key).await.unwrap();
    assert_eq!(race(is(&first)).await, 1);

    // A counter to which everybody adds one when it has not changed since it was read.
    put(storage, &key, "0").await;
    stream::iter(0..32)
        .for_each_concurrent(8, async |_| {
            loop {
                let now = value(storage, &key).await.unwrap();
                let next = (now.parse::<u32>().unwrap() + 1).to_string();
                if write(storage, &key, &next, is(&now)).await {
                    break;
                }
            }
        })
        .await;
    assert_eq!(value(storage, &key).await.unwrap(), "32");
}
