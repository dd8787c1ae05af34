//! The files of a bundle: whole, in pages, and when its index is not what it says.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use bndlr::content::Open;
use bndlr::digest::Digest;
use bndlr::manifest::media_type::{OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST};
use bndlr::manifest::{Descriptor, Manifest};
use bndlr::pack::{Bundle, ImageFormat, PackOptions};
use bndlr::server::Registry;
use bndlr::server::storage::Memory;
use serde_json::{Value, json};

use crate::embedded::Embedded;
use crate::{browse, pack, page, push, put, text_of};

fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("bin")).unwrap();
    fs::write(root.path().join("bin/run.sh"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.path().join("bin/run.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(root.path().join("config.yaml"), "a".repeat(2048)).unwrap();
    symlink("bin/run.sh", root.path().join("start")).unwrap();
    root
}

async fn layer_of(bundle: &Bundle) -> (Descriptor, Vec<u8>) {
    let Manifest::Image(image) = bundle.raw_manifest().manifest() else { panic!("not an image") };
    let layer = image.layers[0].clone();
    let bytes = bundle.open(&layer).await.unwrap().read_all().await.unwrap();
    (layer, bytes.to_vec())
}

/// Pushes an image with these layers under the tag `v1`.
async fn push_layers(registry: &Embedded, name: &str, layers: &[Value]) {
    let config = registry.push_blob(name, b"{}").await;
    let config = json!({ "mediaType": OCI_CONFIG, "digest": config, "size": 2 });
    let manifest = json!({ "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers });
    put(registry, name, "v1", OCI_MANIFEST, &manifest).await;
}

#[tokio::test]
async fn files_have_modes_sizes_and_targets() {
    let registry = Embedded::in_memory().await;
    let root = tree();
    let mut docker = PackOptions::default();
    docker.image.format = ImageFormat::Docker;
    for (name, options) in [("oci", PackOptions::default()), ("docker", docker)] {
        push(&registry, &pack(root.path(), &options), &format!("{name}:v1")).await;
        let html = page(&registry, &format!("/r/{name}:v1")).await;
        let text = text_of(&html);
        let rows = "bin / 0755 bin/run.sh 10 B 0755 config.yaml 2.0 kB 0644 start → bin/run.sh link";
        assert!(text.contains(rows), "{text}");
        assert!(text.contains("2 files, 2.1 kB"), "{text}");
        assert!(html.contains(">bundle</span>"), "{html}");
    }
}

#[tokio::test]
async fn many_files_come_in_pages_of_one_digest() {
    let registry = Embedded::in_memory().await;
    let root = tempfile::tempdir().unwrap();
    for number in 0..2001 {
        fs::write(root.path().join(format!("f{number:04}")), "x").unwrap();
    }
    let digest = push(&registry, &pack(root.path(), &PackOptions::default()), "a:v1").await;
    let path = |from: usize| format!("/r/a@{digest}?layer=0&from={from}");
    let first = page(&registry, "/r/a:v1").await;
    assert!(first.contains(&format!("{}#files\" rel=\"next\"", path(1000).replace('&', "&amp;"))), "{first}");
    assert!(text_of(&first).contains("1 to 1000 of 2001: 2001 files, 2.0 kB"));
    assert!(first.contains(">f0999<") && !first.contains(">f1000<"));
    let second = page(&registry, &path(1000)).await;
    assert!(second.contains(">f1000<") && second.contains(">f1999<") && !second.contains(">f2000<"));
    let third = page(&registry, &path(2000)).await;
    assert!(third.contains(">f2000<") && !third.contains("rel=\"next\"") && third.contains("First page"));
    assert!(text_of(&page(&registry, &path(9999)).await).contains("There are no more."));
    for query in ["layer=1", "layer=x", "from=-1", "from=99999999999999999999999"] {
        assert_eq!(browse(&registry, &format!("/r/a:v1?{query}")).await.status(), 404, "{query}");
    }
}

#[tokio::test]
async fn each_layer_of_a_bundle_has_its_files() {
    let registry = Embedded::in_memory().await;
    let (one, other) = (tree(), tempfile::tempdir().unwrap());
    fs::write(other.path().join("other.txt"), "other").unwrap();
    let mut layers = Vec::new();
    for root in [one.path(), other.path()] {
        let (layer, bytes) = layer_of(&pack(root, &PackOptions::default())).await;
        registry.push_blob("a", &bytes).await;
        layers.push(serde_json::to_value(layer).unwrap());
    }
    push_layers(&registry, "a", &layers).await;
    let first = page(&registry, "/r/a:v1").await;
    assert!(first.contains(">config.yaml<") && !first.contains(">other.txt<"), "{first}");
    assert!(text_of(&first).contains("Of layer 1 2"), "{first}");
    let second = page(&registry, "/r/a:v1?layer=1").await;
    assert!(second.contains(">other.txt<") && !second.contains(">config.yaml<"), "{second}");
}

#[tokio::test]
async fn an_index_that_is_not_what_it_says_is_not_shown() {
    let registry = Embedded::in_memory().await;
    let root = tree();
    let (layer, bytes) = layer_of(&pack(root.path(), &PackOptions::default())).await;
    let entries = layer.annotations["dev.bndlr.index.entries"].clone();
    let (range, digest) = entries.split_once('@').unwrap();
    let offset: usize = range.split_once('+').unwrap().0.parse().unwrap();
    let damaged_at = |at: usize| {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        damaged
    };
    let with = |bytes: &[u8], key: &str, value: &str| {
        let mut annotations = layer.annotations.clone();
        annotations.insert(key.to_owned(), value.to_owned());
        Descriptor { annotations, ..Descriptor::of(OCI_LAYER_GZIP, bytes) }
    };
    let lie = Digest::sha256(&bytes[..10]);
    let why = |key| if key == "dev.bndlr.format" { "is not known here" } else { "list of files is damaged" };
    for (number, (bytes, key, value)) in [
        (damaged_at(offset + 40), "dev.bndlr.index.entries", &*entries),
        (bytes.clone(), "dev.bndlr.index.entries", &format!("{range}@{lie}")),
        (bytes.clone(), "dev.bndlr.index.entries", &format!("0+10@{lie}")),
        (bytes.clone(), "dev.bndlr.index.entries", &format!("18446744073709551615+10@{digest}")),
        (bytes.clone(), "dev.bndlr.index.entries", "<script>"),
        (bytes.clone(), "dev.bndlr.format", "2"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("a{number}");
        registry.push_blob(&name, &bytes).await;
        push_layers(&registry, &name, &[serde_json::to_value(with(&bytes, key, value)).unwrap()]).await;
        let text = text_of(&page(&registry, &format!("/r/{name}:v1")).await);
        assert!(text.contains(why(key)), "{key}={value}: {text}");
        assert!(!text.contains("config.yaml"), "{text}");
    }
}

#[tokio::test]
async fn a_layer_that_is_missing_or_not_as_long_as_said_has_no_files() {
    let registry = Embedded::of(Registry::new(Memory::new()).allow_missing_blobs(true)).await;
    let root = tree();
    let (mut layer, bytes) = layer_of(&pack(root.path(), &PackOptions::default())).await;
    push_layers(&registry, "a", &[serde_json::to_value(&layer).unwrap()]).await;
    assert!(text_of(&page(&registry, "/r/a:v1").await).contains("The layer is not in this registry."));
    layer.digest = registry.push_blob("a", &bytes[1..]).await;
    push_layers(&registry, "a", &[serde_json::to_value(&layer).unwrap()]).await;
    assert!(text_of(&page(&registry, "/r/a:v1").await).contains("damaged"));
}

#[tokio::test]
async fn a_list_that_is_too_long_is_not_read() {
    let registry = Embedded::of(Registry::new(Memory::new()).allow_missing_blobs(true)).await;
    let digest = Digest::sha256(b"x");
    let (length, end) = (4 * 1024 * 1024 + 1, 4 * 1024 * 1024 + 11);
    let annotations = json!({
        "dev.bndlr.format": "1",
        "dev.bndlr.index.entries": format!("0+{length}@{digest}"),
        "dev.bndlr.index.members": format!("{length}+10@{digest}"),
    });
    let layer = json!({ "mediaType": OCI_LAYER_GZIP, "digest": digest, "size": end, "annotations": annotations });
    push_layers(&registry, "a", &[layer]).await;
    assert!(text_of(&page(&registry, "/r/a:v1").await).contains("too many files to list here"));
}

#[tokio::test]
async fn a_foreign_image_has_no_files_and_is_no_bundle() {
    let registry = Embedded::in_memory().await;
    registry.push_image("a", "v1", b"layer").await;
    let html = page(&registry, "/r/a:v1").await;
    assert!(!html.contains("id=\"files\"") && !html.contains(">bundle<"), "{html}");
    assert!(text_of(&html).contains("layer 1"), "{html}");
}
