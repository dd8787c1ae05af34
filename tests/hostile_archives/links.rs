//! Links that lead out, and entries that go through them.

use super::archives::hostile::{Case, Error, Expected, Safe, run_all};
use super::archives::{Image, Tar};

#[tokio::test]
async fn links_that_lead_out() {
    let through = |target: &str| Image::of(Tar::new().symlink("l", target).file("l/file", "evil"));
    let chain = |length: usize| {
        let tar = (0..length).fold(Tar::new(), |tar, n| tar.symlink(&format!("l{n}"), &format!("l{}", n + 1)));
        Image::of(tar.file("l0/x", ""))
    };
    let deep = Tar::new().long_name(&"d/".repeat(1500)).dir("x").long_link(&"d/".repeat(1500)).symlink("l", "x");
    let deep = Image::of(deep.long_name(&format!("l/{}", "e/".repeat(600))).dir("x"));
    run_all(
        vec![
            (
                "write through an absolute link",
                through("/canary"),
                Safe(&[("canary", "directory"), ("canary/file", "file"), ("l", "-> /canary")]),
            ),
            (
                "write through a link up",
                through("../canary"),
                Safe(&[("canary", "directory"), ("canary/file", "file"), ("l", "-> ../canary")]),
            ),
            (
                "write through a link up, from below",
                Image::of(Tar::new().symlink("a/b/l", "../../../../canary").file("a/b/l/file", "")),
                Safe(&[("a", "dir"), ("a/b", "dir"), ("a/b/l", "->"), ("canary", "dir"), ("canary/file", "file")]),
            ),
            (
                "a chain of links out",
                Image::of(
                    Tar::new().symlink("a", ".").symlink("b", "a/..").symlink("c", "b/../canary").file("c/f", ""),
                ),
                Safe(&[("a", "->"), ("b", "->"), ("c", "->"), ("canary", "dir"), ("canary/f", "file")]),
            ),
            ("a link to itself", through("l"), Error(&["\"l/file\"", "circle of links"])),
            (
                "two links to each other",
                Image::of(Tar::new().symlink("a", "b").symlink("b", "a").file("b/x", "")),
                Error(&["circle of links"]),
            ),
            ("a link that grows", through("l/l/l"), Error(&["circle of links"])),
            ("a chain of 41 links", chain(41), Error(&["circle of links"])),
            (
                "a file replaced by a link, then written",
                Image::of(Tar::new().file("f", "").symlink("f", "../canary/file").file("f", "mine")),
                Safe(&[("f", "file 644 4 mine")]),
            ),
            (
                "a directory replaced by a link, then written through",
                Image::of(Tar::new().dir("d").file("d/x", "").symlink("d", "/canary").file("d/file", "")),
                Safe(&[("canary", "dir"), ("canary/file", "file"), ("d", "-> /canary")]),
            ),
            (
                "a directory replaced by a link in the next layer",
                Image::of(Tar::new().dir("d").file("d/x", ""))
                    .gzip(Tar::new().symlink("d", "../canary").file("d/file", "")),
                Safe(&[("canary", "dir"), ("canary/file", "file"), ("d", "->")]),
            ),
            (
                "a link on the way replaced after it was used",
                Image::of(Tar::new().dir("a").file("a/1", "").symlink("a", "/b").file("a/2", "").file("a/1", "")),
                Safe(&[("a", "->"), ("b", "dir"), ("b/1", "file"), ("b/2", "file")]),
            ),
            ("below a file", Image::of(Tar::new().file("f", "").file("f/x", "")), Error(&["\"f/x\"", "below a file"])),
            ("a link to nothing", Image::of(Tar::new().symlink("l", "")), Error(&["\"l\"", "target that is empty"])),
            ("NUL in a target", Image::of(Tar::new().pax(&[("linkpath", "a\0b")]).symlink("l", "x")), Error(&["NUL"])),
            ("links that add up to no path", deep, Error(&["too long"])),
        ]
        .into_iter()
        .chain(hard_links())
        .collect(),
        26,
    )
    .await;
}

fn hard_links() -> Vec<Case> {
    let hard = |original: &str| Image::of(Tar::new().dir("d").hard_link("h", original));
    let no_file: Expected = Error(&["\"h\"", "is a hard link to what is no file of the image"]);
    let none = || Error(&["\"h\"", "is a hard link to what is no file of the image"]);
    vec![
        ("hard link to an absolute path", hard("/canary/file"), no_file),
        ("hard link up", hard("../canary/file"), none()),
        ("hard link up, at the end", hard("d/.."), none()),
        ("hard link to a directory", hard("d"), none()),
        ("hard link to itself", Image::of(Tar::new().file("h", "").hard_link("h", "h")), none()),
        (
            "hard link to itself through a link",
            Image::of(Tar::new().symlink("l", "/").file("h", "").hard_link("h", "l/h")),
            none(),
        ),
        ("hard link to nothing", hard(""), none()),
        ("hard link to what it replaces", Image::of(Tar::new().file("h/x", "").hard_link("h", "h/x")), none()),
        (
            "hard link through a link out",
            Image::of(Tar::new().symlink("l", "/canary").hard_link("h", "l/file")),
            none(),
        ),
        (
            "hard link to a link out, then written",
            Image::of(Tar::new().symlink("l", "../canary/file").hard_link("h", "l").file("h", "mine")),
            Safe(&[("h", "file 644 4 mine"), ("l", "->")]),
        ),
        (
            "hard link, then another file in its place",
            Image::of(Tar::new().file("a", "old").hard_link("b", "a").file("b", "new")),
            Safe(&[("a", "file 644 3 old"), ("b", "file 644 3 new")]),
        ),
    ]
}
