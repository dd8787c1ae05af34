//! What is tried again, how often, and when: a request that may be repeated, and a host that asks to be left alone.
//! Connections that break are in `faults`.

mod fake;
mod sample;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use bndlr::content::{ErrorKind, Source, Target};
use bndlr::manifest::{RawManifest, media_type};
use bndlr::reference::Identifier;
use bndlr::remote::{Client, ClientOptions};
use fake::{Traces, asked, options, redirect, refusal, repository, repository_with, server};
use futures::future::join_all;
use sample::{blob, kind, tag};
use wiremock::{MockServer, ResponseTemplate};

fn v1() -> Identifier {
    tag("v1").into()
}

fn manifest() -> RawManifest {
    RawManifest::parse("", r#"{"schemaVersion":2,"manifests":[]}"#.into()).unwrap()
}

/// A registry that answers what it is asked first so, and then as `well` says.
async fn at_first(bad: Vec<ResponseTemplate>, well: ResponseTemplate) -> MockServer {
    let calls = AtomicUsize::new(0);
    server(move |_| bad.get(calls.fetch_add(1, Ordering::SeqCst)).unwrap_or(&well).clone()).await
}

fn statuses(statuses: &[u16]) -> Vec<ResponseTemplate> {
    statuses.iter().map(|status| ResponseTemplate::new(*status)).collect()
}

#[tokio::test]
async fn what_may_be_repeated_is_tried_again_when_a_registry_is_busy() {
    let get = ResponseTemplate::new(200).set_body_raw(manifest().bytes().to_vec(), media_type::OCI_INDEX);
    let server = at_first(statuses(&[408, 429, 500, 503]), get).await;
    repository(server.address()).manifest(&v1()).await.unwrap();
    assert_eq!(asked(&server).await, ["GET /v2/team/app/manifests/v1"; 5]);

    let server = at_first(statuses(&[502, 504, 599]), ResponseTemplate::new(200)).await;
    assert!(repository(server.address()).exists(&blob(b"x").0).await.unwrap());
    assert_eq!(asked(&server).await.len(), 4);

    let server = at_first(statuses(&[503, 500]), ResponseTemplate::new(201)).await;
    repository(server.address()).tag(&manifest(), &tag("v1")).await.unwrap();
    let puts = server.received_requests().await.unwrap();
    assert_eq!(puts.len(), 3);
    assert!(puts.iter().all(|put| put.body == manifest().bytes().to_vec()), "each with its body");
}

#[tokio::test]
async fn what_a_registry_means_is_not_asked_again() {
    for status in [400, 403, 404, 405, 418, 501] {
        let server = at_first(Vec::new(), refusal(status, "UNSUPPORTED", "no")).await;
        let repository = repository(server.address());
        kind(repository.manifest(&v1()).await);
        kind(repository.tag(&manifest(), &tag("v1")).await);
        assert_eq!(asked(&server).await.len(), 2, "{status}");
    }
}

#[tokio::test]
async fn the_last_answer_is_the_error_once_there_have_been_enough() {
    for times in [0, 1, 3] {
        let server = at_first(Vec::new(), refusal(503, "UNAVAILABLE", "out to lunch")).await;
        let repository = repository_with(server.address(), ClientOptions { retry_times: times, ..options() });
        let error = repository.manifest(&v1()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Remote);
        assert!(error.to_string().ends_with("503 Service Unavailable: UNAVAILABLE: out to lunch"), "{error}");
        assert_eq!(asked(&server).await.len() as u32, times + 1);
    }
}

#[tokio::test]
async fn a_registry_that_asks_for_too_much_patience_is_quoted_at_once() {
    let far = jiff::Timestamp::try_from(SystemTime::now() + Duration::from_hours(24)).unwrap();
    let date = far.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    for retry_after in ["86400", "99999999999999999999", &date] {
        let busy = refusal(429, "TOOMANYREQUESTS", "slow down").insert_header("retry-after", retry_after);
        let server = at_first(Vec::new(), busy).await;
        let error = repository(server.address()).manifest(&v1()).await.unwrap_err();
        assert!(error.to_string().ends_with("429 Too Many Requests: TOOMANYREQUESTS: slow down"), "{error}");
        assert_eq!(asked(&server).await.len(), 1, "{retry_after}");
    }
}

#[tokio::test]
async fn a_registry_decides_how_long_it_is_left_alone() {
    join_all([429, 503].map(async |status| {
        let busy = ResponseTemplate::new(status).insert_header("retry-after", "1");
        let server = at_first(vec![busy], ResponseTemplate::new(200)).await;
        let began = Instant::now();
        assert!(repository(server.address()).exists(&blob(b"x").0).await.unwrap());
        assert!(began.elapsed() >= Duration::from_secs(1), "{status}: {:?}", began.elapsed());
    }))
    .await;
}

#[tokio::test]
async fn when_one_request_is_told_to_slow_down_all_to_that_host_do() {
    let pause = Duration::from_millis(300);
    let (times, calls) = (Arc::<Mutex<Vec<Instant>>>::default(), AtomicUsize::new(0));
    let seen = Arc::clone(&times);
    let busy = server(move |_| {
        seen.lock().unwrap().push(Instant::now());
        ResponseTemplate::new(if calls.fetch_add(1, Ordering::SeqCst) == 0 { 429 } else { 200 })
    })
    .await;
    let idle = at_first(Vec::new(), ResponseTemplate::new(200)).await;
    let options = ClientOptions { retry_times: 0, retry_delay: pause, ..options() };
    let client = Client::new(options).unwrap();
    let at = |server: &MockServer| format!("{}/team/app", server.address()).parse().unwrap();
    let (busy, idle) = (client.repository(&at(&busy)).unwrap(), client.repository(&at(&idle)).unwrap());

    let (descriptor, _) = blob(b"x");
    assert_eq!(kind(busy.exists(&descriptor).await), ErrorKind::Remote);
    let told = Instant::now();
    assert!(idle.exists(&descriptor).await.unwrap());
    assert!(told.elapsed() < pause, "another host is not left alone: {:?}", told.elapsed());
    for exists in join_all((0..8).map(|_| busy.exists(&descriptor))).await {
        assert!(exists.unwrap());
    }
    let times = times.lock().unwrap();
    assert_eq!(times.len(), 9, "each was asked for once");
    assert!(times[1..].iter().all(|time| *time - times[0] >= pause), "{times:?}");
}

#[tokio::test]
async fn an_upload_begins_once_more_when_the_registry_is_busy() {
    let calls = AtomicUsize::new(0);
    let server = server(move |request| match (request.method.as_str(), calls.fetch_add(1, Ordering::SeqCst)) {
        ("POST", 0) => ResponseTemplate::new(500),
        ("POST", _) => redirect(202, "/upload"),
        _ => ResponseTemplate::new(201),
    })
    .await;
    let (descriptor, content) = blob(b"x");
    repository(server.address()).push(&descriptor, &content).await.unwrap();
    let methods: Vec<_> = asked(&server).await.iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(methods, ["POST", "POST", "PUT"]);
}

#[tokio::test]
async fn who_watches_sees_what_is_waited_for() {
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "0");
    let server = at_first(vec![busy], ResponseTemplate::new(200)).await;
    let (traces, _guard) = Traces::collect();
    assert!(repository(server.address()).exists(&blob(b"x").0).await.unwrap());
    let wire = traces.wire();
    assert_eq!(wire.len(), 6, "{wire:?}");
    assert_eq!(wire[2], format!("* {} asked to be left alone for 0.0 s", server.uri()));
    assert_eq!(wire[3], "* tries again in 0.0 s");
}
