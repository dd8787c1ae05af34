//! What a registry's API offers beside being a source and a target: tags, the catalog, manifests of any kind, blobs by
//! their digest, and removing all of these. Registries that mean harm with their lists are in `hostile_lists.rs`.

mod docker_registry;
mod embedded;
mod fake;
mod peer;
mod sample;

use bndlr::content::{self, ErrorKind, Target};
use bndlr::digest::{Algorithm, Digest};
use bndlr::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};
use bndlr::protocol::Scope;
use bndlr::reference::{Identifier, Repository, Tag};
use bndlr::remote::{AnyManifest, Client, Error, RemoteRepository};
use bytes::{Bytes, BytesMut};
use docker_registry::DockerRegistry;
use embedded::Embedded;
use fake::{Ending, Raw, asked, options, raw_answer, redirect, refusal, repository, server};
use futures::{StreamExt, TryStreamExt};
use sample::{blob, push_blobs, tag};
use wiremock::{Request, ResponseTemplate};

fn v1() -> Identifier {
    tag("v1").into()
}

/// The repository `team/app` of a registry inside this test.
fn of(registry: &Embedded) -> RemoteRepository {
    repository(&registry.address().parse().unwrap())
}

fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.map(|_| ()).expect_err("expected an error").kind()
}

async fn tags(repository: &RemoteRepository) -> Vec<String> {
    repository.tags().map_ok(|tag| tag.to_string()).try_collect().await.unwrap()
}

async fn range(repository: &RemoteRepository, digest: Digest, range: &str) -> Result<Bytes, content::Error> {
    let part = repository.open_blob_range_unverified(digest, range.parse().unwrap()).await?;
    Ok(part.try_collect::<BytesMut>().await?.freeze())
}

fn page(tags: &[&str]) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(serde_json::json!({"name": "team/app", "tags": tags}))
}

#[tokio::test]
async fn tags_come_page_by_page_however_the_pages_are_linked() {
    let server = server(|request| match request.url.query().unwrap() {
        "n=1000" => page(&["b", "a"]).insert_header("link", "</v2/team/app/tags/list?n=2&last=a>; rel=\"next\""),
        "n=2&last=a" => page(&[]).insert_header("link", "<list?next_page=x%2By>;rel=next"),
        "next_page=x%2By" => {
            let absolute = format!(
                "<http://{}{}?last=c>; rel=\"next\"",
                request.headers["host"].to_str().unwrap(),
                request.url.path()
            );
            page(&["c"]).insert_header("link", "</prev>; rel=\"prev\"").append_header("link", absolute.as_str())
        }
        _ => page(&["d"]),
    })
    .await;
    assert_eq!(tags(&repository(server.address())).await, ["b", "a", "c", "d"]);
    assert_eq!(asked(&server).await.len(), 4);
}

#[tokio::test]
async fn no_more_pages_are_asked_for_than_are_read() {
    let server = server(|request| {
        let next = format!("<?last={}>; rel=next", request.url.query().unwrap().len());
        page(&["a", "b"]).insert_header("link", next.as_str())
    })
    .await;
    let first: Vec<Tag> = repository(server.address()).tags().take(2).try_collect().await.unwrap();
    assert_eq!((first, asked(&server).await.len()), (vec![tag("a"), tag("b")], 1));
}

#[tokio::test]
async fn a_repository_may_have_no_tags_or_not_be_there() {
    let server = server(|request| match request.url.path() {
        "/v2/team/app/tags/list" => ResponseTemplate::new(200).set_body_string(r#"{"name":"team/app","tags":null}"#),
        _ => refusal(404, "NAME_UNKNOWN", "who?"),
    })
    .await;
    assert!(tags(&repository(server.address())).await.is_empty());
    let client = Client::new(options()).unwrap();
    let other = client.repository(&format!("{}/other", server.address()).parse().unwrap()).unwrap();
    assert_eq!(kind(other.tags().try_next().await), ErrorKind::NotFound);
}

#[tokio::test]
async fn our_own_registry_lists_more_tags_than_one_page_has() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_image("team/app", "t0000", b"layer").await;
    let manifest = registry.get(&format!("/v2/team/app/manifests/{digest}")).await.bytes().await.unwrap();
    let all: Vec<String> = (0..2001).map(|number| format!("t{number:04}")).collect();
    for some in all.chunks(64) {
        let query: Vec<String> = some.iter().map(|tag| format!("tag={tag}")).collect();
        let path = format!("/v2/team/app/manifests/{digest}?{}", query.join("&"));
        assert_eq!(registry.put(&path, OCI_MANIFEST, manifest.clone()).await.status(), 201);
    }
    assert_eq!(tags(&of(&registry)).await, all);
}

