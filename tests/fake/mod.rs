//! Registries that are none: what a test needs to play one, byte by byte where it must be, and clients for them.

// Each test program uses a part of this.
#![allow(dead_code)]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bndlr::reference::Registry;
use bndlr::remote::{Client, ClientOptions, Credentials, Login, RemoteRepository, Secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

/// What no output may ever show.
pub const PASSWORD: &str = "correct-horse";

/// Options under which a test does not wait long.
pub fn options() -> ClientOptions {
    let (stall_timeout, retry_delay) = (Duration::from_secs(20), Duration::from_millis(1));
    ClientOptions { stall_timeout, retry_delay, ..ClientOptions::default() }
}

/// The repository `team/app` at `address`, with a client of its own.
pub fn repository(address: &SocketAddr) -> RemoteRepository {
    repository_with(address, options())
}

/// The same, with these options.
pub fn repository_with(address: &SocketAddr, options: ClientOptions) -> RemoteRepository {
    let client = Client::new(options).unwrap();
    client.repository(&format!("{address}/team/app").parse().unwrap()).unwrap()
}

/// Options with a user and a password for the registry at `address`.
pub fn logged_in(address: &SocketAddr) -> ClientOptions {
    let registry: Registry = address.to_string().parse().unwrap();
    let login = Login { username: "alice".into(), password: Secret::new(PASSWORD) };
    ClientOptions { credentials: Credentials::none().with_login(registry, login), ..options() }
}

/// A server that answers every request with what `answer` makes of it. Its address is on this machine.
pub async fn server(answer: impl Fn(&Request) -> ResponseTemplate + Send + Sync + 'static) -> MockServer {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(answer).mount(&server).await;
    server
}

/// What the server was asked, each as `METHOD /path?query`.
pub async fn asked(server: &MockServer) -> Vec<String> {
    let requests = server.received_requests().await.unwrap();
    let line = |request: &Request| {
        let query = request.url.query().map(|query| format!("?{query}")).unwrap_or_default();
        format!("{} {}{query}", request.method, request.url.path())
    };
    requests.iter().map(line).collect()
}

/// The `Authorization` of each request that the server got.
pub async fn authorizations(server: &MockServer) -> Vec<Option<String>> {
    let requests = server.received_requests().await.unwrap();
    let value = |request: &Request| Some(request.headers.get("authorization")?.to_str().unwrap().to_owned());
    requests.iter().map(value).collect()
}

/// `Basic …` for alice.
pub fn basic() -> String {
    // alice:correct-horse
    "Basic YWxpY2U6Y29ycmVjdC1ob3JzZQ==".to_owned()
}

/// An answer that says no in a registry's form.
pub fn refusal(status: u16, code: &str, message: &str) -> ResponseTemplate {
    let body = serde_json::json!({"errors": [{"code": code, "message": message}]});
    ResponseTemplate::new(status).set_body_json(body)
}

/// An answer that sends elsewhere.
pub fn redirect(status: u16, location: impl Into<String>) -> ResponseTemplate {
    ResponseTemplate::new(status).insert_header("location", location.into().as_str())
}

/// A server that says exactly these bytes, whatever HTTP has to say about that, and then, perhaps, nothing more.
pub struct Raw {
    pub address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

/// How a [`Raw`] server ends.
#[derive(Clone, Copy)]
pub enum Ending {
    Close,
    /// Keeps the connection open and says nothing.
    Hang,
    /// Says the last KiB again and again, until nobody listens any more.
    Forever,
}

impl Raw {
    /// Answers every connection's first request so, without reading its body.
    pub async fn start(answer: impl Into<Vec<u8>>, ending: Ending) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::<Mutex<Vec<String>>>::default();
        let (answer, seen) = (Arc::<[u8]>::from(answer.into()), Arc::clone(&heads));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&answer), ending, Arc::clone(&seen)));
            }
        });
        Self { address, heads, task }
    }

    /// The heads of the requests it got.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(mut stream: TcpStream, answer: Arc<[u8]>, ending: Ending, heads: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
    if stream.write_all(&answer).await.is_err() {
        return;
    }
    match ending {
        Ending::Close => {}
        Ending::Hang => {
            // Whatever comes is taken, until the other side has had enough.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        Ending::Forever => while stream.write_all(&[b' '; 1024]).await.is_ok() {},
    }
}

/// An answer in bytes, with a body of the length that it says.
pub fn raw_answer(head: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let mut answer = format!("{head}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// What is traced while this is kept, on this thread.
#[derive(Clone, Default)]
pub struct Traces(Arc<Mutex<Vec<u8>>>);

impl Traces {
    /// Begins to collect everything that anybody says at any level.
    pub fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        let traces = Self::default();
        let writer = traces.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        (traces, tracing::subscriber::set_default(subscriber))
    }

    /// All of it.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    /// The lines about requests and answers.
    pub fn wire(&self) -> Vec<String> {
        let text = self.text();
        text.lines().filter_map(|line| Some(line.split_once("bndlr::wire: ")?.1.to_owned())).collect()
    }
}

impl Write for Traces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
