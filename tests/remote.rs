//! A registry over HTTP: what is asked of it, in which order, and what becomes of its answers. Registries that mean
//! harm are in `hostile_registries.rs`.

mod fake;
mod sample;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bndlr::content::{Error, ErrorKind, Open, Reader, Source, Target};
use bndlr::digest::{Algorithm, Digest};
use bndlr::manifest::{Descriptor, RawManifest, media_type};
use bndlr::reference::Identifier;
use bndlr::remote::{ClientOptions, Credentials};
use bytes::Bytes;
use fake::{
    Ending, PASSWORD, Raw, Traces, asked, authorizations, basic, logged_in, options, raw_answer, redirect, refusal,
    repository, repository_with, server,
};
use futures::stream::{self, StreamExt};
use sample::{blob, read, tag};
use wiremock::{Request, ResponseTemplate};

fn v1() -> Identifier {
    tag("v1").into()
}

fn manifest() -> RawManifest {
    let json = format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#, media_type::OCI_INDEX);
    RawManifest::parse("", json.into()).unwrap()
}

/// The answer to a GET or a HEAD of `manifest`.
fn manifest_answer(manifest: &RawManifest) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .insert_header("docker-content-digest", manifest.digest().to_string().as_str())
        .set_body_raw(manifest.bytes().to_vec(), manifest.media_type())
}

/// Plays a registry that wants a token from `/token` on the same host, and answers so with it.
fn with_token(request: &Request, token: &str, answer: impl FnOnce() -> ResponseTemplate) -> ResponseTemplate {
    let host = request.headers["host"].to_str().unwrap();
    if request.url.path() == "/token" {
        return ResponseTemplate::new(200).set_body_json(serde_json::json!({"token": token}));
    }
    if request.headers.get("authorization").is_some_and(|value| value == format!("Bearer {token}").as_str()) {
        return answer();
    }
    refusal(401, "UNAUTHORIZED", "authentication required").insert_header(
        "www-authenticate",
        format!(r#"Bearer realm="http://{host}/token",service="registry.example",scope="repository:x:pull""#).as_str(),
    )
}

#[tokio::test]
async fn a_manifest_is_fetched_with_one_request_that_names_what_is_understood() {
    let manifest = manifest();
    let answer = manifest_answer(&manifest);
    let server = server(move |_| answer.clone()).await;
    let found = repository(server.address()).manifest(&v1()).await.unwrap();
    assert_eq!(found, manifest);
    assert_eq!(asked(&server).await, ["GET /v2/team/app/manifests/v1"]);
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.headers["accept"], media_type::MANIFESTS.join(", "));
    assert_eq!(request.headers["accept-encoding"], "identity");
    assert_eq!(request.headers["user-agent"], concat!("bndlr/", env!("CARGO_PKG_VERSION")));
}

#[tokio::test]
async fn resolving_costs_a_head_and_no_body() {
    let manifest = manifest();
    let answer = manifest_answer(&manifest);
    let server = server(move |_| answer.clone()).await;
    assert_eq!(repository(server.address()).resolve(&v1()).await.unwrap(), manifest.descriptor());
    assert_eq!(asked(&server).await, ["HEAD /v2/team/app/manifests/v1"]);
}

#[tokio::test]
async fn a_registry_whose_head_says_too_little_is_asked_again_with_get() {
    let silent = |manifest: &RawManifest| {
        ResponseTemplate::new(200).set_body_raw(manifest.bytes().to_vec(), manifest.media_type())
    };
    for head in [ResponseTemplate::new(405), ResponseTemplate::new(200), silent(&manifest())] {
        let get = silent(&manifest());
        let server = server(move |request| if request.method == "HEAD" { head.clone() } else { get.clone() }).await;
        assert_eq!(repository(server.address()).resolve(&v1()).await.unwrap(), manifest().descriptor());
        assert_eq!(asked(&server).await.len(), 2);
    }
}

#[tokio::test]
async fn what_is_asked_for_by_another_algorithm_keeps_its_digest() {
    let digest = Algorithm::Sha512.digest(manifest().bytes());
    let answer = ResponseTemplate::new(200).set_body_raw(manifest().bytes().to_vec(), manifest().media_type());
    let server = server(move |_| answer.clone()).await;
    let repository = repository(server.address());
    assert_eq!(repository.resolve(&digest.into()).await.unwrap().digest, digest);
    assert_eq!(repository.manifest(&digest.into()).await.unwrap(), manifest());
}

