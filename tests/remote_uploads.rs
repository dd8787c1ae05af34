//! Uploads to registries of all kinds: what they are sent, in which requests, and what is made of their answers. What
//! becomes of uploads over a bad network is in `faults`.

mod fake;
mod sample;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bndlr::content::{Error, ErrorKind, Open, Reader, Target};
use bndlr::digest::Digest;
use bndlr::manifest::{Descriptor, media_type};
use bndlr::remote::ClientOptions;
use bytes::Bytes;
use fake::{Ending, Raw, asked, options, raw_answer, redirect, refusal, repository, repository_with, server};
use sample::{blob, kind};
use wiremock::{MockServer, Request, ResponseTemplate};

const MB: usize = 1024 * 1024;

/// Twenty MiB, and how often they were opened.
struct Counted(Bytes, AtomicUsize);

impl Counted {
    fn new() -> (Descriptor, Self) {
        static CONTENT: LazyLock<Bytes> =
            LazyLock::new(|| (0..20 * MB as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect());
        let content = CONTENT.clone();
        (Descriptor::of(media_type::OCI_LAYER, &content), Self(content, AtomicUsize::new(0)))
    }
}

#[async_trait]
impl Open for Counted {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Ok(Reader::of_bytes(descriptor, self.0.clone()))
    }
}

/// The `Content-Range` of a request; its method where it has none.
fn range(request: &Request) -> String {
    let range = request.headers.get("content-range").map(|range| range.to_str().unwrap().to_owned());
    range.unwrap_or_else(|| request.method.to_string())
}

/// A registry that takes chunks, and says where the next one goes, each time elsewhere.
async fn in_chunks(minimum: &'static str) -> MockServer {
    let calls = AtomicUsize::new(0);
    server(move |request| {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        let next = format!("/upload/{call}?state=a%2Fb{call}");
        match request.method.as_str() {
            "POST" => redirect(202, next).insert_header("oci-chunk-min-length", minimum),
            "PATCH" => {
                let end = range(request).split_once('-').unwrap().1.to_owned();
                redirect(202, next).insert_header("range", format!("0-{end}"))
            }
            _ => ResponseTemplate::new(201),
        }
    })
    .await
}

#[tokio::test]
async fn a_registry_that_prefers_chunks_gets_them_one_after_the_other() {
    let server = in_chunks("1000").await;
    let (descriptor, content) = Counted::new();
    repository(server.address()).push(&descriptor, &content).await.unwrap();

    let requests = server.received_requests().await.unwrap();
    let ranges: Vec<_> = requests.iter().map(range).collect();
    assert_eq!(ranges, ["POST", "0-16777215", "16777216-20971519", "PUT"]);
    let body: Vec<u8> = requests[1..3].iter().flat_map(|request| request.body.clone()).collect();
    assert_eq!((Digest::sha256(&body), requests[3].body.len()), (descriptor.digest, 0));
    for (call, request) in requests[1..].iter().enumerate() {
        let digest = if call == 2 { format!("&digest=sha256%3A{}", descriptor.digest.hex()) } else { String::new() };
        assert!(request.url.as_str().ends_with(&format!("/upload/{call}?state=a%2Fb{call}{digest}")), "{request:?}");
        assert_eq!(request.headers["content-type"], "application/octet-stream");
    }
    assert_eq!(content.1.load(Ordering::SeqCst), 1, "the content is read once");
}

#[tokio::test]
async fn chunks_are_as_large_as_the_registry_wants_them() {
    for (minimum, chunks) in [("20971519", 2), ("20971520", 0), ("18446744073709551615", 0), ("many", 0), ("0", 2)] {
        let server = in_chunks(minimum).await;
        let (descriptor, content) = Counted::new();
        repository(server.address()).push(&descriptor, &content).await.unwrap();
        let patches = asked(&server).await.iter().filter(|line| line.starts_with("PATCH")).count();
        assert_eq!(patches, chunks, "{minimum}");
    }
    let small = in_chunks("1").await;
    let (descriptor, content) = blob(b"small");
    repository(small.address()).push(&descriptor, &content).await.unwrap();
    assert_eq!(asked(&small).await.len(), 2, "what is smaller than a chunk goes up at once");
}

