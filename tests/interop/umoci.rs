//! Umoci unpacks what we pack, and makes images of several layers for us to unpack.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::build::{Built, pull};
use crate::run::{arg, command, run, text};
use crate::table::{Program, proved};
use crate::{peer, tree};

#[test]
fn umoci_unpacks_what_was_packed() {
    let Some(umoci) = peer::require("umoci") else { return };
    let tree = tree::sample();
    let built = Built::new(tree.path(), &["-l", "team=größe"]);
    assert_eq!(text(&mut command(&umoci, &["ls", "--layout", arg(&built.layout())])), "v1");
    let (image, bundle) = (format!("{}:v1", arg(&built.layout())), built.aside("bundle"));
    run(&mut command(&umoci, &["unpack", "--rootless", "--image", &image, arg(&bundle)]));
    tree::assert_same(tree.path(), &bundle.join("rootfs"));

    let split = ("split", tree::large());
    for (name, tree) in tree::shapes().into_iter().chain([split]) {
        let built = Built::new(tree.path(), if name == "split" { &["--split"] } else { &[] });
        let (image, bundle) = (format!("{}:v1", arg(&built.layout())), built.aside("bundle"));
        run(&mut command(&umoci, &["unpack", "--rootless", "--image", &image, arg(&bundle)]));
        eprintln!("shape: {name}");
        tree::assert_same(tree.path(), &bundle.join("rootfs"));
    }
    proved(Program::Umoci, "unpacks bundles of every shape from a layout");
}

/// An image of several layers in a layout, and what is in it when all of them are applied.
pub struct Layered {
    pub home: TempDir,
    pub rootfs: PathBuf,
}

impl Layered {
    /// Later layers remove a file and a directory, replace a directory by a file and the other way round, and hide what
    /// a directory had in it.
    pub fn make() -> Option<Self> {
        let umoci = peer::require("umoci")?;
        let (home, tree) = (TempDir::new().unwrap(), tree::sample());
        let (layout, image) = (home.path().join("layout"), format!("{}:v1", arg(&home.path().join("layout"))));
        let umoci = |arguments: &[&str]| run(&mut command(&umoci, arguments));
        umoci(&["init", "--layout", arg(&layout)]);
        umoci(&["new", "--image", &image]);
        umoci(&["insert", "--rootless", "--image", &image, arg(tree.path()), "/app"]);
        umoci(&[
            "insert",
            "--rootless",
            "--opaque",
            "--image",
            &image,
            arg(&tree.path().join("helm")),
            "/app/policies",
        ]);
        umoci(&["insert", "--rootless", "--image", &image, "--whiteout", "/app/größe"]);

        let bundle = home.path().join("bundle");
        umoci(&["unpack", "--rootless", "--image", &image, arg(&bundle)]);
        let rootfs = bundle.join("rootfs");
        change(&rootfs.join("app"));
        umoci(&["repack", "--image", &image, arg(&bundle)]);
        Some(Self { home, rootfs })
    }

    /// `oci:<layout>:v1`
    pub fn location(&self) -> String {
        format!("oci:{}:v1", arg(&self.home.path().join("layout")))
    }
}

fn change(app: &Path) {
    fs::remove_file(app.join("large.bin")).unwrap();
    fs::remove_dir_all(app.join("runbooks")).unwrap();
    fs::write(app.join("runbooks"), "see the wiki\n").unwrap();
    fs::remove_file(app.join("scripts/rollout.sh")).unwrap();
    fs::create_dir(app.join("scripts/rollout.sh")).unwrap();
    fs::write(app.join("scripts/rollout.sh/main"), "#!/bin/sh\n").unwrap();
    fs::write(app.join("new.yaml"), "kind: List\n").unwrap();
}

#[test]
fn layers_that_umoci_made_are_applied_one_over_the_other() {
    let Some(layered) = Layered::make() else { return };
    let pulled = pull(&layered.location(), layered.home.path());
    assert!(pulled.join("app/new.yaml").exists() && !pulled.join("app/large.bin").exists());
    assert!(pulled.join("app/policies/ingress-nginx-values.yaml").exists());
    assert!(!pulled.join("app/policies/images.yaml").exists() && !pulled.join("app/größe").exists());
    tree::assert_same(&layered.rootfs, &pulled);
    proved(Program::Umoci, "makes images of several layers with whiteouts, which are unpacked alike");
}
