//! The page: what is in the registry, for people with a browser. Server-rendered HTML, with no script.
//!
//! It only reads, so there is nothing that a page of somebody else could make a browser do here: GET and HEAD are all
//! that it answers, and it has no forms. Whoever does not ask for HTML never meets it. What may be seen is decided by
//! the [`Caller`], as for the API, except that a browser is always asked for a password and never for a token, because
//! it has no tokens.
//!
//! `address` says which path shows what; each page has a file of its own, `frame` is what they have in common. All text
//! goes through `maud`, which escapes it; what strangers wrote goes through `shown` as well. Nothing has a length that
//! strangers decide: lists have pages or ends, and long texts are cut.

mod address;
mod commands;
mod files;
mod frame;
mod images;
mod manifest;
mod repositories;
mod shown;
mod tables;
mod tags;

use std::sync::Arc;

use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, VARY, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, Method, Response, StatusCode, Uri};
use tokio::sync::Semaphore;

use self::address::Address;
use self::frame::Page;
use super::accept::weight;
use super::answer::{self, Body, Problem, Result};
use super::auth::{self, Auth, Caller};
use super::repositories::Repositories;
use super::request::Request;
use crate::protocol::{Endpoint, ErrorCode};

/// How many indexes of bundles are read at once: each may take some 70 MiB.
const READERS: usize = 1;

/// The page of one registry.
pub(super) struct Pages {
    readers: Arc<Semaphore>,
}

/// A request for a page.
struct Visit<'a> {
    repositories: &'a Repositories,
    readers: &'a Arc<Semaphore>,
    caller: Caller,
    request: &'a Request,
    /// How clients reach this registry.
    host: Host,
}

/// What goes in front of a repository's name in a command, and whether clients have to be told that it has no TLS.
struct Host {
    name: String,
    without_tls: bool,
}

/// Whether the page has something to say about a path: about all but those of the API.
pub(super) fn has(path: &str) -> bool {
    !matches!(path, auth::TOKEN_PATH | "/healthz" | "/metrics" | "/v2") && !path.starts_with("/v2/")
}

/// Whether a path is one of a page's, whatever it would show.
pub(super) fn is_address(path: &str) -> bool {
    path == "/" || path.starts_with("/r/")
}

/// Whether a request is for a page, and not for the API.
pub(super) fn is_wanted(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && has(path) && prefers_html(headers)
}

/// Lets caches know that there are two answers, one with a page.
pub(super) fn vary(response: &mut Response<Body>) {
    answer::set(response, VARY, ACCEPT);
}

/// Whether HTML is asked for by its name, and not less than JSON (RFC 9110, section 12.5.1).
fn prefers_html(headers: &HeaderMap) -> bool {
    let html = weight(headers, "text/html");
    html > 0.0 && html >= weight(headers, "application/json")
}

impl Pages {
    pub(super) fn new() -> Self {
        Self { readers: Arc::new(Semaphore::new(READERS)) }
    }

    /// Answers a request that [is for a page](is_wanted).
    pub(super) async fn answer(
        &self,
        repositories: &Repositories,
        auth: Option<&Auth>,
        uri: &Uri,
        is_secure: bool,
        request: &Request,
    ) -> Response<Body> {
        let show = async {
            let caller = match auth {
                None => Caller::anybody(),
                Some(auth) => auth.caller(uri, &request.headers, is_secure).await?,
            };
            let host = Host::of(auth, uri, request, is_secure);
            let visit = Visit { repositories, readers: &self.readers, caller, request, host };
            visit.show(uri.path()).await
        };
        let (mut response, page) = match show.await {
            Ok(page) => (answer::empty(StatusCode::OK), page),
            Err(problem) => refuse(problem),
        };
        let (html, style) = page.render();
        *response.body_mut() = answer::full(StatusCode::OK, "", html.into()).into_body();
        dress(&mut response, &style);
        response
    }
}

