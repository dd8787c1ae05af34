//! CNCF Distribution's registry, as Debian ships it, on a free port of this machine.
#![allow(dead_code)] // each test binary uses a part of it

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::peer;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running registry with nothing in it. It and what it stored are gone when this is.
pub struct DockerRegistry {
    pub address: SocketAddr,
    process: Child,
    folder: TempDir,
}

impl DockerRegistry {
    /// Starts one, with this in its configuration beside what it needs; nothing, if it is not installed.
    pub fn start(extra: &str) -> Option<Self> {
        Self::start_with("", extra)
    }

    /// The same with TLS, by the certificate and the key in these files.
    pub fn start_with_tls(certificate: &Path, key: &Path, extra: &str) -> Option<Self> {
        let tls = format!(", tls: {{certificate: {}, key: {}}}", certificate.display(), key.display());
        Self::start_with(&tls, extra)
    }

    fn start_with(http: &str, extra: &str) -> Option<Self> {
        let program = peer::require("docker-registry")?;
        // Between the moment when a port is found free and that when the registry takes it, another may come.
        for _ in 0..5 {
            if let Some(registry) = Self::try_start(&program, http, extra) {
                return Some(registry);
            }
        }
        panic!("docker-registry does not start");
    }

    fn try_start(program: &Path, http: &str, extra: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let root = folder.path().join("root");
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{address}\"{http}}}\n{extra}\n",
            root.display()
        );
        let file = folder.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let process =
            Command::new(program).arg("serve").arg(file).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut registry = Self { address, process, folder };
        registry.answers().then_some(registry)
    }

    /// Waits until it takes connections, or ends, or takes too long.
    fn answers(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && self.process.try_wait().unwrap().is_none() {
            if TcpStream::connect_timeout(&self.address, PATIENCE).is_ok() {
                // It may be another's that was faster.
                return self.process.try_wait().unwrap().is_none();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// What it was asked so far, each as `METHOD /path?query`, in the order of its answers.
    pub fn asked(&self) -> Vec<String> {
        self.answered().into_iter().map(|(request, ..)| request).collect()
    }

    /// The same with the status and the size of the body of each answer.
    pub fn answered(&self) -> Vec<(String, u16, u64)> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        // 127.0.0.1 - - [21/Nov/2026:10:00:00 +0000] "GET /v2/ HTTP/1.1" 200 2 "" "bndlr/0.1.0"
        let line = |line: &str| {
            let (request, answer) = line.split_once("] \"")?.1.split_once(" HTTP/1.1\" ")?;
            let mut numbers = answer.split(' ');
            Some((request.to_owned(), numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
        };
        log.lines().filter_map(line).collect()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