#[tokio::test]
async fn repositories_are_listed_with_their_registry() {
    let registry = Embedded::in_memory().await;
    registry.push_image("b/two", "v1", b"layer").await;
    registry.push_image("a", "v1", b"layer").await;
    let client = Client::new(options()).unwrap();
    let host = registry.address().parse().unwrap();
    let listed: Vec<Repository> = client.catalog(&host).unwrap().try_collect().await.unwrap();
    let listed: Vec<String> = listed.iter().map(ToString::to_string).collect();
    assert_eq!(listed, [format!("{host}/a"), format!("{host}/b/two")]);
}

#[tokio::test]
async fn what_is_removed_is_gone_and_nothing_else_is() {
    let registry = Embedded::in_memory().await;
    let repository = of(&registry);
    let digest = registry.push_image("team/app", "v1", b"layer").await;
    registry.push_image("team/app", "v2", b"layer").await;

    repository.delete_tag(&tag("v1")).await.unwrap();
    assert_eq!(tags(&repository).await, ["v2"]);
    assert_eq!(kind(repository.delete_tag(&tag("v1")).await), ErrorKind::NotFound);

    repository.delete_manifest(digest).await.unwrap();
    assert!(tags(&repository).await.is_empty());
    assert_eq!(kind(repository.delete_manifest(digest).await), ErrorKind::NotFound);

    let (layer, _) = blob(b"layer");
    assert_eq!(repository.resolve_blob(layer.digest).await.unwrap().size, 5);
    repository.delete_blob(layer.digest).await.unwrap();
    assert_eq!(kind(repository.resolve_blob(layer.digest).await), ErrorKind::NotFound);
    assert_eq!(kind(repository.delete_blob(layer.digest).await), ErrorKind::NotFound);
}

#[tokio::test]
async fn a_registry_that_removes_nothing_says_so_and_what_else_can_be_done_is_said_here() {
    let server = server(|_| refusal(405, "UNSUPPORTED", "no")).await;
    let repository = repository(server.address());
    let digest = Digest::sha256(b"x");
    for (result, hint) in [
        (repository.delete_tag(&tag("v1")).await, "no tag alone"),
        (repository.delete_manifest(digest).await, "configuration"),
        (repository.delete_blob(digest).await, "only by itself"),
    ] {
        let error = result.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Remote && error.hint().unwrap().contains(hint),
            "{error}: {:?}",
            error.hint()
        );
    }
}

