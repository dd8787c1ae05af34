//! Manifests: kept as they came, and refused when they are not what they say.

use crate::embedded::{Embedded, assert_refused, descriptor, header, image_manifest};
use bndlr::digest::{Algorithm, Digest};
use bndlr::manifest::media_type::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use bndlr::server::Registry;
use bndlr::server::storage::Memory;
use reqwest::Method;

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
async fn a_subject_may_be_missing() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let subject = descriptor(OCI_MANIFEST, b"not pushed yet");
    let manifest = image_manifest(b"layer").replacen('{', &format!(r#"{{"subject":{subject},"#), 1);
    let response = registry.put("/v2/a/manifests/referrer", OCI_MANIFEST, manifest).await;
    assert_eq!(response.status(), 201);
    assert_eq!(header(&response, "oci-subject"), Digest::sha256(b"not pushed yet").to_string());
    let response = registry.put("/v2/a/manifests/v2", OCI_MANIFEST, image_manifest(b"layer")).await;
    assert!(!response.headers().contains_key("oci-subject"), "it has none");
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
async fn a_manifest_pushed_by_its_digest_gets_the_tags_in_the_query() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let manifest = image_manifest(b"layer");
    for digest in [Digest::sha256(manifest.as_bytes()), Algorithm::Sha512.digest(manifest.as_bytes())] {
        let wanted: Vec<String> = (0..20).map(|n| format!("{}-{n}", digest.algorithm())).collect();
        let query = wanted.iter().fold("tag=x&tag=x".to_owned(), |query, tag| format!("{query}&tag={tag}"));
        let path = format!("/v2/a/manifests/{digest}?{query}");
        let response = registry.put(&path, OCI_MANIFEST, manifest.clone()).await;
        assert_eq!(response.status(), 201);
        let tags: Vec<_> = response.headers().get_all("oci-tag").iter().map(|tag| tag.to_str().unwrap()).collect();
        assert_eq!(tags[0], "x");
        assert_eq!(tags[1..], wanted, "each once");
        for tag in tags {
            let response = registry.head(&format!("/v2/a/manifests/{tag}")).await;
            assert_eq!(header(&response, "docker-content-digest"), digest.to_string(), "{tag}");
        }
    }
    let by_tag = registry.put("/v2/a/manifests/v2?tag=v3", OCI_MANIFEST, manifest.clone()).await;
    assert!(!by_tag.headers().contains_key("oci-tag"), "only a push by digest has them");
    assert_eq!(registry.head("/v2/a/manifests/v3").await.status(), 404);
}

#[tokio::test]
async fn tags_that_cannot_be_set_stop_the_push() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let manifest = format!("{} ", image_manifest(b"layer"));
    let path = format!("/v2/a/manifests/{}", Digest::sha256(manifest.as_bytes()));
    let put = async |query: &str| registry.put(&format!("{path}?{query}"), OCI_MANIFEST, manifest.clone()).await;
    assert_refused(put("tag=good&tag=.bad").await, 400, "MANIFEST_INVALID").await;
    let many: Vec<String> = (0..65).map(|n| format!("tag=t{n}")).collect();
    assert_refused(put(&many.join("&")).await, 414, "MANIFEST_INVALID").await;
    assert_eq!(registry.head(&path).await.status(), 404);
    let response = registry.get("/v2/a/tags/list").await;
    assert_eq!(response.text().await.unwrap(), r#"{"name":"a","tags":["v1"]}"#);
}

#[tokio::test]
async fn who_has_a_manifest_is_not_sent_it_again() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_image("a", "v1", b"layer").await;
    let by_digest = digest.to_string();
    for (reference, lasting) in [("v1", "no-cache"), (&*by_digest, "max-age=31536000, immutable")] {
        let path = format!("/v2/a/manifests/{reference}");
        assert_eq!(header(&registry.get(&path).await, "cache-control"), lasting);
        for method in [Method::GET, Method::HEAD] {
            let ask = async |etag: String| {
                registry.request(method.clone(), &path).header("if-none-match", etag).send().await.unwrap()
            };
            let response = ask(format!("\"{digest}\"")).await;
            assert_eq!((response.status().as_u16(), header(&response, "cache-control")), (304, lasting));
            assert_eq!(header(&response, "docker-content-digest"), by_digest);
            assert_eq!(ask("\"of another\"".to_owned()).await.status(), 200);
        }
    }
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_413_and_one_of_4_mib_is_taken() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let manifest = image_manifest(b"layer");
    let padded = |size: usize| manifest.clone() + &" ".repeat(size - manifest.len());
    let put = async |size: usize| registry.put("/v2/a/manifests/large", OCI_MANIFEST, padded(size)).await;
    assert_refused(put(4 * 1024 * 1024 + 1).await, 413, "MANIFEST_INVALID").await;
    assert_eq!(put(4 * 1024 * 1024).await.status(), 201);
    assert_eq!(header(&registry.head("/v2/a/manifests/large").await, "content-length"), "4194304");
}

