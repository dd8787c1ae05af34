//! How it is said: to a person, and with hints.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::archives::Tar;
use crate::picture::{Picture, base};
use crate::program::Desk;

/// What is said to a person of what differs between two pictures.
fn said(a: &Picture, b: &Picture) -> String {
    let desk = Desk::new();
    a.write(&desk, "a");
    b.write(&desk, "b");
    let ran = desk.run("why oci:a:v1 oci:b:v1");
    assert_eq!((ran.code, &*ran.stderr), (Some(1), ""));
    ran.stdout.split_once("\n\n").unwrap().1.to_owned()
}

#[test]
fn what_other_programs_write_has_words_of_its_own() {
    let dated = |date: &str| {
        let key = "org.opencontainers.image.created";
        Picture::base().with(|picture| picture.manifest["annotations"] = json!({key: date}))
    };
    let config = |key: &'static str, value: &'static str| {
        Picture::base().with(move |picture| picture.config[key] = value.into())
    };
    let titled = |title: &'static str| {
        Picture::base().with(move |picture| {
            picture.layers[0].annotations = json!({"org.opencontainers.image.title": title});
        })
    };
    let gzip_time =
        |time: u32| Picture::base().with(|picture| picture.layers[0].blob[4..8].copy_from_slice(&time.to_le_bytes()));
    let top = |mtime: &'static [u8]| {
        let tweak = |block: &mut [u8; 512]| block[136..136 + mtime.len()].copy_from_slice(mtime);
        let last = base().0;
        Picture::gzip(Tar(Tar::new().tweaked(b"./", b'5', 0o755, b"", 0, tweak).0.into_iter().chain(last).collect()))
    };
    let platform = Picture::base().with(|picture| {
        picture.config["os"] = "".into();
        picture.config["architecture"] = "".into();
    });
    for (a, b, expected) in [
        (
            dated("2026-01-01T00:00:00Z"),
            dated("2026-01-02T00:00:00Z"),
            "  hint: oras push --annotation org.opencontainers.image.created=DATE or flux push artifact --reproducible makes it the same\n",
        ),
        (Picture::base(), platform, "platform linux/amd64 there, nothing here\n"),
        (
            Picture::base(),
            config("created", "0001-01-01T00:00:00Z"),
            "  hint: that is how programs in Go, as crane and imgpkg, write that there is no date\n",
        ),
        (config("created", "2026-01-01T00:00:00Z"), config("created", "2026-01-02T00:00:00Z"), "buildah's --timestamp"),
        (titled("."), titled("m"), "  hint: oras names it as its path was typed: push . from within\n"),
        (
            gzip_time(0),
            gzip_time(0x886e_0900),
            "gzip header: time none there, none as pgzip writes it here\n  hint: gzip -n leaves it out\n",
        ),
        (top(b"00000000000"), top(b"14524770400"), "here: ./\n"),
        (
            Picture::gzip(Tar::new().file("a", "")),
            Picture::gzip(Tar::new().file("./a", "")),
            "  hint: tar writes ./ in",
        ),
    ] {
        let said = said(&a, &b);
        assert!(said.contains(expected), "expected {expected:?}: {said}");
    }
}

#[test]
fn fields_of_one_header_that_differ_are_named_together() {
    let devices = |number: &'static [u8]| {
        let tweak = |block: &mut [u8; 512]| {
            block[329..336].copy_from_slice(number);
            block[337..344].copy_from_slice(number);
        };
        Picture::gzip(Tar::new().tweaked(b"a", b'0', 0o644, b"", 0, tweak))
    };
    let expected = "tar header: devmajor \"0000001\", devminor \"0000001\" there, \
                    devmajor \"0000002\", devminor \"0000002\" here: a\n";
    assert_eq!(said(&devices(b"0000001"), &devices(b"0000002")), expected);
}

#[test]
fn large_files_of_nearly_one_size_are_told_by_their_bytes() {
    let large = |bytes: usize| Picture::gzip(Tar::new().file("large", &"x".repeat(bytes)));
    let expected = "contents differ, 5000001 bytes there, 5000002 here: large\n";
    assert!(said(&large(5_000_001), &large(5_000_002)).starts_with(expected));
}

#[test]
fn a_step_of_the_history_is_said_with_what_differs_in_it() {
    let step = |by: &str| Picture::base().with(|picture| picture.config["history"] = json!([{"created_by": by}]));
    assert_eq!(said(&step("x"), &step("y")), "history: created_by of step 0 is \"x\" there, \"y\" here\n");
}

