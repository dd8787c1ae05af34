//! Proxies that the environment names: what they get to see, and what is said of them when they fail.

use std::net::{SocketAddr, TcpListener};

use crate::authority::Authority;
use crate::between::Proxy;
use crate::fake::{Ending, Raw, asked, basic, raw_answer, redirect, server};
use crate::program::{Desk, Ran};
use crate::serve::Serve;
use crate::{ALICE, desk, run_in};
use wiremock::ResponseTemplate;

const DENIED: &str = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: Basic realm=x";

/// A proxy that answers so itself, and its address with a password.
async fn refusing(head: &str) -> (Raw, String) {
    let proxy = Raw::start(raw_answer(head, 0, b""), Ending::Close).await;
    let url = format!("http://user:proxy-secret@{}", proxy.address);
    (proxy, url)
}

/// A desk, and a registry that is called `registry.test` and that users log in to over TLS, with a proxy before it.
async fn behind_proxy() -> (Desk, Serve, Proxy) {
    let (desk, authority) = (desk(), Authority::new());
    authority.issue();
    for name in ["ca.pem", "server.pem", "server.key"] {
        std::fs::copy(authority.file(name), desk.path(name)).unwrap();
    }
    let flags = "--htpasswd users --access rules --host registry.test --tls-cert server.pem --tls-key server.key";
    let registry = Serve::start(&desk, flags);
    let proxy = Proxy::to(registry.address.parse().unwrap()).await;
    (desk, registry, proxy)
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_proxy_leads_on_and_sees_nothing() {
    let (desk, _registry, proxy) = behind_proxy().await;
    for (variable, scheme) in [("HTTPS_PROXY", "http"), ("https_proxy", "http"), ("all_proxy", "socks5h")] {
        let variables = [(variable, &*proxy.url(scheme))];
        let place = format!("registry.test/team/{}:v1", variable.to_lowercase());
        let login = format!("{ALICE} --ca-file ca.pem");
        run_in(&desk, &format!("push tree {place} {login}"), &variables).ok();
        run_in(&desk, &format!("pull {place} -o {variable} {login}"), &variables).ok();
        assert_eq!(desk.read(&format!("{variable}/a.txt")), desk.read("tree/a.txt"));
    }
    let asked = proxy.asked();
    let (tunnels, socks): (Vec<_>, Vec<_>) = asked.iter().partition(|line| line.starts_with("CONNECT"));
    assert!(!tunnels.is_empty() && tunnels.iter().all(|line| *line == "CONNECT registry.test:443 HTTP/1.1 (user)"));
    assert!(!socks.is_empty() && socks.iter().all(|line| *line == "SOCKS registry.test:443 (user)"), "{socks:?}");
    for what in ["correct-horse", &basic()[6..], "authorization", "bearer", "team/"] {
        proxy.assert_never_saw(what);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_a_proxy_gets_what_the_registry_gets() {
    let desk = desk();
    let registry = Serve::start(&desk, "--host 192.0.2.1");
    let proxy = Proxy::to(registry.address.parse().unwrap()).await;
    let push = "push tree 192.0.2.1:5000/team/app:v1 --plain-http";
    for (variable, scheme) in [("http_proxy", "http"), ("HTTP_PROXY", "socks5")] {
        run_in(&desk, push, &[(variable, &proxy.url(scheme))]).ok();
    }
    let asked = proxy.asked();
    let place = "http://192.0.2.1:5000/v2/team/app/";
    let is_whole = |line: &&String| line.contains(place) && line.ends_with(" HTTP/1.1 (user)");
    assert!(asked.iter().any(|line| is_whole(&line)), "{asked:?}");
    assert!(asked.contains(&"SOCKS 192.0.2.1:5000 (user)".to_owned()), "{asked:?}");
    assert!(proxy.saw("/v2/team/app/blobs/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_gets_its_own_password_and_without_tls_what_the_registry_gets() {
    let (proxy, url) = refusing(DENIED).await;
    let arguments = format!("resolve registry.test/team/app:v1 --plain-http {ALICE}");
    let ran = run_in(&desk(), &arguments, &[("HTTP_PROXY", &url), ("http_proxy", &url)]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let heads = proxy.heads();
    let (first, second) = (heads[0].to_lowercase(), &heads[1]);
    assert!(first.starts_with("head http://registry.test/v2/team/app/manifests/v1 http/1.1"), "{first}");
    assert!(first.contains("\r\nproxy-authorization: basic ") && !first.contains("\r\nauthorization"), "{first}");
    assert!(second.contains(&basic()), "the registry has asked for it, and the user wants plain HTTP: {second}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_learns_nothing_of_what_goes_over_tls_that_it_does_not_lead_to() {
    let (proxy, url) = refusing("HTTP/1.1 403 Forbidden\r\nConnection: close").await;
    let ran = run_in(&desk(), &format!("resolve registry.test/team/app:v1 {ALICE}"), &[("HTTPS_PROXY", &url)]);
    assert_failed(&ran, "the proxy does not lead there", &format!("http://{} (HTTPS_PROXY)", proxy.address));
    for head in proxy.heads() {
        let head = head.to_lowercase();
        assert!(head.starts_with("connect registry.test:443 http/1.1"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: basic ") && !head.contains("\r\nauthorization"), "{head}");
        assert!(!head.contains("team"), "{head}");
    }
}

/// That it failed like this, with a hint that names the proxy.
#[track_caller]
fn assert_failed(ran: &Ran, message: &str, proxy: &str) {
    assert_eq!(ran.code, Some(6), "{ran:?}");
    let hint = ran.stderr.lines().find(|line| line.starts_with("hint: ")).unwrap_or_default();
    assert!(ran.stderr.contains(message) && hint.contains(proxy), "{message}, {proxy}: {}", ran.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_fails_is_named_without_its_password() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (asking, asking_url) = refusing("HTTP/1.1 407 Proxy Authentication Required\r\nConnection: close").await;
    let silent = Raw::start(Vec::new(), Ending::Hang).await;
    for (variable, scheme, address, plain_http, message) in [
        ("HTTPS_PROXY", "http", closed, false, "connection refused"),
        ("http_proxy", "http", closed, true, "connection refused"),
        ("ALL_PROXY", "socks5h", closed, true, "the proxy cannot be reached"),
        ("HTTPS_PROXY", "http", asking.address, false, "the proxy wants a user and a password"),
        ("HTTP_PROXY", "http", asking.address, true, "the proxy wants a user and a password"),
        ("HTTPS_PROXY", "http", silent.address, false, "registry.test"),
    ] {
        let url = format!("{scheme}://user:proxy-secret@{address}");
        let patience = if address == silent.address { "--timeout 0.2" } else { "" };
        let arguments =
            format!("resolve registry.test/app --plain-http={plain_http} --retry-times 0 {patience} {ALICE}");
        let ran = run_in(&desk(), &arguments, &[(variable, &url)]);
        assert_failed(&ran, message, &format!("{scheme}://{address} ({variable})"));
    }
    run_in(&desk(), "resolve registry.test/app", &[("HTTPS_PROXY", &asking_url)]);
    assert_eq!(asking.heads().len(), 3, "nobody tries a password again that was refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_no_proxy_stops_everything() {
    let ran = run_in(&desk(), "resolve registry.test/app", &[("HTTPS_PROXY", "ftp://user:proxy-secret@h")]);
    assert!(ran.code == Some(8) && ran.stderr.contains("error: HTTPS_PROXY does not name a proxy"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_this_machine_or_excepted_goes_through_no_proxy() {
    let (proxy, url) = refusing(DENIED).await;
    let desk = desk();
    let registry = Serve::start(&desk, "");
    let proxies = [("HTTP_PROXY", &*url), ("HTTPS_PROXY", &url), ("ALL_PROXY", &url)];
    run_in(&desk, &format!("push tree {}", registry.reference("team/app:v1")), &proxies).ok();
    for no in ["192.0.2.1", "192.0.2.0/24", "192.0.2.1:5000", "*", "other.test, 192.0.2.1"] {
        let variables: Vec<_> = proxies.into_iter().chain([("NO_PROXY", no)]).collect();
        // Nobody has that address (RFC 5737).
        let arguments = "resolve 192.0.2.1:5000/app --plain-http --retry-times 0 --timeout 0.05";
        assert_eq!(run_in(&desk, arguments, &variables).code, Some(6), "{no}");
    }
    assert_eq!(proxy.heads(), Vec::<String>::new());
}

/// Leads from a Unix socket to a registry.
fn listen(desk: &Desk, name: &str, place: SocketAddr) {
    let listener = tokio::net::UnixListener::bind(desk.path(name)).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = tokio::net::TcpStream::connect(place).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_is_the_way_to_the_registry_and_not_to_where_it_leads() {
    let desk = desk();
    let registry = Serve::start(&desk, "--htpasswd users --access rules");
    listen(&desk, "socket", registry.address.parse().unwrap());
    let flags = format!("--unix-socket socket {ALICE}");
    // Nobody is at that address, and no proxy is asked the way.
    let proxies = [("ALL_PROXY", "http://127.0.0.1:1")];
    run_in(&desk, &format!("push tree localhost/team/app:v1 {flags}"), &proxies).ok();
    run_in(&desk, &format!("pull localhost/team/app:v1 -o pulled {flags}"), &proxies).ok();
    assert_eq!(desk.read("pulled/a.txt"), desk.read("tree/a.txt"));

    let storage = server(|_| ResponseTemplate::new(200).set_body_string("blob")).await;
    let there = format!("{}/blob", storage.uri());
    let leading = server(move |_| redirect(307, there.clone())).await;
    listen(&desk, "leading", *leading.address());
    let blob = bndlr::digest::Digest::sha256(b"blob");
    assert_eq!(run_in(&desk, &format!("blob get localhost/app@{blob} --unix-socket leading"), &[]).ok(), "blob");
    assert_eq!((asked(&leading).await.len(), asked(&storage).await.len()), (1, 1));

    let missing = run_in(&desk, "resolve localhost/app --unix-socket none --retry-times 0", &[]);
    assert_eq!(missing.code, Some(6), "{missing:?}");
    let two = run_in(&desk, "copy localhost/a registry.test/b --unix-socket socket", &[]);
    assert!(two.code == Some(2) && two.stderr.contains("--unix-socket is for one registry"), "{two:?}");
}
