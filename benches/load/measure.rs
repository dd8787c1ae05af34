//! What is measured, and how.

use std::io::{self, Read};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bndlr::digest::Digest;
use bndlr::manifest::media_type::OCI_MANIFEST;

use super::client::Client;
use super::process::Server;
use super::wrk;

const REPOSITORY: &str = "load/test";
const SMALL: u64 = 500_000;
const LARGE: u64 = 100_000_000;
const HUGE: u64 = 1 << 30;
/// How many small blobs are fetched before a huge one is, so that what a server keeps of them in memory is full.
const KEPT: u64 = 80;
/// How many small blobs are pushed, how large they are, and how many at once.
const PUSHES: (u64, u64, u64) = (1000, 4096, 16);

/// A thing that is measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Case {
    Manifest,
    SmallBlob,
    LargeBlob,
    Push,
    Huge,
}

/// What came of it once.
#[derive(Clone, Copy)]
pub struct Sample {
    /// Requests or blobs a second.
    pub rate: f64,
    pub bytes_per_second: f64,
    pub p99: Duration,
    /// Time of the processor per request or blob.
    pub cpu: Duration,
    /// Memory at most, in bytes.
    pub peak: u64,
}

impl Sample {
    /// The one in the middle, by rate.
    pub fn median(mut samples: Vec<Self>) -> Self {
        samples.sort_by(|a, b| a.rate.total_cmp(&b.rate));
        samples[samples.len() / 2]
    }
}

/// How many requests or blobs of `size` bytes there were, in which time.
struct Run {
    count: f64,
    elapsed: Duration,
    p99: Duration,
    size: u64,
}

/// What a server has been given to serve.
pub struct Blobs {
    small: Digest,
    large: Digest,
    kept: Vec<Digest>,
    manifest_size: u64,
}

impl Blobs {
    pub fn push(server: &Server) -> Self {
        let mut client = Client::connect(server.address);
        let mut push = |seed, size| {
            let digest = digest(seed, size);
            client.push(REPOSITORY, &digest.to_string(), size, noise(seed, size));
            (digest, size)
        };
        let [small, large, config] = [SMALL, LARGE, 2].map(|size| push(size, size));
        let kept = (0..KEPT).map(|more| push(SMALL + 1 + more, SMALL).0).collect();
        let descriptor = |(digest, size): (Digest, u64), media_type| {
            format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":{size}}}"#)
        };
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor(config, "application/vnd.oci.empty.v1+json"),
            descriptor(small, "application/vnd.oci.image.layer.v1.tar"),
        );
        let target = format!("/v2/{REPOSITORY}/manifests/v1");
        let headers = format!("content-type: {OCI_MANIFEST}\r\n");
        let manifest_size = manifest.len() as u64;
        assert_eq!(client.send("PUT", &target, &headers, manifest_size, manifest.as_bytes()).status, 201);
        Self { small: small.0, large: large.0, kept, manifest_size }
    }
}

impl Case {
    pub const ALL: [Self; 5] = [Self::Manifest, Self::SmallBlob, Self::LargeBlob, Self::Push, Self::Huge];

    pub fn name(self) -> &'static str {
        match self {
            Self::Manifest => "manifest GET by tag",
            Self::SmallBlob => "500 KB blob GET",
            Self::LargeBlob => "100 MB blob GET",
            Self::Push => "4 KB blob push",
            Self::Huge => "1 GiB push and GET",
        }
    }

    pub fn run(self, server: &Server, blobs: &Blobs, seconds: u64) -> Sample {
        server.forget_peak();
        let cpu = server.cpu();
        let get = |path: String, connections, size: u64| {
            let report = wrk::run(&format!("http://{}/v2/{REPOSITORY}/{path}", server.address), connections, seconds);
            Run { count: report.requests, elapsed: report.elapsed, p99: report.p99, size }
        };
        let Run { count, elapsed, p99, size } = match self {
            Self::Manifest => get("manifests/v1".to_owned(), 32, blobs.manifest_size),
            Self::SmallBlob => get(format!("blobs/{}", blobs.small), 16, SMALL),
            Self::LargeBlob => get(format!("blobs/{}", blobs.large), 4, LARGE),
            Self::Push => push(server),
            Self::Huge => huge(server, blobs),
        };
        let cpu = server.cpu().saturating_sub(cpu).div_f64(count);
        let rate = count / elapsed.as_secs_f64();
        Sample { rate, bytes_per_second: rate * size as f64, p99, cpu, peak: server.peak() }
    }
}

/// Pushes small blobs that nobody has pushed before, several at once.
fn push(server: &Server) -> Run {
    let (count, size, workers) = PUSHES;
    let first = fresh(count);
    let blobs: Vec<(u64, String)> = (first..first + count).map(|seed| (seed, digest(seed, size).to_string())).collect();
    let (next, times) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut client = Client::connect(server.address);
                while let Some((seed, digest)) = blobs.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                    let begun = Instant::now();
                    client.push(REPOSITORY, digest, size, noise(*seed, size));
                    times.lock().unwrap().push(begun.elapsed());
                }
            });
        }
    });
    let elapsed = begun.elapsed();
    let mut times = times.into_inner().unwrap();
    times.sort_unstable();
    Run { count: count as f64, elapsed, p99: times[times.len() * 99 / 100], size }
}

/// Pushes a blob of 1 GiB and fetches it again, after all the small ones.
fn huge(server: &Server, blobs: &Blobs) -> Run {
    let seed = fresh(1);
    let digest = digest(seed, HUGE);
    let mut client = Client::connect(server.address);
    let get = |client: &mut Client, digest: Digest, size| {
        let answer = client.send("GET", &format!("/v2/{REPOSITORY}/blobs/{digest}"), "", 0, io::empty());
        assert_eq!((answer.status, answer.length), (200, size));
    };
    blobs.kept.iter().for_each(|kept| get(&mut client, *kept, SMALL));
    let begun = Instant::now();
    client.push(REPOSITORY, &digest.to_string(), HUGE, noise(seed, HUGE));
    get(&mut client, digest, HUGE);
    let elapsed = begun.elapsed();
    Run { count: 1.0, elapsed, p99: elapsed, size: 2 * HUGE }
}

/// The first of `count` seeds that nobody has had.
fn fresh(count: u64) -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1 << 40);
    NEXT.fetch_add(count, Ordering::Relaxed)
}

fn digest(seed: u64, size: u64) -> Digest {
    let mut hasher = bndlr::digest::Hasher::new(bndlr::digest::Algorithm::Sha256);
    io::copy(&mut io::BufReader::with_capacity(256 * 1024, noise(seed, size)), &mut hasher).unwrap();
    hasher.finish()
}

/// `size` bytes that only this seed has. They are made quickly: the client shares the processors with the server.
fn noise(seed: u64, size: u64) -> impl Read {
    Noise { block: std::array::from_fn(|at| (seed >> (at % 8 * 8)) as u8 ^ (at / 8) as u8), at: 0 }.take(size)
}

struct Noise {
    block: [u8; 2048],
    at: usize,
}

impl Read for Noise {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for part in buffer.chunks_mut(self.block.len() - self.at % self.block.len()) {
            let from = self.at % self.block.len();
            let length = part.len().min(self.block.len() - from);
            part[..length].copy_from_slice(&self.block[from..from + length]);
            self.at += length;
        }
        Ok(buffer.len())
    }
}
