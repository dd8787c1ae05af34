//! Podman pulls what was pushed, and what it makes is pulled: images and image indexes.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::access::{assert_asked_with_a_token, assert_pulls, push};
use crate::build::pull;
use crate::containers::{Containers, containerfile, copy_tree};
use crate::registries::{Registry, Serve};
use crate::run::{arg, bndlr, command, json, run, text};
use crate::table::{Program, proved};
use crate::{shapes, tree, writers};

/// A container that is never started.
fn container(podman: &Containers, image: &str) -> String {
    podman.run(&["create", "--network=none", image, "/nothing"])
}

#[test]
fn podman_pulls_what_was_pushed() {
    let Some(podman) = Containers::find("podman") else { return };
    let tree = tree::sample();
    for registry in Registry::each() {
        for format in ["oci", "docker"] {
            let reference = registry.reference(&format!("team/app:{format}"));
            let pushed = json(&["push", arg(tree.path()), &reference, "--image-format", format, "-l", "team=größe"]);
            podman.pull(&reference);
            let found = podman.run(&["image", "inspect", "-f", "{{.Digest}} {{.Labels.team}}", &reference]);
            assert_eq!(found, format!("{} größe", pushed["digest"].as_str().unwrap()));
            let mounted = podman.run(&["image", "mount", &reference]);
            tree::assert_same(tree.path(), Path::new(&mounted));
            podman.run(&["image", "umount", &reference]);
        }
    }
}

#[test]
fn what_podman_makes_is_pulled() {
    let Some(podman) = Containers::find("podman") else { return };
    let tree = tree::sample();
    let archive = podman.aside("content.tar");
    run(&mut command("tar", &["-cf", arg(&archive), "-C", arg(tree.path()), "."]));
    for registry in Registry::both_of_ours() {
        for (tag, format) in [("oci", "oci"), ("docker", "v2s2")] {
            let home = TempDir::new().unwrap();
            let imported = registry.reference(&format!("podman/imported:{tag}"));
            podman.run(&["import", "-q", arg(&archive), &imported]);
            podman.push(&imported, &["--format", format]);
            tree::assert_same(tree.path(), &pull(&imported, home.path()));

            // A second layer over it.
            let (added, changed) = (home.path().join("added"), home.path().join("changed"));
            copy_tree(tree.path(), &changed);
            fs::write(&added, "added\n").unwrap();
            fs::write(changed.join("added"), "added\n").unwrap();
            let (container, committed) = (container(&podman, &imported), registry.reference("podman/committed:v2"));
            podman.run(&["cp", arg(&added), &format!("{container}:/added")]);
            podman.run(&["commit", "-q", "-f", tag, &container, &committed]);
            podman.run(&["rm", &container]);
            podman.push(&committed, &["--format", format]);
            let second = TempDir::new().unwrap();
            tree::assert_same(&changed, &pull(&committed, second.path()));
        }
    }
    proved(Program::Podman, "pushes what it imports and commits, as OCI images and in schema 2");
}

#[test]
fn what_podman_builds_for_several_platforms_is_pulled() {
    let Some(podman) = Containers::find("podman") else { return };
    let (tree, context) = (tree::sample(), TempDir::new().unwrap());
    copy_tree(tree.path(), &context.path().join("tree"));
    let file = containerfile(context.path());
    for registry in Registry::both_of_ours() {
        let (home, index) = (TempDir::new().unwrap(), registry.reference("podman/index:v1"));
        let (policy, list) = (podman.aside("policy.json"), "localhost/list:v1");
        // What is in its cache is for any platform to it.
        let flags =
            ["--isolation", "chroot", "--no-cache", "--platform", "linux/amd64,linux/arm64", "--manifest", list];
        let build = ["build", "-q", "--signature-policy", arg(&policy), "-f", arg(&file)];
        text(podman.command(&build).args(flags).arg(context.path()));
        let push = ["--all", "-q", "--tls-verify=false", list, &format!("docker://{index}")];
        text(podman.command(&["manifest", "push"]).args(push));
        podman.run(&["manifest", "rm", list]);

        let raw: Value = serde_json::from_str(&text(&mut bndlr(&["inspect", "--raw", &index]))).unwrap();
        assert_eq!(raw["manifests"].as_array().unwrap().len(), 2, "{raw}");
        tree::assert_same(tree.path(), &pull(&index, home.path()));
        podman.pull(&index);
        let mounted = podman.run(&["image", "mount", &index]);
        tree::assert_same(tree.path(), Path::new(&mounted));
        podman.run(&["image", "umount", &index]);
    }
    proved(Program::Podman, "builds for several platforms, and pushes and pulls the image index");
}

#[test]
fn podman_logs_in_pulls_and_pushes_over_tls() {
    let Some(podman) = Containers::find("podman") else { return };
    let registry = Serve::guarded();
    let (tree, reference) = push(&registry, "team/app:v1");
    let pushed = format!("{}/other/name:v2", registry.address());
    podman.log_in_and_copy(&registry, &reference, &pushed);
    assert_pulls(&tree, &pushed);
    assert_asked_with_a_token(&registry);
}

#[test]
fn podman_unpacks_bundles_of_every_shape() {
    let Some(podman) = Containers::find("podman") else { return };
    let unpacked = |reference: &str, tree: &Path| {
        let mounted = podman.run(&["image", "mount", reference]);
        tree::assert_same(tree, Path::new(&mounted));
        podman.run(&["image", "umount", reference]);
    };
    for format in ["oci", "docker"] {
        shapes::pushed(format, |reference, _, tree| {
            podman.pull(reference);
            unpacked(reference, tree);
        });
    }
    let (_registry, reference, tree) = shapes::for_another_platform();
    text(&mut podman.talk(true, "pull", &["--platform", "linux/arm64", &reference]));
    assert_eq!(podman.run(&["image", "inspect", "-f", "{{.Architecture}}", &reference]), "arm64");
    unpacked(&reference, tree.path());
    proved(Program::Podman, "pulls and unpacks bundles of every shape, as OCI images and in schema 2");
}

#[test]
fn podman_pushes_in_every_way() {
    let Some(podman) = Containers::find("podman") else { return };
    writers::push_in_every_way(&podman);
}

#[test]
fn podman_pushes_large_layers() {
    let Some(podman) = Containers::find("podman") else { return };
    writers::push_a_large_layer(&podman);
}
