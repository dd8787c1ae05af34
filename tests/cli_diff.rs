//! The program's command line where two sides are compared: `diff`.

mod archives;
mod embedded;
mod peer;
mod program;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use archives::{Tar, snapshot};
use embedded::Embedded;
use program::{Desk, Ran, noise};
use serde_json::json;

/// The sample tree as `old`, and another with every kind of change as `new`.
fn scene() -> Desk {
    let desk = Desk::with_tree();
    fs::rename(desk.path("tree"), desk.path("old")).unwrap();
    desk.write("old/text", "one\ntwo\nthree\n");
    desk.write("old/gone", "gone");
    desk.write("old/turned", "was a file\n");
    program::make_tree(&desk.path("new"));
    desk.write("new/text", "one\n2\nthree\nfour");
    desk.write("new/added/file", "added\n");
    fs::set_permissions(desk.path("new/sub/run.sh"), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(desk.path("new/sub/noise"), noise(20_001)).unwrap();
    fs::remove_file(desk.path("new/link")).unwrap();
    symlink("text", desk.path("new/link")).unwrap();
    symlink("text", desk.path("new/turned")).unwrap();
    desk
}

const DIFF: &str = "\
diff a/added b/added
new directory with mode 0755
diff a/added/file b/added/file
new file with mode 0644
--- /dev/null
+++ b/added/file
@@ -0,0 +1 @@
+added
diff a/gone b/gone
removed file with mode 0644
--- a/gone
+++ /dev/null
@@ -1 +0,0 @@
-gone
\\ No newline at end of file
diff a/link b/link
link pointed to a.txt, points to text
diff a/sub/noise b/sub/noise
binary, 20 kB and 20 kB
diff a/sub/run.sh b/sub/run.sh
mode was 0755, is 0644
diff a/text b/text
--- a/text
+++ b/text
@@ -1,3 +1,4 @@
 one
-two
+2
 three
+four
\\ No newline at end of file
diff a/turned b/turned
was file with mode 0644, is link to text
--- a/turned
+++ /dev/null
@@ -1 +0,0 @@
-was a file
";

#[track_caller]
fn assert_differs(ran: &Ran, expected: &str) {
    assert_eq!((ran.code, &*ran.stderr), (Some(1), ""), "{ran:?}");
    assert_eq!(ran.stdout, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_is_the_same_wherever_the_two_sides_are() {
    let (registry, desk) = (Embedded::in_memory().await, scene());
    let place = format!("{}/team/app", registry.address());
    desk.run(&format!("push old {place}:old -q")).ok();
    desk.run(&format!("push new {place}:new -q")).ok();
    desk.run("build old -o oci:layout:old -q --image-format docker").ok();
    let new = [format!("{place}:new"), "./new".into(), format!("dir:{}", desk.path("new").display())];
    for old in [&format!("{place}:old"), "oci:layout:old", "./old"] {
        for new in &new {
            assert_differs(&desk.run(&format!("diff {old} {new}")), DIFF);
        }
        for same in [&format!("{place}:old"), "oci:layout:old", "./old"] {
            assert_eq!(desk.run(&format!("diff {old} {same}")).ok(), "");
        }
    }
    assert_eq!(desk.names(), ["layout", "new", "old"]);
}

#[test]
fn a_difference_can_be_short() {
    let desk = scene();
    let paths = "added\nadded/file\ngone\nlink\nsub/noise\nsub/run.sh\ntext\nturned\n";
    assert_differs(&desk.run("diff ./old ./new --name-only"), paths);
    let stat = "\
added | new directory with mode 0755
added/file | +1 -0, new file with mode 0644
gone | +0 -1, removed file with mode 0644
link | link pointed to a.txt, points to text
sub/noise | binary, 20 kB and 20 kB
sub/run.sh | mode was 0755, is 0644
text | +2 -1
turned | +0 -1, was file with mode 0644, is link to text
8 paths changed, 3 lines added (+), 3 removed (-)
";
    assert_differs(&desk.run("diff ./old ./new --stat"), stat);
    let ran = desk.run("diff ./old ./new --format json");
    assert_eq!(ran.code, Some(1));
    let json = ran.json();
    let found: Vec<_> = json["differences"].as_array().unwrap().iter().map(|one| &one["change"]).collect();
    assert_eq!(found, ["added", "added", "removed", "modified", "modified", "mode", "modified", "type"]);
    assert_eq!(
        json["differences"][6],
        json!({"path": "text", "change": "modified", "contents": "text", "linesAdded": 2, "linesRemoved": 1,
            "old": {"path": "text", "type": "file", "mode": "0644", "size": 14},
            "new": {"path": "text", "type": "file", "mode": "0644", "size": 16}})
    );
    let same = desk.run("diff ./old ./old --format json");
    assert_eq!((same.code, &same.json()["result"]), (Some(0), &json!("same")));
    assert_eq!(desk.run("diff ./old ./new --exclude * --stat").ok(), "");
}

#[test]
fn patch_takes_what_is_text_in_it() {
    let Some(_patch) = peer::require("patch") else { return };
    let desk = Desk::new();
    let files = [
        ("a", "1\n2\n3\n", "1\n3\n"),
        ("gone", "x\n", ""),
        ("deep/new", "", "new\n"),
        ("returns", "1\r2\n3\r\n", "1\r2\n4\r\n"),
        ("return at the end", "1\n2\r", "1\n3\r"),
        ("a space at the end ", "1\n", "2\n"),
        ("tab\tin it", "1\n", "2\n"),
        ("tab\\tin it", "1\n", "1\n"),
        ("line\nin it", "1\n", "2\n"),
        ("\"quoted\"", "1\n", "2\n"),
        ("\u{1b}[31mred é", "1\n", "2\n"),
        ("from \u{202e}right", "", "2\n"),
    ];
    for (path, old, new) in files {
        for (side, content) in [("old", old), ("new", new)] {
            if !content.is_empty() {
                desk.write(&format!("{side}/{path}"), content);
            }
        }
    }
    desk.write("diff", &desk.run("diff ./old ./new").stdout);
    let mut patch = desk.process("patch");
    assert!(patch.args(["-p1", "--binary", "-d", "old", "-i", "../diff"]).output().status.success());
    assert_eq!(snapshot(&desk.path("old")), snapshot(&desk.path("new")));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_no_bundle_is_compared_too() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    desk.write("tree/etc/a", "same\n");
    desk.write("tree/etc/b", "old\n");
    fs::create_dir(desk.path("tree/var")).unwrap();
    let tar = Tar::new().dir("etc/").file("etc/a", "same\n").entry("etc/b", b'0', 0o600, "", b"new\n");
    let tar = tar.hard_link("etc/c", "etc/a").entry("var/", b'5', 0o000, "", b"");
    registry.push_image("team/foreign", "v1", &archives::gzip(&tar.end())).await;
    let place = format!("{}/team/foreign:v1", registry.address());
    let expected = "\
diff a/etc/b b/etc/b
mode was 0644, is 0600
--- a/etc/b
+++ b/etc/b
@@ -1 +1 @@
-old
+new
diff a/etc/c b/etc/c
new file with mode 0644
--- /dev/null
+++ b/etc/c
@@ -0,0 +1 @@
+same
diff a/var b/var
mode was 0755, is 0000
";
    assert_differs(&desk.run(&format!("diff ./tree {place}")), expected);
    assert_eq!(desk.run(&format!("diff {place} {place}")).ok(), "");
    assert_eq!(desk.names(), ["tree"]);
}

/// The last member of a layer has the end of the archive as well: so a file may be in other members, and be the same.
#[test]
fn a_large_file_is_the_same_wherever_in_a_layer_it_is() {
    let desk = Desk::new();
    let contents = noise(2_500_000);
    for (tree, others) in [("last", &["a"][..]), ("first", &["z"]), ("alone", &[])] {
        fs::create_dir(desk.path(tree)).unwrap();
        fs::write(desk.path(tree).join("large"), &contents).unwrap();
        fs::write(desk.path(tree).join("other"), &contents[1..]).unwrap();
        for name in others {
            desk.write(&format!("{tree}/{name}"), name);
        }
        desk.run(&format!("build {tree} -o oci:whole:{tree} -q")).ok();
        desk.run(&format!("build {tree} -o oci:split:{tree} -q --split=256KiB")).ok();
    }
    let sides = |tree: &str| [format!("./{tree}"), format!("oci:whole:{tree}"), format!("oci:split:{tree}")];
    for (old, new) in sides("last").iter().flat_map(|old| sides("last").map(|new| (old.clone(), new))) {
        assert_eq!(desk.run(&format!("diff {old} {new} --name-only")).ok(), "", "{old} {new}");
    }
    for (old, new) in sides("last").iter().flat_map(|old| sides("first").map(|new| (old.clone(), new))) {
        assert_differs(&desk.run(&format!("diff {old} {new} --name-only")), "a\nz\n");
    }
    for (from, to) in [("whole", "split"), ("split", "whole")] {
        assert_eq!(desk.run(&format!("verify last oci:{from}:last")).ok(), "");
        let ran = desk.run(&format!("why oci:{from}:alone oci:{to}:last"));
        assert!(!ran.stdout.contains("contents"), "{ran:?}");
    }
    // What differs at the front, within, and at the end is found, and with another mode as well.
    for (at, mode) in [(0, 0o644), (1_500_000, 0o644), (2_499_999, 0o644), (2_499_999, 0o755), (0, 0o755)] {
        let mut contents = contents.clone();
        contents[at] ^= 1;
        fs::write(desk.path("first/large"), contents).unwrap();
        fs::set_permissions(desk.path("first/large"), fs::Permissions::from_mode(mode)).unwrap();
        for old in sides("last") {
            assert_differs(&desk.run(&format!("diff {old} ./first --name-only")), "a\nlarge\nz\n");
        }
    }
}

#[test]
fn a_large_file_is_compared_and_not_shown() {
    let desk = Desk::new();
    let mut content = noise(5_000_000);
    for side in ["old", "new"] {
        fs::create_dir(desk.path(side)).unwrap();
        fs::write(desk.path(side).join("large"), &content).unwrap();
        fs::write(desk.path(side).join("mode"), &content).unwrap();
        fs::write(desk.path(side).join("same"), &content).unwrap();
        content[4_999_999] ^= 1;
    }
    fs::write(desk.path("new/mode"), noise(5_000_000)).unwrap();
    fs::write(desk.path("new/same"), noise(5_000_000)).unwrap();
    fs::set_permissions(desk.path("new/mode"), fs::Permissions::from_mode(0o755)).unwrap();
    desk.run("build old -o oci:layout:v1 -q").ok();
    let expected = "\
diff a/large b/large
too large to show, 5.0 MB and 5.0 MB
diff a/mode b/mode
mode was 0644, is 0755
";
    assert_differs(&desk.run("diff oci:layout:v1 ./new"), expected);
    assert_differs(&desk.run("diff oci:layout:v1 ./new --name-only"), "large\nmode\n");
}

#[test]
fn a_directory_is_told_from_a_reference() {
    let desk = scene();
    for (arguments, code, words) in [
        ("diff ./nowhere ./new", 8, "nowhere"),
        ("diff oci:nowhere ./new", 8, "nowhere"),
        ("diff ./old", 2, "<NEW>"),
        ("diff ./old ./new --stat --name-only", 2, "cannot be used with"),
    ] {
        let ran = desk.run(arguments);
        assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
        assert!(ran.stderr.contains(words), "{ran:?}");
    }
    desk.write("Tree/x", "x");
    let ran = desk.run("diff Tree ./new");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("hint: Tree is a directory here: write ./Tree if you mean that"), "{ran:?}");
}

#[test]
fn there_are_colours_where_they_are_wanted() {
    let desk = scene();
    let with = |variables: &[(&str, &str)]| desk.run_with(&["diff", "./old", "./new"], variables).stdout;
    assert_eq!(with(&[]), DIFF);
    assert!(with(&[("CLICOLOR_FORCE", "1")]).contains("\u{1b}[31m-two\u{1b}[0m\n"));
    assert_eq!(with(&[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")]), DIFF);
}

#[test]
fn that_nobody_reads_on_is_no_error() {
    let desk = scene();
    let mut shell = desk.process("sh");
    let output = shell.args(["-c", "bndlr diff ./old ./new | head -1"]).output();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "diff a/added b/added\n");
    assert!(output.stderr.is_empty());
}
