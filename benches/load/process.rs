//! The two servers, and what the system says about a process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running registry, which ends and whose root goes when this does.
pub struct Server {
    pub address: SocketAddr,
    process: Child,
    _root: TempDir,
}

impl Server {
    /// This one, as it comes: no access log.
    pub fn ours(directory: &Path) -> Self {
        let root = tempfile::tempdir_in(directory).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_bndlr"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(root.path().join("root"));
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        Self { address: address.trim().parse().unwrap(), process, _root: root }
    }

    /// CNCF Distribution, as Debian configures it, but without passwords and without its access log.
    pub fn peers(directory: &Path) -> Self {
        let root = tempfile::tempdir_in(directory).unwrap();
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{cache: {{blobdescriptor: inmemory}}, filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
             http: {{addr: \"{address}\", headers: {{X-Content-Type-Options: [nosniff]}}}}\n\
             health: {{storagedriver: {{enabled: true, interval: 10s, threshold: 3}}}}\n",
            root.path().join("root").display()
        );
        let file = root.path().join("config.yml");
        fs::write(&file, config).unwrap();
        let program = find("docker-registry").unwrap();
        let log = fs::File::create(root.path().join("log")).unwrap();
        let process = Command::new(program).arg("serve").arg(file).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "docker-registry does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { address, process, _root: root }
    }

    /// How long its threads have been running, in user mode and in the kernel.
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The name before them, in parentheses, may have anything in it.
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        // Linux says 100 ticks a second on every machine.
        Duration::from_millis(ticks * 10)
    }

    /// How many bytes of memory it has had at most since [`forget_peak`](Self::forget_peak).
    pub fn peak(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
    }

    fn proc(&self, file: &str) -> String {
        let mut text = String::new();
        fs::File::open(format!("/proc/{}/{file}", self.process.id())).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where a program is.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|program| program.is_file())
}

/// What kind of file system a directory is on.
pub fn file_system(directory: &Path) -> String {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(directory).output();
    output.map_or_else(|_| "?".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
