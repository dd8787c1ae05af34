//! Skopeo inspects and copies what we pushed, and what it copied there is pulled.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::build::{Built, pull};
use crate::registries::{PASSWORD, Registry, USER, tls_file};
use crate::run::{arg, bndlr, json, run, text};
use crate::table::{Program, proved};
use crate::umoci::Layered;
use crate::writers::{self, Indexed, Writer};
use crate::{peer, run, shapes, tree};

struct Skopeo(PathBuf);

impl Skopeo {
    fn find() -> Option<Self> {
        peer::require("skopeo").map(Self)
    }

    fn copy(&self, arguments: &[&str]) {
        let tls = ["--src-tls-verify=false", "--dest-tls-verify=false"];
        run(run::command(&self.0, &["--insecure-policy", "copy", "-q"]).args(tls).args(arguments));
    }

    fn inspect(&self, arguments: &[&str]) -> String {
        text(run::command(&self.0, &["inspect", "--tls-verify=false"]).args(arguments))
    }
}

fn resolve(reference: &str) -> String {
    let resolved = text(&mut bndlr(&["resolve", reference]));
    resolved.rsplit('@').next().unwrap().to_owned()
}

fn assert_pulls(tree: &Path, location: &str) {
    let home = TempDir::new().unwrap();
    tree::assert_same(tree, &pull(location, home.path()));
}

#[test]
fn skopeo_inspects_what_was_pushed() {
    let Some(skopeo) = Skopeo::find() else { return };
    for registry in Registry::each() {
        let tree = tree::sample();
        for format in ["oci", "docker"] {
            let reference = format!("team/app:{format}");
            let push = ["push", arg(tree.path()), &registry.reference(&reference), "--image-format", format];
            let pushed = json(&[&push[..], &["-l", "team=größe"]].concat());
            let url = registry.docker_url(&reference);
            let inspected: Value = serde_json::from_str(&skopeo.inspect(&[&url])).unwrap();
            assert_eq!(inspected["Digest"], pushed["digest"]);
            assert_eq!(inspected["Labels"]["team"], "größe");
            assert_eq!(inspected["Layers"][0], pushed["layers"][0]["digest"]);
            let raw = text(&mut bndlr(&["inspect", "--raw", &registry.reference(&reference)]));
            assert_eq!(skopeo.inspect(&["--raw", &url]), raw);
        }
    }
}