/// Why there is no page: in words that are the same for what is not there and for what may not be seen.
fn refuse(problem: Problem) -> (Response<Body>, Page) {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        answer::set(&mut response, WWW_AUTHENTICATE, auth::basic_challenge());
    }
    let page = frame::refusal(response.status());
    (response, page)
}

/// The headers of every page. `style` is the only thing that the browser may apply.
fn dress(response: &mut Response<Body>, style: &str) {
    let policy =
        format!("default-src 'none'; style-src {style}; frame-ancestors 'none'; base-uri 'none'; form-action 'none'");
    answer::set(response, CONTENT_SECURITY_POLICY, policy);
    answer::set(response, CONTENT_TYPE, "text/html; charset=utf-8");
    answer::set(response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer::set(response, REFERRER_POLICY, "no-referrer");
    answer::set(response, CACHE_CONTROL, "no-store");
    vary(response);
}

impl Visit<'_> {
    async fn show(&self, path: &str) -> Result<Page> {
        match Address::parse(path).ok_or_else(not_found)? {
            Address::Repositories => {
                let asks = self.request.parameter(address::LOG_IN).is_some();
                if self.caller.may_log_in() && (asks || !self.caller.sees_something()) {
                    return Err(Problem::new(ErrorCode::Unauthorized, "log in first"));
                }
                repositories::show(self).await
            }
            Address::Repository(name) => {
                self.caller.check(&Endpoint::Tags(name.clone()), &Method::GET)?;
                tags::show(self, &name).await
            }
            Address::Manifest(name, identifier) => {
                self.caller.check(&Endpoint::Manifest(name.clone(), identifier.clone()), &Method::GET)?;
                manifest::show(self, &name, &identifier).await
            }
        }
    }
}

impl Host {
    fn of(auth: Option<&Auth>, uri: &Uri, request: &Request, is_secure: bool) -> Self {
        let named = super::hosts::named(uri, &request.headers);
        let without_tls = !is_secure && named.as_ref().is_some_and(crate::reference::Registry::is_loopback);
        match (auth.and_then(Auth::public_host), named) {
            (Some(public), _) => Self { name: public.to_owned(), without_tls: false },
            (None, Some(named)) => Self { name: named.to_string(), without_tls },
            (None, None) => Self { name: "REGISTRY".to_owned(), without_tls },
        }
    }
}

/// There is nothing, or nothing that the caller may see.
fn not_found() -> Problem {
    Problem::new(ErrorCode::NameUnknown, "there is no such page")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wants(accept: &[&str]) -> bool {
        let headers = accept.iter().map(|value| (ACCEPT, value.parse().unwrap())).collect();
        is_wanted(&Method::GET, "/", &headers)
    }

    #[test]
    fn only_who_asks_for_html_gets_a_page() {
        let chromium = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for accept in [&[chromium][..], &["text/html"], &["TEXT/HTML;level=1;q=0.1"], &["x/y", "text/html"]] {
            assert!(wants(accept), "{accept:?}");
        }
        for accept in [
            &[][..],
            &["*/*"],
            &["text/*"],
            &["application/json"],
            &["text/html;q=0"],
            &["text/html;q=x"],
            &["application/json, text/html;q=0.5"],
            &["text/htmlx"],
        ] {
            assert!(!wants(accept), "{accept:?}");
        }
    }

    #[test]
    fn the_api_is_never_hidden_by_a_page() {
        let headers = [(ACCEPT, "text/html".parse().unwrap())].into_iter().collect();
        for path in ["/v2", "/v2/", "/v2/a/tags/list", "/token", "/healthz", "/metrics"] {
            assert!(!is_wanted(&Method::GET, path, &headers), "{path}");
        }
        assert!(!is_wanted(&Method::POST, "/", &headers));
        assert!(is_wanted(&Method::HEAD, "/v3", &headers));
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(value in "(text/html)?[ -~]{0,40}") {
            wants(&[&value]);
        }
    }
}
