//! The order of the rooms, held against the sources: an import that points the wrong way fails here.
//!
//! The sources are read as tokens, without resolving anything, so the rules are stricter than the language: the crate's
//! root is never imported whole or renamed, and nothing but rooms lies in it.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms, from left to right. One may import what stands before its own row, and nothing of its row.
const ORDER: &[&[&str]] = &[
    &["text"],
    &["digest"],
    &["reference"],
    &["manifest"],
    &["protocol"],
    &["content"],
    &["archive"],
    &["bundle"],
    &["pack", "unpack", "layout", "remote", "server"],
    &["compare", "quine"],
    &["cli"],
];

const MAX_LINES: usize = 600;

fn rank(room: &str) -> Option<usize> {
    ORDER.iter().position(|row| row.contains(&room))
}

/// What is wrong with the imports of one file, which is named as seen from the root of the package.
fn wrong_imports(path: &str, text: &str) -> Vec<String> {
    let module = module_of(path);
    let room = module.first().cloned().unwrap_or_default();
    let mut scan = Scan::new(text, module, path == "src/main.rs");
    scan.run();
    let judge = |import: &Import| -> Option<String> {
        let why = match (path, &import.target) {
            (_, Target::Evasion(what)) => (*what).to_owned(),
            ("src/lib.rs", Target::Room(_)) => return None,
            ("src/main.rs", Target::Room(target)) if target == "cli" => return None,
            ("src/main.rs", Target::Room(target)) => format!("main uses `{target}`, it may use `cli` alone"),
            (_, Target::Room(target)) if *target == room => return None,
            (_, Target::Room(target)) => match (rank(&room), rank(target)) {
                (_, None) => format!("`crate::{target}` is no room"),
                (None, _) => format!("`{room}` is no room, so nothing says what it may import"),
                (Some(here), Some(there)) if there < here => return None,
                (Some(here), Some(there)) if there == here => format!("`{room}` imports `{target}`, its neighbour"),
                _ => format!("`{room}` imports `{target}`, which stands to its right"),
            },
        };
        Some(format!("{path}:{}: {why}", import.line))
    };
    scan.imports.iter().filter_map(judge).collect()
}

fn module_of(path: &str) -> Vec<String> {
    let path = path.strip_prefix("src/").unwrap_or(path);
    let path = path.strip_suffix(".rs").unwrap_or(path);
    match path {
        "lib" | "main" => Vec::new(),
        _ => path.strip_suffix("/mod").unwrap_or(path).split('/').map(str::to_owned).collect(),
    }
}

#[derive(Debug, PartialEq)]
enum Target {
    Room(String),
    /// A spelling that would let an import pass unseen.
    Evasion(&'static str),
}

struct Import {
    line: usize,
    target: Target,
}

/// Walks the tokens of one file and collects what it imports from the crate's root.
struct Scan<'a> {
    tokens: Vec<(usize, &'a str)>,
    at: usize,
    module: Vec<String>,
    is_main: bool,
    imports: Vec<Import>,
}

impl<'a> Scan<'a> {
    fn new(text: &'a str, module: Vec<String>, is_main: bool) -> Self {
        Self { tokens: tokens(text), at: 0, module, is_main, imports: Vec::new() }
    }

    fn token(&self, offset: usize) -> &'a str {
        self.tokens.get(self.at + offset).map_or("", |(_, token)| token)
    }

