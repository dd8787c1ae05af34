//! Traces: a line for each request and each answer, and for what is waited for between them, for people who want to see
//! what goes over the wire.
//!
//! They are events of the target [`TARGET`] at level DEBUG; the command line decides whether and how to print them.
//! Headers and bodies are never in them, and of a query only what is known to be harmless.

use std::fmt;
use std::time::Duration;

use reqwest::{Method, StatusCode, Url, Version};

use crate::manifest::Descriptor;

/// The target of the events.
pub const TARGET: &str = "bndlr::wire";

/// The parameters of a query that may be shown. All others may be signatures, states of uploads, or tokens.
const HARMLESS: [&str; 8] = ["artifactType", "digest", "from", "last", "mount", "n", "scope", "service"];

/// `> GET http://localhost:5000/v2/ HTTP/1.1`. Which version it becomes is agreed on later; the answer shows it.
pub(super) fn request(method: &Method, url: &Url) {
    tracing::debug!(target: TARGET, "> {method} {} HTTP/1.1", Shown(url));
}

/// `< HTTP/1.1 200 OK`
pub(super) fn answer(version: Version, status: StatusCode) {
    tracing::debug!(target: TARGET, "< {version:?} {status}");
}

/// `* http://localhost:5000 asked to be left alone for 2.5 s`
pub(super) fn pause(host: &str, length: Duration) {
    tracing::debug!(target: TARGET, "* {host} asked to be left alone for {:.1} s", length.as_secs_f64());
}

/// `* tries again in 0.3 s`
pub(super) fn again(delay: Duration) {
    tracing::debug!(target: TARGET, "* tries again in {:.1} s", delay.as_secs_f64());
}

/// `* a part was asked for, and all 9437184 bytes of sha256:… come`
pub(super) fn whole(descriptor: &Descriptor) {
    let Descriptor { digest, size, .. } = descriptor;
    tracing::debug!(target: TARGET, "* a part was asked for, and all {size} bytes of {digest} come: no ranges here");
}

/// A URL, without what may be secret in it.
struct Shown<'a>(&'a Url);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.0;
        write!(f, "{}{}", url.origin().ascii_serialization(), url.path())?;
        let Some(query) = url.query() else { return Ok(()) };
        let is_harmless = |pair: &&str| pair.split_once('=').is_some_and(|(name, _)| HARMLESS.contains(&name));
        let (shown, hidden): (Vec<&str>, Vec<&str>) = query.split('&').partition(is_harmless);
        let ellipsis = if hidden.is_empty() { None } else { Some("…") };
        write!(f, "?{}", shown.into_iter().chain(ellipsis).collect::<Vec<_>>().join("&"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_in_a_url_is_not_shown() {
        for (url, expected) in [
            ("http://localhost:5000/v2/", "http://localhost:5000/v2/"),
            (
                "https://auth.docker.io/token?scope=repository%3Aa%3Apull&service=registry.docker.io",
                "https://auth.docker.io/token?scope=repository%3Aa%3Apull&service=registry.docker.io",
            ),
            (
                "http://localhost:5000/v2/a/blobs/uploads/1?_state=abc&digest=sha256%3A12",
                "http://localhost:5000/v2/a/blobs/uploads/1?digest=sha256%3A12&…",
            ),
            ("https://user:pass@cdn.example/x?X-Amz-Signature=abc&sig", "https://cdn.example/x?…"),
        ] {
            assert_eq!(Shown(&Url::parse(url).unwrap()).to_string(), expected);
        }
    }
}
