//! What the registry answers, request by request, as distribution-spec v1.1.1 has it.

mod embedded;

use bndlr::digest::{Algorithm, Digest};
use bndlr::manifest::media_type::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use bndlr::server::storage::Memory;
use bndlr::server::{Registry, Server};
use embedded::{Embedded, assert_refused, client, descriptor, header, image_manifest};
use futures::StreamExt;
use reqwest::{Method, StatusCode};

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
    for range in ["bytes=10-", "bytes=10-11", "bytes=-0"] {
        let response = get(range).await;
        assert_eq!(header(&response, "content-range"), "bytes */10", "{range}");
        assert_refused(response, 416, "SIZE_INVALID").await;
    }
    for range in ["bytes=5-4", "bytes=a-b", "lines=0-1", "bytes=0-0,2-2", "nonsense"] {
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
        [format!("mount={missing}&from=from"), format!("mount={digest}&from=else"), format!("mount={digest}")]
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
async fn manifests_are_kept_byte_for_byte_under_tag_and_digest() {
    let registry = Embedded::in_memory().await;
    registry.push_blob("a", b"{}").await;
    registry.push_blob("a", b"layer").await;
    let manifest = format!(" {}\n", image_manifest(b"layer"));
    let (digest, sha512) = (Digest::sha256(manifest.as_bytes()), Algorithm::Sha512.digest(manifest.as_bytes()));
    for (reference, digest) in [("v1".to_owned(), digest), (digest.to_string(), digest), (sha512.to_string(), sha512)] {
        let path = format!("/v2/a/manifests/{reference}");
        let response = registry.put(&path, OCI_MANIFEST, manifest.clone()).await;
        assert_eq!(response.status(), 201, "{reference}");
        assert_eq!(header(&response, "location"), format!("/v2/a/manifests/{digest}"));
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string());

        let response = registry.get(&path).await;
        assert_eq!(header(&response, "content-type"), OCI_MANIFEST);
        assert_eq!(header(&response, "docker-content-digest"), digest.to_string());
        assert_eq!(response.text().await.unwrap(), manifest);
    }
    // A tag moves.
    let other = registry.push_image("a", "v1", b"another layer").await;
    let response = registry.head("/v2/a/manifests/v1").await;
    assert_eq!(header(&response, "docker-content-digest"), other.to_string());
    assert_eq!(registry.head(&format!("/v2/a/manifests/{digest}")).await.status(), 200);
}

#[tokio::test]
async fn docker_manifests_and_image_indexes_keep_their_media_type() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "oci", b"layer").await;
    let docker = image_manifest(b"layer").replace(OCI_MANIFEST, DOCKER_MANIFEST);
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{},{}]}}"#,
        descriptor(OCI_MANIFEST, image_manifest(b"layer").as_bytes()),
        descriptor("application/vnd.example.not-a-manifest", b"layer"),
    );
    for (tag, media_type, content) in [("docker", DOCKER_MANIFEST, docker), ("index", OCI_INDEX, index)] {
        let path = format!("/v2/a/manifests/{tag}");
        assert_eq!(registry.put(&path, media_type, content.clone()).await.status(), 201, "{tag}");
        let response = registry.get(&path).await;
        assert_eq!(header(&response, "content-type"), media_type);
        assert_eq!(response.text().await.unwrap(), content);
    }
}

#[tokio::test]
async fn a_manifest_is_refused_until_everything_in_it_is_in_the_repository() {
    let registry = Embedded::in_memory().await;
    let put = async |content: String| registry.put("/v2/a/manifests/v1", "", content).await;
    registry.push_blob("elsewhere", b"layer").await;
    registry.push_blob("a", b"{}").await;
    assert_refused(put(image_manifest(b"layer")).await, 404, "MANIFEST_BLOB_UNKNOWN").await;
    assert_refused(registry.get("/v2/a/manifests/v1").await, 404, "MANIFEST_UNKNOWN").await;
    registry.push_blob("a", b"layer").await;
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        descriptor(OCI_MANIFEST, image_manifest(b"layer").as_bytes())
    );
    assert_refused(put(index.clone()).await, 404, "MANIFEST_BLOB_UNKNOWN").await;
    assert_eq!(put(image_manifest(b"layer")).await.status(), 201);
    assert_eq!(put(index).await.status(), 201);
    // A blob is no manifest, though it has the bytes of one.
    let nested = image_manifest(b"{}");
    registry.push_blob("a", nested.as_bytes()).await;
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, descriptor(OCI_MANIFEST, nested.as_bytes()));
    assert_refused(put(index).await, 404, "MANIFEST_BLOB_UNKNOWN").await;
}

