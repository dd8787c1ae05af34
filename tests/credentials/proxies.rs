//! Proxies that the environment names: what they get to see.

use crate::fake::{Ending, Raw, basic, raw_answer};
use crate::serve::Serve;
use crate::{ALICE, desk, run_in};

const DENIED: &str = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nWWW-Authenticate: Basic realm=x";

/// A proxy that answers so itself, and its address with a password.
async fn proxy(head: &str) -> (Raw, String) {
    let proxy = Raw::start(raw_answer(head, 0, b""), Ending::Close).await;
    let url = format!("http://user:proxy-secret@{}", proxy.address);
    (proxy, url)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_gets_its_own_password_and_without_tls_what_the_registry_gets() {
    let (proxy, url) = proxy(DENIED).await;
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
async fn a_proxy_learns_nothing_of_what_goes_over_tls() {
    let (proxy, url) = proxy("HTTP/1.1 403 Forbidden\r\nConnection: close").await;
    let ran = run_in(&desk(), &format!("resolve registry.test/team/app:v1 {ALICE}"), &[("HTTPS_PROXY", &url)]);
    assert_eq!(ran.code, Some(6), "{ran:?}");
    for head in proxy.heads() {
        let head = head.to_lowercase();
        assert!(head.starts_with("connect registry.test:443 http/1.1"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: basic ") && !head.contains("\r\nauthorization"), "{head}");
        assert!(!head.contains("team"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_this_machine_goes_through_no_proxy() {
    let (proxy, url) = proxy(DENIED).await;
    let desk = desk();
    let registry = Serve::start(&desk, "");
    let proxies = [("HTTP_PROXY", &*url), ("HTTPS_PROXY", &url), ("ALL_PROXY", &url)];
    run_in(&desk, &format!("push tree {}", registry.reference("team/app:v1")), &proxies).ok();
    assert_eq!(proxy.heads(), Vec::<String>::new());
}
