//! What `--debug` shows of requests and answers, and what it keeps to itself. That no secret is in anything that these
//! tests make the program say is seen to where they run it.

use serde_json::json as value;
use wiremock::{MockServer, Request, ResponseTemplate};

use crate::fake::{PASSWORD, basic, redirect, refusal, server};
use crate::program::{Desk, Ran};
use crate::serve::Serve;
use crate::{ALICE, desk, run};

/// What the lines say that have this in them, after the time.
fn lines<'a>(ran: &'a Ran, what: &str) -> Vec<&'a str> {
    let said = ran.stderr.lines().filter(|line| line.contains(what));
    said.map(|line| &line["2026/11/21 08:00:00 ".len()..]).collect()
}

#[test]
fn what_is_pushed_is_named_with_its_fields_and_each_request_and_answer_with_its_headers() {
    let desk = desk();
    let registry = Serve::start(&desk, "");
    let place = registry.reference("team/app:v1");
    let ran = run(&desk, &format!("push tree {place} --format json"));
    let (pushed, layer) = (ran.json(), &ran.json()["layers"][0]);
    let about = format!(
        "digest={} mediatype=\"application/vnd.oci.image.layer.v1.tar+gzip\" size={}",
        layer["digest"], layer["size"]
    );
    let url = format!("http://{}/v2/team/app/blobs/{}", registry.address, layer["digest"].as_str().unwrap());
    let push = lines(&ran, "push digest=");
    assert_eq!(push.len(), 3, "layer, config and manifest: {ran:?}");
    assert!(push.contains(&&*format!("push {about}")), "{push:?}");
    assert!(push.iter().any(|line| line.contains(&pushed["digest"].to_string())), "{push:?}");

    let asked = "do request request.headers=\"map[Accept-Encoding:[identity]]\" request.method=HEAD ";
    assert_eq!(lines(&ran, &format!("url=\"{url}\" {about}"))[0], format!("{asked}url=\"{url}\" {about}"));
    let answers = lines(&ran, "fetch response received");
    let answer = answers.iter().find(|line| line.contains("status=\"404 Not Found\"") && line.ends_with(&about));
    let answer = answer.unwrap_or_else(|| panic!("{answers:?}"));
    assert!(answer.contains(" Content-Type:[application/json]") && answer.contains("Date:["), "{answer}");
    // The lines of -v are there, too.
    assert!(!lines(&ran, &format!("> HEAD {url} HTTP/1.1")).is_empty(), "{ran:?}");
    assert_eq!(lines(&ran, " < HTTP/1.1 ").len(), answers.len());

    let pulled = run(&desk, &format!("pull {place} -o pulled"));
    assert!(lines(&pulled, "fetch digest=").contains(&&*format!("fetch {about}")), "{pulled:?}");
    let verbose = desk.run(&format!("-v resolve {place}"));
    assert_eq!(verbose.stderr.lines().count(), 2, "{verbose:?}");
}

/// A registry with every way to be asked for what nobody else may know, and to say it.
async fn talkative() -> MockServer {
    let storage = server(|_| ResponseTemplate::new(200).set_body_string("blob")).await;
    let there = format!("{}/blob?X-Amz-Signature=signature-secret&X-Amz-Credential=key-secret&x-secret", storage.uri());
    server(move |request| {
        // It is needed as long as this registry is.
        let _ = &storage;
        answer(request, &there).insert_header("set-cookie", "session=cookie-secret; Path=/")
    })
    .await
}

