//! What goes into a bundle and what does not: the flags, what they say about it, and the ignore files.

mod program;

use std::fs;
use std::os::unix::fs::symlink;

use program::Desk;
use serde_json::{Value, json};

/// What a build of `tree` with these flags lists.
fn packed(desk: &Desk, flags: &[&str]) -> Vec<String> {
    let arguments: Vec<_> = ["build", "tree", "-q", "-o", "archive:packed.tar"].iter().chain(flags).copied().collect();
    desk.run_with(&arguments, &[]).ok();
    desk.run("ls archive:packed.tar").ok().lines().map(str::to_owned).collect()
}

#[test]
fn only_what_is_included_goes_in_with_the_directories_that_it_is_in() {
    let desk = Desk::with_tree();
    desk.write("tree/docs/deep/a.md", "x");
    desk.write("tree/docs/b.txt", "x");
    assert_eq!(packed(&desk, &["--include", "*.md"]), ["docs", "docs/deep", "docs/deep/a.md"]);
    assert_eq!(packed(&desk, &["--include", "/docs", "--include", "!*.md"]), ["docs", "docs/b.txt", "docs/deep"]);
    assert_eq!(packed(&desk, &["--include", "*.txt", "--exclude", "docs"]), ["a.txt"]);
    assert_eq!(packed(&desk, &["--include", "empty/", "--include", "link"]), ["empty", "link"]);
    desk.write("tree/docs/.bndlrignore", "b.txt\n");
    assert_eq!(packed(&desk, &["--include", "*.txt"]), ["a.txt"]);
    let ran = desk.run("build tree -o oci:none --include *.rs");
    assert_eq!(ran.code, Some(3));
    assert_eq!(ran.stderr, "error: nothing in tree matches what is to be included\nhint: --list shows what there is\n");
    assert!(!desk.path("none").exists());
}

#[test]
fn what_is_included_is_the_digest_of_a_directory_that_has_nothing_else() {
    let desk = Desk::with_tree();
    desk.write("part/sub/run.sh", "#!/bin/sh\n");
    fs::copy(desk.path("tree/sub/run.sh"), desk.path("part/sub/run.sh")).unwrap();
    let whole = desk.run("build part -o oci:a").ok();
    assert_eq!(desk.run("build tree -o oci:b --include run.sh").ok(), whole);
}

#[test]
fn a_list_says_what_goes_in_and_why_the_rest_does_not() {
    let desk = Desk::with_tree();
    desk.write("tree/.git/config", "token");
    desk.write("tree/README.md", "x");
    desk.write("tree/sub/.bndlrignore", "# large\n\nnoise\n");
    let listed = desk.run_with(&["push", "tree", "--list", "--exclude", "*.md"], &[]);
    assert_eq!((listed.code, &*listed.stderr), (Some(0), "tree has 2 files to pack, 16 B; 4 paths are left out\n"));
    let expected = "\
- .git/ (version control; --include-vcs packs it)
- README.md (excluded by --exclude '*.md')
+ a.txt
+ empty/
+ link -> a.txt
+ sub/
- sub/.bndlrignore (says itself what does not go in)
- sub/noise (excluded by tree/sub/.bndlrignore line 3: noise)
+ sub/run.sh
";
    assert_eq!(listed.stdout, expected);
    // Where it would go is not asked for, and nothing is.
    let argued = desk.run_with(&["push", "tree", "127.0.0.1:1/a:v1", "--list", "--exclude", "*.md", "-q"], &[]);
    assert_eq!((&*argued.stdout, &*argued.stderr), (expected, ""));
    assert_eq!(desk.run("build tree --list --include run.sh").ok().matches("(no --include matches it)").count(), 4);
    assert_eq!(desk.names(), ["tree"]);
}

