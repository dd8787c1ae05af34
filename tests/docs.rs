//! Every command in the documents is run: each block of a document in a directory of its own, beside a registry that has what
//! the document names. What a document shows of a run is what comes out.

mod peer;
mod program;
mod serve;

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use program::{Desk, Ran, Running, finish, signal, wait};
use serve::Serve;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PASSWORD: &str = "docs-secret";

/// Commands of other programs, which no test here runs.
const OF_OTHERS: [&str; 7] = ["cargo ", "BNDLR_INTEROP_RESULTS=", ".ci/", "docker ", "htpasswd ", "export ", "("];
/// Hosts in documents, for which the registry of this test stands in.
const HOSTS: [&str; 4] = ["registry.example.com", "registry.example", "ghcr.io", "localhost:5000"];

/// What stands between fences in a document.
struct Block {
    language: String,
    lines: Vec<String>,
}

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(Path::new(ROOT).join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> = docs.filter(|path| path.extension().is_some_and(|kind| kind == "md")).collect();
    documents.extend(["README.md", "CONTRIBUTING.md"].map(|name| Path::new(ROOT).join(name)));
    documents
}

fn blocks(document: &Path) -> Vec<Block> {
    let (mut blocks, mut inside): (Vec<Block>, Option<Block>) = (Vec::new(), None);
    for line in fs::read_to_string(document).unwrap().lines() {
        match (line.strip_prefix("```"), &mut inside) {
            (Some(_), Some(_)) => blocks.extend(inside.take()),
            (Some(language), None) => inside = Some(Block { language: language.to_owned(), lines: Vec::new() }),
            (None, Some(block)) => block.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    assert!(inside.is_none(), "{} ends within a block", document.display());
    blocks
}

impl Block {
    /// The commands of a script, without comments.
    fn commands(&self) -> Vec<String> {
        let text = self.lines.join("\n").replace("\\\n", " ");
        let bare = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
        text.lines().filter(|line| !line.starts_with('#')).map(bare).filter(|command| !command.is_empty()).collect()
    }

    /// Each command of a session, and what it printed.
    fn session(&self) -> Vec<(&str, String)> {
        let mut session: Vec<(&str, String)> = Vec::new();
        for line in &self.lines {
            match (line.strip_prefix("$ "), session.last_mut()) {
                (Some(command), _) => session.push((command, String::new())),
                (None, Some((_, printed))) => {
                    printed.push_str(line);
                    printed.push('\n');
                }
                (None, None) => panic!("a session begins with a command: {line}"),
            }
        }
        session
    }
}

/// A registry, and what documents take for granted beside it.
struct Scene {
    desk: Desk,
    address: String,
    _registry: Serve,
}

impl Scene {
    fn new() -> Self {
        let desk = Desk::new();
        let copy = |from: &str, to: PathBuf| {
            let ran = desk.process("cp").arg("-a").arg(Path::new(ROOT).join(from)).arg(to).output();
            assert!(ran.status.success());
        };
        for name in ["manifests", "config", "policies", "report"] {
            copy("testdata/manifests", desk.path(name));
        }
        for (name, text) in
            [("rules.yaml", "{}"), ("report.txt", "all is well"), ("sbom.json", "{}"), ("token.txt", PASSWORD)]
        {
            desk.write(name, text);
        }
        for (name, from) in [("server.pem", "leaf.pem"), ("server.key", "leaf.key")] {
            copy(&format!("tests/tls/{from}"), desk.path(name));
        }
        for archive in ["yesterday.tar", "today.tar"] {
            desk.run(&format!("build manifests -o archive:{archive} -q")).ok();
        }
        desk.write("users", &format!("alice:{}\n", bcrypt::hash(PASSWORD, 4).unwrap()));
        let git = "git init -q && git add manifests && git -c user.name=a -c user.email=a@localhost commit -qm one";
        assert!(desk.process("bash").args(["-c", git]).output().status.success());
        let registry = Serve::start(&desk, "--htpasswd users");
        Self { desk, address: registry.address.clone(), _registry: registry }
    }

    /// A command, with what there is here in place of what a user would have.
    fn here(&self, command: &str) -> String {
        let mut command = HOSTS.iter().fold(command.to_owned(), |command, host| command.replace(host, &self.address));
        for (from, to) in [
            ("/var/lib/bndlr", "kept"),
            ("/etc/app", "config"),
            ("0.0.0.0:5000", "127.0.0.1:0"),
            ("127.0.0.1:5000", "127.0.0.1:0"),
            ("ubuntu:24.04", &format!("{}/library/ubuntu:24.04", self.address)),
        ] {
            command = command.replace(from, to);
        }
        command
    }

    fn bash(&self, command: &str) -> Ran {
        let mut shell = self.desk.process("bash");
        shell.args(["-o", "pipefail", "-c", command]).env("USER_NAME", "alice").env("TOKEN", PASSWORD);
        finish(shell)
    }

    fn log_in(&self) {
        self.desk.run(&format!("login {} -u alice -p {PASSWORD}", self.address)).ok();
    }

    /// Pushes what a command reads from the registry.
    fn seed(&self, command: &str) {
        let place = format!("{}/", self.address);
        for word in command.split([' ', '(', ')']).filter(|word| word.starts_with(&place) && !word.contains('@')) {
            let platform = if command.contains("linux/arm64") { "linux/arm64" } else { "linux/amd64" };
            self.desk.run(&format!("push manifests {word} -q --platform {platform}")).ok();
        }
    }

    fn run(&self, command: &str) {
        let here = self.here(command);
        self.log_in();
        if command.starts_with("bndlr serve") || command.starts_with("bndlr quine") {
            return self.serve(&here);
        }
        self.seed(&here);
        if let Some((_, after)) = here.split_once(" -o ./")
            && !here.contains("--update")
        {
            let _ = fs::remove_dir_all(self.desk.path(after.split(' ').next().unwrap()));
        }
        if here.starts_with("bndlr gc") {
            self.serve("bndlr serve --root kept");
        }
        let ran = self.bash(&here);
        let may_differ = ["diff", "verify", "why"].iter().any(|word| command.starts_with(&format!("bndlr {word} ")));
        let may_differ = may_differ || command.contains("--check");
        assert!(ran.code == Some(0) || (may_differ && ran.code == Some(1)), "{command}\n{ran:?}");
    }

    /// A server comes up, and goes when it is told to.
    fn serve(&self, command: &str) {
        let mut words = command.split_whitespace().skip(1);
        let mut process = if words.clone().next() == Some("quine") {
            let Some(program) = peer::require_static() else { return };
            self.desk.process(program)
        } else {
            self.desk.bndlr()
        };
        process.args(&mut words);
        if !command.contains("--listen") {
            process.args(["--listen", "127.0.0.1:0"]);
        }
        let mut server = process.start();
        assert!(first_line(&mut server).contains(':'), "{command}: {}", server.log());
        signal(&server, "TERM");
        assert_eq!(wait(server).code, Some(0), "{command}");
    }
}

fn first_line(server: &mut Running) -> String {
    let mut line = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line.trim().to_owned()
}

/// Whether what a command wants is not here, and other tests have it.
fn is_run_elsewhere(command: &str) -> bool {
    // Somebody at a terminal, in tests/credentials; and a bucket, in tests/s3.
    (command.starts_with("bndlr login") && !command.contains("-u")) || command.contains("--storage s3:")
}

#[test]
fn every_command_in_the_documents_does_what_it_should() {
    let Some(_) = ["git", "jq"].into_iter().map(peer::require).collect::<Option<Vec<_>>>() else { return };
    let mut run = 0;
    for document in documents() {
        for block in blocks(&document).iter().filter(|block| block.language == "sh") {
            let commands = block.commands();
            let ours: Vec<_> =
                commands.iter().filter(|command| !OF_OTHERS.iter().any(|other| command.starts_with(other))).collect();
            if ours.is_empty() {
                continue;
            }
            let scene = Scene::new();
            for command in ours.into_iter().filter(|command| !is_run_elsewhere(command)) {
                assert!(command.contains("bndlr "), "{}: {} is run by no test", document.display(), command);
                eprintln!("{}: {}", document.display(), command);
                scene.run(command);
                run += 1;
            }
        }
    }
    assert!(run > 40, "only {run} commands were run");
}

#[test]
fn what_the_readme_shows_of_a_session_is_what_comes_out() {
    let readme = Path::new(ROOT).join("README.md");
    let blocks = blocks(&readme);
    let sessions = blocks.iter().filter(|block| block.language == "console" && block.lines[0].contains("./manifests"));
    let mut shown = 0;
    for block in sessions {
        let scene = Scene::new();
        scene.log_in();
        for (command, printed) in block.session() {
            let ran = scene.bash(&format!("{} 2>&1", scene.here(command).replace(" |", " 2>&1 |")));
            let found = ran.stdout.replace(&scene.address, "localhost:5000");
            // Blobs are uploaded at the same time, and the one that is done first is shown first.
            assert_eq!(sorted(&found), sorted(&printed), "{command}");
            shown += 1;
        }
    }
    assert!(shown >= 4, "{shown}");
}

/// The first session of the README as a picture of a terminal, in `docs/session.svg`.
#[test]
fn the_picture_shows_the_session_of_the_readme() {
    let blocks = blocks(&Path::new(ROOT).join("README.md"));
    let session = blocks.iter().find(|block| block.language == "console").unwrap();
    let (drawn, path) = (draw(&session.lines), Path::new(ROOT).join("docs/session.svg"));
    if std::env::var_os("BNDLR_DRAW").is_some() {
        fs::write(&path, &drawn).unwrap();
    }
    assert!(fs::read_to_string(path).unwrap() == drawn, "BNDLR_DRAW=1 cargo test --test docs draws it anew");
}

/// Lines of a terminal: commands stand out, and what is too long ends in `…`.
fn draw(lines: &[String]) -> String {
    const COLUMNS: usize = 100;
    const LINE: usize = 20;
    const MARGIN: usize = 20;
    let (width, height) = (COLUMNS * 8 + 2 * MARGIN, lines.len() * LINE + 2 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1b1f24\"/>\n\
         <g font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\" fill=\"#9da7b3\" style=\"white-space:pre\">\n"
    );
    for (at, line) in lines.iter().enumerate() {
        let mut shown: String = line.chars().take(COLUMNS).collect();
        if shown.len() < line.len() {
            shown = line.chars().take(COLUMNS - 1).chain(['…']).collect();
        }
        let shown = shown.replace('&', "&amp;").replace('<', "&lt;");
        let stands_out = if line.starts_with("$ ") { " fill=\"#ffffff\" font-weight=\"bold\"" } else { "" };
        let y = MARGIN + at * LINE + 14;
        writeln!(svg, "<text x=\"{MARGIN}\" y=\"{y}\"{stands_out}>{shown}</text>").unwrap();
    }
    svg + "</g>\n</svg>\n"
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Links in the documents, and in comments there, lead to what there is.
#[test]
fn what_the_documents_link_to_is_there() {
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        for (_, after) in text.match_indices("](").map(|(at, _)| text.split_at(at + 2)) {
            let target = after.split(')').next().unwrap().split('#').next().unwrap();
            if target.is_empty() || target.starts_with("http") {
                continue;
            }
            assert!(document.parent().unwrap().join(target).exists(), "{}: {target}", document.display());
        }
    }
}