#[tokio::test]
async fn a_missing_blob_is_missing_and_a_missing_manifest_says_so() {
    let server = server(|_| refusal(404, "MANIFEST_UNKNOWN", "manifest unknown to registry")).await;
    let repository = repository(server.address());
    assert!(!repository.exists(&blob(b"x").0).await.unwrap());
    assert!(!repository.exists(&manifest().descriptor()).await.unwrap());
    let error = repository.manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        format!(
            "GET {}/v2/team/app/manifests/v1: 404 Not Found: MANIFEST_UNKNOWN: manifest unknown to registry",
            server.address()
        )
    );
}

#[tokio::test]
async fn a_blob_goes_up_in_one_request_with_its_length_to_where_the_registry_says() {
    for location in ["/v2/team/app/blobs/uploads/1?_state=a%2Fb", "1?_state=a%2Fb"] {
        let server = server(move |request| match request.method.as_str() {
            "POST" => redirect(202, location),
            _ => ResponseTemplate::new(201),
        })
        .await;
        let (descriptor, content) = blob(&sample::large());
        repository(server.address()).push(&descriptor, &content).await.unwrap();
        assert_eq!(
            asked(&server).await,
            [
                "POST /v2/team/app/blobs/uploads/".to_owned(),
                format!("PUT /v2/team/app/blobs/uploads/1?_state=a%2Fb&digest=sha256%3A{}", descriptor.digest.hex()),
            ]
        );
        let requests = server.received_requests().await.unwrap();
        assert_eq!(requests[0].headers["content-length"], "0");
        assert_eq!(requests[1].headers["content-length"], descriptor.size.to_string().as_str());
        assert_eq!(requests[1].headers["content-type"], "application/octet-stream");
        assert!(!requests[1].headers.contains_key("transfer-encoding"));
        assert_eq!(Digest::sha256(&requests[1].body), descriptor.digest);
    }
}

#[tokio::test]
async fn an_empty_blob_is_a_blob() {
    let server = server(|request| match request.method.as_str() {
        "POST" => redirect(202, "/upload"),
        _ => ResponseTemplate::new(201),
    })
    .await;
    let (descriptor, content) = blob(b"");
    repository(server.address()).push(&descriptor, &content).await.unwrap();
    assert_eq!(server.received_requests().await.unwrap()[1].headers["content-length"], "0");
}

/// A source that fails halfway.
struct Torn;

#[async_trait]
impl Open for Torn {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        let failure = Error::local("read the layer", io::Error::other("disk on fire"));
        Ok(Reader::new(descriptor, stream::iter([Ok(Bytes::from_static(b"half")), Err(failure)])))
    }
}

#[tokio::test]
async fn when_the_content_to_upload_cannot_be_read_that_is_the_error() {
    let server = server(|_| redirect(202, "/upload")).await;
    let error = repository(server.address()).push(&blob(b"half and half").0, &Torn).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Local, "cannot read the layer: disk on fire"));

    // Content that is not what its descriptor says never arrives whole.
    let (descriptor, _) = blob(b"right");
    let error = repository(server.address()).push(&descriptor, &blob(b"wrong").1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Content);
}

/// A source that takes its time.
struct Slow(Duration);

#[async_trait]
impl Open for Slow {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        let delay = self.0;
        let chunks = stream::iter([&b"slow"[..], b" and ", b"steady"]).then(move |chunk| async move {
            tokio::time::sleep(delay).await;
            Ok(Bytes::from_static(chunk))
        });
        Ok(Reader::new(descriptor, chunks))
    }
}

#[tokio::test]
async fn a_registry_is_not_blamed_for_a_slow_source() {
    let server = server(|request| match request.method.as_str() {
        "POST" => redirect(202, "/upload"),
        _ => ResponseTemplate::new(201),
    })
    .await;
    let options = ClientOptions { stall_timeout: Duration::from_millis(250), ..options() };
    let slow = Slow(Duration::from_millis(400));
    repository_with(server.address(), options).push(&blob(b"slow and steady").0, &slow).await.unwrap();
}

#[tokio::test]
async fn a_manifest_is_put_under_its_digest_and_under_a_tag() {
    let server = server(|_| ResponseTemplate::new(201)).await;
    let repository = repository(server.address());
    repository.push(&manifest().descriptor(), &manifest()).await.unwrap();
    repository.tag(&manifest(), &tag("v1")).await.unwrap();
    let by_digest = format!("PUT /v2/team/app/manifests/{}", manifest().digest());
    assert_eq!(asked(&server).await, [by_digest.as_str(), "PUT /v2/team/app/manifests/v1"]);
    for request in server.received_requests().await.unwrap() {
        assert_eq!(request.headers["content-type"], media_type::OCI_INDEX);
        assert_eq!(request.body, manifest().bytes().to_vec());
    }
}

