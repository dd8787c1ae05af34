//! Referrers and mounts, against registries that know them, half know them, or do not know them at all.

mod fake;
mod sample;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use bndlr::content::{CopyOptions, Error, ErrorKind, Memory, Open, Outcome, Reader, Source, Target, copy};
use bndlr::digest::Digest;
use bndlr::manifest::{Descriptor, RawManifest, media_type};
use bndlr::reference::{Repository, Tag};
use bndlr::remote::RemoteRepository;
use fake::{asked, redirect, refusal, repository, server};
use sample::{Content, blob, image_index, kind, referrer_of};
use serde_json::{Value, json};
use wiremock::{MockServer, Request, ResponseTemplate};

/// An image of which only the descriptor counts.
fn image() -> RawManifest {
    let json = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST,
        "config": Descriptor::of(media_type::OCI_EMPTY, b"{}"), "layers": [],
    });
    RawManifest::parse(media_type::OCI_MANIFEST, json.to_string().into()).unwrap()
}

async fn push(repository: &RemoteRepository, manifest: &RawManifest) -> Result<Outcome, Error> {
    repository.push(&manifest.descriptor(), manifest).await
}

/// The manifests of a registry that has never heard of referrers, by path.
type Manifests = Arc<Mutex<HashMap<String, Vec<u8>>>>;

/// Such a registry. With `conditions`, it heeds them.
async fn legacy(conditions: bool) -> (MockServer, Manifests) {
    let manifests = Manifests::default();
    let stored = Arc::clone(&manifests);
    let server = server(move |request| answer(&mut stored.lock().unwrap(), conditions, request)).await;
    (server, manifests)
}

fn answer(manifests: &mut HashMap<String, Vec<u8>>, conditions: bool, request: &Request) -> ResponseTemplate {
    let path = request.url.path().to_owned();
    let version = |bytes: &[u8]| format!("\"{}\"", Digest::sha256(bytes));
    let found = manifests.get(&path);
    match request.method.as_str() {
        _ if !path.contains("/manifests/") => ResponseTemplate::new(404).set_body_string("404 page not found\n"),
        "PUT" if conditions && !holds(request, found.map(|bytes| version(bytes)).as_deref()) => {
            refusal(412, "X", "changed")
        }
        "PUT" => {
            manifests.insert(path, request.body.clone());
            ResponseTemplate::new(201)
        }
        "DELETE" if found.is_some() => {
            manifests.remove(&path);
            ResponseTemplate::new(202)
        }
        _ => match found {
            None => refusal(404, "MANIFEST_UNKNOWN", ""),
            Some(bytes) => {
                let parsed = RawManifest::parse("", bytes.clone().into()).unwrap();
                let answer = ResponseTemplate::new(200).set_body_raw(bytes.clone(), parsed.media_type());
                answer.insert_header("etag", version(bytes).as_str())
            }
        },
    }
}

/// Whether the conditions of a request hold for what has this version.
fn holds(request: &Request, version: Option<&str>) -> bool {
    let asked = |name: &str| request.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    match (asked("if-none-match"), asked("if-match")) {
        (Some(none), _) => none == "*" && version.is_none(),
        (_, Some(expected)) => version == Some(&expected),
        _ => true,
    }
}

fn list_path(subject: &RawManifest) -> String {
    format!("/v2/team/app/manifests/sha256-{}", subject.digest().hex())
}

async fn digests(repository: &RemoteRepository, subject: &RawManifest, kind: Option<&str>) -> Vec<Digest> {
    let found = repository.referrers(subject.digest(), kind).await.unwrap();
    found.iter().map(|referrer| referrer.digest).collect()
}

