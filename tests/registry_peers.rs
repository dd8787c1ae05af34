//! Other people's programs push to our registry and pull from it.
//!
//! A program that is not installed skips its test with a message, or fails it when `BNDLR_REQUIRE_PEERS=1`.

mod embedded;

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bndlr::digest::Digest;
use bndlr::manifest::media_type::{OCI_LAYER_GZIP, OCI_MANIFEST};
use embedded::{Embedded, descriptor, header};
use flate2::{Compression, write::GzEncoder};

/// Whether `program` can be run; says so when the test is skipped.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let required = std::env::var("BNDLR_REQUIRE_PEERS").is_ok_and(|value| value == "1");
    assert!(found || !required, "{program} is not installed, and BNDLR_REQUIRE_PEERS=1 asks for it");
    if !found {
        eprintln!("skipped: {program} is not installed");
    }
    found
}

/// Runs a command to its end, off the thread on which the registry runs, and returns what it printed.
async fn run(mut command: Command) -> String {
    let output = tokio::task::spawn_blocking(move || {
        let output = command.output().unwrap();
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    });
    String::from_utf8(output.await.unwrap()).unwrap()
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

/// The layer, config and manifest of an image.
fn image() -> [Vec<u8>; 3] {
    let archive = tar(&[("hello.txt", b"hello"), ("large.bin", &vec![42; 2_000_000])]);
    let diff_id = Digest::sha256(&archive);
    let mut compressed = GzEncoder::new(Vec::new(), Compression::none());
    compressed.write_all(&archive).unwrap();
    let layer = compressed.finish().unwrap();
    let config =
        format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{diff_id}"]}}}}"#)
            .into_bytes();
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
        descriptor("application/vnd.oci.image.config.v1+json", &config),
        descriptor(OCI_LAYER_GZIP, &layer)
    );
    [layer, config, manifest.into_bytes()]
}

/// An OCI image layout with [`image`] under the tag `v1`; returns the manifest's digest.
fn write_layout(directory: &Path) -> Digest {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let contents = image();
    for content in &contents {
        std::fs::write(blobs.join(Digest::sha256(content).hex()), content).unwrap();
    }
    let [_, _, manifest] = contents;
    let name = r#","annotations":{"org.opencontainers.image.ref.name":"v1"}}"#;
    let entry = descriptor(OCI_MANIFEST, &manifest).replace('}', name);
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{entry}]}}"#);
    std::fs::write(directory.join("index.json"), index).unwrap();
    Digest::sha256(&manifest)
}

#[tokio::test]
async fn skopeo_copies_a_layout_here_and_back() {
    if !is_there("skopeo") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let registry = Embedded::in_directory(&directory.path().join("root")).await;
    let digest = write_layout(&directory.path().join("layout"));
    let (layout, back) = (directory.path().join("layout"), directory.path().join("back"));
    let remote = format!("docker://{}/team/app", registry.address());
    let skopeo = |arguments: &[&str]| {
        let mut command = Command::new("skopeo");
        command.arg("--insecure-policy").args(arguments);
        run(command)
    };
    let to = |tag: &str| format!("{remote}:{tag}");
    skopeo(&["copy", "--dest-tls-verify=false", &format!("oci:{}:v1", layout.display()), &to("v1")]).await;
    let response = registry.get("/v2/team/app/manifests/v1").await;
    assert_eq!(header(&response, "docker-content-digest"), digest.to_string());

    // The same image once more, and as Docker's schema 2; then from one repository to another, which mounts.
    skopeo(&["copy", "--dest-tls-verify=false", &format!("oci:{}:v1", layout.display()), &to("v2")]).await;
    let v2s2 = ["copy", "--format=v2s2", "--dest-tls-verify=false"];
    let layout = format!("oci:{}:v1", layout.display());
    skopeo(&[&v2s2[..], &[layout.as_str(), to("docker").as_str()]].concat()).await;
    let elsewhere = format!("docker://{}/else/where:v1", registry.address());
    skopeo(&["copy", "--src-tls-verify=false", "--dest-tls-verify=false", &to("v1"), &elsewhere]).await;

    let inspected = skopeo(&["inspect", "--tls-verify=false", &to("v1")]).await;
    assert!(inspected.contains(&digest.to_string()) && inspected.contains("\"docker\""), "{inspected}");
    skopeo(&["copy", "--src-tls-verify=false", &elsewhere, &format!("oci:{}:v1", back.display())]).await;
    for content in image() {
        let file = back.join("blobs/sha256").join(Digest::sha256(&content).hex());
        assert!(std::fs::read(file).unwrap() == content, "the image comes back byte for byte");
    }
}

/// Docker's engine with a data root and a socket of its own.
struct Engine {
    process: Child,
    socket: String,
}

impl Engine {
    /// Starts an engine and waits until it answers. An error is what it said before it ended, or within a minute.
    fn start(directory: &Path) -> Result<Self, String> {
        let socket = format!("unix://{}", directory.join("docker.sock").display());
        let log = std::fs::File::create(directory.join("dockerd.log")).unwrap();
        let mut command = Command::new("dockerd");
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        command.args(["--host", &socket]);
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "dockerd.pid")] {
            command.arg(flag).arg(directory.join(name));
        }
        let process =
            command.stdout(log.try_clone().unwrap()).stderr(log).spawn().map_err(|error| error.to_string())?;
        let mut engine = Self { process, socket };
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            if engine.docker(&["version"]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success() {
                return Ok(engine);
            }
            if engine.process.try_wait().unwrap().is_some() || Instant::now() > deadline {
                return Err(std::fs::read_to_string(directory.join("dockerd.log")).unwrap());
            }
        }
    }

    fn docker(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        command.args(["--host", &self.socket]).args(arguments);
        command
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // With SIGTERM it takes its containerd along, with SIGKILL it would not.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn dockers_engine_pushes_and_pulls() {
    if !is_there("dockerd") || !is_there("docker") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    let engine = match tokio::task::spawn_blocking(move || Engine::start(&path)).await.unwrap() {
        Ok(engine) => engine,
        Err(log) if std::env::var("BNDLR_REQUIRE_PEERS").is_ok_and(|value| value == "1") => panic!("dockerd: {log}"),
        Err(log) => return eprintln!("skipped: dockerd does not start here: {log}"),
    };
    let registry = Embedded::in_directory(&directory.path().join("root")).await;
    let archive = directory.path().join("content.tar");
    std::fs::write(&archive, tar(&[("hello.txt", b"hello")])).unwrap();
    let reference = format!("{}/team/app:v1", registry.address());
    run(engine.docker(&["import", &archive.display().to_string(), &reference])).await;
    run(engine.docker(&["push", &reference])).await;
    assert_eq!(registry.get("/v2/team/app/manifests/v1").await.status(), 200);
    run(engine.docker(&["push", &reference])).await;

    run(engine.docker(&["image", "rm", &reference])).await;
    let pulled = run(engine.docker(&["pull", &reference])).await;
    assert!(pulled.contains("Downloaded newer image"), "{pulled}");
    // An image that Docker did not make.
    let [layer, config, manifest] = image();
    registry.push_blob("oci/image", &layer).await;
    registry.push_blob("oci/image", &config).await;
    assert_eq!(registry.put("/v2/oci/image/manifests/v1", OCI_MANIFEST, manifest).await.status(), 201);
    run(engine.docker(&["pull", &format!("{}/oci/image:v1", registry.address())])).await;
}
