//! Uploads to registries of all kinds: what they are sent, in which requests, and what is made of their answers. What
//! becomes of uploads over a bad network is in `faults`.

mod fake;
mod sample;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use async_trait::async_trait;
use bndlr::content::{Error, ErrorKind, Open, Reader, Target};
use bndlr::digest::Digest;
use bndlr::manifest::{Descriptor, media_type};
use bndlr::remote::ClientOptions;
use bytes::Bytes;
use fake::{asked, options, redirect, refusal, repository, repository_with, server};
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
async fn a_registry_may_say_in_other_words_that_it_has_a_blob() {
    for status in [200, 201, 204] {
        let server = server(move |request| match request.method.as_str() {
            "POST" => redirect(202, "/upload"),
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
        assert_eq!(asked(&server).await.len(), 2, "{status}");
    }
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
