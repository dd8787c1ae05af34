//! HTTP clients for a registry and wherever it leads: which proxy they go through, and to whom they show who they are.
//!
//! Whom the user trusts for a registry is trusted for what the registry leads to: its token service, its storage. A client
//! certificate is shown to the registry's own origin and to nobody else.

use std::time::Duration;

use reqwest::Url;
use rustls::ClientConfig;

use super::Error;
use super::tls::Trust;
use super::transport::is_loopback;

/// Connections of one registry.
#[derive(Clone, Debug)]
pub(super) struct Connections {
    origin: String,
    /// To the registry itself, if it is shown a certificate.
    own: Option<Ways>,
    others: Ways,
}

/// The two ways out.
#[derive(Clone, Debug)]
struct Ways {
    /// For hosts elsewhere: through a proxy, if the environment names one.
    outward: reqwest::Client,
    /// For this machine, which a proxy would take for itself.
    loopback: reqwest::Client,
}

impl Connections {
    /// Connections of the registry at `base`, each made within `timeout`.
    pub(super) fn new(base: &Url, trust: &Trust, timeout: Duration) -> Result<Self, Error> {
        let own = trust.has_identity().then(|| Ways::new(&trust.config(true)?, timeout)).transpose()?;
        let others = Ways::new(&trust.config(false)?, timeout)?;
        Ok(Self { origin: base.origin().ascii_serialization(), own, others })
    }

    /// The client for a request to `url`.
    pub(super) fn to(&self, url: &Url) -> &reqwest::Client {
        let own = self.own.as_ref().filter(|_| url.origin().ascii_serialization() == self.origin);
        let ways = own.unwrap_or(&self.others);
        if is_loopback(url) { &ways.loopback } else { &ways.outward }
    }
}

impl Ways {
    fn new(tls: &ClientConfig, timeout: Duration) -> Result<Self, Error> {
        let builder = || {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .user_agent(concat!("bndlr/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(timeout)
                .redirect(reqwest::redirect::Policy::none())
        };
        let built = |client: reqwest::Result<_>| client.map_err(|error| Error::Tls(error.to_string()));
        Ok(Self { outward: built(builder().build())?, loopback: built(builder().no_proxy().build())? })
    }
}
