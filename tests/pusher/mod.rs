//! A client that pushes what others push, too, and relies on what it finds: with HEAD, with mounts, and with manifests
//! that refer to what is there. What it was told is there has to stay.

use std::sync::Arc;

use bndlr::digest::Digest;
use bndlr::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};
use reqwest::{Method, StatusCode};
use tokio::sync::Semaphore;

use crate::embedded::descriptor;
use crate::random::Random;

/// How many different layers there are, so that clients meet.
const LAYERS: u64 = 60;
const REPOSITORIES: [&str; 2] = ["shared/one", "shared/two"];

/// A manifest that was pushed, and what it refers to.
struct Pushed {
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

/// What a registry said about a push.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Created,
    /// Something that it refers to is gone, and the push has to be repeated.
    Missing,
}

pub struct Pusher {
    random: Random,
    address: String,
    http: reqwest::Client,
    /// Nobody else moves this one.
    tag: String,
    /// Where a permit is added with some of the requests.
    turns: Arc<Semaphore>,
    pub acknowledged: u64,
    pub refused: u64,
}

impl Pusher {
    pub fn new(seed: u64, number: u64, address: &str) -> Self {
        let http = crate::embedded::client(reqwest::Client::builder());
        let (random, tag, turns) = (Random(seed ^ (number << 32)), format!("p{number}"), Arc::new(Semaphore::new(0)));
        Self { random, address: address.to_owned(), http, tag, turns, acknowledged: 0, refused: 0 }
    }

    /// Adds a permit to `turns` in the middle of things, now and then.
    #[allow(dead_code)] // not every test needs it
    pub fn give_turns(self, turns: &Arc<Semaphore>) -> Self {
        Self { turns: Arc::clone(turns), ..self }
    }

    /// Pushes an image, an image index or a referrer, and holds the registry to what it says.
    pub async fn push(&mut self) {
        let repository = REPOSITORIES[self.random.below(2) as usize];
        match self.random.below(4) {
            0 => self.push_index(repository).await,
            1 => self.push_referrer(repository).await,
            2 => drop(self.delete(repository).await),
            _ => drop(self.push_tagged(repository).await),
        }
    }

    async fn send(&mut self, method: Method, path: &str, body: Vec<u8>, kind: &str) -> reqwest::Response {
        if self.random.below(8) == 0 {
            self.turns.add_permits(1);
        }
        let url = format!("http://{}{path}", self.address);
        self.http.request(method, url).header("content-type", kind).body(body).send().await.unwrap()
    }

    async fn get(&mut self, path: &str) -> (StatusCode, Vec<u8>) {
        let response = self.send(Method::GET, path, Vec::new(), "").await;
        (response.status(), response.bytes().await.unwrap().to_vec())
    }

    /// Makes sure of a blob, as clients do: by looking, by mounting, or by uploading.
    async fn ensure_blob(&mut self, repository: &str, content: &[u8]) {
        let digest = Digest::sha256(content);
        let path = format!("/v2/{repository}/blobs/{digest}");
        if self.send(Method::HEAD, &path, Vec::new(), "").await.status() == StatusCode::OK {
            return;
        }
        let from = REPOSITORIES[self.random.below(2) as usize];
        let mount = format!("/v2/{repository}/blobs/uploads/?mount={digest}&from={from}");
        let answer = self.send(Method::POST, &mount, Vec::new(), "").await;
        if answer.status() == StatusCode::CREATED {
            return;
        }
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let session = crate::embedded::header(&answer, "location");
        let put = format!("{session}?digest={digest}");
        let answer = self.send(Method::PUT, &put, content.to_vec(), "application/octet-stream").await;
        // The content may be collected before it is linked: then the upload has to be repeated, too.
        assert!([StatusCode::CREATED, StatusCode::NOT_FOUND].contains(&answer.status()), "{answer:?}");
    }

