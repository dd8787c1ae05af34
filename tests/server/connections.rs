//! Connections: HTTP/2, and how a server stops.

use crate::embedded::{Embedded, client, header};
use bndlr::digest::Digest;
use bndlr::server::storage::Memory;
use bndlr::server::{Registry, Server};
use reqwest::{Method, StatusCode};

#[tokio::test]
async fn http2_without_tls_is_served() {
    let registry = Embedded::in_memory().await;
    let digest = registry.push_blob("a", b"layer").await;
    let http2 = client(reqwest::Client::builder().http2_prior_knowledge());
    let url = format!("http://{}/v2/a/blobs/{digest}", registry.address());
    let head = http2.head(&url).send().await.unwrap();
    assert_eq!((head.version(), header(&head, "content-length")), (reqwest::Version::HTTP_2, "5"));
    assert_eq!(http2.get(&url).send().await.unwrap().bytes().await.unwrap(), "layer");
    let url = format!("http://{}/v2/a/blobs/uploads/?digest={}", registry.address(), Digest::sha256(b"2"));
    assert_eq!(http2.post(url).body("2").send().await.unwrap().status(), 201);
}

#[tokio::test]
async fn stopping_lets_running_requests_end() {
    let registry = Embedded::in_memory().await;
    let session = registry.begin_upload("a").await;
    let (sender, receiver) = futures::channel::mpsc::unbounded::<Result<&str, std::io::Error>>();
    let body = reqwest::Body::wrap_stream(receiver);
    let request = tokio::spawn(registry.request(Method::PATCH, &session).body(body).send());
    sender.unbounded_send(Ok("begin ")).unwrap();
    while header(&registry.get(&session).await, "range") != "0-5" {}

    let address = registry.address();
    let stopped = tokio::spawn(registry.stop());
    while tokio::net::TcpStream::connect(&address).await.is_ok() {}
    assert!(!stopped.is_finished(), "it waits for the request");
    sender.unbounded_send(Ok("end")).unwrap();
    drop(sender);
    let response = request.await.unwrap().unwrap();
    assert_eq!((response.status(), header(&response, "range")), (StatusCode::ACCEPTED, "0-8"));
    stopped.await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_dropped_is_gone() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), Registry::new(Memory::new())).await.unwrap();
    let running = server.spawn();
    let address = running.address();
    tokio::net::TcpStream::connect(address).await.unwrap();
    drop(running);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}
