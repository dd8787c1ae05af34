//! The program's command line where only a part is wanted: `cat`, and `pull --include`.

mod archives;
mod embedded;
mod peer;
mod program;

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;

use archives::Tar;
use embedded::Embedded;
use program::{Desk, Ran, noise};

/// A registry with the sample tree as `app:v1`, and links added to it.
async fn scene() -> (Embedded, Desk, String) {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    symlink("../link", desk.path("tree/sub/up")).unwrap();
    symlink("sub", desk.path("tree/dir")).unwrap();
    symlink("nothing", desk.path("tree/dangling")).unwrap();
    let place = format!("{}/team/app:v1", registry.address());
    desk.run(&format!("push tree {place} -q")).ok();
    (registry, desk, place)
}

#[track_caller]
fn assert_failed(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
    assert!(words.iter().all(|word| ran.stderr.contains(word)), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_is_written_as_it_is_also_where_json_is_the_format_of_everything() {
    let (_registry, desk, place) = scene().await;
    let run = |path| desk.run_with(&["cat", &place, path], &[("BNDLR_FORMAT", "json")]);
    assert_eq!(run("a.txt").ok(), "alpha\n");
    assert_eq!(run("b.txt").json()["error"]["code"], "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_file_is_written_as_it_is() {
    let (_registry, desk, place) = scene().await;
    for full in ["", " --full"] {
        for path in ["a.txt", "./a.txt", "link", "sub/up", "dir/up"] {
            assert_eq!(desk.run(&format!("cat {place} {path}{full}")).ok(), "alpha\n", "{path}{full}");
        }
        assert_eq!(desk.run(&format!("cat {place} sub/run.sh{full}")).ok(), "#!/bin/sh\n");
        assert_failed(&desk.run(&format!("cat {place} sub{full}")), 2, &["sub is a directory", "bndlr ls"]);
        assert_failed(&desk.run(&format!("cat {place} b.txt{full}")), 3, &["not in the image", "did you mean a.txt?"]);
        assert_failed(&desk.run(&format!("cat {place} dangling{full}")), 3, &["leads to nothing"]);
    }
    assert_failed(&desk.run(&format!("cat {place} ../a.txt")), 2, &["not the path"]);
    assert_failed(&desk.run("cat oci:nowhere a.txt"), 8, &["nowhere"]);
    assert_eq!(desk.names(), ["tree"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_index_is_read_whole() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1 -q").ok();
    let verbose = desk.run("cat -v oci:layout:v1 a.txt");
    assert_eq!((&*verbose.stdout, &*verbose.stderr), ("alpha\n", ""));
    desk.run("build tree -o oci:layout:docker --image-format docker -q").ok();
    assert_eq!(desk.run("cat oci:layout:docker link").ok(), "alpha\n");

    let registry = Embedded::in_memory().await;
    let tar = Tar::new().dir("etc/").file("etc/a", "old").symlink("current", "/etc/b").hard_link("etc/b", "etc/a");
    let layer = archives::gzip(&tar.file("etc/a", "new").end());
    registry.push_image("team/foreign", "v1", &layer).await;
    let place = format!("{}/team/foreign:v1", registry.address());
    let verbose = desk.run(&format!("cat -v {place} etc/a"));
    assert_eq!(verbose.stdout, "new");
    assert!(verbose.stderr.contains("no bundle with an index: its layers are read whole"), "{verbose:?}");
    for path in ["current", "etc/b", "/etc/b"] {
        assert_eq!(desk.run(&format!("cat {place} {path}")).ok(), "old", "{path}");
    }
    assert_failed(&desk.run(&format!("cat {place} etc")), 2, &["etc is a directory"]);
    assert_failed(&desk.run(&format!("cat {place} etc/c")), 3, &["etc/c is not in the image"]);
}

#[test]
fn that_nobody_reads_on_is_no_error() {
    let desk = Desk::new();
    fs::create_dir(desk.path("tree")).unwrap();
    fs::write(desk.path("tree/large"), noise(6_000_000)).unwrap();
    desk.run("build tree -o oci:layout:v1 -q").ok();
    for full in ["", "--full"] {
        let mut child = desk.start(&format!("cat oci:layout:v1 large {full}"));
        let mut front = [0; 100];
        child.stdout.take().unwrap().read_exact(&mut front).unwrap();
        assert_eq!(front[..], noise(100));
        let ran = program::wait(child);
        assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{full}");
    }
}

#[test]
fn a_large_file_comes_whole() {
    let desk = Desk::new();
    let content = noise(5_300_000);
    fs::create_dir(desk.path("tree")).unwrap();
    fs::write(desk.path("tree/large"), &content).unwrap();
    fs::write(desk.path("tree/after"), "after").unwrap();
    desk.run("build tree -o archive:a.tar -q").ok();
    let output = desk.bndlr().args(["cat", "archive:a.tar", "large"]).output();
    assert!(output.status.success() && output.stdout == content);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_takes_what_is_to_be_included_and_nothing_else() {
    let (_registry, desk, place) = scene().await;
    let pulled = |patterns: &[&str], into: &str| {
        let mut arguments = vec!["pull", &place, "-o", into, "-q"];
        arguments.extend(patterns.iter().flat_map(|pattern| ["--include", pattern]));
        desk.run_with(&arguments, &[]).ok();
        archives::snapshot(&desk.path(into))
    };
    let all = archives::snapshot(&desk.path("tree"));
    for (number, (patterns, expected)) in [
        (&["*.sh"][..], &["sub", "sub/run.sh"][..]),
        (&["/sub"], &["sub", "sub/noise", "sub/run.sh", "sub/up"]),
        (&["sub/", "!noise"], &["sub", "sub/run.sh", "sub/up"]),
        (&["empty", "link"], &["empty", "link"]),
        (&["a.txt", "run.sh"], &["a.txt", "sub", "sub/run.sh"]),
    ]
    .into_iter()
    .enumerate()
    {
        let found = pulled(patterns, &format!("out{number}"));
        let mut expected: Vec<_> = expected.iter().map(|path| ((*path).to_owned(), all[*path].clone())).collect();
        expected.insert(0, (String::new(), "directory 755".to_owned()));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), expected, "{patterns:?}");
    }
    let none = desk.run(&format!("pull {place} -o none --include *.md"));
    assert_failed(&none, 3, &["nothing in the image matches", "bndlr ls"]);
    assert_failed(&desk.run(&format!("pull {place} -o none --include [a")), 2, &["a [ without a ]"]);
    assert!(!desk.path("none").exists());
    let json = desk.run(&format!("pull {place} -o part --include a.txt --format json")).json();
    assert_eq!((&json["files"], &json["bytes"]), (&1.into(), &6.into()));
}

#[test]
fn an_image_of_more_than_the_limits_is_not_read() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1 -q").ok();
    desk.write("tree/b", "");
    for command in
        ["cat oci:layout:v1 a.txt", "ls oci:layout:v1", "verify tree oci:layout:v1", "why oci:layout:v1 ./tree"]
    {
        assert!(desk.run(command).code < Some(2), "{command}");
        for (limit, words) in
            [("--max-bytes 1", "more bytes of files than 1"), ("--max-entries 1", "more entries than 1")]
        {
            let ran = desk.run(&format!("{command} {limit}"));
            assert_eq!((ran.code, &*ran.stdout), (Some(5), ""), "{ran:?}");
            assert!(ran.stderr.contains(words), "{ran:?}");
        }
    }
}
