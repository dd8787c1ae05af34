//! Asking the user, on a terminal.

use std::io::{self, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

use super::error::{Error, Exit};
use crate::remote::Secret;

/// Asks for a line.
pub(super) fn line(prompt: &str) -> Result<String, Error> {
    let mut line = String::new();
    // Nothing can be said about stderr failing.
    let _ = write!(io::stderr(), "{prompt}");
    io::stdin().read_line(&mut line).map_err(failed)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for a line that the terminal does not show.
pub(super) fn password(prompt: &str) -> Result<Secret, Error> {
    let _hidden = Hidden::new().map_err(failed)?;
    line(prompt).map(Secret::new)
}

fn failed(error: impl Into<io::Error>) -> Error {
    Error::new(Exit::Local, format!("cannot read from the terminal: {}", error.into()))
}

/// While this lives, the terminal does not show what is typed, except for the end of the line.
struct Hidden(Termios);

impl Hidden {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        hidden.local_modes.insert(LocalModes::ECHONL);
        tcsetattr(io::stdin(), OptionalActions::Now, &hidden)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        // The shell sets its own terminal right.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