    /// An image of some of the layers. `fields` stand before the others.
    async fn image(&mut self, repository: &str, fields: &str) -> Pushed {
        let count = 1 + self.random.below(3);
        let layers: Vec<u64> = (0..count).map(|_| self.random.below(LAYERS)).collect();
        let mut blobs = vec![b"{}".to_vec()];
        blobs.extend(layers.iter().map(|number| format!("layer {number}").into_bytes()));
        for blob in &blobs {
            self.ensure_blob(repository, blob).await;
        }
        let layers: Vec<String> = blobs[1..].iter().map(|layer| descriptor("application/x", layer)).collect();
        let config = descriptor("application/vnd.oci.empty.v1+json", &blobs[0]);
        let manifest = format!(
            r#"{{{fields}"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{config},"layers":[{}]}}"#,
            layers.join(",")
        );
        Pushed { manifest: manifest.into_bytes(), blobs }
    }

    async fn put(&mut self, repository: &str, reference: &str, kind: &str, manifest: &[u8]) -> Answer {
        let path = format!("/v2/{repository}/manifests/{reference}");
        let answer = self.send(Method::PUT, &path, manifest.to_vec(), kind).await;
        match answer.status() {
            StatusCode::CREATED => {
                self.acknowledged += 1;
                Answer::Created
            }
            status => {
                let text = answer.text().await.unwrap();
                assert!(status == 404 && text.contains("MANIFEST_BLOB_UNKNOWN"), "{path}: {status} {text}");
                self.refused += 1;
                Answer::Missing
            }
        }
    }

    async fn push_tagged(&mut self, repository: &str) -> Option<Pushed> {
        let image = self.image(repository, "").await;
        let tag = self.tag.clone();
        if self.put(repository, &tag, OCI_MANIFEST, &image.manifest).await == Answer::Missing {
            return None;
        }
        self.check(repository, &tag, &image).await;
        Some(image)
    }

    async fn push_index(&mut self, repository: &str) {
        let (one, two) = (self.image(repository, "").await, self.image(repository, "").await);
        for image in [&one, &two] {
            let digest = Digest::sha256(&image.manifest).to_string();
            if self.put(repository, &digest, OCI_MANIFEST, &image.manifest).await == Answer::Missing {
                return;
            }
        }
        let manifests = [&one, &two].map(|image| descriptor(OCI_MANIFEST, &image.manifest)).join(",");
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[{manifests}]}}"#);
        let tag = self.tag.clone();
        if self.put(repository, &tag, OCI_INDEX, index.as_bytes()).await == Answer::Created {
            let index = Pushed { manifest: index.into_bytes(), blobs: Vec::new() };
            self.check(repository, &tag, &index).await;
            for image in [&one, &two] {
                self.check(repository, &Digest::sha256(&image.manifest).to_string(), image).await;
            }
        }
    }

    /// A referrer has no tag: it stays because its subject has one.
    async fn push_referrer(&mut self, repository: &str) {
        let Some(subject) = self.push_tagged(repository).await else { return };
        let about = format!(r#""subject":{},"#, descriptor(OCI_MANIFEST, &subject.manifest));
        let referrer = self.image(repository, &about).await;
        let digest = Digest::sha256(&referrer.manifest).to_string();
        if self.put(repository, &digest, OCI_MANIFEST, &referrer.manifest).await == Answer::Created {
            self.check(repository, &digest, &referrer).await;
            let path = format!("/v2/{repository}/referrers/{}", Digest::sha256(&subject.manifest));
            let (status, list) = self.get(&path).await;
            assert_eq!(status, StatusCode::OK);
            assert!(String::from_utf8(list).unwrap().contains(&digest), "referrer {digest} is lost");
        }
    }

    async fn delete(&mut self, repository: &str) -> StatusCode {
        let path = format!("/v2/{repository}/manifests/{}", self.tag);
        self.send(Method::DELETE, &path, Vec::new(), "").await.status()
    }

    /// What was acknowledged is there, with everything in it.
    async fn check(&mut self, repository: &str, reference: &str, pushed: &Pushed) {
        let (status, manifest) = self.get(&format!("/v2/{repository}/manifests/{reference}")).await;
        assert_eq!(status, StatusCode::OK, "manifest {reference} of {repository} is lost");
        assert_eq!(manifest, pushed.manifest, "{reference}");
        for blob in &pushed.blobs {
            let digest = Digest::sha256(blob);
            let (status, content) = self.get(&format!("/v2/{repository}/blobs/{digest}")).await;
            assert_eq!(status, StatusCode::OK, "{reference} of {repository} lacks blob {digest}");
            assert_eq!(content, *blob);
        }
    }
}
