//! Debian's `docker-registry`, which is CNCF Distribution's, as a registry to us: every command that one can do something
//! with.

use serde_json::Value;
use tempfile::TempDir;

use crate::build::{Built, pull};
use crate::registries::Registry;
use crate::run::{arg, bndlr, json, run, text};
use crate::table::{Program, proved};
use crate::tree;
use crate::writers::{Indexed, Large, large_digest};

#[test]
fn every_bundle_is_pushed_and_comes_back() {
    let Some(registry) = Registry::docker() else { return };
    for (name, tree) in tree::shapes() {
        for format in ["oci", "docker"] {
            let (reference, home) = (registry.reference(&format!("shapes/{name}:{format}")), TempDir::new().unwrap());
            json(&["push", arg(tree.path()), &reference, "--image-format", format]);
            eprintln!("shape: {name}");
            tree::assert_same(tree.path(), &pull(&reference, home.path()));
        }
    }
    let (large, home) = (Large::shared(), TempDir::new().unwrap());
    let (layout, reference) = (format!("oci:{}:v1", arg(&large.built.layout())), registry.reference("large/app:v1"));
    run(&mut bndlr(&["copy", &layout, &reference]));
    assert_eq!(large_digest(&pull(&reference, home.path())), large.digest);
    proved(Program::DockerRegistry, "takes bundles of every shape and layers of 200 MB, and gives them back");
}

#[test]
fn images_and_image_indexes_are_copied_there_within_it_and_back() {
    let (Some(theirs), ours) = (Registry::docker(), Registry::ours()) else { return };
    let (tree, indexed) = (tree::sample(), Indexed::new());
    let image = Built::new(tree.path(), &[]);
    for (name, layout, digest) in
        [("image", image.layout(), &image.digest), ("index", indexed.layout(), &indexed.digest)]
    {
        let steps = [
            format!("oci:{}:v1", arg(&layout)),
            theirs.reference(&format!("first/{name}:v1")),
            // Within a registry, what is there is mounted.
            theirs.reference(&format!("second/{name}:v2")),
            ours.reference(&format!("third/{name}:v3")),
            theirs.reference(&format!("fourth/{name}:v4")),
        ];
        for step in steps.windows(2) {
            run(&mut bndlr(&["copy", &step[0], &step[1]]));
            assert_eq!(text(&mut bndlr(&["resolve", &step[1]])), *digest, "{step:?}");
        }
        let home = TempDir::new().unwrap();
        tree::assert_same(tree.path(), &pull(&steps[4], home.path()));
    }
    proved(Program::DockerRegistry, "images and image indexes are copied there, within it and back: no digest changes");
}

#[test]
fn tags_are_set_listed_and_deleted() {
    let Some(registry) = Registry::docker() else { return };
    let (tree, repository) = (tree::sample(), registry.reference("team/app"));
    let reference = format!("{repository}:v1");
    let pushed = json(&["push", arg(tree.path()), &reference, "-t", "v2,latest"]);
    let digest = pushed["digest"].as_str().unwrap();
    run(&mut bndlr(&["tag", &reference, "v3"]));
    let tags = || text(&mut bndlr(&["tags", &repository]));
    assert_eq!(tags().lines().collect::<Vec<_>>(), ["latest", "v1", "v2", "v3"]);
    assert_eq!(text(&mut bndlr(&["resolve", &format!("{repository}:v3")])), digest);
    let catalog = text(&mut bndlr(&["catalog", registry.reference("").trim_end_matches('/')]));
    assert_eq!(catalog, repository);

    let again = json(&["push", arg(tree.path()), &reference]);
    assert_eq!((&again["result"], &again["bytesUploaded"]), (&Value::from("unchanged"), &Value::from(0)));
    run(&mut bndlr(&["manifest", "delete", &format!("{repository}@{digest}")]));
    let gone = bndlr(&["resolve", &reference]).output();
    assert_eq!(gone.status.code(), Some(3), "{gone:?}");
    proved(Program::DockerRegistry, "tags are set and listed, repositories listed, manifests deleted");
}
