//! The image, made of any file, and the registry that serves it.

use std::fs::{self, File};
use std::io::Write;

use bndlr::manifest::media_type::{DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use bndlr::manifest::{Manifest, Platform};
use bndlr::pack::ImageFormat;
use bndlr::quine::{Part, Quine};
use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::embedded::{Embedded, assert_refused, header};
use crate::program::noise;

fn platform() -> Platform {
    "linux/arm64".parse().unwrap()
}

fn image() -> Quine {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&noise(3_000_000)).unwrap();
    Quine::of(file, &platform()).unwrap()
}

async fn registry() -> (Embedded, [String; 2]) {
    let image = image();
    let digests = [ImageFormat::Oci, ImageFormat::Docker].map(|of| image.image(of).raw_manifest().digest().to_string());
    let registry = image.into_registry("tools/self".parse().unwrap(), "v1".parse().unwrap()).await.unwrap();
    (Embedded::of(registry).await, digests)
}

#[test]
fn the_image_has_the_program_and_says_how_to_run_it_and_nothing_else() {
    let image = image();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for format in [ImageFormat::Oci, ImageFormat::Docker] {
        let bundle = image.image(format);
        let Manifest::Image(manifest) = bundle.raw_manifest().manifest() else { panic!("an image index") };
        let config = runtime.block_on(bndlr::content::Open::open(bundle, &manifest.config)).unwrap();
        let config: Bytes = runtime.block_on(config.read_all()).unwrap();
        let mut config: Value = serde_json::from_slice(&config).unwrap();
        // In schema 2, labels say where the index of the layer is.
        let labels = config["config"].as_object_mut().unwrap().remove("Labels");
        assert_eq!(labels.is_some(), format == ImageFormat::Docker);
        config["rootfs"]["diff_ids"].take();
        assert_eq!(
            config,
            json!({
                "architecture": "arm64",
                "os": "linux",
                "config": {
                    "Entrypoint": ["/bndlr"],
                    "Cmd": ["quine", "--listen", "0.0.0.0:8080"],
                    "Env": ["PATH=/"],
                    "ExposedPorts": {"8080/tcp": {}},
                },
                "history": [{"created_by": "bndlr"}],
                "rootfs": {"type": "layers", "diff_ids": null},
            })
        );
        assert_eq!(manifest.layers.len(), 1);
    }
    let kinds: Vec<Part> = image.parts().into_iter().map(|(_, part)| part).collect();
    assert_eq!(kinds, [Part::Config, Part::Layer, Part::Config, Part::Layer]);
    let digests: Vec<_> = image.parts().into_iter().map(|(digest, _)| digest).collect();
    assert!(digests[1] == digests[3] && digests[0] != digests[2], "the layer is shared, the configs are two");
}

#[test]
fn name_mode_and_times_of_the_file_do_not_count() {
    let home = tempdir().unwrap();
    let (one, other) = (home.path().join("one"), home.path().join("other"));
    fs::write(&one, noise(100_000)).unwrap();
    fs::copy(&one, &other).unwrap();
    let digests = |path| {
        let image = Quine::of(File::open(path).unwrap(), &platform()).unwrap();
        [ImageFormat::Oci, ImageFormat::Docker].map(|of| image.image(of).raw_manifest().digest())
    };
    let expected = digests(&one);
    assert_ne!(expected[0], expected[1]);
    assert_eq!(digests(&other), expected);
    fs::set_permissions(&one, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    File::options().write(true).open(&one).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert_eq!(digests(&one), expected);
    fs::write(&other, noise(100_001)).unwrap();
    assert_ne!(digests(&other)[0], expected[0]);
}

#[tokio::test]
async fn a_client_gets_the_form_that_it_would_rather_have() {
    let (registry, [oci, docker]) = registry().await;
    for (accept, expected) in [
        (None, &oci),
        (Some("*/*".to_owned()), &oci),
        (Some(OCI_MANIFEST.to_owned()), &oci),
        (Some(DOCKER_MANIFEST.to_owned()), &docker),
        (Some(format!("{DOCKER_MANIFEST}, {OCI_MANIFEST}")), &oci),
        (Some(format!("{DOCKER_MANIFEST}, {OCI_MANIFEST};q=0.5")), &docker),
        (Some(format!("{OCI_INDEX}, {DOCKER_MANIFEST}")), &docker),
        (Some("application/vnd.docker.distribution.manifest.v1+json".to_owned()), &oci),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let mut request = registry.request(method, "/v2/tools/self/manifests/v1");
            if let Some(accept) = &accept {
                request = request.header("accept", accept);
            }
            let response = request.send().await.unwrap();
            assert_eq!(&header(&response, "docker-content-digest"), expected, "{accept:?}");
            assert_eq!(header(&response, "vary").to_lowercase(), "accept");
            let media_type = if *expected == oci { OCI_MANIFEST } else { DOCKER_MANIFEST };
            assert_eq!(header(&response, "content-type"), media_type);
        }
    }
    // Who names a digest means that, whatever they accept.
    for digest in [&oci, &docker] {
        for accept in [OCI_MANIFEST, DOCKER_MANIFEST] {
            let request = registry.request(Method::GET, &format!("/v2/tools/self/manifests/{digest}"));
            let response = request.header("accept", accept).send().await.unwrap();
            assert_eq!(&header(&response, "docker-content-digest"), digest);
        }
    }
}

#[tokio::test]
async fn what_else_is_asked_for_is_unknown_and_nothing_is_taken() {
    let (registry, [oci, _]) = registry().await;
    for path in ["manifests/latest".to_owned(), format!("manifests/{oci}"), format!("blobs/{oci}"), "tags/list".into()]
    {
        assert_refused(registry.get(&format!("/v2/other/{path}")).await, 404, "NAME_UNKNOWN").await;
    }
    assert_refused(registry.get("/v2/tools/self/manifests/v2").await, 404, "MANIFEST_UNKNOWN").await;
    assert_refused(registry.get(&format!("/v2/tools/self/blobs/{oci}")).await, 404, "BLOB_UNKNOWN").await;
    assert_refused(registry.post("/v2/tools/self/blobs/uploads/").await, 405, "UNSUPPORTED").await;
    assert_refused(registry.put("/v2/tools/self/manifests/v1", OCI_MANIFEST, "{}").await, 405, "UNSUPPORTED").await;
    assert_eq!(registry.get("/v2/").await.status(), 200);
    let tags: Value = registry.get("/v2/tools/self/tags/list").await.json().await.unwrap();
    assert_eq!(tags["tags"], json!(["v1"]));
}