    fn found(&mut self, target: Target) {
        let line = self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |(line, _)| *line);
        self.imports.push(Import { line, target });
    }

    fn run(&mut self) {
        let mut depths = Vec::new();
        while self.at < self.tokens.len() {
            match self.token(0) {
                "mod" if self.token(2) == "{" => {
                    depths.push(self.module.len());
                    self.module.push(self.token(1).to_owned());
                    self.at += 2;
                }
                "mod" if self.is_main => self.found(Target::Evasion("main has modules of its own")),
                "{" => depths.push(self.module.len()),
                "}" => self.module.truncate(depths.pop().unwrap_or_default()),
                "[" if self.token(1) == "path" && self.token(2) == "=" => {
                    self.found(Target::Evasion("a module lies elsewhere than its name says"));
                }
                "include" if self.token(1) == "!" => self.found(Target::Evasion("code is included")),
                "extern" if self.token(1) == "crate" && self.token(2) == "self" => {
                    self.found(Target::Evasion("the crate gets another name"));
                    self.at += 2;
                }
                "crate" | "super" | "self" => {
                    self.tree(self.module.clone());
                    continue;
                }
                "bndlr" if self.is_main => {
                    self.tree(Vec::new());
                    continue;
                }
                _ => {}
            }
            self.at += 1;
        }
    }

    /// Reads one path, or one tree of a `use`, that starts in `module`, and stops behind it.
    fn tree(&mut self, mut module: Vec<String>) {
        loop {
            match self.token(0) {
                "crate" | "bndlr" => module.clear(),
                "super" => drop(module.pop()),
                "self" => {}
                "*" if module.is_empty() => self.found(Target::Evasion("the whole crate is imported")),
                "{" => return self.branches(&module),
                name if is_name(name) => {
                    if module.is_empty() {
                        self.found(Target::Room(name.to_owned()));
                    }
                    module.push(name.to_owned());
                }
                "*" => {}
                _ => return,
            }
            self.at += 1;
            if self.token(0) == "as" && module.is_empty() {
                self.found(Target::Evasion("the crate gets another name"));
            }
            if self.token(0) != "::" {
                return;
            }
            self.at += 1;
        }
    }

    fn branches(&mut self, module: &[String]) {
        self.at += 1;
        while !matches!(self.token(0), "}" | "") {
            self.tree(module.to_vec());
            while !matches!(self.token(0), "," | "}" | "") {
                self.at += 1;
            }
            if self.token(0) == "," {
                self.at += 1;
            }
        }
        self.at += 1;
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The tokens of a Rust source with their lines: names, `::`, and single characters; no comments, no literals.
fn tokens(text: &str) -> Vec<(usize, &str)> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (length, is_token) = next_token(rest, first);
        let (token, after) = rest.split_at(length);
        if is_token {
            tokens.push((line, token.strip_prefix("r#").unwrap_or(token)));
        }
        line += token.matches('\n').count();
        rest = after;
    }
    tokens
}

/// The length of what `rest` starts with, and whether it is a token that matters.
fn next_token(rest: &str, first: char) -> (usize, bool) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    if let Some(length) = string(rest) {
        return (length, false);
    }
    if first == '\'' {
        return (character_or_lifetime(rest), false);
    }
    if first.is_alphanumeric() || first == '_' {
        let start = if rest.starts_with("r#") { 2 } else { 0 };
        let end = rest[start..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - start);
        return (start + end, true);
    }
    if rest.starts_with("::") {
        return (2, true);
    }
    (first.len_utf8(), !first.is_whitespace())
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string literal, of whatever kind, that `rest` starts with.
fn string(rest: &str) -> Option<usize> {
    let prefix = ["br", "cr", "b", "c", "r", ""].into_iter().find(|prefix| {
        rest.strip_prefix(prefix).is_some_and(|rest| {
            let rest = if prefix.ends_with('r') { rest.trim_start_matches('#') } else { rest };
            rest.starts_with('"')
        })
    })?;
    let body = &rest[prefix.len()..];
    if prefix.ends_with('r') {
        let fence = &body[..body.find('"')?];
        let end = format!("\"{fence}");
        let start = fence.len() + 1;
        let length = body[start..].find(&end).map_or(body.len(), |at| start + at + end.len());
        return Some(prefix.len() + length);
    }
    let mut escaped = false;
    let end = body[1..].find(|c| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    });
    Some(prefix.len() + end.map_or(body.len(), |at| at + 2))
}

