//! Another program, in Python, writes what `docs/format.md` says, and it is what bndlr writes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::build::Built;
use crate::run::{arg, command, run};
use crate::{peer, tree};

/// What the other program finds in the image that `arguments` make of `directory`.
fn checked(directory: &Path, arguments: &[&str], options: &Value) -> Option<Value> {
    let python = peer::require("python3")?;
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/format.py");
    let built = Built::new(directory, arguments);
    let (layout, options) = (built.layout(), options.to_string());
    let found = run(&mut command(python, &[program, arg(directory), arg(&layout), &options]));
    let found: Value = serde_json::from_slice(&found).unwrap();
    assert_eq!((&found["manifest"], &found["diff ID"]), (&built.digest.clone().into(), &built.diff_id().into()));
    Some(found)
}

/// That both programs agree about a directory, as an OCI image and in schema 2, and how many members it has.
fn members(make: impl FnOnce(&Path)) -> Option<u64> {
    let home = TempDir::new().unwrap();
    make(home.path());
    checked(home.path(), &["--image-format", "docker"], &json!({}))?;
    checked(home.path(), &[], &json!({}))?["members"].as_u64()
}

fn write(root: &Path, path: &str, contents: &[u8]) {
    let file = root.join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, contents).unwrap();
}

#[test]
fn the_document_says_every_byte_of_a_realistic_tree() {
    let tree = tree::sample();
    let Some(found) = checked(tree.path(), &[], &json!({})) else { return };
    assert!(found["members"].as_u64().unwrap() > 3, "{found}");
}

#[test]
fn the_document_says_what_options_change() {
    let tree = tree::plain();
    let options = json!({
        "labels": {"größe": "a \"b\" \\ / \n\t\u{1}\u{7f}", "a": ""}, "annotations": {"z": "=ü", "A.b": "c"},
        "architecture": "arm", "os": "linux", "variant": "v7",
    });
    let labels = ["-l", "größe=a \"b\" \\ / \n\t\u{1}\u{7f}", "-l", "a="];
    let arguments = [&labels[..], &["-a", "z==ü", "-a", "A.b=c", "--platform", "linux/arm/v7"]].concat();
    checked(tree.path(), &arguments, &options);
}

#[test]
fn the_document_says_what_an_empty_directory_is() {
    let Some(members) = members(|_| ()) else { return };
    assert_eq!(members, 1);
}

#[test]
fn the_document_says_where_names_go() {
    members(|root| {
        for (above, name) in
            [(0, 99), (0, 100), (0, 101), (0, 250), (99, 1), (155, 100), (156, 100), (155, 101), (90, 240)]
        {
            let above = format!("{}/", "d".repeat(above)).trim_start_matches('/').to_owned();
            write(root, &format!("{above}{}", "n".repeat(name)), b"kind: List\n");
        }
        // A directory's slash counts, and is no place to split at.
        for length in [98, 99, 100, 154, 155] {
            fs::create_dir_all(root.join("e".repeat(length)).join("e".repeat(length))).unwrap();
        }
        write(root, "größe/日本語.yaml", b"a: 1\n");
        write(root, &"ж".repeat(120), b"cut within a character");
        write(root, "日a", b"");
        write(root, "日b", b"");
        // Siblings, in the order of their names and not of their paths.
        for path in ["a/b", "a-b", "a.b/c", "a0", "A"] {
            write(root, path, path.as_bytes());
        }
    });
}

#[test]
fn the_document_says_what_links_and_scripts_are() {
    members(|root| {
        write(root, "scripts/run", b"#!/bin/sh\n");
        fs::set_permissions(root.join("scripts/run"), fs::Permissions::from_mode(0o4710)).unwrap();
        let long = "d".repeat(90);
        fs::create_dir(root.join(&long)).unwrap();
        for (number, target) in
            ["run", "../scripts/run", "größe", &"x".repeat(100), &"x".repeat(101)].iter().enumerate()
        {
            symlink(target, root.join(format!("scripts/link-{number}"))).unwrap();
            symlink(target, root.join(&long).join(format!("link-with-a-long-name-{number}"))).unwrap();
        }
    });
}

#[test]
fn the_document_says_where_members_are_cut() {
    let members = members(|root| {
        let sizes =
            [0, 1, 511, 512, 513, 131_071, 131_072, 600_000, 1_048_063, 1_048_064, 1_048_065, 1_048_576, 3_000_000];
        for (number, size) in sizes.into_iter().enumerate() {
            write(root, &format!("{number:02}-noise"), &tree::noise(size));
            write(root, &format!("{number:02}-text"), &b"kind: List\n".repeat(size / 11));
        }
        write(root, "large-and-last", &tree::noise(2_500_000));
    });
    assert!(members.is_none_or(|members| members > 20), "{members:?}");
}

#[test]
fn the_document_says_how_a_long_index_is_cut() {
    let members = members(|root| {
        // Names that do not compress well, so that the list takes several pieces.
        for (number, bytes) in tree::noise(3000 * 8).chunks(8).enumerate() {
            let name = u64::from_be_bytes(bytes.try_into().unwrap());
            write(root, &format!("{}/{name:016x}", number % 7), &bytes.repeat(number % 200));
        }
    });
    assert!(members.is_none_or(|members| members > 4), "{members:?}");
}
