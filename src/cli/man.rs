//! `bndlr man`

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::Command;
use clap_mangen::Man as Page;
use serde_json::json;

use super::error::{Error, Exit};
use super::output::{Output, count, write_bytes};

/// How a page begins: what makes an apostrophe one, wherever it is read.
const PREAMBLE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Write the manual pages
///
/// One for the program and one for each command, into a directory; without one, that of the program to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr man | man -l -
  bndlr man ~/.local/share/man/man1")]
pub(super) struct Man {
    /// Where to write them; it is made if it is not there
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, output: &Output) -> Result<(), Error> {
        let mut command = super::command().disable_help_subcommand(true);
        command.build();
        let render = |command: &Command| {
            page(command).map_err(|error| Error::new(Exit::Local, format!("cannot make a manual page: {error}")))
        };
        let Some(directory) = self.directory else { return write_bytes(render(&command)?.as_bytes()) };
        fs::create_dir_all(&directory).map_err(|error| cannot_write(&directory, &error))?;
        let mut pages = Vec::new();
        let mut commands = vec![&command];
        while let Some(command) = commands.pop() {
            let name = format!("{}.1", name_of(command));
            let path = directory.join(&name);
            fs::write(&path, render(command)?).map_err(|error| cannot_write(&path, &error))?;
            pages.push(name);
            commands.extend(command.get_subcommands());
        }
        pages.sort();
        output.say(format!("Wrote {} to {}", count(pages.len(), "manual page"), directory.display()));
        output.result(&directory.display().to_string(), || json!({"directory": directory, "pages": pages}))
    }
}

/// `bndlr-manifest-get`
fn name_of(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// The page of a command, in the man macros of roff. Its synopsis is what `--help` shows as the usage.
fn page(command: &Command) -> io::Result<String> {
    let page = Page::new(command.clone());
    let mut sections = Vec::new();
    page.render_name_section(&mut sections)?;
    let mut usage = command.clone();
    let usage = usage.render_usage().to_string();
    let usage: Vec<_> =
        usage.strip_prefix("Usage: ").unwrap_or(&usage).lines().map(|line| escaped(line.trim())).collect();
    sections.extend_from_slice(format!(".SH SYNOPSIS\n.nf\n{}\n.fi\n", usage.join("\n")).as_bytes());
    page.render_description_section(&mut sections)?;
    page.render_options_section(&mut sections)?;
    if command.has_subcommands() {
        sections.extend_from_slice(b".SH COMMANDS\n");
        page.render_subcommands_section(&mut sections)?;
    }
    let title = name_of(command).to_uppercase().replace('-', "\\-");
    let version = env!("CARGO_PKG_VERSION");
    let text = String::from_utf8_lossy(&sections);
    // One empty line is enough between paragraphs.
    let text = text.replace("\n.br\n\n.br\n", "\n.sp\n") + &notes(command);
    Ok(in_ascii(&format!("{PREAMBLE}.TH \"{title}\" \"1\" \"\" \"bndlr {version}\" \"bndlr\"\n{text}")))
}

/// What help ends with: examples and lists, which are indented, stay line by line.
fn notes(command: &Command) -> String {
    let Some(text) = command.get_after_help() else { return String::new() };
    let (mut roff, mut is_list) = (".SH NOTES\n".to_owned(), false);
    for line in text.to_string().lines() {
        if line.starts_with("  ") != is_list {
            is_list = !is_list;
            roff += if is_list { ".nf\n" } else { ".fi\n" };
        }
        roff += &if line.is_empty() { ".PP".to_owned() } else { escaped(line) };
        roff.push('\n');
    }
    roff + if is_list { ".fi\n" } else { "" }
}

/// A line of text that means nothing to roff.
fn escaped(line: &str) -> String {
    let text = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    if text.starts_with('.') { format!("\\&{text}") } else { text }
}

/// Not every roff reads anything else.
fn in_ascii(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut ascii, c| {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            // Writing to a string does not fail.
            let _ = write!(ascii, "\\[u{:04X}]", u32::from(c));
        }
        ascii
    })
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::new(Exit::Local, format!("cannot write {}: {error}", path.display()))
}
