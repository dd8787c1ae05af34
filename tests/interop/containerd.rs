//! containerd, by its own client `ctr`, pulls what was pushed and pushes it on. It is the one of Docker's engine.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;

use crate::access::{assert_asked_with_a_token, assert_pulls, push};
use crate::build::pull;
use crate::docker::Engine;
use crate::registries::{PASSWORD, Registry, Serve, USER, tls_file};
use crate::run::{arg, bndlr, command, json, run, text};
use crate::table::{Program, proved};
use crate::writers::{self, Indexed, Writer, archived};
use crate::{peer, shapes, tree};

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
    let hosts = known_host(registry.address());
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

#[test]
fn containerd_unpacks_bundles_of_every_shape() {
    let Some(containerd) = Containerd::find() else { return };
    let unpacked = |reference: &str, platform: &str, tree: &Path| {
        run(containerd.images("pull").args([
            "--plain-http",
            "--snapshotter",
            "native",
            "--platform",
            platform,
            reference,
        ]));
        let mounted = TempDir::new().unwrap();
        let mount = ["--snapshotter", "native", "--platform", platform, reference, arg(mounted.path())];
        run(containerd.images("mount").args(mount));
        let found = std::panic::catch_unwind(|| tree::assert_same(tree, mounted.path()));
        run(containerd.images("unmount").args(["--snapshotter", "native", "--rm", arg(mounted.path())]));
        found.unwrap();
    };
    for format in ["oci", "docker"] {
        shapes::pushed(format, |reference, _, tree| unpacked(reference, "linux/amd64", tree));
    }
    let (_registry, reference, tree) = shapes::for_another_platform();
    unpacked(&reference, "linux/arm64", tree.path());
    proved(Program::Containerd, "pulls and unpacks bundles of every shape, as OCI images and in schema 2");
}

impl Containerd {
    /// Puts what is `v1` in a layout among its images, and says what it is called there.
    fn import(&self, layout: &Path) -> String {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let home = TempDir::new().unwrap();
        let base = format!("localhost/imported-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let archive = archived(layout, home.path());
        run(self.images("import").args(["--all-platforms", "--no-unpack", "--base-name", &base, arg(&archive)]));
        format!("{base}:v1")
    }
}

impl Writer for Containerd {
    fn program(&self) -> Program {
        Program::Containerd
    }

    fn push(&self, layout: &Path, reference: &str, guarded: bool) {
        let (image, mut push) = (self.import(layout), self.images("push"));
        let hosts = guarded.then(|| known_host(reference.split_once('/').unwrap().0));
        match &hosts {
            Some(hosts) => push.args(["--hosts-dir", arg(hosts.path()), "--user", &format!("{USER}:{PASSWORD}")]),
            None => push.arg("--plain-http"),
        };
        run(push.args([reference, &image]));
    }
}

/// Says to ctr that a registry on loopback has TLS, which it would not think.
fn known_host(address: &str) -> TempDir {
    let hosts = TempDir::new().unwrap();
    let of_registry = hosts.path().join(address);
    fs::create_dir(&of_registry).unwrap();
    let host = format!("[host.\"https://{address}\"]\nca = \"{}\"\n", arg(&tls_file("ca.pem")));
    fs::write(of_registry.join("hosts.toml"), host).unwrap();
    hosts
}

#[test]
fn containerd_pushes_in_every_way() {
    let Some(containerd) = Containerd::find() else { return };
    writers::push_in_every_way(&containerd);
}

#[test]
fn containerd_pushes_large_layers() {
    let Some(containerd) = Containerd::find() else { return };
    writers::push_a_large_layer(&containerd);
}

#[test]
fn containerd_pushes_image_indexes() {
    let Some(containerd) = Containerd::find() else { return };
    let indexed = Indexed::new();
    let image = containerd.import(&indexed.layout());
    for registry in Registry::both_of_ours() {
        let reference = registry.reference("containerd/index:v1");
        run(containerd.images("push").args(["--plain-http", &reference, &image]));
        assert_eq!(text(&mut bndlr(&["resolve", &reference])), indexed.digest);
        indexed.assert_pushed_to(&reference);
    }
    proved(Program::Containerd, "pushes image indexes");
}