#[tokio::test]
async fn many_requests_share_one_token() {
    let server = server(|request| with_token(request, "t0", || ResponseTemplate::new(200))).await;
    let repository = repository(server.address());
    let (descriptor, _) = blob(b"x");
    futures::future::try_join_all((0..8).map(|_| repository.exists(&descriptor))).await.unwrap();
    // What comes later does not have to be refused first.
    repository.exists(&descriptor).await.unwrap();
    let asked = asked(&server).await;
    let tokens: Vec<_> = asked.iter().filter(|line| line.contains("/token")).collect();
    assert_eq!(tokens, ["GET /token?scope=repository%3Ateam%2Fapp%3Apull%2Cpush&service=registry.example"]);
    assert!(asked.len() <= 8 + 1 + 8 + 1, "{asked:?}");
    assert!(authorizations(&server).await.iter().flatten().all(|value| value == "Bearer t0"));
}

#[tokio::test]
async fn reading_asks_for_no_more_than_reading() {
    let server = server(|request| with_token(request, "t0", || manifest_answer(&manifest()))).await;
    repository(server.address()).manifest(&v1()).await.unwrap();
    assert_eq!(asked(&server).await[1], "GET /token?scope=repository%3Ateam%2Fapp%3Apull&service=registry.example");
}

#[tokio::test]
async fn a_user_is_told_to_the_token_service_and_the_token_to_the_registry_and_neither_to_anybody_else() {
    let (traces, _guard) = Traces::collect();
    let server = server(|request| with_token(request, "t0-secret", || ResponseTemplate::new(200))).await;
    let repository = repository_with(server.address(), logged_in(server.address()));
    repository.exists(&blob(b"x").0).await.unwrap();
    assert_eq!(authorizations(&server).await, [None, Some(basic()), Some("Bearer t0-secret".into())]);

    let address = server.address();
    let digest = blob(b"x").0.digest;
    assert_eq!(
        traces.wire(),
        [
            format!("> HEAD http://{address}/v2/team/app/blobs/{digest} HTTP/1.1"),
            "< HTTP/1.1 401 Unauthorized".into(),
            format!(
                "> GET http://{address}/token?scope=repository%3Ateam%2Fapp%3Apull%2Cpush&service=registry.example HTTP/1.1"
            ),
            "< HTTP/1.1 200 OK".into(),
            format!("> HEAD http://{address}/v2/team/app/blobs/{digest} HTTP/1.1"),
            "< HTTP/1.1 200 OK".into(),
        ]
    );
    let text = traces.text();
    assert!(!text.contains(PASSWORD) && !text.contains("t0-secret") && !text.contains(&basic()[6..]), "{text}");
}

#[tokio::test]
async fn an_old_token_is_renewed_and_the_upload_begins_anew() {
    let tokens = AtomicUsize::new(0);
    let server = server(move |request| {
        let issued = tokens.load(Ordering::SeqCst);
        // Once the upload is under way, the first token is worth nothing any more.
        let wanted = if request.method == "PUT" { 2 } else { 1 };
        let issue = if request.url.path() == "/token" { tokens.fetch_add(1, Ordering::SeqCst) + 1 } else { issued };
        with_token(request, &format!("t{}", issue.max(wanted)), || match request.method.as_str() {
            "POST" => redirect(202, "/upload"),
            _ => ResponseTemplate::new(201),
        })
    })
    .await;
    let (descriptor, content) = blob(b"again and again");
    repository(server.address()).push(&descriptor, &content).await.unwrap();
    let put: Vec<_> = server.received_requests().await.unwrap();
    let put: Vec<_> = put.iter().filter(|request| request.method == "PUT").collect();
    assert_eq!(put.len(), 2);
    assert_eq!(
        (&put[1].headers["authorization"], put[1].body.as_slice()),
        (&"Bearer t2".parse().unwrap(), &b"again and again"[..])
    );
}

