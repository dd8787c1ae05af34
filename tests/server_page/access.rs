//! Who is shown what.

use bndlr::server::{Auth, Passwords, Registry, Rules};
use reqwest::{Method, Response};

use crate::embedded::{Embedded, header, image_manifest};
use crate::{ACCEPT, text_of};

const RULES: &str = "\
    alice          push    **\n\
    bob            pull    team/**\n\
    anonymous      pull    public/**\n";

/// Each user's password is the user's name. Alice has pushed to `public/app`, `team/app` and `secret/app`.
async fn registry(rules: Rules) -> Embedded {
    let line = |user| format!("{user}:{}", bcrypt::hash(user, 4).unwrap());
    let passwords = Passwords::parse(&["alice", "bob"].map(line).join("\n")).unwrap();
    let registry = Embedded::of(Registry::in_memory().auth(Auth::new(passwords).unwrap().rules(rules))).await;
    let send = async |method, path: &str, body: String| {
        let request = registry.request(method, path).basic_auth("alice", Some("alice"));
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        assert_eq!(request.header("content-type", media_type).body(body).send().await.unwrap().status(), 201, "{path}");
    };
    for name in ["public/app", "team/app", "secret/app"] {
        for content in ["{}", "layer"] {
            let digest = bndlr::digest::Digest::sha256(content.as_bytes());
            let path = format!("/v2/{name}/blobs/uploads/?digest={digest}");
            send(Method::POST, &path, content.to_owned()).await;
        }
        send(Method::PUT, &format!("/v2/{name}/manifests/v1"), image_manifest(b"layer")).await;
    }
    registry
}

async fn browse(registry: &Embedded, path: &str, user: &str, password: &str) -> Response {
    let request = registry.request(Method::GET, path).header("accept", ACCEPT);
    let request = if user.is_empty() { request } else { request.basic_auth(user, Some(password)) };
    request.send().await.unwrap()
}

async fn assert_asked(response: Response) {
    assert_eq!(response.status(), 401);
    assert_eq!(header(&response, "www-authenticate"), "Basic realm=\"bndlr\", charset=\"UTF-8\"");
    assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
    assert!(header(&response, "content-security-policy").starts_with("default-src 'none'"));
    let text = text_of(&response.text().await.unwrap());
    assert!(text.contains("Log in first") && !text.contains("app"), "{text}");
}

#[tokio::test]
async fn a_browser_is_asked_for_a_password_and_not_for_a_token() {
    let registry = registry(Rules::for_users()).await;
    for path in ["/", "/r/team/app", "/r/team/app:v1", "/r/not/there:v1"] {
        assert_asked(browse(&registry, path, "", "").await).await;
        assert_asked(browse(&registry, path, "alice", "wrong").await).await;
        assert_asked(browse(&registry, path, "nobody", "wrong").await).await;
    }
    let list = browse(&registry, "/", "bob", "bob").await.text().await.unwrap();
    assert!(list.contains("/r/secret/app\"") && !list.contains("Log in"), "{list}");
}

#[tokio::test]
async fn everybody_sees_what_everybody_may_pull_and_can_log_in_for_more() {
    let registry = registry(Rules::parse(RULES).unwrap()).await;
    let list = browse(&registry, "/", "", "").await.text().await.unwrap();
    assert!(list.contains("/r/public/app\"") && !list.contains("team/app") && !list.contains("secret/app"), "{list}");
    assert!(list.contains(r#"<a href="/?login">Log in</a>"#), "{list}");
    assert_eq!(browse(&registry, "/r/public/app:v1", "", "").await.status(), 200);
    for path in ["/?login", "/r/team/app", "/r/team/app:v1"] {
        assert_asked(browse(&registry, path, "", "").await).await;
    }
    let list = browse(&registry, "/?login", "bob", "bob").await.text().await.unwrap();
    assert!(list.contains("/r/team/app\"") && !list.contains("secret/app") && !list.contains("Log in"), "{list}");
}

#[tokio::test]
async fn what_may_not_be_seen_looks_like_what_is_not_there() {
    let registry = registry(Rules::parse(RULES).unwrap()).await;
    let answer = async |path: &str| {
        let response = browse(&registry, path, "bob", "bob").await;
        let headers =
            format!("{:?}", response.headers().iter().filter(|(name, _)| *name != "date").collect::<Vec<_>>());
        (response.status(), headers, response.text().await.unwrap())
    };
    let absent = answer("/r/team/nothing").await;
    assert_eq!(absent.0, 404);
    let digest = bndlr::digest::Digest::sha256(image_manifest(b"layer").as_bytes());
    for path in [
        "/r/secret/app",
        "/r/secret/app:v1",
        &format!("/r/secret/app@{digest}"),
        "/r/secret/nothing",
        "/r/team/app:nothing",
        "/r/Not/A/name",
        "/nothing",
    ] {
        assert_eq!(answer(path).await, absent, "{path}");
    }
    assert_eq!(answer("/r/team/app:v1").await.0, 200);
}

#[tokio::test]
async fn a_page_of_another_host_cannot_use_what_a_browser_remembers() {
    let registry = registry(Rules::for_users()).await;
    for (origin, status) in
        [("https://evil.test", 403), ("null", 403), (&*format!("http://{}", registry.address()), 202)]
    {
        let request = registry.request(Method::POST, "/v2/team/app/blobs/uploads/").basic_auth("alice", Some("alice"));
        let request = request.header("host", registry.address()).header("origin", origin);
        assert_eq!(request.send().await.unwrap().status(), status, "{origin}");
    }
}

#[tokio::test]
async fn without_passwords_nobody_is_asked() {
    let registry = Embedded::in_memory().await;
    for path in ["/", "/?login"] {
        let response = browse(&registry, path, "", "").await;
        assert_eq!(response.status(), 200);
        assert!(!response.text().await.unwrap().contains("Log in"));
    }
}
