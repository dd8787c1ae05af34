//! Updates that are killed, at every step: done again, they end right.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use bndlr::unpack::{Error, Outcome};

use crate::archives::snapshot;
use crate::model::{Site, Whose, names, without_top};
use crate::peer;
use crate::program::{Desk, finish};
use crate::random::Random;

/// The calls of the system that change something, as Linux names what is the same. Of each of them, `strace` counts for itself
/// how often it has been made.
const CALLS: [&str; 6] = ["/^rename", "/^mkdir", "/^unlink", "/^f?chmod", "ftruncate", "/^symlink"];

/// Runs `bndlr`, and has it killed when it makes one of `calls` for so many times; says whether it came so far.
fn killed(desk: &Desk, arguments: &str, calls: &str, at: usize) -> bool {
    let mut program = desk.process("strace");
    program.args(["-f", "-qq", "-o", "trace", "-e", &format!("trace={calls}")]);
    program.args(["-e", &format!("inject={calls}:signal=KILL:when={at}"), "bndlr"]);
    program.args(arguments.split_whitespace());
    let ran = finish(program);
    fs::remove_file(desk.path("trace")).unwrap();
    assert!(ran.code == Some(0) || ran.code.is_none() || ran.code == Some(137), "{at}: {ran:?}");
    ran.code != Some(0)
}

/// A desk with two trees of everything that there is, as `v1` and `v2`.
fn desk() -> Desk {
    let desk = Desk::new();
    for (tag, other) in [("v1", "v2"), ("v2", "v1")] {
        desk.write(&format!("{tag}/same/file"), "same");
        desk.write(&format!("{tag}/changed"), &format!("changed in {tag}"));
        desk.write(&format!("{tag}/only in {tag}/file"), tag);
        desk.write(&format!("{tag}/was in {tag}, is in {other}"), "moved");
        std::os::unix::fs::symlink(tag, desk.path(&format!("{tag}/link"))).unwrap();
    }
    desk.write("v1/kind/a/b", "a directory");
    desk.write("v2/kind", "a file");
    desk.write("v1/other", "a file");
    desk.write("v2/other/a/b", "a directory");
    for tag in ["v1", "v2"] {
        desk.run(&format!("build {tag} -o oci:layout:{tag} -q")).ok();
    }
    desk
}

/// Kills `arguments` at each step, with what `before` prepares, and has `after` look at what has become of it.
fn at_each_step(desk: &Desk, arguments: &str, before: impl Fn(), after: impl Fn(&str)) {
    let mut steps = 0;
    for calls in CALLS {
        for at in 1.. {
            before();
            if !killed(desk, arguments, calls, at) {
                break;
            }
            after(&format!("killed at {calls} {at}"));
            steps += 1;
        }
    }
    assert!(steps > 10, "only {steps} steps");
}

#[track_caller]
fn assert_is(desk: &Desk, expected: &str, when: &str) {
    assert_eq!(without_top(snapshot(&desk.path("out"))), without_top(snapshot(&desk.path(expected))), "{when}");
    assert_eq!(desk.names(), ["layout", "out", "v1", "v2"], "{when}");
}

#[track_caller]
fn assert_can_be_updated(desk: &Desk, to: &str, when: &str) {
    let update = format!("pull oci:layout:{to} -o out --update");
    let ran = desk.run(&update);
    assert_eq!(ran.code, Some(0), "{when}: {ran:?}: {:#?}", snapshot(&desk.path("out")));
    assert_is(desk, to, when);
    let ran = desk.run(&update);
    assert!(ran.stderr.contains("Unchanged"), "{when}: {ran:?}");
}

#[test]
fn an_update_that_was_killed_at_any_step_is_done_again() {
    let Some(_) = peer::require("strace") else { return };
    let desk = desk();
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(desk.path("out/same/file")).unwrap());
    for (from, to, again) in [("v1", "v2", "v2"), ("v2", "v1", "v1"), ("v1", "v2", "v1")] {
        let was = Cell::new(0);
        let before = || {
            let _ = fs::remove_dir_all(desk.path("out"));
            // What is made in such a directory has the bit as well, until it gets its mode.
            fs::create_dir(desk.path("out")).unwrap();
            fs::set_permissions(desk.path("out"), Permissions::from_mode(0o2775)).unwrap();
            desk.run(&format!("pull oci:layout:{from} -o out -q")).ok();
            was.set(inode());
        };
        at_each_step(&desk, &format!("pull oci:layout:{to} -o out --update -q"), before, |when| {
            assert_can_be_updated(&desk, again, when);
            assert_eq!(inode(), was.get(), "{when}: what stays the same was touched");
        });
    }
}

