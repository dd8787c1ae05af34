//! The events of `bndlr::access`: one per request, there when the client has the answer. And what no event has in it.

mod embedded;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bndlr::server::storage::Memory;
use bndlr::server::{Auth, Passwords, Registry};
use embedded::{Embedded, Log};
use reqwest::Method;

/// The events since the last time, without the milliseconds at their ends.
fn take(log: &Log) -> Vec<String> {
    let text = log.take();
    let access = text.lines().filter_map(|line| line.split_once("bndlr::access: "));
    access.map(|(_, event)| event.split_once(" ms=").unwrap().0.to_owned()).collect()
}

#[tokio::test]
async fn every_request_is_there_once_with_what_was_sent() {
    let log = Log::default();
    let _guard = log.listen();

    let directory = tempfile::tempdir().unwrap();
    let registry = Embedded::in_directory(directory.path()).await;
    let content = vec![1; 1_000_000];
    let digest = registry.push_blob("a", &content).await;
    assert_eq!(take(&log), ["method=POST path=\"/v2/a/blobs/uploads/\" status=201 bytes=0"]);
    let path = format!("/v2/a/blobs/{digest}");
    registry.head(&path).await;
    assert_eq!(take(&log), [format!("method=HEAD path=\"{path}\" status=200 bytes=0")]);
    registry.get(&path).await.bytes().await.unwrap();
    assert_eq!(take(&log), [format!("method=GET path=\"{path}\" status=200 bytes=1000000")]);
    registry.request(Method::GET, &path).header("range", "bytes=-9").send().await.unwrap().bytes().await.unwrap();
    assert_eq!(take(&log), [format!("method=GET path=\"{path}\" status=206 bytes=9")]);
    registry.get("/nowhere?q=1").await.bytes().await.unwrap();
    assert!(take(&log)[0].starts_with("method=GET path=\"/nowhere\" status=404 bytes="));
}

#[tokio::test]
async fn no_event_has_a_password_or_a_token_in_it() {
    let log = Log::default();
    let _guard = log.listen();
    let passwords = Passwords::parse(&format!("alice:{}", bcrypt::hash("hunter2", 4).unwrap())).unwrap();
    let registry = Embedded::of(Registry::new(Memory::new()).auth(Auth::new(passwords).unwrap())).await;
    let send = async |request: reqwest::RequestBuilder| request.send().await.unwrap().text().await.unwrap();
    let get = |path: &str| registry.request(Method::GET, path);

    let answer = send(get("/token?scope=repository:a:pull").basic_auth("alice", Some("hunter2"))).await;
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let token = answer["token"].as_str().unwrap();
    send(get("/v2/a/tags/list").bearer_auth(token)).await;
    send(get("/v2/").basic_auth("alice", Some("mistyped"))).await;
    let form = registry.request(Method::POST, "/token").header("content-type", "application/x-www-form-urlencoded");
    send(form.body("grant_type=password&username=alice&password=mistyped")).await;

    let text = log.take();
    assert_eq!(text.matches("path=\"/token\"").count(), 2, "{text}");
    for word in ["hunter2", "mistyped", token, &BASE64_STANDARD.encode("alice:hunter2")] {
        assert!(!text.contains(word), "{word} in {text}");
    }
}
