//! Output: results to stdout, messages and progress to stderr.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::error::{Error, Exit};
pub(super) use crate::text::{count, printable, size};

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    /// For people and simple scripts.
    #[default]
    Text,
    /// One JSON document.
    Json,
}

/// What the user wants to see.
#[derive(Clone, Debug)]
pub(super) struct Output {
    pub(super) format: Format,
    pub(super) quiet: bool,
    /// Whether bars may move on stderr.
    pub(super) bars: bool,
}

impl Output {
    pub(super) fn new(format: Format, quiet: bool, no_tty: bool, verbose: bool) -> Self {
        // A bar and a trace would write over each other.
        let bars = !quiet && !no_tty && !verbose && io::stderr().is_terminal();
        Self { format, quiet, bars }
    }

    /// Tells the user what goes on.
    pub(super) fn say(&self, message: impl std::fmt::Display) {
        if !self.quiet {
            // Nothing can be said about stderr failing.
            let _ = writeln!(anstream::stderr(), "{}", printable(&message.to_string()));
        }
    }

    /// Tells the user what may be wrong, also when nothing else is told.
    #[expect(clippy::unused_self, reason = "it is said where the rest is said")]
    pub(super) fn warn(&self, message: impl std::fmt::Display) {
        let _ = writeln!(anstream::stderr(), "warning: {}", printable(&message.to_string()));
    }

    /// Writes the result: `text`, or `json` if that is asked for.
    pub(super) fn result(&self, text: &str, json: impl FnOnce() -> Value) -> Result<(), Error> {
        match self.format {
            Format::Text => write_stdout(text),
            Format::Json => write_stdout(&json().to_string()),
        }
    }
}

/// Shows an error, and on a line of its own what the user can do.
pub(super) fn show_error(error: &Error) {
    let mut stderr = anstream::stderr();
    let _ = writeln!(stderr, "\u{1b}[1;31merror:\u{1b}[0m {}", printable(&error.message));
    if let Some(hint) = &error.hint {
        let _ = writeln!(stderr, "\u{1b}[1;36mhint:\u{1b}[0m {}", printable(hint));
    }
}

/// Writes lines to stdout. That nobody reads them any more is no error: `| head` is a way to use a program.
pub(super) fn write_stdout(text: &str) -> Result<(), Error> {
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    write_bytes(format!("{text}{newline}").as_bytes())
}

/// Writes bytes to stdout as they are.
pub(super) fn write_bytes(bytes: &[u8]) -> Result<(), Error> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(Exit::Local, format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}
