//! Tokens: what is asked for, by whom, and what becomes of an identity token.

use bndlr::content::{ErrorKind, Source};
use bndlr::manifest::RawManifest;
use bndlr::reference::Identifier;
use serde_json::json as value;
use wiremock::{MockServer, Request, ResponseTemplate};

use crate::fake::{PASSWORD, asked, authorizations, basic, logged_in, redirect, refusal, repository_with, server};
use crate::program::Desk;
use crate::{ALICE, desk, embedded, json, registry, run};

fn v1() -> Identifier {
    "v1".parse().unwrap()
}

fn manifest() -> ResponseTemplate {
    let manifest = RawManifest::parse("", r#"{"schemaVersion":2,"manifests":[]}"#.into()).unwrap();
    ResponseTemplate::new(200).set_body_raw(manifest.bytes().to_vec(), manifest.media_type())
}

/// Asks for a token from `/token` on the same host, for `scope`.
fn challenge(request: &Request, scope: &str) -> ResponseTemplate {
    let realm = format!("http://{}/token", request.headers["host"].to_str().unwrap());
    let challenge = format!(r#"Bearer realm="{realm}",service="s",scope="{scope}""#);
    refusal(401, "UNAUTHORIZED", "log in").insert_header("www-authenticate", challenge.as_str())
}

fn form(request: &Request) -> Vec<(String, String)> {
    form_urlencoded::parse(&request.body).into_owned().collect()
}

/// A registry whose token service gives an identity token for alice's password, and a token for either.
async fn with_identities() -> MockServer {
    server(|request| {
        let token = value!({"token": "bearer-secret", "expires_in": 60, "refresh_token": "identity-secret"});
        let (says, is_token) = (request.headers.get("authorization"), request.url.path() == "/token");
        match (request.method.as_str(), says.map(|value| value.to_str().unwrap())) {
            ("GET", Some(says)) if is_token && says == basic() => ResponseTemplate::new(200).set_body_json(token),
            ("POST", None)
                if is_token && form(request).contains(&("refresh_token".into(), "identity-secret".into())) =>
            {
                ResponseTemplate::new(200).set_body_json(token)
            }
            (_, Some("Bearer bearer-secret")) if request.url.path() == "/v2/" => ResponseTemplate::new(200),
            (_, Some("Bearer bearer-secret")) => manifest(),
            _ => challenge(request, "repository:team/app:pull"),
        }
    })
    .await
}

#[tokio::test]
async fn an_identity_token_is_stored_for_a_password_and_shown_to_the_token_service_alone() {
    let (server, desk) = (with_identities().await, Desk::new());
    let host = server.address();
    let ran = run(&desk, &format!("login {host} {ALICE}"));
    assert!(ran.stderr.contains("as alice; an identity token is in"), "{ran:?}");
    ran.ok();
    let entry = &json(&desk, ".docker/config.json")["auths"][host.to_string()];
    assert_eq!(entry["identitytoken"], "identity-secret");
    assert!(!desk.read(".docker/config.json").contains(&basic()[6..]), "the password is not stored");
    assert_eq!(asked(&server).await[1], "GET /token?service=s&offline_token=true&client_id=bndlr");

    let before = asked(&server).await.len();
    run(&desk, &format!("resolve {host}/team/app:v1")).ok();
    let requests = server.received_requests().await.unwrap().split_off(before);
    let posted: Vec<_> = requests.iter().filter(|request| request.method == "POST").collect();
    let [posted] = posted[..] else { panic!("{requests:?}") };
    assert_eq!(
        form(posted),
        [
            ("grant_type", "refresh_token"),
            ("refresh_token", "identity-secret"),
            ("client_id", "bndlr"),
            ("service", "s"),
            ("scope", "repository:team/app:pull"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    for request in requests.iter().filter(|request| request.url.path() != "/token") {
        assert!(!format!("{request:?}").contains("identity-secret"), "{request:?}");
    }
}

#[tokio::test]
async fn an_identity_token_goes_on_to_no_other_host() {
    let elsewhere = server(|_| ResponseTemplate::new(200).set_body_json(value!({"token": "bearer-secret"}))).await;
    let there = format!("{}/token", elsewhere.uri());
    let registry = server(move |request| match request.url.path() {
        "/token" => redirect(307, there.clone()),
        _ => challenge(request, ""),
    })
    .await;
    let desk = Desk::new();
    let auths = value!({"auths": {registry.address().to_string(): {"identitytoken": "identity-secret"}}});
    desk.write(".docker/config.json", &auths.to_string());
    let ran = run(&desk, &format!("resolve {}/team/app:v1", registry.address()));
    assert_eq!(ran.code, Some(6), "{ran:?}");
    assert!(ran.stderr.contains("redirects what is for it alone to http://127.0.0.1:"), "{ran:?}");
    assert!(asked(&elsewhere).await.is_empty());
}

#[tokio::test]
async fn an_identity_token_is_no_password_for_a_registry() {
    let registry = server(|_| ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=x")).await;
    let desk = Desk::new();
    let auths = value!({"auths": {registry.address().to_string(): {"identitytoken": "identity-secret"}}});
    desk.write(".docker/config.json", &auths.to_string());
    let ran = run(&desk, &format!("resolve {}/team/app:v1", registry.address()));
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.contains("log in again"), "{ran:?}");
    assert!(authorizations(&registry).await.iter().all(Option::is_none));
}

#[tokio::test]
async fn a_token_service_that_knows_no_forms_gets_a_header() {
    let registry = server(|request| match (request.url.path(), request.method.as_str()) {
        ("/token", "POST") => ResponseTemplate::new(405),
        ("/token", _) => ResponseTemplate::new(200).set_body_json(value!({"token": "bearer-secret"})),
        _ if request.headers.contains_key("authorization") => manifest(),
        _ => challenge(request, ""),
    })
    .await;
    let desk = Desk::new();
    let auths = value!({"auths": {registry.address().to_string(): {"identitytoken": "identity-secret"}}});
    desk.write(".docker/config.json", &auths.to_string());
    run(&desk, &format!("resolve {}/team/app:v1", registry.address())).ok();
}

/// A registry that wants tokens for `scope` and takes none that was not asked for it.
async fn with_scope(scope: &'static str) -> MockServer {
    server(move |request| {
        if request.url.path() == "/token" {
            let asked = request.url.query_pairs().any(|(name, value)| name == "scope" && value == scope);
            let token = if asked { "bearer-secret" } else { "too little" };
            return ResponseTemplate::new(200).set_body_json(value!({"token": token}));
        }
        match request.headers.get("authorization") {
            Some(token) if token == "Bearer bearer-secret" => manifest(),
            _ => challenge(request, scope),
        }
    })
    .await
}

#[tokio::test]
async fn a_registry_that_knows_the_repository_by_another_name_says_so() {
    let registry = with_scope("repository:proxied/library/app:pull").await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    repository.manifest(&v1()).await.unwrap();
    let tokens: Vec<_> = asked(&registry).await.into_iter().filter(|line| line.contains("/token")).collect();
    let own = "GET /token?scope=repository%3Ateam%2Fapp%3Apull";
    let both = format!("{own}&scope=repository%3Aproxied%2Flibrary%2Fapp%3Apull&service=s");
    assert_eq!(tokens, [format!("{own}&service=s"), both]);
    let before = asked(&registry).await.len();
    repository.manifest(&v1()).await.unwrap();
    assert_eq!(asked(&registry).await.len(), before + 1, "the token is kept");

    let others = repository_with(registry.address(), logged_in(registry.address()));
    let reads = (0..8).map(|_| async { others.manifest(&v1()).await.map(|_| ()) });
    futures::future::try_join_all(reads).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_always_asks_for_more_is_asked_three_times_and_no_more() {
    let registry = server(|request| {
        if request.url.path() == "/token" {
            let token = format!("t{}", request.url.as_str().len());
            return ResponseTemplate::new(200).set_body_json(value!({"token": token}));
        }
        let scopes: Vec<_> = (0..100).map(|number| format!("repository:r{number}:pull")).collect();
        challenge(request, &scopes.join(" "))
    })
    .await;
    let repository = repository_with(registry.address(), logged_in(registry.address()));
    assert_eq!(repository.manifest(&v1()).await.unwrap_err().kind(), ErrorKind::Denied);
    let asked = asked(&registry).await;
    assert_eq!(asked.len(), 3 + 2, "{asked:?}");
    assert!(asked.iter().all(|line| line.matches("scope=").count() <= 9), "{asked:?}");
}

#[tokio::test]
async fn credentials_are_told_to_no_token_service_elsewhere_by_a_registry_on_this_machine() {
    let registry = server(|_| {
        ResponseTemplate::new(401).insert_header("www-authenticate", r#"Bearer realm="https://auth.invalid/token""#)
    })
    .await;
    let error = repository_with(registry.address(), logged_in(registry.address())).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied);
    assert!(error.to_string().contains("https://auth.invalid") && !error.to_string().contains(PASSWORD), "{error}");
    assert!(error.hint().unwrap().contains("not sent"), "{error}");
}

#[tokio::test]
async fn a_token_is_printed_for_those_who_make_requests_themselves() {
    let registry = with_scope("repository:a:pull,push").await;
    let desk = Desk::new();
    let ran = desk.run(&format!("-v token {} repository:a:pull,push registry:x:y {ALICE}", registry.address()));
    assert!(!ran.stderr.contains("secret") && !ran.stderr.contains(PASSWORD), "{ran:?}");
    assert_eq!(ran.ok(), "bearer-secret\n");
    assert_eq!(
        asked(&registry).await,
        ["GET /v2/", "GET /token?scope=repository%3Aa%3Apull%2Cpush&scope=registry%3Ax%3Ay&service=s"]
    );
    assert_eq!(authorizations(&registry).await, [None, Some(basic())]);

    let other = server(|_| ResponseTemplate::new(401).insert_header("www-authenticate", "Basic realm=x")).await;
    let ran = run(&desk, &format!("token {} {ALICE}", other.address()));
    assert!(ran.code == Some(6) && ran.stderr.contains("asks for a password, and not for a token"), "{ran:?}");
    let open = server(|_| ResponseTemplate::new(200)).await;
    let ran = run(&desk, &format!("token {}", open.address()));
    assert!(ran.code == Some(6) && ran.stderr.contains("asks for no token"), "{ran:?}");
    let ran = run(&desk, &format!("login {} {ALICE}", open.address()));
    assert!(ran.code == Some(0) && ran.stderr.contains("so nothing was checked"), "{ran:?}");
}

#[tokio::test]
async fn a_token_of_our_own_registry_is_for_what_it_was_asked_for_and_no_more() {
    let desk = desk();
    let registry = registry(&desk, "");
    let (host, app) = (&registry.address, registry.reference("team/app:v1"));
    run(&desk, &format!("push tree {app} {ALICE}")).ok();
    let digest = run(&desk, &format!("resolve {app} {ALICE}")).ok();
    let url = format!("http://{host}/v2/team/app/manifests/{}", digest.trim_end());
    let client = embedded::client(reqwest::Client::builder());
    for (scope, status) in [("pull", 401), ("pull,delete", 202)] {
        let token = desk.run(&format!("token {host} repository:team/app:{scope} {ALICE}")).ok();
        let deleted = client.delete(&url).bearer_auth(token.trim_end()).send().await.unwrap();
        assert_eq!(deleted.status(), status, "{scope}");
    }
    assert_eq!(run(&desk, &format!("resolve {app} {ALICE}")).code, Some(3));
}
