//! Updates that are killed, at every step: done again, they end right.

use std::fs;

use bndlr::unpack::{Error, Outcome};

use crate::archives::snapshot;
use crate::model::{Site, Whose, names};
use crate::peer;
use crate::program::{Desk, finish};
use crate::random::Random;

/// The calls of the system that change something.
const CALLS: &str = "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,fchmod,ftruncate,symlinkat,utimensat";

/// Runs `bndlr`, and has it killed when it makes the call with this number; says whether it came so far.
fn killed(desk: &Desk, arguments: &str, at: usize) -> bool {
    let mut program = desk.process("strace");
    program.args(["-f", "-qq", "-o", "trace", "-e", &format!("trace={CALLS}")]);
    program.args(["-e", &format!("inject={CALLS}:signal=KILL:when={at}"), "bndlr"]);
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

#[test]
fn an_update_that_was_killed_at_any_step_is_done_again() {
    let Some(_) = peer::require("strace") else { return };
    let desk = desk();
    for (from, to, again) in [("v1", "v2", "v2"), ("v2", "v1", "v1"), ("v1", "v2", "v1")] {
        let mut at = 1;
        loop {
            let _ = fs::remove_dir_all(desk.path("out"));
            desk.run(&format!("pull oci:layout:{from} -o out -q")).ok();
            let stat = |name: &str| std::os::unix::fs::MetadataExt::ino(&fs::metadata(desk.path(name)).unwrap());
            let inode = stat("out/same/file");
            if !killed(&desk, &format!("pull oci:layout:{to} -o out --update -q"), at) {
                break;
            }
            let ran = desk.run(&format!("pull oci:layout:{again} -o out --update"));
            assert_eq!(ran.code, Some(0), "killed at {at}: {ran:?}: {:#?}", snapshot(&desk.path("out")));
            assert_eq!(snapshot(&desk.path("out")), snapshot(&desk.path(again)), "killed at {at}");
            assert_eq!(stat("out/same/file"), inode, "killed at {at}: what stays the same was touched");
            let ran = desk.run(&format!("pull oci:layout:{again} -o out --update"));
            assert!(ran.stderr.contains("Unchanged"), "killed at {at}: {ran:?}");
            assert_eq!(desk.names(), ["layout", "out", "v1", "v2"], "killed at {at}");
            at += 1;
        }
        assert!(at > 10, "only {at} steps");
    }
}

#[test]
fn a_first_pull_that_was_killed_at_any_step_is_done_again() {
    let Some(_) = peer::require("strace") else { return };
    let desk = desk();
    for exists in [false, true] {
        let mut at = 1;
        loop {
            let _ = fs::remove_dir_all(desk.path("out"));
            let _ = fs::remove_dir_all(desk.path(".local"));
            if exists {
                fs::create_dir(desk.path("out")).unwrap();
            }
            if !killed(&desk, "pull oci:layout:v1 -o out --update -q", at) {
                break;
            }
            let ran = desk.run("pull oci:layout:v1 -o out --update");
            assert_eq!(ran.code, Some(0), "killed at {at}: {ran:?}");
            assert_eq!(snapshot(&desk.path("out")), snapshot(&desk.path("v1")), "killed at {at}");
            assert_eq!(desk.names(), ["layout", "out", "v1", "v2"], "killed at {at}");
            at += 1;
        }
        assert!(at > 5, "only {at} steps");
    }
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
        assert!(killed(&desk, "pull oci:layout:v2 -o out --update -q", at));
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
