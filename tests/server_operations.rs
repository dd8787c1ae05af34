//! What those who run a registry rely on: slow clients hold nothing, it stops well, and it says how it does.

mod embedded;
mod program;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bndlr::digest::Digest;
use bndlr::server::storage::{Filesystem, Memory};
use bndlr::server::{Limits, Registry};
use embedded::{Embedded, assert_refused, header};
use program::{Desk, LONG, Running, signal, wait};
use reqwest::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SHORT: Duration = Duration::from_millis(50);

/// A registry in memory whose limits are changed.
async fn limited(change: impl FnOnce(&mut Limits)) -> Embedded {
    let mut limits = Limits::default();
    change(&mut limits);
    Embedded::of(Registry::new(Memory::new()).limits(limits)).await
}

async fn connect(registry: &Embedded) -> TcpStream {
    TcpStream::connect(registry.address()).await.unwrap()
}

/// All that comes until the server closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A connection that is reset is closed, too.
    let _ = tokio::time::timeout(LONG, stream.read_to_end(&mut answer)).await.expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Begins to send a body of this length, and returns when the server waits for it.
async fn begin_body(registry: &Embedded, path: &str, length: usize) -> TcpStream {
    let mut stream = connect(registry).await;
    let head = format!(
        "PATCH {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 100"), "{}", String::from_utf8_lossy(&answer));
    stream
}

/// Sends a byte now and then until the server closes the connection.
async fn trickle(mut stream: TcpStream) -> String {
    let (mut answer, mut buffer) = (Vec::new(), [0; 1024]);
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        tokio::select! {
            read = stream.read(&mut buffer) => match read {
                Ok(read) if read > 0 => answer.extend_from_slice(&buffer[..read]),
                _ => return String::from_utf8_lossy(&answer).into_owned(),
            },
            () = tokio::time::sleep(SHORT / 10) => { let _ = stream.write_all(b"x").await; }
        }
    }
    panic!("a trickle holds the server");
}

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection() {
    let registry = limited(|limits| limits.header_timeout = SHORT).await;
    for beginning in ["GET /v2/ HTTP/1.1\r\nhost: local", "GET /v2/ HTTP/1.1\r\n"] {
        let mut stream = connect(&registry).await;
        stream.write_all(beginning.as_bytes()).await.unwrap();
        assert!(!rest(&mut stream).await.contains(" 200 "));
    }
}

#[tokio::test]
async fn headers_that_trickle_end_the_connection() {
    let registry = limited(|limits| (limits.idle_timeout, limits.min_rate) = (SHORT, 1 << 40)).await;
    // Before it is known whether this is HTTP/1 or HTTP/2.
    assert_eq!(rest(&mut connect(&registry).await).await, "");
    let mut stream = connect(&registry).await;
    stream.write_all(b"GET /v2/ HTTP/1.1\r\nx: ").await.unwrap();
    assert_eq!(trickle(stream).await, "");
}

#[tokio::test]
async fn a_body_that_does_not_come_or_trickles_is_given_up_and_can_go_on() {
    let registry = limited(|limits| (limits.idle_timeout, limits.min_rate) = (SHORT, 1 << 40)).await;
    let session = registry.begin_upload("a").await;
    let mut stalled = begin_body(&registry, &session, 100_000).await;
    let answer = rest(&mut stalled).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(registry.get(&session).await.status(), 204);

    let trickled = trickle(begin_body(&registry, &session, 100_000).await).await;
    assert!(trickled.starts_with("HTTP/1.1 408"), "{trickled}");
    assert_eq!(registry.get(&session).await.status(), 204, "the session is still there");
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let registry = limited(|limits| limits.idle_timeout = SHORT).await;
    let size = 64 * 1024 * 1024;
    let digest = registry.push_blob("a", &vec![7; size]).await;
    let mut stream = connect(&registry).await;
    let request = format!("GET /v2/a/blobs/{digest} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();

    let begun = Instant::now();
    registry.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(9), "it is not the end of the server that ends the connection");
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken).await;
    assert!(taken.len() < size);
}

