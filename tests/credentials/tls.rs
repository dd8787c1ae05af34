//! TLS: certificates of clients, folders such as Docker's `certs.d`, and HTTP/2.

use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use bndlr::content::Source;
use bndlr::reference::Identifier;
use bndlr::remote::{ClientCertificate, ClientOptions};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::Authority;
use crate::fake::{options, raw_answer, repository_with};
use crate::program::{Desk, read_head};
use crate::serve::Serve;
use crate::{ALICE, desk, registry, run, run_in};

/// An authority whose certificates are on a desk: for a server, and for a client.
fn authority(desk: &Desk) -> Authority {
    let authority = Authority::new();
    authority.issue();
    authority.issue_client();
    for name in ["ca.pem", "server.pem", "server.key", "client.pem", "client.key"] {
        fs::copy(authority.file(name), desk.path(name)).unwrap();
    }
    authority
}

/// A registry that talks to those who show a certificate of the authority.
fn for_known_clients(desk: &Desk) -> Serve {
    Serve::start(desk, "--tls-cert server.pem --tls-key server.key --tls-client-ca ca.pem")
}

#[test]
fn a_client_certificate_is_shown_if_it_is_named() {
    let desk = Desk::with_tree();
    authority(&desk);
    let registry = for_known_clients(&desk);
    let push = format!("push tree {} --ca-file ca.pem", registry.reference("any:v1"));
    assert_eq!(run(&desk, &push).code, Some(6));
    run(&desk, &format!("{push} --cert-file client.pem --key-file client.key")).ok();

    for (flags, code, expected) in [
        ("--cert-file client.pem", 2, "--key-file"),
        ("--key-file client.key", 2, "--cert-file"),
        (
            "--cert-file client.pem --key-file server.key",
            8,
            "server.key: it is no key that can be used, or not the one",
        ),
        ("--cert-file client.pem --key-file client.pem", 8, "client.pem: there is no private key in it"),
        ("--cert-file client.key --key-file client.key", 8, "client.key: there is no certificate in it"),
        ("--cert-file nowhere --key-file client.key", 8, "nowhere: No such file"),
    ] {
        let ran = run(&desk, &format!("{push} {flags}"));
        assert_eq!(ran.code, Some(code), "{flags}: {ran:?}");
        assert!(ran.stderr.contains(expected) && !ran.stderr.contains("BEGIN"), "{flags}: {ran:?}");
    }
}

#[test]
fn a_folder_for_a_registry_has_what_is_needed_to_talk_to_it_and_to_no_other() {
    let desk = Desk::with_tree();
    authority(&desk);
    let (registry, other) = (for_known_clients(&desk), for_known_clients(&desk));
    let folder = format!("config/containers/certs.d/{}", registry.address);
    for (name, file) in [("ca.crt", "ca.pem"), ("client.cert", "client.pem"), ("client.key", "client.key")] {
        desk.write(&format!("{folder}/{name}"), &desk.read(file));
    }
    let config = desk.path("config").display().to_string();
    let push = |registry: &Serve| {
        run_in(&desk, &format!("push tree {}", registry.reference("any:v1")), &[("XDG_CONFIG_HOME", &config)])
    };
    push(&registry).ok();
    let refused = push(&other);
    assert_eq!(refused.code, Some(6), "{refused:?}");
    assert!(refused.stderr.contains("> GET http://"), "nothing says that it speaks TLS: {refused:?}");

    fs::remove_file(desk.path(&format!("{folder}/client.key"))).unwrap();
    let broken = push(&registry);
    assert_eq!(broken.code, Some(8), "{broken:?}");
    assert!(broken.stderr.contains(&format!("{}/client.key: No such file", registry.address)), "{broken:?}");
}

#[test]
fn http_2_is_spoken_where_the_registry_has_it() {
    let desk = desk();
    let registry = registry(&desk, "--tls-cert leaf.pem --tls-key leaf.key");
    let ran = run(&desk, &format!("push tree {} {ALICE} --ca-file ca.pem", registry.reference("team/app:v1")));
    assert!(ran.stderr.contains(" < HTTP/2.0 201 Created") && !ran.stderr.contains("< HTTP/1.1"), "{ran:?}");
    ran.ok();
}

/// What a host was asked, and whether it was shown a certificate.
type Seen = Arc<Mutex<Vec<(String, bool)>>>;

/// A host that takes certificates of the authority and needs none. It lives as long as the test program.
fn host(authority: &Authority, answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> (SocketAddr, Seen) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_file(authority.file("server.pem")).unwrap()],
            PrivateKeyDer::from_pem_file(authority.file("server.key")).unwrap(),
        )
        .unwrap();
    let (config, seen, listener) = (Arc::new(config), Seen::default(), TcpListener::bind("127.0.0.1:0").unwrap());
    let (address, notes) = (listener.local_addr().unwrap(), Arc::clone(&seen));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            converse(&config, stream, &answer, &notes);
        }
    });
    (address, seen)
}

/// Answers one request, and then closes.
fn converse(config: &Arc<ServerConfig>, stream: TcpStream, answer: &dyn Fn(&str) -> Vec<u8>, seen: &Seen) {
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(config)).unwrap(), stream);
    let Some(head) = read_head(&mut stream) else { return };
    seen.lock().unwrap().push((head.clone(), stream.conn.peer_certificates().is_some()));
    let _ = stream.write_all(&answer(&head));
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn answer(status: &str, header: &str, body: &str) -> Vec<u8> {
    raw_answer(&format!("HTTP/1.1 {status}\r\nConnection: close\r\n{header}"), body.len(), body.as_bytes())
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_the_registry_and_not_to_whom_it_leads_to() {
    let desk = Desk::new();
    let authority = authority(&desk);
    let (elsewhere, asked_there) = host(&authority, |head| {
        if head.starts_with("GET /token") {
            return answer("200 OK", "Content-Type: application/json", r#"{"token":"bearer-secret"}"#);
        }
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        answer("200 OK", "Content-Type: application/vnd.oci.image.index.v1+json", index)
    });
    let (registry, asked) = host(&authority, move |head| {
        if head.to_lowercase().contains("authorization: bearer bearer-secret") {
            return answer("307 Temporary Redirect", &format!("Location: https://{elsewhere}/storage"), "");
        }
        let challenge = format!("WWW-Authenticate: Bearer realm=\"https://{elsewhere}/token\"");
        answer("401 Unauthorized", &challenge, "")
    });
    let files = ClientCertificate { certificate: desk.path("client.pem"), key: desk.path("client.key") };
    let ca_file = Some(desk.path("ca.pem"));
    let options = ClientOptions { ca_file, client_certificate: Some(files), ..options() };
    let v1: Identifier = "v1".parse().unwrap();
    repository_with(&registry, options).manifest(&v1).await.unwrap();

    let shown = |seen: &Seen| {
        let seen = seen.lock().unwrap();
        let line = |(head, shown): &(String, bool)| (head.split_whitespace().nth(1).unwrap().to_owned(), *shown);
        seen.iter().map(line).collect::<Vec<_>>()
    };
    let manifest = "/v2/team/app/manifests/v1".to_owned();
    assert_eq!(shown(&asked), [(manifest.clone(), true), (manifest, true)]);
    let there = shown(&asked_there);
    assert!(there.len() == 2 && there[1].0 == "/storage" && there.iter().all(|(_, shown)| !shown), "{there:?}");
    assert!(!asked_there.lock().unwrap()[1].0.contains("bearer-secret"), "nor is the token");
}
