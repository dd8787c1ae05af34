//! What the program says, word for word: the help of every command, what it tells when all goes well, and each error with its
//! hint. Somebody has looked at it; a change shows here (`CONTRIBUTING.md` says how to take it).

mod embedded;
mod program;
mod snapshot;

use std::fs;

use embedded::Embedded;
use program::{Desk, Ran};

/// The names of the commands that a help lists.
fn commands(help: &str) -> Vec<String> {
    let list = help.split_once("\nCommands:\n").map_or("", |(_, list)| list);
    let lines = list.lines().take_while(|line| line.starts_with("  "));
    // What a command is for may take several lines; they begin further to the right.
    let names = lines.filter(|line| !line.starts_with("   ")).filter_map(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(str::to_owned).collect()
}

#[test]
fn every_command_has_help_that_teaches() {
    let desk = Desk::new();
    let mut waiting: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let arguments: Vec<&str> = path.iter().map(String::as_str).chain(["--help"]).collect();
        let help = desk.run_with(&arguments, &[]).ok();
        let name = ["bndlr"].into_iter().chain(path.iter().map(String::as_str)).collect::<Vec<_>>().join("-");
        snapshot::assert(&format!("help/{name}.txt"), &help);
        let below = commands(&help);
        assert!(help.contains("\nExample") || !below.is_empty(), "{name} has no example");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{name} has a line that is too long");
        let examples = help.split_once("\nExample").map_or("", |(_, examples)| examples);
        // What is broken in two on a common terminal cannot be copied.
        assert!(examples.lines().all(|line| line.chars().count() <= 80), "{name} has an example that is too long");
        waiting.extend(below.into_iter().map(|name| path.iter().cloned().chain([name]).collect()));
        seen += 1;
    }
    assert!(seen > 35, "{seen} commands");
}

/// A run as a person sees it, with `HOST` for the registry.
fn transcript(command: &str, ran: &Ran, host: &str) -> String {
    let mut told: Vec<&str> = ran.stderr.lines().collect();
    // Blobs are under way at once.
    let is_blob = |line: &&str| {
        line.ends_with('B') && ["Exists", "Mounted", "Uploading", "Writing"].iter().any(|verb| line.starts_with(verb))
    };
    for blobs in told.chunk_by_mut(|one, two| is_blob(one) && is_blob(two)) {
        blobs.sort_unstable();
    }
    let stdout = if ran.stdout.is_empty() { String::new() } else { format!("{}\n", ran.stdout.trim_end()) };
    let stderr: String = told.into_iter().flat_map(|line| [line, "\n"]).collect();
    let code = ran.code.filter(|code| *code != 0).map(|code| format!("[exit code {code}]\n")).unwrap_or_default();
    format!("$ bndlr {command}\n{stderr}{stdout}{code}\n").replace(host, "HOST")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_when_all_goes_well() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let host = registry.address().clone();
    let mut text = String::new();
    for command in [
        "push ./tree HOST/demo:v1",
        "push ./tree HOST/demo:v1",
        "push ./tree HOST/demo:v2 HOST/other:v2 -t latest",
        "push ./tree --list --exclude sub",
        "build ./tree -o oci:layout:v1",
        "pull HOST/demo:v1 -o ./copy",
        "ls HOST/demo:v1",
        "ls -l HOST/demo:v1",
        "cat HOST/demo:v1 a.txt",
        "diff HOST/demo:v1 ./tree",
        "inspect HOST/demo:v1",
        "resolve HOST/demo:v1",
        "validate HOST/demo:v1",
        "tag HOST/demo:v1 stable",
        "tags HOST/demo",
        "copy HOST/demo:v1 oci:copied",
        "catalog HOST",
    ] {
        let ran = desk.run(&command.replace("HOST", &host));
        text += &transcript(command, &ran, &host);
    }
    snapshot::assert("transcripts.txt", &text);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_error_and_its_hint() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let host = registry.address().clone();
    desk.run(&format!("push tree {host}/demo:v1.2.3 -q")).ok();
    desk.write("bad.toml", "[push]\nexclud = 'x'\n");
    desk.write("ignored/.bndlrignore", "*.[ch\n");
    fs::create_dir(desk.path("used")).unwrap();
    desk.write("used/mine", "x");
    let mut text = String::new();
    for command in [
        "psh",
        "push",
        "push tree HOST/demo --exclud x",
        "push tree HOST/Demo",
        "push HOST/demo:v1 tree",
        "push tree HOST/demo -t .x",
        "push nowhere HOST/demo",
        "push tree HOST/demo --timeout 0",
        "push tree HOST/demo -a novalue",
        "push tree HOST/demo --image-format docker -a k=v",
        "push tree HOST/demo --include *.rs",
        "push tree HOST/demo --config bad.toml",
        "push tree HOST/demo --config none.toml",
        "push tree HOST/demo -u alice",
        "build ignored -o oci:x",
        "build tree -o HOST/demo",
        "pull HOST/demo:v1.2.4",
        "pull HOST/demo:other",
        "pull HOST/demo:v1.2.3 -o used",
        "pull tree",
        "cat HOST/demo:v1.2.3 a.tx",
        "cat HOST/demo:v1.2.3 sub",
        "ls oci:nowhere",
        "tags HOST/demo:v1",
        "serve",
        "serve --memory --listen 0.0.0.0:0",
        "gc --root nowhere",
        "completion tcsh",
    ] {
        let proxy = [("https_proxy", "http://127.0.0.1:1"), ("BNDLR_RETRY_TIMES", "0")];
        let command_here = command.replace("HOST", &host);
        let arguments: Vec<_> = command_here.split(' ').collect();
        text += &transcript(command, &desk.run_with(&arguments, &proxy), &host);
    }
    snapshot::assert("errors.txt", &text);
}
