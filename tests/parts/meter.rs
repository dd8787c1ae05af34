//! A wire that counts what comes back on it, and what is asked for.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What may be done to a request's head on its way.
pub type Change = fn(&mut Vec<u8>);

#[derive(Clone, Default)]
struct Seen {
    bytes: Arc<AtomicU64>,
    connections: Arc<AtomicU64>,
    requests: Arc<Mutex<Vec<String>>>,
}

pub struct Meter {
    pub address: SocketAddr,
    seen: Seen,
    task: JoinHandle<()>,
}

impl Meter {
    /// Before the registry at `upstream`. Requests have no bodies here, and each comes alone.
    pub async fn start(upstream: SocketAddr, change: Change) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Seen::default();
        let all = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                all.connections.fetch_add(1, SeqCst);
                tokio::spawn(relay(client, upstream, change, all.clone()));
            }
        });
        Self { address, seen, task }
    }

    /// How many bytes have come since the last time, heads and all.
    pub fn take(&self) -> u64 {
        self.seen.bytes.swap(0, SeqCst)
    }

    /// How many connections there have been.
    #[allow(dead_code)] // Not every test program asks.
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(SeqCst)
    }

    /// What has been asked for since the last time: method and path, and the range if only that was wanted.
    pub fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.requests.lock().unwrap())
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn relay(client: TcpStream, upstream: SocketAddr, change: Change, seen: Seen) {
    let (mut from, mut to) = client.into_split();
    let (mut answers, mut requests) = TcpStream::connect(upstream).await.unwrap().into_split();
    let counted = seen.bytes.clone();
    let back = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = answers.read(&mut buffer).await {
            counted.fetch_add(length as u64, SeqCst);
            if to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    });
    let mut head = Vec::new();
    while let Ok(byte) = from.read_u8().await {
        head.push(byte);
        if head.ends_with(b"\r\n\r\n") {
            change(&mut head);
            seen.requests.lock().unwrap().push(line(&head));
            requests.write_all(&head).await.unwrap();
            head.clear();
        }
    }
    drop(requests);
    let _ = back.await;
}

fn line(head: &[u8]) -> String {
    let head = String::from_utf8_lossy(head).into_owned();
    let range = head.lines().find_map(|line| line.to_lowercase().strip_prefix("range: ").map(str::to_owned));
    let first = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1");
    [Some(first.to_owned()), range].into_iter().flatten().collect::<Vec<_>>().join(" ")
}
