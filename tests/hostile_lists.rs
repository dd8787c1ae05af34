//! Registries whose lists never end, lead elsewhere, or are none: each is an error that says so, and nobody is told a
//! password.

mod fake;

use std::sync::atomic::{AtomicUsize, Ordering};

use bndlr::content::ErrorKind;
use bndlr::remote::Error;
use fake::{Ending, PASSWORD, Raw, Traces, asked, basic, logged_in, repository, repository_with, server};
use futures::TryStreamExt;
use wiremock::ResponseTemplate;

/// A page that goes on at `next`.
fn page(next: &str) -> ResponseTemplate {
    let link = format!("<{next}>; rel=\"next\"");
    ResponseTemplate::new(200).set_body_string(r#"{"tags":["a"]}"#).insert_header("link", link.as_str())
}

/// The error of listing the tags of a registry that always answers so.
async fn listing_fails(answer: ResponseTemplate) -> Error {
    let server = server(move |_| answer.clone()).await;
    repository(server.address()).tags().try_for_each(|_| async { Ok(()) }).await.unwrap_err()
}

#[tokio::test]
async fn a_list_without_end_ends() {
    let pages = AtomicUsize::new(0);
    let endless = server(move |_| page(&format!("?last={}", pages.fetch_add(1, Ordering::SeqCst)))).await;
    let mut count = 0;
    let mut tags = repository(endless.address()).tags();
    let error = loop {
        match tags.try_next().await {
            Ok(tag) => count += usize::from(tag.is_some()),
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(error.to_string().ends_with("goes on after 5000 pages"), "{error}");
    assert_eq!(count, 4_999);
}

#[tokio::test]
async fn a_page_that_leads_to_itself_is_not_read_twice() {
    let error = listing_fails(page("/v2/team/app/tags/list?n=1000")).await;
    assert!(error.to_string().ends_with("goes on at the same page again"), "{error}");
}

#[tokio::test]
async fn a_list_goes_on_nowhere_else() {
    let (traces, _guard) = Traces::collect();
    let elsewhere = server(|_| ResponseTemplate::new(200).set_body_string(r#"{"tags":["evil"]}"#)).await;
    let there = format!("{}/v2/team/app/tags/list", elsewhere.uri());
    let registry = server(move |request| {
        if request.headers.get("authorization").is_some_and(|value| value == basic().as_str()) {
            return page(&there);
        }
        ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=x")
    })
    .await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    let error = repository.tags().try_next().await.unwrap_err();
    assert!(error.kind() == ErrorKind::Remote && error.to_string().contains("goes on at another registry"), "{error}");
    assert!(asked(&elsewhere).await.is_empty());
    assert!(!traces.text().contains(PASSWORD));
    for location in ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://"] {
        let error = listing_fails(page(location)).await;
        assert!(error.to_string().contains("goes on at a location"), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_list_is_not_taken_for_one() {
    let deep = "[".repeat(100_000);
    for body in ["", "{", "[]", r#"{"tags":"v1"}"#, r#"{"tags":[1]}"#, &deep, &format!(r#"{{"x":{deep}"#)] {
        let error = listing_fails(ResponseTemplate::new(200).set_body_string(body)).await;
        assert!(error.kind() == ErrorKind::Remote && error.to_string().contains("is no list"), "{error}");
    }
    let many = format!(r#"{{"tags":["a"{}]}}"#, r#","a""#.repeat(500_000));
    let error = listing_fails(ResponseTemplate::new(200).set_body_string(many)).await;
    assert!(error.to_string().contains("at most 500000 names"), "{error}");
    for name in ["", "..", "a b", "a\\nb", "\\u001b[2J", &"x".repeat(10_000)] {
        let body = format!(r#"{{"tags":["ok","{name}"]}}"#);
        let error = listing_fails(ResponseTemplate::new(200).set_body_string(body)).await.to_string();
        assert!(error.contains("is no list of tags") && error.len() < 500 && !error.contains('\u{1b}'), "{error}");
    }
}

#[tokio::test]
async fn a_page_without_end_is_read_no_further_than_the_limit() {
    let endless = Raw::start("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"tags\":[", Ending::Forever).await;
    let error = repository(&endless.address).tags().try_next().await.unwrap_err();
    assert!(error.to_string().contains("more than 33554432 bytes"), "{error}");
}
