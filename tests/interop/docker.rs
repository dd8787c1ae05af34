//! Docker's engine pulls what was pushed, as OCI's image and in schema 2, and what it pushes is pulled.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::build::{Built, pull};
use crate::registries::{PASSWORD, Registry, USER};
use crate::run::{arg, bndlr, command, json, run, text};
use crate::table::{Program, proved};
use crate::writers::{self, Writer, archived};
use crate::{peer, shapes, tree};

/// How long the engine may take to start or to end.
const PATIENCE: Duration = Duration::from_mins(1);

/// What the engine puts into the top of every container.
const OF_THE_ENGINE: [&str; 5] = [".dockerenv", "dev", "etc", "proc", "sys"];

/// A running engine, with a socket, data and a containerd of its own, and no network.
pub struct Engine {
    process: Child,
    client: PathBuf,
    home: TempDir,
}

impl Engine {
    /// The engine that all tests share, which ends with the last of them; nothing if it cannot run here.
    pub fn shared() -> Option<Arc<Self>> {
        static SHARED: Mutex<Weak<Engine>> = Mutex::new(Weak::new());
        let (program, client) = (peer::require("dockerd")?, peer::require("docker")?);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = shared.upgrade() {
            return Some(engine);
        }
        peer::require_root("dockerd")?;
        let engine = Arc::new(Self::start(&program, client));
        *shared = Arc::downgrade(&engine);
        Some(engine)
    }

