//! `bndlr serve`, as a process of its own.
#![allow(dead_code)] // each test binary uses a part of it

use std::io::{BufRead, BufReader};

use crate::program::{Desk, Running, signal, wait};

/// A registry in memory that runs until the test ends.
pub struct Serve {
    process: Running,
    pub address: String,
}

impl Serve {
    /// Starts one with these arguments, and a free port unless they name one.
    pub fn start(desk: &Desk, arguments: &str) -> Self {
        let listen = if arguments.contains("--listen") { "" } else { "--listen 127.0.0.1:0 " };
        let mut process = desk.start(&format!("serve --memory {listen}{arguments}"));
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
    pub fn end(self) -> String {
        signal(&self.process, "TERM");
        wait(self.process).stderr
    }
}