#[tokio::test]
async fn headers_have_a_limit() {
    let registry = limited(|limits| limits.header_bytes = 8192).await;
    for (length, status) in [(4000, 200), (9000, 431)] {
        let mut stream = connect(&registry).await;
        let long = "x".repeat(length);
        let request = format!("GET /v2/ HTTP/1.1\r\nhost: localhost\r\nx: {long}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer}");
    }
}

#[tokio::test]
async fn more_uploads_than_allowed_wait_or_are_told_when_to_come_back() {
    let registry = limited(|limits| (limits.uploads, limits.upload_wait) = (1, SHORT)).await;
    let session = registry.begin_upload("a").await;
    let mut running = begin_body(&registry, &session, 4).await;
    let refused = registry.post("/v2/a/blobs/uploads/").await;
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_refused(refused, 503, "UNAVAILABLE").await;
    assert_eq!(registry.get("/v2/").await.status(), 200, "others are served as before");
    let metrics = registry.get("/metrics").await.text().await.unwrap();
    assert!(metrics.contains("\nbndlr_uploads 1\n"), "{metrics}");

    running.write_all(b"blob").await.unwrap();
    assert!(rest(&mut running).await.starts_with("HTTP/1.1 202"));
    registry.push_blob("a", b"another").await;
}

#[tokio::test]
async fn an_upload_waits_for_its_turn() {
    let registry = limited(|limits| (limits.uploads, limits.upload_wait) = (1, LONG)).await;
    let session = registry.begin_upload("a").await;
    let mut running = begin_body(&registry, &session, 4).await;
    let waiting = registry.push_blob("a", b"another");
    let ending = async {
        running.write_all(b"blob").await.unwrap();
        rest(&mut running).await
    };
    let (_, answer) = tokio::join!(waiting, ending);
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
}

#[tokio::test]
async fn metrics_count_per_registry_and_name_nothing() {
    let (registry, other) = (Embedded::in_memory().await, Embedded::in_memory().await);
    let digest = registry.push_image("secret/name", "v1", b"layer").await;
    registry.get("/v2/secret/name/manifests/v1").await.bytes().await.unwrap();
    let path = format!("/v2/secret/name/manifests/{digest}");
    registry.get(&path).await.bytes().await.unwrap();
    registry.get("/secret/path").await.bytes().await.unwrap();
    registry.request(Method::from_bytes(b"SECRET").unwrap(), &path).send().await.unwrap().bytes().await.unwrap();

    let response = registry.get("/metrics").await;
    assert!(header(&response, "content-type").starts_with("text/plain; version=0.0.4"));
    let text = response.text().await.unwrap();
    for line in [
        "# TYPE bndlr_requests_total counter",
        r#"bndlr_requests_total{method="GET",endpoint="manifest",status="200"} 2"#,
        r#"bndlr_requests_total{method="POST",endpoint="uploads",status="201"} 2"#,
        r#"bndlr_requests_total{method="GET",endpoint="other",status="404"} 1"#,
        r#"bndlr_requests_total{method="other",endpoint="manifest",status="405"} 1"#,
        r#"bndlr_request_duration_seconds_bucket{method="GET",endpoint="manifest",status="200",le="+Inf"} 2"#,
        r#"bndlr_request_duration_seconds_count{method="GET",endpoint="manifest",status="200"} 2"#,
        "bndlr_uploads 0",
        "bndlr_connections 1",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let received = 2 + 5 + embedded::image_manifest(b"layer").len();
    assert!(text.contains(&format!("\nbndlr_received_bytes_total {received}\n")), "{text}");
    assert!(!text.to_lowercase().contains("secret") && !text.contains(&digest.hex()), "{text}");
    let text = other.get("/metrics").await.text().await.unwrap();
    assert!(!text.contains("endpoint=\"manifest\""), "two registries of one process count for themselves: {text}");
}

#[tokio::test]
async fn health_is_that_of_the_storage() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    let well = Embedded::in_directory(&root).await;
    assert_eq!(well.get("/healthz").await.status(), 200);
    assert_eq!(well.head("/healthz").await.status(), 200);
    assert_refused(well.post("/healthz").await, 405, "UNSUPPORTED").await;
    let names = |name: &str| std::fs::read_dir(root.join(name)).map_or(0, std::iter::Iterator::count);
    assert_eq!(names("uploads"), 0, "a check leaves nothing");
    assert_refused(well.get("/v2/healthz/tags/list").await, 404, "NAME_UNKNOWN").await;

    let ill = Embedded::over(Filesystem::open(&root).unwrap()).await;
    std::fs::remove_dir_all(&root).unwrap();
    std::fs::write(&root, "no directory").unwrap();
    let response = ill.get("/healthz").await;
    assert_eq!(response.status(), 503);
    assert!(!response.text().await.unwrap().contains("root"), "it does not say where things are");
}

