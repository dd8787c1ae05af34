//! Buildah works on what was pushed, and what it builds is pulled.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::access::{assert_asked_with_a_token, assert_pulls, push};
use crate::build::pull;
use crate::containers::{Containers, containerfile, copy_tree};
use crate::registries::{Registry, Serve};
use crate::run::{arg, json, text};
use crate::table::{Program, proved};
use crate::writers::Indexed;
use crate::{shapes, tree, writers};

/// A container to work on, made from an image or from nothing.
fn container(buildah: &Containers, from: &str) -> String {
    let policy = buildah.aside("policy.json");
    text(&mut buildah.talk(true, "from", &["-q", "--signature-policy", arg(&policy), from]))
}

fn assert_has(buildah: &Containers, container: &str, tree: &Path) {
    let mounted = buildah.run(&["mount", container]);
    tree::assert_same(tree, Path::new(&mounted));
    buildah.run(&["umount", container]);
}

#[test]
fn buildah_works_on_what_was_pushed() {
    let Some(buildah) = Containers::find("buildah") else { return };
    let tree = tree::sample();
    for registry in Registry::each() {
        for format in ["oci", "docker"] {
            let reference = registry.reference(&format!("team/app:{format}"));
            let pushed = json(&["push", arg(tree.path()), &reference, "--image-format", format, "-l", "team=größe"]);
            let container = container(&buildah, &reference);
            assert_has(&buildah, &container, tree.path());
            let inspect = ["inspect", "-f", "{{.FromImageDigest}} {{.OCIv1.Config.Labels.team}}", &container];
            assert_eq!(buildah.run(&inspect), format!("{} größe", pushed["digest"].as_str().unwrap()));
            buildah.run(&["rm", &container]);
        }
    }
}

#[test]
fn what_buildah_commits_is_pulled() {
    let Some(buildah) = Containers::find("buildah") else { return };
    let tree = tree::sample();
    for registry in Registry::both_of_ours() {
        for format in ["oci", "docker"] {
            let home = TempDir::new().unwrap();
            let made = registry.reference(&format!("buildah/{format}:v1"));
            let base = container(&buildah, "scratch");
            buildah.run(&["copy", "-q", &base, arg(tree.path()), "/"]);
            commit(&buildah, format, &base, &made);
            tree::assert_same(tree.path(), &pull(&made, home.path()));

            // A second layer over it, which also takes something away.
            let (added, changed) = (home.path().join("added"), home.path().join("changed"));
            copy_tree(tree.path(), &changed);
            fs::write(&added, "added\n").unwrap();
            fs::write(changed.join("added"), "added\n").unwrap();
            fs::remove_file(changed.join("large.bin")).unwrap();
            let over = container(&buildah, &made);
            buildah.run(&["copy", "-q", &over, arg(&added), "/added"]);
            let mounted = buildah.run(&["mount", &over]);
            fs::remove_file(Path::new(&mounted).join("large.bin")).unwrap();
            buildah.run(&["umount", &over]);
            commit(&buildah, format, &over, &made);
            let second = TempDir::new().unwrap();
            tree::assert_same(&changed, &pull(&made, second.path()));
            buildah.run(&["rm", &base, &over]);
        }
    }
    proved(Program::Buildah, "pushes what it commits and builds, as OCI images and in schema 2");
}

/// Makes an image of a container, right in the registry.
fn commit(buildah: &Containers, format: &str, container: &str, reference: &str) {
    let (policy, there) = (buildah.aside("policy.json"), format!("docker://{reference}"));
    let commit = ["-q", "-f", format, "--signature-policy", arg(&policy), container, &there];
    text(&mut buildah.talk(true, "commit", &commit));
}

#[test]
fn what_buildah_builds_and_pushes_is_pulled() {
    let Some(buildah) = Containers::find("buildah") else { return };
    let (tree, context) = (tree::sample(), TempDir::new().unwrap());
    copy_tree(tree.path(), &context.path().join("tree"));
    let file = containerfile(context.path());
    for registry in Registry::both_of_ours() {
        let (home, reference) = (TempDir::new().unwrap(), registry.reference("buildah/built:v1"));
        let policy = buildah.aside("policy.json");
        let flags = ["--isolation", "chroot", "--signature-policy", arg(&policy), "-t", &reference, "-f", arg(&file)];
        text(buildah.command(&["bud", "-q"]).args(flags).arg(context.path()));
        buildah.push(&reference, &[]);
        tree::assert_same(tree.path(), &pull(&reference, home.path()));
    }
}

#[test]
fn buildah_logs_in_pulls_and_pushes_over_tls() {
    let Some(buildah) = Containers::find("buildah") else { return };
    let registry = Serve::guarded();
    let (tree, reference) = push(&registry, "team/app:v1");
    let pushed = format!("{}/other/name:v2", registry.address());
    buildah.log_in_and_copy(&registry, &reference, &pushed);
    assert_pulls(&tree, &pushed);
    assert_asked_with_a_token(&registry);
}

#[test]
fn buildah_unpacks_bundles_of_every_shape() {
    let Some(buildah) = Containers::find("buildah") else { return };
    for format in ["oci", "docker"] {
        shapes::pushed(format, |reference, _, tree| {
            let container = container(&buildah, reference);
            assert_has(&buildah, &container, tree);
            buildah.run(&["rm", &container]);
        });
    }
    let (_registry, reference, tree) = shapes::for_another_platform();
    let container = container(&buildah, &reference);
    assert_eq!(buildah.run(&["inspect", "-f", "{{.OCIv1.Architecture}}", &container]), "arm64");
    assert_has(&buildah, &container, tree.path());
    proved(Program::Buildah, "works on bundles of every shape, as OCI images and in schema 2");
}

#[test]
fn buildah_pushes_in_every_way() {
    let Some(buildah) = Containers::find("buildah") else { return };
    writers::push_in_every_way(&buildah);
}

#[test]
fn buildah_pushes_large_layers() {
    let Some(buildah) = Containers::find("buildah") else { return };
    writers::push_a_large_layer(&buildah);
}

#[test]
fn buildah_pushes_image_indexes() {
    let Some(buildah) = Containers::find("buildah") else { return };
    let indexed = Indexed::new();
    for registry in Registry::both_of_ours() {
        let (list, reference) = ("localhost/list:v1", registry.reference("buildah/index:v1"));
        buildah.run(&["manifest", "create", list]);
        let from = format!("oci:{}:v1", arg(&indexed.layout()));
        buildah.run(&["manifest", "add", "--all", list, &from]);
        let (policy, there) = (buildah.aside("policy.json"), format!("docker://{reference}"));
        let push = ["manifest", "push", "--all", "-q", "--tls-verify=false", "--signature-policy", arg(&policy)];
        buildah.run(&[&push[..], &[list, &there]].concat());
        buildah.run(&["manifest", "rm", list]);
        indexed.assert_pushed_to(&reference);
    }
    proved(Program::Buildah, "pushes image indexes");
}
