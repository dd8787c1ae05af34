//! Registries with documents that have no bottom: deep JSON, manifests that name themselves, referrers without end. Each is
//! an error, soon, and takes no more memory than a manifest may have.

mod fake;
mod sample;

use std::collections::HashMap;
use std::sync::Mutex;

use bndlr::content::{CopyOptions, ErrorKind, Memory, Source, copy};
use bndlr::digest::Digest;
use bndlr::manifest::media_type;
use bndlr::reference::Identifier;
use fake::{asked, repository, server};
use sample::{kind, tag};
use wiremock::ResponseTemplate;

fn v1() -> Identifier {
    tag("v1").into()
}

/// What becomes of fetching a manifest from a server that always answers so.
async fn kind_of_fetching(answer: ResponseTemplate) -> ErrorKind {
    let server = server(move |_| answer.clone()).await;
    kind(repository(server.address()).manifest(&v1()).await)
}

/// As deep as it takes to use up a thread's stack, if somebody went all the way down.
fn deep(front: &str) -> String {
    let half = 400_000;
    front.to_owned() + &"[".repeat(half) + &"]".repeat(half) + "}"
}

#[tokio::test]
async fn json_may_be_as_deep_as_it_likes() {
    let image = r#"{"schemaVersion":2,"config":{"mediaType":"a/b","digest":"sha256:00","size":1},"layers":"#;
    for front in
        [image, r#"{"schemaVersion":2,"manifests":[],"annotations":{"x":"#, r#"{"schemaVersion":2,"manifests":"#]
    {
        let answer = ResponseTemplate::new(200).set_body_raw(deep(front), media_type::OCI_INDEX);
        assert_eq!(kind_of_fetching(answer).await, ErrorKind::Content);
    }
    // What is not understood is passed over, however deep it is.
    let unknown = deep(r#"{"schemaVersion":2,"manifests":[],"x":"#);
    let passing =
        server(move |_| ResponseTemplate::new(200).set_body_raw(unknown.clone(), media_type::OCI_INDEX)).await;
    assert_eq!(repository(passing.address()).manifest(&v1()).await.unwrap().manifest().successors().count(), 0);
    for (status, expected) in [(404, ErrorKind::NotFound), (500, ErrorKind::Remote)] {
        let answer = ResponseTemplate::new(status).set_body_raw(deep(r#"{"errors":"#), "application/json");
        assert_eq!(kind_of_fetching(answer).await, expected);
    }
    let server = server(|request| {
        let host = request.headers["host"].to_str().unwrap();
        let challenge = format!("Bearer realm=\"http://{host}/token\"");
        match request.url.path() {
            "/token" => {
                ResponseTemplate::new(200).set_body_raw(deep(r#"{"token":"#)[..200_000].to_owned(), "application/json")
            }
            _ => ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str()),
        }
    })
    .await;
    assert_eq!(kind(repository(server.address()).manifest(&v1()).await), ErrorKind::Remote);
}

/// An image index that says that this is in it.
fn index_of(digest: Digest, size: usize) -> String {
    let kind = media_type::OCI_INDEX;
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{kind}","manifests":[{{"mediaType":"{kind}","digest":"{digest}","size":{size}}}]}}"#
    )
}

fn with_referrers() -> CopyOptions {
    CopyOptions { referrers: true, ..CopyOptions::default() }
}

/// No manifest can have its own digest in it, so that it can only be sent for what it is not.
#[tokio::test]
async fn a_manifest_that_names_itself_is_found_out() {
    let own = Digest::sha256(b"itself");
    let size = index_of(own, 100).len();
    let server =
        server(move |_| ResponseTemplate::new(200).set_body_raw(index_of(own, size), media_type::OCI_INDEX)).await;
    let repository = repository(server.address());
    let error = copy(&repository, &v1(), &Memory::new(), &[], &with_referrers()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Content && error.to_string().contains("digest"), "{error}");
    assert!(asked(&server).await.len() < 4);
}

/// To each manifest another one refers, of which nobody had heard before.
#[tokio::test]
async fn referrers_without_end_end() {
    let made = Mutex::new(HashMap::<String, String>::new());
    let server = server(move |request| {
        let (path, name) = request.url.path().rsplit_once('/').unwrap();
        let mut made = made.lock().unwrap();
        let body = if path.ends_with("/referrers") {
            let next = format!(r#"{{"schemaVersion":2,"manifests":[],"annotations":{{"about":"{name}"}}}}"#);
            let (digest, size) = (Digest::sha256(next.as_bytes()), next.len());
            made.insert(digest.to_string(), next);
            index_of(digest, size)
        } else {
            made.get(name).cloned().unwrap_or_else(|| r#"{"schemaVersion":2,"manifests":[]}"#.to_owned())
        };
        ResponseTemplate::new(200).set_body_raw(body, media_type::OCI_INDEX)
    })
    .await;
    let repository = repository(server.address());
    let error = copy(&repository, &v1(), &Memory::new(), &[], &with_referrers()).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Content && error.to_string().contains("more than 8 times"), "{error}");
    assert!(asked(&server).await.len() < 50);
}
