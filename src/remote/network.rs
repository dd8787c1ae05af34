//! Failures of the network in short words: the one cause at the bottom of a chain of wrappers, and what to do about it.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use reqwest::Url;
use rustls::{CertificateError, Error as TlsError};

use super::Error;
use super::proxies::Variable;
use crate::text::bytes;

/// What is wrong if a proxy asks who is there.
const UNWELCOME: &str = "the proxy wants a user and a password, or others";

/// What proxies do instead of leading on, as the HTTP client says it, and in plain words.
const OF_PROXIES: [(&str, &str); 4] = [
    ("tunnel error: proxy authorization required", UNWELCOME),
    ("tunnel error: unsuccessful", "the proxy does not lead there"),
    ("tunnel error: unexpected end of file", "the proxy hung up"),
    ("SOCKS error: failed to create underlying connection", "the proxy cannot be reached"),
];

/// What came between a request and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    cause: String,
    hint: Option<String>,
    transient: bool,
    unsent: bool,
}

impl Network {
    /// What `error` means that came of a request to `url`, through `proxy` if there is one.
    pub(super) fn new(url: &Url, proxy: Option<&Variable>, error: reqwest::Error) -> Self {
        // The URL may hold a signature.
        let error = error.without_url();
        let cause = Cause::find(&error);
        let hint = match proxy.filter(|_| cause.tls.is_none() && error.is_connect()) {
            Some(proxy) if cause.text == UNWELCOME => Some(wants_password(proxy)),
            Some(proxy) => Some(proxy.hint(url)),
            None => cause.hint(url),
        };
        Self {
            transient: cause.tls.is_none() && cause.text != UNWELCOME,
            unsent: error.is_connect(),
            cause: if error.is_timeout() && error.is_connect() {
                "it takes too long to connect".to_owned()
            } else {
                cause.text
            },
            hint,
        }
    }

    /// That `proxy` wants to know who asks, and was not told or does not like it.
    pub(super) fn unwelcome(proxy: &Variable) -> Self {
        Self { cause: UNWELCOME.to_owned(), hint: Some(wants_password(proxy)), transient: false, unsent: true }
    }

    /// An error for `request`, of which the answer broke off after `received` bytes of its body.
    pub(super) fn broken_off(request: &str, received: u64, error: reqwest::Error) -> Error {
        let Cause { text, .. } = Cause::find(&error.without_url());
        let cause = format!("the connection broke off after {}: {text}", bytes(received));
        Error::Network {
            request: request.to_owned(),
            network: Self { cause, hint: None, transient: true, unsent: false },
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Whether it may well be over a moment later.
    pub(super) fn is_transient(&self) -> bool {
        self.transient
    }

    /// Whether there was not even a connection.
    pub(super) fn was_never_sent(&self) -> bool {
        self.unsent
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)
    }
}

fn wants_password(proxy: &Variable) -> String {
    format!("it is {proxy}: write them before its host, as in http://user:password@proxy.example:3128")
}

/// What is at the bottom of a chain of errors.
struct Cause {
    text: String,
    io: Option<io::ErrorKind>,
    tls: Option<TlsError>,
    /// Whether what came was not HTTP.
    garbled: bool,
}

impl Cause {
    fn find(error: &(dyn StdError + 'static)) -> Self {
        let mut cause = Self { text: String::new(), io: None, tls: None, garbled: false };
        let mut next = Some(error);
        while let Some(error) = next {
            cause.text = error.to_string();
            next = error.source();
            if let Some(io) = error.downcast_ref::<io::Error>() {
                cause.io = Some(io.kind());
                // What an I/O error wraps is not its source: that is the source of what it wraps.
                next = io.get_ref().map(|inner| inner as &(dyn StdError + 'static)).or(next);
            } else if let Some(tls) = error.downcast_ref::<TlsError>() {
                cause.tls = Some(tls.clone());
            } else if let Some(http) = error.downcast_ref::<hyper::Error>() {
                cause.garbled = http.is_parse();
            }
        }
        if cause.io == Some(io::ErrorKind::ConnectionRefused) {
            "connection refused".clone_into(&mut cause.text);
        }
        if let Some((_, words)) = OF_PROXIES.iter().find(|(found, _)| *found == cause.text) {
            (*words).clone_into(&mut cause.text);
        }
        cause
    }

    fn hint(&self, url: &Url) -> Option<String> {
        let host = url.host_str().unwrap_or_default();
        match &self.tls {
            Some(TlsError::InvalidMessage(_)) => {
                return Some(format!("{host} does not speak TLS: use --plain-http if it is meant to speak plain HTTP"));
            }
            Some(TlsError::InvalidCertificate(CertificateError::UnknownIssuer)) => {
                return Some("name the issuer's certificate with --ca-file, or trust anybody with --insecure".into());
            }
            _ => {}
        }
        if self.io == Some(io::ErrorKind::ConnectionRefused) {
            return Some(format!("is a registry running on {}?", url.origin().ascii_serialization()));
        }
        if self.garbled && url.scheme() == "http" {
            return Some(format!("does {host} speak HTTPS only? then use --plain-http=false"));
        }
        None
    }
}
