//! The main job against every registry: push, push again, list, pull.

use bndlr::bundle::Index;
use serde_json::Value;
use tempfile::TempDir;

use crate::registries::{Registry, Request};
use crate::run::{arg, bndlr, json, text};
use crate::tree;

fn puts_manifest(request: &Request) -> bool {
    request.method == "PUT" && request.path.contains("/manifests/")
}

#[test]
fn what_is_pushed_is_not_pushed_again_and_comes_back() {
    for registry in Registry::each() {
        let (tree, home) = (tree::sample(), TempDir::new().unwrap());
        let reference = registry.reference("team/app:v1");
        let pushed = json(&["push", arg(tree.path()), &reference, "-t", "latest"]);
        assert_eq!((&pushed["result"], &pushed["layers"][0]["result"]), (&"pushed".into(), &"uploaded".into()));
        assert!(pushed["bytesUploaded"].as_u64().unwrap() > 3 * 1024 * 1024);

        let both_tags = |requests: &[Request]| requests.iter().filter(|request| puts_manifest(request)).count() == 2;
        let before = registry.requests_when(0, both_tags).len();
        let again = json(&["push", arg(tree.path()), &reference, "-t", "latest"]);
        assert_eq!((&again["result"], &again["bytesUploaded"]), (&"unchanged".into(), &0.into()));
        assert_eq!(again["digest"], pushed["digest"]);
        let asked = registry.requests_when(before, |requests| requests.len() >= 4);
        let is_look = |request: &Request| request.method == if request.is_of_blob() { "HEAD" } else { "GET" };
        assert!(asked.iter().all(is_look), "the manifest of each tag, and not more: {asked:#?}");
        assert_eq!(asked.iter().filter(|request| request.is_of_blob()).count(), 2, "config and layer: {asked:#?}");

        for (name, tag) in
            [("v1", ":v1"), ("latest", ":latest"), ("digest", &format!("@{}", text_of(&pushed["digest"])))]
        {
            let (directory, reference) = (home.path().join(name), registry.reference(&format!("team/app{tag}")));
            let pulled = json(&["pull", &reference, "-o", arg(&directory)]);
            assert_eq!((&pulled["result"], &pulled["digest"]), (&"pulled".into(), &pushed["digest"]));
            tree::assert_same(tree.path(), &directory);
        }
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn schema_2_makes_the_same_journey() {
    for registry in Registry::each() {
        let (tree, home) = (tree::sample(), TempDir::new().unwrap());
        let reference = registry.reference("team/app:docker");
        let push = ["push", arg(tree.path()), &reference, "--image-format", "docker", "-l", "team=größe"];
        let pushed = json(&push);
        assert_eq!(pushed["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
        assert_eq!(json(&push)["result"], "unchanged");
        let directory = home.path().join("pulled");
        assert_eq!(json(&["pull", &reference, "-o", arg(&directory)])["digest"], pushed["digest"]);
        tree::assert_same(tree.path(), &directory);
    }
}

#[test]
fn a_list_of_files_costs_the_index() {
    for registry in Registry::each() {
        let tree = tree::sample();
        let reference = registry.reference("team/app:v1");
        json(&["push", arg(tree.path()), &reference]);
        let manifest: Value = serde_json::from_str(&text(&mut bndlr(&["inspect", "--raw", &reference]))).unwrap();
        let layer = &manifest["layers"][0];
        let annotations = serde_json::from_value(layer["annotations"].clone()).unwrap();
        let index = Index::of_layer(&annotations, layer["size"].as_u64().unwrap()).unwrap().unwrap();

        let before = registry.requests_when(0, |requests| requests.iter().any(|request| request.method == "GET")).len();
        let listed = text(&mut bndlr(&["ls", &reference]));
        let listed: Vec<&str> = listed.lines().collect();
        let expected = tree::paths(tree.path()).into_iter().map(|path| path.trim_end_matches('/').to_owned());
        let mut expected: Vec<String> = expected.collect();
        expected.sort_by(|a, b| a.split('/').cmp(b.split('/')));
        assert_eq!(listed, expected);

        let fetches = |request: &&Request| request.method == "GET" && request.is_of_blob();
        let asked = registry.requests_when(before, |requests| requests.iter().any(|request| fetches(&request)));
        let answers: Vec<_> = asked.iter().filter(fetches).map(|request| (request.status, request.bytes)).collect();
        let length = index.entries.length + index.members.length;
        assert_eq!(answers, [(206, length)], "{asked:#?}");
        assert!(length < 2048, "{length}");
    }
}
