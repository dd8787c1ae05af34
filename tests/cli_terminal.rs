//! What the program shows on a terminal: on a dumb one, without colours, in colours that can be read on light and dark, and
//! when it ends while a bar is shown.

mod embedded;
mod peer;
mod program;
mod screen;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, mpsc};

use embedded::Embedded;
use program::{Desk, Running, Then, Wire, answer, finish, wait};

/// What is told, what is shown in colours, help and errors.
const COMMANDS: [&str; 8] = [
    "push tree HOST/demo:v1",
    "push other HOST/demo:v2 -t v3",
    "pull HOST/demo:v1 -o DIR",
    "diff HOST/demo:v1 HOST/demo:v2",
    "diff HOST/demo:v1 ./other --stat",
    "pull HOST/demo:none",
    "psh",
    "tags --help",
];

/// A registry, a desk with two trees that differ, and a program that has a terminal for others.
async fn scene() -> Option<(Embedded, Desk, PathBuf)> {
    let script = peer::require("script")?;
    let desk = Desk::with_tree();
    program::make_tree(&desk.path("other"));
    desk.write("other/a.txt", "beta\n");
    Some((Embedded::in_memory().await, desk, script))
}

/// What each command shows on a terminal of 80 columns with these variables, results and messages together.
async fn shown(variables: &[(&str, &str)]) -> Vec<(&'static str, String)> {
    let Some((registry, desk, script)) = scene().await else { return Vec::new() };
    let show = |command: &'static str| {
        let mut terminal = desk.process(&script);
        let line = command.replace("HOST", &registry.address()).replace("DIR", "copy");
        terminal.args(["-q", "-E", "never", "-c", &format!("stty cols 80; bndlr {line}"), "/dev/null"]);
        terminal.envs(variables.iter().copied());
        (command, finish(terminal).stdout)
    };
    COMMANDS.map(show).into()
}

