//! TLS: whom to believe that it is who it says, and what to show.
//!
//! The certificates of this system and those that Mozilla's programs trust are both roots, so that the program works
//! in a container that has none. What the user names is read in `certificates`.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::reference::Registry;

use super::Error;
use super::certificates::{folder_for, read_authorities, read_folder, read_identity};
use super::client::ClientOptions;

/// Whom to believe, and what to show.
#[derive(Clone)]
pub(super) struct Trust {
    provider: Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<Arc<CertifiedKey>>,
    extra: Vec<CertificateDer<'static>>,
}

impl Trust {
    /// What the user says about all registries.
    pub(super) fn new(options: &ClientOptions) -> Result<Self, Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let extra = options.ca_file.as_deref().map_or(Ok(Vec::new()), read_authorities)?;
        let identity = options.client_certificate.as_ref().map(read_identity).transpose()?;
        let verifier: Arc<dyn ServerCertVerifier> = if options.insecure {
            Arc::new(Anybody(provider.signature_verification_algorithms))
        } else {
            Arc::new(Rooted::new(&provider, extra.clone()))
        };
        Ok(Self { provider, verifier, identity, extra })
    }

    /// The same, with what lies in a folder for `registry`, if there is one. What the user names comes first.
    pub(super) fn with_folder(&self, registry: &Registry, options: &ClientOptions) -> Result<Self, Error> {
        let mut trust = self.clone();
        let Some(folder) = folder_for(registry, &options.certificate_folders) else { return Ok(trust) };
        let (authorities, identity) = read_folder(&folder)?;
        trust.identity = trust.identity.or(identity);
        trust.extra.extend(authorities);
        if !options.insecure {
            trust.verifier = Arc::new(Rooted::new(&trust.provider, trust.extra.clone()));
        }
        Ok(trust)
    }

    /// Whether there is something to show.
    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// How to begin a TLS session: HTTP/2 where the server has it, and with a client certificate if it is to be shown.
    pub(super) fn config(&self, show: bool) -> Result<ClientConfig, Error> {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Tls(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&self.verifier));
        let mut config = match self.identity.as_ref().filter(|_| show) {
            Some(identity) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(identity)))),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust").field("verifier", &self.verifier).finish_non_exhaustive()
    }
}

/// Believes who has a certificate from one of the roots. They are read when the first certificate is to be checked:
/// it takes longer than a whole conversation with a registry on this machine, where there is nothing to check.
#[derive(Debug)]
struct Rooted {
    provider: Arc<CryptoProvider>,
    extra: Vec<CertificateDer<'static>>,
    verifier: OnceLock<Result<Arc<WebPkiServerVerifier>, rustls::Error>>,
}

impl Rooted {
    fn new(provider: &Arc<CryptoProvider>, extra: Vec<CertificateDer<'static>>) -> Self {
        Self { provider: Arc::clone(provider), extra, verifier: OnceLock::new() }
    }

    fn verifier(&self) -> Result<&WebPkiServerVerifier, rustls::Error> {
        let verifier = self.verifier.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // A certificate of the system that cannot be read is one fewer to believe, and no reason to stop.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
            roots.add_parsable_certificates(self.extra.iter().cloned());
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&self.provider))
                .build()
                .map_err(|error| rustls::Error::General(error.to_string()))
        });
        verifier.as_deref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for Rooted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier()?.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Believes anybody, as long as they hold the key of the certificate that they show.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
