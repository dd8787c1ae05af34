//! A tool's turn: with a registry that has nothing, it pushes a directory, pushes it again, gets it back, and so on.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::process::Server;
use super::tools::Tool;
use super::trees::{self, Totals, Tree};
use super::wire::{Line, Wire};

const REPOSITORY: &str = "peers/tree";
const TAG: &str = "v1";

/// What a tool is asked to do, in this order. As a number, it is an index of [`Steps`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// What nobody has packed or pushed before.
    Push,
    /// The same again.
    Again,
    /// All of it, into a directory that is not there.
    Pull,
    /// One file to standard output.
    Cat,
    /// A push after one file has changed.
    Changed,
    /// The directory of the pull becomes what was pushed last.
    Update,
}

/// Something of each step that the tool has a way to do.
pub type Steps<T> = [Option<T>; Step::ALL.len()];

impl Step {
    pub const ALL: [Self; 6] = [Self::Push, Self::Again, Self::Pull, Self::Cat, Self::Changed, Self::Update];

    fn line(self, tool: &Tool) -> Option<&'static str> {
        match self {
            Self::Push | Self::Again | Self::Changed => Some(tool.push),
            Self::Pull => Some(tool.pull),
            Self::Cat => tool.cat,
            Self::Update => tool.update,
        }
    }
}

/// What a step cost once.
#[derive(Clone, Copy)]
pub struct Cost {
    pub time: Duration,
    /// Bytes that the largest of the processes had in memory at most.
    pub memory: u64,
}

/// What a step sends and receives, in bytes.
#[derive(Clone, Copy)]
pub struct Traffic {
    pub sent: u64,
    pub received: u64,
}

/// The directory that is published, in one that is made for it and goes with this.
pub struct Subject {
    folder: TempDir,
    totals: Totals,
    /// The path in it of the file that changes, and that is read alone: the one in the middle.
    file: String,
}

impl Subject {
    pub fn make(tree: Tree, directory: &Path) -> Self {
        let folder = tempfile::tempdir_in(directory).unwrap();
        let root = folder.path().join("tree");
        let totals = trees::generate(tree, &root).unwrap();
        let mut files = Vec::new();
        list(&root, &mut files);
        files.sort_unstable();
        let file = files[files.len() / 2].strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        Self { folder, totals, file }
    }

    /// Whether one file is less than all of it.
    fn has_parts(&self) -> bool {
        self.totals.files > 1
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    /// Writes over the front of the file.
    fn change(&self, word: &str) {
        let mut file = File::options().write(true).open(self.root().join(&self.file)).unwrap();
        file.write_all(word.as_bytes()).unwrap();
    }
}

/// A registry, and directories for what a tool keeps.
pub struct Turn<'a> {
    tool: &'a Tool,
    subject: &'a Subject,
    server: Server,
    line: Option<Line>,
    folder: TempDir,
}

impl<'a> Turn<'a> {
    /// Everything lies in `directory`; the registry is at the end of `line`, if there is one.
    pub fn new(tool: &'a Tool, subject: &'a Subject, directory: &Path, line: Option<Line>) -> Self {
        let (server, folder) = (Server::peers(directory), tempfile::tempdir_in(directory).unwrap());
        fs::create_dir(folder.path().join("tmp")).unwrap();
        Self { tool, subject, server, line, folder }
    }

    /// What each step costs.
    pub fn costs(&self) -> Steps<Cost> {
        self.subject.change("as it was");
        let wire = self.line.map(|line| Wire::to(self.server.address, line));
        let registry = wire.map_or(self.server.address, |wire| wire.address);
        Step::ALL.map(|step| self.take(step, registry))
    }

    /// What goes over the wire at each step; and how many bytes the layers have.
    pub fn traffic(&self) -> (Steps<Traffic>, u64) {
        self.subject.change("as it was");
        let wire = Wire::to(self.server.address, Line::default());
        let traffic = Step::ALL.map(|step| {
            self.take(step, wire.address)?;
            let (sent, received) = wire.take();
            Some(Traffic { sent, received })
        });
        (traffic, self.layers())
    }

    /// What the step costs, if the tool has a way to do it and the subject something to do it to.
    fn take(&self, step: Step, registry: SocketAddr) -> Option<Cost> {
        let line = step.line(self.tool).filter(|_| step != Step::Cat || self.subject.has_parts())?;
        if step == Step::Changed {
            self.subject.change("as it is ");
        }
        assert!(self.command("sh", registry).args(["-ec", self.tool.prepare]).status().unwrap().success());
        let cost = self.run(line, registry);
        self.check(step);
        Some(cost)
    }

    fn run(&self, line: &str, registry: SocketAddr) -> Cost {
        let [memory, stdout, stderr] = ["memory", "stdout", "stderr"].map(|name| self.folder.path().join(name));
        let mut command = self.command("time", registry);
        command.args(["-q", "-f", "%M", "-o"]).arg(&memory).args(["sh", "-ec", line]);
        command.stdout(File::create(stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        let begun = Instant::now();
        let status = command.status().unwrap();
        let time = begun.elapsed();
        assert!(status.success(), "{}: {status}: {}", self.tool.name, fs::read_to_string(stderr).unwrap());
        let kilobytes: u64 = fs::read_to_string(memory).unwrap().trim().parse().unwrap();
        Cost { time, memory: kilobytes * 1024 }
    }

    /// A program in the environment that [`tools`](super::tools) describes, and no other.
    fn command(&self, program: &str, registry: SocketAddr) -> Command {
        let ours = Path::new(super::BNDLR).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(ours).chain(std::env::split_paths(&path))).unwrap();
        let mut command = Command::new(program);
        command.current_dir(self.subject.folder.path()).stdin(Stdio::null()).env_clear().env("PATH", path);
        command.env("HOME", self.folder.path()).env("TMPDIR", self.folder.path().join("tmp"));
        command.env("REGISTRY", registry.to_string()).env("REPOSITORY", REPOSITORY).env("TAG", TAG);
        command.env("REF", reference(registry)).env("OUT", self.out());
        command.env("TREE", self.subject.root()).env("FILE", &self.subject.file);
        command
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    /// Whether the step has done what it is measured for.
    fn check(&self, step: Step) {
        let is_file = |path: PathBuf| {
            let file = fs::read(self.subject.root().join(&self.subject.file)).unwrap();
            assert!(fs::read(&path).unwrap() == file, "{}: {}", self.tool.name, path.display());
        };
        match step {
            // What it has pushed, it pulls.
            Step::Push | Step::Again | Step::Changed => (),
            Step::Cat => is_file(self.folder.path().join("stdout")),
            Step::Pull => {
                let mut files = Vec::new();
                list(&self.out(), &mut files);
                let bytes: u64 = files.iter().map(|file| file.metadata().unwrap().len()).sum();
                assert_eq!(Totals { files: files.len(), bytes }, self.subject.totals, "{}", self.tool.name);
            }
            Step::Update => is_file(self.out().join(&self.subject.file)),
        }
    }

    /// The sum of the layers' sizes, as the manifest says them.
    fn layers(&self) -> u64 {
        let mut command = self.command(super::BNDLR, self.server.address);
        let output = command.args(["manifest", "get", &reference(self.server.address)]).output().unwrap();
        let manifest: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        manifest["layers"].as_array().unwrap().iter().map(|layer| layer["size"].as_u64().unwrap()).sum()
    }
}

fn reference(registry: SocketAddr) -> String {
    format!("{registry}/{REPOSITORY}:{TAG}")
}

/// The files below a directory.
fn list(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { list(&path, files) } else { files.push(path) }
    }
}
