//! Names that lead out, or that two entries share.

use std::fs;

use super::archives::hostile::{Error, Safe, run, run_all};
use super::archives::ours::{Layer, file};
use super::archives::{Image, Tar};
use super::{ABSOLUTE, UPWARDS, named};

#[tokio::test]
async fn names_that_lead_out() {
    let long = format!("{}/../../../canary/file", "x".repeat(120));
    let null = |name: &[u8]| Image::of(Tar::new().header(name, b'0', 0o644, b"", 0));
    run_all(
        vec![
            ("absolute", named("/canary"), Error(&["\"/canary\"", "is absolute"])),
            ("absolute, two slashes", named("//canary"), ABSOLUTE),
            ("absolute directory", Image::of(Tar::new().dir("/canary/")), ABSOLUTE),
            ("absolute in PAX", Image::of(Tar::new().pax(&[("path", "/canary/file")]).file("x", "")), ABSOLUTE),
            ("absolute in a long name", Image::of(Tar::new().long_name("/canary/file").file("x", "")), ABSOLUTE),
            ("up", named("../canary/file"), Error(&["../canary/file", "has '..' in its path"])),
            ("up, after a dot", named("./../canary/file"), UPWARDS),
            ("up, after a name", named("a/../../canary/file"), UPWARDS),
            ("up, at the end", Image::of(Tar::new().dir("a/..")), UPWARDS),
            ("up, alone", Image::of(Tar::new().dir("..")), UPWARDS),
            ("up, with a slash", Image::of(Tar::new().dir("../")), UPWARDS),
            ("up, with many slashes", Image::of(Tar::new().dir("a//..//..//")), UPWARDS),
            ("up, though it comes back", named("../target/x"), UPWARDS),
            ("up, in PAX", Image::of(Tar::new().pax(&[("path", "a/../../canary/x")]).file("x", "")), UPWARDS),
            ("up, in a long name", Image::of(Tar::new().long_name(&long).file("x", "")), UPWARDS),
            (
                "up, in the prefix",
                Image::of(
                    Tar::new().tweaked(b"x", b'0', 0o644, b"", 0, |block| block[345..347].copy_from_slice(b"..")),
                ),
                UPWARDS,
            ),
            ("NUL in PAX", Image::of(Tar::new().pax(&[("path", "a\0b")]).file("x", "")), Error(&["NUL"])),
            (
                "NUL in a long name",
                Image::of(Tar::new().entry("l", b'L', 0, "", b"a\0b").file("x", "")),
                Error(&["extension header"]),
            ),
            ("NUL in a header ends the name", null(b"good\0/../../evil"), Safe(&[("good", "file 644")])),
            ("a backslash is a letter", named("..\\canary"), Safe(&[("..\\canary", "file")])),
            ("three dots are a name", named(".../x"), Safe(&[("...", "directory"), (".../x", "file")])),
            ("no name at all", named(""), Error(&["is where the target itself is"])),
            ("the target as a file", named("./"), Error(&["slash"])),
            ("the target as a link", Image::of(Tar::new().symlink(".", "/")), Error(&["target itself"])),
            ("a file with a slash", named("file/"), Error(&["slash"])),
            ("a name that no file system has", named(&"n".repeat(300)), Safe(&[])),
            (
                "a path over 4096 bytes",
                Image::of(Tar::new().long_name(&"n/".repeat(2100)).dir("x")),
                Error(&["too long"]),
            ),
            (
                "a name over 255 bytes",
                Image::of(Tar::new().long_name(&"n".repeat(256)).file("x", "")),
                Error(&["too long"]),
            ),
            (
                "an empty PAX path is none",
                Image::of(Tar::new().pax(&[("path", "")]).file("x", "")),
                Safe(&[("x", "file")]),
            ),
        ]
        .into_iter()
        // A header cuts names at 100 bytes: what is left is harmless, and long.
        .filter(|(name, ..)| *name != "a name that no file system has")
        .collect(),
        28,
    )
    .await;
}

/// Where the file system takes two spellings for one name, nothing is merged; where it does not, both are there.
#[tokio::test]
async fn names_that_differ_only_in_case() {
    let parent = tempfile::tempdir().unwrap();
    fs::write(parent.path().join("probe"), "").unwrap();
    if parent.path().join("PROBE").exists() {
        for mut image in [
            Image::of(Tar::new().file("name", "").file("NAME", "")),
            Layer::of(&[file("NAME", ""), file("name", "")]).image(),
        ] {
            let error = image.unpack(&parent.path().join("target")).await.unwrap_err();
            assert!(error.to_string().contains("collides"), "{error}");
            assert!(!parent.path().join("target").exists());
        }
    } else {
        let both = &[("NAME", "file"), ("name", "file")];
        run(("foreign", Image::of(Tar::new().file("name", "").file("NAME", "")), Safe(both))).await;
        run(("ours", Layer::of(&[file("NAME", ""), file("name", "")]).image(), Safe(both))).await;
    }
}
