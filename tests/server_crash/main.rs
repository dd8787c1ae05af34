//! A registry that is killed, that finds no room, or that is two processes keeps what it has acknowledged.

#[cfg(feature = "object-store")]
mod bucket;
mod collected;
#[path = "../embedded/mod.rs"]
mod embedded;
mod full;
mod killed;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../program/mod.rs"]
mod program;
#[path = "../pusher/mod.rs"]
mod pusher;
#[path = "../random/mod.rs"]
mod random;
#[cfg(feature = "object-store")]
#[path = "../s3/mod.rs"]
mod s3;
mod shared;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;

use bndlr::digest::Digest;
use bndlr::server::repositories::Repositories;
use bndlr::server::storage::Filesystem;
use program::{Program, Running};
use reqwest::{Method, Response, StatusCode};

/// A `bndlr serve` of its own, which is killed when this is dropped. Every server here is one: these tests start
/// processes, and a process that is just being started holds the files and locks of the one that starts it.
struct Process {
    child: Running,
    server: Server,
}

/// Where a process listens.
#[derive(Clone)]
struct Server {
    address: String,
    http: reqwest::Client,
}

impl Process {
    fn start(root: &Path) -> Self {
        Self::run(Program::bndlr().args(["serve", "--root"]).arg(root))
    }

    fn run(program: &mut Program) -> Self {
        let mut child = program.args(["--listen", "127.0.0.1:0"]).start();
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let http = embedded::client(reqwest::Client::builder());
        Self { child, server: Server { address: address.trim().to_owned(), http } }
    }

    /// With `SIGKILL`: it has no time for anything.
    fn kill(&mut self) {
        self.child.kill();
    }
}

impl Server {
    /// The answer, or an error when the process is gone.
    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> reqwest::Result<Response> {
        self.http.request(method, format!("http://{}{path}", self.address)).body(body).send().await
    }

    /// Sends what has to be taken.
    async fn create(&self, method: Method, path: &str, body: impl Into<Vec<u8>>) {
        assert_eq!(self.send(method, path, body.into()).await.unwrap().status(), StatusCode::CREATED, "{path}");
    }

    async fn push_blob(&self, content: &[u8]) {
        let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(content));
        self.create(Method::POST, &path, content).await;
    }

    async fn push_image(&self, tag: &str, layer: &[u8]) -> Digest {
        self.push_blob(b"{}").await;
        self.push_blob(layer).await;
        let manifest = embedded::image_manifest(layer);
        let digest = Digest::sha256(manifest.as_bytes());
        self.create(Method::PUT, &manifest_path("a", tag), manifest).await;
        digest
    }

    /// What is there, whole: an answer that breaks off is a failure.
    async fn get(&self, path: &str) -> Option<Vec<u8>> {
        let response = self.send(Method::GET, path, Vec::new()).await.unwrap();
        match response.status() {
            StatusCode::NOT_FOUND => None,
            status => {
                assert_eq!(status, StatusCode::OK, "{path}");
                Some(response.bytes().await.unwrap().to_vec())
            }
        }
    }
}

/// The repositories below a root, without a process in between.
fn repositories(root: &Path) -> Repositories {
    Repositories::new(Arc::new(Filesystem::open(root).unwrap()))
}

fn blob_path(repository: &str, digest: Digest) -> String {
    format!("/v2/{repository}/blobs/{digest}")
}

fn manifest_path(repository: &str, reference: impl std::fmt::Display) -> String {
    format!("/v2/{repository}/manifests/{reference}")
}
