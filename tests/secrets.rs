//! That no output of any test has a secret in it: every test runs the program where its output is searched, and whatever
//! tests use as a secret is one that is searched for. The sources of the tests are read here.

mod program;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use program::secrets::MARKS;
use program::{Desk, Program, finish, wait};

/// What names the program, for whoever would start it.
const NAMES: [&str; 5] = ["CARGO_BIN_EXE", "cargo_bin", "debug/bndlr", "release/bndlr", "cargo run"];
/// Where a secret stands in a document or a query.
const PLACES: [&str; 9] = [
    "\"token\":",
    "\"access_token\":",
    "\"refresh_token\":",
    "\"identitytoken\":",
    "\"registrytoken\":",
    "\"password\":",
    "Signature=",
    "sig=",
    "_state=",
];

/// The sources of all tests but this one.
fn sources() -> Vec<(PathBuf, String)> {
    let (mut folders, mut sources) = (vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests/secrets.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                sources.push((path, text));
            }
        }
    }
    assert!(sources.len() > 50, "the sources are not where this test looks");
    sources
}

#[test]
fn the_program_is_run_only_where_its_output_is_searched() {
    for (path, text) in sources() {
        let found: Vec<_> = NAMES.iter().filter(|name| text.contains(*name)).collect();
        let is_the_place = path.ends_with("program/mod.rs");
        assert!(found.is_empty() || is_the_place, "{} starts the program itself: {found:?}", path.display());
        if is_the_place {
            assert_eq!(text.matches("CARGO_BIN_EXE").count(), 1);
            assert!(text.contains("\nconst BNDLR: &str"), "nobody else knows where it is");
        }
    }
}

/// What is said in these places: the literals, and not what is put together.
fn said(text: &str) -> Vec<String> {
    let text = text.replace("\\\"", "\"");
    let all = PLACES.iter().flat_map(|place| text.match_indices(place).map(|(at, _)| &text[at + place.len()..]));
    let values = all.filter_map(|rest| {
        let rest = rest.trim_start_matches([' ', '"', '[']);
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)))?;
        let is_literal = end > 0 && rest[end..].starts_with(['"', '&', '\\']);
        is_literal.then(|| rest[..end].to_owned())
    });
    values.collect()
}

#[test]
fn what_tests_use_as_a_secret_is_searched_for() {
    for (path, text) in sources() {
        for value in said(&text) {
            let is_known = MARKS.iter().any(|mark| value.contains(mark));
            assert!(is_known, "{}: {value:?} is a secret that nobody would find: write {value}-secret", path.display());
        }
    }
    assert_eq!(said(r#"{"token": "t0"} {"token":["a"]} "/x?sig=b&c""#), ["t0", "a", "b"]);
}

/// Whether what this does is found out.
fn is_found(leak: impl FnOnce()) -> bool {
    let said = catch_unwind(AssertUnwindSafe(leak));
    said.is_err_and(|error| error.downcast_ref::<String>().is_some_and(|text| text.starts_with("the program shows a ")))
}

#[test]
fn a_secret_is_found_wherever_the_program_shows_it() {
    let desk = Desk::new();
    let shell = |script: &str| {
        let mut shell = desk.process("sh");
        shell.args(["-c", script]);
        shell
    };
    // Nothing of these is what the shell is told: what is made of that, it prints.
    let made = |secret: &str| format!("printf 'a\\n%sx' {}", secret.replace('-', "-''"));
    let token = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJhIn0";
    for secret in ["bearer-secret", "correct-horse", "YWxpY2U6Y29ycmVjdC1ob3JzZQ", token] {
        for script in [made(secret), format!("{{ {}; }} >&2", made(secret))] {
            assert!(is_found(|| drop(finish(shell(&script)))), "{script}");
            assert!(is_found(|| drop(shell(&script).output())), "{script}");
            assert!(is_found(|| drop(wait(shell(&script).start()))), "{script}");
        }
    }
    assert!(!is_found(|| drop(finish(shell("echo bearer; echo eyJ; echo secret")))));
}

#[test]
fn what_a_run_is_told_is_a_secret_of_that_run() {
    let desk = Desk::new();
    let says = |text: &str, arguments: &[&str], proxy: &str| {
        let mut shell: Program = desk.process("sh");
        shell.args(["-c", &format!("echo {text}"), "sh"]).args(arguments).env("HTTPS_PROXY", proxy);
        is_found(|| drop(finish(shell)))
    };
    assert!(says("Xyz9", &["-u", "eve", "-p", "Xyz9"], ""));
    assert!(says("ZXZlOnB3", &["--username", "eve", "--password", "pw"], ""), "eve:pw in Base64");
    assert!(!says("pw", &["-u", "eve", "-p", "pw"], ""), "which is a word");
    assert!(says("dXNlcjpQdzE", &[], "http://user:Pw1@h:1"));
    assert!(says("Pw1", &[], "http://user:Pw1@h:1"));
    assert!(says("Pw1", &["https://eve:Pw1@h.io/a"], ""));
    assert!(!says("Pw1", &[], ""));
    assert!(!says("bearer-''secret", &["token"], ""), "which is what it is for");
}