#[test]
fn a_first_pull_that_was_killed_at_any_step_is_done_again() {
    let Some(_) = peer::require("strace") else { return };
    let desk = desk();
    for (exists, update) in [(false, " --update"), (true, " --update"), (false, ""), (true, "")] {
        let before = || {
            let _ = fs::remove_dir_all(desk.path("out"));
            let _ = fs::remove_dir_all(desk.path(".local"));
            if exists {
                fs::create_dir(desk.path("out")).unwrap();
            }
        };
        at_each_step(&desk, &format!("pull oci:layout:v1 -o out -q{update}"), before, |when| {
            // Where the directory was there already, what has moved up stays there.
            let is_there = fs::read_dir(desk.path("out")).is_ok_and(|mut entries| {
                entries.any(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with('.'))
            });
            if update.is_empty() && !is_there {
                desk.run("pull oci:layout:v1 -o out -q").ok();
            }
            assert_can_be_updated(&desk, "v1", when);
        });
    }
}

/// What is there was put there by one of them, however many were broken off since.
#[test]
fn an_update_is_done_again_however_often_another_was_killed() {
    let Some(_) = peer::require("strace") else { return };
    let desk = Desk::new();
    for tag in ["v1", "v2", "v3", "v4", "v5", "v6"] {
        desk.write("tree/a", &format!("a of {tag}"));
        desk.write("tree/z", &format!("z of {tag}"));
        let _ = fs::remove_file(desk.path("tree/link"));
        std::os::unix::fs::symlink(tag, desk.path("tree/link")).unwrap();
        desk.run(&format!("build tree -o oci:layout:{tag} -q")).ok();
    }
    desk.run("pull oci:layout:v1 -o out -q").ok();
    for tag in ["v2", "v3", "v4", "v5"] {
        assert!(killed(&desk, &format!("pull oci:layout:{tag} -o out --update -q"), "renameat", 1));
        assert_eq!(desk.read("out/a"), "a of v1");
    }
    desk.run("pull oci:layout:v6 -o out --update").ok();
    assert_eq!(snapshot(&desk.path("out")), snapshot(&desk.path("tree")));
}

#[tokio::test]
async fn what_is_edited_after_an_update_was_killed_is_protected() {
    let Some(_) = peer::require("strace") else { return };
    let desk = desk();
    desk.run("pull oci:layout:v1 -o out -q").ok();
    let mut at = 1;
    // Until the first file has been replaced.
    while desk.read("out/changed") == "changed in v1" {
        let _ = fs::remove_dir_all(desk.path("out"));
        desk.run("pull oci:layout:v1 -o out -q").ok();
        assert!(killed(&desk, "pull oci:layout:v2 -o out --update -q", "renameat", at));
        at += 1;
    }
    desk.write("out/same/file", "mine");
    let ran = desk.run("pull oci:layout:v2 -o out --update");
    assert!(ran.code == Some(7) && ran.stderr.contains("has 1 local change: same/file (modified)"), "{ran:?}");
    desk.run("pull oci:layout:v2 -o out --update --force").ok();
    assert_eq!(snapshot(&desk.path("out")), snapshot(&desk.path("v2")));
}

#[tokio::test]
async fn of_two_at_once_one_is_told_to_wait() {
    let (site, mut random) = (Site::new(), Random(1));
    let mut image = Whose::Ours.image(&Whose::Ours.tree(&mut random));
    site.pull(&mut image).await;
    let lock = names(&site.state().join("directories")).into_iter().find(|name| name.contains('.')).unwrap();
    let lock = fs::File::open(site.state().join("directories").join(lock)).unwrap();
    lock.lock().unwrap();
    let error = site.update(&mut image).await.unwrap_err();
    assert!(matches!(error, Error::Busy(_)), "{error}");
    lock.unlock().unwrap();
    assert_eq!(site.update(&mut image).await.unwrap().outcome, Outcome::Unchanged);
}
