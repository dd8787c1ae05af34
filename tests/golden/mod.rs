//! The trees whose digests stand in `testdata/golden.txt`: every shape that a bundle can have.
#![allow(dead_code)] // each test binary uses a part of it

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

/// Writes a file, and makes the directories above it.
pub fn write(root: &Path, path: &str, contents: impl AsRef<[u8]>) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, contents).unwrap();
}

/// Gives a file a mode.
pub fn chmod(root: &Path, path: &str, mode: u32) {
    fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
}

/// Bytes that look random and are the same everywhere.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Makes a tree in an empty directory.
pub type Make = fn(&Path);

/// The trees whose digests are frozen with version 1 of the format.
pub fn golden_trees() -> Vec<(&'static str, Make)> {
    vec![
        ("empty", |_| ()),
        ("one-file", |root| write(root, "hello.txt", "hello\n")),
        ("deep", |root| {
            let path: Vec<_> = (0..60).map(|n| format!("level-{n:02}")).collect();
            write(root, &format!("{}/leaf", path.join("/")), "leaf\n");
            fs::create_dir_all(root.join("empty/also-empty")).unwrap();
        }),
        ("long-names", |root| {
            for length in [99, 100, 101, 155] {
                write(root, &"n".repeat(length), format!("{length}\n"));
            }
            for length in [101, 155, 156, 256, 300] {
                let directory = "d".repeat(90);
                let rest = length - directory.len() - 1;
                let name = if rest > 200 {
                    format!("{}/{}", "m".repeat(100), "n".repeat(rest - 101))
                } else {
                    "n".repeat(rest)
                };
                write(root, &format!("{directory}/{name}"), format!("{length}\n"));
            }
        }),
        ("non-ascii", |root| {
            write(root, "größe/Übersicht.yaml", "größe: 1\n");
            write(root, "日本語/設定.yaml", "a: 1\n");
            write(root, &"ж".repeat(120), "long\n");
            write(root, "new\nline é", "odd\n");
            symlink("Übersicht.yaml", root.join("größe/verweis")).unwrap();
        }),
        ("sizes", |root| {
            for size in [0, 1, 511, 512, 513, 1024] {
                write(root, &format!("size-{size:04}"), noise(size, 7));
            }
        }),
        ("large", |root| {
            write(root, "before", "small\n");
            write(root, "large", noise(3 * 1024 * 1024, 11));
            write(root, "large-text", "apiVersion: v1\nkind: ConfigMap\n".repeat(50_000));
            write(root, "step", noise(1024 * 1024 - 512, 13));
            write(root, "zzz-after", "small\n");
        }),
        ("links", |root| {
            write(root, "a/target", "target\n");
            symlink("target", root.join("a/same")).unwrap();
            symlink("../a", root.join("a/up")).unwrap();
            symlink("no/such/thing", root.join("dangling")).unwrap();
            symlink(format!("a/{}", "x".repeat(110)), root.join("long")).unwrap();
            symlink("a/zäh", root.join("non-ascii")).unwrap();
        }),
        ("modes", |root| {
            for (name, mode) in
                [("plain", 0o600), ("group", 0o664), ("script", 0o755), ("owner", 0o700), ("odd", 0o4711)]
            {
                write(root, name, "#!/bin/sh\n");
                chmod(root, name, mode);
            }
        }),
        ("many", |root| {
            for n in 0..800_usize {
                let text = format!("name: item-{n}\nvalue: {}\n", n * n).repeat(n % 50 + 1);
                write(root, &format!("group-{:02}/item-{n:04}.yaml", n % 20), text);
            }
        }),
    ]
}
