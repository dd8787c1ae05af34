//! A registry that listens: connections, their limits, and how it stops.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::access::Peer;
use super::hosts::Hosts;
use super::idle::{Busy, Idle};
use super::registry::Registry;
use super::tls::Tls;
use super::upkeep::Upkeep;

/// The least that room for headers can be limited to.
const MIN_HEADER_BYTES: usize = 8192;
/// How long a client may take to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many requests a client may have open on one HTTP/2 connection.
const MAX_STREAMS: u32 = 64;
/// How long running requests may take to end, once the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// How long to wait when the system cannot accept a connection, as when the process has too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A registry that listens on an address. It serves HTTP/1.1 and HTTP/2; without TLS, HTTP/2 to clients that begin
/// with that.
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use bndlr::server::{Registry, Server, storage::Memory};
///
/// let server = Server::bind("127.0.0.1:0".parse()?, Registry::new(Memory::new())).await?;
/// let running = server.spawn();
/// println!("push to {}/some/repository", running.address());
/// running.stop().await;
/// # Ok(())
/// # }
/// ```
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    registry: Registry,
    hosts: Hosts,
    tls: Option<Tls>,
    upkeep: Option<Upkeep>,
    grace: Duration,
}

/// What all connections share.
struct Shared {
    registry: Registry,
    hosts: Hosts,
    tls: Option<Tls>,
}

impl Server {
    /// Listens on `address`; port 0 is any free one. On a loopback address, only requests for loopback pass: see
    /// [`allow_host`](Self::allow_host).
    ///
    /// # Errors
    /// When the system does not let it listen there.
    pub async fn bind(address: SocketAddr, registry: Registry) -> io::Result<Self> {
        Self::over(TcpListener::bind(address).await?, registry)
    }

    /// Serves on a socket that is listening already, as one that systemd opened. It has to be called within a runtime
    /// of tokio.
    ///
    /// # Errors
    /// When the socket is none that listens.
    pub fn on(listener: std::net::TcpListener, registry: Registry) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        Self::over(TcpListener::from_std(listener)?, registry)
    }

    fn over(listener: TcpListener, registry: Registry) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let hosts = if address.ip().is_loopback() { Hosts::loopback() } else { Hosts::any() };
        Ok(Self { listener, address, registry, hosts, tls: None, upkeep: None, grace: GRACE })
    }

    /// Lets requests for `host` (`name` or `name:port`) pass, too, when this listens on loopback. Others are refused
    /// there, because a web page could let its own name resolve to loopback.
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Self {
        self.hosts.allow(host.into());
        self
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// What it does beside answering, as long as it accepts connections. Nothing, unless this says otherwise.
    #[must_use]
    pub fn upkeep(self, upkeep: Upkeep) -> Self {
        Self { upkeep: Some(upkeep), ..self }
    }

    /// How long running requests may take to end, once the server stops. 10 seconds, unless this says otherwise.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown` is ready; then accepts nothing more, lets running requests end for as long as
    /// [`grace`](Self::grace) says, and cuts off the rest, whose upload sessions stay resumable. Dropping the future
    /// cuts off all.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self { listener, registry, hosts, tls, upkeep, grace, .. } = self;
        // Whatever is in it ends with it.
        let mut beside = JoinSet::new();
        if let Some(upkeep) = upkeep {
            beside.spawn(upkeep.run(registry.clone()));
        }
        let (stop, stopping) = watch::channel(());
        let slots = Arc::new(Semaphore::new(registry.operations().limits.connections.min(Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared { registry, hosts, tls });
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = accept(&listener, &slots) => accepted,
            };
            let Some((stream, slot)) = accepted else { break };
            let (shared, stopping) = (Arc::clone(&shared), stopping.clone());
            connections.spawn(async move {
                serve(stream, shared, stopping).await;
                drop(slot);
            });
        }
        drop((listener, stop, beside));
        let ended = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(grace, ended).await.is_err() {
            tracing::warn!(target: "bndlr::server", "requests that did not end in time are cut off");
        }
    }

    /// Serves in a task of its own.
    pub fn spawn(self) -> Running {
        let (stop, stopped) = oneshot::channel();
        let address = self.address;
        let task = tokio::spawn(self.run(async {
            // A sender that was dropped says the same as one that was used.
            let _ = stopped.await;
        }));
        Running { address, stop: Some(stop), task }
    }
}

impl Registry {
    /// Serves on a free port of loopback, in a task of its own, until what this returns is stopped or dropped: all that
    /// a test needs. [`Server`] has the rest.
    ///
    /// # Errors
    /// When the system does not let it listen.
    pub async fn start(self) -> io::Result<Running> {
        Ok(Server::bind((Ipv4Addr::LOCALHOST, 0).into(), self).await?.spawn())
    }
}

/// A server that runs in a task of its own, until this is dropped.
#[must_use = "the server stops when this is dropped"]
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets running requests end, and returns when all have, or when [`Server::grace`] is over.
    pub async fn stop(mut self) {
        drop(self.stop.take());
        // It ends with nothing to say.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The next connection, and its place among those that are served at once.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, slot)),
            Err(error) => {
                tracing::warn!(target: "bndlr::server", %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection until it ends, or until the running requests do once `stopping` changes.
async fn serve(stream: TcpStream, shared: Arc<Shared>, mut stopping: watch::Receiver<()>) {
    // Small answers leave at once. Where that cannot be had, they leave later.
    let _ = stream.set_nodelay(true);
    let peer = Peer { address: stream.peer_addr().ok(), is_secure: shared.tls.is_some() };
    let operations = shared.registry.operations();
    let _counted = operations.metrics.connection();
    let busy = Busy::default();
    let stream = Idle::new(stream, busy.clone(), operations.limits.patience());
    let Some(acceptor) = shared.tls.as_ref().map(Tls::acceptor) else {
        return converse(stream, peer, busy, &shared, stopping).await;
    };
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)) => accepted,
        _ = stopping.changed() => return,
    };
    match accepted {
        Ok(Ok(stream)) => converse(stream, peer, busy, &shared, stopping).await,
        Ok(Err(error)) => tracing::debug!(target: "bndlr::server", %error, "a client does not agree on TLS"),
        Err(_elapsed) => tracing::debug!(target: "bndlr::server", "a client takes too long to agree on TLS"),
    }
}

/// Speaks HTTP on a connection.
async fn converse<S>(stream: S, peer: Peer, busy: Busy, shared: &Arc<Shared>, mut stopping: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let limits = &shared.registry.operations().limits;
    let service = service_fn(move |request: http::Request<Incoming>| {
        let (shared, turn) = (Arc::clone(shared), busy.begin());
        async move {
            let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
            let response = shared.registry.answer_for(&shared.hosts, peer, request).await;
            drop(turn);
            Ok::<_, Infallible>(response)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let header_bytes = limits.header_bytes.max(MIN_HEADER_BYTES);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(limits.header_timeout).max_buf_size(header_bytes);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    builder.http2().max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopping.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(target: "bndlr::server", %error, "a connection ended early");
    }
}
