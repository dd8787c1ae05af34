//! Output: results to stdout, messages and progress to stderr.

use std::fmt::{Display, Write as _};
use std::io::{self, Write};

use bytes::Bytes;
use futures::stream::{Stream, TryReadyChunksError, TryStreamExt};
use serde_json::Value;

use super::error::{Error, Exit};
use super::terminal::Bars;
use crate::content;
pub(super) use crate::text::{count, printable, size};

/// How much of a list is held in memory, in bytes.
const MAX_LIST: usize = 64 * 1024 * 1024;
/// How many lines are written at once, at most.
const LINES: usize = 1000;

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
    /// What moves on stderr below what is said.
    pub(super) bars: Bars,
}

impl Output {
    pub(super) fn new(format: Format, quiet: bool, no_tty: bool, verbose: bool) -> Self {
        // A bar and a trace would write over each other.
        Self { format, quiet, bars: Bars::new(!quiet && !no_tty && !verbose) }
    }

    /// Tells the user what goes on.
    pub(super) fn say(&self, message: impl std::fmt::Display) {
        if !self.quiet {
            self.tell(&printable(&message.to_string()));
        }
    }

    /// Tells the user what may be wrong, also when nothing else is told.
    pub(super) fn warn(&self, message: impl std::fmt::Display) {
        self.tell(&format!("\u{1b}[1;35mwarning:\u{1b}[0m {}", printable(&message.to_string())));
    }

    fn tell(&self, line: &str) {
        self.bars.above(|| {
            // Nothing can be said about stderr failing.
            let _ = writeln!(anstream::stderr(), "{line}");
        });
    }

    /// Writes a list: one entry a line, as they come, or `json` of all of them.
    pub(super) async fn list<T: Display>(
        &self,
        entries: impl Stream<Item = Result<T, content::Error>> + Unpin,
        json: impl FnOnce(Vec<String>) -> Value,
    ) -> Result<(), Error> {
        if self.format == Format::Json {
            return write_stdout(&json(collect(entries).await?).to_string());
        }
        let lines = entries.try_ready_chunks(LINES).map_ok(|entries| {
            // Writing to a string does not fail.
            let text = entries.iter().fold(String::new(), |mut text, entry| {
                let _ = writeln!(text, "{entry}");
                text
            });
            Bytes::from(text)
        });
        write_stream(lines.map_err(|TryReadyChunksError(_, error)| error)).await
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
        let _ = writeln!(stderr, "\u{1b}[1mhint:\u{1b}[0m {}", printable(hint));
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
    unless_unread(stdout.write_all(bytes).and_then(|()| stdout.flush()))
}

/// What came of writing to stdout, unless nobody reads it any more.
pub(super) fn unless_unread(written: io::Result<()>) -> Result<(), Error> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&error)),
        _ => Ok(()),
    }
}

/// All entries, as text, of which there must not be more than fit in memory well.
async fn collect<T: Display>(
    mut entries: impl Stream<Item = Result<T, content::Error>> + Unpin,
) -> Result<Vec<String>, Error> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    while let Some(entry) = entries.try_next().await? {
        let entry = entry.to_string();
        bytes += size_of::<String>() + entry.capacity();
        if bytes > MAX_LIST {
            let message = format!("the list is too long for one document: {} and more", count(all.len(), "line"));
            return Err(Error::new(Exit::Remote, message).hint("without --format json, it is written as it comes"));
        }
        all.push(entry);
    }
    Ok(all)
}

/// Writes bytes to stdout as they come. Once nobody reads them any more, no more are asked for.
pub(super) async fn write_stream(
    mut bytes: impl Stream<Item = Result<Bytes, content::Error>> + Unpin,
) -> Result<(), Error> {
    while let Some(chunk) = bytes.try_next().await? {
        // Whoever reads may take their time; meanwhile, an interruption has to be heard.
        let written = tokio::task::spawn_blocking(move || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&chunk).and_then(|()| stdout.flush())
        });
        match written.await.unwrap_or_else(|error| Err(io::Error::other(error))) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(cannot_write(&error)),
        }
    }
    Ok(())
}

fn cannot_write(error: &io::Error) -> Error {
    Error::new(Exit::Local, format!("cannot write to standard output: {error}"))
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_list_that_does_not_fit_in_memory_is_no_document() {
        let entries = |count| futures::stream::repeat("x".repeat(1024 * 1024)).map(Ok).take(count);
        assert_eq!(collect(entries(60)).await.unwrap().len(), 60);
        let error = collect(entries(usize::MAX)).await.unwrap_err();
        assert!(error.message.contains("63 lines and more"), "{}", error.message);
    }
}
