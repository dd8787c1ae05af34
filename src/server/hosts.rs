//! Which hosts a request may be for.
//!
//! A registry on loopback is reached by every web page that its user looks at: a page can let its own name resolve to
//! 127.0.0.1 and then read and write as if it came from there ("DNS rebinding"), or send simple requests across origins.
//! Both give themselves away, by `Host` and by `Origin`.

use http::header::{HOST, HeaderMap, ORIGIN};
use http::{Method, Uri};

use super::answer::{Problem, Result};
use crate::protocol::ErrorCode;
use crate::reference::Registry;

/// What a request says that this registry is called, if that is a host at all.
pub(super) fn named(uri: &Uri, headers: &HeaderMap) -> Option<Registry> {
    let host = uri.authority().map(http::uri::Authority::as_str);
    host.or_else(|| headers.get(HOST)?.to_str().ok())?.parse().ok()
}

/// Makes sure that no page of another host changes anything: a browser in which somebody has logged in sends their
/// password with what other pages let it send, too. It then says which page that was.
///
/// # Errors
/// With [`ErrorCode::Denied`], when it is one of another host.
pub(super) fn check_origin(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<()> {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let here = named(uri, headers);
    let is_here = |origin: &str| {
        let page = origin.split_once("://").and_then(|(_, host)| host.parse::<Registry>().ok());
        page.zip(here.as_ref()).is_some_and(|(page, here)| page.host().eq_ignore_ascii_case(here.host()))
    };
    let mut origins = headers.get_all(ORIGIN).iter().map(|origin| origin.to_str().unwrap_or_default());
    origins.find(|origin| !is_here(origin)).map_or(Ok(()), |origin| Err(foreign(origin)))
}

fn foreign(origin: &str) -> Problem {
    Problem::new(ErrorCode::Denied, format!("pages of {origin:?} may not use this registry"))
}

/// The hosts that requests may be for.
#[derive(Clone, Debug, Default)]
pub(super) struct Hosts {
    only_loopback: bool,
    allowed: Vec<String>,
}

impl Hosts {
    /// All hosts.
    pub(super) fn any() -> Self {
        Self::default()
    }

    /// Those that name this machine, and those that are allowed.
    pub(super) fn loopback() -> Self {
        Self { only_loopback: true, allowed: Vec::new() }
    }

    /// Allows a host: with a port, that one; without, any.
    pub(super) fn allow(&mut self, host: String) {
        self.allowed.push(host);
    }

    /// Whether a request with this target and these headers may pass.
    ///
    /// # Errors
    /// With [`ErrorCode::Denied`], when it names another host, none at all, or comes from a page of another one.
    pub(super) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<()> {
        if !self.only_loopback {
            return Ok(());
        }
        // HTTP/2 names the host in the target, HTTP/1 in a header; a request that does both has to be right in both.
        let hosts = || {
            let named = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
            named.chain(uri.authority().map(http::uri::Authority::as_str))
        };
        if hosts().next().is_none() || !hosts().all(|host| self.allows(host)) {
            let hosts = hosts().collect::<Vec<_>>().join(", ");
            let message = format!("this registry is not called {hosts:?}: it serves loopback only");
            return Err(Problem::new(ErrorCode::Denied, message));
        }
        let from_elsewhere = |origin: &&str| {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            !self.allows(host)
        };
        let mut origins = headers.get_all(ORIGIN).iter().map(|origin| origin.to_str().unwrap_or_default());
        origins.find(from_elsewhere).map_or(Ok(()), |origin| Err(foreign(origin)))
    }

    fn allows(&self, host: &str) -> bool {
        let Ok(registry) = host.parse::<Registry>() else { return false };
        registry.is_loopback()
            || self.allowed.iter().any(|allowed| {
                allowed.eq_ignore_ascii_case(registry.as_str()) || allowed.eq_ignore_ascii_case(registry.host())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(hosts: &Hosts, target: &str, headers: &[(http::HeaderName, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect();
        hosts.check(&target.parse().unwrap(), &headers).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_pass() {
        let mut hosts = Hosts::loopback();
        hosts.allow("registry.test".to_owned());
        hosts.allow("other.test:5000".to_owned());
        for good in ["localhost", "localhost:5000", "127.0.0.1:1", "[::1]:5000", "registry.test:7", "OTHER.test:5000"] {
            assert!(passes(&hosts, "/v2/", &[(HOST, good)]), "{good}");
        }
        for bad in
            ["evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "other.test", "", "a b", "localhost@evil"]
        {
            assert!(!passes(&hosts, "/v2/", &[(HOST, bad)]), "{bad}");
            assert!(passes(&Hosts::any(), "/v2/", &[(HOST, bad)]), "{bad}");
        }
    }

    #[test]
    fn every_word_about_the_host_counts() {
        let hosts = Hosts::loopback();
        assert!(!passes(&hosts, "/v2/", &[]));
        assert!(!passes(&hosts, "/v2/", &[(HOST, "localhost"), (HOST, "evil.test")]));
        assert!(!passes(&hosts, "http://evil.test/v2/", &[(HOST, "localhost")]));
        assert!(passes(&hosts, "http://localhost/v2/", &[]));
    }

    #[test]
    fn pages_of_other_hosts_change_nothing_anywhere() {
        let passes = |method: &Method, origin: &str| {
            let headers = [(HOST, "registry.test:5000"), (ORIGIN, origin)];
            let headers = headers.map(|(name, value)| (name, value.parse().unwrap())).into_iter().collect();
            check_origin(method, &"/v2/".parse().unwrap(), &headers).is_ok()
        };
        for origin in ["https://evil.test", "null", "", "https://registry.test.evil.test", "registry.test"] {
            assert!(passes(&Method::GET, origin), "{origin}");
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert!(!passes(&method, origin), "{method} {origin}");
            }
        }
        assert!(passes(&Method::POST, "https://Registry.test"), "a proxy may have another port");
        let headers = [(HOST, "registry.test".parse().unwrap())].into_iter().collect();
        assert!(check_origin(&Method::POST, &"/v2/".parse().unwrap(), &headers).is_ok(), "no page at all");
    }

    #[test]
    fn pages_of_other_hosts_are_refused() {
        let hosts = Hosts::loopback();
        for (origin, expected) in [("http://localhost:3000", true), ("https://evil.test", false), ("null", false)] {
            assert_eq!(passes(&hosts, "/v2/", &[(HOST, "localhost"), (ORIGIN, origin)]), expected, "{origin}");
        }
    }
}