#[tokio::test]
async fn a_registry_that_kept_less_than_was_sent_gets_the_rest_once_more() {
    let stored = Arc::<Mutex<Vec<u8>>>::default();
    let kept = Arc::clone(&stored);
    let server = server(move |request| match request.method.as_str() {
        "POST" => redirect(202, "/upload").insert_header("oci-chunk-min-length", "1"),
        "PATCH" => {
            let mut kept = kept.lock().unwrap();
            assert!(range(request).starts_with(&format!("{}-", kept.len())), "{request:?}");
            kept.extend_from_slice(&request.body[..request.body.len().min(10 * MB)]);
            // Some write the unit.
            redirect(202, "/upload").insert_header("range", format!("bytes=0-{}", kept.len() - 1))
        }
        _ => ResponseTemplate::new(201),
    })
    .await;
    let (descriptor, content) = Counted::new();
    repository(server.address()).push(&descriptor, &content).await.unwrap();
    assert_eq!(Digest::sha256(&stored.lock().unwrap()), descriptor.digest);
}

#[tokio::test]
async fn a_registry_that_makes_no_sense_of_chunks_is_given_up() {
    for range in ["0-99999999999", "0-0", "5-10"] {
        let server = server(move |request| match request.method.as_str() {
            "POST" => redirect(202, "/upload").insert_header("oci-chunk-min-length", "1"),
            "PATCH" if range == "5-10" => ResponseTemplate::new(400),
            "PATCH" => redirect(202, "/upload").insert_header("range", range),
            "HEAD" => ResponseTemplate::new(404),
            _ => ResponseTemplate::new(201),
        })
        .await;
        let (descriptor, content) = Counted::new();
        let repository = repository_with(server.address(), ClientOptions { retry_times: 1, ..options() });
        assert_eq!(kind(repository.push(&descriptor, &content).await), ErrorKind::Remote, "{range}");
        assert!(asked(&server).await.len() < 10, "{range}");
    }
}

#[tokio::test]
async fn a_registry_may_say_in_other_words_that_an_upload_may_begin_and_that_it_has_a_blob() {
    for (begun, status) in [(202, 200), (202, 201), (202, 204), (200, 200), (201, 201), (204, 204)] {
        let server = server(move |request| match request.method.as_str() {
            "POST" => redirect(begun, "/upload"),
            _ => ResponseTemplate::new(status),
        })
        .await;
        let (descriptor, content) = blob(b"x");
        repository(server.address()).push(&descriptor, &content).await.unwrap();
    }
}

#[tokio::test]
async fn what_a_registry_refuses_is_not_sent_again() {
    for (status, expected) in [(400, ErrorKind::Remote), (403, ErrorKind::Denied), (405, ErrorKind::Remote)] {
        let server = server(move |request| match request.method.as_str() {
            "POST" => redirect(202, "/upload"),
            _ => refusal(status, "UNSUPPORTED", "no"),
        })
        .await;
        let (descriptor, content) = blob(b"x");
        assert_eq!(kind(repository(server.address()).push(&descriptor, &content).await), expected);
        let digest = descriptor.digest.hex();
        let put = format!("PUT /upload?digest=sha256%3A{digest}");
        let post = "POST /v2/team/app/blobs/uploads/".to_owned();
        assert_eq!(asked(&server).await, [post, put, "DELETE /upload".to_owned()], "{status}");
    }
}

/// A registry that takes chunks, and does not like the second one.
async fn refusing_the_second_chunk(answer: impl Fn() -> ResponseTemplate + Send + Sync + 'static) -> MockServer {
    server(move |request| match request.method.as_str() {
        "POST" => redirect(202, "/upload/0?a=b").insert_header("oci-chunk-min-length", "1"),
        "PATCH" if range(request).starts_with("0-") => {
            redirect(202, "/upload/1?a=c").insert_header("range", range(request))
        }
        "PATCH" => refusal(400, "UNSUPPORTED", "no"),
        "DELETE" => answer(),
        _ => ResponseTemplate::new(404),
    })
    .await
}

async fn cancelled(server: &MockServer) -> Vec<String> {
    asked(server).await.into_iter().filter(|line| line.starts_with("DELETE")).collect()
}

