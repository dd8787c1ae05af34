//! Progress: a line for each blob, and on a terminal a bar while it is under way.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressState, ProgressStyle};

use super::duration;
use super::output::{Output, size};
use super::terminal::columns;
use crate::content::{Observer, Outcome};
use crate::digest::Digest;
use crate::manifest::{Descriptor, media_type};

/// How long it takes until what is left can be told.
const PATIENCE: Duration = Duration::from_secs(1);
/// What takes as long as this stands still, and nobody knows when it ends.
const FOREVER: Duration = Duration::from_hours(100 * 24);

/// Shows how a copy or a pull goes on.
pub(super) struct Progress {
    output: Output,
    /// What is done to content that is not there yet: `Uploading`, `Downloading`.
    verb: &'static str,
    running: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Progress {
    pub(super) fn new(output: &Output, verb: &'static str) -> Self {
        Self { output: output.clone(), verb, running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Progress {
    fn started(&self, descriptor: &Descriptor) {
        if self.output.bars.are_shown() {
            let bar = bar(&self.output, descriptor.size, format!("{} {}", self.verb, name(descriptor)));
            self.running().insert(descriptor.digest, bar);
        }
    }

    fn advanced(&self, descriptor: &Descriptor, bytes: u64) {
        if let Some(bar) = self.running().get(&descriptor.digest) {
            bar.inc(bytes);
        }
    }

    fn finished(&self, descriptor: &Descriptor, outcome: Outcome) {
        if let Some(bar) = self.running().remove(&descriptor.digest) {
            bar.finish_and_clear();
        }
        let verb = match outcome {
            Outcome::Exists => "Exists",
            Outcome::Uploaded => self.verb,
            Outcome::Mounted => "Mounted",
            Outcome::LeftOut => "Left out",
        };
        self.output.say(format!("{verb} {} {}", name(descriptor), size(descriptor.size)));
    }
}

/// A bar for work on one thing; where bars are not wanted, nobody sees it.
pub(super) fn bar(output: &Output, total: u64, label: String) -> ProgressBar {
    // As wide as the terminal is when it is drawn. A line that cannot be written is one that nobody sees.
    let draw = move |state: &ProgressState, to: &mut dyn Write| {
        let _ = to.write_str(&Moment::of(state).line(columns(), &label));
    };
    let style = ProgressStyle::with_template("{line}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = output.bars.add(ProgressBar::new(total).with_style(style.with_key("line", draw)));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// How far something is.
struct Moment {
    done: u64,
    total: u64,
    /// In bytes a second, once it is known.
    rate: Option<u64>,
    /// How long it still takes, once that can be told.
    left: Option<Duration>,
}

impl Moment {
    #[expect(clippy::cast_sign_loss, reason = "a rate that is shown is positive")]
    fn of(state: &ProgressState) -> Self {
        let (done, total) = (state.pos(), state.len().unwrap_or(0));
        let rate = Some(state.per_sec() as u64).filter(|rate| *rate > 0);
        let left = rate.filter(|_| state.elapsed() > PATIENCE).map(|_| state.eta()).filter(|left| *left < FOREVER);
        Self { done, total, rate, left }
    }

    /// A line with this label for a terminal of so many columns: as much of it as has room however long it gets, so that it
    /// does not change its looks on the way.
    fn line(&self, width: usize, label: &str) -> String {
        let percent = format!("{:>3}%", self.share(100));
        let of = format!("{} of {}", size(self.done), size(self.total));
        let rate = self.rate.map(|rate| format!(", {}/s", size(rate))).unwrap_or_default();
        let left = self.left.map(|left| format!(", {} left", duration::shown(left))).unwrap_or_default();
        match width.saturating_sub(label.chars().count()) {
            54.. => format!("{label} [{}] {of}{rate}{left}", self.strip(10)),
            50.. => format!("{label} [{}] {of}{rate}{left}", self.strip(6)),
            29.. => format!("{label} {percent}{rate}{left}"),
            19.. => format!("{label} {percent}{left}"),
            5.. => format!("{label} {percent}"),
            _ => format!("{} {percent}", label.chars().take(width.saturating_sub(5)).collect::<String>()),
        }
    }

    /// How many of so many parts are done.
    fn share(&self, parts: usize) -> usize {
        let done = u128::from(self.done.min(self.total)) * parts as u128;
        (done / u128::from(self.total.max(1))) as usize
    }

    /// `==>   `
    fn strip(&self, columns: usize) -> String {
        let full = self.share(columns);
        let head = if full < columns { ">" } else { "" };
        format!("{:<columns$}", "=".repeat(full) + head)
    }
}

/// The short digest and the kind of some content.
pub(super) fn name(descriptor: &Descriptor) -> String {
    let kind = match descriptor.media_type.as_str() {
        media_type::OCI_CONFIG | media_type::DOCKER_CONFIG | media_type::OCI_EMPTY => "config",
        other if media_type::is_manifest(other) => "manifest",
        other if other.contains("layer") || other.contains("rootfs") => "layer",
        _ => "blob",
    };
    format!("{} {kind}", descriptor.digest.short())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LABEL: &str = "Downloading d213f9ccc4e4 layer";

    /// When everything that is shown is as long as it gets.
    const LONGEST: Moment =
        Moment { done: 999_000, total: 999_000, rate: Some(999_000), left: Some(Duration::from_secs(3599)) };

    #[test]
    fn a_bar_shows_what_has_room_beside_its_whole_label() {
        let moment = Moment { done: 4_400_000, total: 24_000_000, rate: Some(2_000_000), left: None };
        let left = Moment { left: Some(Duration::from_secs(9)), ..moment };
        for (width, moment, expected) in [
            (200, &left, " [=>        ] 4.4 MB of 24 MB, 2.0 MB/s, 9s left"),
            (84, &moment, " [=>        ] 4.4 MB of 24 MB, 2.0 MB/s"),
            (80, &left, " [=>    ] 4.4 MB of 24 MB, 2.0 MB/s, 9s left"),
            (60, &left, "  18%, 2.0 MB/s, 9s left"),
            (50, &left, "  18%, 9s left"),
            (40, &left, "  18%"),
            (80, &LONGEST, " [======] 999 kB of 999 kB, 999 kB/s, 59m 59s left"),
        ] {
            assert_eq!(moment.line(width, LABEL), format!("{LABEL}{expected}"), "{width}");
        }
        assert_eq!(left.line(20, LABEL), "Downloading d21  18%");
    }

    #[test]
    fn a_bar_is_never_wider_than_the_terminal() {
        for width in 5..200 {
            let line = LONGEST.line(width, LABEL);
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
        let nothing = Moment { done: 0, total: 0, rate: None, left: None };
        assert_eq!(nothing.line(80, LABEL), format!("{LABEL} [>     ] 0 B of 0 B"));
        let all = Moment { done: u64::MAX, total: u64::MAX, rate: None, left: None };
        assert!(all.line(80, LABEL).contains("[======]"));
    }
}