#[tokio::test]
async fn a_registry_that_keeps_no_lists_gets_one_under_a_tag() {
    let (server, manifests) = legacy(true).await;
    let repository = repository(server.address());
    let (image, other) = (image(), image_index(&[]));
    assert_eq!(digests(&repository, &image, None).await, []);
    let mut kept = serde_json::from_slice::<Value>(other.bytes()).unwrap();
    kept["annotations"] = json!({"of": "somebody"});
    kept["x-unknown"] = json!([1.5]);
    manifests.lock().unwrap().insert(list_path(&image), kept.to_string().into());

    let (one, two) = (referrer_of(&image, "a/a", "one"), referrer_of(&image, "a/b", "two"));
    for referrer in [&one, &two, &one] {
        push(&repository, referrer).await.unwrap();
    }
    assert_eq!(repository.referrers(image.digest(), None).await.unwrap(), [one.referrer(), two.referrer()]);
    assert_eq!(digests(&repository, &image, Some("a/b")).await, [two.digest()]);
    let list: Value = serde_json::from_slice(&manifests.lock().unwrap()[&list_path(&image)]).unwrap();
    assert_eq!((&list["annotations"], &list["x-unknown"]), (&kept["annotations"], &kept["x-unknown"]));

    let tagged = referrer_of(&image, "a/c", "with a tag");
    repository.tag(&tagged, &sample::tag("sbom")).await.unwrap();
    assert_eq!(digests(&repository, &image, Some("a/c")).await, [tagged.digest()]);
}

#[tokio::test]
async fn nobody_is_lost_when_many_are_added_at_once() {
    for conditions in [true, false] {
        let (server, _) = legacy(conditions).await;
        let (image, repository) = (image(), repository(server.address()));
        let referrers: Vec<_> = (0..6).map(|n| referrer_of(&image, "a/b", &format!("{n}"))).collect();
        futures::future::try_join_all(referrers.iter().map(|referrer| push(&repository, referrer))).await.unwrap();
        assert_eq!(digests(&repository, &image, None).await.len(), 6);
    }
}

#[tokio::test]
async fn clients_that_do_not_know_each_other_lose_nothing_where_conditions_are_heeded() {
    let (server, _) = legacy(true).await;
    let image = image();
    let push_as_another = async |n: usize| {
        let repository = repository(server.address());
        push(&repository, &referrer_of(&image, "a/b", &format!("{n}"))).await.unwrap();
    };
    futures::future::join_all((0..4).map(push_as_another)).await;
    assert_eq!(digests(&repository(server.address()), &image, None).await.len(), 4);
}

#[tokio::test]
async fn what_is_deleted_is_taken_off_the_list_and_nothing_else_is() {
    for conditions in [true, false] {
        let (server, manifests) = legacy(conditions).await;
        let (image, repository) = (image(), repository(server.address()));
        let [one, two] = ["one", "two"].map(|words| referrer_of(&image, "a/b", words));
        for manifest in [&image, &one, &two] {
            push(&repository, manifest).await.unwrap();
        }
        repository.delete_manifest(one.digest()).await.unwrap();
        assert_eq!(digests(&repository, &image, None).await, [two.digest()]);
        let asked_so_far = asked(&server).await.len();
        repository.delete_manifest(image.digest()).await.unwrap();
        assert_eq!(asked(&server).await.len(), asked_so_far + 2, "without a subject, there is no list to change");
        repository.delete_manifest(two.digest()).await.unwrap();
        let list: Value = serde_json::from_slice(&manifests.lock().unwrap()[&list_path(&image)]).unwrap();
        assert_eq!(list["manifests"], json!([]));
        assert_eq!(kind(content(repository.delete_manifest(two.digest()).await)), ErrorKind::NotFound);
    }
}

fn content<T>(result: Result<T, bndlr::remote::Error>) -> Result<T, Error> {
    result.map_err(Error::from)
}

#[tokio::test]
async fn clients_that_add_and_delete_at_once_lose_nothing_where_conditions_are_heeded() {
    let (server, _) = legacy(true).await;
    let image = image();
    let referrers: Vec<_> = (0..6).map(|n| referrer_of(&image, "a/b", &format!("{n}"))).collect();
    for referrer in &referrers[..3] {
        push(&repository(server.address()), referrer).await.unwrap();
    }
    let change = async |n: usize| {
        let repository = repository(server.address());
        if n < 3 {
            repository.delete_manifest(referrers[n].digest()).await.unwrap();
        } else {
            push(&repository, &referrers[n]).await.unwrap();
        }
    };
    futures::future::join_all((0..6).map(change)).await;
    let mut left = digests(&repository(server.address()), &image, None).await;
    let mut expected: Vec<_> = referrers[3..].iter().map(RawManifest::digest).collect();
    left.sort_unstable();
    expected.sort_unstable();
    assert_eq!(left, expected);
}

