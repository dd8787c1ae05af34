//! What stands between a client and a registry: a proxy that leads on and writes down what it got, and an end of TLS.
#![allow(dead_code)] // each test binary uses a part of it

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::authority::Authority;

/// A proxy for HTTP, with CONNECT, and for SOCKS 5, whose only user is `user` with the password `proxy-secret`. Wherever
/// somebody wants to go, it leads to one place.
pub struct Proxy {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    asked: Vec<String>,
    bytes: Vec<u8>,
}

impl Proxy {
    pub async fn to(place: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Seen>>::default());
        let notes = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // Either side may hang up.
                tokio::spawn(lead(client, place, Arc::clone(&notes)));
            }
        });
        Self { address, seen }
    }

    /// `http://user:proxy-secret@127.0.0.1:…`
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://user:proxy-secret@{}", self.address)
    }

    /// Where clients wanted to go: the first line of each request with who asks, `CONNECT h.io:443 HTTP/1.1 (user)`.
    pub fn asked(&self) -> Vec<String> {
        self.seen.lock().unwrap().asked.clone()
    }

    /// Fails if the proxy has seen anything of this that clients sent.
    #[track_caller]
    pub fn assert_never_saw(&self, what: &str) {
        let seen = String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).to_lowercase();
        assert!(!seen.contains(&what.to_lowercase()), "the proxy saw {what}");
    }

    /// Whether it has seen this.
    pub fn saw(&self, what: &str) -> bool {
        String::from_utf8_lossy(&self.seen.lock().unwrap().bytes).to_lowercase().contains(&what.to_lowercase())
    }
}

async fn lead(mut client: TcpStream, place: SocketAddr, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    let first = client.read_u8().await?;
    let (asked, head) = if first == 5 { greet(&mut client).await? } else { read_head(&mut client, first).await? };
    let is_tunnel = asked.starts_with("CONNECT");
    seen.lock().unwrap().asked.push(asked);
    let mut server = TcpStream::connect(place).await?;
    if is_tunnel {
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    } else {
        seen.lock().unwrap().bytes.extend_from_slice(&head);
        server.write_all(&head).await?;
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = async {
        let mut bytes = [0; 16 * 1024];
        loop {
            let length = from_client.read(&mut bytes).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            seen.lock().unwrap().bytes.extend_from_slice(&bytes[..length]);
            to_server.write_all(&bytes[..length]).await?;
        }
    };
    let back = async {
        tokio::io::copy(&mut from_server, &mut to_client).await?;
        to_client.shutdown().await
    };
    tokio::try_join!(there, back).map(|_| ())
}

/// The first request's head, and its first line with who asks.
async fn read_head(client: &mut TcpStream, first: u8) -> io::Result<(String, Vec<u8>)> {
    let mut head = vec![first];
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await?);
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    // user:proxy-secret
    let is_known = text.to_lowercase().contains("\r\nproxy-authorization: basic dxnlcjpwcm94es1zzwnyzxq=\r\n");
    let user = if is_known { "user" } else { "nobody" };
    Ok((format!("{} ({user})", text.lines().next().unwrap_or_default()), head))
}

/// Talks SOCKS 5 (RFC 1928, 1929) after its first byte, as far as a client needs it that has a user.
async fn greet(client: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut methods = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut methods).await?;
    let user = if methods.contains(&2) {
        client.write_all(&[5, 2]).await?;
        client.read_u8().await?;
        let (name, password) = (read_text(client).await?, read_text(client).await?);
        client.write_all(&[1, u8::from((&*name, &*password) != ("user", "proxy-secret"))]).await?;
        name
    } else {
        client.write_all(&[5, 0]).await?;
        "nobody".to_owned()
    };
    let mut request = [0; 4];
    client.read_exact(&mut request).await?;
    let host = if request[3] == 3 {
        read_text(client).await?
    } else {
        let mut address = [0; 4];
        client.read_exact(&mut address).await?;
        std::net::Ipv4Addr::from(address).to_string()
    };
    let port = client.read_u16().await?;
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await?;
    Ok((format!("SOCKS {host}:{port} ({user})"), Vec::new()))
}

async fn read_text(client: &mut TcpStream) -> io::Result<String> {
    let mut text = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut text).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Ends TLS with the authority's certificate, and leads to what speaks plain HTTP.
pub async fn tls(authority: &Authority, place: SocketAddr) -> SocketAddr {
    let certificate = CertificateDer::from_pem_file(authority.file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.file("server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect(place).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    address
}
