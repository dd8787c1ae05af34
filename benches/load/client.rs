//! A client that costs little, so that what is measured is the server: one connection, one request after another.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

/// What a server said.
pub struct Answer {
    pub status: u16,
    pub location: String,
    /// How many bytes the body had.
    pub length: u64,
}

impl Client {
    pub fn connect(host: SocketAddr) -> Self {
        let stream = TcpStream::connect(host).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream: BufReader::with_capacity(256 * 1024, stream), host }
    }

    /// Sends a request with a body of `length` bytes, and reads the answer to its end.
    pub fn send(&mut self, method: &str, target: &str, headers: &str, length: u64, body: impl Read) -> Answer {
        let host = self.host;
        let head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n{headers}\r\n");
        let mut body = BufReader::with_capacity(256 * 1024, head.as_bytes().chain(body));
        // A small body leaves in the same packet as the head.
        let mut packet = Vec::new();
        if length < 64 * 1024 {
            body.read_to_end(&mut packet).unwrap();
            self.stream.get_mut().write_all(&packet).unwrap();
        } else {
            io::copy(&mut body, self.stream.get_mut()).unwrap();
        }
        self.answer()
    }

    fn answer(&mut self) -> Answer {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let (mut location, mut length) = (String::new(), 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "location" => value.clone_into(&mut location),
                "content-length" => length = value.parse().unwrap(),
                _ => {}
            }
        }
        io::copy(&mut self.stream.by_ref().take(length), &mut io::sink()).unwrap();
        // Distribution says where with the host.
        let path = location.find("/v2/").map_or(String::new(), |start| location[start..].to_owned());
        Answer { status, location: path, length }
    }

    /// Pushes a blob: a session, and a PUT with all of it.
    pub fn push(&mut self, repository: &str, digest: &str, length: u64, body: impl Read) {
        let begun = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), "", 0, io::empty());
        assert_eq!(begun.status, 202);
        let separator = if begun.location.contains('?') { '&' } else { '?' };
        let target = format!("{}{separator}digest={digest}", begun.location);
        let headers = "content-type: application/octet-stream\r\n";
        assert_eq!(self.send("PUT", &target, headers, length, body).status, 201);
    }
}
