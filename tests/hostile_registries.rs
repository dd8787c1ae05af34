//! Registries that lie, break, or are after something: each ends with an error that says so, nothing wrong is taken for
//! right, and no credential goes where it does not belong.

mod fake;
mod sample;

use std::time::Duration;

use bndlr::content::{Error, ErrorKind, Source, Target};
use bndlr::digest::Digest;
use bndlr::manifest::{MAX_MANIFEST_SIZE, RawManifest, media_type};
use bndlr::reference::Identifier;
use bndlr::remote::ClientOptions;
use fake::{
    Ending, PASSWORD, Raw, Traces, asked, authorizations, basic, logged_in, options, raw_answer, redirect, refusal,
    repository, repository_with, server,
};
use sample::{blob, kind, read, tag};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

fn v1() -> Identifier {
    tag("v1").into()
}

fn manifest() -> RawManifest {
    RawManifest::parse("", r#"{"schemaVersion":2,"manifests":[]}"#.into()).unwrap()
}

/// The error of fetching `team/app:v1` from a server that always answers so.
async fn fetching_fails(answer: ResponseTemplate) -> Error {
    let server = server(move |_| answer.clone()).await;
    repository(server.address()).manifest(&v1()).await.unwrap_err()
}

/// Asks for alice's password, and then gives what `answer` makes of the request.
fn behind_a_password(request: &Request, answer: impl FnOnce(&Request) -> ResponseTemplate) -> ResponseTemplate {
    if request.headers.get("authorization").is_some_and(|value| value == basic().as_str()) {
        return answer(request);
    }
    ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=x")
}

/// Fails if anything that the server got, or anything that was traced, has the password or its Base64 in it.
async fn assert_learned_nothing(server: &MockServer, traces: &Traces) {
    for request in server.received_requests().await.unwrap() {
        let request = format!("{request:?}");
        assert!(!request.contains("authorization") && !request.contains(PASSWORD), "{request}");
    }
    let text = traces.text();
    assert!(!text.contains(PASSWORD) && !text.contains(&basic()[6..]), "{text}");
}

#[tokio::test]
async fn a_web_page_is_no_answer_whatever_its_status() {
    for status in [200, 401, 403, 404, 500] {
        let page = ResponseTemplate::new(status).set_body_raw("<html>Welcome!</html>", "text/html; charset=utf-8");
        let error = fetching_fails(page).await;
        assert!(error.to_string().ends_with("not a registry's answer (text/html)"), "{error}");
        let expected = match status {
            401 | 403 => ErrorKind::Denied,
            404 => ErrorKind::NotFound,
            _ => ErrorKind::Remote,
        };
        assert_eq!(error.kind(), expected, "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
}

#[tokio::test]
async fn a_web_page_has_no_blobs_and_takes_none() {
    let server = server(|_| ResponseTemplate::new(200).set_body_raw("<html>Welcome!</html>", "text/html")).await;
    let repository = repository(server.address());
    let (descriptor, content) = blob(b"x");
    for result in [
        repository.exists(&descriptor).await.map(|_| ()),
        repository.push(&descriptor, &content).await.map(|_| ()),
        read(&repository, &descriptor).await.map(|_| ()),
        repository.tag(&manifest(), &tag("v1")).await,
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Remote, "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_says_no_is_quoted() {
    for (status, expected) in [
        (401, ErrorKind::Denied),
        (403, ErrorKind::Denied),
        (404, ErrorKind::NotFound),
        (409, ErrorKind::Conflict),
        (412, ErrorKind::Conflict),
        (418, ErrorKind::Remote),
        (500, ErrorKind::Remote),
    ] {
        let error = fetching_fails(refusal(status, "SOME_CODE", "in so\r\nmany\u{1b}[31m words")).await;
        assert_eq!(error.kind(), expected);
        assert!(error.to_string().ends_with(r": SOME_CODE: in so\r\nmany\u{1b}[31m words"), "{error}");
        assert!(error.to_string().contains(&format!("/v2/team/app/manifests/v1: {status} ")), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_with_a_wrong_digest_is_not_believed() {
    let body = manifest().bytes().to_vec();
    let answer = ResponseTemplate::new(200).set_body_raw(body, media_type::OCI_INDEX);
    let other = Digest::sha256(b"other");

    let named = answer.clone().insert_header("docker-content-digest", other.to_string().as_str());
    let error = fetching_fails(named.clone()).await;
    assert_eq!(error.kind(), ErrorKind::Content);
    assert!(error.to_string().contains(&format!("expected {other}")), "{error}");

    let lying = server(move |_| named.clone()).await;
    let by_digest: Identifier = manifest().digest().into();
    assert_eq!(kind(repository(lying.address()).resolve(&by_digest).await), ErrorKind::Content);

    let wrong = server(move |_| answer.clone()).await;
    assert_eq!(kind(repository(wrong.address()).manifest(&other.into()).await), ErrorKind::Content);
}

#[tokio::test]
async fn a_registry_that_stored_something_else_is_found_out() {
    let other = Digest::sha256(b"other").to_string();
    let server = server(move |request| {
        let answer = if request.method == "POST" { redirect(202, "/upload") } else { ResponseTemplate::new(201) };
        answer.insert_header("docker-content-digest", other.as_str())
    })
    .await;
    let repository = repository(server.address());
    assert_eq!(kind(repository.tag(&manifest(), &tag("v1")).await), ErrorKind::Content);
    let (descriptor, content) = blob(b"x");
    assert_eq!(kind(repository.push(&descriptor, &content).await), ErrorKind::Content);
}

#[tokio::test]
async fn what_is_no_manifest_is_wrong_content() {
    for (media_type, body) in [
        (media_type::OCI_MANIFEST, "{"),
        (media_type::OCI_MANIFEST, r#"{"schemaVersion":1}"#),
        ("application/zip", r#"{"schemaVersion":2,"manifests":[]}"#),
        (media_type::OCI_MANIFEST, "[[[[[[[[[[[[[[[["),
    ] {
        let error = fetching_fails(ResponseTemplate::new(200).set_body_raw(body, media_type)).await;
        assert_eq!(error.kind(), ErrorKind::Content, "{error}");
        assert!(error.to_string().contains("/v2/team/app/manifests/v1: "), "{error}");
    }
}

#[tokio::test]
async fn a_blob_without_end_is_read_no_further_than_its_size() {
    let (descriptor, _) = blob(b"0123456789");
    let endless = Raw::start("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789", Ending::Forever).await;
    let error = read(&repository(&endless.address), &descriptor).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Content, "{error}");
}

#[tokio::test]
async fn a_manifest_without_end_is_read_no_further_than_the_limit() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {}", media_type::OCI_MANIFEST);
    let endless = Raw::start(format!("{head}\r\nConnection: close\r\n\r\n"), Ending::Forever).await;
    let error = repository(&endless.address).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Content);
    assert!(error.to_string().contains(&format!("more than {MAX_MANIFEST_SIZE} bytes")), "{error}");

    let announced = Raw::start(raw_answer(&head, usize::MAX >> 1, b"{"), Ending::Hang).await;
    assert_eq!(kind(repository(&announced.address).manifest(&v1()).await), ErrorKind::Content);
}

#[tokio::test]
async fn an_error_without_end_is_an_error() {
    let endless = Raw::start("HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n", Ending::Forever).await;
    let error = repository(&endless.address).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(error.to_string().contains("500 Internal Server Error"), "{error}");
}

#[tokio::test]
async fn a_blob_that_is_cut_short_changed_or_too_long_is_never_whole() {
    let (descriptor, _) = blob(b"0123456789");
    let ok = "HTTP/1.1 200 OK";
    for (answer, expected) in [
        (raw_answer(ok, 10, b"01234"), ErrorKind::Remote),
        (raw_answer(ok, 10, b"0123456780"), ErrorKind::Content),
        (raw_answer(ok, 9, b"012345678"), ErrorKind::Content),
        (raw_answer(ok, 11, b"0123456789!"), ErrorKind::Content),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n01234".to_vec(), ErrorKind::Content),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n".to_vec(), ErrorKind::Remote),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(), ErrorKind::Remote),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n0123456789!\r\n0\r\n\r\n".to_vec(),
            ErrorKind::Content,
        ),
    ] {
        let server = Raw::start(answer.clone(), Ending::Close).await;
        let error = read(&repository(&server.address), &descriptor).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error} ({:?})", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn nothing_is_waited_for_forever() {
    let (descriptor, content) = blob(b"0123456789");
    let patience = ClientOptions { stall_timeout: Duration::from_millis(200), ..options() };

    let silent = Raw::start("", Ending::Hang).await;
    let repository = repository_with(&silent.address, patience.clone());
    let error = repository.manifest(&v1()).await.unwrap_err();
    assert!(error.to_string().ends_with("nothing came for 0.2 seconds"), "{error}");
    assert_eq!(
        (error.kind(), kind(repository.push(&descriptor, &content).await)),
        (ErrorKind::Remote, ErrorKind::Remote)
    );

    let stuck = Raw::start(raw_answer("HTTP/1.1 200 OK", 10, b"01234"), Ending::Hang).await;
    let error = read(&repository_with(&stuck.address, patience), &descriptor).await.unwrap_err();
    assert!(error.to_string().ends_with("nothing came for 0.2 seconds"), "{error}");
}

#[tokio::test]
async fn bytes_that_are_not_http_are_an_error() {
    for answer in
        [&b"SSH-2.0-OpenSSH_9.9\r\n"[..], b"HTTP/1.1 abc\r\n\r\n", b"", b"HTTP/1.1 200 OK\r\nbroken header\r\n\r\n"]
    {
        let server = Raw::start(answer, Ending::Close).await;
        let error = repository(&server.address).manifest(&v1()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Remote, "{error}");
    }
}

#[tokio::test]
async fn a_redirect_takes_no_credential_to_another_host() {
    let (traces, _guard) = Traces::collect();
    let (descriptor, _) = blob(b"hello");
    let elsewhere = server(|_| ResponseTemplate::new(200).set_body_bytes(&b"hello"[..])).await;
    let there = format!("{}/x", elsewhere.uri());
    let registry = server(move |request| behind_a_password(request, |_| redirect(302, there.clone()))).await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    assert_eq!(read(&repository, &descriptor).await.unwrap(), "hello");
    assert_eq!(asked(&elsewhere).await, ["GET /x"]);
    assert_learned_nothing(&elsewhere, &traces).await;
}

#[tokio::test]
async fn what_comes_back_from_another_host_has_no_credential_any_more() {
    let registry = MockServer::start().await;
    let back = format!("{}/v2/private/secret", registry.uri());
    let elsewhere = server(move |_| redirect(302, back.clone())).await;
    let there = format!("{}/x", elsewhere.uri());
    let answer = move |request: &Request| behind_a_password(request, |_| redirect(302, there.clone()));
    Mock::given(any()).respond_with(answer).mount(&registry).await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    assert_eq!(kind(read(&repository, &blob(b"hello").0).await), ErrorKind::Remote);
    assert_eq!(authorizations(&registry).await, [None, Some(basic()), None]);
}

#[tokio::test]
async fn a_redirect_that_stays_keeps_the_credential() {
    let registry = server(|request| {
        behind_a_password(request, |request| match request.url.path() {
            "/moved" => ResponseTemplate::new(200).set_body_bytes(&b"hello"[..]),
            _ => redirect(307, "/moved"),
        })
    })
    .await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    assert_eq!(read(&repository, &blob(b"hello").0).await.unwrap(), "hello");
    assert_eq!(authorizations(&registry).await, [None, Some(basic()), Some(basic())]);
}

#[tokio::test]
async fn a_host_that_a_registry_leads_to_cannot_ask_who_is_there() {
    let (traces, _guard) = Traces::collect();
    let phisher = MockServer::start().await;
    let realm = format!(r#"Basic realm=x, Bearer realm="{}/token""#, phisher.uri());
    let elsewhere = server(move |_| ResponseTemplate::new(401).insert_header("www-authenticate", realm.as_str())).await;
    let there = format!("{}/x", elsewhere.uri());
    let registry = server(move |request| redirect(if request.method == "POST" { 202 } else { 302 }, &there)).await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    let (descriptor, content) = blob(b"hello");
    // The registry sent us there: that it is of no use is the registry's failure, and not the user's.
    assert_eq!(kind(read(&repository, &descriptor).await), ErrorKind::Remote);
    assert_eq!(kind(repository.push(&descriptor, &content).await), ErrorKind::Remote);
    assert!(asked(&phisher).await.is_empty());
    assert_learned_nothing(&elsewhere, &traces).await;
}

#[tokio::test]
async fn redirects_end() {
    let registry = server(|request| redirect(302, format!("{}x", request.url.path()))).await;
    let error = repository(registry.address()).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(error.to_string().ends_with("redirects more than 10 times"), "{error}");
    assert_eq!(asked(&registry).await.len(), 11);
}

#[tokio::test]
async fn a_redirect_or_a_location_to_something_that_is_not_http_is_refused() {
    for location in ["file:///etc/passwd", "ftp://127.0.0.1/x", "unix:/var/run/docker.sock", "http://"] {
        let registry =
            server(move |request| redirect(if request.method == "POST" { 202 } else { 302 }, location)).await;
        let repository = repository(registry.address());
        let (descriptor, content) = blob(b"x");
        let error = read(&repository, &descriptor).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Remote && error.to_string().contains("redirects to a location"), "{error}");
        let error = repository.push(&descriptor, &content).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Remote && error.to_string().contains("names a location"), "{error}");
    }
}

#[tokio::test]
async fn an_upload_without_a_location_is_an_error() {
    let registry = server(|_| ResponseTemplate::new(202)).await;
    let (descriptor, content) = blob(b"x");
    let error = repository(registry.address()).push(&descriptor, &content).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Remote && error.to_string().contains("no location"), "{error}");
}

#[tokio::test]
async fn an_upload_to_another_host_says_nothing_of_who_sends_it() {
    let (traces, _guard) = Traces::collect();
    let elsewhere = server(|_| ResponseTemplate::new(201)).await;
    let there = elsewhere.uri().replace("http://", "http://mallory:guess@") + "/bucket?X-Signature=top-secret";
    let registry = server(move |request| behind_a_password(request, |_| redirect(202, there.clone()))).await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    let (descriptor, content) = blob(b"hello");
    repository.push(&descriptor, &content).await.unwrap();
    let digest = descriptor.digest.hex();
    assert_eq!(asked(&elsewhere).await, [format!("PUT /bucket?X-Signature=top-secret&digest=sha256%3A{digest}")]);
    assert_learned_nothing(&elsewhere, &traces).await;
    assert!(!traces.text().contains("top-secret") && !traces.text().contains("guess"));
}

#[tokio::test]
async fn a_token_service_is_told_who_asks_only_if_the_registry_itself_names_it() {
    let service =
        server(|_| ResponseTemplate::new(200).set_body_json(serde_json::json!({"token": "bearer-secret"}))).await;
    let realm = format!(r#"Bearer realm="{}/token",service="s""#, service.uri());
    let registry = server(move |request| match request.headers.get("authorization") {
        Some(_) => ResponseTemplate::new(200),
        None => ResponseTemplate::new(401).insert_header("www-authenticate", realm.as_str()),
    })
    .await;
    let named = repository_with(registry.address(), logged_in(registry.address()));
    assert!(named.exists(&blob(b"x").0).await.unwrap());
    assert_eq!(authorizations(&service).await, [Some(basic())]);

    // Credentials that are another registry's are not offered at all.
    let other = repository_with(registry.address(), logged_in(service.address()));
    assert!(other.exists(&blob(b"x").0).await.unwrap());
    assert_eq!(authorizations(&service).await, [Some(basic()), None]);
}

#[tokio::test]
async fn a_token_service_that_redirects_takes_no_credential_along() {
    let (traces, _guard) = Traces::collect();
    let elsewhere =
        server(|_| ResponseTemplate::new(200).set_body_json(serde_json::json!({"token": "bearer-secret"}))).await;
    let there = format!("{}/token", elsewhere.uri());
    let registry = server(move |request| {
        let host = request.headers["host"].to_str().unwrap();
        match (request.url.path(), request.headers.get("authorization")) {
            ("/token", _) => redirect(307, there.clone()),
            (_, Some(_)) => ResponseTemplate::new(200),
            (_, None) => ResponseTemplate::new(401)
                .insert_header("www-authenticate", format!("Bearer realm=\"http://{host}/token\"").as_str()),
        }
    })
    .await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    assert!(repository.exists(&blob(b"x").0).await.unwrap());
    assert_eq!(asked(&elsewhere).await, ["GET /token"]);
    assert_learned_nothing(&elsewhere, &traces).await;
}

#[tokio::test]
async fn a_token_service_beyond_this_machine_on_plain_http_is_told_nothing() {
    let registry = server(|_| {
        ResponseTemplate::new(401).insert_header("www-authenticate", r#"Bearer realm="http://auth.invalid/token""#)
    })
    .await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    let error = repository.exists(&blob(b"x").0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("plain HTTP (http://auth.invalid)"), "{error}");
    assert!(error.hint().unwrap().contains("not sent"));
}

#[tokio::test]
async fn challenges_that_make_no_sense_are_errors() {
    for challenge in [
        "Bearer",
        "Bearer realm",
        "Bearer realm=\"",
        "Bearer realm=\"not a url\"",
        "Bearer realm=\"file:///etc/passwd\"",
        "Bearer realm=\"//evil.example\"",
        "Negotiate",
        "===,,,\"\\",
        "",
    ] {
        let registry = server(move |_| ResponseTemplate::new(401).insert_header("www-authenticate", challenge)).await;
        let repository = repository_with(registry.address(), logged_in(registry.address()));
        assert_eq!(kind(repository.manifest(&v1()).await), ErrorKind::Denied, "{challenge}");
        assert_eq!(authorizations(&registry).await, [None], "{challenge}");
    }
}

#[tokio::test]
async fn what_a_token_service_says_is_not_repeated() {
    for (answer, expected) in [
        (ResponseTemplate::new(200).set_body_string(r#"{"token":["bearer-secret"]}"#), ErrorKind::Remote),
        (ResponseTemplate::new(200).set_body_string(r#"{"token":"bearer-secret\n"}"#), ErrorKind::Remote),
        (ResponseTemplate::new(200).set_body_string("bearer-secret"), ErrorKind::Remote),
        (ResponseTemplate::new(200).set_body_raw("<html>bearer-secret", "text/html"), ErrorKind::Remote),
        (
            ResponseTemplate::new(200).set_body_string(format!("bearer-secret{}", " ".repeat(300 * 1024))),
            ErrorKind::Content,
        ),
        (ResponseTemplate::new(401).set_body_string("bearer-secret"), ErrorKind::Denied),
    ] {
        let service = server(move |_| answer.clone()).await;
        let realm = format!("Bearer realm=\"{}/token\"", service.uri());
        let registry =
            server(move |_| ResponseTemplate::new(401).insert_header("www-authenticate", realm.as_str())).await;
        let error = repository(registry.address()).manifest(&v1()).await.unwrap_err();
        assert_eq!(error.kind(), expected, "{error}");
        assert!(
            error.to_string().contains("/token: ") && !format!("{error} {error:?}").contains("bearer-secret"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_registry_that_refuses_every_token_is_asked_twice_and_no_more() {
    let registry = server(|request| {
        let host = request.headers["host"].to_str().unwrap();
        if request.url.path() == "/token" {
            return ResponseTemplate::new(200).set_body_json(serde_json::json!({"token": "bearer-secret"}));
        }
        ResponseTemplate::new(401)
            .insert_header("www-authenticate", format!("Bearer realm=\"http://{host}/token\"").as_str())
    })
    .await;
    let error = repository(registry.address()).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert_eq!(asked(&registry).await.len(), 3);
}

/// Begins an upload at a registry of which the second host answers these bytes before it has read anything.
async fn upload_is_answered_early(answer: Vec<u8>, ending: Ending) -> Error {
    let early = Raw::start(answer, ending).await;
    let there = format!("http://{}/upload", early.address);
    let registry = server(move |_| redirect(202, there.clone())).await;
    let (descriptor, content) = blob(&sample::large());
    repository(registry.address()).push(&descriptor, &content).await.unwrap_err()
}

#[tokio::test]
async fn an_upload_that_is_answered_before_its_end_shows_the_answer() {
    let body = br#"{"errors":[{"code":"SIZE_INVALID","message":"too large for us"}]}"#;
    let answer = raw_answer("HTTP/1.1 413 Payload Too Large\r\nConnection: close", body.len(), body);
    let error = upload_is_answered_early(answer, Ending::Hang).await;
    assert!(error.to_string().ends_with("413 Payload Too Large: SIZE_INVALID: too large for us"), "{error}");
    assert!(error.hint().unwrap().contains("limits the size"));
}

#[tokio::test]
async fn an_upload_whose_connection_is_cut_is_a_failure_of_the_network() {
    for answer in ["", "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"] {
        let error = upload_is_answered_early(answer.into(), Ending::Close).await;
        assert_eq!(error.kind(), ErrorKind::Remote, "{error}");
        assert!(error.to_string().contains("/upload: "), "{error}");
    }
}