fn answer(request: &Request, there: &str) -> ResponseTemplate {
    let host = request.headers["host"].to_str().unwrap();
    let says = request.headers.get("authorization").map(|value| value.to_str().unwrap());
    match (request.method.as_str(), request.url.path()) {
        (_, "/token") if says.is_some_and(|says| says == basic()) => ResponseTemplate::new(200)
            .insert_header("x-refresh-token", "header-secret")
            .set_body_json(value!({"token": "bearer-secret", "refresh_token": "identity-secret"})),
        (_, path) if path.starts_with("/v2/basic/") && says.is_none() => refusal(401, "UNAUTHORIZED", "log in")
            .insert_header("www-authenticate", "Basic realm=x, Negotiate aa-secret"),
        _ if says.is_none() => {
            let realm = format!("http://eve:realm-secret@{host}/token?key=query-secret");
            let challenge = format!(r#"Bearer realm="{realm}",service="s",nonce="nonce-secret""#);
            refusal(401, "UNAUTHORIZED", "log in").insert_header("www-authenticate", challenge.as_str())
        }
        ("HEAD", _) => ResponseTemplate::new(404),
        ("POST", _) => redirect(202, "/upload?_state=state-secret&sig=signature-secret"),
        ("PUT", _) => ResponseTemplate::new(201),
        (_, path) if path.ends_with("/tags/list") => {
            let next = "</v2/app/tags/list?n=1&next=page-secret>; rel=\"next\"";
            let is_last = request.url.query().is_some_and(|query| query.contains("page-secret"));
            let page = ResponseTemplate::new(200).set_body_json(value!({"name": "app", "tags": ["v1"]}));
            if is_last { page } else { page.insert_header("link", next) }
        }
        _ => redirect(307, there),
    }
}

#[tokio::test]
async fn passwords_tokens_and_signatures_are_not_shown_wherever_they_go() {
    let (registry, desk) = (talkative().await, Desk::new());
    desk.write("blob", "blob");
    let (host, blob) = (registry.address(), bndlr::digest::Digest::sha256(b"blob"));
    for (arguments, expected) in [
        (
            format!("blob get {host}/app@{blob}"),
            vec![
                "Authorization:[Bearer ***]",
                "Authorization:[Basic ***]",
                "Set-Cookie:[***]",
                "X-Refresh-Token:[***]",
                "/blob?X-Amz-Signature=***&X-Amz-Credential=***&***",
                "/token?key=***",
                "nonce=\\\"***\\\"",
            ],
        ),
        (format!("blob put {host}/app blob"), vec!["Location:[http://", "/upload?_state=***&sig=***]"]),
        (format!("blob put {host}/basic blob"), vec!["Authorization:[Basic ***]", "negotiate ***"]),
        (format!("tags {host}/app"), vec!["/v2/app/tags/list?n=1&next=***>; rel=\\\"next\\\""]),
        (format!("login {host}"), vec!["Authorization:[Basic ***]"]),
    ] {
        for flag in ["-v", "--debug"] {
            let ran = desk.run(&format!("{flag} {arguments} {ALICE}"));
            assert_eq!(ran.code, Some(0), "{ran:?}");
            let shown = |what: &&str| flag == "-v" || ran.stderr.contains(what);
            assert!(expected.iter().all(shown), "{expected:?}: {ran:?}");
        }
    }
    // From now on, with the identity token that login has stored.
    let ran = run(&desk, &format!("manifest head {host}/app:v1"));
    assert!(ran.stderr.contains("> POST http://"), "{ran:?}");
}

#[tokio::test]
async fn where_a_signed_url_leads_nowhere_the_error_does_not_repeat_it() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for there in [
        format!("http://{nowhere}/x?sig=signature-secret"),
        "ftp://eve:realm-secret@h/x?sig=signature-secret".to_owned(),
        "https://h:port/x?sig=signature-secret".to_owned(),
    ] {
        let registry = server(move |_| redirect(307, there.clone())).await;
        let ran = run(&Desk::new(), &format!("resolve {}/app --retry-times 0", registry.address()));
        assert_eq!(ran.code, Some(6), "{ran:?}");
    }
}

#[test]
fn a_password_in_a_reference_is_an_error_that_does_not_repeat_it() {
    let desk = Desk::with_tree();
    for place in [
        "alice:PASSWORD@h.io/app",
        "https://alice:PASSWORD@h.io/app:v1",
        "alice:PASSWORD@h.io",
        "//alice:a@PASSWORD@h.io/a",
    ] {
        let place = place.replace("PASSWORD", PASSWORD);
        for command in
            ["resolve", "push tree", "login", "catalog", "token", "copy oci:x", "tags", "logout", "blob head"]
        {
            for format in ["text", "json"] {
                let ran = run(&desk, &format!("{command} {place} --format {format}"));
                assert_eq!(ran.code, Some(2), "{command} {place}: {ran:?}");
            }
        }
    }
}