fn basic_registry(request: &Request) -> ResponseTemplate {
    if request.headers.get("authorization").is_some_and(|value| value == basic().as_str()) {
        return ResponseTemplate::new(200);
    }
    refusal(401, "UNAUTHORIZED", "authentication required")
        .insert_header("www-authenticate", r#"Basic realm="registry""#)
}

#[tokio::test]
async fn a_password_is_sent_once_it_is_asked_for() {
    let server = server(basic_registry).await;
    let repository = repository_with(server.address(), logged_in(server.address()));
    repository.exists(&blob(b"x").0).await.unwrap();
    repository.exists(&blob(b"y").0).await.unwrap();
    assert_eq!(authorizations(&server).await, [None, Some(basic()), Some(basic())]);
}

#[tokio::test]
async fn credentials_come_from_dockers_file_too() {
    let server = server(basic_registry).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    let config = format!(r#"{{"auths":{{"{}":{{"auth":"{}"}}}}}}"#, server.address(), &basic()[6..]);
    std::fs::write(&file, config).unwrap();
    let options = ClientOptions { credentials: Credentials::from_file(&file), ..options() };
    assert!(repository_with(server.address(), options).exists(&blob(b"x").0).await.unwrap());
}

/// The error that a registry's no makes, with credentials from a file with these contents.
async fn denied(config: &str) -> Error {
    let server =
        server(|_| refusal(401, "UNAUTHORIZED", "who is there?").insert_header("www-authenticate", "Basic realm=x"))
            .await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.json");
    std::fs::write(&file, config.replace("HOST", &server.address().to_string())).unwrap();
    let options = ClientOptions { credentials: Credentials::from_file(&file), ..options() };
    repository_with(server.address(), options).manifest(&v1()).await.unwrap_err()
}

#[tokio::test]
async fn who_is_not_let_in_learns_what_to_do() {
    let error = denied("{}").await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().ends_with("401 Unauthorized: UNAUTHORIZED: who is there?"), "{error}");
    assert!(error.hint().unwrap().starts_with("log in to 127.0.0.1:"), "{:?}", error.hint());

    let error = denied(r#"{"auths":{"HOST":{"auth":"YTpi"}}}"#).await;
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint().unwrap().contains("config.json were refused"), "{:?}", error.hint());

    let error = denied(r#"{"credsStore":"no-such-program"}"#).await;
    assert_eq!(error.kind(), ErrorKind::Local);
    assert!(error.to_string().starts_with("docker-credential-no-such-program cannot be run"), "{error}");

    let error = denied(r#"{"auths":["YTpi"]}"#).await;
    assert_eq!(error.kind(), ErrorKind::Local);
    assert!(error.to_string().contains("config.json") && !error.to_string().contains("YTpi"), "{error}");
}

#[tokio::test]
async fn who_may_not_do_something_is_not_asked_again() {
    let server = server(|_| refusal(403, "DENIED", "not for you")).await;
    let error = repository_with(server.address(), logged_in(server.address())).exists(&blob(b"x").0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.hint().unwrap().contains("do not suffice"));
    assert_eq!(authorizations(&server).await, [None]);
}

#[tokio::test]
async fn content_may_come_from_elsewhere() {
    let elsewhere = server(|_| ResponseTemplate::new(200).set_body_bytes(&b"hello"[..])).await;
    let there = format!("{}/bucket/x?X-Signature=top-secret", elsewhere.uri());
    let server = server(move |_| redirect(307, there.clone())).await;
    let (traces, _guard) = Traces::collect();
    let (descriptor, _) = blob(b"hello");
    assert_eq!(read(&repository(server.address()), &descriptor).await.unwrap(), "hello");
    assert!(traces.wire()[2].ends_with("/bucket/x?X-Signature=*** HTTP/1.1"), "{:?}", traces.wire());
    assert!(!traces.text().contains("top-secret"));
}

#[tokio::test]
async fn a_registry_that_is_down_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = repository(&address).resolve(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert_eq!(error.to_string(), format!("HEAD {address}/v2/team/app/manifests/v1: connection refused"));
    assert_eq!(error.hint().unwrap(), format!("is a registry running on http://{address}?"));
}

#[tokio::test]
async fn a_mix_up_of_http_and_https_has_a_hint() {
    let server = server(|_| ResponseTemplate::new(200)).await;
    let options = ClientOptions { plain_http: Some(false), ..options() };
    let error = repository_with(server.address(), options).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(error.hint().unwrap_or_default().contains("--plain-http"), "{error}: {:?}", error.hint());

    let go = raw_answer("HTTP/1.0 400 Bad Request", 48, b"Client sent an HTTP request to an HTTPS server.\n");
    let alert = b"\x15\x03\x01\x00\x02\x02\x46".to_vec();
    for answer in [go, alert] {
        let server = Raw::start(answer, Ending::Close).await;
        let error = repository(&server.address).manifest(&v1()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Remote);
        assert!(error.hint().unwrap_or_default().contains("--plain-http=false"), "{error}: {:?}", error.hint());
    }
}
