//! The terminal that bars are shown on, below what is said.
//!
//! When a bar has been drawn, the cursor stands in the first column of its line, and not behind its end: what the terminal
//! writes there of itself, as `^C` when somebody interrupts, would go on to the next line, and the bar's would be missed when
//! it is cleared.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, TermLike};
use rustix::termios::tcgetwinsize;

/// How often a second bars are drawn, at most.
const DRAWN: u8 = 20;
/// The rows and columns of a terminal that does not say how many it has.
const USUAL_SIZE: (u16, u16) = (24, 80);

/// The bars that are shown, if any are to be.
#[derive(Clone, Debug)]
pub(super) struct Bars {
    all: MultiProgress,
    terminal: Option<Terminal>,
}

impl Bars {
    /// Bars on standard error, if they are `wanted` and it is a terminal on which a line can be cleared.
    pub(super) fn new(wanted: bool) -> Self {
        let is_dumb = env::var_os("TERM").is_none_or(|name| name.is_empty() || name == "dumb");
        let terminal = (wanted && io::stderr().is_terminal() && !is_dumb).then(Terminal::default);
        let target = match &terminal {
            Some(terminal) => ProgressDrawTarget::term_like_with_hz(Box::new(terminal.clone()), DRAWN),
            None => ProgressDrawTarget::hidden(),
        };
        Self { all: MultiProgress::with_draw_target(target), terminal }
    }

    pub(super) fn are_shown(&self) -> bool {
        self.terminal.is_some()
    }

    /// Shows this bar, too.
    pub(super) fn add(&self, bar: ProgressBar) -> ProgressBar {
        self.all.add(bar)
    }

    /// Writes something above the bars.
    pub(super) fn above(&self, write: impl FnOnce()) {
        self.all.suspend(write);
    }

    /// Clears all bars. From then on none is shown, whatever still goes on.
    pub(super) fn close(&self) {
        if let Some(terminal) = &self.terminal {
            self.all.suspend(|| terminal.0.is_closed.store(true, Ordering::Relaxed));
        }
    }
}

/// How many columns the terminal has now.
pub(super) fn columns() -> usize {
    size().1.into()
}

/// Its rows and columns.
fn size() -> (u16, u16) {
    let said = tcgetwinsize(io::stderr()).map(|size| (size.ws_row, size.ws_col)).unwrap_or_default();
    let known = |said: u16, usual| if said > 0 { said } else { usual };
    (known(said.0, USUAL_SIZE.0), known(said.1, USUAL_SIZE.1))
}

/// Standard error, which gets what is drawn at once.
#[derive(Clone, Debug, Default)]
struct Terminal(Arc<State>);

#[derive(Debug, Default)]
struct State {
    drawn: Mutex<String>,
    is_closed: AtomicBool,
}

impl Terminal {
    fn drawn(&self) -> MutexGuard<'_, String> {
        self.0.drawn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[expect(clippy::unnecessary_wraps, reason = "whoever draws wants to know")]
    fn draw(&self, text: &str) -> io::Result<()> {
        self.drawn().push_str(text);
        Ok(())
    }

    /// To move by no lines is not what the sequence says: it moves by one at least.
    fn go(&self, by: usize, to: char) -> io::Result<()> {
        if by == 0 { Ok(()) } else { self.draw(&format!("\u{1b}[{by}{to}")) }
    }
}

impl TermLike for Terminal {
    fn width(&self) -> u16 {
        size().1
    }

    fn height(&self) -> u16 {
        size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.go(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.go(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.go(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.go(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.draw(&format!("{text}\n"))
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.drawn());
        if !drawn.is_empty() && !self.0.is_closed.load(Ordering::Relaxed) {
            // Nothing can be said about stderr failing.
            let _ = io::stderr().write_all(format!("{drawn}\r").as_bytes());
        }
        Ok(())
    }
}
