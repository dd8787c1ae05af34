//! HTTP clients for a registry and wherever it leads: which proxy they go through, and to whom they show who they are.
//!
//! Whom the user trusts for a registry is trusted for what the registry leads to: its token service, its storage. A client
//! certificate is shown to the registry's own origin and to nobody else, and a Unix socket is the way there alone.

use reqwest::{ClientBuilder, Proxy, Url};
use rustls::ClientConfig;

use super::Error;
use super::client::ClientOptions;
use super::proxies::{Proxies, Variable};
use super::tls::Trust;

/// Connections of one registry.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    origin: String,
    /// To the registry itself, if it is reached in a way of its own.
    own: Option<reqwest::Client>,
    others: reqwest::Client,
    proxies: Proxies,
    has_socket: bool,
}

impl Connections {
    /// Connections of the registry at `base`.
    pub(super) fn new(base: &Url, trust: &Trust, options: &ClientOptions) -> Result<Self, Error> {
        let proxies = Proxies::from_environment()?;
        let socket = options.unix_socket.as_deref();
        let own = if trust.has_identity() || socket.is_some() {
            let own = through(builder(&trust.config(true)?, options), &proxies);
            Some(build(match socket {
                Some(path) => own.unix_socket(path),
                None => own,
            })?)
        } else {
            None
        };
        let others = build(through(builder(&trust.config(false)?, options), &proxies))?;
        let origin = base.origin().ascii_serialization();
        Ok(Self { origin, own, others, proxies, has_socket: socket.is_some() })
    }

    /// The client for a request to `url`.
    pub(super) fn to(&self, url: &Url) -> &reqwest::Client {
        self.own.as_ref().filter(|_| self.is_own(url)).unwrap_or(&self.others)
    }

    /// The proxy that a request to `url` goes through.
    pub(super) fn proxy(&self, url: &Url) -> Option<&Variable> {
        self.proxies.to(url).filter(|_| !(self.has_socket && self.is_own(url)))
    }

    fn is_own(&self, url: &Url) -> bool {
        url.origin().ascii_serialization() == self.origin
    }
}

fn builder(tls: &ClientConfig, options: &ClientOptions) -> ClientBuilder {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .user_agent(concat!("bndlr/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(options.connect_timeout)
        .redirect(reqwest::redirect::Policy::none())
}

fn through(builder: ClientBuilder, proxies: &Proxies) -> ClientBuilder {
    let proxies = proxies.clone();
    builder.proxy(Proxy::custom(move |url| proxies.to(url).map(|variable| variable.url().expose().to_owned())))
}

fn build(builder: ClientBuilder) -> Result<reqwest::Client, Error> {
    builder.build().map_err(|error| Error::Tls(error.to_string()))
}
