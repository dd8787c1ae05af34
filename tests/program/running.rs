//! A program that runs beside the test, and all that it says.

use std::io::{self, Read};
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::Ran;
use super::secrets::Secrets;

/// A process, which is killed when this is dropped.
pub struct Running {
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Option<Watched>,
    stderr: Arc<Mutex<Vec<u8>>>,
    /// Reads standard error, so that the process need not wait for anybody to do so.
    reader: Option<JoinHandle<()>>,
    secrets: Secrets,
}

impl Running {
    pub(super) fn new(mut child: Child, secrets: Secrets) -> Self {
        let (stdin, stderr) = (child.stdin.take(), Arc::<Mutex<Vec<u8>>>::default());
        let stdout = child.stdout.take().map(|from| Watched { from, seen: Vec::new(), secrets: secrets.clone() });
        let (mut from, to) = (child.stderr.take().unwrap(), Arc::clone(&stderr));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                to.lock().unwrap().extend_from_slice(&bytes[..length]);
            }
        });
        Self { child, stdin, stdout, stderr, reader: Some(reader), secrets }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// With `SIGKILL`.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// What it has said so far on standard error.
    pub fn log(&self) -> String {
        String::from_utf8(self.stderr.lock().unwrap().clone()).unwrap()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ran {
        drop(self.stdin.take());
        let mut stdout = String::new();
        if let Some(mut rest) = self.stdout.take() {
            rest.read_to_string(&mut stdout).unwrap();
        }
        let code = self.child.wait().unwrap().code();
        let stderr = self.end();
        Ran { code, stdout, stderr }
    }

    /// All that it said on standard error, once it has ended.
    fn end(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        let log = self.log();
        if !std::thread::panicking() {
            self.secrets.assert_not_in(&log);
        }
        log
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.end();
    }
}

/// Standard output, of which what is read is searched for secrets.
pub struct Watched {
    from: ChildStdout,
    seen: Vec<u8>,
    secrets: Secrets,
}

impl Read for Watched {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let length = self.from.read(bytes)?;
        self.seen.extend_from_slice(&bytes[..length]);
        Ok(length)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.secrets.assert_not_in_results(&String::from_utf8_lossy(&self.seen));
        }
    }
}