#[tokio::test]
async fn a_list_that_cannot_be_changed_is_said_to_have_what_is_gone() {
    let image = image();
    let referrer = referrer_of(&image, "a/b", "");
    let list = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [referrer.referrer()]});
    let gone = referrer.clone();
    let server = server(move |request| match (request.method.as_str(), request.url.path()) {
        ("DELETE", _) => ResponseTemplate::new(202),
        ("PUT", _) => refusal(403, "DENIED", "no"),
        (_, path) if path.contains("/referrers/") => ResponseTemplate::new(404),
        (_, path) if path.contains("/sha256-") => {
            ResponseTemplate::new(200).set_body_raw(list.to_string(), media_type::OCI_INDEX)
        }
        _ => ResponseTemplate::new(200).set_body_raw(gone.bytes().to_vec(), gone.media_type()),
    })
    .await;
    let error = repository(server.address()).delete_manifest(referrer.digest()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    let still = format!(
        "{} is deleted, but still listed as a referrer under sha256-{}",
        referrer.digest(),
        image.digest().hex()
    );
    assert!(error.to_string().starts_with(&still), "{error}");
}

#[tokio::test]
async fn a_list_may_have_what_is_gone() {
    let (server, manifests) = legacy(true).await;
    let (image, repository) = (image(), repository(server.address()));
    let [gone, there] = ["gone", "there"].map(|words| referrer_of(&image, "a/b", words));
    for manifest in [&image, &gone, &there] {
        push(&repository, manifest).await.unwrap();
    }
    // Somebody removes it who knows nothing of lists.
    manifests.lock().unwrap().remove(&format!("/v2/team/app/manifests/{}", gone.digest()));
    assert_eq!(digests(&repository, &image, None).await.len(), 2);
    assert_eq!(digests(&repository, &gone, None).await, [], "what refers to that is nothing, and no error");

    // Blobs there are none in this registry, and in what is copied.
    let copied = Memory::new();
    let options = CopyOptions { referrers: true, ..CopyOptions::default() };
    copied.push(&Descriptor::of(media_type::OCI_EMPTY, b"{}"), &blob(b"{}").1).await.unwrap();
    let copy = copy(&repository, &image.digest().into(), &copied, &[], &options).await.unwrap();
    let referrers: Vec<_> = copy.referrers.iter().map(|(referrer, _)| referrer.digest).collect();
    assert_eq!(referrers, [there.digest()]);
}

#[tokio::test]
async fn what_is_no_list_under_the_tag_is_left_alone() {
    let (server, manifests) = legacy(true).await;
    let (image, repository) = (image(), repository(server.address()));
    manifests.lock().unwrap().insert(list_path(&image), image.bytes().to_vec());
    assert_eq!(kind(repository.referrers(image.digest(), None).await), ErrorKind::Content);
    assert_eq!(kind(push(&repository, &referrer_of(&image, "a/b", "")).await), ErrorKind::Content);
    let referrer = referrer_of(&image, "a/b", "").digest();
    repository.delete_manifest(referrer).await.unwrap();
    assert_eq!(manifests.lock().unwrap()[&list_path(&image)], image.bytes().to_vec());
}

