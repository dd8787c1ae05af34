//! The client: one per process, with its connections, and what it knows about each registry that it talks to.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;

use crate::reference::{Registry, Repository};

use super::auth::Authenticator;
use super::repository::RemoteRepository;
use super::session::Session;
use super::transport::Transport;
use super::{Credentials, Error};

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

/// Talks to any number of registries. Clones share connections and tokens.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    options: ClientOptions,
    transport: Arc<Transport>,
    sessions: Mutex<HashMap<Registry, Arc<Session>>>,
}

impl Client {
    /// A client that has no connection yet.
    ///
    /// # Errors
    /// When the file of certificates cannot be read.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let transport = Arc::new(Transport::new(&options)?);
        Ok(Self { inner: Arc::new(Inner { options, transport, sessions: Mutex::default() }) })
    }

    /// A repository, which need not exist yet. Nothing is asked of the registry until something is wanted of it.
    ///
    /// # Errors
    /// When the registry's name is none that a URL can have, such as `1.2.3.400`.
    pub fn repository(&self, repository: &Repository) -> Result<RemoteRepository, Error> {
        Ok(RemoteRepository::new(self.session(&repository.registry)?, repository.clone()))
    }

    pub(super) fn session(&self, registry: &Registry) -> Result<Arc<Session>, Error> {
        let Inner { options, transport, sessions } = &*self.inner;
        let mut sessions = sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(registry) {
            return Ok(Arc::clone(session));
        }
        let base = Url::parse(&format!("{}://{registry}/", options.scheme(registry)))
            .map_err(|_| Error::Registry(registry.to_string()))?;
        let plain_http = options.plain_http == Some(true);
        let authenticator = Authenticator::new(registry.clone(), base.clone(), options.credentials.clone(), plain_http);
        let session = Arc::new(Session::new(Arc::clone(transport), base, authenticator));
        sessions.insert(registry.clone(), Arc::clone(&session));
        Ok(session)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", &self.inner.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_unless_something_else_is_said() {
        let scheme = |registry: &str, plain_http, ca_file: Option<&str>| {
            let options = ClientOptions { plain_http, ca_file: ca_file.map(PathBuf::from), ..ClientOptions::default() };
            options.scheme(&registry.parse().unwrap())
        };
        assert_eq!(scheme("localhost:5000", None, None), "http");
        assert_eq!(scheme("127.0.0.1:5000", None, None), "http");
        assert_eq!(scheme("[::1]:5000", None, None), "http");
        assert_eq!(scheme("ghcr.io", None, None), "https");
        assert_eq!(scheme("localhost.example", None, None), "https");
        assert_eq!(scheme("localhost:5000", Some(false), None), "https");
        assert_eq!(scheme("localhost:5000", None, Some("ca.pem")), "https");
        assert_eq!(scheme("registry.internal:5000", Some(true), None), "http");
    }

    #[test]
    fn a_client_does_not_print_passwords() {
        let login = super::super::Login { username: "u".into(), password: super::super::Secret::new("hunter2") };
        let credentials = Credentials::none().with_login("h.io".parse().unwrap(), login);
        let client = Client::new(ClientOptions { credentials, ..ClientOptions::default() }).unwrap();
        let printed = format!("{client:?}");
        assert!(printed.contains("***") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn certificates_that_cannot_be_read_are_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        for contents in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            std::fs::write(&path, contents).unwrap();
            let error = Client::new(ClientOptions { ca_file: Some(path.clone()), ..ClientOptions::default() });
            assert!(error.unwrap_err().to_string().contains("ca.pem"));
        }
    }

    #[test]
    fn a_registry_that_no_url_can_name_is_an_error() {
        let client = Client::new(ClientOptions::default()).unwrap();
        let repository = "1.2.3.400/a".parse().unwrap();
        assert!(matches!(client.repository(&repository), Err(Error::Registry(_))));
    }
}
