//! Clients that lie, break off, or look for a way out: none gets more than an error, and nothing partial is kept.

mod embedded;

use std::path::Path;
use std::time::Duration;

use bndlr::digest::Digest;
use bndlr::manifest::media_type::OCI_MANIFEST;
use bndlr::server::storage::Memory;
use bndlr::server::{Registry, Server};
use embedded::{Embedded, assert_refused, client, header, image_manifest};
use futures::stream;
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends bytes as they are and returns all that comes back, which ends when the server closes the connection.
async fn raw(registry: &Embedded, request: &[u8]) -> String {
    answer_to(TcpStream::connect(registry.address()).await.unwrap(), request, false).await
}

/// The same, but nothing can come after these bytes.
async fn cut(registry: &Embedded, request: &[u8]) -> String {
    answer_to(TcpStream::connect(registry.address()).await.unwrap(), request, true).await
}

async fn answer_to(mut stream: TcpStream, request: &[u8], ends: bool) -> String {
    let mut answer = Vec::new();
    // A connection that is reset while one writes or reads has been answered, too.
    let _ = stream.write_all(request).await;
    if ends {
        let _ = stream.shutdown().await;
    }
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The files below `directory`, with their sizes.
fn files(directory: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push((entry.path().display().to_string(), entry.metadata().unwrap().len()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn no_path_leads_out_of_the_root() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let root = outside.path().join("root");
    let registry = Embedded::in_directory(&root).await;
    let digest = registry.push_image("a", "v1", b"layer").await;
    let before = files(outside.path());

    let hex = digest.hex();
    let mut targets = Vec::new();
    for escape in [
        "..",
        "../..",
        "%2e%2e",
        "..%2f..",
        "%2e%2e%2f",
        ".",
        "a/../..",
        "a/./b",
        "a//b",
        "/etc/passwd",
        "_tags",
        "a/_blobs",
        "a%00",
        "a\\..\\b",
        "A",
        "a;b",
        "a?b",
        "..;/",
        "\u{2024}\u{2024}",
    ] {
        targets.extend([
            format!("/v2/{escape}/manifests/v1"),
            format!("/v2/{escape}/blobs/{digest}"),
            format!("/v2/{escape}/tags/list"),
            format!("/v2/{escape}/blobs/uploads/"),
            format!("/v2/a/manifests/{escape}"),
            format!("/v2/a/blobs/{escape}"),
            format!("/v2/a/blobs/sha256:{escape}/{hex}"),
            format!("/v2/a/blobs/{escape}:{hex}"),
            format!("/v2/a/blobs/uploads/{escape}"),
            format!("/v2/a/blobs/uploads/?mount={escape}&from=a"),
            format!("/v2/a/blobs/uploads/?mount={digest}&from={escape}"),
            format!("/v2/a/blobs/uploads/?digest={escape}"),
            format!("/v2/a/tags/list?last={escape}&n={escape}"),
        ]);
    }
    for target in targets {
        for method in ["GET", "PUT", "POST", "PATCH", "DELETE"] {
            let request = format!(
                "{method} {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            );
            let answer = raw(&registry, request.as_bytes()).await;
            let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{method} {target}: {answer}"));
            // `..` within a query's `last` is only a place in a list, and `POST` with a name that is valid is an upload.
            assert!(status.starts_with('4') || matches!(status, "200" | "202"), "{method} {target}: {answer}");
            assert!(!answer.contains("secret") && !answer.contains("root:"), "{method} {target}: {answer}");
            let path = outside.path().display().to_string();
            assert!(!answer.contains(&path), "{method} {target} tells where the files are: {answer}");
        }
    }
    let uploads = root.join("uploads").display().to_string();
    let after: Vec<_> = files(outside.path()).into_iter().filter(|(path, _)| !path.starts_with(&uploads)).collect();
    assert_eq!(after, before, "nothing was written");
}

#[tokio::test]
async fn content_with_a_wrong_digest_is_not_kept() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Embedded::in_directory(directory.path()).await;
    let before = files(directory.path());
    let claimed = Digest::sha256(b"claimed");
    let whole = registry.request(Method::POST, &format!("/v2/a/blobs/uploads/?digest={claimed}")).body("other");
    assert_refused(whole.send().await.unwrap(), 400, "DIGEST_INVALID").await;

    let session = registry.begin_upload("a").await;
    let response = registry.put(&format!("{session}?digest={claimed}"), "", "other").await;
    assert_refused(response, 400, "DIGEST_INVALID").await;
    for digest in [claimed, Digest::sha256(b"other")] {
        assert_refused(registry.get(&format!("/v2/a/blobs/{digest}")).await, 404, "BLOB_UNKNOWN").await;
    }
    assert_eq!(files(directory.path()), before);

    let session = registry.begin_upload("a").await;
    for digest in ["", "sha256:12", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:../../x"] {
        let response = registry.put(&format!("{session}?digest={digest}"), "", "").await;
        assert_refused(response, 400, "DIGEST_INVALID").await;
    }
    assert_refused(registry.put(&session, "", "").await, 400, "DIGEST_INVALID").await;
    assert_eq!(registry.get(&session).await.status(), 204, "a slip of the pen does not end the session");
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_not_visible_and_can_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Embedded::in_directory(directory.path()).await;
    let session = registry.begin_upload("a").await;
    let digest = Digest::sha256(b"first and last");
    // The announced length is a lie: the connection ends before it is reached.
    let head = format!("PUT {session}?digest={digest} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\r\nfirst");
    let answer = cut(&registry, head.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert_refused(registry.get(&format!("/v2/a/blobs/{digest}")).await, 404, "BLOB_UNKNOWN").await;
    assert_refused(registry.get("/v2/a/tags/list").await, 404, "NAME_UNKNOWN").await;

    assert_eq!(header(&registry.get(&session).await, "range"), "0-4", "what came is kept");
    let rest = registry.request(Method::PATCH, &session).header("content-range", "5-13").body(" and last");
    assert_eq!(rest.send().await.unwrap().status(), 202);
    assert_eq!(registry.put(&format!("{session}?digest={digest}"), "", "").await.status(), 201);
}

#[tokio::test]
async fn a_blob_in_one_request_that_breaks_off_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Embedded::in_directory(directory.path()).await;
    let before = files(directory.path());
    let digest = Digest::sha256(b"first and last");
    let target = format!("/v2/a/blobs/uploads/?digest={digest}");
    let head = format!("POST {target} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\r\nfirst");
    cut(&registry, head.as_bytes()).await;
    assert_eq!(files(directory.path()), before);
}

#[tokio::test]
async fn a_body_that_is_longer_or_shorter_than_announced_is_refused() {
    let registry = Embedded::in_memory().await;
    for (range, body, received) in [("0-9", "short", "0-4"), ("0-2", "too long", "0-0")] {
        let session = registry.begin_upload("a").await;
        // Without Content-Length, so that only counting shows it.
        let body = reqwest::Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(body)]));
        let patch = registry.request(Method::PATCH, &session).header("content-range", range).body(body);
        let response = patch.send().await.unwrap();
        assert!(response.status().is_client_error());
        assert_refused(response, if range == "0-9" { 400 } else { 413 }, "SIZE_INVALID").await;
        assert_eq!(header(&registry.get(&session).await, "range"), received);
    }
    // What comes after the announced length is not part of the body.
    let session = registry.begin_upload("a").await;
    let two = format!("PATCH {session} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\n\r\nabcdef");
    let answer = cut(&registry, two.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert_eq!(header(&registry.get(&session).await, "range"), "0-2");
}

#[tokio::test]
async fn a_session_belongs_to_its_repository() {
    let registry = Embedded::in_memory().await;
    let session = registry.begin_upload("mine").await;
    let stolen = session.replace("/mine/", "/yours/");
    let digest = Digest::sha256(b"");
    for (method, path) in [
        (Method::GET, stolen.clone()),
        (Method::PATCH, stolen.clone()),
        (Method::DELETE, stolen.clone()),
        (Method::PUT, format!("{stolen}?digest={digest}")),
    ] {
        let response = registry.request(method, &path).send().await.unwrap();
        assert_refused(response, 404, "BLOB_UPLOAD_UNKNOWN").await;
    }
    assert_eq!(registry.get(&session).await.status(), 204);
}

#[tokio::test]
async fn manifests_are_bounded_and_have_to_be_manifests() {
    let registry = Embedded::in_memory().await;
    let huge = vec![b' '; 4 * 1024 * 1024 + 1];
    let response = registry.put("/v2/a/manifests/v1", OCI_MANIFEST, huge.clone()).await;
    assert_refused(response, 413, "MANIFEST_INVALID").await;
    let unannounced = reqwest::Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(huge)]));
    let response = registry.put("/v2/a/manifests/v1", OCI_MANIFEST, unannounced).await;
    assert_refused(response, 413, "MANIFEST_INVALID").await;

    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let twice = image_manifest(b"layer").replacen('{', r#"{"layers":[],"#, 1);
    let both = image_manifest(b"layer").replacen('{', r#"{"manifests":[],"#, 1);
    for content in [deep, twice, both, "\u{0}".into(), "null".into(), "\"manifest\"".into(), "<html></html>".into()] {
        let response = registry.put("/v2/a/manifests/v1", OCI_MANIFEST, content).await;
        assert_refused(response, 400, "MANIFEST_INVALID").await;
    }
    assert_refused(registry.put("/v2/a/manifests/.v1", OCI_MANIFEST, "{}").await, 400, "MANIFEST_INVALID").await;
    let session_as_header = registry.put("/v2/a/manifests/v1", "text/html", "<script>").await;
    assert_eq!(header(&session_as_header, "x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn absurd_ranges_do_no_harm() {
    let registry = Embedded::in_memory().await;
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", b"0123456789").await);
    let max = u64::MAX;
    for range in [
        format!("bytes=0-{max}"),
        format!("bytes={max}-{max}"),
        format!("bytes=-{max}"),
        format!("bytes={}-", "9".repeat(1000)),
        format!("bytes={}", "0-0,".repeat(1000)),
        "bytes=-".to_owned(),
        "bytes=--1".to_owned(),
        "bytes=0x0-0x1".to_owned(),
        "bytes=1-0".to_owned(),
    ] {
        let response = registry.request(Method::GET, &path).header("range", &range).send().await.unwrap();
        assert!(matches!(response.status().as_u16(), 200 | 206 | 416), "{range}: {response:?}");
        assert!(response.bytes().await.is_ok(), "{range}");
    }
    let session = registry.begin_upload("a").await;
    for range in [format!("0-{max}"), format!("{max}-{max}0"), "-".to_owned(), "0-".to_owned(), "9".repeat(1000)] {
        let chunk = registry.request(Method::PATCH, &session).header("content-range", &range).body("x");
        assert_refused(chunk.send().await.unwrap(), 400, "SIZE_INVALID").await;
    }
    let far = registry.request(Method::PATCH, &session).header("content-range", format!("{max}-{max}")).body("x");
    assert_refused(far.send().await.unwrap(), 416, "BLOB_UPLOAD_INVALID").await;
}

#[tokio::test]
async fn a_web_page_cannot_reach_a_registry_on_loopback() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_blob("a", b"secret").await;
    let path = format!("/v2/a/blobs/{digest}");
    for host in ["evil.test", "localhost.evil.test", "127.0.0.1.nip.io", "10.0.0.1", "0.0.0.0"] {
        let response = registry.request(Method::GET, &path).header("host", host).send().await.unwrap();
        assert_refused(response, 403, "DENIED").await;
    }
    for (name, value) in [("origin", "https://evil.test"), ("origin", "null")] {
        let target = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(b"junk"));
        let request = registry.request(Method::POST, &target).header(name, value).body("junk");
        assert_refused(request.send().await.unwrap(), 403, "DENIED").await;
    }
    for request in [
        format!("GET {path} HTTP/1.0\r\n\r\n"),
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nhost: evil.test\r\nconnection: close\r\n\r\n"),
        format!("GET http://evil.test{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
    ] {
        let answer = raw(&registry, request.as_bytes()).await;
        assert!(answer.contains(" 403 ") || answer.contains(" 400 "), "{answer}");
        assert!(!answer.contains("secret"), "{answer}");
    }
    for host in ["localhost", "localhost:1", "127.0.0.1", "127.9.9.9:5000", "[::1]:5000"] {
        let response = registry.request(Method::GET, &path).header("host", host).send().await.unwrap();
        assert_eq!(response.status(), 200, "{host}");
    }
}

#[tokio::test]
async fn a_host_that_is_allowed_passes() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Registry::new(Memory::new())).await.unwrap();
    let running = server.allow_host("registry.test").spawn();
    let http = client(reqwest::Client::builder().resolve("registry.test", running.address()));
    let url = format!("http://registry.test:{}/v2/", running.address().port());
    assert_eq!(http.get(url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn bytes_that_are_not_http_end_the_connection_and_nothing_else() {
    let registry = Embedded::in_memory().await;
    let long = format!("GET /v2/{}/tags/list HTTP/1.1\r\nhost: localhost\r\n\r\n", "a/".repeat(40_000));
    let many = format!("GET /v2/ HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(10_000));
    for request in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all, but long enough to be taken for one",
        b"GET\r\n\r\n",
        b"\0\0\0\0",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        long.as_bytes(),
        many.as_bytes(),
    ] {
        let answer = cut(&registry, request).await;
        let refused = answer.starts_with("HTTP/1.1 4") || !answer.starts_with("HTTP/1.1");
        assert!(refused, "{}: {answer}", String::from_utf8_lossy(&request[..request.len().min(40)]));
    }
    let name = "a".repeat(256);
    assert_refused(registry.get(&format!("/v2/{name}/tags/list")).await, 400, "NAME_INVALID").await;
    let longest = "a".repeat(255);
    registry.push_image(&longest, &"t".repeat(128), b"layer").await;
    assert_eq!(registry.get("/v2/").await.status(), 200, "others are served as before");
}

#[tokio::test]
async fn the_longest_names_fit_into_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Embedded::in_directory(directory.path()).await;
    for name in ["a".repeat(255), "a/".repeat(127) + "a"] {
        registry.push_image(&name, &"t".repeat(128), b"layer").await;
        assert_eq!(registry.get(&format!("/v2/{name}/manifests/{}", "t".repeat(128))).await.status(), 200);
    }
}

#[tokio::test]
async fn a_storage_that_fails_is_an_error_without_details() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let registry = Embedded::in_directory(&root).await;
    registry.push_image("a", "v1", b"layer").await;
    std::fs::write(root.join("repositories/a/_tags/damaged"), "no digest").unwrap();
    std::fs::remove_dir_all(root.join("uploads")).unwrap();
    for response in [registry.post("/v2/a/blobs/uploads/").await, registry.get("/v2/a/manifests/damaged").await] {
        let status = response.status();
        let body = response.text().await.unwrap();
        assert_eq!(status, 500, "{body}");
        assert!(body.contains("UNKNOWN") && !body.contains("root"), "{body}");
    }
    assert_eq!(registry.get("/v2/a/manifests/v1").await.status(), 200, "what is there is still served");
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The frames in what a server sent: kind, stream and payload of each.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut found = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else { break };
        found.push((head[3], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload.to_vec()));
        bytes = rest;
    }
    found
}