/// A layout, and a directory with some changes; the digests that are shown.
fn scene() -> (Desk, [String; 2]) {
    let desk = Desk::with_tree();
    for number in 0..8 {
        desk.write(&format!("tree/many/{number}"), "x");
    }
    let flags = ["build", "tree", "-o", "oci:layout:v1", "-q", "-l", "team=a", "--platform", "linux/arm64"];
    let there = desk.run_with(&flags, &[("SOURCE_DATE_EPOCH", "1700000000")]).ok();
    desk.write("tree/a.txt", "alpha\nbeta\n");
    desk.write("tree/new file", "");
    fs::set_permissions(desk.path("tree/sub/run.sh"), fs::Permissions::from_mode(0o644)).unwrap();
    for number in 0..8 {
        fs::remove_file(desk.path(&format!("tree/many/{number}"))).unwrap();
    }
    let here = desk.run("build tree -o archive:here.tar -q").ok();
    let short = |digest: String| digest.trim_end()[7..19].to_owned();
    (desk, [short(there), short(here)])
}

const SAID: &str = "\
contents differ from byte 6 (line 2) on: a.txt
  hint: bndlr diff shows what differs in the files
only there: many/0
only there: many/1
only there: many/2
only there: many/3
only there: many/4
and 3 more like this (--all shows all)
only here: new file
mode 0755 there, 0644 here: sub/run.sh
  hint: chmod +x makes it executable here
platform linux/arm64 there, linux/amd64 here
  hint: bndlr push --platform linux/arm64
created 2023-11-14T22:13:20Z there, no date here
  hint: pushed with SOURCE_DATE_EPOCH: push with SOURCE_DATE_EPOCH=1700000000 for the same
label team is \"a\" there, not set here
  hint: bndlr push -l team=a
";

#[test]
fn a_person_is_told_what_differs_and_what_to_do() {
    let (desk, [there, here]) = scene();
    let expected = format!("there: oci:layout:v1 ({there})\nhere:  ./tree ({here})\n\n{SAID}");
    // A directory is here, wherever it stands.
    for arguments in ["oci:layout:v1 ./tree", "./tree oci:layout:v1"] {
        let ran = desk.run(&format!("why {arguments}"));
        assert_eq!((ran.code, &*ran.stderr, &*ran.stdout), (Some(1), "", &*expected));
    }
    let all = desk.run("why oci:layout:v1 ./tree --all").stdout;
    assert!(all.contains("only there: many/7\n") && !all.contains("more like this"), "{all}");
    let same = desk.run("why ./tree archive:here.tar");
    assert_eq!((same.code, &*same.stdout, &*same.stderr), (Some(0), "the same\n", ""));
}

#[test]
fn a_script_gets_one_document() {
    let (desk, _) = scene();
    let ran = desk.run("why oci:layout:v1 ./tree --format json");
    assert_eq!(ran.code, Some(1));
    let json = ran.json();
    assert_eq!((&json["a"], &json["b"]), (&json!("oci:layout:v1"), &json!("./tree")));
    assert_eq!(
        json["reasons"][0],
        json!({"level": "entry", "what": "contents", "path": "a.txt", "a": "6", "b": "11", "offset": 6, "line": 2,
            "hint": "bndlr diff shows what differs in the files"})
    );
    assert_eq!(json["reasons"][5], json!({"level": "entry", "what": "removed", "path": "many/4", "more": 3}));
    let same = desk.run("why ./tree archive:here.tar --format json").json();
    assert_eq!((&same["result"], &same["reasons"]), (&json!("same"), &json!([])));
}

#[test]
fn a_date_that_is_set_here_is_said_to_be() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1 -q").ok();
    let ran = desk.run_with(&["why", "oci:layout:v1", "./tree"], &[("SOURCE_DATE_EPOCH", "0")]);
    let said = "no date there, created 1970-01-01T00:00:00Z here\n  hint: SOURCE_DATE_EPOCH is set here: unset it\n";
    assert!(ran.code == Some(1) && ran.stdout.ends_with(said), "{ran:?}");
}

#[test]
fn that_it_cannot_be_said_is_an_error() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1 -q").ok();
    for (arguments, code, words) in [
        ("why oci:layout:v1", 2, "<B>"),
        ("why oci:layout:v2 ./tree", 3, "v2"),
        ("why oci:layout:v1 ./nowhere", 8, "nowhere"),
        ("why Tree ./tree", 2, "reference"),
    ] {
        let ran = desk.run(arguments);
        assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
}