fn character_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let first = chars.next();
    let second = chars.next();
    match (first, second) {
        (Some((_, '\\')), Some((after, escaped))) => {
            let after = after + escaped.len_utf8();
            rest[after..].find('\'').map_or(rest.len(), |at| after + at + 1)
        }
        (_, Some((at, '\''))) => at + 1,
        _ => 1,
    }
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![PathBuf::from("src")];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            let whole = root.join(&path);
            let name = path.to_str().unwrap().replace('\\', "/");
            if whole.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push((name, fs::read_to_string(whole).unwrap()));
            }
        }
    }
    sources.sort();
    assert!(sources.iter().any(|(path, _)| path == "src/lib.rs"), "the sources are not where this test looks");
    sources
}

#[test]
fn imports_point_one_way() {
    let wrong: Vec<_> = sources().iter().flat_map(|(path, text)| wrong_imports(path, text)).collect();
    assert!(wrong.is_empty(), "imports point the wrong way:\n{}\n(the order is in src/lib.rs)", wrong.join("\n"));
}

#[test]
fn every_room_has_its_place_and_its_line_in_the_map() {
    let sources = sources();
    let (_, map) = sources.iter().find(|(path, _)| path == "src/lib.rs").unwrap();
    let mut rooms: Vec<_> = sources.iter().filter_map(|(path, _)| module_of(path).first().cloned()).collect();
    rooms.dedup();
    for room in rooms {
        assert!(rank(&room).is_some(), "the room `{room}` has no place in the order of tests/layering.rs");
        let row = format!("//! | [`{room}`]");
        assert!(map.lines().any(|line| line.starts_with(&row)), "src/lib.rs has no row for `{room}` in its table");
    }
}

#[test]
fn no_file_is_two_rooms_in_one() {
    for (path, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MAX_LINES, "{path} has {lines} lines, more than {MAX_LINES}");
    }
}

#[test]
fn a_wrong_import_is_found_in_every_spelling() {
    let wrong = [
        ("src/digest.rs", "use crate::reference::Name;"),
        ("src/digest.rs", "use crate::content;"),
        ("src/digest.rs", "pub use crate::content as store;"),
        ("src/digest.rs", "use crate :: content :: copy ;"),
        ("src/digest.rs", "use ::std::fs; use crate::/* here */cli;"),
        ("src/digest.rs", "use super::manifest::Descriptor;"),
        ("src/digest.rs", "use self::super::manifest::Descriptor;"),
        ("src/digest.rs", "fn f() { crate::remote::push(); }"),
        ("src/digest.rs", "fn f(d: &'static crate::manifest::Descriptor) {}"),
        ("src/digest.rs", "impl From<crate::manifest::Invalid> for Error {}"),
        ("src/digest.rs", "fn f() { let c = '\"'; crate::remote::push(); let d = '\"'; }"),
        ("src/digest.rs", "fn f() { let c = '\\''; crate::remote::push(); let d = '\\''; }"),
        ("src/digest.rs", "const A: &str = r#\"a\"b\"#; use crate::cli; const B: &str = r#\"\"#;"),
        ("src/digest.rs", "macro_rules! m { () => { $crate::cli::run() } }"),
        ("src/digest.rs", "#[cfg(test)] mod tests { use super::*; use crate::content::Memory; }"),
        ("src/digest.rs", "#[cfg(test)] mod tests { use super::super::content::Memory; }"),
        ("src/digest.rs", "mod a { mod b { use super::super::super::content; } }"),
        ("src/digest.rs", "mod a {} use super::content;"),
        ("src/digest.rs", "mod a { fn f() {} } use super::content;"),
        ("src/reference.rs", "use crate::{digest, manifest};"),
        ("src/manifest/raw.rs", "use super::super::protocol::Endpoint;"),
        ("src/manifest/raw.rs", "use crate::{digest::{Digest, Verifier}, content::{self, copy}};"),
        ("src/manifest/raw.rs", "use crate::{digest::{self, Digest}, protocol};"),
        ("src/manifest/raw.rs", "use super::{json, super::content};"),
        ("src/manifest/mod.rs", "use super::content;"),
        ("src/pack/walk.rs", "use crate::unpack::Limits;"),
        ("src/pack/walk.rs", "use crate::compare::Difference;"),
        ("src/remote/mod.rs", "use crate::server::Server;"),
        ("src/server/storage/memory.rs", "use super::super::super::remote::Remote;"),
        ("src/compare/mod.rs", "use crate::quine;"),
        ("src/quine.rs", "use crate::cli::Failure;"),
        ("src/pack/mod.rs", "use crate::Bundle;"),
        ("src/pack/mod.rs", "use crate::*;"),
        ("src/pack/mod.rs", "use super::*;"),
        ("src/pack/mod.rs", "use crate as house;"),
        ("src/pack/mod.rs", "use crate::{self as house};"),
        ("src/pack/mod.rs", "#[path = \"../remote/mod.rs\"] mod far;"),
        ("src/pack/mod.rs", "include!(\"../remote/mod.rs\");"),
        ("src/lib.rs", "extern crate self as bndlr;"),
        ("src/cellar/mod.rs", "use crate::digest;"),
        ("src/main.rs", "use bndlr::pack;"),
        ("src/main.rs", "use bndlr::{cli, pack};"),
        ("src/main.rs", "fn main() { bndlr::cli::run(bndlr::content::Memory::new()); }"),
        ("src/main.rs", "use ::bndlr::pack;"),
        ("src/main.rs", "use bndlr::*;"),
        ("src/main.rs", "use bndlr as house;"),
        ("src/main.rs", "mod pack;"),
    ];
    for (path, text) in wrong {
        let found = wrong_imports(path, text);
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
    }
}