#[tokio::test]
async fn parameters_of_a_media_type_are_ignored() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let content_type = format!("{OCI_MANIFEST}; charset=utf-8");
    let response = registry.put("/v2/a/manifests/v2", &content_type, image_manifest(b"layer")).await;
    assert_eq!(response.status(), 201);
    assert_eq!(header(&registry.get("/v2/a/manifests/v2").await, "content-type"), OCI_MANIFEST);
}

#[tokio::test]
async fn a_mirror_may_take_manifests_whose_blobs_are_missing() {
    let registry = Embedded::of(Registry::new(Memory::new()).allow_missing_blobs(true)).await;
    let manifest = image_manifest(b"never pushed");
    assert_eq!(registry.put("/v2/a/manifests/v1", OCI_MANIFEST, manifest.clone()).await.status(), 201);
    assert_eq!(registry.get("/v2/a/manifests/v1").await.text().await.unwrap(), manifest);
    assert_refused(registry.put("/v2/a/manifests/v2", OCI_MANIFEST, "{}").await, 400, "MANIFEST_INVALID").await;
}

#[tokio::test]
async fn a_deleted_tag_leaves_its_manifest_and_a_deleted_manifest_no_tag() {
    let directory = tempfile::tempdir().unwrap();
    for registry in [Embedded::in_memory().await, Embedded::in_directory(directory.path()).await] {
        let digest = registry.push_image("a", "v1", b"layer").await;
        registry.push_image("a", "v2", b"layer").await;
        registry.push_image("a", "other", b"other layer").await;
        let delete = async |reference: &str| {
            registry.request(Method::DELETE, &format!("/v2/a/manifests/{reference}")).send().await.unwrap()
        };
        let status = async |reference: &str| registry.head(&format!("/v2/a/manifests/{reference}")).await.status();
        let by_digest = digest.to_string();

        assert_eq!(delete("v1").await.status(), 202);
        assert_refused(delete("v1").await, 404, "MANIFEST_UNKNOWN").await;
        assert_eq!((status("v1").await.as_u16(), status("v2").await.as_u16()), (404, 200));
        assert_eq!(status(&by_digest).await, 200);

        assert_eq!(delete(&by_digest).await.status(), 202);
        assert_refused(delete(&by_digest).await, 404, "MANIFEST_UNKNOWN").await;
        assert_eq!((status("v2").await.as_u16(), status(&by_digest).await.as_u16()), (404, 404));
        let tags = registry.get("/v2/a/tags/list").await.text().await.unwrap();
        assert_eq!(tags, r#"{"name":"a","tags":["other"]}"#);
    }
}

#[tokio::test]
async fn a_push_can_ask_that_a_tag_is_new_or_still_the_same() {
    let registry = Embedded::in_memory().await;
    let first = registry.push_image("a", "v1", b"layer").await;
    let manifest = format!("{} ", image_manifest(b"layer"));
    let second = Digest::sha256(manifest.as_bytes());
    let put = async |tag: &str, condition: &str, value: String| {
        let put = registry.request(Method::PUT, &format!("/v2/a/manifests/{tag}")).header(condition, value);
        put.body(manifest.clone()).send().await.unwrap()
    };
    let points_to = async |tag: &str| {
        header(&registry.head(&format!("/v2/a/manifests/{tag}")).await, "docker-content-digest").to_owned()
    };
    assert_refused(put("v1", "if-none-match", "*".to_owned()).await, 412, "PRECONDITION").await;
    assert_refused(put("v1", "if-match", format!("\"{second}\"")).await, 412, "PRECONDITION").await;
    assert_refused(put("new", "if-match", format!("\"{first}\"")).await, 412, "PRECONDITION").await;
    let get = registry.request(Method::GET, "/v2/a/manifests/v1").header("if-match", format!("\"{second}\""));
    assert_refused(get.send().await.unwrap(), 412, "PRECONDITION").await;
    assert_eq!(points_to("v1").await, first.to_string());

    assert_eq!(put("new", "if-none-match", "*".to_owned()).await.status(), 201);
    assert_eq!(put("v1", "if-match", format!("\"{first}\"")).await.status(), 201);
    assert_eq!((points_to("v1").await, points_to("new").await), (second.to_string(), second.to_string()));
    for (condition, value) in [("if-match", "*"), ("if-match", "\"x\""), ("if-none-match", "\"x\"")] {
        assert_refused(put("v1", condition, value.to_owned()).await, 400, "UNSUPPORTED").await;
    }
}
