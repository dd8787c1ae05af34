//! Annotations that come from a file and from git.

mod peer;
mod program;

use std::collections::BTreeMap;

use program::{Desk, finish};

/// The annotations of the manifest of a build of `what` with these flags.
fn annotations(desk: &Desk, what: &str, flags: &str) -> BTreeMap<String, String> {
    desk.run(&format!("build {what} -q -o archive:out.tar {flags}")).ok();
    let manifest: serde_json::Value = serde_json::from_str(&desk.run("inspect archive:out.tar --raw").ok()).unwrap();
    serde_json::from_value(manifest["annotations"].clone()).unwrap_or_default()
}

fn git(desk: &Desk, arguments: &str) -> String {
    let mut git = desk.process("git");
    git.args(["-C", "repository", "-c", "user.name=a", "-c", "user.email=a@h.io", "-c", "commit.gpgsign=false"]);
    git.args(arguments.split(' '));
    finish(git).ok().trim_end().to_owned()
}

/// One with a repository that has a commit, and the sample tree in it.
fn repository() -> Option<Desk> {
    peer::require("git")?;
    let desk = Desk::new();
    program::make_tree(&desk.path("repository/tree"));
    desk.write("repository/other", "x");
    git(&desk, "init -q");
    git(&desk, "add .");
    git(&desk, "commit -q -m first");
    Some(desk)
}

const KEY: &str = "org.opencontainers.image.";

#[test]
fn git_says_the_commit_the_source_and_the_version() {
    let Some(desk) = repository() else { return };
    let revision = git(&desk, "rev-parse HEAD");
    let plain = annotations(&desk, "repository/tree", "");
    assert!(plain.is_empty(), "off by default: {plain:?}");
    assert_eq!(
        annotations(&desk, "repository/tree", "--annotate-git"),
        [(format!("{KEY}revision"), revision.clone())].into()
    );
    git(&desk, "remote add origin https://alice:git-secret@h.io/team/app.git?private_token=git-secret");
    git(&desk, "tag v1.2");
    let all = annotations(&desk, "repository/tree", "--annotate-git");
    let expected = [("revision", &*revision), ("source", "https://h.io/team/app.git"), ("version", "v1.2")];
    assert_eq!(all, expected.map(|(key, value)| (format!("{KEY}{key}"), value.to_owned())).into());
    let file = annotations(&desk, "repository/tree/a.txt", "--annotate-git -a org.opencontainers.image.version=mine");
    assert_eq!((&file[&format!("{KEY}revision")], &*file[&format!("{KEY}version")]), (&revision, "mine"));
}

#[test]
fn what_is_not_what_was_committed_is_said_to_be_so() {
    let Some(desk) = repository() else { return };
    let revision = git(&desk, "rev-parse HEAD");
    git(&desk, "tag v1");
    desk.write("repository/other", "changed, and not packed");
    assert_eq!(annotations(&desk, "repository/tree", "--annotate-git")[&format!("{KEY}revision")], revision);
    desk.write("repository/tree/new", "x");
    let dirty = annotations(&desk, "repository/tree", "--annotate-git");
    assert_eq!(dirty, [(format!("{KEY}revision"), format!("{revision}-dirty"))].into());
    let warned = desk.run("build repository/tree -q -o oci:out --annotate-git").stderr;
    assert_eq!(warned, "warning: repository/tree is not what was committed: its revision is annotated as dirty\n");
}

#[test]
fn nothing_that_the_settings_of_a_repository_name_is_started() {
    let Some(desk) = repository() else { return };
    desk.write("repository/bad.sh", "#!/bin/sh\ntouch started\n");
    let bad = desk.path("repository/bad.sh");
    std::fs::set_permissions(&bad, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    git(&desk, &format!("config core.fsmonitor {}", bad.display()));
    annotations(&desk, "repository/tree", "--annotate-git");
    assert!(!desk.path("started").exists() && !desk.path("repository/started").exists());
    // Nor is another repository asked that somebody has set for git.
    let elsewhere = [("GIT_DIR", "/nowhere"), ("GIT_CONFIG_COUNT", "x")];
    assert_eq!(
        desk.run_with(&["build", "repository/tree", "-o", "oci:out", "--annotate-git"], &elsewhere).code,
        Some(0)
    );
}

#[test]
fn without_a_commit_or_without_git_the_error_says_what_to_do() {
    let Some(desk) = repository() else { return };
    program::make_tree(&desk.path("plain"));
    let ran = desk.run("build plain -o oci:out --annotate-git");
    assert_eq!(ran.code, Some(8));
    assert!(ran.stderr.starts_with("error: git has no commit for plain: not a git repository"), "{ran:?}");
    assert!(ran.stderr.contains("\nhint: leave out --annotate-git"), "{ran:?}");
    let ran = desk.run_with(&["build", "plain", "-o", "oci:out", "--annotate-git"], &[("PATH", "/nowhere")]);
    assert_eq!(ran.code, Some(8));
    assert!(ran.stderr.contains("cannot run git") && ran.stderr.contains("hint: install git"), "{ran:?}");
    let ran = desk.run("build plain -o oci:out --annotate-git --image-format docker");
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("schema 2 has no annotations"), "{ran:?}");
    assert!(!desk.path("out").exists());
}

#[test]
fn a_file_annotates_the_manifest_and_the_command_line_has_the_last_word() {
    let desk = Desk::with_tree();
    desk.write("a.json", r#"{"$manifest": {"team": "red", "k": "file"}}"#);
    let all = annotations(&desk, "tree", "--annotation-file a.json -a k=flag");
    assert_eq!(all, [("k", "flag"), ("team", "red")].map(|(key, value)| (key.to_owned(), value.to_owned())).into());
    for (text, message) in [
        (r#"{"$config": {"a": "b"}, "$manifest": {}}"#, "a.json annotates \"$config\", and a bundle has"),
        (r#"{"$manifest": {"a": 1}}"#, "a.json has no annotations: invalid type"),
        ("{", "a.json has no annotations: EOF"),
    ] {
        desk.write("a.json", text);
        let ran = desk.run("build tree -o oci:out --annotation-file a.json");
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(message) && ran.stderr.contains("hint: it is to be {\"$manifest\""), "{ran:?}");
    }
    assert_eq!(desk.run("build tree -o oci:out --annotation-file none.json").code, Some(8));
}