#[tokio::test]
async fn layers_that_stay_elsewhere_need_not_be_pushed() {
    let registry = Embedded::in_memory().await;
    registry.push_blob("a", b"{}").await;
    let foreign = image_manifest(b"layer").replace(
        "application/vnd.oci.image.layer.v1.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    );
    assert_eq!(registry.put("/v2/a/manifests/v1", OCI_MANIFEST, foreign).await.status(), 201);
}

#[tokio::test]
async fn a_subject_may_be_missing_and_nothing_is_promised_about_it() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let subject = descriptor(OCI_MANIFEST, b"not pushed yet");
    let manifest = image_manifest(b"layer").replacen('{', &format!(r#"{{"subject":{subject},"#), 1);
    let response = registry.put("/v2/a/manifests/referrer", OCI_MANIFEST, manifest).await;
    assert_eq!(response.status(), 201);
    assert!(!response.headers().contains_key("oci-subject"), "there is no list of referrers yet");
}

#[tokio::test]
async fn manifests_that_are_not_what_they_say_are_refused() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let manifest = image_manifest(b"layer");
    let other = format!("/v2/a/manifests/{}", Digest::sha256(b"other"));
    assert_refused(registry.put(&other, OCI_MANIFEST, manifest.clone()).await, 400, "DIGEST_INVALID").await;
    for (content_type, content) in [
        (DOCKER_MANIFEST, manifest.as_str()),
        ("text/html", "<html>"),
        (OCI_MANIFEST, "<html>"),
        (OCI_MANIFEST, ""),
        (OCI_MANIFEST, "{}"),
        ("", r#"{"schemaVersion":1,"fsLayers":[]}"#),
    ] {
        let response = registry.put("/v2/a/manifests/v2", content_type, content.to_owned()).await;
        assert_refused(response, 400, "MANIFEST_INVALID").await;
    }
    assert_eq!(registry.head("/v2/a/manifests/v2").await.status(), 404);
}

#[tokio::test]
async fn tags_are_listed_in_byte_order_page_by_page() {
    let registry = Embedded::in_memory().await;
    for tag in ["b", "a", "C", "_", "1.10", "1.9"] {
        registry.push_image("team/app", tag, b"layer").await;
    }
    let list = async |query: &str| {
        let response = registry.get(&format!("/v2/team/app/tags/list{query}")).await;
        assert_eq!(response.status(), 200, "{query}");
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let body: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(body["name"], "team/app");
        let tags: Vec<String> = serde_json::from_value(body["tags"].clone()).unwrap();
        (tags, link)
    };
    assert_eq!(list("").await, (vec!["1.10", "1.9", "C", "_", "a", "b"].into_iter().map(Into::into).collect(), None));
    assert_eq!(list("?n=0").await, (vec![], None));
    assert_eq!(list("?n=6").await.1, None, "there is no more");
    assert_eq!(list("?last=C").await.0, ["_", "a", "b"]);
    assert_eq!(list("?n=1&last=B").await.0, ["C"], "from where it would be");

    let (mut tags, mut next) = list("?n=4").await;
    while let Some(link) = next {
        let path = link.strip_prefix("</v2/team/app/tags/list").unwrap().strip_suffix(">; rel=\"next\"").unwrap();
        let (more, link) = list(path).await;
        tags.extend(more);
        next = link;
    }
    assert_eq!(tags, ["1.10", "1.9", "C", "_", "a", "b"]);

    assert_refused(registry.get("/v2/team/app/tags/list?n=-1").await, 400, "PAGINATION_NUMBER_INVALID").await;
    assert_refused(registry.get("/v2/team/tags/list").await, 404, "NAME_UNKNOWN").await;
    registry.push_blob("blobs/only", b"x").await;
    let response = registry.get("/v2/blobs/only/tags/list").await;
    assert_eq!(response.text().await.unwrap(), r#"{"name":"blobs/only","tags":[]}"#);
}

#[tokio::test]
async fn what_is_not_supported_says_so() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_image("a", "v1", b"layer").await;
    for (method, path, allowed) in [
        (Method::DELETE, format!("/v2/a/blobs/{digest}"), "GET, HEAD"),
        (Method::POST, "/v2/".to_owned(), "GET, HEAD"),
        (Method::GET, "/v2/a/blobs/uploads/".to_owned(), "POST"),
        (Method::PATCH, "/v2/a/manifests/v1".to_owned(), "GET, HEAD, PUT"),
        (Method::from_bytes(b"BREW").unwrap(), "/v2/a/tags/list".to_owned(), "GET, HEAD"),
    ] {
        let response = registry.request(method, &path).send().await.unwrap();
        assert_eq!(header(&response, "allow"), allowed, "{path}");
        assert_refused(response, 405, "UNSUPPORTED").await;
    }
    for path in [&format!("/v2/a/referrers/{digest}"), "/v2/_catalog", "/", "/v1/", "/v2/a", "/v2/a/b/c"] {
        assert_refused(registry.get(path).await, 404, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn http2_without_tls_is_served() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_blob("a", b"layer").await;
    let http2 = client(reqwest::Client::builder().http2_prior_knowledge());
    let url = format!("http://{}/v2/a/blobs/{digest}", registry.address());
    let head = http2.head(&url).send().await.unwrap();
    assert_eq!((head.version(), header(&head, "content-length")), (reqwest::Version::HTTP_2, "5"));
    assert_eq!(http2.get(&url).send().await.unwrap().bytes().await.unwrap(), "layer");
    let url = format!("http://{}/v2/a/blobs/uploads/?digest={}", registry.address(), Digest::sha256(b"2"));
    assert_eq!(http2.post(url).body("2").send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn stopping_lets_running_requests_end() {
    let registry = Embedded::in_memory().await;
    let session = registry.begin_upload("a").await;
    let (sender, receiver) = futures::channel::mpsc::unbounded::<Result<&str, std::io::Error>>();
    let body = reqwest::Body::wrap_stream(receiver);
    let request = tokio::spawn(registry.request(Method::PATCH, &session).body(body).send());
    sender.unbounded_send(Ok("begin ")).unwrap();
    while header(&registry.get(&session).await, "range") != "0-5" {}

    let address = registry.address();
    let stopped = tokio::spawn(registry.stop());
    while tokio::net::TcpStream::connect(&address).await.is_ok() {}
    assert!(!stopped.is_finished(), "it waits for the request");
    sender.unbounded_send(Ok("end")).unwrap();
    drop(sender);
    let response = request.await.unwrap().unwrap();
    assert_eq!((response.status(), header(&response, "range")), (StatusCode::ACCEPTED, "0-8"));
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Registry::new(Memory::new())).await.unwrap();
    let running = server.spawn();
    let address = running.address();
    tokio::net::TcpStream::connect(address).await.unwrap();
    drop(running);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
