//! What holds for every answer.

use crate::embedded::{Embedded, assert_refused, header};
use bndlr::digest::Digest;
use bndlr::server::Registry;
use bndlr::server::storage::Filesystem;
use reqwest::Method;

#[tokio::test]
async fn every_answer_says_which_api_it_is() {
    let registry = Embedded::in_memory().await;
    let missing = format!("/v2/a/blobs/{}", Digest::sha256(b"missing"));
    for (path, status) in [("/v2/", 200), ("/v2", 200), ("/", 404), ("/v2/a/tags/list", 404), (&*missing, 404)] {
        let response = registry.get(path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(header(&response, "docker-distribution-api-version"), "registry/2.0", "{path}");
        assert_eq!(header(&response, "content-type"), "application/json", "{path}");
    }
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let registry = Embedded::in_memory().await;
    let manifest = registry.push_image("a", "v1", b"layer").await;
    let missing = Digest::sha256(b"missing");
    for path in [
        "/v2/".to_owned(),
        format!("/v2/a/blobs/{}", Digest::sha256(b"layer")),
        format!("/v2/a/blobs/{missing}"),
        "/v2/a/manifests/v1".to_owned(),
        format!("/v2/a/manifests/{manifest}"),
        format!("/v2/a/manifests/{missing}"),
        "/v2/a/tags/list".to_owned(),
        format!("/v2/a/referrers/{manifest}"),
        "/v2/_catalog".to_owned(),
        "/nowhere".to_owned(),
    ] {
        let (get, head) = (registry.get(&path).await, registry.head(&path).await);
        let without_date = |response: &reqwest::Response| {
            let mut headers = response.headers().clone();
            headers.remove("date");
            headers
        };
        assert_eq!(without_date(&get), without_date(&head), "{path}");
        assert_eq!(get.status(), head.status(), "{path}");
        let length: usize = header(&head, "content-length").parse().unwrap();
        assert_eq!(get.bytes().await.unwrap().len(), length, "{path}");
        assert!(head.bytes().await.unwrap().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn what_is_not_supported_says_so() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_image("a", "v1", b"layer").await;
    for (method, path, allowed) in [
        (Method::PUT, format!("/v2/a/blobs/{digest}"), "GET, HEAD, DELETE"),
        (Method::POST, format!("/v2/a/referrers/{digest}"), "GET, HEAD"),
        (Method::POST, "/v2/".to_owned(), "GET, HEAD"),
        (Method::GET, "/v2/a/blobs/uploads/".to_owned(), "POST"),
        (Method::PATCH, "/v2/a/manifests/v1".to_owned(), "GET, HEAD, PUT, DELETE"),
        (Method::from_bytes(b"BREW").unwrap(), "/v2/a/tags/list".to_owned(), "GET, HEAD"),
    ] {
        let response = registry.request(method, &path).send().await.unwrap();
        assert_eq!(header(&response, "allow"), allowed, "{path}");
        assert_refused(response, 405, "UNSUPPORTED").await;
    }
    for path in ["/", "/v1/", "/v2/a", "/v2/a/b/c"] {
        assert_refused(registry.get(path).await, 404, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn a_registry_that_is_read_only_takes_and_removes_nothing() {
    let storage = tempfile::tempdir().unwrap();
    let writable = Embedded::in_directory(storage.path()).await;
    let digest = writable.push_image("a", "v1", b"layer").await;
    let layer = Digest::sha256(b"layer");
    writable.stop().await;

    let registry = Embedded::of(Registry::new(Filesystem::open(storage.path()).unwrap()).read_only(true)).await;
    for (method, path) in [
        (Method::POST, "/v2/a/blobs/uploads/".to_owned()),
        (Method::POST, format!("/v2/b/blobs/uploads/?mount={layer}&from=a")),
        (Method::GET, "/v2/a/blobs/uploads/01234567-89ab-4def-8123-456789abcdef".to_owned()),
        (Method::PUT, "/v2/a/manifests/v1".to_owned()),
        (Method::DELETE, "/v2/a/manifests/v1".to_owned()),
        (Method::DELETE, format!("/v2/a/manifests/{digest}")),
        (Method::DELETE, format!("/v2/a/blobs/{layer}")),
    ] {
        let response = registry.request(method, &path).send().await.unwrap();
        assert_refused(response, 405, "UNSUPPORTED").await;
    }
    for path in ["/v2/", "/v2/a/manifests/v1", "/v2/a/tags/list", &format!("/v2/a/blobs/{layer}")] {
        assert_eq!(registry.get(path).await.status(), 200, "{path}");
        assert_eq!(registry.head(path).await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn names_tags_and_digests_are_held_to_their_grammar() {
    let registry = Embedded::in_memory().await;
    // Dots that lead upwards are resolved by the client here: `protocol::Endpoint` has the tests for those.
    for name in ["A", "a//b", "-a", "a-", "a%2fb", "a___b", "a..b"] {
        assert_refused(registry.get(&format!("/v2/{name}/manifests/v1")).await, 400, "NAME_INVALID").await;
        assert_refused(registry.post(&format!("/v2/{name}/blobs/uploads/")).await, 400, "NAME_INVALID").await;
    }
    let long = "t".repeat(129);
    for tag in [".v1", "-v1", "v%201", &*long] {
        assert_refused(registry.get(&format!("/v2/a/manifests/{tag}")).await, 404, "MANIFEST_UNKNOWN").await;
        let put = registry.put(&format!("/v2/a/manifests/{tag}"), "", "{}").await;
        assert_refused(put, 400, "MANIFEST_INVALID").await;
    }
    for digest in ["sha256:12", "md5:d41d8cd98f00b204e9800998ecf8427e"] {
        assert_refused(registry.get(&format!("/v2/a/manifests/{digest}")).await, 400, "DIGEST_INVALID").await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_404_with_its_code() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let missing = Digest::sha256(b"missing");
    for (path, code) in [
        ("/v2/a/manifests/v2".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/a/manifests/{missing}"), "MANIFEST_UNKNOWN"),
        ("/v2/nowhere/manifests/v1".to_owned(), "MANIFEST_UNKNOWN"),
        (format!("/v2/a/blobs/{missing}"), "BLOB_UNKNOWN"),
        (format!("/v2/nowhere/blobs/{missing}"), "BLOB_UNKNOWN"),
        ("/v2/nowhere/tags/list".to_owned(), "NAME_UNKNOWN"),
        ("/v2/a/blobs/uploads/01234567-89ab-4def-8123-456789abcdef".to_owned(), "BLOB_UPLOAD_UNKNOWN"),
    ] {
        assert_refused(registry.get(&path).await, 404, code).await;
        assert_eq!(registry.head(&path).await.status(), 404, "{path}");
    }
}
