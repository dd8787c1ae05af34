//! The crate `oci-client`: a client of registries, also in Rust, which nobody here wrote.

use std::fs;
use std::path::{Path, PathBuf};

use ::oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use ::oci_client::manifest::{IMAGE_LAYER_GZIP_MEDIA_TYPE, OciManifest};
use ::oci_client::secrets::RegistryAuth;
use ::oci_client::{Client, Reference};
use bndlr::digest::Digest;
use serde_json::Value;
use tempfile::TempDir;

use crate::build::{Built, pull};
use crate::registries::Registry;
use crate::run::{arg, json};
use crate::table::{Program, proved};
use crate::writers::{self, Writer};
use crate::{access, tree};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

fn client() -> Client {
    // Another test of this process may have installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::new(ClientConfig { protocol: ClientProtocol::Http, ..Default::default() })
}

#[tokio::test]
async fn it_pulls_what_was_pushed() {
    let client = client();
    for registry in Registry::each() {
        let tree = tree::sample();
        let reference = registry.reference("team/app:v1");
        let pushed = json(&["push", arg(tree.path()), &reference]);
        let image: Reference = reference.parse().unwrap();
        let (manifest, digest) = client.pull_manifest(&image, &RegistryAuth::Anonymous).await.unwrap();
        assert_eq!(pushed["digest"], digest);
        let OciManifest::Image(manifest) = manifest else { panic!("not an image: {manifest:?}") };
        let mut layer = Vec::new();
        client.pull_blob(&image, &manifest.layers[0], &mut layer).await.unwrap();
        assert_eq!(pushed["layers"][0]["digest"], Digest::sha256(&layer).to_string());
    }
    proved(Program::OciClient, "pulls manifests and layers");
}

#[tokio::test]
async fn what_it_pushes_is_pulled() {
    let (client, tree) = (client(), tree::sample());
    let built = Built::new(tree.path(), &[]);
    let layer = fs::read(built.layer()).unwrap();
    let config = format!(
        r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["{}"]}}}}"#,
        built.diff_id()
    );
    for registry in Registry::each() {
        let home = TempDir::new().unwrap();
        let reference = registry.reference("theirs/image:v1");
        let image: Reference = reference.parse().unwrap();
        let layers = [ImageLayer::new(layer.clone(), IMAGE_LAYER_GZIP_MEDIA_TYPE.to_owned(), None)];
        let config = Config::new(config.clone().into_bytes(), CONFIG.to_owned(), None);
        client.push(&image, &layers, config, &RegistryAuth::Anonymous, None).await.unwrap();
        tree::assert_same(tree.path(), &pull(&reference, home.path()));
    }
}

/// The crate, as a program would use it.
struct OciClient;

impl Writer for OciClient {
    fn program(&self) -> Program {
        Program::OciClient
    }

    fn push(&self, layout: &Path, reference: &str, guarded: bool) {
        let (client, auth) = if guarded { access::oci_client() } else { (client(), RegistryAuth::Anonymous) };
        let image = Image::in_layout(layout);
        let (layers, config) = image.parts();
        let push = async { client.push(&reference.parse().unwrap(), &layers, config, &auth, None).await.unwrap() };
        tokio::runtime::Runtime::new().unwrap().block_on(push);
    }

    fn asks_first(&self) -> bool {
        false
    }
}

/// The parts of an image in a layout.
struct Image {
    layout: PathBuf,
    manifest: Value,
}

impl Image {
    /// The image that is named first.
    fn in_layout(layout: &Path) -> Self {
        let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
        let image = Self { layout: layout.to_owned(), manifest: Value::Null };
        let manifest = serde_json::from_slice(&image.blob(&index["manifests"][0])).unwrap();
        Self { manifest, ..image }
    }

    fn blob(&self, descriptor: &Value) -> Vec<u8> {
        let digest = descriptor["digest"].as_str().unwrap();
        fs::read(self.layout.join("blobs").join(digest.replace(':', "/"))).unwrap()
    }

    fn parts(&self) -> ([ImageLayer; 1], Config) {
        let layer = self.blob(&self.manifest["layers"][0]);
        let config = self.blob(&self.manifest["config"]);
        (
            [ImageLayer::new(layer, IMAGE_LAYER_GZIP_MEDIA_TYPE.to_owned(), None)],
            Config::new(config, CONFIG.to_owned(), None),
        )
    }
}

#[test]
fn it_pushes_in_every_way() {
    writers::push_in_every_way(&OciClient);
}

#[test]
fn it_pushes_large_layers() {
    writers::push_a_large_layer(&OciClient);
}

#[tokio::test]
async fn it_pushes_image_indexes() {
    let (client, tree) = (client(), tree::sample());
    let registry = Registry::ours();
    let mut manifests = Vec::new();
    for architecture in ["amd64", "arm64"] {
        let (reference, platform) =
            (registry.reference(&format!("theirs/app:{architecture}")), format!("linux/{architecture}"));
        let pushed = json(&["push", arg(tree.path()), &reference, "--platform", &platform]);
        manifests.push(serde_json::json!({
            "mediaType": pushed["mediaType"], "digest": pushed["digest"], "size": pushed["size"],
            "platform": {"os": "linux", "architecture": architecture},
        }));
    }
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
    });
    let (reference, home) = (registry.reference("theirs/app:index"), TempDir::new().unwrap());
    let manifest = OciManifest::ImageIndex(serde_json::from_value(index).unwrap());
    client.push_manifest(&reference.parse().unwrap(), &manifest).await.unwrap();
    let (pulled, _) = client.pull_manifest(&reference.parse().unwrap(), &RegistryAuth::Anonymous).await.unwrap();
    assert_eq!(pulled.to_string(), manifest.to_string());
    tree::assert_same(tree.path(), &pull(&reference, home.path()));
    proved(Program::OciClient, "pushes image indexes");
}
