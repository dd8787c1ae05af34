//! `bndlr serve`, as a process of its own.
#![allow(dead_code)] // each test binary uses a part of it

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};

use crate::program::{BNDLR, Desk, signal};

/// A registry in memory that runs until the test ends.
pub struct Serve {
    process: Child,
    pub address: String,
}

impl Serve {
    /// Starts one with these arguments, and a free port unless they name one.
    pub fn start(desk: &Desk, arguments: &str) -> Self {
        let mut command = desk.process(BNDLR);
        let listen = if arguments.contains("--listen") { "" } else { "--listen 127.0.0.1:0 " };
        command.args(format!("serve --memory {listen}{arguments}").split_whitespace());
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let address = address.trim().to_owned();
        assert!(!address.is_empty(), "it does not start");
        Self { process, address }
    }

    /// `host:port/<path>`
    pub fn reference(&self, path: &str) -> String {
        format!("{}/{path}", self.address)
    }

    /// What it wrote to stderr until it was asked to end.
    pub fn end(mut self) -> String {
        signal(&self.process, "TERM");
        let mut log = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        log
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
