//! A network that fails as it is told to: a proxy between a client and a registry, for one request a connection.
#![allow(dead_code)] // each test binary uses a part of it

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How many bytes go missing or come twice.
const SLIP: usize = 1000;

/// What happens to a request.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    /// The connection is reset before anybody has seen it.
    Reset,
    /// It is answered so (status and headers), and the registry never sees it.
    Answer(&'static str),
    /// The registry gets it, and its answer is lost.
    LoseAnswer,
    /// The registry does not get this header of it.
    Without(&'static str),
    /// The client gets another value for this header of the answer.
    Says(&'static str, &'static str),
    /// The client does not get this header of the answer, and some bytes of its body come one by one.
    DripWithout(&'static str),
    /// After so many bytes of its body, this happens to it.
    Up(u64, Harm),
    /// After so many bytes of its answer's body, this happens to that.
    Down(u64, Harm),
}

/// What happens to a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Harm {
    /// The connection is reset.
    Reset,
    /// It ends, although more was promised.
    End,
    /// It ends, and nothing was promised.
    EndUnmeasured,
    /// It ends, and no more was promised.
    EndMeasured,
    /// Nothing more comes, and the other end does not notice.
    Stall,
    /// The next bytes come one by one.
    Drip,
    /// They do, and then nothing more comes.
    DripThenStall,
    /// A bit of the next byte changes.
    Flip,
    /// Some bytes come twice.
    Repeat,
    /// Some bytes do not come.
    Skip,
}

/// What happens to which requests.
pub struct Rule {
    method: &'static str,
    path: String,
    least: u64,
    left: AtomicUsize,
    fault: Fault,
}

/// What happens to the first request with this method whose path has this in it.
pub fn on(method: &'static str, path: impl Into<String>, fault: Fault) -> Rule {
    Rule { method, path: path.into(), least: 0, left: AtomicUsize::new(1), fault }
}

impl Rule {
    /// The same for so many requests.
    pub fn times(self, times: usize) -> Self {
        Self { left: AtomicUsize::new(times), ..self }
    }

    /// The same for all requests.
    pub fn always(self) -> Self {
        self.times(usize::MAX)
    }

    /// The same for requests with at least so many bytes of body.
    pub fn with_at_least(self, least: u64) -> Self {
        Self { least, ..self }
    }

    fn applies(&self, head: &Head) -> bool {
        let fits = self.method == head.method && head.path.contains(&self.path) && head.length >= self.least;
        let take = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
        fits && self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take).is_ok()
    }
}

pub struct Proxy {
    pub address: SocketAddr,
    log: Arc<Mutex<Log>>,
    task: JoinHandle<()>,
}

/// What has gone through.
#[derive(Default)]
struct Log {
    /// Each request, and how many round trips there were with it, one after the other.
    asked: Vec<(usize, String)>,
    /// The most round trips that an answer came after.
    answered: usize,
    /// Told of each request.
    news: Arc<Notify>,
}

impl Log {
    fn ask(&mut self, request: String) -> usize {
        let round_trip = self.answered + 1;
        self.asked.push((round_trip, request));
        self.news.notify_waiters();
        round_trip
    }

    fn answer(&mut self, round_trip: usize) {
        self.answered = self.answered.max(round_trip);
    }
}

impl Proxy {
    /// Between whoever comes and the registry at `upstream`. Of several rules for a request the first one counts.
    pub async fn start(upstream: SocketAddr, rules: Vec<Rule>) -> Self {
        Self::between(upstream, rules, Duration::ZERO).await
    }

    /// One that passes every request on, after so long.
    pub async fn slow(upstream: SocketAddr, delay: Duration) -> Self {
        Self::between(upstream, Vec::new(), delay).await
    }

