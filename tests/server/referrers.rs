//! Lists of referrers.

use crate::embedded::{Embedded, assert_refused, descriptor, header, image_manifest};
use bndlr::digest::Digest;
use bndlr::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};
use reqwest::Method;
use serde_json::{Value, json};

/// Pushes a manifest about `subject` and returns its digest.
async fn attach(registry: &Embedded, subject: &str, fields: &str) -> Digest {
    let manifest = image_manifest(b"layer").replacen('{', &format!(r#"{{"subject":{subject},{fields}"#), 1);
    let digest = Digest::sha256(manifest.as_bytes());
    let response = registry.put(&format!("/v2/a/manifests/{digest}"), OCI_MANIFEST, manifest).await;
    assert_eq!(response.status(), 201);
    digest
}

async fn list(registry: &Embedded, path: &str) -> (Vec<Value>, reqwest::header::HeaderMap) {
    let response = registry.get(path).await;
    assert_eq!((response.status().as_u16(), header(&response, "content-type")), (200, OCI_INDEX), "{path}");
    let headers = response.headers().clone();
    let index: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!((&index["schemaVersion"], &index["mediaType"]), (&json!(2), &json!(OCI_INDEX)));
    (index["manifests"].as_array().unwrap().clone(), headers)
}

#[tokio::test]
async fn referrers_are_listed_whether_their_subject_is_there_or_not() {
    let directory = tempfile::tempdir().unwrap();
    for registry in [Embedded::in_memory().await, Embedded::in_directory(directory.path()).await] {
        registry.push_image("a", "v1", b"layer").await;
        let later = image_manifest(b"layer") + " ";
        let path = format!("/v2/a/referrers/{}", Digest::sha256(later.as_bytes()));
        assert!(list(&registry, &path).await.0.is_empty(), "empty, and never 404");

        let subject = descriptor(OCI_MANIFEST, later.as_bytes());
        let fields = r#""artifactType":"application/x","annotations":{"org.example":"1"},"#;
        let with_type = attach(&registry, &subject, fields).await;
        let without = attach(&registry, &subject, "").await;
        assert_eq!(registry.put("/v2/a/manifests/later", OCI_MANIFEST, later).await.status(), 201);

        let (found, _) = list(&registry, &path).await;
        assert_eq!(found.len(), 2);
        let of = |digest: Digest| found.iter().find(|found| found["digest"] == digest.to_string()).unwrap();
        assert_eq!(of(with_type)["artifactType"], "application/x");
        assert_eq!(of(with_type)["annotations"], json!({"org.example": "1"}));
        assert_eq!(of(with_type)["mediaType"], OCI_MANIFEST);
        assert_eq!(of(without)["artifactType"], "application/vnd.oci.empty.v1+json", "the config's media type");

        let gone = registry.request(Method::DELETE, &format!("/v2/a/manifests/{without}")).send().await.unwrap();
        assert_eq!(gone.status(), 202);
        assert_eq!(list(&registry, &path).await.0.len(), 1, "what is deleted refers to nothing");
    }
}

#[tokio::test]
async fn an_index_without_artifact_type_has_none_in_the_list() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let subject = descriptor(OCI_MANIFEST, image_manifest(b"layer").as_bytes());
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[],"subject":{subject}}}"#);
    assert_eq!(registry.put("/v2/a/manifests/index", OCI_INDEX, index).await.status(), 201);
    let path = format!("/v2/a/referrers/{}", Digest::sha256(image_manifest(b"layer").as_bytes()));
    let (found, _) = list(&registry, &path).await;
    assert_eq!(found[0]["mediaType"], OCI_INDEX);
    assert!(found[0].get("artifactType").is_none(), "{found:?}");
}

#[tokio::test]
async fn referrers_are_picked_by_artifact_type() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let subject = descriptor(OCI_MANIFEST, b"subject");
    let wanted = attach(&registry, &subject, r#""artifactType":"application/x+y","#).await;
    attach(&registry, &subject, r#""artifactType":"application/z","#).await;
    let path = format!("/v2/a/referrers/{}", Digest::sha256(b"subject"));
    let (found, headers) = list(&registry, &format!("{path}?artifactType=application/x%2By")).await;
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["digest"], wanted.to_string());
    assert_eq!(headers["oci-filters-applied"], "artifactType");
    let (found, headers) = list(&registry, &path).await;
    assert_eq!(found.len(), 2);
    assert!(!headers.contains_key("oci-filters-applied"));
}

#[tokio::test]
async fn a_long_list_of_referrers_comes_in_pages_of_bounded_size() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let subject = descriptor(OCI_MANIFEST, b"subject");
    for n in 0..12 {
        let text = format!("{n}").repeat(400_000);
        attach(&registry, &subject, &format!(r#""artifactType":"a/{}","annotations":{{"x":"{text}"}},"#, n % 2)).await;
    }
    for (filter, expected) in [("", 12), ("?artifactType=a/1", 6)] {
        let mut path = format!("/v2/a/referrers/{}{filter}", Digest::sha256(b"subject"));
        let (mut all, mut pages) = (Vec::new(), 0);
        loop {
            let (found, headers) = list(&registry, &path).await;
            assert!(serde_json::to_vec(&found).unwrap().len() < 4 * 1024 * 1024);
            all.extend(found.into_iter().map(|found| found["digest"].to_string()));
            pages += 1;
            let Some(link) = headers.get("link") else { break };
            let link = link.to_str().unwrap().strip_prefix('<').unwrap();
            path = link.strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        }
        assert!(pages > 1, "{pages}");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), expected, "{filter}");
    }
}

#[tokio::test]
async fn a_subject_that_is_no_digest_is_a_bad_request() {
    let registry = Embedded::in_memory().await;
    for subject in ["latest", "sha256:12"] {
        assert_refused(registry.get(&format!("/v2/a/referrers/{subject}")).await, 400, "DIGEST_INVALID").await;
    }
}