const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What a connection begins with: the preface, and settings that change nothing.
fn preface() -> Vec<u8> {
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &[])].concat()
}

/// The fields of a request for `/v2/`, with a method of HPACK's table: 2 is GET, 3 is POST.
fn request(method: u8) -> Vec<u8> {
    [&[0x80 | method, 0x86, 0x44, 4][..], b"/v2/", &[0x41, 9], b"localhost"].concat()
}

/// The number of a client's stream.
fn stream_id(number: u32) -> u32 {
    2 * number + 1
}

/// Sends frames and returns those that come until the server ends the connection, which it does soon.
async fn flood(registry: &Embedded, sent: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut stream = TcpStream::connect(registry.address()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let (sent, mut answer) = ([&preface(), sent].concat(), Vec::new());
    // The server may have ended the connection before it has been sent everything.
    let both = async { tokio::join!(writer.write_all(&sent), reader.read_to_end(&mut answer)) };
    let _ = tokio::time::timeout(Duration::from_secs(20), both).await.expect("the server ends the connection");
    frames(&answer)
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let registry = Embedded::in_memory().await;
    let taken_back = |number| {
        let (open, reset) = (request(2), 8_u32.to_be_bytes());
        let open = frame(HEADERS, END_STREAM | END_HEADERS, stream_id(number), &open);
        [open, frame(RST_STREAM, 0, stream_id(number), &reset)].concat()
    };
    let found = flood(&registry, &(0..5000).flat_map(taken_back).collect::<Vec<_>>()).await;
    let last = found.iter().find(|(kind, ..)| *kind == GOAWAY).expect("it says why");
    assert_eq!(last.2[4..8], 11_u32.to_be_bytes(), "ENHANCE_YOUR_CALM");
    assert_eq!(registry.get("/v2/").await.status(), 200, "others are served as before");
}

#[tokio::test]
async fn fields_without_end_end_the_connection() {
    let registry = Embedded::in_memory().await;
    let mut sent = frame(HEADERS, END_STREAM, stream_id(0), &request(2));
    let fields = b"\0\x01x\x01y".repeat(3000);
    for _ in 0..2000 {
        sent.extend(frame(CONTINUATION, 0, stream_id(0), &fields));
    }
    let found = flood(&registry, &sent).await;
    assert!(found.iter().all(|(kind, ..)| *kind != HEADERS), "it is not answered: {found:?}");
    assert_eq!(registry.get("/v2/").await.status(), 200, "others are served as before");
}

#[tokio::test]
async fn more_requests_than_a_connection_may_have_open_are_refused() {
    let registry = Embedded::in_memory().await;
    let mut stream = TcpStream::connect(registry.address()).await.unwrap();
    // Bodies that do not come keep them open.
    let open = |number| frame(HEADERS, END_HEADERS, stream_id(number), &request(3));
    let sent = [preface(), (0..100).flat_map(open).collect()].concat();
    stream.write_all(&sent).await.unwrap();
    let (mut answer, mut refused) = (Vec::new(), Vec::new());
    while refused.len() < 36 {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        refused = frames(&answer);
        refused.retain(|(kind, _, payload)| *kind == RST_STREAM && payload[..] == 7_u32.to_be_bytes());
    }
    let refused: Vec<u32> = refused.into_iter().map(|(_, stream, _)| stream).collect();
    assert_eq!(refused, (64..100).map(stream_id).collect::<Vec<_>>());
}
