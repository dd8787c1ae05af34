//! A registry that speaks TLS: its certificate, and those of its clients.

mod authority;
mod embedded;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use bndlr::server::storage::Memory;
use bndlr::server::{Auth, Passwords, Registry, Running, Server, Tls};
use embedded::client;
use rcgen::ExtendedKeyUsagePurpose;
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

impl Authority {
    fn tls(&self, client_ca: Option<&Authority>) -> Tls {
        let client_ca = client_ca.map(|authority| authority.file("ca.pem"));
        Tls::new(self.file("server.pem"), self.file("server.key"), client_ca).unwrap()
    }

    async fn serve(&self, client_ca: Option<&Authority>) -> Running {
        serve(Registry::new(Memory::new()), self.tls(client_ca)).await
    }

    /// A client that believes this authority, and no other.
    fn client(&self) -> reqwest::ClientBuilder {
        let root = reqwest::Certificate::from_pem(self.issuer.pem().as_bytes()).unwrap();
        reqwest::Client::builder().tls_certs_only([root]).https_only(true)
    }

    /// What a server shows as its certificate.
    fn shown_by(&self, address: SocketAddr) -> CertificateDer<'static> {
        let connection = self.connect(address, rustls::DEFAULT_VERSIONS).unwrap();
        connection.sock.shutdown(std::net::Shutdown::Both).unwrap();
        connection.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }

    fn connect(
        &self,
        address: SocketAddr,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let connection = ClientConnection::new(Arc::new(config), "127.0.0.1".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, TcpStream::connect(address)?);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(stream)
    }
}

async fn serve(registry: Registry, tls: Tls) -> Running {
    Server::bind("127.0.0.1:0".parse().unwrap(), registry).await.unwrap().tls(tls).spawn()
}

fn written(path: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(path).unwrap()
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let authority = Authority::new();
    authority.issue();
    let running = authority.serve(None).await;
    let url = format!("https://{}/v2/", running.address());
    for (builder, version) in
        [(authority.client(), reqwest::Version::HTTP_2), (authority.client().http1_only(), reqwest::Version::HTTP_11)]
    {
        let response = client(builder).get(&url).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_versions_of_tls_are_spoken() {
    let authority = Authority::new();
    authority.issue();
    let running = authority.serve(None).await;
    for (version, expected) in
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let mut stream = authority.connect(running.address(), &[version]).unwrap();
        assert_eq!(stream.conn.protocol_version(), Some(expected));
        assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
        write!(stream, "GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}

#[tokio::test]
async fn who_speaks_no_tls_gets_no_answer_and_holds_up_nobody() {
    let authority = Authority::new();
    authority.issue();
    let running = authority.serve(None).await;
    let silent = TcpStream::connect(running.address()).unwrap();
    let plain = client(reqwest::Client::builder()).get(format!("http://{}/v2/", running.address())).send().await;
    assert!(plain.is_err(), "{plain:?}");
    let url = format!("https://{}/v2/", running.address());
    assert_eq!(client(authority.client()).get(url).send().await.unwrap().status(), 200);
    // It does not wait for a client that says nothing, either.
    let stopped = tokio::time::timeout(Duration::from_secs(5), running.stop()).await;
    assert!(stopped.is_ok(), "it waits for a client that says nothing");
    drop(silent);
}

#[tokio::test]
async fn challenges_name_the_scheme_that_the_client_used() {
    let authority = Authority::new();
    authority.issue();
    let registry = Registry::new(Memory::new()).auth(Auth::new(Passwords::default()).unwrap());
    let running = serve(registry, authority.tls(None)).await;
    for builder in [authority.client(), authority.client().http1_only()] {
        let url = format!("https://{}/v2/", running.address());
        let response = client(builder).get(&url).send().await.unwrap();
        let challenge = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(challenge.contains(&format!("realm=\"https://{}/token\"", running.address())), "{challenge}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_certificate_is_shown_as_soon_as_it_has_its_key() {
    let authority = Authority::new();
    authority.issue();
    let first = written(&authority.file("server.pem"));
    let running = authority.serve(None).await;
    assert_eq!(authority.shown_by(running.address()), first);

    let (certificate, key) = authority.certificate(ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(authority.file("server.pem"), certificate).unwrap();
    assert_eq!(authority.shown_by(running.address()), first, "the key is not there yet");
    fs::write(authority.file("server.key"), key).unwrap();
    let second = written(&authority.file("server.pem"));
    assert_eq!(authority.shown_by(running.address()), second);

    fs::write(authority.file("server.pem"), "nothing").unwrap();
    assert_eq!(authority.shown_by(running.address()), second);
    fs::remove_file(authority.file("server.key")).unwrap();
    assert_eq!(authority.shown_by(running.address()), second);
}

#[tokio::test]
async fn clients_need_a_certificate_of_the_right_authority_if_one_is_named() {
    let (authority, clients) = (Authority::new(), Authority::new());
    authority.issue();
    let running = authority.serve(Some(&clients)).await;
    let url = format!("https://{}/v2/", running.address());
    let get = async |identity: Option<(String, String)>| {
        let identity =
            identity.map(|(certificate, key)| reqwest::Identity::from_pem((certificate + &key).as_bytes()).unwrap());
        let builder = authority.client();
        let builder = if let Some(identity) = identity { builder.identity(identity) } else { builder };
        client(builder).get(&url).send().await.map(|response| response.status().as_u16())
    };
    let usage = ExtendedKeyUsagePurpose::ClientAuth;
    assert_eq!(get(Some(clients.certificate(usage.clone()))).await.unwrap(), 200);
    assert!(get(None).await.is_err(), "without a certificate");
    assert!(get(Some(authority.certificate(usage))).await.is_err(), "of another authority");
    assert!(get(Some(clients.certificate(ExtendedKeyUsagePurpose::ServerAuth))).await.is_err(), "of a server");
}

#[test]
fn files_that_are_not_what_they_should_be_are_named() {
    let authority = Authority::new();
    authority.issue();
    let (_, other) = authority.certificate(ExtendedKeyUsagePurpose::ServerAuth);
    fs::write(authority.file("other.key"), other).unwrap();
    fs::write(authority.file("empty"), "").unwrap();
    for (certificate, key, client_ca, named, expected) in [
        ("missing", "server.key", None, "missing", "No such file"),
        ("server.pem", "missing", None, "missing", "No such file"),
        ("empty", "server.key", None, "empty", "no certificate"),
        ("server.key", "server.key", None, "server.key", "no certificate"),
        ("server.pem", "server.pem", None, "server.pem", "no private key"),
        ("server.pem", "other.key", None, "server.pem", "other.key"),
        ("server.pem", "server.key", Some("empty"), "empty", "no certificate"),
    ] {
        let [certificate, key, named] = [certificate, key, named].map(|name| authority.file(name));
        let error = Tls::new(certificate, key, client_ca.map(|name| authority.file(name))).err().unwrap().to_string();
        assert!(error.starts_with(named.to_str().unwrap()) && error.contains(expected), "{error}");
        assert!(!error.contains("BEGIN"), "{error}");
    }
}