#[tokio::test]
async fn a_registry_that_keeps_lists_is_left_to_it() {
    let (image, digest) = (image(), image().digest());
    let referrer = referrer_of(&image, "a/b", "");
    let put = format!("PUT /v2/team/app/manifests/{}", referrer.digest());
    for says_so in [true, false] {
        let server = server(move |request| match request.method.as_str() {
            "PUT" if says_so => ResponseTemplate::new(201).insert_header("oci-subject", digest.to_string().as_str()),
            "PUT" => ResponseTemplate::new(201),
            _ => ResponseTemplate::new(200).set_body_raw(image_index(&[]).bytes().to_vec(), media_type::OCI_INDEX),
        })
        .await;
        push(&repository(server.address()), &referrer).await.unwrap();
        let look = format!("GET /v2/team/app/referrers/{digest}");
        let expected = if says_so { vec![put.clone()] } else { vec![put.clone(), look] };
        assert_eq!(asked(&server).await, expected);
    }
    let (there, path) = (referrer.clone(), format!("/v2/team/app/manifests/{}", referrer.digest()));
    let server = server(move |request| match request.method.as_str() {
        "DELETE" => ResponseTemplate::new(202),
        _ if request.url.path().contains("/manifests/") => {
            ResponseTemplate::new(200).set_body_raw(there.bytes().to_vec(), there.media_type())
        }
        _ => page(&[], Some("?page=2")),
    })
    .await;
    repository(server.address()).delete_manifest(referrer.digest()).await.unwrap();
    let look = format!("GET /v2/team/app/referrers/{digest}");
    assert_eq!(asked(&server).await, [format!("GET {path}"), format!("DELETE {path}"), look]);
}

#[tokio::test]
async fn a_manifest_without_a_subject_costs_nothing_more() {
    let server = server(|_| ResponseTemplate::new(201)).await;
    push(&repository(server.address()), &image()).await.unwrap();
    assert_eq!(asked(&server).await.len(), 1);
}

fn page(referrers: &[&RawManifest], next: Option<&str>) -> ResponseTemplate {
    let referrers: Vec<_> = referrers.iter().map(|referrer| referrer.referrer()).collect();
    let body = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": referrers});
    let answer = ResponseTemplate::new(200).set_body_raw(body.to_string(), media_type::OCI_INDEX);
    match next {
        Some(next) => answer.insert_header("link", format!("<{next}>; rel=\"next\"").as_str()),
        None => answer,
    }
}

#[tokio::test]
async fn all_pages_are_read_and_filtered_if_the_registry_does_not() {
    let image = image();
    let referrers = ["one", "two", "three"].map(|words| referrer_of(&image, &format!("a/{words}+x"), words));
    let [one, two, three] = referrers.clone();
    let server = server(move |request| match request.url.query().unwrap_or_default() {
        "page=2" => page(&[&two, &one], Some("?page=3")),
        "page=3" => page(&[&three], None),
        _ => page(&[&one], Some(&format!("{}?page=2", request.url.path()))),
    })
    .await;
    let repository = repository(server.address());
    let all = referrers.each_ref().map(RawManifest::digest);
    assert_eq!(digests(&repository, &image, None).await, all, "each once");
    assert_eq!(digests(&repository, &image, Some("a/two+x")).await, [all[1]]);
    let first = format!("GET /v2/team/app/referrers/{}?artifactType=a%2Ftwo%2Bx", image.digest());
    assert!(asked(&server).await.contains(&first));
}