#[test]
fn a_list_in_json_has_the_reasons_for_scripts() {
    let desk = Desk::with_tree();
    desk.write("tree/.bndlrignore", "link\n");
    let json = desk
        .run_with(&["build", "tree", "--list", "--exclude", "sub", "--include", "*t*", "--format", "json"], &[])
        .json();
    let keys: Vec<_> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["bytes", "directory", "entries", "files", "leftOut"]);
    assert_eq!(json["entries"][0], json!({"path": "a.txt", "type": "file", "mode": "0644", "size": 6}));
    let reasons: Vec<_> =
        json["leftOut"].as_array().unwrap().iter().map(|left| (&left["path"], &left["reason"])).collect();
    let text = |text: &str| Value::from(text);
    assert_eq!(
        reasons,
        [
            (&text(".bndlrignore"), &text("ignore-file")),
            (&text("link"), &text("ignored")),
            (&text("sub"), &text("excluded")),
        ]
    );
    assert_eq!((&json["leftOut"][1]["file"], &json["leftOut"][1]["line"]), (&json!("tree/.bndlrignore"), &json!(1)));
    assert_eq!((&json["leftOut"][2]["pattern"], &json["leftOut"][2]["directory"]), (&json!("sub"), &json!(true)));
}

#[test]
fn names_that_steer_a_terminal_are_shown_and_not_written() {
    let desk = Desk::new();
    desk.write("tree/a\u{1b}[2J", "x");
    symlink("a\u{1b}[2J", desk.path("tree/b\u{202e}")).unwrap();
    let listed = desk.run_with(&["build", "tree", "--list", "--exclude", "b*"], &[]);
    assert_eq!(listed.stdout, "+ a\\u{1b}[2J\n- b\\u{202e} (excluded by --exclude 'b*')\n");
}

#[test]
fn a_pattern_that_is_none_is_named_where_it_stands() {
    let desk = Desk::with_tree();
    desk.write("tree/sub/.bndlrignore", "fine\n*.[ch\n");
    let why = "a [ without a ]; write \\[ for the character";
    for (flags, message) in [
        (&[][..], format!("tree/sub/.bndlrignore line 2: {why}")),
        (&["--exclude", "*.[ch"], format!("--exclude \"*.[ch\": {why}")),
        (
            &["--include", "a", "--include", "a\\"],
            "--include \"a\\\\\": a \\ with nothing after it; write \\\\ for the character".into(),
        ),
    ] {
        let ran = desk.run_with(&[&["build", "tree", "--list"], flags].concat(), &[]);
        assert_eq!((ran.code, ran.stderr), (Some(2), format!("error: {message}\n")), "{flags:?}");
    }
}

#[test]
fn each_mode_of_links_says_what_it_cannot_do_and_what_to_do_instead() {
    let desk = Desk::with_tree();
    fs::write(desk.path("outside"), "x").unwrap();
    let place = |target: &str| {
        let link = desk.path("tree/sub/odd");
        let _ = fs::remove_file(&link);
        symlink(target, link).unwrap();
    };
    for (mode, target, message, hint) in [
        ("keep", "../../outside", "sub/odd", "relative path"),
        ("keep", "/etc/passwd", "sub/odd", "relative path"),
        ("follow", "../../outside", "it leads out of the directory", "--symlinks keep"),
        ("follow", "nowhere", "No such file", "--symlinks keep"),
        ("follow", "../sub", "it leads to a directory above itself", "--symlinks keep"),
        ("follow", "odd", "cannot follow symbolic link tree/sub/odd", "--symlinks keep"),
        ("error", "run.sh", "is a symbolic link", "--symlinks keep to pack links as they are, or follow"),
    ] {
        place(target);
        let ran = desk.run(&format!("build tree --list --symlinks {mode}"));
        assert_eq!((ran.code, &*ran.stdout), (Some(8), ""), "{mode} {target}: {ran:?}");
        let (error, hinted) = ran.stderr.split_once("\nhint: ").unwrap_or_else(|| panic!("no hint: {ran:?}"));
        assert!(error.contains(message) && hinted.contains(hint), "{mode} {target}: {ran:?}");
    }
}
