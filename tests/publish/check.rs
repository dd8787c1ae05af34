//! `--check`: what would happen, without anything being written.

use serde_json::json;

use crate::place::Place;
use crate::program::Ran;

fn ended(ran: Ran, code: i32) -> (Ran, serde_json::Value) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    let json = ran.json();
    (ran, json)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_a_push_would_do_and_writes_nothing() {
    for place in Place::all().await {
        for flags in ["--check", "--check --if-changed", "--check --immutable", "--immutable --if-changed --dry-run"] {
            let check = format!("REF:v1 -t latest {flags} --format json");
            let would = place.without_writing(|place| ended(place.push(&check), 1));
            assert_eq!((&would["check"], &would["result"]), (&json!(true), &json!("pushed")), "{flags}");
            assert_eq!(would["layers"][0]["result"], "uploaded");
            assert!(would["bytesUploaded"].as_u64().unwrap() > 0);
            assert_eq!(would["tags"], json!(["v1", "latest"]));
        }
        assert!(!place.desk().path("layout").exists());

        let would = ended(place.push("REF:v1 --check --format json"), 1).1;
        let did = place.pushed("REF:v1");
        for key in ["reference", "references", "digest", "size", "mediaType", "result", "layers", "bytesUploaded"] {
            assert_eq!(would[key], did[key], "{key}");
        }
        assert_eq!(would["destinations"], did["destinations"]);
        assert_eq!((&did["check"], &would["check"]), (&json!(false), &json!(true)));

        for flags in ["", "--if-changed", "--immutable", "--if-changed -l revision=1"] {
            let check = format!("REF:v1 --check {flags} --format json");
            let same = place.without_writing(|place| ended(place.push(&check), 0));
            assert_eq!((&same["result"], &same["digest"]), (&json!("unchanged"), &did["digest"]), "{flags}");
            assert_eq!(same["bytesUploaded"], 0);
        }
        let labelled = place.without_writing(|place| ended(place.push("REF:v1 --check -l a=b --format json"), 1));
        assert_eq!(labelled["layers"][0]["result"], "exists");
        assert!(labelled["bytesUploaded"].as_u64().unwrap() > 0, "the config is another");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_a_push_that_would_be_refused_is_refused() {
    for place in Place::all().await {
        place.pushed("REF:v1");
        place.change("beta\n");
        place.without_writing(|place| {
            let ran = place.push("REF:v1 --check --immutable");
            assert_eq!(ran.code, Some(7), "{ran:?}");
            (ran, ())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_asks_a_registry_with_nothing_but_head() {
    for place in Place::all().await.into_iter().filter(|place| !place.is_layout()) {
        for content in ["alpha\n", "beta\n"] {
            place.change(content);
            for flags in ["", "--immutable"] {
                let ran = place.push(&format!("REF:{} -t v2 --check {flags}", content.trim()));
                let requests: Vec<_> = ran.stderr.lines().filter(|line| line.contains(" > ")).collect();
                assert!(requests.len() >= 3, "{ran:?}");
                assert!(requests.iter().all(|line| line.contains(" > HEAD ")), "{requests:#?}");
            }
            place.push(&format!("REF:{}", content.trim())).ok();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_reads_the_cache_and_puts_nothing_into_it() {
    let place = &Place::all().await[0];
    let cache = || place.desk().run("cache info --format json").json()["layers"].clone();
    assert_eq!(place.push("REF:v1 --check").code, Some(1));
    assert!(!place.desk().path(".cache").exists(), "none is made");
    place.push("REF:v1").ok();
    assert_eq!(cache(), 1);
    place.change("beta\n");
    assert_eq!(place.push("REF:v1 --check").code, Some(1));
    assert_eq!(cache(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_be_mounted_is_said_so() {
    let place = &Place::all().await[0];
    let (ran, would) = ended(place.push("REF/a:v1 REF/b:v1 --check --format json"), 1);
    assert_eq!(ran.stderr.matches("\nWould mount ").count(), 2, "{ran:?}");
    assert_eq!(would["layers"][0]["result"], "uploaded", "to the first");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_other_repository_will_not_have_is_not_said_to_be_mounted() {
    let place = &Place::all().await[0];
    place.push("REF/a:v1").ok();
    // The tag of the first stays, because it has the same content: the config with the label is nowhere.
    let flags = "REF/a:v1 REF/b:v1 --if-changed -l team=a";
    let would = ended(place.push(&format!("{flags} --check --format json")), 1).0.stderr;
    assert_eq!((would.matches("\nWould mount ").count(), would.matches("\nWould upload ").count()), (1, 1), "{would}");
    let did = place.push(flags).stderr;
    assert_eq!((did.matches("\nMounted ").count(), did.matches("\nUploading ").count()), (1, 1), "{did}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_is_missing_alone_would_change_something() {
    for place in Place::all().await {
        place.pushed("REF:v1");
        let digest = ended(place.push("REF:v2 -a k=v --check --format json"), 1).1["digest"].clone();
        let by_digest = format!("REF@{} -a k=v", digest.as_str().unwrap());
        assert_eq!(place.push(&format!("{by_digest} --check")).code, Some(1), "all blobs are there");
        place.push(&by_digest).ok();
        assert_eq!(place.push(&format!("{by_digest} --check")).code, Some(0));
    }
}
