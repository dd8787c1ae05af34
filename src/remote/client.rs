//! How to talk to registries.

use std::path::PathBuf;
use std::time::Duration;

use crate::reference::Registry;

use super::Credentials;

/// How to talk to registries.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Whether to speak plain HTTP, with every registry. Where nothing is said, only those on this machine are spoken
    /// to so, and not even those if there is a `ca_file`.
    pub plain_http: Option<bool>,
    /// Speak TLS with anybody, whatever their certificate.
    pub insecure: bool,
    /// A file of certificates in PEM that are to be believed beside those that are anyway.
    pub ca_file: Option<PathBuf>,
    /// Who asks.
    pub credentials: Credentials,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer, or for the next bytes of one, or until the next bytes of an upload are taken.
    pub stall_timeout: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            plain_http: None,
            insecure: false,
            ca_file: None,
            credentials: Credentials::none(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_mins(1),
        }
    }
}

impl ClientOptions {
    fn scheme(&self, registry: &Registry) -> &'static str {
        let plain = self.plain_http.unwrap_or_else(|| registry.is_loopback() && self.ca_file.is_none());
        if plain { "http" } else { "https" }
    }
}
