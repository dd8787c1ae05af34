//! What `.bndlrignore` and `--exclude` leave out, held against git: over trees and patterns that nobody has thought of, the
//! same files stay, and the same line of the same file is the reason for each that does not.

mod peer;
mod random;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use bndlr::bundle::{Kind, Patterns};
use bndlr::pack::{Selection, Tree, Why, scan};
use random::Random;
use tempfile::TempDir;

const TREES: u64 = 100;
const NAMES: [&str; 8] = ["a", "b", "ab", "a.b", ".a", "a b", "{a}", "-"];
const PIECES: [&str; 20] = [
    "a",
    "b",
    "ab",
    "*",
    "?",
    "**",
    "[ab]",
    "[!a]",
    "[^b-z]",
    "a*",
    "*b",
    "a**b",
    ".*",
    "*.b",
    "\\a",
    "{a}",
    "{a,b}",
    "[]a]",
    "a\\ b",
    "[[:alpha:]]",
];

fn pick<'a>(random: &mut Random, from: &[&'a str]) -> &'a str {
    from[random.below(from.len() as u64) as usize]
}

/// A line that may be a pattern.
fn pattern(random: &mut Random) -> String {
    let mut line = String::new();
    if random.below(4) == 0 {
        line.push('!');
    }
    if random.below(3) == 0 {
        line.push('/');
    }
    for at in 0..=random.below(3) {
        if at > 0 {
            line.push('/');
        }
        line.push_str(pick(random, &PIECES));
    }
    line.push_str(pick(random, &["", "", "/", " ", "/**", "\r"]));
    line
}

fn patterns(random: &mut Random) -> Vec<String> {
    let lines = (0..random.below(5)).map(|_| pattern(random)).collect::<Vec<_>>();
    // Git passes over what never matches; here it is an error.
    lines.into_iter().filter(|line| Patterns::read([line.trim_end_matches('\r')]).is_ok()).collect()
}

/// Fills a directory with files, links and directories, and with ignore files of both names.
fn fill(random: &mut Random, directory: &Path, depth: u64) {
    fs::create_dir_all(directory).unwrap();
    for name in NAMES {
        let path = directory.join(name);
        match random.below(5) {
            0 | 1 => fs::write(path, "x").unwrap(),
            2 => std::os::unix::fs::symlink(".", path).unwrap(),
            3 if depth > 0 => fill(random, &path, depth - 1),
            _ => {}
        }
    }
    if random.below(2) == 0 {
        let text = patterns(random).join("\n");
        fs::write(directory.join(".bndlrignore"), &text).unwrap();
        fs::write(directory.join(".gitignore"), text).unwrap();
    }
}

fn git(root: &Path, arguments: &[&str], input: &str) -> String {
    use std::io::Write;
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(root)
        .args(arguments)
        .env_clear()
        .env("HOME", root)
        .env("PATH", std::env::var_os("PATH").unwrap());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    // It ends with 1 where nothing is ignored.
    assert!(output.status.code() <= Some(1), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The files that git sees, with these patterns on the command line.
fn seen_by_git(root: &Path, exclude: &[String]) -> BTreeSet<String> {
    let mut arguments = vec!["ls-files", "-z", "--others", "--exclude-per-directory=.bndlrignore"];
    for pattern in exclude {
        arguments.extend(["--exclude", pattern]);
    }
    let files = git(root, &arguments, "");
    files.split_terminator('\0').filter(|path| !path.ends_with(".bndlrignore")).map(str::to_owned).collect()
}

/// The file, the line and the pattern that git names for each of these paths.
fn reasons_of_git(root: &Path, paths: &[&str]) -> Vec<(String, String, String)> {
    let input: String = paths.iter().flat_map(|path| [*path, "\0"]).collect();
    let answer = git(root, &["check-ignore", "-v", "-n", "-z", "--stdin", "--no-index"], &input);
    let fields: Vec<_> = answer.split_terminator('\0').collect();
    fields
        .chunks(4)
        .map(|one| (one[0].replace(".gitignore", ".bndlrignore"), one[1].to_owned(), one[2].to_owned()))
        .collect()
}

fn files(tree: &Tree) -> BTreeSet<String> {
    let files = tree.entries().filter(|entry| *entry.kind() != Kind::Directory);
    files.map(|entry| entry.path().to_owned()).collect()
}

#[test]
fn what_stays_and_what_goes_is_as_git_has_it() {
    if peer::require("git").is_none() {
        return;
    }
    for seed in 0..TREES {
        let (root, mut random) = (TempDir::new().unwrap(), Random(seed));
        fill(&mut random, root.path(), 3);
        git(root.path(), &["init", "-q"], "");
        let exclude = if seed % 2 == 0 { Vec::new() } else { patterns(&mut random) };
        // On the command line, git takes what a line may end with for what it is.
        let exclude: Vec<_> = exclude.iter().map(|pattern| pattern.trim_end_matches(['\r', ' ']).to_owned()).collect();
        let tree = scan(root.path(), &Selection { exclude: exclude.clone(), ..Selection::default() }).unwrap();
        assert_eq!(files(&tree), seen_by_git(root.path(), &exclude), "seed {seed}: {exclude:?}");

        if !exclude.is_empty() {
            // Of these, it cannot be asked for reasons.
            continue;
        }
        let ignored: Vec<_> = tree.left_out().iter().filter(|left| matches!(left.why, Why::Ignored { .. })).collect();
        let paths: Vec<_> = ignored.iter().map(|left| left.path.as_str()).collect();
        for (left, reason) in ignored.iter().zip(reasons_of_git(root.path(), &paths)) {
            let Why::Ignored { file, line, pattern } = &left.why else { unreachable!() };
            let file = Path::new(&**file).strip_prefix(root.path()).unwrap().to_str().unwrap().to_owned();
            assert_eq!((file, line.to_string(), pattern.clone()), reason, "seed {seed}: {}", left.path);
        }
    }
}
