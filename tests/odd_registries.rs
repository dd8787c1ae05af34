//! Registries that do not do all that the specification says, or in other words: an image goes there, is found there as it
//! is, is copied within, referred to, listed, removed, and comes back, whichever of these they are. Those that mean harm
//! are in `hostile_registries.rs`.

mod fake;
mod sample;

use std::collections::BTreeMap;
use std::sync::Mutex;

use bndlr::content::{CopyOptions, ErrorKind, Memory, Outcome, Source, Target, copy};
use bndlr::digest::Digest;
use bndlr::manifest::{RawManifest, media_type};
use bndlr::pack::{Artifact, ArtifactFile, ArtifactOptions};
use bndlr::remote::{Client, RemoteRepository};
use fake::{asked, options, redirect, refusal, server};
use futures::TryStreamExt;
use sample::{blob, copy_all, kind, push_blobs, read, tag};
use serde_json::{Value, json};
use wiremock::{MockServer, Request, ResponseTemplate};

/// What a registry does otherwise than others.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Quirk {
    None,
    /// It answers HEAD so, for blobs and manifests.
    Head(u16),
    /// It never names a digest.
    NamesNoDigest,
    /// It answers a PUT so.
    Stored(u16),
    /// It answers POST so.
    Begun(u16),
    /// It mounts nothing, and begins an upload instead.
    MountsNothing,
    /// It does not let anybody mount.
    ForbidsMounts,
    /// It answers so where referrers are asked for.
    Referrers(u16),
    /// It sends a web page there.
    ReferrersPage,
    /// It has one tag on each page, and the next page is named so.
    Pages(&'static str),
    /// It takes no artifact that does not say of which type it is.
    WantsArtifactType,
    /// It names the place of an upload so.
    Location(&'static str),
    /// It has the place of an upload on another host.
    Elsewhere,
    /// It answers so where an upload is given up.
    Cancelled(u16),
    /// It sends blobs and manifests as this.
    ContentType(&'static str),
}

/// What is in it: blobs and manifests by their paths, manifests with their media types.
#[derive(Default)]
struct Stored {
    blobs: BTreeMap<String, Vec<u8>>,
    manifests: BTreeMap<String, (String, Vec<u8>)>,
}

struct Odd {
    quirk: Quirk,
    stored: Mutex<Stored>,
}

impl Odd {
    async fn start(quirk: Quirk) -> MockServer {
        let odd = Self { quirk, stored: Mutex::default() };
        server(move |request| odd.answer(request)).await
    }

    fn answer(&self, request: &Request) -> ResponseTemplate {
        let (method, path) = (request.method.as_str(), request.url.path().to_owned());
        let repository = path.split('/').nth(2).unwrap_or_default().to_owned();
        match (method, self.quirk) {
            ("HEAD", Quirk::Head(status)) => ResponseTemplate::new(status),
            _ if path.contains("/referrers/") => self.referrers(),
            _ if path.ends_with("/tags/list") => self.tags(request, &repository),
            _ if path.contains("/uploads") => self.upload(request, &repository),
            _ if path.contains("/manifests/") => self.manifest(request, path),
            _ => match self.stored.lock().unwrap().blobs.get(&path) {
                Some(bytes) => self.content(bytes, media_type::OCTET_STREAM),
                None => refusal(404, "BLOB_UNKNOWN", "no"),
            },
        }
    }

    fn content(&self, bytes: &[u8], media_type: &str) -> ResponseTemplate {
        let media_type = if let Quirk::ContentType(other) = self.quirk { other } else { media_type };
        self.named(ResponseTemplate::new(200).set_body_raw(bytes.to_vec(), media_type), bytes)
    }

    fn named(&self, answer: ResponseTemplate, bytes: &[u8]) -> ResponseTemplate {
        let digest = Digest::sha256(bytes).to_string();
        if self.quirk == Quirk::NamesNoDigest {
            answer
        } else {
            answer.insert_header("docker-content-digest", &*digest)
        }
    }

    fn stored(&self, bytes: &[u8]) -> ResponseTemplate {
        let status = if let Quirk::Stored(status) = self.quirk { status } else { 201 };
        self.named(ResponseTemplate::new(status), bytes)
    }

    /// `/v2/a/blobs/uploads/` begins one, and `/v2/a/uploads/1`, or whatever the quirk is, goes on with it.
    fn upload(&self, request: &Request, repository: &str) -> ResponseTemplate {
        let query: BTreeMap<_, _> = request.url.query_pairs().into_owned().collect();
        let of = |digest: &str, repository: &str| format!("/v2/{repository}/blobs/{digest}");
        let mut stored = self.stored.lock().unwrap();
        match (request.method.as_str(), query.get("mount"), self.quirk) {
            ("POST", Some(_), Quirk::ForbidsMounts) => refusal(403, "DENIED", "no"),
            ("POST", Some(digest), quirk) if quirk != Quirk::MountsNothing => {
                let bytes = stored.blobs[&of(digest, &query["from"])].clone();
                let answer = self.named(ResponseTemplate::new(201), &bytes);
                stored.blobs.insert(of(digest, repository), bytes);
                answer
            }
            ("POST", ..) => self.begun(request, repository),
            ("PUT", ..) => {
                if matches!(self.quirk, Quirk::Location(location) if location.contains('?')) {
                    assert_eq!(query["state"], "a b/c", "what the location says stays");
                }
                assert_eq!(query["digest"], Digest::sha256(&request.body).to_string());
                stored.blobs.insert(of(&query["digest"], repository), request.body.clone());
                self.stored(&request.body)
            }
            (_, _, Quirk::Cancelled(status)) => ResponseTemplate::new(status),
            _ => ResponseTemplate::new(204),
        }
    }

    fn begun(&self, request: &Request, repository: &str) -> ResponseTemplate {
        let host = request.headers["host"].to_str().unwrap();
        let location = match self.quirk {
            Quirk::Location(location) => location.replace("HOST", host).replace("NAME", repository),
            // The same server, which is another one to whoever goes by its name.
            Quirk::Elsewhere => format!("http://{}/v2/{repository}/uploads/1", host.replace("127.0.0.1", "localhost")),
            _ => format!("/v2/{repository}/uploads/1"),
        };
        redirect(if let Quirk::Begun(status) = self.quirk { status } else { 202 }, location)
    }

    fn manifest(&self, request: &Request, path: String) -> ResponseTemplate {
        let mut stored = self.stored.lock().unwrap();
        match request.method.as_str() {
            "PUT" => {
                let json: Value = serde_json::from_slice(&request.body).unwrap();
                let is_artifact = json["config"]["mediaType"] == media_type::OCI_EMPTY;
                if self.quirk == Quirk::WantsArtifactType && is_artifact && json["artifactType"].is_null() {
                    return refusal(400, "MANIFEST_INVALID", "artifactType is missing");
                }
                let kept = (request.headers["content-type"].to_str().unwrap().to_owned(), request.body.clone());
                let by_digest =
                    path.rsplit_once('/').unwrap().0.to_owned() + "/" + &Digest::sha256(&kept.1).to_string();
                stored.manifests.extend([(path, kept.clone()), (by_digest, kept)]);
                self.stored(&request.body)
            }
            "DELETE" => {
                let Some((_, gone)) = stored.manifests.remove(&path) else {
                    return refusal(404, "MANIFEST_UNKNOWN", "");
                };
                stored.manifests.retain(|_, (_, bytes)| *bytes != gone);
                ResponseTemplate::new(if let Quirk::Stored(status) = self.quirk { status.max(202) } else { 202 })
            }
            _ => match stored.manifests.get(&path) {
                Some((media_type, bytes)) => self.content(bytes, media_type),
                None => refusal(404, "MANIFEST_UNKNOWN", "no"),
            },
        }
    }

    /// None of these keeps lists of referrers.
    fn referrers(&self) -> ResponseTemplate {
        match self.quirk {
            Quirk::Referrers(status) => ResponseTemplate::new(status),
            Quirk::ReferrersPage => ResponseTemplate::new(200).set_body_raw("<html>", "text/html"),
            _ => ResponseTemplate::new(404),
        }
    }

    fn tags(&self, request: &Request, repository: &str) -> ResponseTemplate {
        let front = format!("/v2/{repository}/manifests/");
        let stored = self.stored.lock().unwrap();
        let names = stored.manifests.keys().filter_map(|path| path.strip_prefix(&front));
        let mut tags: Vec<_> = names.filter(|name| !name.starts_with("sha256")).collect();
        let Quirk::Pages(next) = self.quirk else {
            return ResponseTemplate::new(200).set_body_json(json!({"name": repository, "tags": tags}));
        };
        let at: usize = request.url.query_pairs().find(|(key, _)| key == "at").map_or(0, |(_, at)| at.parse().unwrap());
        let answer = ResponseTemplate::new(200).set_body_json(json!({"tags": [tags.remove(at)]}));
        if at == tags.len() {
            return answer;
        }
        let next = next.replace("HOST", request.headers["host"].to_str().unwrap()) + &format!("?at={}", at + 1);
        answer.insert_header("link", format!("<{next}>; rel=\"next\"").as_str())
    }
}

fn repository(server: &MockServer, name: &str) -> RemoteRepository {
    let client = Client::new(options()).unwrap();
    client.repository(&format!("{}/{name}", server.address()).parse().unwrap()).unwrap()
}

async fn image(memory: &Memory) -> RawManifest {
    let image = push_blobs(memory, &[b"one", &sample::large()[..100_000]]).await;
    memory.push(&image.descriptor(), &image).await.unwrap();
    image
}

async fn assert_has(place: &dyn Source, image: &RawManifest) {
    assert_eq!(place.manifest(&tag("v1").into()).await.unwrap(), *image);
    for blob in image.manifest().successors() {
        assert_eq!(read(place, blob).await.unwrap().len() as u64, blob.size);
    }
}

/// Everything that is done with a registry, at one that is like this.
async fn all_is_well(quirk: Quirk) {
    let (server, memory) = (Odd::start(quirk).await, Memory::new());
    let (image, a, b) = (image(&memory).await, repository(&server, "a"), repository(&server, "b"));
    let pushed = copy_all(&memory, &image, &a, &["v1", "v2"]).await;
    assert_eq!(pushed.bytes_uploaded(), image.manifest().successors().map(|blob| blob.size).sum::<u64>());
    let again = copy_all(&memory, &image, &a, &["v1", "v2"]).await;
    assert!(!again.changed && again.bytes_uploaded() == 0, "what is there is not sent again");
    assert!(!a.exists(&blob(b"missing").0).await.unwrap());
    assert_eq!(kind(a.resolve(&tag("v3").into()).await), ErrorKind::NotFound);

    copy_all(&a, &image, &b, &["v1"]).await;
    assert_has(&b, &image).await;
    let back = Memory::new();
    copy(&a, &tag("v2").into(), &back, &[tag("v1")], &CopyOptions::default()).await.unwrap();
    assert_has(&back, &image).await;
    let tags: Vec<String> = a.tags().map_ok(|tag| tag.to_string()).try_collect().await.unwrap();
    assert_eq!(tags, ["v1", "v2"]);

    let folder = tempfile::tempdir().unwrap();
    let file = ArtifactFile { path: folder.path().join("report"), media_type: "text/plain".into() };
    std::fs::write(&file.path, "all is well").unwrap();
    let options =
        ArtifactOptions { artifact_type: "a/b".into(), subject: Some(image.descriptor()), ..Default::default() };
    let artifact = Artifact::of(&[file], &options).unwrap();
    copy_all(&artifact, artifact.raw_manifest(), &a, &[]).await;
    assert_eq!(a.referrers(image.digest(), Some("a/b")).await.unwrap(), [artifact.raw_manifest().referrer()]);
    a.delete_manifest(artifact.raw_manifest().digest()).await.unwrap();
    assert_eq!(a.referrers(image.digest(), None).await.unwrap(), []);
}

#[tokio::test]
async fn a_registry_may_know_less_than_others() {
    for quirk in [Quirk::None, Quirk::Head(405), Quirk::Head(400), Quirk::Head(501), Quirk::NamesNoDigest] {
        println!("{quirk:?}");
        all_is_well(quirk).await;
    }
    for quirk in [Quirk::Referrers(400), Quirk::Referrers(405), Quirk::Referrers(501), Quirk::ReferrersPage] {
        println!("{quirk:?}");
        all_is_well(quirk).await;
    }
}

#[tokio::test]
async fn a_registry_may_use_other_words() {
    for quirk in [200, 202, 204].map(Quirk::Stored).into_iter().chain([200, 201, 204].map(Quirk::Begun)) {
        println!("{quirk:?}");
        all_is_well(quirk).await;
    }
    for media_type in ["application/json", "text/plain; charset=utf-8", "application/octet-stream", ""] {
        println!("{media_type}");
        all_is_well(Quirk::ContentType(media_type)).await;
    }
    all_is_well(Quirk::WantsArtifactType).await;
}

#[tokio::test]
async fn a_registry_may_lead_wherever_its_uploads_and_pages_are() {
    for location in [
        "/v2/NAME/uploads/1",
        "../uploads/1",
        "http://HOST/v2/NAME/uploads/1",
        "//HOST/v2/NAME/uploads/1",
        "/v2/NAME/uploads/1?state=a%20b%2Fc",
        "http://HOST/v2/NAME/uploads/1?state=a+b%2fc&x",
    ] {
        println!("{location}");
        all_is_well(Quirk::Location(location)).await;
    }
    all_is_well(Quirk::Elsewhere).await;
    for next in ["/v2/a/tags/list", "list", "http://HOST/v2/a/tags/list", ""] {
        println!("{next}");
        all_is_well(Quirk::Pages(next)).await;
    }
}

#[tokio::test]
async fn a_registry_may_mount_or_not() {
    for (quirk, expected) in [
        (Quirk::None, Outcome::Mounted),
        (Quirk::MountsNothing, Outcome::Uploaded),
        (Quirk::ForbidsMounts, Outcome::Uploaded),
    ] {
        all_is_well(quirk).await;
        let (server, memory) = (Odd::start(quirk).await, Memory::new());
        let image = image(&memory).await;
        copy_all(&memory, &image, &repository(&server, "a"), &["v1"]).await;
        let copied = copy_all(&repository(&server, "a"), &image, &repository(&server, "b"), &["v1"]).await;
        assert!(copied.blobs.iter().all(|(_, outcome)| *outcome == expected), "{quirk:?}: {copied:?}");
        // An upload that begins instead of a mount is gone on with.
        let posts = asked(&server).await.iter().filter(|line| line.starts_with("POST /v2/b/")).count();
        assert_eq!(posts, if quirk == Quirk::ForbidsMounts { 6 } else { 3 }, "{quirk:?}");
    }
}

#[tokio::test]
async fn a_registry_may_know_nothing_of_uploads_that_are_given_up() {
    for status in [204, 404, 405, 500] {
        let server = Odd::start(Quirk::Cancelled(status)).await;
        let pushed = repository(&server, "a").push(&blob(b"missing").0, &Memory::new()).await;
        assert_eq!(kind(pushed), ErrorKind::NotFound, "the blob is missing here: {status}");
        all_is_well(Quirk::Cancelled(status)).await;
    }
}