    async fn between(upstream: SocketAddr, rules: Vec<Rule>, delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (rules, log) = (Arc::new(rules), Arc::<Mutex<Log>>::default());
        let seen = Arc::clone(&log);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (rules, seen) = (Arc::clone(&rules), Arc::clone(&seen));
                // That somebody goes away is what this is about.
                tokio::spawn(async move { converse(client, upstream, &rules, &seen, delay).await.ok() });
            }
        });
        Self { address, log, task }
    }

    /// What was asked, each as `METHOD /path?query`, with the range, its condition and the bytes of body if there are
    /// any.
    pub fn asked(&self) -> Vec<String> {
        self.log.lock().unwrap().asked.iter().map(|(_, asked)| asked.clone()).collect()
    }

    /// The same, those together that were under way together.
    pub fn round_trips(&self) -> Vec<Vec<String>> {
        let mut round_trips = Vec::new();
        for (number, asked) in &self.log.lock().unwrap().asked {
            round_trips.resize((*number).max(round_trips.len()), Vec::new());
            round_trips[number - 1].push(asked.clone());
        }
        round_trips
    }

    /// Waits until there were so many requests with this method whose line has this in it.
    pub async fn until(&self, number: usize, method: &str, part: &str) {
        let news = Arc::clone(&self.log.lock().unwrap().news);
        loop {
            let mut next = pin!(news.notified());
            next.as_mut().enable();
            let asked = self.asked();
            if asked.iter().filter(|line| line.starts_with(method) && line.contains(part)).count() >= number {
                return;
            }
            next.await;
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The head of a request or of an answer, and what came after it.
struct Head {
    lines: Vec<String>,
    method: String,
    path: String,
    length: u64,
    rest: Vec<u8>,
}

impl Head {
    async fn read(stream: &mut ReadHalf<'_>) -> io::Result<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        };
        let rest = bytes.split_off(end + 4);
        let lines: Vec<String> = String::from_utf8_lossy(&bytes[..end]).split("\r\n").map(str::to_owned).collect();
        let mut first = lines[0].split(' ').map(str::to_owned);
        let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
        let mut head = Self { lines, method, path, length: 0, rest };
        head.length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        Ok(head)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.lines.iter().filter_map(|line| line.split_once(": "));
        headers.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        self.lines.retain(|line| !line.split_once(": ").is_some_and(|(found, _)| found.eq_ignore_ascii_case(name)));
        self.lines.extend(value.map(|value| format!("{name}: {value}")));
    }

    fn described(&self) -> String {
        let range = ["range", "content-range"].iter().find_map(|name| self.header(name));
        let range = range.map(|range| format!(" [{range}]")).unwrap_or_default();
        let length = if self.length > 0 { format!(" +{}", self.length) } else { String::new() };
        let same = if self.header("if-range").is_some() { " if the same" } else { "" };
        format!("{} {}{range}{same}{length}", self.method, self.path)
    }

    async fn write(&self, to: &mut WriteHalf<'_>) -> io::Result<()> {
        to.write_all(format!("{}\r\n\r\n", self.lines.join("\r\n")).as_bytes()).await
    }
}

async fn converse(
    mut client: TcpStream,
    upstream: SocketAddr,
    rules: &[Rule],
    log: &Mutex<Log>,
    delay: Duration,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = client.split();
    let mut request = Head::read(&mut from_client).await?;
    let round_trip = log.lock().unwrap().ask(request.described());
    tokio::time::sleep(delay).await;
    let fault = rules.iter().find(|rule| rule.applies(&request)).map(|rule| rule.fault);
    match fault {
        Some(Fault::Reset) => return client.set_zero_linger(),
        Some(Fault::Answer(head)) => {
            let answer = format!("HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            to_client.write_all(answer.as_bytes()).await?;
            // Closed before it has read all, it would reset the connection, and the answer with it.
            to_client.shutdown().await?;
            copy(&mut from_client, &mut sink()).await?;
            return Ok(());
        }
        Some(Fault::Without(header)) => request.set(header, None),
        _ => {}
    }
    request.set("connection", Some("close"));

    let mut registry = TcpStream::connect(upstream).await?;
    let (mut from_registry, mut to_registry) = registry.split();
    request.write(&mut to_registry).await?;
    let up = match fault {
        Some(Fault::Up(after, harm)) => Some((after, harm)),
        _ => None,
    };
    let sent = async {
        pump(request.rest, &mut from_client, &mut to_registry, up).await?;
        std::future::pending::<io::Result<()>>().await
    };
    let answered = async {
        let head = Head::read(&mut from_registry).await?;
        log.lock().unwrap().answer(round_trip);
        answer(head, &mut from_registry, &mut to_client, fault).await
    };
    let outcome = tokio::select! { outcome = sent => outcome, outcome = answered => outcome };
    if outcome.is_err() {
        client.set_zero_linger()?;
    }
    outcome
}

async fn answer(
    mut answer: Head,
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    fault: Option<Fault>,
) -> io::Result<()> {
    let mut down = None;
    match fault {
        Some(Fault::LoseAnswer) => return Err(reset()),
        Some(Fault::Says(header, value)) => answer.set(header, Some(value)),
        Some(Fault::DripWithout(header)) => {
            answer.set(header, None);
            down = Some((0, Harm::Drip));
        }
        Some(Fault::Down(after, harm)) => {
            match harm {
                Harm::EndUnmeasured => answer.set("content-length", None),
                Harm::EndMeasured => answer.set("content-length", Some(&after.to_string())),
                _ => {}
            }
            down = Some((after, harm));
        }
        _ => {}
    }
    answer.write(to).await?;
    pump(answer.rest, from, to, down).await
}

/// Passes a body on, to its end or to that of the connection. An error is to reset the other connection.
async fn pump(
    mut chunk: Vec<u8>,
    from: &mut ReadHalf<'_>,
    to: &mut WriteHalf<'_>,
    mut harm: Option<(u64, Harm)>,
) -> io::Result<()> {
    let mut passed = 0;
    loop {
        if let Some((after, kind)) = harm
            && after - passed <= chunk.len() as u64
        {
            let rest = chunk.split_off((after - passed) as usize);
            to.write_all(&chunk).await?;
            harm = None;
            chunk = match befall(kind, chunk, rest, to).await? {
                Some(chunk) => chunk,
                None => return Ok(()),
            };
        }
        to.write_all(&chunk).await?;
        passed += chunk.len() as u64;
        chunk.clear();
        chunk.reserve(64 * 1024);
        if from.read_buf(&mut chunk).await? == 0 {
            return Ok(());
        }
    }
}

/// Does harm between what was passed on and the rest of a chunk, and returns what comes now; nothing, if that was all.
async fn befall(harm: Harm, passed: Vec<u8>, mut rest: Vec<u8>, to: &mut WriteHalf<'_>) -> io::Result<Option<Vec<u8>>> {
    match harm {
        Harm::Reset => return Err(reset()),
        Harm::End | Harm::EndUnmeasured | Harm::EndMeasured => {
            to.shutdown().await?;
            return Ok(None);
        }
        Harm::Stall => std::future::pending().await,
        Harm::Drip | Harm::DripThenStall => {
            for byte in rest.drain(..rest.len().min(SLIP / 4)) {
                to.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if harm == Harm::DripThenStall {
                std::future::pending::<()>().await;
            }
        }
        Harm::Flip => match rest.first_mut() {
            Some(byte) => *byte ^= 1,
            None => return Err(io::Error::other("there is no byte to change")),
        },
        Harm::Repeat => {
            let again = passed.len().saturating_sub(SLIP);
            rest.splice(..0, passed[again..].iter().copied());
        }
        Harm::Skip => drop(rest.drain(..rest.len().min(SLIP))),
    }
    Ok(Some(rest))
}

fn reset() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}
