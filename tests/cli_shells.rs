//! What is for shells and for `man`: completions that bash, zsh and fish load, and pages that no reader complains of.

mod peer;
mod program;

use std::fs;
use std::process::Output;

use program::{Desk, finish};

/// Runs a program on the desk.
fn run(desk: &Desk, program: &str, arguments: &[&str]) -> Output {
    desk.process(program).args(arguments).output()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// One with the completions for a shell, if that is installed.
fn desk_with(shell: &str) -> Option<Desk> {
    peer::require(shell)?;
    let desk = Desk::with_tree();
    desk.write("complete", &desk.run(&format!("completion {shell}")).ok());
    Some(desk)
}

#[test]
fn bash_completes_commands_flags_and_files() {
    let Some(desk) = desk_with("bash") else { return };
    let complete = |words: &[&str]| {
        let script = format!(
            "compopt() {{ :; }}; source ./complete; COMP_WORDS=({}); COMP_CWORD={}; _bndlr bndlr \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
            words.len() - 1
        );
        text(&run(&desk, "bash", &["--norc", "-eu", "-c", &script]))
    };
    assert_eq!(complete(&["bndlr", "pus"]).trim_end(), "push");
    assert_eq!(complete(&["bndlr", "push", "--annotate"]).trim_end(), "--annotate-git");
    assert_eq!(complete(&["bndlr", "push", "--symlinks", "f"]).trim_end(), "follow");
    assert_eq!(complete(&["bndlr", "push", "--annotation-file", "tr"]).trim_end(), "tree");
}

#[test]
fn zsh_loads_the_completions() {
    let Some(desk) = desk_with("zsh") else { return };
    fs::create_dir(desk.path("functions")).unwrap();
    fs::rename(desk.path("complete"), desk.path("functions/_bndlr")).unwrap();
    let script = "fpath=(./functions $fpath); autoload -Uz compinit; compinit -u -d ./dump; \
                  autoload +X _bndlr; print -r -- $_comps[bndlr]; whence -w _bndlr";
    let said = run(&desk, "zsh", &["-f", "-c", script]);
    assert_eq!(String::from_utf8_lossy(&said.stderr), "");
    assert!(text(&said).starts_with("_bndlr\n"), "{said:?}");
    let parsed = run(&desk, "zsh", &["-n", "functions/_bndlr"]);
    assert!(parsed.status.success() && parsed.stderr.is_empty(), "{parsed:?}");
}

#[test]
fn fish_completes_commands_flags_and_files() {
    let Some(desk) = desk_with("fish") else { return };
    let complete = |line: &str| {
        let script = format!("source ./complete; complete -C '{line}'");
        let said = run(&desk, "fish", &["--no-config", "-c", &script]);
        assert_eq!(String::from_utf8_lossy(&said.stderr), "");
        text(&said)
    };
    assert!(complete("bndlr pus").starts_with("push\t"));
    assert!(complete("bndlr push --annotate").starts_with("--annotate-git\t"));
    assert!(complete("bndlr push --symlinks f").contains("follow\t"));
    assert!(complete("bndlr pull x -o tr").contains("tree/"));
}

#[test]
fn no_reader_of_manual_pages_complains() {
    let desk = Desk::new();
    assert_eq!(desk.run("man pages").ok(), "pages\n");
    let mut pages: Vec<_> = fs::read_dir(desk.path("pages")).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    assert!(pages.len() > 40 && pages.iter().any(|page| page.ends_with("bndlr-manifest-get.1")), "{pages:?}");
    assert_eq!(desk.run("man").ok(), desk.read("pages/bndlr.1"));
    let push = desk.read("pages/bndlr-push.1");
    assert!(push.is_ascii() && push.contains(".SH SYNOPSIS\n.nf\nbndlr push [OPTIONS] <DIRECTORY>"), "{push}");
    let readers: [(&str, &[&str]); 2] =
        [("mandoc", &["-Tlint", "-W", "warning"]), ("groff", &["-man", "-ww", "-z", "-Tutf8"])];
    for (reader, arguments) in readers {
        let Some(reader) = peer::require(reader) else { continue };
        let mut program = desk.process(reader);
        program.args(arguments).args(&pages);
        let ran = finish(program);
        // A date would make the pages of one version differ from build to build.
        let complaints: Vec<_> = ran.stdout.lines().filter(|line| !line.contains("missing date")).collect();
        assert!(complaints.is_empty() && ran.stderr.is_empty(), "{complaints:?} {}", ran.stderr);
    }
}