#[tokio::test]
async fn lists_that_lead_elsewhere_or_nowhere_are_refused() {
    let image = image();
    let elsewhere = server(|_| page(&[], None)).await;
    let long = format!("{}/list", elsewhere.uri());
    for next in [long.as_str(), "file:///etc/passwd", "?same", ""] {
        let goes_on = next.to_owned();
        let server = server(move |_| page(&[], Some(&goes_on))).await;
        let listed = repository(server.address()).referrers(image.digest(), None).await;
        assert_eq!(kind(listed), ErrorKind::Remote, "{next}");
    }
    assert_eq!(asked(&elsewhere).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_list_without_end_ends() {
    let image = image();
    let large = referrer_of(&image, "a/b", &"x".repeat(3_000_000));
    let count = Mutex::new(0);
    let server = server(move |_| {
        *count.lock().unwrap() += 1;
        page(&[&large], Some(&format!("?page={}", count.lock().unwrap())))
    })
    .await;
    let listed = repository(server.address()).referrers(image.digest(), None).await;
    assert_eq!(kind(listed), ErrorKind::Content);
    assert!(asked(&server).await.len() < 30);
}

/// Content that is in a repository, and may be read only if it is not there to be mounted.
struct Elsewhere {
    repository: Repository,
    content: Option<Content>,
}

#[async_trait::async_trait]
impl Open for Elsewhere {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        self.content.as_ref().expect("nothing is read").open(descriptor).await
    }

    fn origin(&self) -> Option<&Repository> {
        Some(&self.repository)
    }
}

fn elsewhere(server: &MockServer, name: &str, content: Option<Content>) -> Elsewhere {
    Elsewhere { repository: format!("{}/{name}", server.address()).parse().unwrap(), content }
}

fn mount(descriptor: &Descriptor) -> String {
    format!("POST /v2/team/app/blobs/uploads/?mount={}&from=team%2Fother", descriptor.digest)
        .replace("sha256:", "sha256%3A")
}

#[tokio::test]
async fn a_blob_that_the_registry_mounts_is_not_sent() {
    let (descriptor, _) = blob(b"shared");
    let mounting = server(|_| ResponseTemplate::new(201)).await;
    let from = elsewhere(&mounting, "team/other", None);
    let outcome = repository(mounting.address()).push(&descriptor, &from).await.unwrap();
    assert_eq!((outcome, asked(&mounting).await), (Outcome::Mounted, vec![mount(&descriptor)]));

    let wrong = Digest::sha256(b"something else").to_string();
    let lying =
        server(move |_| ResponseTemplate::new(201).insert_header("docker-content-digest", wrong.as_str())).await;
    let from = elsewhere(&lying, "team/other", None);
    assert_eq!(kind(repository(lying.address()).push(&descriptor, &from).await), ErrorKind::Content);
}

#[tokio::test]
async fn what_is_not_mounted_is_uploaded() {
    let (descriptor, _) = blob(b"shared");
    // What may pass is asked for again before the blob is sent.
    for (status, posts) in [(202, 1), (401, 2), (403, 2), (404, 2), (405, 2), (500, 6)] {
        let server = server(move |request| match request.url.query() {
            Some(query) if query.contains("mount=") && status != 202 => refusal(status, "DENIED", "no"),
            _ if request.method.as_str() == "PUT" => ResponseTemplate::new(201),
            _ => redirect(202, "/v2/team/app/blobs/uploads/1"),
        })
        .await;
        let from = elsewhere(&server, "team/other", Some(blob(b"shared").1));
        let outcome = repository(server.address()).push(&descriptor, &from).await.unwrap();
        assert_eq!(outcome, Outcome::Uploaded, "{status}");
        let asked = asked(&server).await;
        assert_eq!(asked[0], mount(&descriptor));
        assert_eq!(asked.iter().filter(|request| request.starts_with("POST")).count(), posts, "{status}: {asked:?}");
    }
}

#[tokio::test]
async fn nothing_is_mounted_from_another_registry_or_from_where_it_is_to_be() {
    let (descriptor, _) = blob(b"shared");
    let (server, other) = (server(answer_upload).await, server(answer_upload).await);
    for from in [
        elsewhere(&server, "team/app", Some(blob(b"shared").1)),
        elsewhere(&other, "team/other", Some(blob(b"shared").1)),
    ] {
        repository(server.address()).push(&descriptor, &from).await.unwrap();
    }
    assert!(asked(&server).await.iter().all(|request| !request.contains("mount")));
}

fn answer_upload(request: &Request) -> ResponseTemplate {
    if request.method.as_str() == "PUT" { ResponseTemplate::new(201) } else { redirect(202, "/upload") }
}

#[test]
fn the_tag_of_a_list_is_one_whatever_the_algorithm() {
    let digest = bndlr::digest::Algorithm::Sha512.digest(b"");
    let tag = Tag::of_referrers(digest);
    assert_eq!(tag.as_str(), format!("sha512-{}", &digest.hex()[..64]));
    assert_eq!(tag.as_str().parse::<Tag>().unwrap(), tag);
}
