//! Uploads: in one request, in two, in chunks, mounted.

use crate::embedded::{Embedded, assert_refused, header};
use bndlr::digest::{Algorithm, Digest};
use futures::StreamExt;
use reqwest::{Method, StatusCode};

#[tokio::test]
async fn an_upload_is_post_and_put() {
    let registry = Embedded::in_memory().await;
    let response = registry.post("/v2/a/blobs/uploads/").await;
    assert_eq!(response.status(), 202);
    assert_eq!(header(&response, "range"), "0-0");
    assert_eq!(header(&response, "content-length"), "0");
    let session = header(&response, "location").to_owned();
    assert!(session.starts_with("/v2/a/blobs/uploads/"), "{session}");
    assert!(session.ends_with(header(&response, "docker-upload-uuid")), "{session}");

    let digest = Digest::sha256(b"whole");
    // Some clients write the colon as it is, some encode it.
    let encoded = digest.to_string().replace(':', "%3A");
    let response = registry.put(&format!("{session}?digest={encoded}"), "application/octet-stream", "whole").await;
    assert_eq!(response.status(), 201);
    assert_eq!(header(&response, "location"), format!("/v2/a/blobs/{digest}"));
    assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
    assert_eq!(registry.get(&format!("/v2/a/blobs/{digest}")).await.bytes().await.unwrap(), "whole");
    assert_refused(registry.get(&session).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
}

#[tokio::test]
async fn an_upload_comes_in_chunks_in_order() {
    let registry = Embedded::in_memory().await;
    let session = registry.begin_upload("a").await;
    let patch = async |range: Option<&str>, body: &'static str| {
        let request = registry.request(Method::PATCH, &session).body(body);
        let request = if let Some(range) = range { request.header("content-range", range) } else { request };
        request.send().await.unwrap()
    };
    for (range, body, received) in
        [(Some("0-3"), "abcd", "0-3"), (None, "ef", "0-5"), (Some("bytes 6-7/*"), "gh", "0-7")]
    {
        let response = patch(range, body).await;
        assert_eq!(response.status(), 202, "{range:?}");
        assert_eq!(header(&response, "range"), received);
        assert_eq!(header(&response, "location"), session);
    }
    for range in ["0-1", "7-8", "9-10"] {
        let response = patch(Some(range), "xx").await;
        assert_eq!(header(&response, "range"), "0-7", "where to go on");
        assert_refused(response, 416, "BLOB_UPLOAD_INVALID").await;
    }
    for range in ["8-8", "8-10", "9-8", "x"] {
        assert_refused(patch(Some(range), "xx").await, 400, "SIZE_INVALID").await;
    }
    let response = registry.get(&session).await;
    assert_eq!((response.status(), header(&response, "range")), (StatusCode::NO_CONTENT, "0-7"));

    let digest = Digest::sha256(b"abcdefghij");
    let last = registry.request(Method::PUT, &format!("{session}?digest={digest}")).header("content-range", "8-9");
    assert_eq!(last.body("ij").send().await.unwrap().status(), 201);
    assert_eq!(registry.get(&format!("/v2/a/blobs/{digest}")).await.bytes().await.unwrap(), "abcdefghij");
}

#[tokio::test]
async fn a_chunk_may_be_streamed_and_the_last_request_empty() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Embedded::in_directory(directory.path()).await;
    let session = registry.begin_upload("a").await;
    let part = vec![7_u8; 100_000];
    let parts = futures::stream::iter(vec![part.clone(); 30]).map(Ok::<_, std::io::Error>);
    let streamed = registry.request(Method::PATCH, &session).body(reqwest::Body::wrap_stream(parts));
    let response = streamed.send().await.unwrap();
    assert_eq!((response.status(), header(&response, "range")), (StatusCode::ACCEPTED, "0-2999999"));
    let digest = Algorithm::Sha512.digest(&part.repeat(30));
    assert_eq!(registry.put(&format!("{session}?digest={digest}"), "", "").await.status(), 201);
    let response = registry.head(&format!("/v2/a/blobs/{digest}")).await;
    assert_eq!(header(&response, "content-length"), "3000000");
}

