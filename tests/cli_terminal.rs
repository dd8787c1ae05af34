//! What the program shows on a terminal: on a dumb one, without colours, and in colours that can be read on light and dark.

mod embedded;
mod peer;
mod program;

use std::path::PathBuf;

use embedded::Embedded;
use program::{Desk, finish};

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