#[tokio::test]
async fn health_of_what_is_read_only_is_found_out_by_reading() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    Embedded::in_directory(&root).await.push_image("a", "v1", b"layer").await;
    // What is on a read-only disk could not begin an upload, either.
    std::fs::remove_dir_all(root.join("uploads")).unwrap();
    std::fs::write(root.join("uploads"), "no directory").unwrap();
    let of = |read_only| Embedded::of(Registry::new(Filesystem::open(&root).unwrap()).read_only(read_only));
    let (readable, ill) = (of(true).await, of(true).await);
    assert_eq!(readable.get("/healthz").await.status(), 200);
    assert_eq!(of(false).await.get("/healthz").await.status(), 503);
    std::fs::remove_dir_all(root.join("repositories")).unwrap();
    std::fs::write(root.join("repositories"), "no directory").unwrap();
    assert_eq!(ill.get("/healthz").await.status(), 503, "it cannot be read either");
}

#[tokio::test]
async fn more_requests_than_allowed_are_told_when_to_come_back() {
    let registry = limited(|limits| limits.requests = 1).await;
    let session = registry.begin_upload("a").await;
    let mut running = begin_body(&registry, &session, 4).await;
    let refused = registry.get("/v2/").await;
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_refused(refused, 503, "UNAVAILABLE").await;
    for path in ["/healthz", "/metrics"] {
        assert_eq!(registry.get(path).await.status(), 200, "{path} is for whoever finds out what is going on");
    }
    running.write_all(b"blob").await.unwrap();
    assert!(rest(&mut running).await.starts_with("HTTP/1.1 202"));
    assert_eq!(registry.get("/v2/").await.status(), 200);
}

/// A server of the program's, and its address.
fn serve(desk: &Desk, arguments: &str) -> (Running, String) {
    let mut child = desk.start(&format!("serve --listen 127.0.0.1:0 {arguments}"));
    let address = address(&mut child);
    (child, address)
}

