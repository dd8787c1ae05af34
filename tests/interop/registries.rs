//! The registries that everything is tried against: ours, both ways to store, and CNCF Distribution's.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::docker_registry::DockerRegistry;
use crate::program::Running;
use crate::run::{arg, bndlr};

/// Who may use a registry that asks, and with which password.
pub const USER: &str = "alice";
pub const PASSWORD: &str = "correct-horse";

/// How long a line of a log may take to get there.
const PATIENCE: Duration = Duration::from_secs(10);

/// A file of the certificates that the tests have.
pub fn tls_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)
}

/// A running registry with nothing in it, which ends with the test.
pub enum Registry {
    Ours(Serve),
    Docker(DockerRegistry),
}

/// One request and what came of it, as the registry's own log has it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub status: u16,
    /// The size of the answer's body.
    pub bytes: u64,
}

impl Request {
    pub fn is_of_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    /// A line of our own log: `2026/11/21 10:00:00 method=GET path="/v2/" status=200 bytes=2 ms=0`.
    fn parse_ours(line: &str) -> Option<Self> {
        let field = |name: &str| Some(line.split_once(name)?.1.split(' ').next()?.trim_matches('"').to_owned());
        let (status, bytes) = (field(" status=")?.parse().unwrap(), field(" bytes=")?.parse().unwrap());
        Some(Self { method: field(" method=")?, path: field(" path=")?, status, bytes })
    }
}

impl Registry {
    /// Each of them; without CNCF Distribution's if that is not installed.
    pub fn each() -> Vec<Self> {
        Self::both_of_ours().into_iter().chain(Self::docker()).collect()
    }

    pub fn both_of_ours() -> [Self; 2] {
        [Serve::in_memory(), Serve::in_directory()].map(Self::Ours)
    }

    pub fn ours() -> Self {
        Self::Ours(Serve::in_memory())
    }

    pub fn docker() -> Option<Self> {
        DockerRegistry::start("").map(Self::Docker)
    }

    /// `host:port/<path>`
    pub fn reference(&self, path: &str) -> String {
        match self {
            Self::Ours(serve) => format!("{}/{path}", serve.address),
            Self::Docker(registry) => format!("{}/{path}", registry.address),
        }
    }

    /// `docker://host:port/<path>`, as Skopeo wants it.
    pub fn docker_url(&self, path: &str) -> String {
        format!("docker://{}", self.reference(path))
    }

    fn requests(&self) -> Vec<Request> {
        match self {
            Self::Ours(serve) => serve.requests(),
            Self::Docker(registry) => {
                let answered = registry.answered().into_iter().map(|(request, status, bytes)| {
                    let (method, path) = request.split_once(' ').unwrap();
                    Request { method: method.to_owned(), path: path.to_owned(), status, bytes }
                });
                answered.collect()
            }
        }
    }

    /// The requests from number `first` on, as soon as `complete` says that the last one that matters is there: a
    /// registry may write its log after the client has its answer.
    pub fn requests_when(&self, first: usize, complete: impl Fn(&[Request]) -> bool) -> Vec<Request> {
        let begun = Instant::now();
        loop {
            let requests = self.requests().split_off(first);
            if complete(&requests) {
                return requests;
            }
            assert!(begun.elapsed() < PATIENCE, "it was never asked what it should be: {requests:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// `bndlr serve`
pub struct Serve {
    process: Running,
    address: String,
    /// What it serves, until it has ended.
    _home: TempDir,
}

impl Serve {
    pub fn in_memory() -> Self {
        Self::start(|_| vec!["--memory".to_owned()])
    }

    pub fn in_directory() -> Self {
        Self::start(|home| vec!["--root".to_owned(), arg(&home.path().join("root")).to_owned()])
    }

    /// One that speaks TLS, and to nobody but its [`USER`] with the [`PASSWORD`].
    pub fn guarded() -> Self {
        Self::start(|home| {
            let users = home.path().join("users");
            fs::write(&users, format!("{USER}:{}\n", bcrypt::hash(PASSWORD, 4).unwrap())).unwrap();
            let [certificate, key] = ["leaf.pem", "leaf.key"].map(tls_file);
            let files = [("--htpasswd", &users), ("--tls-cert", &certificate), ("--tls-key", &key)];
            let flags = files.iter().flat_map(|(flag, file)| [(*flag).to_owned(), arg(file).to_owned()]);
            flags.chain(["--memory".to_owned()]).collect()
        })
    }

    /// One that is called `host`, too, and speaks TLS with a certificate of the test's own, to anybody.
    pub fn with_certificate(host: &str, certificate: &Path, key: &Path) -> Self {
        let flags = ["--memory", "--host", host, "--tls-cert", arg(certificate), "--tls-key", arg(key)];
        Self::start(|_| flags.map(str::to_owned).to_vec())
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    fn start(storage: impl FnOnce(&TempDir) -> Vec<String>) -> Self {
        let home = TempDir::new().unwrap();
        let mut program = bndlr(&["serve", "-v", "--listen", "127.0.0.1:0"]);
        let mut process = program.args(storage(&home)).start();
        let mut address = String::new();
        // It prints its address when it listens.
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        let serve = Self { process, address, _home: home };
        assert!(!serve.address.is_empty(), "it does not start: {}", serve.log());
        serve
    }

    /// What it was asked so far, as it has logged it.
    pub fn requests(&self) -> Vec<Request> {
        self.log().lines().filter_map(Request::parse_ours).collect()
    }
}
