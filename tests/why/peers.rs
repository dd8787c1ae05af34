//! What other programs make of the same files.

use std::fs;

use bndlr::manifest::media_type;

use crate::embedded::Embedded;
use crate::peer;
use crate::picture::{Layer, Picture, between, reasons};
use crate::program::Desk;

/// A directory, and what a pipeline of programs in it writes.
fn made(desk: &Desk, pipeline: &str) -> Vec<u8> {
    let mut shell = desk.process("sh");
    let output = shell.args(["-e", "-c", pipeline]).output();
    assert!(output.status.success(), "{pipeline}: {output:?}");
    output.stdout
}

#[test]
fn what_gnu_tar_says_besides_files_is_named() {
    let Some(_tar) = peer::require("tar") else { return };
    let desk = Desk::with_tree();
    let plain = "tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C tree";
    let tar = |flags: &str| Picture::of(vec![Layer::of(made(&desk, &format!("{plain} {flags} -c .")))]);
    for (flags, expected) in [
        ("--mtime=@1700000000", "entry time"),
        ("--owner=1000", "entry owner"),
        ("--format=ustar", "entry header-format"),
        ("-b 1", "layer padding 0"),
    ] {
        let found = between(flags, &tar(""), &tar(flags));
        assert!(!found.is_empty() && found.iter().all(|reason| reason.starts_with(expected)), "{flags}: {found:?}");
    }
    let named = format!("{plain} --owner=root:0 --group=root:0 -c . | cat").replace("--numeric-owner", "");
    let found = between("names", &tar(""), &Picture::of(vec![Layer::of(made(&desk, &named))]));
    assert!(found.iter().all(|reason| reason.starts_with("entry owner-name")), "{found:?}");
}

#[test]
fn what_compresses_is_told_from_what_is_compressed() {
    let desk = Desk::with_tree();
    desk.write("text", &"some text that can be compressed\n".repeat(500));
    let compressed = |pipeline: &str| {
        let layer = Layer::new(media_type::OCI_LAYER_GZIP, made(&desk, pipeline), made(&desk, "cat layer.tar"));
        Picture::of(vec![layer])
    };
    for program in ["tar", "gzip", "pigz"] {
        if peer::require(program).is_none() {
            return;
        }
    }
    fs::write(desk.path("layer.tar"), made(&desk, "tar -c text")).unwrap();
    let found = between("programs", &compressed("gzip -nc layer.tar"), &compressed("pigz -nc -11 layer.tar"));
    assert_eq!(found, ["layer compressor 0"]);
    let found = between("levels", &compressed("gzip -nc1 layer.tar"), &compressed("gzip -nc9 layer.tar"));
    assert_eq!(found, ["layer compressor 0"]);
    let found = between("names", &compressed("gzip -nc layer.tar"), &compressed("gzip -c layer.tar"));
    assert_eq!(found, ["member gzip-field file name", "member gzip-field time"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_makes_of_a_bundle_is_named() {
    let Some(_skopeo) = peer::require("skopeo") else { return };
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    desk.run("build tree -o oci:layout:v1 -q").ok();
    let place = format!("{}/team/app", registry.address());
    let copy = |flags: &str, tag: &str| {
        let policy = "--insecure-policy copy -q --dest-tls-verify=false";
        made(&desk, &format!("skopeo {policy} {flags} oci:layout:v1 docker://{place}:{tag}"));
        reasons(&desk.run(&format!("why oci:layout:v1 {place}:{tag} --format json")))
    };
    let docker = copy("--format v2s2", "docker");
    assert_eq!(docker[0], "manifest format", "{docker:?}");
    assert_eq!(copy("", "same"), [""; 0]);
}