#[test]
fn skopeo_copies_change_no_digest() {
    let Some(skopeo) = Skopeo::find() else { return };
    let elsewhere = Registry::each();
    for registry in Registry::each() {
        let (tree, home) = (tree::sample(), TempDir::new().unwrap());
        for format in ["oci", "docker"] {
            let reference = format!("team/app:{format}");
            let push = ["push", arg(tree.path()), &registry.reference(&reference), "--image-format", format];
            let digest = text_of(&json(&push)["digest"]);
            let url = registry.docker_url(&reference);
            for other in elsewhere.iter().chain([&registry]) {
                skopeo.copy(&[&url, &other.docker_url("other/name:copied")]);
                assert_eq!(resolve(&other.reference("other/name:copied")), digest);
                assert_pulls(tree.path(), &other.reference("other/name:copied"));
            }
            if format == "oci" {
                let layout = format!("oci:{}:v1", arg(&home.path().join("layout")));
                skopeo.copy(&[&url, &layout]);
                assert_eq!(resolve(&layout), digest);
                assert_pulls(tree.path(), &layout);
            }
        }
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn skopeo_copies_layouts_and_archives_that_were_built() {
    let Some(skopeo) = Skopeo::find() else { return };
    let (tree, registry) = (tree::sample(), Registry::ours());
    let built = Built::new(tree.path(), &[]);
    let archive = arg(&built.aside("archive.tar")).to_owned();
    run(&mut bndlr(&["build", arg(tree.path()), "-o", &format!("archive:{archive}:v1")]));
    let layout = arg(&built.layout()).to_owned();
    for (name, location) in [("archive", format!("oci-archive:{archive}:v1")), ("layout", format!("oci:{layout}:v1"))] {
        skopeo.copy(&[&location, &registry.docker_url(&format!("from/{name}:v1"))]);
        let reference = registry.reference(&format!("from/{name}:v1"));
        assert_eq!(resolve(&reference), built.digest);
        assert_pulls(tree.path(), &reference);
    }
    // And an archive that Skopeo wrote.
    let theirs = arg(&built.aside("theirs.tar")).to_owned();
    skopeo.copy(&[&registry.docker_url("from/layout:v1"), &format!("oci-archive:{theirs}:v2")]);
    assert_pulls(tree.path(), &format!("archive:{theirs}:v2"));
}

#[test]
fn any_image_that_skopeo_copied_there_is_pulled() {
    let Some(skopeo) = Skopeo::find() else { return };
    let Some(layered) = Layered::make() else { return };
    // Into a registry it would take the layers that are already there.
    let zstd = format!("oci:{}:v1", arg(&layered.home.path().join("zstd")));
    skopeo.copy(&["--dest-compress-format=zstd", &layered.location(), &zstd]);
    for registry in Registry::each() {
        let ways: [(&str, &[&str], &str); 3] = [
            ("as-it-is", &[&layered.location()], "image.layer.v1.tar+gzip"),
            ("schema2", &["--format=v2s2", &layered.location()], "docker.image.rootfs.diff.tar.gzip"),
            ("zstd", &[&zstd], "image.layer.v1.tar+zstd"),
        ];
        for (tag, from, media_type) in ways {
            let path = format!("theirs/image:{tag}");
            skopeo.copy(&[from, &[&registry.docker_url(&path)]].concat());
            let manifest = text(&mut bndlr(&["inspect", "--raw", &registry.reference(&path)]));
            assert_eq!(manifest.matches(media_type).count(), 4, "{manifest}");
            assert_pulls(&layered.rootfs, &registry.reference(&path));
        }
    }
}

#[test]
fn skopeo_copies_bundles_of_every_shape() {
    let Some(skopeo) = Skopeo::find() else { return };
    for format in ["oci", "docker"] {
        shapes::pushed(format, |reference, digest, tree| {
            let home = TempDir::new().unwrap();
            let directory = format!("dir:{}", arg(&home.path().join("copied")));
            skopeo.copy(&[&format!("docker://{reference}"), &directory]);
            let there = format!("{reference}-copied");
            skopeo.copy(&[&directory, &format!("docker://{there}")]);
            assert_eq!(resolve(&there), digest);
            assert_pulls(tree, &there);
        });
    }
    let (_registry, reference, _tree) = shapes::for_another_platform();
    let inspected: Value = serde_json::from_str(&skopeo.inspect(&[&format!("docker://{reference}")])).unwrap();
    assert_eq!((&inspected["Architecture"], &inspected["Labels"]["team"]), (&"arm64".into(), &"größe".into()));
    proved(
        Program::Skopeo,
        "inspects and copies bundles of every shape, as OCI images and in schema 2: no digest changes",
    );
}

impl Writer for Skopeo {
    fn program(&self) -> Program {
        Program::Skopeo
    }

    fn push(&self, layout: &Path, reference: &str, guarded: bool) {
        let home = TempDir::new().unwrap();
        let mut copy = run::command(&self.0, &["--insecure-policy", "copy", "-q"]);
        if guarded {
            fs::copy(tls_file("ca.pem"), home.path().join("ca.crt")).unwrap();
            copy.args(["--dest-cert-dir", arg(home.path()), "--dest-creds", &format!("{USER}:{PASSWORD}")]);
        } else {
            copy.arg("--dest-tls-verify=false");
        }
        run(copy.arg(format!("oci:{}:v1", arg(layout))).arg(format!("docker://{reference}")));
    }
}

#[test]
fn skopeo_pushes_in_every_way() {
    let Some(skopeo) = Skopeo::find() else { return };
    writers::push_in_every_way(&skopeo);
}

#[test]
fn skopeo_pushes_large_layers() {
    let Some(skopeo) = Skopeo::find() else { return };
    writers::push_a_large_layer(&skopeo);
}

#[test]
fn skopeo_pushes_image_indexes() {
    let Some(skopeo) = Skopeo::find() else { return };
    let indexed = Indexed::new();
    for registry in Registry::each() {
        let reference = registry.reference("skopeo/index:v1");
        skopeo.copy(&["--all", &format!("oci:{}:v1", arg(&indexed.layout())), &format!("docker://{reference}")]);
        assert_eq!(resolve(&reference), indexed.digest);
        indexed.assert_pushed_to(&reference);
    }
    proved(Program::Skopeo, "pushes image indexes");
}
