//! What Buildah and Podman have in common: how they are called, and how they talk to a registry.
//!
//! Their storage driver is `vfs`, which copies whole directories: others need mounts that a container may not be allowed
//! to make. Nothing is run in a container, so neither namespaces nor a network are needed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::peer;
use crate::registries::{PASSWORD, Serve, USER, tls_file};
use crate::run::{arg, command, text};
use crate::table::Program;
use crate::writers::Writer;

/// One of the two, with images, containers and configuration of its own.
pub struct Containers {
    program: PathBuf,
    home: TempDir,
}

impl Containers {
    /// Nothing, if the program is missing or cannot run here.
    pub fn find(name: &str) -> Option<Self> {
        let program = peer::require(name)?;
        peer::require_root(name)?;
        let home = TempDir::new().unwrap();
        let containers = Self { program, home };
        containers.configure();
        Some(containers)
    }

    fn configure(&self) {
        let (root, run, tmp) = (self.aside("root"), self.aside("run"), self.aside("tmp"));
        let storage =
            ["[storage]\ndriver = \"vfs\"\ngraphroot = \"", arg(&root), "\"\nrunroot = \"", arg(&run), "\"\n"].concat();
        // Podman's own default wants a journal.
        let engine = ["[engine]\nevents_logger = \"none\"\ntmp_dir = \"", arg(&tmp), "\"\n"].concat();
        for (file, content) in [
            ("storage.conf", &*storage),
            ("containers.conf", &engine),
            ("registries.conf", ""),
            ("auth.json", "{}"),
            ("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#),
        ] {
            fs::write(self.aside(file), content).unwrap();
        }
        fs::create_dir(self.aside("certificates")).unwrap();
        fs::copy(tls_file("ca.pem"), self.aside("certificates/ca.crt")).unwrap();
    }

    /// A name for a file of the test's own, which goes with the images.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The program with these arguments, and with no configuration of whoever runs the tests.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&self.program, arguments);
        for (variable, file) in [
            ("CONTAINERS_STORAGE_CONF", "storage.conf"),
            ("CONTAINERS_CONF", "containers.conf"),
            ("CONTAINERS_REGISTRIES_CONF", "registries.conf"),
            ("REGISTRY_AUTH_FILE", "auth.json"),
        ] {
            command.env(variable, self.aside(file));
        }
        command
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        text(&mut self.command(arguments))
    }

    /// A command that talks to a registry: `plain` over HTTP, or with TLS and the certificates of the tests.
    pub fn talk(&self, plain: bool, subcommand: &str, arguments: &[&str]) -> Command {
        let mut command = self.command(&[subcommand]);
        if plain {
            command.arg("--tls-verify=false");
        } else {
            command.arg("--cert-dir").arg(self.aside("certificates"));
        }
        if matches!(subcommand, "pull" | "push") {
            command.arg("-q").arg("--signature-policy").arg(self.aside("policy.json"));
        }
        command.args(arguments);
        command
    }

    /// Pulls over plain HTTP.
    pub fn pull(&self, reference: &str) {
        text(&mut self.talk(true, "pull", &[reference]));
    }

    /// Pushes over plain HTTP.
    pub fn push(&self, reference: &str, arguments: &[&str]) {
        text(self.talk(true, "push", arguments).arg(reference));
    }

    /// That nobody gets in without the password, and pulls and pushes on with it.
    pub fn log_in_and_copy(&self, registry: &Serve, from: &str, to: &str) {
        let pull = || self.talk(false, "pull", &[from]).output().unwrap();
        let login = |password| self.talk(false, "login", &["-u", USER, "-p", password, registry.address()]);
        assert!(!pull().status.success(), "without a password");
        let wrong = login("wrong").output().unwrap();
        let errors = String::from_utf8_lossy(&wrong.stderr);
        assert!(!wrong.status.success() && errors.contains("invalid username/password"), "{errors}");

        text(&mut login(PASSWORD));
        text(&mut self.talk(false, "pull", &[from]));
        self.run(&["tag", from, to]);
        let push = || self.talk(false, "push", &[to]);
        text(&mut push());
        self.run(&["logout", registry.address()]);
        assert!(!push().output().unwrap().status.success(), "logged out");
    }
}

/// A file for a build that puts the directory it is in at the root of an image.
pub fn containerfile(directory: &Path) -> PathBuf {
    let file = directory.join("Containerfile");
    fs::write(&file, "FROM scratch\nCOPY tree /\nLABEL team=größe\n").unwrap();
    file
}

/// Copies a directory with what it has: links, modes, names.
pub fn copy_tree(from: &Path, to: &Path) {
    text(&mut command("cp", &["-a", arg(from), arg(to)]));
}

impl Writer for Containers {
    fn program(&self) -> Program {
        if self.program.ends_with("podman") { Program::Podman } else { Program::Buildah }
    }

    fn push(&self, layout: &Path, reference: &str, guarded: bool) {
        let policy = self.aside("policy.json");
        // It calls the image as the path, so that has to be one that references can have.
        let mut pull = self.command(&["pull", "-q", "--signature-policy", arg(&policy)]);
        let [home, name] = [layout.parent().unwrap(), Path::new(layout.file_name().unwrap())];
        let image = text(pull.arg(format!("oci:{}:v1", arg(name))).current_dir(home));
        let mut push = self.talk(!guarded, "push", &[]);
        if guarded {
            push.args(["--creds", &format!("{USER}:{PASSWORD}")]);
        }
        text(push.arg(image).arg(format!("docker://{reference}")));
    }
}