#[tokio::test]
async fn other_words_for_done_are_understood_and_web_pages_are_not() {
    for status in [200, 201, 202, 204] {
        let server = server(move |_| ResponseTemplate::new(status)).await;
        let repository = repository(server.address());
        let manifest = AnyManifest::new(OCI_INDEX, r#"{"schemaVersion":2,"manifests":[]}"#.into());
        assert!(repository.push_manifest(&manifest, &v1()).await.is_ok(), "{status}");
        assert_eq!(repository.delete_manifest(manifest.digest).await.is_ok(), status != 201, "{status}");
    }
    let server = server(|_| ResponseTemplate::new(200).set_body_raw("<html>Welcome!</html>", "text/html")).await;
    let repository = repository(server.address());
    let digest = Digest::sha256(b"x");
    for result in [
        repository.delete_tag(&tag("v1")).await,
        repository.delete_manifest(digest).await,
        repository.delete_blob(digest).await,
        repository.resolve_blob(digest).await.map(|_| ()),
        repository.open_blob(digest).await.map(|_| ()),
        repository.tags().try_next().await.map(|_| ()),
        repository.fetch_manifest(&v1(), &[]).await.map(|_| ()),
        repository.describe_manifest(&v1(), &[]).await.map(|_| ()),
        repository.push_manifest(&AnyManifest::new("x/y", "{}".into()), &v1()).await.map(|_| ()),
    ] {
        let error = result.unwrap_err();
        assert!(error.to_string().ends_with("not a registry's answer (text/html)"), "{error}");
    }
}

/// Plays a registry that wants a token for everything.
fn with_token(request: &Request) -> ResponseTemplate {
    let host = request.headers["host"].to_str().unwrap();
    match request.url.path() {
        "/token" => ResponseTemplate::new(200).set_body_json(serde_json::json!({"token": "bearer-secret"})),
        _ if request.headers.contains_key("authorization") => ResponseTemplate::new(202),
        _ => ResponseTemplate::new(401)
            .insert_header("www-authenticate", format!(r#"Bearer realm="http://{host}/token",service="s""#).as_str()),
    }
}

#[tokio::test]
async fn who_removes_something_asks_for_leave_to_do_that() {
    let server = server(with_token).await;
    repository(server.address()).delete_tag(&tag("v1")).await.unwrap();
    let token = "GET /token?scope=repository%3Ateam%2Fapp%3Apull%2Cdelete&service=s";
    let delete = "DELETE /v2/team/app/manifests/v1";
    assert_eq!(asked(&server).await, [delete, token, delete]);
}

#[tokio::test]
async fn who_introduces_themselves_asks_once_for_what_they_want() {
    let server = server(with_token).await;
    let repository = repository(server.address());
    repository.introduce(&Scope::delete(&repository.repository().name)).await.unwrap();
    repository.delete_tag(&tag("v1")).await.unwrap();
    let token = "GET /token?scope=repository%3Ateam%2Fapp%3Apull%2Cdelete&service=s";
    assert_eq!(asked(&server).await, ["GET /v2/", token, "DELETE /v2/team/app/manifests/v1"]);
}

#[tokio::test]
async fn a_manifest_of_any_kind_comes_as_it_is() {
    let body = r#"{"schemaVersion": 7, "hello": "world"}"#;
    let digest = Digest::sha256(body.as_bytes());
    let server = server(move |request| {
        let accept = request.headers["accept"].to_str().unwrap();
        let media_type = if accept == "*/*" { "application/vnd.example+json; charset=utf-8" } else { accept };
        ResponseTemplate::new(200).set_body_raw(body, media_type)
    })
    .await;
    let repository = repository(server.address());
    let found = repository.fetch_manifest(&v1(), &[]).await.unwrap();
    assert_eq!(
        (&*found.media_type, found.digest, &found.bytes[..]),
        ("application/vnd.example+json", digest, body.as_bytes())
    );
    let found = repository.fetch_manifest(&digest.into(), &["a/b", "c/d"]).await.unwrap();
    assert_eq!(found.media_type, "a/b, c/d");
    // There is no digest in the answer to HEAD.
    let described = repository.describe_manifest(&v1(), &["a/b"]).await.unwrap();
    assert_eq!((&*described.media_type, described.digest, described.size), ("a/b", digest, body.len() as u64));
    let other = Digest::sha256(b"other").into();
    assert_eq!(kind(repository.fetch_manifest(&other, &[]).await), ErrorKind::Content);
    assert_eq!(kind(repository.fetch_manifest(&v1(), &["a\nb"]).await), ErrorKind::Content);
}

#[tokio::test]
async fn a_manifest_is_held_against_what_the_registry_says_unless_that_is_about_a_part_of_it() {
    let named = Digest::sha256(b"what is signed");
    let server = server(move |request| {
        let kind = if request.url.path().ends_with("signed") { "v1+prettyjws" } else { "v1+json" };
        ResponseTemplate::new(200)
            .insert_header("docker-content-digest", named.to_string().as_str())
            .set_body_raw("{}", &format!("application/vnd.docker.distribution.manifest.{kind}"))
    })
    .await;
    let repository = repository(server.address());
    assert_eq!(kind(repository.fetch_manifest(&v1(), &[]).await), ErrorKind::Content);
    let signed = tag("signed").into();
    assert_eq!(repository.fetch_manifest(&signed, &[]).await.unwrap().digest, named);
    assert_eq!(kind(repository.fetch_manifest(&named.into(), &[]).await), ErrorKind::Content);
}

#[tokio::test]
async fn a_manifest_is_put_under_its_digest_or_not_at_all() {
    let registry = Embedded::in_memory().await;
    let repository = of(&registry);
    let manifest = AnyManifest::new(
        OCI_INDEX,
        format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#).into(),
    );
    assert_eq!(repository.push_manifest(&manifest, &v1()).await.unwrap(), manifest.digest);
    assert_eq!(repository.fetch_manifest(&v1(), &[]).await.unwrap(), manifest);
    let digest = Algorithm::Sha512.digest(&manifest.bytes);
    assert_eq!(repository.push_manifest(&manifest, &digest.into()).await.unwrap(), digest);
    let other = Digest::sha256(b"other").into();
    let error = repository.push_manifest(&manifest, &other).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Content && error.to_string().contains(&other.to_string()), "{error}");
    let large = AnyManifest::new(OCI_INDEX, vec![b' '; 4 * 1024 * 1024 + 1].into());
    assert_eq!(kind(repository.push_manifest(&large, &v1()).await), ErrorKind::Content);
}

#[tokio::test]
async fn a_registry_without_head_is_asked_with_get() {
    for status in [400, 405, 501] {
        let server = server(move |request| match (request.method.as_str(), request.url.path()) {
            ("HEAD", _) => ResponseTemplate::new(status),
            (_, path) if path.ends_with(&Digest::sha256(b"there").to_string()) => {
                ResponseTemplate::new(200).set_body_bytes(&b"there"[..])
            }
            _ => refusal(404, "BLOB_UNKNOWN", "no"),
        })
        .await;
        let repository = repository(server.address());
        let ((there, _), (missing, _)) = (blob(b"there"), blob(b"missing"));
        assert_eq!(repository.resolve_blob(there.digest).await.unwrap().size, 5);
        assert_eq!(kind(repository.resolve_blob(missing.digest).await), ErrorKind::NotFound);
        assert!(repository.exists(&there).await.unwrap() && !repository.exists(&missing).await.unwrap());
    }
}

#[tokio::test]
async fn a_blob_is_read_whole_and_verified_when_only_its_digest_is_known() {
    let registry = Embedded::in_memory().await;
    let repository = of(&registry);
    for content in [&b"0123456789"[..], b""] {
        let digest = registry.push_blob("team/app", content).await;
        assert_eq!(repository.open_blob(digest).await.unwrap().read_all().await.unwrap(), content);
    }
    assert_eq!(kind(repository.open_blob(Digest::sha256(b"unknown")).await), ErrorKind::NotFound);

    let wrong = server(|_| ResponseTemplate::new(200).set_body_bytes(&b"0123456780"[..])).await;
    let opened = fake::repository(wrong.address()).open_blob(Digest::sha256(b"0123456789")).await.unwrap();
    assert_eq!(opened.read_all().await.unwrap_err().kind(), ErrorKind::Content);

    let unsized_answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n";
    let server = Raw::start(&unsized_answer[..], Ending::Close).await;
    let error = fake::repository(&server.address).open_blob(Digest::sha256(b"x")).await.map(|_| ()).unwrap_err();
    assert!(
        error.kind() == ErrorKind::Remote && error.to_string().ends_with("does not say how many bytes it has"),
        "{error}"
    );
}

#[tokio::test]
async fn a_part_of_a_blob_is_what_was_asked_for() {
    let registry = Embedded::in_memory().await;
    let repository = of(&registry);
    let digest = registry.push_blob("team/app", b"0123456789").await;
    let deaf = server(|_| ResponseTemplate::new(200).set_body_bytes(&b"0123456789"[..])).await;
    for repository in [&repository, &fake::repository(deaf.address())] {
        for (asked, expected) in
            [("0-0", "0"), ("2-4", "234"), ("7-", "789"), ("-3", "789"), ("0-99", "0123456789"), ("-99", "0123456789")]
        {
            assert_eq!(range(repository, digest, asked).await.unwrap(), expected, "{asked}");
        }
        let error = range(repository, digest, "10-").await.unwrap_err();
        assert!(error.kind() == ErrorKind::NotFound && error.to_string().ends_with("in the range 10-"), "{error}");
    }
    assert_eq!(range(&repository, Digest::sha256(b"unknown"), "0-").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn another_part_than_was_asked_for_is_refused() {
    let digest = Digest::sha256(b"0123456789");
    let partial = |range: &str, length: usize, body: &[u8]| {
        raw_answer(&format!("HTTP/1.1 206 Partial Content\r\nContent-Range: {range}"), length, body)
    };
    for (answer, expected) in [
        (partial("bytes 0-4/10", 5, b"01234"), ErrorKind::Content),
        (partial("bytes 2-9/10", 8, b"23456789"), ErrorKind::Content),
        (partial("bytes 2-4/4", 3, b"234"), ErrorKind::Content),
        (partial("lines 2-4/10", 3, b"234"), ErrorKind::Content),
        (partial("bytes 2-4/10", 2, b"23"), ErrorKind::Content),
        (partial("bytes 2-4/10", 4, b"2345"), ErrorKind::Content),
        (raw_answer("HTTP/1.1 206 Partial Content", 3, b"234"), ErrorKind::Content),
        (raw_answer("HTTP/1.1 200 OK", 10, b"0123456780"), ErrorKind::Content),
        (raw_answer("HTTP/1.1 204 No Content", 0, b""), ErrorKind::Remote),
    ] {
        let server = Raw::start(answer.clone(), Ending::Close).await;
        let error = range(&repository(&server.address), digest, "2-4").await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error} ({:?})", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn a_blob_and_its_parts_may_come_from_elsewhere() {
    let elsewhere = server(|_| ResponseTemplate::new(200).set_body_bytes(&b"0123456789"[..])).await;
    let there = format!("{}/x", elsewhere.uri());
    let server = server(move |_| redirect(307, there.clone())).await;
    let (repository, digest) = (repository(server.address()), Digest::sha256(b"0123456789"));
    assert_eq!(repository.open_blob(digest).await.unwrap().read_all().await.unwrap(), "0123456789");
    assert_eq!(range(&repository, digest, "2-4").await.unwrap(), "234");
}

#[tokio::test]
async fn debians_registry_lists_describes_and_removes() {
    let Some(registry) = DockerRegistry::start("") else { return };
    let repository = repository(&registry.address);
    let manifest = push_blobs(&repository, &[b"layer"]).await;
    for name in ["v1", "v2"] {
        repository.tag(&manifest, &tag(name)).await.unwrap();
    }
    assert_eq!(tags(&repository).await, ["v1", "v2"]);
    let client = Client::new(options()).unwrap();
    let host = registry.address.to_string().parse().unwrap();
    let listed: Vec<Repository> = client.catalog(&host).unwrap().try_collect().await.unwrap();
    assert_eq!(listed, [repository.repository().clone()]);
    assert_eq!(repository.describe_manifest(&v1(), &[OCI_MANIFEST]).await.unwrap(), manifest.descriptor());
    let (layer, _) = blob(b"layer");
    assert_eq!(range(&repository, layer.digest, "1-2").await.unwrap(), "ay");
    // It removes no tag alone.
    let error = repository.delete_tag(&tag("v2")).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Remote && error.hint().unwrap().contains("no tag alone"), "{error}");
    repository.delete_manifest(manifest.digest()).await.unwrap();
    repository.delete_blob(layer.digest).await.unwrap();
    assert_eq!(kind(repository.fetch_manifest(&v1(), &[OCI_MANIFEST]).await), ErrorKind::NotFound);
}
