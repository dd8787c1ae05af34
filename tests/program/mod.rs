//! The program as a user has it: run in a directory of its own, with nothing of the surroundings.
//!
//! Tests run it in no other way, because here all that it says is searched for secrets (`tests/secrets.rs`).

// Each test program uses a part of this.
#![allow(dead_code)]

mod running;
pub mod secrets;

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

pub use running::Running;
use secrets::Secrets;
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test gives up.
pub const LONG: Duration = Duration::from_mins(1);

const BNDLR: &str = env!("CARGO_BIN_EXE_bndlr");

/// How a run of the program ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Standard output, if the program did what it was asked for.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }

    /// The one JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A program that is to be run: `bndlr`, or another one that may run it, which finds it by its name.
#[derive(Debug)]
pub struct Program(Command);

impl Program {
    /// `bndlr`, with the environment of the test.
    pub fn bndlr() -> Self {
        Self::named(BNDLR)
    }

    fn named(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        let folder = Path::new(BNDLR).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = [folder].into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(folders).unwrap()).stdin(Stdio::null());
        Self(command)
    }

    pub fn arg(&mut self, argument: impl AsRef<OsStr>) -> &mut Self {
        self.0.arg(argument);
        self
    }

    pub fn args(&mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.0.args(arguments);
        self
    }

    pub fn env(&mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.env(name, value);
        self
    }

    pub fn envs(&mut self, variables: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>) -> &mut Self {
        self.0.envs(variables);
        self
    }

    pub fn env_remove(&mut self, name: &str) -> &mut Self {
        self.0.env_remove(name);
        self
    }

    pub fn stdin(&mut self, from: impl Into<Stdio>) -> &mut Self {
        self.0.stdin(from);
        self
    }

    /// Runs it to its end.
    pub fn output(&mut self) -> Output {
        let output = self.0.output().unwrap_or_else(|error| panic!("{:?}: {error}", self.0));
        let secrets = Secrets::of(&self.0);
        secrets.assert_not_in_results(&String::from_utf8_lossy(&output.stdout));
        secrets.assert_not_in(&String::from_utf8_lossy(&output.stderr));
        output
    }

    /// Starts it, and leaves it running.
    pub fn start(&mut self) -> Running {
        self.0.stdout(Stdio::piped()).stderr(Stdio::piped());
        Running::new(self.0.spawn().unwrap(), Secrets::of(&self.0))
    }
}

/// A directory to work in.
pub struct Desk(TempDir);

impl Desk {
    pub fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap())
    }

    /// In a directory on some file system.
    pub fn over(directory: TempDir) -> Self {
        fs::create_dir(directory.path().join(".tmp")).unwrap();
        Self(directory)
    }

    /// One with the sample tree in `tree`.
    pub fn with_tree() -> Self {
        let desk = Self::new();
        make_tree(&desk.path("tree"));
        desk
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// What is here, hidden or not, but for the cache and what is known of directories, and what is among the temporary files.
    pub fn names(&self) -> Vec<String> {
        let list = |path: &Path| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name());
        let here = list(self.0.path()).filter(|name| name != ".tmp" && name != ".cache" && name != ".local");
        let mut names: Vec<_> = here.chain(list(&self.path(".tmp"))).map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A program that runs here, with an environment of its own.
    pub fn process(&self, program: impl AsRef<OsStr>) -> Program {
        let mut process = Program::named(program);
        let path = process.0.get_envs().find_map(|(name, value)| value.filter(|_| name == "PATH"));
        let path = path.unwrap().to_owned();
        process.0.current_dir(self.0.path()).env_clear();
        process.env("HOME", self.0.path()).env("TMPDIR", self.path(".tmp")).env("PATH", path);
        process
    }

    /// `bndlr`, which runs here.
    pub fn bndlr(&self) -> Program {
        self.process(BNDLR)
    }

    /// Copies `bndlr` to here.
    pub fn install(&self, name: &str) {
        fs::copy(BNDLR, self.path(name)).unwrap();
    }

    /// Runs `bndlr` with arguments that stand between spaces.
    pub fn run(&self, arguments: &str) -> Ran {
        self.run_with(&arguments.split_whitespace().collect::<Vec<_>>(), &[])
    }

    /// Runs `bndlr` with these arguments and variables.
    pub fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ran {
        let mut program = self.bndlr();
        program.args(arguments).envs(variables.iter().copied());
        finish(program)
    }

    /// Runs `bndlr`, and leaves it running.
    pub fn start(&self, arguments: &str) -> Running {
        self.bndlr().args(arguments.split_whitespace()).start()
    }
}

/// Runs a program to its end.
#[track_caller]
pub fn finish(program: Program) -> Ran {
    let secrets = Secrets::of(&program.0);
    let output = assert_cmd::Command::from_std(program.0).timeout(LONG).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) };
    secrets.assert_not_in_results(&ran.stdout);
    secrets.assert_not_in(&ran.stderr);
    ran
}

/// Waits for what was left running.
pub fn wait(running: Running) -> Ran {
    running.wait()
}

/// Sends a signal, such as `INT`.
pub fn signal(child: &Running, name: &str) {
    let kill = format!("kill -{name} {}", child.id());
    assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
}

/// A file, an executable one, a link, an empty directory and a file large enough for sizes in kB.
pub fn make_tree(root: &Path) {
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("a.txt"), "alpha\n").unwrap();
    fs::write(root.join("sub/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("sub/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.join("sub/noise"), noise(20_000)).unwrap();
    symlink("a.txt", root.join("link")).unwrap();
}

/// Bytes that no compressor makes fewer, always the same.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

/// What a [`Wire`] does after an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    Close,
    Hang,
}

/// A server that says exactly these bytes to each request, one request a connection.
pub struct Wire {
    pub address: SocketAddr,
    heads: mpsc::Receiver<String>,
}

impl Wire {
    /// `answer` gets the first line of a request: `GET /v2/ HTTP/1.1`.
    pub fn start(answer: impl Fn(&str) -> (Vec<u8>, Then) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, heads) = mpsc::channel();
        let answer = Arc::new(answer);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, sender) = (Arc::clone(&answer), sender.clone());
                std::thread::spawn(move || converse(&mut stream.unwrap(), &*answer, &sender));
            }
        });
        Self { address, heads }
    }

    /// Whether there was a request since the last one that was waited for.
    pub fn was_asked(&self) -> bool {
        self.heads.try_recv().is_ok()
    }

    /// Waits for a request that begins so, to which the answer has been sent.
    pub fn wait_for(&self, start: &str) {
        while !self.heads.recv_timeout(LONG).unwrap().starts_with(start) {}
    }
}

/// The head of a request, if one comes whole.
pub fn read_head(stream: &mut impl Read) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

fn converse(stream: &mut TcpStream, answer: &dyn Fn(&str) -> (Vec<u8>, Then), heads: &mpsc::Sender<String>) {
    let Some(head) = read_head(stream) else { return };
    let (bytes, then) = answer(head.lines().next().unwrap());
    // The program or the test may have ended.
    let _ = stream.write_all(&bytes);
    let _ = heads.send(head);
    if then == Then::Hang {
        let _ = std::io::copy(stream, &mut std::io::sink());
    }
}

/// An answer with a body, whatever length it says.
pub fn answer(status: &str, headers: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n").into_bytes();
    answer.extend_from_slice(body);
    answer
}
