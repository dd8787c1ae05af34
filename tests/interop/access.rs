//! Clients of others with a password and TLS, at a registry that wants both. Those of Buildah, Podman and ORAS for Python
//! are in their files.

use std::fs;
use std::path::{Path, PathBuf};

use ::oci_client::client::{Certificate, CertificateEncoding, ClientConfig, Config, ImageLayer};
use ::oci_client::manifest::{IMAGE_LAYER_GZIP_MEDIA_TYPE, OciManifest};
use ::oci_client::secrets::RegistryAuth;
use ::oci_client::{Client, Reference};
use tempfile::TempDir;

use crate::build::Built;
use crate::docker::Engine;
use crate::registries::{PASSWORD, Serve, USER, tls_file};
use crate::run::{arg, bndlr, command, run, text};
use crate::{peer, tree};

/// What bndlr itself needs to be let in.
pub fn login() -> [String; 6] {
    ["-u", USER, "-p", PASSWORD, "--ca-file", arg(&tls_file("ca.pem"))].map(str::to_owned)
}

pub fn push(registry: &Serve, path: &str) -> (TempDir, String) {
    let (tree, reference) = (tree::sample(), format!("{}/{path}", registry.address()));
    run(bndlr(&["push", arg(tree.path()), &reference]).args(login()));
    (tree, reference)
}

pub fn pull(reference: &str, home: &Path) -> PathBuf {
    let directory = home.join("pulled");
    run(bndlr(&["pull", reference, "-o", arg(&directory)]).args(login()));
    directory
}

pub fn assert_pulls(tree: &TempDir, reference: &str) {
    let home = TempDir::new().unwrap();
    tree::assert_same(tree.path(), &pull(reference, home.path()));
}

/// What it was asked for with a token, and that it logged no secret.
pub fn assert_asked_with_a_token(registry: &Serve) {
    let log = registry.log();
    assert!(log.contains("path=\"/token\" status=200"), "{log}");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[test]
fn docker_logs_in_pushes_and_pulls() {
    let Some(engine) = Engine::shared() else { return };
    let registry = Serve::guarded();
    let (tree, reference) = push(&registry, "team/app:v1");
    // To the engine, loopback is a registry whose certificate need not be verified.
    let pull = || engine.docker(&["pull", "-q", &reference]).output().unwrap();
    assert!(!pull().status.success(), "without a password");
    let wrong = engine.docker(&["login", "-u", USER, "-p", "wrong", registry.address()]).output().unwrap();
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stderr).contains("unauthorized"), "{wrong:?}");

    engine.run(&["login", "-u", USER, "-p", PASSWORD, registry.address()]);
    engine.run(&["pull", "-q", &reference]);
    let pushed = format!("{}/other/name:v2", registry.address());
    engine.run(&["tag", &reference, &pushed]);
    engine.run(&["push", "-q", &pushed]);
    assert_pulls(&tree, &pushed);
    assert_asked_with_a_token(&registry);
    engine.run(&["logout", registry.address()]);
    assert!(!pull().status.success(), "logged out");
}

#[test]
fn skopeo_copies_there_and_back() {
    let Some(skopeo) = peer::require("skopeo") else { return };
    let (registry, home) = (Serve::guarded(), TempDir::new().unwrap());
    fs::copy(tls_file("ca.pem"), home.path().join("ca.crt")).unwrap();
    let (tree, reference) = push(&registry, "team/app:v1");
    let (here, there) = (format!("docker://{reference}"), format!("docker://{}/other/name:v2", registry.address()));
    let copy = |credentials: &str| {
        let mut copy = command(&skopeo, &["--insecure-policy", "copy", "-q", &here, &there]);
        for side in ["src", "dest"] {
            copy.arg(format!("--{side}-creds={credentials}"));
            copy.arg(format!("--{side}-cert-dir={}", arg(home.path())));
        }
        copy
    };
    assert!(!copy(&format!("{USER}:wrong")).output().unwrap().status.success());
    run(&mut copy(&format!("{USER}:{PASSWORD}")));
    assert_pulls(&tree, there.strip_prefix("docker://").unwrap());
    assert_asked_with_a_token(&registry);

    let inspect = ["inspect", "--cert-dir", arg(home.path()), "--format", "{{.Digest}}", &there];
    let refused = command(&skopeo, &inspect).arg("--no-creds").output().unwrap();
    assert!(!refused.status.success(), "without a password");
    let digest = text(command(&skopeo, &inspect).arg(format!("--creds={USER}:{PASSWORD}")));
    assert!(digest.starts_with("sha256:"), "{digest}");
}

/// A client that believes the certificate of a registry that is guarded, and what gets it in.
pub fn oci_client() -> (Client, RegistryAuth) {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let root = Certificate { encoding: CertificateEncoding::Pem, data: fs::read(tls_file("ca.pem")).unwrap() };
    let client = Client::new(ClientConfig { extra_root_certificates: vec![root], ..Default::default() });
    (client, RegistryAuth::Basic(USER.to_owned(), PASSWORD.to_owned()))
}

#[tokio::test]
async fn oci_client_pulls_and_pushes() {
    let registry = Serve::guarded();
    let (tree, reference) = push(&registry, "team/app:v1");
    let (client, auth) = oci_client();
    let image: Reference = reference.parse().unwrap();
    let (manifest, _) = client.pull_manifest(&image, &auth).await.unwrap();
    let OciManifest::Image(manifest) = manifest else { panic!("not an image: {manifest:?}") };

    let built = Built::new(tree.path(), &[]);
    let layer = ImageLayer::new(fs::read(built.layer()).unwrap(), IMAGE_LAYER_GZIP_MEDIA_TYPE.to_owned(), None);
    let mut config = Vec::new();
    client.pull_blob(&image, &manifest.config, &mut config).await.unwrap();
    let config = Config::new(config, manifest.config.media_type.clone(), None);
    let pushed = format!("{}/theirs/image:v1", registry.address());
    client.push(&pushed.parse().unwrap(), &[layer], config, &auth, None).await.unwrap();
    assert_pulls(&tree, &pushed);
    assert_asked_with_a_token(&registry);
}
