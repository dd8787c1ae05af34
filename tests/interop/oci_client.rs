//! The crate `oci-client`: a client of registries, also in Rust, which nobody here wrote.

use std::fs;

use ::oci_client::client::{ClientConfig, ClientProtocol, Config, ImageLayer};
use ::oci_client::manifest::{IMAGE_LAYER_GZIP_MEDIA_TYPE, OciManifest};
use ::oci_client::secrets::RegistryAuth;
use ::oci_client::{Client, Reference};
use bndlr::digest::Digest;
use tempfile::TempDir;

use crate::build::{Built, pull};
use crate::registries::Registry;
use crate::run::{arg, json};
use crate::tree;

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