#[test]
fn a_right_import_is_left_alone() {
    let right = [
        ("src/lib.rs", "pub mod digest; pub mod cli; pub use crate::cli::run;"),
        ("src/main.rs", "fn main() -> ExitCode { bndlr::cli::run() }"),
        ("src/main.rs", "use bndlr::cli; fn main() {}"),
        ("src/reference.rs", "use crate::digest::{self, Digest};"),
        ("src/digest.rs", "pub(crate) struct A; pub(super) struct B; pub(in crate::digest) struct C;"),
        ("src/digest.rs", "mod tests { use super::*; use super::content; use self::super::pack; }"),
        (
            "src/digest.rs",
            "// use crate::cli;\n/* crate::cli /* crate::cli */ crate::cli */ /// [`crate::cli`]\nstruct A;",
        ),
        ("src/digest.rs", "const A: &str = \"crate::cli \\\" crate::cli\"; const B: &[u8] = br##\"\"#crate::cli\"##;"),
        ("src/digest.rs", "impl A { fn f(&self) -> usize { self.content.len() } }"),
        ("src/digest.rs", "fn f() { std::cli::f(); superb::content::f(); bndlr::content::f(); }"),
        ("src/content/copy.rs", "use super::{Error, read_manifest}; use super::memory::Memory;"),
        ("src/content/copy.rs", "use crate::content::ErrorKind; use crate::protocol::ErrorCode;"),
        ("src/server/storage/memory.rs", "use super::super::blobs; use crate::bundle::Index;"),
        ("src/compare/mod.rs", "use crate::{bundle, pack::{Options, pack}, remote::Remote, unpack};"),
        ("src/cli/push.rs", "use crate::{compare, quine, remote, server}; use super::output::Output;"),
    ];
    for (path, text) in right {
        assert_eq!(wrong_imports(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn a_wrong_import_is_named_with_its_line() {
    let text = "//! Docs.\n\nuse crate::digest::Digest;\nconst A: &str = \"\n\";\nuse crate::{\n    content,\n    server::Server,\n};\n";
    assert_eq!(
        wrong_imports("src/remote/mod.rs", text),
        ["src/remote/mod.rs:8: `remote` imports `server`, its neighbour"],
    );
}
