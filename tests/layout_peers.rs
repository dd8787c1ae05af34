//! Other programs read the layouts that bndlr writes, and the other way round.

mod peer;
mod sample;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use bndlr::content::{Memory, Source, Target};
use bndlr::digest::Digest;
use bndlr::layout::{Archive, ArchiveWriter, Directory};
use bndlr::manifest::{Descriptor, RawManifest, media_type};
use flate2::{Compression, write::GzEncoder};
use sample::{Content, copy_all, image_index, tag};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Runs a program that has to succeed, and returns what it printed.
fn run(program: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {errors}", program.display());
    output.stdout
}

/// An image that a container runtime would take, in memory: one file, `greeting`.
async fn image(source: &Memory, greeting: &str) -> RawManifest {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o644);
    header.set_size(greeting.len() as u64);
    tar.append_data(&mut header, "greeting", greeting.as_bytes()).unwrap();
    let tar = tar.into_inner().unwrap();
    let mut layer = GzEncoder::new(Vec::new(), Compression::default());
    layer.write_all(&tar).unwrap();
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [Digest::sha256(&tar)]},
    });

    let layer = push(source, media_type::OCI_LAYER_GZIP, layer.finish().unwrap()).await;
    let config = push(source, media_type::OCI_CONFIG, config.to_string().into_bytes()).await;
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "config": config, "layers": [layer],
    });
    let manifest = push(source, media_type::OCI_MANIFEST, manifest.to_string().into_bytes()).await;
    source.manifest(&manifest.digest.into()).await.unwrap()
}

async fn push(source: &Memory, media_type: &str, content: Vec<u8>) -> Descriptor {
    let descriptor = Descriptor::of(media_type, &content);
    source.push(&descriptor, &Content(content.into())).await.unwrap();
    descriptor
}

/// An image index of one image, in memory.
async fn index(source: &Memory) -> RawManifest {
    let index = image_index(&[&image(source, "hello from an index").await]);
    source.push(&index.descriptor(), &index).await.unwrap();
    index
}

/// `oci:<home>/<name>:<tag>`, and the like.
fn place(transport: &str, home: &TempDir, name: &str) -> String {
    format!("{transport}:{}/{name}", home.path().display())
}

#[tokio::test]
async fn skopeo_reads_our_directory() {
    let Some(skopeo) = peer::require("skopeo") else { return };
    let (home, source) = (TempDir::new().unwrap(), Memory::new());
    let image = image(&source, "hello").await;
    let directory = Directory::create(home.path().join("ours")).await.unwrap();
    copy_all(&source, &image, &directory, &[]).await;
    let raw = run(&skopeo, &["inspect", "--raw", &place("oci", &home, "ours")]);
    assert_eq!(raw, image.bytes()[..], "the only manifest needs no tag");

    copy_all(&source, &image, &directory, &["v1", "latest"]).await;
    copy_all(&source, &index(&source).await, &directory, &["multi"]).await;
    let inspected = run(&skopeo, &["inspect", &place("oci", &home, "ours:v1")]);
    let inspected: Value = serde_json::from_slice(&inspected).unwrap();
    assert_eq!(inspected["Digest"], image.digest().to_string());
    let raw = run(&skopeo, &["inspect", "--raw", &place("oci", &home, "ours:multi")]);
    assert_eq!(raw, directory.manifest(&tag("multi").into()).await.unwrap().bytes()[..]);
}

#[tokio::test]
async fn skopeo_reads_our_archive_and_we_read_what_it_makes_of_it() {
    let Some(skopeo) = peer::require("skopeo") else { return };
    let (home, source) = (TempDir::new().unwrap(), Memory::new());
    let image = image(&source, "hello").await;
    let writer = ArchiveWriter::create(home.path().join("ours.tar")).await.unwrap();
    copy_all(&source, &image, &writer, &["v1"]).await;
    writer.finish().await.unwrap();

    let ours = place("oci-archive", &home, "ours.tar:v1");
    run(&skopeo, &["--insecure-policy", "copy", &ours, &place("oci", &home, "theirs:v2")]);
    run(&skopeo, &["--insecure-policy", "copy", &ours, &place("oci-archive", &home, "theirs.tar:v3")]);
    let theirs = Directory::at(home.path().join("theirs")).await.unwrap();
    assert_eq!(theirs.manifest(&tag("v2").into()).await.unwrap(), image);
    let theirs = Archive::at(home.path().join("theirs.tar")).await.unwrap();
    assert_eq!(theirs.sole().unwrap(), image.descriptor());
    let end = Memory::new();
    copy_all(&theirs, &image, &end, &["v3"]).await;

    // What `docker load` reads without the containerd image store.
    let docker = run(&skopeo, &["inspect", "--config", "--raw", &place("docker-archive", &home, "ours.tar")]);
    let docker: Value = serde_json::from_slice(&docker).unwrap();
    assert_eq!(docker["os"], "linux");
}

