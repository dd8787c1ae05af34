//! What a browser is shown of a registry: what is on the page, for whom, and what strangers can do to it.

#[path = "../embedded/mod.rs"]
mod embedded;
#[path = "../peer/mod.rs"]
mod peer;

mod access;
mod browser;
mod content;
mod files;
mod hostile;

use std::path::Path;

use bndlr::content::{CopyOptions, copy};
use bndlr::digest::Digest;
use bndlr::manifest::media_type;
use bndlr::pack::{Bundle, PackOptions, Selection, scan};
use bndlr::reference::Reference;
use bndlr::remote::{Client, ClientOptions};
use embedded::Embedded;
use reqwest::{Method, Response};

/// What Chromium sends.
const ACCEPT: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/manifests");

async fn browse(registry: &Embedded, path: &str) -> Response {
    registry.request(Method::GET, path).header("accept", ACCEPT).send().await.unwrap()
}

/// A page that has to be there.
async fn page(registry: &Embedded, path: &str) -> String {
    let response = browse(registry, path).await;
    assert_eq!(response.status(), 200, "{path}");
    response.text().await.unwrap()
}

fn pack(directory: &Path, options: &PackOptions) -> Bundle {
    scan(directory, &Selection::default()).unwrap().pack(options, &|_| ()).unwrap()
}

/// Pushes what bndlr makes of a directory, as `name:tag`.
async fn push(registry: &Embedded, bundle: &Bundle, reference: &str) -> Digest {
    push_to(&registry.address(), bundle, reference).await
}

async fn push_to(address: &str, bundle: &Bundle, reference: &str) -> Digest {
    let reference: Reference = format!("{address}/{reference}").parse().unwrap();
    let repository = Client::new(ClientOptions::default()).unwrap().repository(&reference.repository).unwrap();
    let (digest, tags) = (bundle.raw_manifest().digest(), [reference.tag().unwrap().clone()]);
    copy(bundle, &digest.into(), &repository, &tags, &CopyOptions::default()).await.unwrap();
    digest
}

/// Pushes a manifest that needs nothing that is not there.
async fn put(registry: &Embedded, name: &str, tag: &str, media_type: &str, manifest: &serde_json::Value) -> Digest {
    let manifest = manifest.to_string();
    let response = registry.put(&format!("/v2/{name}/manifests/{tag}"), media_type, manifest.clone()).await;
    assert_eq!(response.status(), 201, "{}", response.text().await.unwrap());
    Digest::sha256(manifest.as_bytes())
}

/// An artifact with an empty config, no layers, and these annotations.
async fn put_artifact(registry: &Embedded, reference: &str, annotations: &[(&str, &str)]) -> Digest {
    let (name, tag) = reference.split_once(':').unwrap();
    registry.push_blob(name, b"{}").await;
    let annotations: serde_json::Map<_, _> = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": "application/x.test",
        "config": empty(), "layers": [], "annotations": annotations,
    });
    put(registry, name, tag, media_type::OCI_MANIFEST, &manifest).await
}

/// The descriptor of a config that says nothing.
fn empty() -> serde_json::Value {
    serde_json::json!({ "mediaType": media_type::OCI_EMPTY, "digest": Digest::sha256(b"{}"), "size": 2 })
}

/// The text of a page without its elements, so that a test need not know which these are.
fn text_of(html: &str) -> String {
    let body = html.split_once("<body>").unwrap().1;
    let mut text = String::new();
    for part in body.split('<') {
        text.push_str(part.split_once('>').map_or(part, |(_, after)| after));
        text.push(' ');
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
