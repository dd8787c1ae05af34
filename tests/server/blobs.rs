//! Blobs: whole, in ranges, under conditions, deleted.

use crate::embedded::{Embedded, assert_refused, header};
use bndlr::digest::Digest;
use reqwest::Method;

#[tokio::test]
async fn blobs_come_whole_or_in_one_range() {
    let directory = tempfile::tempdir().unwrap();
    for registry in [Embedded::in_memory().await, Embedded::in_directory(directory.path()).await] {
        let content: Vec<u8> = (0..=255).cycle().take(1_000_000).collect();
        let digest = registry.push_blob("a/b", &content).await;
        let path = format!("/v2/a/b/blobs/{digest}");

        let response = registry.get(&path).await;
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
        assert_eq!(header(&response, "etag"), format!("\"{digest}\""));
        assert_eq!(header(&response, "accept-ranges"), "bytes");
        assert_eq!(header(&response, "content-length"), "1000000");
        assert!(response.bytes().await.unwrap() == content);

        for (range, first, last) in [
            ("bytes=0-0", 0, 0),
            ("bytes=10-299999", 10, 299_999),
            ("bytes=999999-", 999_999, 999_999),
            ("bytes=-5", 999_995, 999_999),
            ("bytes=5-99999999999999999999999999", 5, 999_999),
        ] {
            let response = registry.request(Method::GET, &path).header("range", range).send().await.unwrap();
            assert_eq!(response.status(), 206, "{range}");
            assert_eq!(header(&response, "content-range"), format!("bytes {first}-{last}/1000000"));
            assert_eq!(header(&response, "content-length"), (last - first + 1).to_string());
            assert!(response.bytes().await.unwrap() == content[first..=last], "{range}");
        }
    }
}

#[tokio::test]
async fn ranges_that_cannot_be_had_are_416_and_those_that_mean_nothing_are_ignored() {
    let registry = Embedded::in_memory().await;
    let path = format!("/v2/a/blobs/{}", registry.push_blob("a", b"0123456789").await);
    let get = async |range: &str| registry.request(Method::GET, &path).header("range", range).send().await.unwrap();
    for range in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=5-4", "bytes=10-,-0"] {
        let response = get(range).await;
        assert_eq!(header(&response, "content-range"), "bytes */10", "{range}");
        assert_refused(response, 416, "SIZE_INVALID").await;
    }
    for range in ["bytes=a-b", "lines=0-1", "bytes=0-5,5-6", "nonsense"] {
        assert_eq!(get(range).await.status(), 200, "{range}");
    }
    let if_range = |etag: &str| {
        registry.request(Method::GET, &path).header("range", "bytes=0-0").header("if-range", etag.to_owned()).send()
    };
    let etag = format!("\"{}\"", Digest::sha256(b"0123456789"));
    assert_eq!(if_range(&etag).await.unwrap().status(), 206);
    assert_eq!(if_range("\"of another blob\"").await.unwrap().status(), 200, "never a part of something else");
}

#[tokio::test]
async fn a_blob_of_one_repository_is_not_in_another() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_blob("mine", b"secret").await;
    assert_refused(registry.get(&format!("/v2/yours/blobs/{digest}")).await, 404, "BLOB_UNKNOWN").await;
    assert_refused(registry.get(&format!("/v2/mine/manifests/{digest}")).await, 404, "MANIFEST_UNKNOWN").await;
}

#[tokio::test]
async fn several_ranges_come_as_the_parts_of_one_body() {
    let directory = tempfile::tempdir().unwrap();
    for registry in [Embedded::in_memory().await, Embedded::in_directory(directory.path()).await] {
        let path = format!("/v2/a/blobs/{}", registry.push_blob("a", b"0123456789").await);
        let get = registry.request(Method::GET, &path).header("range", "bytes=7-8, 0-1, 20-30, -1");
        let response = get.send().await.unwrap();
        assert_eq!(response.status(), 206);
        let content_type = header(&response, "content-type").to_owned();
        let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
        let length: usize = header(&response, "content-length").parse().unwrap();
        let body = response.text().await.unwrap();
        assert_eq!(body.len(), length);
        let part = |range: &str, bytes: &str| {
            let head = format!("Content-Type: application/octet-stream\r\nContent-Range: bytes {range}/10");
            format!("\r\n--{boundary}\r\n{head}\r\n\r\n{bytes}")
        };
        let expected = part("7-8", "78") + &part("0-1", "01") + &part("9-9", "9") + &format!("\r\n--{boundary}--\r\n");
        assert_eq!(body, expected);
    }
}

#[tokio::test]
async fn who_has_a_blob_is_not_sent_it_again() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_blob("a", b"content").await;
    let path = format!("/v2/a/blobs/{digest}");
    for method in [Method::GET, Method::HEAD] {
        let ask = async |name: &str, value: &str| {
            registry.request(method.clone(), &path).header(name, value).send().await.unwrap()
        };
        for value in [format!("\"{digest}\""), format!("\"x\", W/\"{digest}\""), "*".to_owned()] {
            let response = ask("if-none-match", &value).await;
            assert_eq!(response.status(), 304, "{method} {value}");
            assert_eq!(header(&response, "etag"), format!("\"{digest}\""));
            assert_eq!(header(&response, "cache-control"), "max-age=31536000, immutable");
            assert!(!response.headers().contains_key("content-length"), "{response:?}");
        }
        assert_eq!(ask("if-none-match", "\"of another\"").await.status(), 200);
        assert_eq!(ask("if-match", &format!("\"{digest}\"")).await.status(), 200);
        assert_eq!(ask("if-match", "\"of another\"").await.status(), 412);
    }
    let missing = format!("/v2/a/blobs/{}", Digest::sha256(b"missing"));
    let response = registry.request(Method::GET, &missing).header("if-none-match", "*").send().await.unwrap();
    assert_refused(response, 404, "BLOB_UNKNOWN").await;
}

#[tokio::test]
async fn a_digest_that_is_none_is_a_bad_request() {
    let registry = Embedded::in_memory().await;
    for digest in ["sha256:12", "md5:d41d8cd98f00b204e9800998ecf8427e", "latest"] {
        assert_refused(registry.get(&format!("/v2/a/blobs/{digest}")).await, 400, "DIGEST_INVALID").await;
        let post = registry.post(&format!("/v2/a/blobs/uploads/?digest={digest}")).await;
        assert_refused(post, 400, "DIGEST_INVALID").await;
    }
}

#[tokio::test]
async fn a_deleted_blob_is_gone_from_its_repository_only() {
    let directory = tempfile::tempdir().unwrap();
    for registry in [Embedded::in_memory().await, Embedded::in_directory(directory.path()).await] {
        let digest = registry.push_blob("a", b"content").await;
        registry.push_blob("b", b"content").await;
        let path = format!("/v2/a/blobs/{digest}");
        let delete = async || registry.request(Method::DELETE, &path).send().await.unwrap();
        assert_eq!(delete().await.status(), 202);
        assert_refused(registry.get(&path).await, 404, "BLOB_UNKNOWN").await;
        assert_refused(delete().await, 404, "BLOB_UNKNOWN").await;
        assert_eq!(registry.head(&format!("/v2/b/blobs/{digest}")).await.status(), 200);
        registry.push_blob("a", b"content").await;
        assert_eq!(registry.head(&path).await.status(), 200, "it can be pushed again");
    }
}
