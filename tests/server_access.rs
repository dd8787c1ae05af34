//! Who may do what in a registry that asks: passwords, rules and tokens.

mod embedded;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bndlr::digest::Digest;
use bndlr::manifest::media_type::OCI_MANIFEST;
use bndlr::protocol::Challenge;
use bndlr::server::storage::Memory;
use bndlr::server::{Auth, Limits, Passwords, Registry, Rules, TokenKey};
use embedded::{Embedded, assert_refused, header, image_manifest};
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

const RULES: &str = "\
    alice          push,delete  team/**\n\
    bob,carol      pull         team/**\n\
    carol          push         team/app\n\
    anonymous      pull         public/**\n\
    alice          push         public/**\n";

/// Each user's password is the name backwards.
fn password(user: &str) -> String {
    user.chars().rev().collect()
}

fn htpasswd(users: &[&str]) -> String {
    let line = |user: &&str| format!("{user}:{}", bcrypt::hash(password(user), 4).unwrap());
    users.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn auth() -> Auth {
    Auth::new(Passwords::parse(&htpasswd(&["alice", "bob", "carol"])).unwrap()).unwrap()
}

async fn serve(auth: Auth) -> Embedded {
    Embedded::of(Registry::new(Memory::new()).auth(auth)).await
}

async fn with_rules() -> Embedded {
    serve(auth().rules(Rules::parse(RULES).unwrap())).await
}

trait As {
    /// The same, sent by this user; by nobody, if the name is empty.
    fn by(self, user: &str) -> Self;
}

impl As for RequestBuilder {
    fn by(self, user: &str) -> Self {
        if user.is_empty() { self } else { self.basic_auth(user, Some(password(user))) }
    }
}

async fn get_by(registry: &Embedded, path: &str, user: &str) -> Response {
    registry.request(Method::GET, path).by(user).send().await.unwrap()
}

async fn with_token(registry: &Embedded, method: Method, path: &str, token: &str) -> Response {
    registry.request(method, path).bearer_auth(token).send().await.unwrap()
}

async fn push_blob(registry: &Embedded, repository: &str, content: &[u8], user: &str) -> Response {
    let path = format!("/v2/{repository}/blobs/uploads/?digest={}", Digest::sha256(content));
    registry.request(Method::POST, &path).body(content.to_vec()).by(user).send().await.unwrap()
}

/// An image with the tag `v1`.
async fn push_image(registry: &Embedded, repository: &str, user: &str) -> Digest {
    for content in [&b"{}"[..], b"layer"] {
        assert_eq!(push_blob(registry, repository, content, user).await.status(), 201);
    }
    let manifest = image_manifest(b"layer");
    let put = registry.request(Method::PUT, &format!("/v2/{repository}/manifests/v1")).body(manifest.clone());
    assert_eq!(put.header("content-type", OCI_MANIFEST).by(user).send().await.unwrap().status(), 201);
    Digest::sha256(manifest.as_bytes())
}

/// The only challenge of an answer.
fn challenge(response: &Response) -> Challenge {
    let mut challenges = Challenge::parse_all(header(response, "www-authenticate"));
    assert_eq!(challenges.len(), 1, "{challenges:?}");
    challenges.remove(0)
}

async fn json(response: Response) -> Value {
    let status = response.status();
    let body = response.bytes().await.unwrap();
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

/// A token for these scopes.
async fn token(registry: &Embedded, user: &str, scopes: &str) -> String {
    let scopes = scopes.replace(' ', "&scope=");
    let answer = json(get_by(registry, &format!("/token?service=bndlr&scope={scopes}"), user).await).await;
    answer["token"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn who_says_nothing_is_told_where_to_log_in() {
    let registry = with_rules().await;
    let digest = Digest::sha256(b"layer");
    for (method, path, scope) in [
        (Method::GET, "/v2/".to_owned(), None),
        (Method::GET, "/v2/_catalog".to_owned(), Some("registry:catalog:*")),
        (Method::GET, "/v2/team/app/manifests/v1".to_owned(), Some("repository:team/app:pull")),
        (Method::GET, format!("/v2/team/app/blobs/{digest}"), Some("repository:team/app:pull")),
        // It is going to be pushed, and not every client asks for a second token then.
        (Method::HEAD, format!("/v2/team/app/blobs/{digest}"), Some("repository:team/app:pull,push")),
        (Method::GET, "/v2/team/app/tags/list".to_owned(), Some("repository:team/app:pull")),
        (Method::GET, format!("/v2/nowhere/referrers/{digest}"), Some("repository:nowhere:pull")),
        (Method::POST, "/v2/public/app/blobs/uploads/".to_owned(), Some("repository:public/app:pull,push")),
        (Method::PUT, "/v2/team/app/manifests/v1".to_owned(), Some("repository:team/app:pull,push")),
        (Method::DELETE, "/v2/team/app/manifests/v1".to_owned(), Some("repository:team/app:pull,delete")),
        (Method::DELETE, "/v2/team/app/blobs/uploads/0".to_owned(), Some("repository:team/app:pull,push")),
    ] {
        let response = registry.request(method.clone(), &path).send().await.unwrap();
        assert_eq!(response.status(), 401, "{method} {path}");
        let challenge = challenge(&response);
        assert_eq!(challenge.scheme, "bearer");
        assert_eq!(challenge.parameter("realm"), Some(&*format!("http://{}/token", registry.address())));
        assert_eq!(challenge.parameter("service"), Some("bndlr"));
        assert_eq!(challenge.parameter("scope"), scope, "{method} {path}");
        if method != Method::HEAD {
            assert_refused(response, 401, "UNAUTHORIZED").await;
        }
    }
}

#[tokio::test]
async fn users_do_what_the_rules_say_and_see_nothing_else() {
    let registry = with_rules().await;
    push_image(&registry, "team/app", "alice").await;
    let manifest = push_image(&registry, "team/other", "alice").await;
    for (user, path, status, code) in [
        ("alice", "/v2/team/app/manifests/v1", 200, ""),
        ("bob", "/v2/team/app/manifests/v1", 200, ""),
        ("bob", "/v2/team/app/tags/list", 200, ""),
        ("bob", "/v2/team/nothing/manifests/v1", 404, "MANIFEST_UNKNOWN"),
        ("bob", "/v2/secret/manifests/v1", 404, "NAME_UNKNOWN"),
        ("alice", "/v2/secret/tags/list", 404, "NAME_UNKNOWN"),
        ("bob", "/v2/", 200, ""),
    ] {
        let response = get_by(&registry, path, user).await;
        if status == 200 {
            assert_eq!(response.status(), 200, "{user} {path}");
        } else {
            assert_refused(response, status, code).await;
        }
    }
    assert_refused(push_blob(&registry, "team/app", b"x", "bob").await, 403, "DENIED").await;
    assert_refused(push_blob(&registry, "team/other", b"x", "carol").await, 403, "DENIED").await;
    assert_refused(push_blob(&registry, "secret", b"x", "alice").await, 404, "NAME_UNKNOWN").await;
    assert_eq!(push_blob(&registry, "team/app", b"x", "carol").await.status(), 201);
    let path = format!("/v2/team/other/manifests/{manifest}");
    let delete = |user| registry.request(Method::DELETE, &path).by(user).send();
    assert_refused(delete("carol").await.unwrap(), 403, "DENIED").await;
    assert_eq!(delete("alice").await.unwrap().status(), 202);
}

#[tokio::test]
async fn the_catalog_has_what_its_reader_may_pull() {
    let registry = with_rules().await;
    push_image(&registry, "team/app", "alice").await;
    push_image(&registry, "public/app", "alice").await;
    let repositories = async |response| json(response).await["repositories"].to_string();
    let path = "/v2/_catalog";
    let token = async |user| token(&registry, user, "registry:catalog:*").await;
    let both = r#"["public/app","team/app"]"#;
    assert_eq!(repositories(get_by(&registry, path, "bob").await).await, both);
    assert_eq!(repositories(with_token(&registry, Method::GET, path, &token("bob").await).await).await, both);
    let anonymous = with_token(&registry, Method::GET, path, &token("").await).await;
    assert_eq!(repositories(anonymous).await, r#"["public/app"]"#);
}

#[tokio::test]
async fn a_session_is_for_those_who_may_push() {
    let registry = with_rules().await;
    let begun = registry.request(Method::POST, "/v2/team/app/blobs/uploads/").by("alice").send().await.unwrap();
    let session = header(&begun, "location").to_owned();
    for method in [Method::GET, Method::PATCH, Method::PUT, Method::DELETE] {
        let response = registry.request(method, &session).by("bob").send().await.unwrap();
        assert_refused(response, 403, "DENIED").await;
    }
    assert_eq!(registry.request(Method::DELETE, &session).by("carol").send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn what_everybody_may_pull_needs_no_password() {
    let registry = with_rules().await;
    push_image(&registry, "public/app", "alice").await;
    push_image(&registry, "team/app", "alice").await;
    assert_eq!(registry.get("/v2/public/app/manifests/v1").await.status(), 200);
    assert_eq!(get_by(&registry, "/v2/public/app/manifests/v1", "bob").await.status(), 200);
    assert_refused(registry.get("/v2/team/app/manifests/v1").await, 401, "UNAUTHORIZED").await;

    // Clients that begin with /v2/ get a token without having a password.
    let anonymous = token(&registry, "", "repository:public/app:pull,push").await;
    let path = "/v2/public/app/manifests/v1";
    assert_eq!(with_token(&registry, Method::GET, path, &anonymous).await.status(), 200);
    assert_eq!(with_token(&registry, Method::GET, "/v2/", &anonymous).await.status(), 200);
    assert_refused(with_token(&registry, Method::PUT, path, &anonymous).await, 401, "UNAUTHORIZED").await;
    let nothing = registry.get("/token?service=bndlr&scope=repository:team/app:pull").await;
    assert_eq!(challenge(&nothing).scheme, "basic");
    assert_refused(nothing, 401, "UNAUTHORIZED").await;
}

#[tokio::test]
async fn without_rules_users_may_do_everything_and_others_pull_if_that_is_said() {
    let closed = serve(auth()).await;
    let open = serve(auth().rules(Rules::for_users_and_anonymous_pull())).await;
    for (registry, status) in [(&closed, 401), (&open, 200)] {
        push_image(registry, "any/thing", "bob").await;
        assert_eq!(registry.get("/v2/any/thing/manifests/v1").await.status(), status);
        assert_eq!(push_blob(registry, "any/thing", b"x", "").await.status(), 401);
        assert_eq!(registry.get("/v2/").await.status(), 401);
    }
}

#[tokio::test]
async fn a_wrong_password_is_told_like_a_wrong_user_and_never_better_than_none() {
    let registry = with_rules().await;
    push_image(&registry, "public/app", "alice").await;
    let mut answers = Vec::new();
    for (user, password) in [("alice", "wrong"), ("nobody", "wrong"), ("nobody", "ydobon"), ("", "")] {
        for path in ["/v2/public/app/manifests/v1", "/v2/", "/token?service=bndlr"] {
            let response = registry.request(Method::GET, path).basic_auth(user, Some(password)).send().await.unwrap();
            assert_eq!(response.status(), 401, "{user} {path}");
            answers.push(response.bytes().await.unwrap());
        }
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    for header in ["Basic !", "Negotiate x", "Bearer", "Bearer x.y.z", "Basic YWxpY2U="] {
        let request = registry.request(Method::GET, "/v2/public/app/manifests/v1").header("authorization", header);
        assert_eq!(request.send().await.unwrap().status(), 401, "{header}");
    }
}

#[tokio::test]
async fn a_mount_takes_only_what_its_caller_may_read() {
    let registry = with_rules().await;
    let digest = Digest::sha256(b"layer");
    push_image(&registry, "team/app", "alice").await;
    push_image(&registry, "public/app", "alice").await;
    let mount = |to: &str, from: &str| {
        registry.request(Method::POST, &format!("/v2/{to}/blobs/uploads/?mount={digest}&from={from}"))
    };
    assert_eq!(mount("team/app", "public/app").by("carol").send().await.unwrap().status(), 201);
    assert_eq!(mount("public/b", "team/app").by("alice").send().await.unwrap().status(), 201);
    // A token is for what it names, whatever its user may do beside that.
    let one = token(&registry, "alice", "repository:public/c:pull,push").await;
    let both = token(&registry, "alice", "repository:public/c:pull,push repository:team/app:pull").await;
    assert_eq!(mount("public/c", "team/app").bearer_auth(one).send().await.unwrap().status(), 202);
    assert_eq!(mount("public/c", "team/app").bearer_auth(both).send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn what_a_user_may_not_read_is_not_mounted() {
    let rules = "alice push a/**\nbob push b/**";
    let registry = serve(auth().rules(Rules::parse(rules).unwrap())).await;
    push_image(&registry, "a/app", "alice").await;
    let path = format!("/v2/b/app/blobs/uploads/?mount={}&from=a/app", Digest::sha256(b"layer"));
    let response = registry.request(Method::POST, &path).by("bob").send().await.unwrap();
    assert_eq!(response.status(), 202, "an upload session, as if it were not there");
}

#[tokio::test]
async fn a_token_is_for_what_was_asked_and_allowed() {
    let registry = with_rules().await;
    push_image(&registry, "team/app", "alice").await;
    let asked = "/token?service=bndlr&account=bob&offline_token=true\
                 &scope=repository:team/app:pull,push&scope=repository:secret:pull%20registry:catalog:*";
    let answer = json(get_by(&registry, asked, "bob").await).await;
    assert_eq!(answer["scope"], "repository:team/app:pull registry:catalog:*");
    assert_eq!(answer["token"], answer["access_token"]);
    assert_eq!(answer["expires_in"], 300);
    assert!(answer["issued_at"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{answer}");
    assert!(answer.get("refresh_token").is_none());

    let bobs = answer["token"].as_str().unwrap();
    assert_eq!(with_token(&registry, Method::GET, "/v2/team/app/manifests/v1", bobs).await.status(), 200);
    assert_eq!(with_token(&registry, Method::GET, "/v2/", bobs).await.status(), 200);
    let put = with_token(&registry, Method::PUT, "/v2/team/app/manifests/v1", bobs).await;
    assert_refused(put, 403, "DENIED").await;
    let elsewhere = with_token(&registry, Method::GET, "/v2/secret/manifests/v1", bobs).await;
    assert_refused(elsewhere, 404, "NAME_UNKNOWN").await;
}

#[tokio::test]
async fn a_token_for_less_than_its_user_may_do_asks_for_another() {
    let registry = with_rules().await;
    let pull = token(&registry, "alice", "repository:team/app:pull").await;
    for (method, path, scope) in [
        (Method::POST, "/v2/team/app/blobs/uploads/", "repository:team/app:pull,push"),
        (Method::GET, "/v2/team/other/tags/list", "repository:team/other:pull"),
        (Method::GET, "/v2/_catalog", "registry:catalog:*"),
    ] {
        let response = with_token(&registry, method, path, &pull).await;
        let challenge = challenge(&response);
        assert_eq!(challenge.parameter("scope"), Some(scope));
        assert_eq!(challenge.parameter("error"), Some("insufficient_scope"));
        assert_refused(response, 401, "UNAUTHORIZED").await;
    }
}

#[tokio::test]
async fn a_form_gets_a_token_as_well() {
    let registry = with_rules().await;
    push_image(&registry, "team/app", "alice").await;
    let post = |form: &'static str| {
        let request = registry.request(Method::POST, "/token").body(form);
        request.header("content-type", "application/x-www-form-urlencoded").send()
    };
    let form = "grant_type=password&service=bndlr&client_id=test&username=bob&password=bob\
                &scope=repository%3Ateam%2Fapp%3Apull+repository%3Asecret%3Apull";
    let answer = json(post(form).await.unwrap()).await;
    assert_eq!(answer["scope"], "repository:team/app:pull");
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(with_token(&registry, Method::GET, "/v2/team/app/manifests/v1", token).await.status(), 200);

    for wrong in ["grant_type=password&username=bob&password=alice", "grant_type=password&username=x&password=x"] {
        assert_refused(post(wrong).await.unwrap(), 401, "UNAUTHORIZED").await;
    }
    for bad in ["", "grant_type=refresh_token&refresh_token=x", "grant_type=password&username=bob"] {
        assert_refused(post(bad).await.unwrap(), 400, "UNSUPPORTED").await;
    }
    let no_form = registry.request(Method::POST, "/token").body(form).send().await.unwrap();
    assert_refused(no_form, 400, "UNSUPPORTED").await;
    assert_refused(registry.request(Method::PUT, "/token").send().await.unwrap(), 405, "UNSUPPORTED").await;
    assert_refused(get_by(&registry, "/token?service=other", "bob").await, 400, "UNSUPPORTED").await;
    let many: Vec<_> = (0..33).map(|number| format!("&scope=repository:a{number}:pull")).collect();
    let many = many.concat();
    assert_refused(get_by(&registry, &format!("/token?service=bndlr{many}"), "bob").await, 400, "UNSUPPORTED").await;
    let long = registry.request(Method::POST, "/token").body("x".repeat(100_000));
    let long = long.header("content-type", "application/x-www-form-urlencoded").send().await.unwrap();
    assert_eq!(long.status(), 413);
}

#[tokio::test]
async fn who_may_not_push_takes_no_turn_from_those_who_may() {
    // Nobody ever gets a turn, and whoever waits for one gets 503.
    let mut limits = Limits::default();
    (limits.uploads, limits.upload_wait) = (0, Duration::ZERO);
    let registry = Embedded::of(Registry::new(Memory::new()).limits(limits).auth(auth())).await;
    for (user, status) in [("", 401), ("bob", 503)] {
        assert_eq!(push_blob(&registry, "team/app", b"x", user).await.status(), status, "{user}");
    }
}

#[tokio::test]
async fn a_token_ends() {
    let now = Arc::new(AtomicU64::new(1_800_000_000));
    let clock = Arc::clone(&now);
    let time = move || SystemTime::UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed));
    let registry = serve(auth().clock(time)).await;
    let token = token(&registry, "bob", "repository:a:pull").await;
    let get = || with_token(&registry, Method::GET, "/v2/", &token);
    assert_eq!(get().await.status(), 200);
    now.fetch_add(299, Ordering::Relaxed);
    assert_eq!(get().await.status(), 200);
    now.fetch_add(1, Ordering::Relaxed);
    let response = get().await;
    assert_eq!(challenge(&response).parameter("error"), Some("invalid_token"));
    assert_refused(response, 401, "UNAUTHORIZED").await;
}

#[tokio::test]
async fn tokens_of_others_and_those_that_were_changed_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("key");
    fs::write(&file, "k".repeat(32)).unwrap();
    let shared = |url: &str| auth().token_key(TokenKey::read(&file).unwrap()).public_url(url).unwrap();
    let (one, replica) = (serve(shared("https://one.test")).await, serve(shared("https://one.test")).await);
    let (other, stranger) = (serve(shared("https://other.test")).await, serve(auth()).await);
    let answer = json(get_by(&one, "/token?service=one.test", "bob").await).await;
    let token = answer["token"].as_str().unwrap();
    for (registry, status) in [(&one, 200), (&replica, 200), (&other, 401), (&stranger, 401)] {
        assert_eq!(with_token(registry, Method::GET, "/v2/", token).await.status(), status);
    }
    let [_, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let header = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let decoded = String::from_utf8(BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    let alices = BASE64_URL_SAFE_NO_PAD.encode(decoded.replace("bob", "alice"));
    let start = &token[..token.find('.').unwrap()];
    for forged in [
        format!("{}.{claims}.", header(r#"{"alg":"none","typ":"JWT"}"#)),
        format!("{}.{claims}.{signature}", header(r#"{"alg":"none","typ":"JWT"}"#)),
        format!("{}.{claims}.{signature}", header(r#"{"alg":"HS512","typ":"JWT"}"#)),
        format!("{start}.{alices}.{signature}"),
        format!("{start}.{claims}."),
        format!("{start}.{claims}"),
        format!("{token}."),
        format!("{token}A"),
    ] {
        let response = with_token(&one, Method::GET, "/v2/", &forged).await;
        assert_refused(response, 401, "UNAUTHORIZED").await;
    }
}

#[tokio::test]
async fn the_realm_is_the_public_url_whatever_the_request_says() {
    let registry = serve(auth().public_url("https://registry.test").unwrap()).await;
    for (name, value) in [("x-forwarded-proto", "http"), ("x-forwarded-host", "evil.test")] {
        let response = registry.request(Method::GET, "/v2/").header(name, value).send().await.unwrap();
        assert_eq!(challenge(&response).parameter("realm"), Some("https://registry.test/token"));
        assert_eq!(challenge(&response).parameter("service"), Some("registry.test"));
    }
    let own = serve(auth()).await;
    let forwarded = own.request(Method::GET, "/v2/").header("x-forwarded-host", "evil.test").send().await.unwrap();
    assert_eq!(challenge(&forwarded).parameter("realm"), Some(&*format!("http://{}/token", own.address())));
}

#[tokio::test]
async fn users_and_rules_change_with_their_files() {
    let home = tempfile::tempdir().unwrap();
    let (users, rules) = (home.path().join("users"), home.path().join("rules"));
    // Renamed over the old one, as editors do.
    let replace = |path: &Path, content: &str| {
        fs::write(home.path().join("new"), content).unwrap();
        fs::rename(home.path().join("new"), path).unwrap();
    };
    replace(&users, &htpasswd(&["alice", "bob"]));
    replace(&rules, "* pull,push **");
    let registry = serve(Auth::htpasswd(&users).unwrap().rules_in(&rules).unwrap()).await;
    push_image(&registry, "a", "alice").await;
    let bobs = token(&registry, "bob", "repository:a:pull").await;
    let get = |user| get_by(&registry, "/v2/a/manifests/v1", user);
    assert_eq!(get("bob").await.status(), 200);

    replace(&rules, "alice pull a");
    assert_eq!((get("alice").await.status().as_u16(), get("bob").await.status().as_u16()), (200, 404));
    replace(&rules, "alice fly a");
    assert_eq!((get("alice").await.status().as_u16(), get("bob").await.status().as_u16()), (200, 404));
    replace(&rules, "* pull a");
    assert_eq!(with_token(&registry, Method::GET, "/v2/a/manifests/v1", &bobs).await.status(), 200);

    replace(&users, &htpasswd(&["alice", "carol"]));
    assert_eq!((get("bob").await.status().as_u16(), get("carol").await.status().as_u16()), (401, 200));
    let gone = with_token(&registry, Method::GET, "/v2/a/manifests/v1", &bobs).await;
    assert_refused(gone, 401, "UNAUTHORIZED").await;
    replace(&users, "bob:plain");
    assert_eq!((get("bob").await.status().as_u16(), get("carol").await.status().as_u16()), (401, 200));
    fs::remove_file(&users).unwrap();
    assert_eq!(get("carol").await.status(), 200);
}

#[test]
fn the_rules_in_the_docs_are_rules() {
    let docs = include_str!("../docs/registry.md");
    let (_, rules) = docs.split_once("```text\n# who").unwrap();
    let rules = Rules::parse(&format!("# who{}", rules.split("```").next().unwrap())).unwrap();
    let allow = |user, name: &str| rules.allow(user, &name.parse().unwrap()).to_string();
    assert_eq!(allow(Some("alice"), "team-a/app"), "pull,push,delete");
    assert_eq!((allow(Some("bob"), "base"), allow(None, "base")), ("pull".to_owned(), String::new()));
}

#[test]
fn files_that_cannot_be_used_say_where_and_what_to_do() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("file");
    fs::write(&path, "# users\nbob:{SHA}fEqNCco3Yq9h5ZUglD3CZJT4lBs=\n").unwrap();
    let error = Auth::htpasswd(&path).err().unwrap();
    assert!(
        error.to_string().starts_with(&format!("{}:2: the password of \"bob\" is SHA-1", path.display())),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("htpasswd -B FILE bob"));
    fs::write(&path, "\n\nalice read a\n").unwrap();
    let error = auth().rules_in(&path).err().unwrap();
    assert!(error.to_string().starts_with(&format!("{}:3: \"read\" is no action", path.display())), "{error}");
    assert!(Auth::htpasswd(home.path().join("missing")).is_err());
}

/// Requests with a token are answered while there are more wrong passwords than could be checked in minutes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_passwords_hold_up_nobody_who_has_a_token() {
    let slow = format!("alice:{}\nbob:{}", bcrypt::hash("x", 10).unwrap(), bcrypt::hash(password("bob"), 4).unwrap());
    let registry = Arc::new(serve(Auth::new(Passwords::parse(&slow).unwrap()).unwrap()).await);
    let token = token(&registry, "bob", "repository:a:pull").await;
    let flood: Vec<_> = (0..200)
        .map(|number| {
            let registry = Arc::clone(&registry);
            tokio::spawn(async move {
                let request = registry.request(Method::GET, "/v2/").basic_auth("alice", Some(number.to_string()));
                request.send().await.map(|response| response.status().as_u16())
            })
        })
        .collect();
    // As soon as some are turned away, as many wait as may.
    let (refused, waiting): (Vec<_>, Vec<_>) = {
        let mut flood: futures::stream::FuturesUnordered<_> = flood.into_iter().collect();
        let mut refused = Vec::new();
        while refused.is_empty() {
            let status = futures::StreamExt::next(&mut flood).await.unwrap().unwrap().unwrap();
            assert!(matches!(status, 401 | 429), "{status}");
            refused.extend((status == 429).then_some(status));
        }
        for _ in 0..100 {
            assert_eq!(with_token(&registry, Method::GET, "/v2/", &token).await.status(), 200);
            assert_eq!(get_by(&registry, "/v2/", "bob").await.status(), 200, "a password that is known needs no check");
        }
        (refused, flood.into_iter().collect())
    };
    assert!(refused.len() < 200 && waiting.iter().any(|request| !request.is_finished()), "the flood is not over");
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
}
