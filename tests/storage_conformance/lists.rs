//! Lists, in order and page by page.

use super::*;

pub async fn tags_are_listed_in_byte_order(storage: &dyn Storage) {
    let here = name("tags");
    assert!(storage.tags(&here, None, ALL).await.unwrap().is_empty());
    let long = "t".repeat(128);
    for text in ["b", "a", "_", "B", "v1.10", "v1.9", &long] {
        put(storage, &tag_key("tags", text), "x").await;
    }
    put(storage, &tag_key("tags/list", "elsewhere"), "x").await;
    let list = async |after, limit| {
        let tags = storage.tags(&here, after, limit).await.unwrap();
        tags.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(list(None, ALL).await, ["B", "_", "a", "b", &long, "v1.10", "v1.9"]);
    assert_eq!(list(None, 2).await, ["B", "_"]);
    assert_eq!(list(Some("_"), 2).await, ["a", "b"]);
    assert_eq!(list(Some("not / a tag"), 1).await, [long.as_str()], "from where it would be");
    assert_eq!(list(Some("v1.9"), 2).await, [""; 0]);
    assert_eq!(list(None, 0).await, [""; 0]);
}

pub async fn digests_are_listed_page_by_page(storage: &dyn Storage) {
    let (here, subject) = (name("digests"), Digest::sha256(b"subject"));
    let lists =
        [Digests::Blobs(here.clone()), Digests::Manifests(here.clone()), Digests::Referrers(here.clone(), subject)];
    let mut all: Vec<Digest> = (0..9_u8).map(|i| Digest::sha256(&[i])).collect();
    all.extend((0..3_u8).map(|i| Algorithm::Sha512.digest(&[i])));
    all.sort();
    for list in &lists {
        assert!(storage.digests(list, None, ALL).await.unwrap().is_empty(), "{list}");
        for digest in &all {
            let Item::Record(key) = list.item(*digest) else { unreachable!() };
            put(storage, &key, "").await;
        }
    }
    // What has nothing to do with them.
    put(storage, &Key::Referrer(here.clone(), Algorithm::Sha512.digest(b"subject"), all[0]), "").await;
    put(storage, &Key::Blob(name("digests/nested"), Digest::sha256(b"nested")), "").await;
    for list in &lists {
        let mut found = Vec::new();
        loop {
            let page = storage.digests(list, found.last().copied(), 5).await.unwrap();
            for (digest, modified) in &page {
                assert_eq!(storage.find(&list.item(*digest)).await.unwrap(), Some(*modified), "{list}");
            }
            found.extend(page.iter().map(|(digest, _)| *digest));
            if page.len() < 5 {
                break;
            }
        }
        assert_eq!(found, all, "{list}");
        assert!(storage.digests(list, None, 0).await.unwrap().is_empty(), "{list}");
    }
    let subjects = [subject, Algorithm::Sha512.digest(b"subject")];
    assert_eq!(storage.subjects(&here, None, ALL).await.unwrap(), subjects);
    assert_eq!(storage.subjects(&here, None, 1).await.unwrap(), subjects[..1]);
    assert_eq!(storage.subjects(&here, Some(subject), ALL).await.unwrap(), subjects[1..]);

    for i in 0..20_u8 {
        upload(storage, &here, &[b'c', i]).await;
    }
    let everything = storage.digests(&Digests::Contents, None, ALL).await.unwrap();
    assert!(everything.is_sorted() && everything.len() > 20, "{everything:?}");
    let mut found = Vec::new();
    while let page = storage.digests(&Digests::Contents, found.last().map(|(digest, _)| *digest), 3).await.unwrap()
        && !page.is_empty()
    {
        found.extend(page);
    }
    assert_eq!(found, everything);
}

pub async fn repositories_are_listed_in_byte_order(storage: &dyn Storage) {
    let names = ["z", "z-1", "z.1", "z/a", "z/a/b", "z/a_b", "z/b/c", "z0"];
    for (i, repository) in names.iter().rev().enumerate() {
        put(storage, &keys(repository)[i % 4], "").await;
    }
    let list = async |after, limit| {
        let names = storage.repositories(Some(after), limit).await.unwrap();
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(list("y", ALL).await, names);
    for i in 1..names.len() {
        assert_eq!(list(names[i - 1], 2).await, names[i..names.len().min(i + 2)], "after {}", names[i - 1]);
    }
    assert_eq!(list("z/", 1).await, ["z/a"], "from where it would be");
    assert_eq!(list("z/a/", 1).await, ["z/a/b"]);
    assert_eq!(list("z/zzz", ALL).await, ["z0"]);
    assert_eq!(list("z0", ALL).await, [""; 0]);
    assert_eq!(list("y", 0).await, [""; 0]);
    let all = storage.repositories(None, ALL).await.unwrap();
    assert!(all.is_sorted() && all.len() > names.len(), "{all:?}");
    for (i, repository) in names.iter().rev().enumerate() {
        assert!(storage.remove(&keys(repository)[i % 4], Condition::Any).await.unwrap());
    }
    assert_eq!(list("y", ALL).await, [""; 0], "nothing is left of them");
}
