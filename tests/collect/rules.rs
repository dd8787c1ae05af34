//! What goes and what stays.

use super::*;

#[tokio::test]
async fn what_no_tag_leads_to_goes_after_the_grace_and_what_a_tag_leads_to_stays() {
    for desk in Desk::each() {
        let (live, dead) = (desk.image("live", &["v1"]).await, desk.image("dead", &["old"]).await);
        assert!(desk.all.delete_tag(&name("a"), &"old".parse().unwrap()).await.unwrap());
        assert_eq!(desk.collect(&after_an_hour()).await, Freed::default(), "it is young");
        let kept = Options { keep_untagged: true, ..at_once() };
        assert_eq!(desk.collect(&kept).await, Freed::default(), "it is to stay");
        // A manifest's record has its media type and a line feed, too.
        let bytes = (dead.len() + OCI_MANIFEST.len() + 1 + "dead".len()) as u64;
        let expected = Freed { manifests: 1, links: 1, blobs: 1, uploads: 0, bytes };
        assert_eq!(desk.collect(&at_once()).await, expected);
        assert!(desk.has(&live).await && !desk.has(&dead).await);
        let mut contents = [digest("{}"), digest("live")];
        contents.sort();
        assert_eq!(desk.contents().await, contents);
        assert_eq!(desk.collect(&at_once()).await, Freed::default());
    }
}

#[tokio::test]
async fn what_an_image_index_lists_stays_with_it_and_goes_with_it() {
    for desk in Desk::each() {
        let (one, two) = (desk.image("one", &[]).await, desk.image("two", &[]).await);
        let inner = index(&[&one, &two]);
        desk.put("a", &inner, &[]).await;
        let three = desk.image("three", &[]).await;
        let outer = index(&[&inner, &three]);
        desk.put("a", &outer, &["v1"]).await;
        assert_eq!(desk.collect(&at_once()).await, Freed::default());
        for manifest in [&one, &two, &three, &inner, &outer] {
            assert!(desk.has(manifest).await);
        }
        desk.put("a", &inner, &["v1"]).await;
        assert_eq!(desk.collect(&at_once()).await.manifests, 2, "the outer one, and what only that lists");
        assert!(desk.has(&inner).await && desk.has(&one).await && !desk.has(&three).await);
        desk.all.delete_tag(&name("a"), &"v1".parse().unwrap()).await.unwrap();
        assert_eq!(desk.collect(&at_once()).await.manifests, 3);
        assert_eq!(desk.names().await, [], "nothing at all is left");
    }
}

