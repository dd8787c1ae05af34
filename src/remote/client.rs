//! The client: one per process, with its connections, and what it knows about each registry that it talks to.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::Url;

use crate::reference::{Registry, Repository};

use super::auth::Authenticator;
use super::certificates::{self, ClientCertificate};
use super::connections::Connections;
use super::repository::RemoteRepository;
use super::retry::Hosts;
use super::session::Session;
use super::tls::Trust;
use super::transport::Transport;
use super::{Credentials, Error, Login, Secret};

/// How to talk to registries.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Whether to speak plain HTTP, with every registry. Where nothing is said, only those on this machine are spoken
    /// to so, and not even those if there is a `ca_file`, a `client_certificate` or a folder with certificates for them.
    pub plain_http: Option<bool>,
    /// Speak TLS with anybody, whatever their certificate.
    pub insecure: bool,
    /// A file of certificates in PEM that are to be believed beside those that are anyway.
    pub ca_file: Option<PathBuf>,
    /// What registries are shown that ask for a certificate. What they lead to, such as a token service, does not see it.
    pub client_certificate: Option<ClientCertificate>,
    /// The Unix socket that registries are reached through, instead of the network. What they lead to is not.
    pub unix_socket: Option<PathBuf>,
    /// Folders that may have a folder `HOST:PORT` with certificates for a registry, as Docker's `certs.d` has; of
    /// several, the first counts. There are none unless they are named; [`certificate_folders`] names the usual ones.
    ///
    /// [`certificate_folders`]: super::certificate_folders
    pub certificate_folders: Vec<PathBuf>,
    /// Who asks.
    pub credentials: Credentials,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long to wait for an answer, or for the next bytes of one, or until the next bytes of an upload are taken.
    pub stall_timeout: Duration,
    /// How often something is tried again that may be repeated without harm. What is large and gets on is not
    /// counted: only failures with next to nothing between them are.
    pub retry_times: u32,
    /// How long to wait at most before the first of these; it doubles up to ten seconds. How long it is, chance
    /// decides, unless the registry says it.
    pub retry_delay: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            plain_http: None,
            insecure: false,
            ca_file: None,
            client_certificate: None,
            unix_socket: None,
            certificate_folders: Vec::new(),
            credentials: Credentials::none(),
            connect_timeout: Duration::from_secs(10),
            stall_timeout: Duration::from_mins(1),
            retry_times: 4,
            retry_delay: Duration::from_millis(200),
        }
    }
}

impl ClientOptions {
    fn scheme(&self, registry: &Registry) -> &'static str {
        let has_certificates = || {
            let named = self.ca_file.is_some() || self.client_certificate.is_some();
            named || certificates::folder_for(registry, &self.certificate_folders).is_some()
        };
        let plain = self.plain_http.unwrap_or_else(|| registry.is_loopback() && !has_certificates());
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
    trust: Trust,
    hosts: Arc<Hosts>,
    sessions: Mutex<HashMap<Registry, Arc<Session>>>,
}

impl Client {
    /// A client that has no connection yet.
    ///
    /// # Errors
    /// When a file of certificates cannot be read.
    pub fn new(options: ClientOptions) -> Result<Self, Error> {
        let trust = Trust::new(&options)?;
        Ok(Self { inner: Arc::new(Inner { options, trust, hosts: Arc::default(), sessions: Mutex::default() }) })
    }

    /// A repository, which need not exist yet. Nothing is asked of the registry until something is wanted of it.
    ///
    /// # Errors
    /// When the registry's name is none that a URL can have, such as `1.2.3.400`, when there is a folder with certificates
    /// for it that cannot be read, and when the environment names a proxy that is none.
    pub fn repository(&self, repository: &Repository) -> Result<RemoteRepository, Error> {
        Ok(RemoteRepository::new(self.session(&repository.registry)?, repository.clone()))
    }

    /// Asks the registry whether it takes this log-in, which is shown to nobody else but the token service that it names.
    /// Nothing is stored: that is [`Credentials::store`]'s to do.
    ///
    /// # Errors
    /// [`ErrorKind::Denied`](crate::content::ErrorKind::Denied) when it does not, beside all that can go wrong on the way.
    pub async fn log_in(&self, registry: &Registry, login: Login) -> Result<LoggedIn, Error> {
        let credentials = Credentials::none().with_login(registry.clone(), login.clone());
        let (base, transport) = self.reach(registry)?;
        let session = Session::new(transport, base.clone(), self.authenticator(registry, base, credentials).offline());
        let checked = session.check().await?;
        let identity = session.identity().await.map(Login::of_identity_token);
        Ok(LoggedIn { keep: identity.unwrap_or(login), checked })
    }

    /// A token of the service that the registry names, for these scopes: `repository:library/busybox:pull`.
    ///
    /// # Errors
    /// When the registry asks for no token, beside all that can go wrong on the way.
    pub async fn token(&self, registry: &Registry, scopes: &[String]) -> Result<Secret, Error> {
        self.session(registry)?.token(scopes.to_vec()).await
    }

    pub(super) fn session(&self, registry: &Registry) -> Result<Arc<Session>, Error> {
        let mut sessions = self.inner.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(registry) {
            return Ok(Arc::clone(session));
        }
        let (base, transport) = self.reach(registry)?;
        let credentials = self.inner.options.credentials.clone();
        let authenticator = self.authenticator(registry, base.clone(), credentials);
        let session = Arc::new(Session::new(transport, base, authenticator));
        sessions.insert(registry.clone(), Arc::clone(&session));
        Ok(session)
    }

    /// Where a registry is, and what leads there.
    fn reach(&self, registry: &Registry) -> Result<(Url, Transport), Error> {
        let Inner { options, trust, hosts, .. } = &*self.inner;
        let base = Url::parse(&format!("{}://{registry}/", options.scheme(registry)))
            .map_err(|_| Error::Registry(registry.to_string()))?;
        let trust = trust.with_folder(registry, options)?;
        let connections = Connections::new(&base, &trust, options)?;
        Ok((base, Transport::new(options, connections, Arc::clone(hosts))))
    }

    fn authenticator(&self, registry: &Registry, base: Url, credentials: Credentials) -> Authenticator {
        let plain_http = self.inner.options.plain_http == Some(true);
        Authenticator::new(registry.clone(), base, credentials, plain_http)
    }
}

/// A log-in that a registry has taken.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// What to keep: an identity token if the registry's token service gives one for the password, else the password.
    pub keep: Login,
    /// Whether the registry asked who is there at all. If it lets everybody look, a wrong password is noticed later.
    pub checked: bool,
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
