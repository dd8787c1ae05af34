//! What is on the pages, and how they are sent.

use std::path::Path;

use bndlr::digest::Digest;
use bndlr::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};
use bndlr::pack::PackOptions;
use bndlr::server::Registry;
use reqwest::Method;
use serde_json::json;

use crate::embedded::{Embedded, assert_refused, header};
use crate::{MANIFESTS, browse, empty, pack, page, push, put, put_artifact, text_of};

#[tokio::test]
async fn the_way_leads_from_the_repositories_to_a_manifest() {
    let registry = Embedded::in_memory().await;
    assert!(text_of(&page(&registry, "/").await).contains("bndlr push ./manifests"), "says how to begin");
    let digest = push(&registry, &pack(Path::new(MANIFESTS), &PackOptions::default()), "team/app:v1").await;
    registry.push_image("other", "latest", b"layer").await;

    let list = page(&registry, "/").await;
    assert!(list.contains(r#"<a href="/r/other">other</a>"#), "{list}");
    assert!(list.contains(r#"<a href="/r/team/app">team/app</a>"#), "{list}");
    let tags = page(&registry, "/r/team/app").await;
    assert!(tags.contains(r#"<a href="/r/team/app:v1">v1</a>"#), "{tags}");
    assert!(tags.contains(&format!(r#"href="/r/team/app@{digest}""#)), "{tags}");
    assert!(text_of(&tags).contains("bundle"), "{tags}");

    let manifest = page(&registry, "/r/team/app:v1").await;
    let (host, text) = (registry.address(), text_of(&manifest));
    for expected in [
        &*format!("bndlr pull {host}/team/app:v1"),
        &format!("docker pull {host}/team/app:v1"),
        &format!("skopeo copy --src-tls-verify=false docker://{host}/team/app:v1 oci:app"),
        &format!("bndlr pull {host}/team/app@{digest}"),
        &format!("Digest {digest}"),
        "linux/amd64",
        OCI_MANIFEST,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "base/kustomization.yaml",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let by_digest = page(&registry, &format!("/r/team/app@{digest}")).await;
    assert!(!by_digest.contains("app:v1"), "by digest, it is no tag's");
}

#[tokio::test]
async fn pages_are_sent_with_headers_that_let_a_browser_do_nothing_else() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    for (path, status) in [("/", 200), ("/r/a", 200), ("/r/a:v1", 200), ("/r/b", 404), ("/nothing", 404)] {
        let response = browse(&registry, path).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&response, "x-content-type-options"), "nosniff");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer");
        assert_eq!(header(&response, "cache-control"), "no-store");
        assert_eq!(header(&response, "vary"), "accept");
        let policy = header(&response, "content-security-policy").to_owned();
        let directives: Vec<_> = policy.split("; ").collect();
        for expected in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"] {
            assert!(directives.contains(&expected), "{expected}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{policy}");
        let length: usize = header(&response, "content-length").parse().unwrap();
        let body = response.text().await.unwrap();
        assert_eq!(body.len(), length);
        for forbidden in ["<script", "<img", "<link", "<form", " style=", " on", "http-equiv"] {
            assert!(!body.split("</style>").nth(1).unwrap().contains(forbidden), "{path}: {forbidden}");
        }

        let request = registry.request(Method::HEAD, path).header("accept", "text/html");
        let head = request.send().await.unwrap();
        assert_eq!((head.status().as_u16(), header(&head, "content-length")), (status, &*length.to_string()));
        assert_eq!(header(&head, "content-security-policy"), policy);
        assert!(head.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn who_asks_for_no_html_meets_no_page() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    for path in ["/", "/r/a", "/nothing"] {
        for accept in ["", "*/*", "application/json", "text/html;q=0"] {
            let response = registry.request(Method::GET, path).header("accept", accept).send().await.unwrap();
            assert_eq!(header(&response, "vary"), "accept", "{path}");
            assert_refused(response, 404, "UNSUPPORTED").await;
        }
        let post = registry.request(Method::POST, path).header("accept", "text/html").send().await.unwrap();
        assert_refused(post, 404, "UNSUPPORTED").await;
    }
    let api = browse(&registry, "/v2/a/tags/list").await;
    assert_eq!(header(&api, "content-type"), "application/json");
    assert_eq!(browse(&registry, "/healthz").await.text().await.unwrap(), "ok\n");
    let metrics = browse(&registry, "/metrics").await.text().await.unwrap();
    assert!(metrics.contains(r#"endpoint="page",status="404""#), "{metrics}");
}

#[tokio::test]
async fn a_registry_without_pages_has_none() {
    let registry = Embedded::of(Registry::in_memory().page(false)).await;
    registry.push_image("a", "v1", b"layer").await;
    for path in ["/", "/r/a", "/r/a:v1"] {
        let response = browse(&registry, path).await;
        assert!(!response.headers().contains_key("vary"), "{path}");
        assert_refused(response, 404, "UNSUPPORTED").await;
    }
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let registry = Embedded::in_memory().await;
    for number in 0..205 {
        registry.push_blob(&format!("r{number:03}"), b"content").await;
    }
    let (first, second) = (page(&registry, "/").await, page(&registry, "/?last=r199").await);
    assert!(first.contains(r#"<a href="/?last=r199" rel="next">"#), "{first}");
    assert!(first.contains("/r/r199\"") && !first.contains("/r/r200\""));
    assert!(second.contains("/r/r204\"") && !second.contains("/r/r199\"") && !second.contains("rel=\"next\""));
    assert!(second.contains(r#"<a href="/">First page</a>"#), "{second}");
    assert!(text_of(&page(&registry, "/?last=z").await).contains("There are no more"));

    registry.push_image("tags", "t000", b"layer").await;
    let manifest = registry.get("/v2/tags/manifests/t000").await.bytes().await.unwrap();
    for number in 1..101 {
        registry.put(&format!("/v2/tags/manifests/t{number:03}"), OCI_MANIFEST, manifest.clone()).await;
    }
    let first = page(&registry, "/r/tags").await;
    assert!(first.contains(r#"<a href="/r/tags?last=t099" rel="next">"#), "{first}");
    let second = page(&registry, "/r/tags?last=t099").await;
    assert!(second.contains("/r/tags:t100\"") && !second.contains("/r/tags:t099\""), "{second}");
}

#[tokio::test]
async fn an_image_index_leads_to_its_manifests_and_a_subject_to_its_referrers() {
    let registry = Embedded::in_memory().await;
    let image = registry.push_image("a", "v1", b"layer").await;
    let size = registry.get("/v2/a/manifests/v1").await.content_length().unwrap();
    let descriptor = json!({
        "mediaType": OCI_MANIFEST, "digest": image, "size": size,
        "platform": { "os": "linux", "architecture": "arm64", "variant": "v8" },
    });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [descriptor] });
    put(&registry, "a", "all", OCI_INDEX, &index).await;
    let signature = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/x.signature",
        "config": empty(), "layers": [], "subject": { "mediaType": OCI_MANIFEST, "digest": image, "size": size },
    });
    let signature = put(&registry, "a", "signature", OCI_MANIFEST, &signature).await;

    let index = page(&registry, "/r/a:all").await;
    assert!(index.contains(&format!(r#"href="/r/a@{image}""#)), "{index}");
    assert!(text_of(&index).contains("linux/arm64/v8"), "{index}");
    assert!(text_of(&page(&registry, "/r/a").await).contains("1 manifest"));
    let subject = page(&registry, "/r/a:v1").await;
    assert!(subject.contains(&format!(r#"href="/r/a@{signature}""#)), "{subject}");
    assert!(text_of(&subject).contains("application/x.signature"), "{subject}");
    let referrer = page(&registry, "/r/a:signature").await;
    assert!(referrer.contains(&format!(r#"href="/r/a@{image}""#)), "{referrer}");
    assert!(text_of(&referrer).contains("oras pull --plain-http"), "Docker cannot pull an artifact");
}

#[tokio::test]
async fn more_referrers_than_a_page_has_are_said_to_be_there() {
    let registry = Embedded::in_memory().await;
    let subject = Digest::sha256(b"not there");
    registry.push_blob("a", b"{}").await;
    for number in 0..51 {
        let referrer = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty(), "layers": [],
            "subject": { "mediaType": OCI_MANIFEST, "digest": subject, "size": 9 },
            "annotations": { "number": number.to_string() },
        });
        put(&registry, "a", &format!("t{number}"), OCI_MANIFEST, &referrer).await;
    }
    // What they refer to has no page, but a referrer may have referrers of its own.
    assert_eq!(browse(&registry, &format!("/r/a@{subject}")).await.status(), 404);
    let artifact = put_artifact(&registry, "b:v1", &[]).await;
    for number in 0..51 {
        let referrer = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty(), "layers": [],
            "subject": { "mediaType": OCI_MANIFEST, "digest": artifact, "size": 9 },
            "annotations": { "number": number.to_string() },
        });
        put(&registry, "b", &format!("t{number}"), OCI_MANIFEST, &referrer).await;
    }
    let page = page(&registry, "/r/b:v1").await;
    assert_eq!(page.matches("/r/b@sha256").count(), 50, "{page}");
    assert!(text_of(&page).contains("There are more."), "{page}");
}

#[tokio::test]
async fn commands_name_the_host_that_the_browser_knows() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let request = registry.request(Method::GET, "/r/a:v1").header("accept", "text/html");
    let text = request.header("host", "localhost:7000").send().await.unwrap().text().await.unwrap();
    assert!(text.contains("bndlr pull localhost:7000/a:v1"), "{text}");
    let request = registry.request(Method::GET, "/").header("accept", "text/html").header("host", "evil.test");
    assert_refused(request.send().await.unwrap(), 403, "DENIED").await;
}
