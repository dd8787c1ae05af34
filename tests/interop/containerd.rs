//! containerd, by its own client `ctr`, pulls what was pushed and pushes it on. It is the one of Docker's engine.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::access::{assert_asked_with_a_token, assert_pulls, push};
use crate::build::pull;
use crate::docker::Engine;
use crate::registries::{PASSWORD, Registry, Serve, USER, tls_file};
use crate::run::{arg, command, json, run};
use crate::{peer, tree};

struct Containerd {
    engine: Arc<Engine>,
    ctr: PathBuf,
}

impl Containerd {
    fn find() -> Option<Self> {
        Some(Self { ctr: peer::require("ctr")?, engine: Engine::shared()? })
    }

    /// `ctr images <subcommand>`
    fn images(&self, subcommand: &str) -> Command {
        let socket = self.engine.containerd();
        let mut ctr = command(&self.ctr, &["--address", arg(&socket), "--namespace", "tests"]);
        ctr.args(["images", subcommand]);
        ctr
    }
}

#[test]
fn containerd_pulls_what_was_pushed_and_pushes_it_on() {
    let Some(containerd) = Containerd::find() else { return };
    let tree = tree::sample();
    for registry in Registry::both_of_ours() {
        for format in ["oci", "docker"] {
            let (home, reference) = (TempDir::new().unwrap(), registry.reference(&format!("team/app:{format}")));
            let pushed = json(&["push", arg(tree.path()), &reference, "--image-format", format]);
            // Snapshots that are plain directories: others need what a container may not have.
            run(containerd.images("pull").args(["--plain-http", "--snapshotter", "native", &reference]));
            let archive = home.path().join("exported.tar");
            run(containerd.images("export").args([arg(&archive), &reference]));
            tree::assert_same(tree.path(), &pull(&format!("archive:{}", arg(&archive)), home.path()));

            let elsewhere = registry.reference(&format!("other/name:{format}"));
            run(containerd.images("push").args(["--plain-http", &elsewhere, &reference]));
            let (there, digest) = (TempDir::new().unwrap(), pushed["digest"].as_str().unwrap());
            let elsewhere = format!("{}@{digest}", elsewhere.rsplit_once(':').unwrap().0);
            tree::assert_same(tree.path(), &pull(&elsewhere, there.path()));
        }
    }
}

#[test]
fn containerd_pulls_and_pushes_over_tls_with_a_password() {
    let Some(containerd) = Containerd::find() else { return };
    let registry = Serve::guarded();
    let (tree, reference) = push(&registry, "team/app:v1");
    let pushed = format!("{}/other/name:v2", registry.address());
    // To ctr, loopback has no TLS unless it is told so.
    let hosts = TempDir::new().unwrap();
    let of_registry = hosts.path().join(registry.address());
    fs::create_dir(&of_registry).unwrap();
    let host = format!("[host.\"https://{}\"]\nca = \"{}\"\n", registry.address(), arg(&tls_file("ca.pem")));
    fs::write(of_registry.join("hosts.toml"), host).unwrap();
    let talk = |subcommand: &str, password: &str, arguments: &[&str]| {
        let mut images = containerd.images(subcommand);
        images.args(["--hosts-dir", arg(hosts.path()), "--user", &format!("{USER}:{password}")]);
        images.args(arguments);
        images
    };
    let pull = ["--snapshotter", "native", &reference];
    assert!(!talk("pull", "wrong", &pull).output().unwrap().status.success(), "with a wrong password");
    run(&mut talk("pull", PASSWORD, &pull));
    run(&mut talk("push", PASSWORD, &[&pushed, &reference]));
    assert_pulls(&tree, &pushed);
    assert_asked_with_a_token(&registry);
}