#[tokio::test]
async fn an_upload_can_be_cancelled() {
    let registry = Embedded::in_memory().await;
    let session = registry.begin_upload("a").await;
    assert_eq!(registry.request(Method::DELETE, &session).send().await.unwrap().status(), 204);
    assert_refused(registry.get(&session).await, 404, "BLOB_UPLOAD_UNKNOWN").await;
    let again = registry.request(Method::DELETE, &session).send().await.unwrap();
    assert_refused(again, 404, "BLOB_UPLOAD_UNKNOWN").await;
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_it_is() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_blob("from", b"layer").await;
    let mount = async |query: String| registry.post(&format!("/v2/to/blobs/uploads/?{query}")).await;
    let missing = Digest::sha256(b"missing");
    for fallback in
        [format!("mount={missing}&from=from"), format!("mount={digest}&from=else"), format!("mount={missing}")]
    {
        let response = mount(fallback.clone()).await;
        assert_eq!(response.status(), 202, "{fallback}: an upload begins instead");
        assert!(header(&response, "location").starts_with("/v2/to/blobs/uploads/"));
    }
    assert_eq!(registry.head(&format!("/v2/to/blobs/{digest}")).await.status(), 404);
    let response = mount(format!("mount={digest}&from=from")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(header(&response, "location"), format!("/v2/to/blobs/{digest}"));
    assert_eq!(registry.get(&format!("/v2/to/blobs/{digest}")).await.bytes().await.unwrap(), "layer");
}

#[tokio::test]
async fn a_blob_may_come_with_the_request_that_begins() {
    let registry = Embedded::in_memory().await;
    for digest in [Digest::sha256(b"whole"), Algorithm::Sha512.digest(b"whole")] {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        let post = async |body: &'static str| registry.request(Method::POST, &path).body(body).send().await.unwrap();
        assert_refused(post("something else").await, 400, "DIGEST_INVALID").await;
        assert_eq!(registry.head(&format!("/v2/a/blobs/{digest}")).await.status(), 404);
        let response = post("whole").await;
        assert_eq!(response.status(), 201);
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
        assert_eq!(registry.get(header(&response, "location")).await.text().await.unwrap(), "whole");
    }
}

#[tokio::test]
async fn an_upload_says_which_algorithm_its_digest_will_have() {
    let registry = Embedded::in_memory().await;
    for (algorithm, digest) in [("sha256", Digest::sha256(b"x")), ("sha512", Algorithm::Sha512.digest(b"x"))] {
        let response = registry.post(&format!("/v2/a/blobs/uploads/?digest-algorithm={algorithm}")).await;
        assert_eq!(response.status(), 202);
        assert!(!response.headers().contains_key("oci-chunk-min-length"), "a chunk may have any size");
        let session = header(&response, "location");
        assert_eq!(registry.put(&format!("{session}?digest={digest}"), "", "x").await.status(), 201);
    }
    let unknown = registry.post("/v2/a/blobs/uploads/?digest-algorithm=md5").await;
    assert_refused(unknown, 400, "DIGEST_INVALID").await;
}

#[tokio::test]
async fn the_last_chunk_has_its_place_too() {
    let registry = Embedded::in_memory().await;
    let session = registry.begin_upload("a").await;
    let digest = Digest::sha256(b"abcd");
    let path = format!("{session}?digest={digest}");
    let put = async |range: &'static str, body: &'static str| {
        registry.request(Method::PUT, &path).header("content-range", range).body(body).send().await.unwrap()
    };
    let first = registry.request(Method::PATCH, &session).header("content-range", "0-1").body("ab");
    assert_eq!(first.send().await.unwrap().status(), 202);
    for range in ["0-1", "4-5"] {
        let response = put(range, "cd").await;
        assert_eq!((header(&response, "location"), header(&response, "range")), (&*session, "0-1"));
        assert_refused(response, 416, "BLOB_UPLOAD_INVALID").await;
    }
    assert_eq!(put("2-3", "cd").await.status(), 201, "the session is still there");
    let without_digest = registry.put(&registry.begin_upload("a").await, "", "").await;
    assert_refused(without_digest, 400, "DIGEST_INVALID").await;
}

#[tokio::test]
async fn the_name_of_a_session_is_a_uuid_that_nobody_guesses() {
    let registry = Embedded::in_memory().await;
    let (one, other) = (registry.begin_upload("a").await, registry.begin_upload("a").await);
    assert_ne!(one, other);
    let uuid = one.rsplit('/').next().unwrap();
    assert_eq!(uuid.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12], "{uuid}");
    assert!(uuid.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()), "{uuid}");
    assert!(uuid[14..].starts_with('4') && uuid[19..].starts_with(['8', '9', 'a', 'b']), "version 4: {uuid}");
}

#[tokio::test]
async fn a_blob_is_mounted_from_wherever_it_is_when_nobody_says_where() {
    let registry = Embedded::in_memory().await;
    registry.push_blob("elsewhere", b"another").await;
    let digest = registry.push_blob("somewhere", b"layer").await;
    let response = registry.post(&format!("/v2/to/blobs/uploads/?mount={digest}")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(registry.get(header(&response, "location")).await.text().await.unwrap(), "layer");
}

#[tokio::test]
async fn repositories_are_not_searched_for_a_blob_that_is_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let registry = Embedded::in_directory(directory.path()).await;
    let digest = registry.push_blob("from", b"content").await;
    let missing = Digest::sha256(b"missing");
    // A search would fail now.
    let repositories = directory.path().join("repositories");
    std::fs::rename(&repositories, directory.path().join("elsewhere")).unwrap();
    std::fs::write(&repositories, "no directory").unwrap();
    let mount = async |digest: Digest| registry.post(&format!("/v2/to/blobs/uploads/?mount={digest}")).await.status();
    assert_eq!((mount(missing).await, mount(digest).await), (StatusCode::ACCEPTED, StatusCode::INTERNAL_SERVER_ERROR));
}