#[tokio::test]
async fn skopeo_and_bndlr_write_to_one_layout() {
    let Some(skopeo) = peer::require("skopeo") else { return };
    let (home, source) = (TempDir::new().unwrap(), Memory::new());
    let (first, second) = (image(&source, "first").await, image(&source, "second").await);
    let one = Directory::create(home.path().join("one")).await.unwrap();
    let both = Directory::create(home.path().join("both")).await.unwrap();
    copy_all(&source, &first, &both, &["v1", "latest"]).await;
    copy_all(&source, &second, &one, &["v2"]).await;

    let from = place("oci", &home, "one:v2");
    run(&skopeo, &["--insecure-policy", "copy", &from, &place("oci", &home, "both:v2")]);
    run(&skopeo, &["--insecure-policy", "copy", &from, &place("oci", &home, "both:latest")]);
    for (text, expected) in [("v1", &first), ("v2", &second), ("latest", &second)] {
        assert_eq!(both.manifest(&tag(text).into()).await.unwrap(), *expected, "{text}");
    }
    both.tag(&first, &tag("latest")).await.unwrap();
    for (text, expected) in [("v1", &first), ("v2", &second), ("latest", &first)] {
        let raw = run(&skopeo, &["inspect", "--raw", &place("oci", &home, &format!("both:{text}"))]);
        assert_eq!(raw, expected.bytes()[..], "{text}");
    }
}

#[tokio::test]
async fn umoci_unpacks_and_keeps_what_we_wrote() {
    let Some(umoci) = peer::require("umoci") else { return };
    let (home, source) = (TempDir::new().unwrap(), Memory::new());
    let (image, index) = (image(&source, "hello").await, index(&source).await);
    let directory = Directory::create(home.path().join("ours")).await.unwrap();
    copy_all(&source, &image, &directory, &["v1"]).await;
    copy_all(&source, &index, &directory, &["multi"]).await;

    let layout = home.path().join("ours").display().to_string();
    let bundle = home.path().join("bundle").display().to_string();
    run(&umoci, &["unpack", "--rootless", "--image", &format!("{layout}:v1"), &bundle]);
    assert_eq!(fs::read(home.path().join("bundle/rootfs/greeting")).unwrap(), b"hello");
    assert_eq!(run(&umoci, &["ls", "--layout", &layout]), b"v1\nmulti\n");

    run(&umoci, &["gc", "--layout", &layout]);
    run(&umoci, &["tag", "--image", &format!("{layout}:v1"), "v2"]);
    let directory = Directory::at(&layout).await.unwrap();
    let end = Memory::new();
    for (text, expected) in [("v1", &image), ("v2", &image), ("multi", &index)] {
        assert_eq!(directory.manifest(&tag(text).into()).await.unwrap(), *expected);
        copy_all(&directory, expected, &end, &[text]).await;
    }
}

#[tokio::test]
async fn we_write_to_a_layout_that_umoci_made() {
    let Some(umoci) = peer::require("umoci") else { return };
    let (home, source) = (TempDir::new().unwrap(), Memory::new());
    let layout = home.path().join("theirs").display().to_string();
    run(&umoci, &["init", "--layout", &layout]);
    run(&umoci, &["new", "--image", &format!("{layout}:empty")]);
    let image = image(&source, "hello").await;
    let directory = Directory::create(&layout).await.unwrap();
    copy_all(&source, &image, &directory, &["v1"]).await;
    assert_eq!(run(&umoci, &["ls", "--layout", &layout]), b"empty\nv1\n");
    directory.manifest(&tag("empty").into()).await.unwrap();
}
