//! How it is said: to a person, and with hints.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use crate::program::Desk;

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
and 3 more like this (--all shows them)
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