/// The escape sequences in a text, without what they begin with: `1;31m`, `2K`.
fn escapes(text: &str) -> Vec<&str> {
    let end = |text: &str| text.find(|c: char| c.is_ascii_alphabetic()).map_or(text.len(), |at| at + 1);
    text.split('\u{1b}').skip(1).map(|rest| &rest.strip_prefix('[').unwrap()[..end(rest) - 1]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dumb_terminal_gets_lines_and_nothing_else() {
    for (command, text) in shown(&[("TERM", "dumb")]).await {
        assert!(text.ends_with("\r\n") && !text.contains('\u{1b}'), "{command}: {text:?}");
        assert!(!text.replace("\r\n", "\n").contains('\r'), "{command}: {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_wants_no_colours_gets_none() {
    for (command, text) in shown(&[("TERM", "xterm-256color"), ("NO_COLOR", "1")]).await {
        assert!(!text.is_empty() && escapes(&text).iter().all(|escape| !escape.ends_with('m')), "{command}: {text:?}");
    }
}

/// Of the eight that every terminal has, yellow and cyan are hard to read on white, blue on black, and black and white on
/// themselves; brighter ones and backgrounds depend on it even more.
#[tokio::test(flavor = "multi_thread")]
async fn colours_can_be_read_on_light_and_dark() {
    let shown = shown(&[("TERM", "xterm-256color")]).await;
    let styles = |text: &str| -> Vec<String> {
        let styles = escapes(text).into_iter().filter_map(|escape| escape.strip_suffix('m'));
        styles.flat_map(|style| style.split(';').map(str::to_owned).collect::<Vec<_>>()).collect()
    };
    for (command, text) in &shown {
        for style in styles(text) {
            let (plain, bold, underlined, red, green, magenta) = ("0", "1", "4", "31", "32", "35");
            let is_readable = [plain, bold, underlined, red, green, magenta].contains(&&*style);
            assert!(is_readable, "{command}: {style}: {text:?}");
        }
        // Whatever begins ends.
        assert!(styles(text).last().is_none_or(|style| style == "0"), "{command}: {text:?}");
    }
    let coloured = shown.iter().filter(|(_, text)| !styles(text).is_empty()).count();
    assert!(shown.is_empty() || coloured == 5, "{shown:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_says_nothing_but_results() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    for (command, has_result) in [
        ("push tree HOST/demo:v1", true),
        ("push tree HOST/demo:v2 HOST/other:v2 --check", true),
        ("build tree -o oci:layout", true),
        ("copy HOST/demo:v1 oci:copied --referrers", true),
        ("attach HOST/demo:v1 tree/a.txt --artifact-type a/b", true),
        ("tag HOST/demo:v1 v2", true),
        ("pull HOST/demo:v1 -o copy", true),
        ("pull HOST/demo:v2 -o copy --update", true),
        ("verify copy HOST/demo:v1", false),
        ("diff ./copy HOST/demo:v1", false),
        ("why oci:copied HOST/demo:v1", true),
        ("validate HOST/demo:v1", true),
        ("cache clear", true),
        ("logout HOST", false),
    ] {
        let ran = desk.run(&format!("{command} -q").replace("HOST", &registry.address()));
        assert_eq!((&*ran.stderr, ran.stdout.is_empty()), ("", !has_result), "{command}: {ran:?}");
    }
}

/// Waits until a program on a terminal has shown all of these, and returns what it has written so far.
fn until_shown(program: &mut Running, parts: &[&str]) -> Vec<u8> {
    let (mut written, mut bytes) = (Vec::new(), [0; 4096]);
    while !parts.iter().all(|part| String::from_utf8_lossy(&written).contains(part)) {
        let length = program.stdout.as_mut().unwrap().read(&mut bytes).unwrap();
        assert!(length > 0, "{}", String::from_utf8_lossy(&written));
        written.extend_from_slice(&bytes[..length]);
    }
    written
}

/// Somebody types what interrupts, which the terminal echoes as `^C`; or the registry refuses what is being sent.
#[test]
fn nothing_of_a_bar_stays_when_the_program_ends_early() {
    let Some(script) = peer::require("script") else { return };
    for (columns, interrupt, code, last) in
        [(40, true, 130, "error: interrupted"), (80, true, 130, "error: interrupted"), (80, false, 6, "error: PUT ")]
    {
        let desk = Desk::with_tree();
        let (refuse, refused) = mpsc::channel::<()>();
        let refused = Mutex::new(refused);
        let wire = Wire::start(move |request| match request.split(' ').next() {
            Some("HEAD" | "GET") => (answer("404 Not Found", "", 0, b""), Then::Close),
            Some("POST") => (answer("202 Accepted", "Location: /upload\r\n", 0, b""), Then::Close),
            Some("PUT") => {
                // Until the bar has been seen, or this test has ended.
                let _ = refused.lock().unwrap().recv();
                (answer("400 Bad Request", "", 0, b""), Then::Close)
            }
            _ => (answer("204 No Content", "", 0, b""), Then::Close),
        });
        let mut terminal = desk.process(&script);
        let push = format!("stty cols {columns}; exec bndlr push tree {}/team/app:v1", wire.address);
        terminal.args(["-q", "-e", "-E", "always", "-c", &push, "/dev/null"]).env("TERM", "xterm");
        let mut running = terminal.stdin(Stdio::piped()).start();
        let mut written = until_shown(&mut running, &[" config ", " layer "]);
        if interrupt {
            running.stdin.as_mut().unwrap().write_all(b"\x03").unwrap();
        } else {
            drop(refuse);
        }
        let ran = wait(running);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        written.extend_from_slice(ran.stdout.as_bytes());
        let lines = screen::shown(&String::from_utf8(written).unwrap(), columns);
        let (said, end) = lines.split_at(2);
        assert!(said[0].starts_with("Packing tree (") && said[1].starts_with("Pushing to "), "{lines:#?}");
        assert!(end[0].starts_with(last) && end.last().unwrap().is_empty(), "{lines:#?}");
        assert!(lines.iter().all(|line| !line.contains("Uploading")), "{lines:#?}");
    }
}
