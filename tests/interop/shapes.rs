//! Every shape that a bundle can have, for programs that read: as layers in files, and as images in a registry.

use std::path::Path;

use tempfile::TempDir;

use crate::build::Built;
use crate::registries::Registry;
use crate::run::{arg, json};
use crate::tree;

/// Shapes that need no PAX headers, which some programs pass over.
pub const PLAIN: [&str; 7] = ["empty", "one-file", "deep", "sizes", "large", "modes", "many"];

/// Lets `extract` put what is in the layer of each of the `wanted` shapes into a directory, and looks whether that is what
/// was packed.
pub fn extracted(wanted: impl Fn(&str) -> bool, extract: impl Fn(&Path, &Path)) {
    for (name, tree) in tree::shapes().into_iter().filter(|(name, _)| wanted(name)) {
        let built = Built::new(tree.path(), &[]);
        let directory = built.directory("extracted");
        extract(&built.layer(), &directory);
        eprintln!("shape: {name}");
        tree::assert_same(tree.path(), &directory);
    }
}

/// Lets `decompress` say the digest of the archive in the layer of each shape, and looks whether that is the diff ID.
pub fn decompressed(decompress: impl Fn(&Path) -> String) {
    for (name, tree) in tree::shapes() {
        let built = Built::new(tree.path(), &[]);
        assert_eq!(decompress(&built.layer()), built.diff_id(), "{name}");
    }
}

/// Pushes each shape to a registry of ours, and a bundle of several layers; `check` gets the digest, the reference and the
/// tree: as an OCI image, or in schema 2.
pub fn pushed(format: &str, check: impl Fn(&str, &str, &Path)) {
    pushed_in_one_layer(format, &check);
    let (registry, tree) = (Registry::ours(), tree::large());
    let reference = registry.reference(&format!("shapes/split:{format}"));
    let pushed = json(&["push", arg(tree.path()), &reference, "--image-format", format, "--split"]);
    assert!(pushed["layers"].as_array().unwrap().len() > 3, "{pushed}");
    check(&reference, pushed["digest"].as_str().unwrap(), tree.path());
}

/// The same, without the one that has several layers.
pub fn pushed_in_one_layer(format: &str, check: impl Fn(&str, &str, &Path)) {
    let registry = Registry::ours();
    for (name, tree) in tree::shapes() {
        let reference = registry.reference(&format!("shapes/{name}:{format}"));
        let pushed = json(&["push", arg(tree.path()), &reference, "--image-format", format]);
        eprintln!("shape: {name}");
        check(&reference, pushed["digest"].as_str().unwrap(), tree.path());
    }
}

/// An image in a registry of ours that says to be for `linux/arm64`, with a label, and what is in it.
pub fn for_another_platform() -> (Registry, String, TempDir) {
    let (registry, tree) = (Registry::ours(), tree::sample());
    let reference = registry.reference("team/arm:v1");
    json(&["push", arg(tree.path()), &reference, "--platform", "linux/arm64", "-l", "team=größe"]);
    (registry, reference, tree)
}
