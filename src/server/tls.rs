//! TLS: the certificate of a server, and perhaps those that its clients need.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::watched::{self, FileError, Watched};

/// How a server speaks TLS: version 1.2 or 1.3, and HTTP/2 with clients that know it.
///
/// The files are read again when they change, as when a certificate is renewed; a connection keeps what it began with.
/// If they cannot be used then, as when the certificate is new and the key not yet, the log says so, and the last ones
/// that could be used stay.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use bndlr::server::{Registry, Server, Tls, storage::Memory};
///
/// let tls = Tls::new("server.pem", "server.key", None)?;
/// let server = Server::bind("127.0.0.1:5443".parse()?, Registry::new(Memory::new())).await?.tls(tls);
/// # Ok(())
/// # }
/// ```
pub struct Tls(Watched<ServerConfig>);

impl Tls {
    /// With the certificate in one file and its key in another, both in PEM; the certificate comes first, then those of
    /// the authorities between it and a root. With `client_ca`, a file of certificates, clients need one that these
    /// authorities have issued.
    ///
    /// # Errors
    /// When a file cannot be used, or the key is not the certificate's.
    pub fn new(
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
        client_ca: Option<PathBuf>,
    ) -> Result<Self, FileError> {
        let (certificate, key) = (certificate.into(), key.into());
        let files = [&certificate, &key].into_iter().chain(&client_ca).cloned().collect();
        let read = move || config(&certificate, &key, client_ca.as_deref());
        Ok(Self(Watched::new(files, read)?))
    }

    /// What to accept the next connection with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.0.current().into()
    }
}

fn config(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerConfig, FileError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_slice(&watched::read(key)?)
        .map_err(|_| FileError::new(key, "there is no private key in PEM in it"))?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| FileError::new(certificate, error))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| FileError::new(path, error))?)
        }
    };
    let mut config = builder.with_single_cert(chain, private).map_err(|error| {
        let why = format!("the certificate cannot be used with the key in {}: {error}", key.display());
        FileError::new(certificate, why)
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, FileError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| FileError::new(path, error))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let pem = watched::read(path)?;
    let certificates = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(FileError::new(path, "there is no certificate in PEM in it")),
        Err(error) => Err(FileError::new(path, format!("is not valid PEM: {error}"))),
    }
}
