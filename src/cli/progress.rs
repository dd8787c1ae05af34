//! Progress: a line for each blob, and on a terminal a bar while it is under way.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use rustix::termios::tcgetwinsize;

use super::duration;
use super::output::{Output, size};
use crate::content::{Observer, Outcome};
use crate::digest::Digest;
use crate::manifest::{Descriptor, media_type};

/// What stands behind a label, and how many columns that takes at most: the first that fits is shown.
const BARS: [(&str, usize); 5] = [
    ("{msg} [{bar:10}] {done} of {total}{rate}{left}", 54),
    ("{msg} [{bar:6}] {done} of {total}{rate}{left}", 50),
    ("{msg} {percent:>3}%{rate}{left}", 29),
    ("{msg} {percent:>3}%{left}", 19),
    ("{msg} {percent:>3}%", 5),
];
/// For terminals on which not even the label has room.
const NARROWEST_BAR: &str = "{wide_msg} {percent:>3}%";

/// How long it takes until what is left can be told.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows how a copy or a pull goes on.
pub(super) struct Progress {
    output: Output,
    /// What is done to content that is not there yet: `Uploading`, `Downloading`.
    verb: &'static str,
    bars: MultiProgress,
    running: Mutex<HashMap<Digest, ProgressBar>>,
}

impl Progress {
    pub(super) fn new(output: &Output, verb: &'static str) -> Self {
        Self { output: output.clone(), verb, bars: bars(output), running: Mutex::default() }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Digest, ProgressBar>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: &str) {
        self.bars.suspend(|| self.output.say(line));
    }
}

impl Observer for Progress {
    fn started(&self, descriptor: &Descriptor) {
        if self.output.bars {
            let bar = bar(&self.bars, descriptor.size, format!("{} {}", self.verb, name(descriptor)));
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
        self.say(&format!("{verb} {} {}", name(descriptor), size(descriptor.size)));
    }
}

/// A bar for work on one thing, or none where bars are not wanted.
pub(super) fn single(output: &Output, total: u64, message: String) -> ProgressBar {
    bar(&bars(output), total, message)
}

fn bars(output: &Output) -> MultiProgress {
    let target = if output.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    MultiProgress::with_draw_target(target)
}

fn bar(bars: &MultiProgress, total: u64, message: String) -> ProgressBar {
    let width = tcgetwinsize(std::io::stderr()).map_or(usize::MAX, |size| size.ws_col.into());
    let style =
        ProgressStyle::with_template(template(width, &message)).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = bars.add(ProgressBar::new(total).with_style(in_our_words(style)).with_message(message));
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// What is shown beside a label on a terminal of so many columns.
fn template(width: usize, label: &str) -> &'static str {
    let room = width.saturating_sub(label.chars().count());
    BARS.into_iter().find(|(_, columns)| *columns <= room).map_or(NARROWEST_BAR, |(template, _)| template)
}

/// Sizes and durations as they are everywhere else. How fast it is and what is left are shown once they are known.
#[expect(clippy::cast_sign_loss, reason = "a rate that is shown is positive")]
fn in_our_words(style: ProgressStyle) -> ProgressStyle {
    // A line that cannot be written is one that nobody sees.
    style
        .progress_chars("=> ")
        .with_key("done", |state: &ProgressState, to: &mut dyn Write| {
            let _ = to.write_str(&size(state.pos()));
        })
        .with_key("total", |state: &ProgressState, to: &mut dyn Write| {
            let _ = to.write_str(&size(state.len().unwrap_or(0)));
        })
        .with_key("rate", |state: &ProgressState, to: &mut dyn Write| {
            if state.per_sec() >= 1.0 {
                let _ = write!(to, ", {}/s", size(state.per_sec() as u64));
            }
        })
        .with_key("left", |state: &ProgressState, to: &mut dyn Write| {
            if state.per_sec() >= 1.0 && state.elapsed() > PATIENCE {
                let _ = write!(to, ", {} left", duration::shown(state.eta()));
            }
        })
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

    /// How a template looks when everything in it is as long as it gets.
    fn longest(template: &str, label: &str) -> String {
        let rate = format!(", {}/s", size(999_000));
        let left = format!(", {} left", duration::shown(Duration::from_secs(3599)));
        let (six, ten) = ("=".repeat(6), "=".repeat(10));
        let of = [
            ("{msg}", label),
            ("{bar:6}", &six),
            ("{bar:10}", &ten),
            ("{done}", &size(999_000)),
            ("{total}", &size(999_000)),
            ("{percent:>3}", "100"),
            ("{rate}", &rate),
            ("{left}", &left),
        ];
        of.into_iter().fold(template.to_owned(), |line, (part, shown)| line.replace(part, shown))
    }

    #[test]
    fn a_bar_has_room_beside_its_whole_label() {
        let label = "Downloading d213f9ccc4e4 layer";
        for (width, parts) in [
            (200, &["[", "of", "/s", "left"][..]),
            (80, &["[", "of", "/s", "left"]),
            (60, &["%", "/s", "left"]),
            (50, &["%", "left"]),
            (40, &["%"]),
        ] {
            let line = longest(template(width, label), label);
            assert!(line.starts_with(label) && line.chars().count() <= width, "{width}: {line}");
            assert!(parts.iter().all(|part| line.contains(part)) && !line.contains('{'), "{width}: {line}");
        }
        assert_eq!(template(20, label), NARROWEST_BAR);
    }

    #[test]
    fn a_bar_says_how_many_columns_it_takes() {
        for (template, columns) in BARS {
            assert_eq!(longest(template, "").chars().count(), columns, "{template}");
        }
    }
}