fn address(child: &mut Running) -> String {
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Sends a request as it is, and returns the answer.
fn ask(address: &str, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn get(address: &str, path: &str) -> String {
    ask(address, &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nuser-agent: a \"b\"\r\nconnection: close\r\n\r\n"))
}

/// Begins an upload of which half has arrived, and returns its connection and its path.
fn half_an_upload(address: &str) -> (std::net::TcpStream, String) {
    let begun = ask(
        address,
        "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    let session = begun.lines().find_map(|line| line.strip_prefix("location: ")).unwrap().to_owned();
    let first = "PATCH {} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nconnection: close\r\n\r\nfirst";
    assert!(ask(address, &first.replace("{}", &session)).starts_with("HTTP/1.1 202"));
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let head =
        format!("PATCH {session} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.read_exact(&mut [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()]).unwrap();
    (stream, session)
}

#[test]
fn an_upload_that_is_running_at_the_end_can_end() {
    let desk = Desk::new();
    let (child, address) = serve(&desk, "--root root");
    let (mut stream, _) = half_an_upload(&address);
    signal(&child, "TERM");
    while std::net::TcpStream::connect(&address).is_ok() {}
    stream.write_all(b" last!").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202") && answer.contains("range: 0-10"), "{answer}");
    assert_eq!(wait(child).code, Some(0));
}

#[test]
fn an_upload_that_does_not_end_in_time_goes_on_with_the_next_server() {
    let desk = Desk::new();
    let (child, address) = serve(&desk, "--root root --shutdown-timeout 0");
    let (_stream, session) = half_an_upload(&address);
    signal(&child, "TERM");
    let ran = wait(child);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("cut off"), "{ran:?}");

    let (child, address) = serve(&desk, "--root root");
    assert!(get(&address, &session).contains("range: 0-4"));
    let digest = Digest::sha256(b"first last");
    let put = format!(
        "PUT {session}?digest={digest} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\nconnection: close\r\n\r\n last"
    );
    assert!(ask(&address, &put).starts_with("HTTP/1.1 201"));
    signal(&child, "INT");
    assert_eq!(wait(child).code, Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let desk = Desk::new();
    let (child, address) = serve(&desk, "--memory --shutdown-timeout 1000");
    let (_stream, _) = half_an_upload(&address);
    signal(&child, "INT");
    while std::net::TcpStream::connect(&address).is_ok() {}
    signal(&child, "TERM");
    assert_eq!(wait(child).code, Some(130));
}

#[test]
fn the_access_log_is_text_or_json_or_nothing_on_stderr() {
    let desk = Desk::new();
    let logged = |arguments: &str| {
        let (child, address) = serve(&desk, &format!("--memory {arguments}"));
        assert!(get(&address, "/v2/?secret=1").starts_with("HTTP/1.1 200"));
        signal(&child, "TERM");
        let ran = wait(child);
        assert_eq!(ran.stdout, "", "nothing but the address");
        ran.stderr
    };
    assert_eq!(logged(""), "");
    let text = logged("--access-log text");
    assert!(text.contains(r#"method=GET path="/v2/" status=200 bytes=2 ms="#), "{text}");
    assert!(text.contains("client=127.0.0.1:") && text.contains(r#"agent="a \"b\"""#), "{text}");
    assert!(!text.contains("secret"), "queries may have tokens in them: {text}");
    let json = logged("--access-log json");
    let event: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&event["method"], &event["path"], &event["status"]), (&"GET".into(), &"/v2/".into(), &200.into()));
    assert_eq!((&event["bytes"], &event["agent"]), (&2.into(), &"a \"b\"".into()));
    assert!(event["client"].as_str().unwrap().starts_with("127.0.0.1:"), "{event}");
    event["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
}

#[test]
fn a_failing_storage_is_reported_on_stderr() {
    let desk = Desk::new();
    let (child, address) = serve(&desk, "--root root");
    std::fs::remove_dir_all(desk.path("root")).unwrap();
    desk.write("root", "no directory");
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 503"));
    signal(&child, "TERM");
    let ran = wait(child);
    assert!(ran.stderr.contains("the storage is not healthy"), "{ran:?}");
}

#[test]
fn a_socket_that_is_handed_over_is_used() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let expected = socket.local_addr().unwrap().to_string();
    // As systemd does it: the socket is the third file, and these variables say so.
    let script = "LISTEN_FDS=1 LISTEN_PID=$$ exec bndlr serve --memory 3<&0";
    let desk = Desk::new();
    let socket = Stdio::from(std::os::fd::OwnedFd::from(socket));
    let mut child = desk.process("sh").args(["-c", script]).stdin(socket).start();
    assert_eq!(address(&mut child), expected);
    assert!(get(&expected, "/v2/").starts_with("HTTP/1.1 200"));
    signal(&child, "TERM");
    assert_eq!(wait(child).code, Some(0));
}