#[tokio::test]
async fn an_upload_that_fails_is_cancelled_where_it_stands_and_its_own_error_counts() {
    for status in [204, 202, 404, 405, 500, 503] {
        let server = refusing_the_second_chunk(move || ResponseTemplate::new(status)).await;
        let (descriptor, content) = Counted::new();
        let error = repository(server.address()).push(&descriptor, &content).await.unwrap_err();
        assert!(error.to_string().ends_with("400 Bad Request: UNSUPPORTED: no"), "{error}");
        assert_eq!(cancelled(&server).await, ["DELETE /upload/1?a=c"], "{status}");
    }
}

#[tokio::test]
async fn a_refusal_of_which_the_words_are_lost_is_no_last_word() {
    let torn = Raw::start(raw_answer("HTTP/1.1 400 Bad Request", 100, b""), Ending::Close).await;
    let there = format!("http://{}/upload", torn.address);
    let server = server(move |request| match request.method.as_str() {
        "POST" => redirect(202, there.clone()),
        _ => ResponseTemplate::new(404),
    })
    .await;
    let (descriptor, content) = blob(b"x");
    repository(server.address()).push(&descriptor, &content).await.unwrap_err();
    let heads = torn.heads();
    assert!(heads[0].starts_with("PUT ") && heads[1].starts_with("GET /upload "), "{heads:?}");
}

#[tokio::test]
async fn nobody_waits_long_for_a_registry_to_cancel_an_upload() {
    let server = refusing_the_second_chunk(|| ResponseTemplate::new(204).set_delay(Duration::from_mins(5))).await;
    let (descriptor, content) = Counted::new();
    let pushing = async { repository(server.address()).push(&descriptor, &content).await };
    let error = tokio::time::timeout(Duration::from_mins(1), pushing).await.expect("it waits").unwrap_err();
    assert!(error.to_string().ends_with("UNSUPPORTED: no"), "{error}");
}

#[tokio::test]
async fn an_upload_that_cannot_be_read_is_cancelled() {
    let server =
        server(|request| if request.method == "POST" { redirect(202, "/upload") } else { ResponseTemplate::new(204) })
            .await;
    let (descriptor, _) = blob(b"missing");
    let error = repository(server.address()).push(&descriptor, &bndlr::content::Memory::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(cancelled(&server).await, ["DELETE /upload"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_nobody_waits_for_any_more_is_cancelled() {
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let server = server(move |request| {
        // The test may have seen enough.
        let _ = sender.send(request.method.to_string());
        match request.method.as_str() {
            "POST" => redirect(202, "/upload"),
            "PUT" => ResponseTemplate::new(201).set_delay(Duration::from_mins(5)),
            _ => ResponseTemplate::new(204),
        }
    })
    .await;
    let repository = repository(server.address());
    let pushing = tokio::spawn(async move {
        let (descriptor, content) = blob(b"x");
        repository.push(&descriptor, &content).await
    });
    while heard.recv().await.unwrap() != "PUT" {}
    pushing.abort();
    let next = tokio::time::timeout(Duration::from_mins(1), heard.recv()).await.expect("nobody says anything");
    assert_eq!(next.unwrap(), "DELETE");
}

#[tokio::test]
async fn nothing_is_deleted_on_a_host_that_a_registry_only_leads_to() {
    let elsewhere = server(|_| ResponseTemplate::new(400)).await;
    let there = format!("{}/bucket/object", elsewhere.uri());
    let registry = server(move |_| redirect(202, there.clone())).await;
    let (descriptor, content) = blob(b"x");
    repository(registry.address()).push(&descriptor, &content).await.unwrap_err();
    assert_eq!(asked(&elsewhere).await.len(), 1);
    assert!(cancelled(&registry).await.is_empty() && cancelled(&elsewhere).await.is_empty());
}

#[tokio::test]
async fn an_upload_whose_answers_lead_to_a_file_goes_nowhere() {
    let server = server(move |request| match request.method.as_str() {
        "POST" => redirect(202, "/upload").insert_header("oci-chunk-min-length", "1"),
        _ => redirect(202, "file:///etc/passwd"),
    })
    .await;
    let (descriptor, content) = Counted::new();
    let error = repository(server.address()).push(&descriptor, &content).await.unwrap_err();
    assert!(error.to_string().contains("neither http nor https (file:)"), "{error}");
}
