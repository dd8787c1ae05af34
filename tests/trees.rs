//! The trees that benchmarks and tests measure are the same everywhere, so that numbers can be compared.

#[path = "../benches/trees/mod.rs"]
mod trees;

use std::fs;
use std::path::{Path, PathBuf};

use bndlr::digest::{Algorithm, Hasher};
use trees::Tree;

fn files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { files.push(entry.path()) }
        }
    }
    files.sort();
    files
}

#[test]
fn a_tree_is_the_same_on_every_machine() {
    let expected = [
        (Tree::Manifests, "sha256:9800a51aa7a300fc30180471c91cf456e8fe05044266d240aa84c08564a439a8"),
        (Tree::Large(3_000_001), "sha256:ce9ea4b27035f5e00c979c262570fb3d5cc2455a486f1c2a20310f100a5d28c1"),
    ];
    for (kind, digest) in expected {
        let folder = tempfile::tempdir().unwrap();
        let totals = trees::generate(kind, folder.path()).unwrap();
        let files = files(folder.path());
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut bytes = 0;
        for file in &files {
            let contents = fs::read(file).unwrap();
            bytes += contents.len() as u64;
            hasher.update(file.strip_prefix(folder.path()).unwrap().to_str().unwrap().as_bytes());
            hasher.update(&contents);
        }
        assert_eq!((files.len(), bytes), (totals.files, totals.bytes), "{kind:?}");
        assert_eq!(hasher.finish().to_string(), digest, "{kind:?}");
    }
}
