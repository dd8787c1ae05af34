//! A registry inside a test, and an HTTP client that knows nothing about registries.
#![allow(dead_code)] // each test binary uses a part of it

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use bndlr::digest::Digest;
use bndlr::manifest::media_type::OCI_MANIFEST;
use bndlr::server::storage::{Filesystem, Memory, Storage};
use bndlr::server::{Registry, Running, Server};
use reqwest::{Method, RequestBuilder, Response};

pub struct Embedded {
    running: Running,
    http: reqwest::Client,
}

impl Embedded {
    pub async fn in_memory() -> Self {
        Self::over(Memory::new()).await
    }

    pub async fn in_directory(root: &Path) -> Self {
        Self::over(Filesystem::open(root).unwrap()).await
    }

    pub async fn over(storage: impl Storage) -> Self {
        Self::of(Registry::new(storage)).await
    }

    pub async fn of(registry: Registry) -> Self {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), registry).await.unwrap();
        Self { running: server.spawn(), http: client(reqwest::Client::builder()) }
    }

    /// `host:port`
    pub fn address(&self) -> String {
        self.running.address().to_string()
    }

    /// Lets running requests end.
    pub async fn stop(self) {
        self.running.stop().await;
    }

    /// A request for a path, which may have a query.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address()))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.unwrap()
    }

    pub async fn head(&self, path: &str) -> Response {
        self.request(Method::HEAD, path).send().await.unwrap()
    }

    pub async fn post(&self, path: &str) -> Response {
        self.request(Method::POST, path).send().await.unwrap()
    }

    pub async fn put(&self, path: &str, content_type: &str, body: impl Into<reqwest::Body>) -> Response {
        self.request(Method::PUT, path).header("content-type", content_type).body(body).send().await.unwrap()
    }

    /// Pushes a blob in one request.
    pub async fn push_blob(&self, repository: &str, content: &[u8]) -> Digest {
        let digest = Digest::sha256(content);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let response = self.request(Method::POST, &path).body(content.to_vec()).send().await.unwrap();
        assert_eq!(response.status(), 201);
        digest
    }

    /// Pushes an image of a config and a layer under a tag.
    pub async fn push_image(&self, repository: &str, tag: &str, layer: &[u8]) -> Digest {
        self.push_blob(repository, b"{}").await;
        self.push_blob(repository, layer).await;
        let manifest = image_manifest(layer);
        let response = self.put(&format!("/v2/{repository}/manifests/{tag}"), OCI_MANIFEST, manifest.clone()).await;
        assert_eq!(response.status(), 201);
        Digest::sha256(manifest.as_bytes())
    }

    /// Begins an upload session and returns its path.
    pub async fn begin_upload(&self, repository: &str) -> String {
        let response = self.post(&format!("/v2/{repository}/blobs/uploads/")).await;
        assert_eq!(response.status(), 202);
        header(&response, "location").to_owned()
    }
}

/// What is traced.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Collects what this thread traces, as long as what it returns lives: in a test with one thread, the server's
    /// tasks run on that, too.
    pub fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::DEBUG);
        tracing::subscriber::set_default(subscriber.with_writer(move || log.clone()).finish())
    }

    /// What has come since the last time.
    pub fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

/// A client that goes through no proxy.
pub fn client(builder: reqwest::ClientBuilder) -> reqwest::Client {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder.no_proxy().build().unwrap()
}

/// The manifest of an image with an empty config and this layer.
pub fn image_manifest(layer: &[u8]) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
        descriptor("application/vnd.oci.empty.v1+json", b"{}"),
        descriptor("application/vnd.oci.image.layer.v1.tar", layer)
    )
}

pub fn descriptor(media_type: &str, content: &[u8]) -> String {
    let (digest, size) = (Digest::sha256(content), content.len());
    format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
}

/// A header that has to be there.
pub fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no {name}: {response:?}")).to_str().unwrap()
}

/// That the answer has this status, and an error body with this code.
pub async fn assert_refused(response: Response, status: u16, code: &str) {
    assert_eq!(header(&response, "content-type"), "application/json");
    let (found, url) = (response.status(), response.url().clone());
    let body: serde_json::Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!((found.as_u16(), body["errors"][0]["code"].as_str()), (status, Some(code)), "{url}: {body}");
    assert!(!body["errors"][0]["message"].as_str().unwrap().is_empty(), "{body}");
}
