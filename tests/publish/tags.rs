//! `--if-changed`, `--immutable` and `--expect-digest`: which tags stay where they are.

use serde_json::json;

use crate::embedded::image_manifest;
use crate::place::Place;
use crate::program::Ran;

fn failed(ran: &Ran, code: i32) {
    assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn if_changed_leaves_a_tag_with_its_digest_and_its_date_whatever_is_said_of_the_same_content() {
    for place in Place::all().await {
        let first = place.pushed("REF:v1 -l revision=1 --if-changed");
        assert_eq!(first["result"], "pushed", "a tag that is not there is set");
        let digest = first["digest"].as_str().unwrap();
        for (epoch, said) in
            [("", ""), ("", "-l revision=2"), ("", "-a k=v"), ("1700000000", ""), ("1700000000", "-l revision=3")]
        {
            let json = place.without_writing(|place| {
                let ran = place.push_at(epoch, &format!("REF:v1 --if-changed --format json {said}"));
                let json = ran.json();
                (ran, json)
            });
            assert_eq!((&json["result"], &json["bytesUploaded"]), (&json!("unchanged"), &json!(0)), "{json}");
            assert_eq!(json["digest"], digest, "{said}");
            assert_eq!(json["references"], json!([format!("{}@{digest}", place.name)]));
            assert_eq!(place.digest("v1").as_deref(), Some(digest), "{said}");
        }
        let text = place.push("REF:v1 --if-changed -l revision=4");
        assert!(text.stderr.contains(&format!("Unchanged {}:v1 with digest {digest}\n", place.name)), "{text:?}");
        assert_eq!(text.ok(), format!("{}@{digest}\n", place.name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn if_changed_moves_a_tag_to_other_layers_another_platform_or_another_format() {
    for place in Place::all().await {
        let mut last = place.pushed("REF:v1");
        let mut moves = |place: &Place, flags: &str| {
            let json = place.pushed(&format!("REF:v1 --if-changed {flags}"));
            assert_eq!(json["result"], "pushed", "{flags}");
            assert_ne!(json["digest"], last["digest"]);
            assert_eq!(place.digest("v1").as_deref(), json["digest"].as_str(), "{flags}");
            last = json;
        };
        place.change("beta\n");
        moves(&place, "");
        moves(&place, "--platform linux/arm64");
        moves(&place, "--image-format docker");
        moves(&place, "--artifact-type a/b");
        moves(&place, "--artifact-type a/b --split=1 --exclude nothing --platform linux/arm64");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn if_changed_moves_a_tag_from_an_image_index_and_from_an_image_of_somebody_else() {
    for place in Place::all().await.into_iter().filter(|place| !place.is_layout()) {
        let digest = place.pushed("REF:own")["digest"].as_str().unwrap().to_owned();
        let http = crate::embedded::client(reqwest::Client::builder());
        let (host, repository) = place.name.split_once('/').unwrap();
        let put = async |tag: &str, kind: &str, body: String| {
            let url = format!("http://{host}/v2/{repository}/manifests/{tag}");
            let answer = http.put(url).header("content-type", kind).body(body).send().await.unwrap();
            assert_eq!(answer.status(), 201, "{}", answer.text().await.unwrap());
        };
        let own = place.desk().run(&format!("resolve {}:own --format json", place.name)).json();
        let described = json!({"mediaType": own["mediaType"], "digest": own["digest"], "size": own["size"]});
        let kind = "application/vnd.oci.image.index.v1+json";
        let index = json!({"schemaVersion": 2, "mediaType": kind, "manifests": [described]});
        put("index", kind, index.to_string()).await;
        for content in [&b"{}"[..], b"layer"] {
            let url = format!("http://{host}/v2/{repository}/blobs/uploads/");
            let begun = http.post(url).send().await.unwrap();
            let location = begun.headers()["location"].to_str().unwrap().to_owned();
            let separator = if location.contains('?') { '&' } else { '?' };
            let blob = bndlr::digest::Digest::sha256(content);
            let location = if location.starts_with('/') { format!("http://{host}{location}") } else { location };
            let url = format!("{location}{separator}digest={blob}");
            let answer = http.put(url).header("content-type", "application/octet-stream").body(content).send().await;
            assert_eq!(answer.unwrap().status(), 201);
        }
        let kind = bndlr::manifest::media_type::OCI_MANIFEST;
        put("foreign", kind, image_manifest(b"layer")).await;
        for tag in ["index", "foreign"] {
            let found = place.digest(tag).unwrap();
            let refused = place.push(&format!("REF:{tag} --immutable --if-changed"));
            failed(&refused, 7);
            assert!(refused.stderr.contains(&found), "{refused:?}");
            assert_eq!(place.pushed(&format!("REF:{tag} --if-changed"))["result"], "pushed", "{tag}");
            assert_eq!(place.digest(tag).as_ref(), Some(&digest), "{tag}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_tag_is_set_once_and_the_same_push_may_be_repeated() {
    for place in Place::all().await {
        let first = place.pushed("REF:v1 --immutable");
        assert_eq!(first["result"], "pushed");
        for _ in 0..2 {
            let again = place.without_writing(|place| {
                let ran = place.push("REF:v1 --immutable --format json");
                let json = ran.json();
                (ran, json)
            });
            assert_eq!((&again["result"], &again["digest"]), (&json!("unchanged"), &first["digest"]));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_immutable_tag_with_other_content_is_a_conflict_before_anything_is_sent() {
    for place in Place::all().await {
        let first = place.pushed("REF:v1")["digest"].as_str().unwrap().to_owned();
        place.change("beta\n");
        for flags in ["REF:v1 --immutable", "REF:v1 --immutable --if-changed", "REF:new -t other,v1 --immutable"] {
            place.without_writing(|place| {
                let ran = place.push(flags);
                failed(&ran, 7);
                assert!(ran.stderr.contains(&first) && ran.stderr.contains("\nhint: nothing was sent"), "{ran:?}");
                (ran, ())
            });
        }
        assert_eq!(place.digest("v1"), Some(first));
        assert_eq!((place.digest("new"), place.digest("other")), (None, None));
        assert_eq!(place.push("REF:v1").code, Some(0), "without the flag, the tag moves");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_the_same_content_moves_no_immutable_tag_and_is_no_conflict() {
    for place in Place::all().await {
        let first = place.pushed("REF:v1 -l revision=1");
        for flags in ["--immutable", "--immutable --if-changed"] {
            let again = place.without_writing(|place| {
                let ran = place.push(&format!("REF:v1 -l revision=2 {flags} --format json"));
                let again = ran.json();
                (ran, again)
            });
            assert_eq!((&again["result"], &again["digest"]), (&json!("unchanged"), &first["digest"]));
        }
        assert_eq!(place.digest("v1").as_deref(), first["digest"].as_str());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_of_several_tags_is_left_or_moved_for_itself() {
    for place in Place::all().await {
        let first = place.pushed("REF:v1 -l revision=1");
        let second = place.pushed("REF:v1 -t latest,stable --if-changed -l revision=2");
        assert_eq!(second["result"], "pushed");
        let tags = &second["destinations"][0]["tags"];
        assert_eq!(tags["v1"], first["digest"]);
        assert_eq!((&tags["latest"], &tags["stable"]), (&second["digest"], &second["digest"]));
        assert_ne!(first["digest"], second["digest"]);
        for (tag, digest) in [("v1", &first), ("latest", &second), ("stable", &second)] {
            assert_eq!(place.digest(tag).as_deref(), digest["digest"].as_str(), "{tag}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_a_push_that_changed_nothing_is_the_one_that_the_tag_has() {
    for place in Place::all().await {
        let first = place.pushed("REF:v1 -l revision=1");
        let digest = first["digest"].as_str().unwrap();
        let reference = format!("{}@{digest}", place.name);
        // Longer, so that the manifest has another size.
        let flags = "REF:v1 -a k=value --if-changed";
        let text = place.push(&format!("{flags} --digest-file digest.txt")).ok();
        assert_eq!((text, place.desk().read("digest.txt")), (format!("{reference}\n"), format!("{digest}\n")));
        for check in ["", "--check"] {
            let json = place.pushed(&format!("{flags} {check}"));
            assert_eq!(json["result"], "unchanged");
            for key in ["reference", "references", "digest", "mediaType", "size", "tags"] {
                assert_eq!(json[key], first[key], "{key} {check}");
            }
            let there =
                json!([{"reference": reference, "digest": digest, "result": "unchanged", "tags": {"v1": digest}}]);
            assert_eq!(json["destinations"], there, "{check}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_digest_of_a_push_that_moved_one_of_its_tags_is_the_one_that_this_has() {
    for place in Place::all().await {
        let first = place.pushed("REF:v1 -l revision=1")["digest"].clone();
        for (number, tags) in ["REF:new -t v1", "REF:v1 -t newer", "REF:newest -t v1,new"].into_iter().enumerate() {
            let flags = format!("{tags} --if-changed -a number={number} --digest-file digest.txt");
            let pushed = place.pushed(&flags);
            let digest = pushed["digest"].as_str().unwrap();
            assert_ne!(pushed["digest"], first, "{tags}");
            assert_eq!(pushed["reference"], format!("{}@{digest}", place.name), "{tags}");
            assert_eq!(place.desk().read("digest.txt"), format!("{digest}\n"), "{tags}");
            let there = pushed["destinations"][0]["tags"].as_object().unwrap();
            assert_eq!((there["v1"] == first, there.values().filter(|other| *other == digest).count()), (true, 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_was_expected_and_is_not_packed_stops_a_push_before_anything_is_sent() {
    for place in Place::all().await {
        let digest = place.pushed("REF:right")["digest"].as_str().unwrap().to_owned();
        place.change("beta\n");
        for flags in ["", "--immutable", "--if-changed", "--check"] {
            place.without_writing(|place| {
                let ran = place.push(&format!("REF:v1 REF:v2 --expect-digest {digest} {flags}"));
                failed(&ran, 7);
                assert!(ran.stderr.contains(&format!(", expected {digest}\nhint: ")), "{ran:?}");
                assert_eq!(ran.stderr.matches("sha256:").count(), 2, "{ran:?}");
                (ran, ())
            });
        }
        place.change("alpha\n");
        assert_eq!(place.pushed(&format!("REF:v1 --expect-digest {digest}"))["digest"], digest);
    }
}

/// After a push that was to have a digest, the tag has that digest.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_of_which_a_digest_is_expected_is_not_left_alone_with_another_one() {
    for place in Place::all().await {
        let labelled = place.pushed("REF:other -l revision=2")["digest"].as_str().unwrap().to_owned();
        place.pushed("REF:v1 -l revision=1");
        let flags = format!("REF:v1 -l revision=2 --if-changed --expect-digest {labelled}");
        assert_eq!(place.pushed(&flags)["result"], "pushed");
        assert_eq!(place.digest("v1"), Some(labelled));
    }
}

/// Not the digest of the same content that the tag has: that was not packed here.
#[tokio::test(flavor = "multi_thread")]
async fn the_digest_that_is_expected_is_the_one_that_is_packed() {
    for place in Place::all().await {
        let labelled = place.pushed("REF:other -l revision=2")["digest"].as_str().unwrap().to_owned();
        let first = place.pushed("REF:v1 -l revision=1")["digest"].as_str().unwrap().to_owned();
        for (flags, expected) in [("--if-changed", &first), ("--immutable", &first), ("--immutable", &labelled)] {
            let pinned = format!("REF:v1@{expected}");
            let flagged = format!("REF:v1 --expect-digest {expected}");
            // A place in a layout has one of both.
            for reference in [Some(flagged), (!place.is_layout()).then_some(pinned)].into_iter().flatten() {
                place.without_writing(|place| {
                    let ran = place.push(&format!("{reference} -l revision=2 {flags}"));
                    failed(&ran, 7);
                    (ran, ())
                });
            }
        }
        assert_eq!(place.digest("v1"), Some(first));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tag_that_would_be_refused_is_named() {
    for place in Place::all().await {
        place.push("REF:v1 -t v2").ok();
        place.change("beta\n");
        let ran = place.push("REF:v1 -t v2 --immutable");
        assert_eq!((ran.code, ran.stderr.matches("an immutable tag is not moved").count()), (Some(7), 2), "{ran:?}");
    }
}