#[tokio::test]
async fn referrers_stay_as_long_as_their_subject_does_through_chains_of_them() {
    for desk in Desk::each() {
        let subject = desk.image("subject", &["v1"]).await;
        let signature = desk.referrer(&subject, "signature").await;
        let signed_signature = desk.referrer(&signature, "signature of that").await;
        let of_nothing = desk.referrer("never pushed", "signature").await;
        let listing =
            index(&[]).replacen('{', &format!(r#"{{"subject":{},"#, descriptor(OCI_MANIFEST, subject.as_bytes())), 1);
        desk.put("a", &listing, &[]).await;
        assert_eq!(desk.collect(&at_once()).await.manifests, 1, "whose subject never came");
        assert!(desk.has(&signature).await && desk.has(&signed_signature).await && !desk.has(&of_nothing).await);
        assert_eq!(desk.referrers("never pushed").await, []);
        assert_eq!(desk.referrers(&subject).await.len(), 2);
        assert!(desk.all.delete_manifest(&name("a"), digest(&subject)).await.unwrap());
        assert_eq!(desk.collect(&at_once()).await.manifests, 3);
        assert_eq!(desk.names().await, []);
    }
}

/// The image index has one of the manifests that it lists as its subject, so each keeps the other.
#[tokio::test]
async fn manifests_that_keep_each_other_go_together() {
    for desk in Desk::each() {
        let image = desk.image("layer", &[]).await;
        let subject = descriptor(OCI_MANIFEST, image.as_bytes());
        let ring = index(&[&image]).replacen('{', &format!(r#"{{"subject":{subject},"#), 1);
        desk.put("a", &ring, &["v1"]).await;
        assert_eq!(desk.collect(&at_once()).await, Freed::default());
        desk.all.delete_tag(&name("a"), &"v1".parse().unwrap()).await.unwrap();
        assert_eq!(desk.collect(&at_once()).await.manifests, 2);
        assert_eq!(desk.names().await, []);
    }
}

#[tokio::test]
async fn a_blob_stays_where_it_is_needed_and_its_content_as_long_as_it_is_anywhere() {
    for desk in Desk::each() {
        desk.image("shared", &["v1"]).await;
        for (repository, layer) in [("b", "shared"), ("b", "{}"), ("b/c", "shared")] {
            assert!(desk.all.mount_blob(&name("a"), &name(repository), digest(layer)).await.unwrap());
        }
        desk.put("b", &image_manifest(b"shared"), &["v1"]).await;
        let freed = desk.collect(&at_once()).await;
        assert_eq!((freed.links, freed.blobs), (1, 0), "in b/c, nothing refers to it");
        assert!(desk.all.delete_manifest(&name("a"), digest(&image_manifest(b"shared"))).await.unwrap());
        let freed = desk.collect(&at_once()).await;
        assert_eq!((freed.links, freed.blobs, freed.manifests), (2, 0, 0));
        assert_eq!(desk.all.blob_size(&name("b"), digest("shared")).await.unwrap(), Some(6));
        assert!(desk.all.delete_manifest(&name("b"), digest(&image_manifest(b"shared"))).await.unwrap());
        assert_eq!(desk.collect(&at_once()).await.blobs, 2);
        assert_eq!(desk.names().await, []);
    }
}

#[tokio::test]
async fn what_was_asked_for_lately_stays_though_nothing_refers_to_it() {
    for desk in Desk::each() {
        for blob in ["asked for", "mounted", "forgotten"] {
            desk.blob("a", blob).await;
        }
        desk.make_all_old().await;
        desk.all.blob_size(&name("a"), digest("asked for")).await.unwrap().unwrap();
        assert!(desk.all.mount_blob(&name("a"), &name("b"), digest("mounted")).await.unwrap());
        let freed = desk.collect(&after_an_hour()).await;
        assert_eq!((freed.links, freed.blobs), (1, 1));
        assert_eq!(desk.all.blob_size(&name("a"), digest("asked for")).await.unwrap(), Some(9));
        assert_eq!(desk.all.blob_size(&name("b"), digest("mounted")).await.unwrap(), Some(7));
        assert_eq!(desk.all.blob_size(&name("a"), digest("forgotten")).await.unwrap(), None);
    }
}

/// Whoever has resolved the tag goes on to pull by digest.
#[tokio::test]
async fn a_manifest_whose_tag_moves_on_has_a_grace_of_its_own() {
    for desk in Desk::each() {
        let (one, two) = (desk.image("one", &["v1"]).await, desk.image("two", &[]).await);
        desk.make_all_old().await;
        desk.put("a", &two, &["v1"]).await;
        assert_eq!(desk.collect(&after_an_hour()).await, Freed::default());
        assert!(desk.has(&one).await);
        desk.make_all_old().await;
        assert_eq!(desk.collect(&after_an_hour()).await.manifests, 1);
        assert!(!desk.has(&one).await && desk.has(&two).await);
    }
}

#[tokio::test]
async fn manifests_that_a_mirror_took_without_their_blobs_are_no_obstacle() {
    for desk in Desk::each() {
        let mirror = Repositories::new(Arc::clone(&desk.stage) as Arc<dyn Storage>).allow_missing_blobs(true);
        let sparse = index(&["not here", &image_manifest(b"nor here")]);
        desk.put_as(&mirror, "a", &sparse, digest(&sparse), &["v1"]).await;
        let image = image_manifest(b"missing");
        desk.put_as(&mirror, "a", &image, digest(&image), &[]).await;
        assert_eq!(desk.collect(&at_once()).await.manifests, 1);
        assert_eq!(desk.list(&Digests::Manifests(name("a"))).await, [digest(&sparse)]);
    }
}

#[tokio::test]
async fn digests_of_any_algorithm_are_kept_and_collected() {
    for desk in Desk::each() {
        let sha512 = |text: &str| Algorithm::Sha512.digest(text.as_bytes());
        for layer in ["live", "dead"] {
            desk.blob("a", "{}").await;
            desk.blob_as("a", layer, Algorithm::Sha512).await;
            let (old, new) = (Digest::sha256(layer.as_bytes()).to_string(), sha512(layer).to_string());
            let json = image_manifest(layer.as_bytes()).replace(&old, &new);
            let tags: &[&str] = if layer == "live" { &["v1"] } else { &[] };
            desk.put_as(&desk.all, "a", &json, sha512(&json), tags).await;
        }
        let freed = desk.collect(&at_once()).await;
        assert_eq!((freed.manifests, freed.links, freed.blobs), (1, 1, 1));
        assert_eq!(desk.contents().await, [digest("{}"), sha512("live")]);
    }
}

#[tokio::test]
async fn uploads_that_nobody_goes_on_with_end() {
    for desk in Desk::each() {
        let here = name("a");
        let session = desk.all.begin_upload(&here, Algorithm::Sha256).await.unwrap();
        let chunks = stream::iter([Ok(Bytes::from_static(b"half"))]).boxed();
        desk.all.append(&here, &session, None, chunks).await.unwrap();
        assert_eq!(desk.collect(&at_once()).await, Freed::default(), "it is young");
        let now = Options { upload_timeout: Duration::ZERO, ..after_an_hour() };
        assert_eq!(desk.collect(&now).await, Freed { uploads: 1, bytes: 4, ..Freed::default() });
        assert!(matches!(desk.all.upload_size(&here, &session).await, Err(Error::UploadUnknown(_))));
    }
}

/// Much to collect, and much to keep.
pub async fn stock(desk: &Desk) -> [String; 5] {
    let live = desk.image("live", &["v1"]).await;
    let signature = desk.referrer(&live, "signature").await;
    let child = desk.image("child", &[]).await;
    let list = index(&[&child]);
    desk.put("a", &list, &["list"]).await;
    let dead = desk.image("dead", &[]).await;
    desk.referrer(&dead, "signature of what is dead").await;
    let dead_child = desk.image("dead child", &[]).await;
    desk.put("a", &index(&[&dead_child, &dead]), &[]).await;
    desk.blob("a", "linked by nothing").await;
    assert!(desk.all.mount_blob(&name("a"), &name("b"), digest("live")).await.unwrap());
    let there = desk.image("there", &["there"]).await;
    [live, signature, child, list, there]
}

#[tokio::test]
async fn a_dry_run_says_what_would_go_and_changes_nothing() {
    for desk in Desk::each() {
        stock(&desk).await;
        let session = desk.all.begin_upload(&name("a"), Algorithm::Sha256).await.unwrap();
        let options = Options { upload_timeout: Duration::ZERO, ..at_once() };
        let before = desk.everything().await;
        let dry_run = DryRun::over(Arc::clone(&desk.stage) as Arc<dyn Storage>);
        let freed = collect(&dry_run, &options).await.unwrap().freed;
        assert_eq!(desk.everything().await, before);
        assert_eq!(desk.all.upload_size(&name("a"), &session).await.unwrap(), 0);
        let would_go = dry_run.discarded();
        assert_eq!(desk.collect(&options).await, freed);
        let after = desk.everything().await;
        let gone: Vec<_> = before.into_keys().filter(|item| !after.contains_key(item)).collect();
        assert_eq!(gone, would_go);
        assert_eq!((freed.manifests, freed.uploads), (4, 1));
    }
}

#[tokio::test]
async fn what_is_damaged_keeps_its_repository_and_stops_nothing_else() {
    let other = r#"{"schemaVersion":2,"config":{"mediaType":"a","digest":"D","size":5},"layers":[]}"#;
    let other = other.replace('D', &Digest::sha256(b"other").to_string());
    let damage = [
        (Key::Manifest(name("a"), digest("damaged")), Bytes::from_static(b"?")),
        (Key::Manifest(name("a"), digest("damaged")), format!("{OCI_MANIFEST}\n{other}").into()),
        (Key::Tag(name("a"), "v1".parse().unwrap()), Bytes::from_static(b"?")),
    ];
    for (key, value) in damage {
        for desk in Desk::each() {
            let kept = desk.image("kept", &[]).await;
            let loose = desk.blob("a", "only the damaged manifest knows").await;
            let gone = desk.blob("b", "gone").await;
            desk.stage.write(&key, value.clone(), Condition::Any).await.unwrap();
            let Collected { freed, damaged } = collect(&*desk.stage, &at_once()).await.unwrap();
            let damaged: Vec<String> = damaged.iter().map(ToString::to_string).collect();
            assert_eq!(damaged, [format!("{key} is damaged")]);
            assert_eq!((freed.manifests, freed.links, freed.blobs), (0, 1, 1), "{key}");
            assert!(desk.has(&kept).await && desk.stage.read(&key).await.unwrap().is_some());
            let contents = desk.contents().await;
            assert!(contents.contains(&loose) && !contents.contains(&gone), "{key}");
            assert!(desk.stage.inner.aside(1).await.unwrap().is_empty(), "{key}");
            desk.stage.remove(&key, Condition::Any).await.unwrap();
            desk.collect(&at_once()).await;
            assert!(!desk.has(&kept).await && !desk.contents().await.contains(&loose), "what was damaged is gone");
        }
    }
}
