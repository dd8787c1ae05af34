//! What strangers push, and ask for, to get something else than text onto a page, or too much of it.

use std::fs;

use bndlr::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};
use bndlr::pack::PackOptions;
use bndlr::server::Registry;
use bndlr::server::storage::Filesystem;
use serde_json::{Map, Value, json};

use crate::embedded::Embedded;
use crate::{browse, empty, pack, page, push, put, put_artifact, text_of};

/// What a page must never have in it as it stands here.
const MARKUP: [&str; 4] =
    ["<script>alert(1)</script>", "\"><img src=x onerror=alert(1)>", "'-alert(1)-'", "</code></pre><b>"];

fn assert_harmless(html: &str) {
    for markup in MARKUP.iter().filter(|markup| markup.contains('<')) {
        assert!(!html.contains(markup), "{markup}: {html}");
    }
    for unseen in ['\u{202e}', '\u{2066}', '\u{200b}', '\u{7}', '\u{1b}'] {
        assert!(!html.contains(unseen), "{unseen:?}: {html}");
    }
}

#[tokio::test]
async fn annotations_labels_and_types_are_text() {
    let registry = Embedded::in_memory().await;
    let bidi = "photo\u{202e}gnp.exe \u{2066}\u{200b}\u{7}\u{1b}[31m";
    let mut annotations: Vec<(&str, &str)> = MARKUP.iter().map(|markup| (*markup, *markup)).collect();
    annotations.push((bidi, bidi));
    put_artifact(&registry, "a:v1", &annotations).await;
    let html = page(&registry, "/r/a:v1").await;
    assert_harmless(&html);
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{html}");
    assert!(html.contains("photo<mark>\\u{202e}</mark>gnp.exe"), "{html}");

    let config = json!({
        "architecture": MARKUP[0], "os": MARKUP[1], "created": MARKUP[0], "rootfs": { "type": "layers", "diff_ids": [] },
        "config": { "Labels": { MARKUP[0]: bidi } },
    });
    let digest = registry.push_blob("b", config.to_string().as_bytes()).await;
    let layer = registry.push_blob("b", b"layer").await;
    let config_type = "application/vnd.oci.image.config.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": MARKUP[0],
        "config": { "mediaType": config_type, "digest": digest, "size": config.to_string().len() },
        "layers": [{ "mediaType": MARKUP[1], "digest": layer, "size": 5 }],
    });
    put(&registry, "b", "v1", OCI_MANIFEST, &manifest).await;
    let html = page(&registry, "/r/b:v1").await;
    assert_harmless(&html);
    assert!(text_of(&html).contains("Platform &quot;&gt;&lt;img src=x"), "the config was read: {html}");
}

#[tokio::test]
async fn names_of_files_are_text() {
    let registry = Embedded::in_memory().await;
    let root = tempfile::tempdir().unwrap();
    for name in ["<script>alert(1)<", "\"><img src=x onerror=alert(1)>", "bidi\u{202e}\u{200b}", "new\nline\u{7}\u{1b}"]
    {
        fs::write(root.path().join(name), "x").unwrap();
    }
    std::os::unix::fs::symlink("<b>\u{2066}", root.path().join("link")).unwrap();
    push(&registry, &pack(root.path(), &PackOptions::default()), "a:v1").await;
    let html = page(&registry, "/r/a:v1").await;
    assert_harmless(&html);
    assert!(html.contains("new<mark>\\n</mark>line<mark>\\u{7}</mark>"), "{html}");
    assert!(html.contains("&lt;b&gt;<mark>\\u{2066}</mark>"), "{html}");
}

#[tokio::test]
async fn a_huge_manifest_makes_no_huge_page() {
    let registry = Embedded::in_memory().await;
    let annotations: Map<String, Value> = (0..20_000).map(|n| (format!("key{n:05}"), json!("v".repeat(20)))).collect();
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty(), "layers": vec![empty(); 15_000],
        "annotations": annotations,
    });
    registry.push_blob("a", b"{}").await;
    put(&registry, "a", "v1", OCI_MANIFEST, &manifest).await;
    let html = page(&registry, "/r/a:v1").await;
    let text = text_of(&html);
    assert!(html.len() < 200_000, "{}", html.len());
    assert!(text.contains("… and 19900 more.") && text.contains("… and 14900 more."), "{text}");
    assert!(!html.contains("The manifest as JSON"));

    let one = "k".repeat(2_000_000);
    put_artifact(&registry, "b:v1", &[(&one, &"\u{202e}".repeat(500_000))]).await;
    let html = page(&registry, "/r/b:v1").await;
    assert!(html.len() < 50_000, "{}", html.len());
    assert!(text_of(&html).contains("… and 2.0 MB more"), "says how much is left out");

    let child = json!({ "mediaType": OCI_INDEX, "digest": registry.push_blob("c", b"{}").await, "size": 2 });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
    let digest = put(&registry, "c", "inner", OCI_INDEX, &index).await;
    let mut child = child;
    child["digest"] = json!(digest);
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": vec![child; 10_000] });
    put(&registry, "c", "v1", OCI_INDEX, &index).await;
    assert!(text_of(&page(&registry, "/r/c:v1").await).contains("… and 9900 more."));
    assert!(text_of(&page(&registry, "/r/c").await).contains("10000 manifests"));
}

#[tokio::test]
async fn sizes_that_nobody_could_have_are_only_numbers() {
    let registry = Embedded::of(Registry::in_memory().allow_missing_blobs(true)).await;
    let huge = json!({ "mediaType": "x/y", "digest": empty()["digest"], "size": u64::MAX });
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": huge, "layers": [huge, huge] });
    put(&registry, "a", "v1", OCI_MANIFEST, &manifest).await;
    assert!(text_of(&page(&registry, "/r/a:v1").await).contains("18447 PB"));
    assert!(text_of(&page(&registry, "/r/a").await).contains("18447 PB"));
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_a_page_that_repeats_none_of_them() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    for path in [
        "/r/",
        "/r/A",
        "/r/a/",
        "/r/a//b",
        "/r/a%2f..%2fb",
        "/r/%2e%2e/%2e%2e/etc/passwd",
        "/r/a:v1:v2",
        "/r/a:%3Cscript%3E",
        "/r/a@v1",
        "/r/a@sha256:12",
        "/r/a@md5:d41d8cd98f00b204e9800998ecf8427e",
        "/r/a:v1/extra",
        "/favicon.ico",
        "/?last=%3Cscript%3E%00",
        "/r/a?last=%22%3E%3Cscript%3E",
    ] {
        let response = browse(&registry, path).await;
        let expected = if path.contains('?') { 200 } else { 404 };
        assert_eq!(response.status(), expected, "{path}");
        let html = response.text().await.unwrap();
        assert_harmless(&html);
        assert!(!html.contains("script") && !html.contains("passwd"), "{path}: {html}");
    }
}

#[tokio::test]
async fn a_storage_that_fails_is_told_without_its_words() {
    let root = tempfile::tempdir().unwrap();
    let registry = Embedded::of(Registry::new(Filesystem::open(root.path()).unwrap())).await;
    registry.push_image("a", "v1", b"layer").await;
    let tag = root.path().join("repositories/a/_tags/v1");
    assert!(tag.exists());
    fs::write(&tag, "<nonsense>").unwrap();
    let response = browse(&registry, "/r/a:v1").await;
    assert_eq!(response.status(), 500);
    let text = text_of(&response.text().await.unwrap());
    assert!(text.contains("The registry failed") && !text.contains("nonsense") && !text.contains("tag v1"), "{text}");
}
