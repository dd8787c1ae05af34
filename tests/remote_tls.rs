//! A registry over TLS: whom to believe, and what to say to the user about whom not.

mod fake;
mod program;
mod sample;

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bndlr::content::{ErrorKind, Source, Target};
use bndlr::manifest::{RawManifest, media_type};
use bndlr::reference::Identifier;
use bndlr::remote::ClientOptions;
use fake::{asked, logged_in, options, raw_answer, repository_with, server};
use program::read_head;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sample::{blob, tag};
use wiremock::ResponseTemplate;

const MANIFEST: &str = r#"{"schemaVersion":2,"manifests":[]}"#;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

fn v1() -> Identifier {
    tag("v1").into()
}

/// A server at `host` with the certificate of the tests, which has but one manifest. It lives as long as the test program.
fn registry(host: &str) -> SocketAddr {
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {}", media_type::OCI_INDEX);
    registry_that_says(host, raw_answer(&head, MANIFEST.len(), MANIFEST.as_bytes()))
}

/// One that says these bytes to everybody.
fn registry_that_says(host: &str, says: Vec<u8>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certificates = vec![CertificateDer::from_pem_file(file("leaf.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("leaf.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let (config, listener) = (Arc::new(config), TcpListener::bind((host, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, says) = (Arc::clone(&config), says.clone());
            std::thread::spawn(move || answer(&config, stream, &says));
        }
    });
    address
}

/// Answers one request, if the client gets as far as to make one.
fn answer(config: &Arc<ServerConfig>, stream: TcpStream, says: &[u8]) {
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream);
    if read_head(&mut stream).is_none() {
        return;
    }
    let _ = stream.write_all(says);
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

#[tokio::test]
async fn a_file_of_certificates_makes_its_registry_believed_and_spoken_tls_with() {
    let options = ClientOptions { ca_file: Some(file("ca.pem")), ..options() };
    let found = repository_with(&registry("127.0.0.1"), options).manifest(&v1()).await.unwrap();
    assert_eq!(found, RawManifest::parse("", MANIFEST.into()).unwrap());
}

#[tokio::test]
async fn who_has_a_certificate_of_unknown_origin_is_not_believed() {
    let options = ClientOptions { plain_http: Some(false), ..options() };
    let error = repository_with(&registry("127.0.0.1"), options).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(error.hint().unwrap_or_default().contains("--ca-file"), "{error}: {:?}", error.hint());
}

#[tokio::test]
async fn a_certificate_for_another_host_is_not_believed() {
    let options = ClientOptions { ca_file: Some(file("ca.pem")), ..options() };
    // Linux answers on all of 127.0.0.0/8, and the certificate is for 127.0.0.1 alone.
    let error = repository_with(&registry("127.0.0.2"), options).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(error.to_string().contains("127.0.0.2"), "{error}");
}

#[tokio::test]
async fn anybody_is_believed_if_the_user_says_so() {
    let options = ClientOptions { plain_http: Some(false), insecure: true, ..options() };
    repository_with(&registry("127.0.0.1"), options).manifest(&v1()).await.unwrap();
}

#[tokio::test]
async fn nobody_is_led_from_tls_to_plain_http() {
    let plain = server(|_| ResponseTemplate::new(200).set_body_string(MANIFEST)).await;
    for (status, leads) in [("302 Found", "redirects to"), ("202 Accepted", "names")] {
        let head = format!("HTTP/1.1 {status}\r\nConnection: close\r\nLocation: {}/x", plain.uri());
        let address = registry_that_says("127.0.0.1", raw_answer(&head, 0, b""));
        let repository =
            repository_with(&address, ClientOptions { ca_file: Some(file("ca.pem")), ..logged_in(&address) });
        let (descriptor, content) = blob(b"x");
        let error = match status {
            "302 Found" => repository.manifest(&v1()).await.unwrap_err(),
            _ => repository.push(&descriptor, &content).await.unwrap_err(),
        };
        let expected = format!("{leads} a location on plain HTTP");
        assert!(error.kind() == ErrorKind::Remote && error.to_string().contains(&expected), "{error}");
    }
    assert_eq!(asked(&plain).await, [""; 0]);
}

#[tokio::test]
async fn a_registry_that_speaks_tls_only_has_a_hint() {
    let error = repository_with(&registry("127.0.0.1"), options()).manifest(&v1()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Remote);
    assert!(error.hint().unwrap_or_default().contains("--plain-http=false"), "{error}: {:?}", error.hint());
}