    fn start(program: &Path, client: PathBuf) -> Self {
        let home = TempDir::new().unwrap();
        let log = File::create(home.path().join("log")).unwrap();
        let mut command = command(program, &["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command.args(["--storage-driver=vfs", "--host", &socket(&home)]);
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(flag).arg(home.path().join(name));
        }
        let process = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut engine = Self { process, client, home };
        let begun = Instant::now();
        while !engine.docker(&["version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
            let has_ended = engine.process.try_wait().unwrap().is_some();
            assert!(!has_ended && begun.elapsed() < PATIENCE, "dockerd does not start: {}", engine.log());
        }
        engine
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut docker = command(&self.client, &["--host", &socket(&self.home), "--config"]);
        docker.arg(self.home.path().join("config")).args(arguments);
        docker
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        text(&mut self.docker(arguments))
    }

    /// Where its containerd listens.
    pub fn containerd(&self) -> PathBuf {
        self.home.path().join("exec/containerd/containerd.sock")
    }

    /// The containers that run share the host's network, which it keeps at hand in a mount.
    fn unmount(&self) {
        let namespace = self.home.path().join("exec/netns/default");
        if namespace.exists() {
            let _ = command("umount", &[arg(&namespace)]).stderr(Stdio::null()).status();
        }
    }

    /// A container of an image, which is never started.
    fn container(&self, image: &str) -> String {
        self.run(&["create", "--network=none", image, "/nothing"])
    }

    /// Waits for its end, and says whether that came in time.
    fn ends(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if self.process.try_wait().is_ok_and(|status| status.is_some()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

fn socket(home: &TempDir) -> String {
    format!("unix://{}", arg(&home.path().join("docker.sock")))
}

/// Sends a signal with the shell's own `kill`: small systems have no program of that name.
pub fn signal(name: &str, pid: &str) {
    let _ = command("sh", &["-c", "kill -s \"$1\" \"$2\"", "sh", name, pid]).status();
}

impl Drop for Engine {
    fn drop(&mut self) {
        // With SIGTERM it takes its containerd along, with SIGKILL it would not.
        signal("TERM", &self.process.id().to_string());
        if self.ends() {
            return self.unmount();
        }
        let containerd = self.home.path().join("exec/containerd/containerd.pid");
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Ok(pid) = fs::read_to_string(containerd) {
            signal("KILL", pid.trim());
        }
    }
}

/// Removes what the engine added to the files of a container.
fn without_the_engines(root: &Path) {
    for name in OF_THE_ENGINE.map(|name| root.join(name)) {
        match fs::symlink_metadata(&name) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(name).unwrap(),
            Ok(_) => fs::remove_file(name).unwrap(),
            Err(_) => {}
        }
    }
}

#[test]
fn docker_pulls_what_was_pushed() {
    let Some(engine) = Engine::shared() else { return };
    let tree = tree::sample();
    for registry in Registry::each() {
        for format in ["oci", "docker"] {
            let (home, reference) = (TempDir::new().unwrap(), registry.reference(&format!("team/app:{format}")));
            let pushed = json(&["push", arg(tree.path()), &reference, "--image-format", format, "-l", "team=größe"]);
            engine.run(&["pull", "-q", &reference]);
            let found = engine.run(&["image", "inspect", "-f", "{{.RepoDigests}} {{.Config.Labels.team}}", &reference]);
            let digest = pushed["digest"].as_str().unwrap();
            assert!(found.contains(digest) && found.ends_with("größe"), "{found}");

            let container = engine.container(&reference);
            let copied = home.path().join("copied");
            engine.run(&["cp", "-q", &format!("{container}:/."), arg(&copied)]);
            without_the_engines(&copied);
            tree::assert_same(tree.path(), &copied);

            let (archive, exported) = (home.path().join("exported.tar"), home.path().join("exported"));
            engine.run(&["export", "-o", arg(&archive), &container]);
            fs::create_dir(&exported).unwrap();
            run(&mut command("tar", &["-xf", arg(&archive), "-C", arg(&exported)]));
            without_the_engines(&exported);
            tree::assert_same(tree.path(), &exported);
        }
    }
}

#[test]
fn what_docker_pushes_on_is_pulled() {
    let Some(engine) = Engine::shared() else { return };
    let tree = tree::sample();
    for registry in Registry::each() {
        let home = TempDir::new().unwrap();
        let reference = registry.reference("team/pulled:v1");
        json(&["push", arg(tree.path()), &reference]);
        engine.run(&["pull", "-q", &reference]);
        let elsewhere = registry.reference("other/name:v2");
        engine.run(&["tag", &reference, &elsewhere]);
        engine.run(&["push", "-q", &elsewhere]);
        tree::assert_same(tree.path(), &pull(&elsewhere, home.path()));
    }
}

#[test]
fn what_docker_makes_is_pulled() {
    let Some(engine) = Engine::shared() else { return };
    let (tree, home) = (tree::sample(), TempDir::new().unwrap());
    let archive = home.path().join("content.tar");
    run(&mut command("tar", &["-cf", arg(&archive), "-C", arg(tree.path()), "."]));
    for (number, registry) in Registry::each().into_iter().enumerate() {
        let home = TempDir::new().unwrap();
        let imported = registry.reference("docker/made:v1");
        engine.run(&["import", arg(&archive), &imported]);
        engine.run(&["push", "-q", &imported]);
        tree::assert_same(tree.path(), &pull(&imported, home.path()));

        // A second layer over it.
        let container = engine.container(&imported);
        let (added, committed) = (format!("added-{number}"), registry.reference("docker/made:v2"));
        fs::write(home.path().join(&added), "added\n").unwrap();
        engine.run(&["cp", "-q", arg(&home.path().join(&added)), &format!("{container}:/base")]);
        engine.run(&["commit", &container, &committed]);
        engine.run(&["push", "-q", &committed]);
        let pulled = home.path().join("committed");
        run(&mut bndlr(&["pull", &committed, "-o", arg(&pulled)]));
        assert_eq!(fs::read(pulled.join("base").join(&added)).unwrap(), b"added\n");
        fs::remove_file(pulled.join("base").join(&added)).unwrap();
        tree::assert_same(tree.path(), &pulled);
    }
    proved(Program::Docker, "pushes what it imports and commits, in schema 2");
}

#[test]
fn docker_loads_an_archive_that_was_built() {
    let Some(engine) = Engine::shared() else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &[]);
    let archive = built.aside("archive.tar");
    run(&mut bndlr(&["build", arg(tree.path()), "-o", &format!("archive:{}:v1", arg(&archive))]));
    let loaded = engine.run(&["load", "-i", arg(&archive)]);
    let image = loaded.rsplit(' ').next().unwrap();
    let container = engine.container(image);
    let copied = built.aside("copied");
    engine.run(&["cp", "-q", &format!("{container}:/."), arg(&copied)]);
    without_the_engines(&copied);
    tree::assert_same(tree.path(), &copied);
    proved(Program::Docker, "loads archives that were built with no registry");
}

#[test]
fn docker_unpacks_bundles_of_every_shape() {
    let Some(engine) = Engine::shared() else { return };
    let copied = |reference: &str, tree: &Path| {
        let (home, container) = (TempDir::new().unwrap(), engine.container(reference));
        let copied = home.path().join("copied");
        engine.run(&["cp", "-q", &format!("{container}:/."), arg(&copied)]);
        engine.run(&["rm", &container]);
        without_the_engines(&copied);
        tree::assert_same(tree, &copied);
    };
    for format in ["oci", "docker"] {
        shapes::pushed(format, |reference, _, tree| {
            engine.run(&["pull", "-q", reference]);
            copied(reference, tree);
        });
    }
    let (_registry, reference, tree) = shapes::for_another_platform();
    engine.run(&["pull", "-q", "--platform", "linux/arm64", &reference]);
    assert_eq!(engine.run(&["image", "inspect", "-f", "{{.Architecture}}", &reference]), "arm64");
    copied(&reference, tree.path());
    proved(Program::Docker, "pulls and unpacks bundles of every shape, as OCI images and in schema 2");
}

impl Writer for Arc<Engine> {
    fn program(&self) -> Program {
        Program::Docker
    }

    fn push(&self, layout: &Path, reference: &str, guarded: bool) {
        let home = TempDir::new().unwrap();
        let loaded = self.run(&["load", "-q", "-i", arg(&archived(layout, home.path()))]);
        if guarded {
            self.run(&["login", "-u", USER, "-p", PASSWORD, reference.split_once('/').unwrap().0]);
        }
        self.run(&["tag", loaded.rsplit(' ').next().unwrap(), reference]);
        self.run(&["push", "-q", reference]);
    }
}

#[test]
fn docker_pushes_in_every_way() {
    let Some(engine) = Engine::shared() else { return };
    writers::push_in_every_way(&engine);
}

#[test]
fn docker_pushes_large_layers() {
    let Some(engine) = Engine::shared() else { return };
    writers::push_a_large_layer(&engine);
}

#[test]
fn docker_pushes_image_indexes() {
    let Some(engine) = Engine::shared() else { return };
    let tree = tree::sample();
    for registry in Registry::both_of_ours() {
        let reference = |tag| registry.reference(&format!("docker/index:{tag}"));
        for architecture in ["amd64", "arm64"] {
            let platform = format!("linux/{architecture}");
            json(&["push", arg(tree.path()), &reference(architecture), "--platform", &platform]);
        }
        let [index, amd64, arm64] = ["v1", "amd64", "arm64"].map(reference);
        engine.run(&["manifest", "create", "--insecure", &index, &amd64, &arm64]);
        engine.run(&["manifest", "push", "--insecure", &index]);
        let raw = text(&mut bndlr(&["inspect", "--raw", &index]));
        assert_eq!(raw.matches("architecture").count(), 2, "{raw}");
        let home = TempDir::new().unwrap();
        tree::assert_same(tree.path(), &pull(&index, home.path()));
        engine.run(&["pull", "-q", &index]);
    }
    proved(Program::Docker, "pushes and pulls image indexes");
}
