//! How a difference looks: unified, as git shows it, so that `patch` takes what is text in it; as a line; as JSON.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use similar::algorithms::{Capture, Compact, IdentifyDistinct, Replace, myers};
use similar::udiff::UnifiedHunkHeader;
use similar::{ChangeTag, DiffOp, DiffTag, group_diff_ops};

use super::output::{count, printable, size};
use crate::compare::{Contents, Depth, Difference};
use crate::text::is_unseen;
use crate::unpack::{Listed, ListedKind};

/// How long the shortest difference of one file is looked for; after that, any will do.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many lines are shown before and after those that differ.
const CONTEXT: usize = 3;

const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
// Not cyan, nor yellow or blue: what can be read on white and on black is red, green and magenta.
const MAGENTA: &str = "\u{1b}[35m";
const BOLD: &str = "\u{1b}[1m";
const RESET: &str = "\u{1b}[0m";

/// What is shown of each difference.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    Names,
    Stat,
    Lines,
}

impl Shown {
    pub(super) fn depth(self) -> Depth {
        if self == Self::Names { Depth::Names } else { Depth::Texts }
    }
}

/// Shows differences, and counts what it has shown.
pub(super) struct Look {
    shown: Shown,
    has_colours: bool,
    /// Whether what could steer a terminal is shown as an escape.
    is_terminal: bool,
    files: usize,
    added: usize,
    removed: usize,
}

impl Look {
    pub(super) fn new(shown: Shown, has_colours: bool, is_terminal: bool) -> Self {
        Self { shown, has_colours, is_terminal, files: 0, added: 0, removed: 0 }
    }

    /// A difference, in whole lines.
    pub(super) fn text(&mut self, difference: &Difference) -> String {
        match self.shown {
            Shown::Names => format!("{}\n", path(difference)),
            Shown::Stat => self.stat(difference),
            Shown::Lines => self.lines(difference),
        }
    }

    /// What comes after the last one.
    pub(super) fn end(&self) -> String {
        if self.shown != Shown::Stat || self.files == 0 {
            return String::new();
        }
        let Self { files, added, removed, .. } = self;
        format!("{} changed, {} added (+), {removed} removed (-)", count(*files, "path"), count(*added, "line"))
    }

    /// `base/app.yaml | +3 -1`
    fn stat(&mut self, difference: &Difference) -> String {
        self.files += 1;
        let mut what = notes(difference);
        if let Some((added, removed)) = lines_of(difference) {
            self.added += added;
            self.removed += removed;
            if added + removed > 0 || what.is_empty() {
                let (added, removed) =
                    (self.colour(GREEN, &format!("+{added}")), self.colour(RED, &format!("-{removed}")));
                what.insert(0, format!("{added} {removed}"));
            }
        }
        format!("{} | {}\n", path(difference), what.join(", "))
    }

    fn lines(&self, difference: &Difference) -> String {
        let path = path(difference);
        let mut text = self.colour(BOLD, &format!("diff a/{path} b/{path}")) + "\n";
        for note in notes(difference) {
            text += &(self.colour(BOLD, &note) + "\n");
        }
        let Contents::Text { old, new } = &difference.contents else { return text };
        if old.is_empty() && new.is_empty() {
            return text;
        }
        let name = |side: Option<&Listed>, letter| match side {
            Some(Listed { path, kind: ListedKind::File { .. }, .. }) => {
                for_patch(&format!("{letter}/{}", path.to_string_lossy()))
            }
            _ => "/dev/null".to_owned(),
        };
        let (from, to) = (name(difference.old.as_ref(), 'a'), name(difference.new.as_ref(), 'b'));
        text += &(self.colour(BOLD, &format!("--- {from}")) + "\n" + &self.colour(BOLD, &format!("+++ {to}")) + "\n");
        let Compared { old, new, changes } = Compared::new(old, new);
        for hunk in group_diff_ops(changes, CONTEXT).iter().filter(|hunk| !hunk.is_empty()) {
            text += &(self.colour(MAGENTA, &UnifiedHunkHeader::new(hunk).to_string()) + "\n");
            for change in hunk.iter().flat_map(|change| change.iter_changes(&old, &new)) {
                let (sign, colour) = match change.tag() {
                    ChangeTag::Delete => ('-', RED),
                    ChangeTag::Insert => ('+', GREEN),
                    ChangeTag::Equal => (' ', ""),
                };
                let line = change.value().strip_suffix('\n');
                let shown = self.line(line.unwrap_or(change.value()));
                text += &(self.colour(colour, &format!("{sign}{shown}")) + "\n");
                if line.is_none() {
                    text += "\\ No newline at end of file\n";
                }
            }
        }
        text
    }

    /// A line of a file: as it is, but for what could steer a terminal.
    fn line(&self, line: &str) -> String {
        if !self.is_terminal || !line.contains(|c: char| is_unseen(c) && c != '\t') {
            return line.to_owned();
        }
        line.split('\t').map(printable).collect::<Vec<_>>().join("\t")
    }

    fn colour(&self, colour: &str, text: &str) -> String {
        if self.has_colours && !colour.is_empty() { format!("{colour}{text}{RESET}") } else { text.to_owned() }
    }
}

/// The lines of two texts, and what has become of them. A line ends where it does for git and `patch`: not with a carriage
/// return alone.
struct Compared<'a> {
    old: Vec<&'a str>,
    new: Vec<&'a str>,
    changes: Vec<DiffOp>,
}

impl<'a> Compared<'a> {
    fn new(old: &'a str, new: &'a str) -> Self {
        let [old, new] = [old, new].map(|text| text.split_inclusive('\n').collect::<Vec<_>>());
        let numbers = IdentifyDistinct::<u32>::new(&old, 0..old.len(), &new, 0..new.len());
        let (from, to) = (numbers.old_lookup(), numbers.new_lookup());
        let mut found = Compact::new(Replace::new(Capture::new()), from, to);
        let deadline = Instant::now().checked_add(PATIENCE);
        // Who asks for a `TextDiff` gets the code of six algorithms, each for words, numbers and more: a third of a megabyte.
        let Ok(()) = myers::diff_deadline(&mut found, from, numbers.old_range(), to, numbers.new_range(), deadline);
        Self { old, new, changes: found.into_inner().into_inner().into_ops() }
    }
}

/// A name as git writes it and `patch` reads it: in quotes, if there is something in it that would not be read as it is.
fn for_patch(name: &str) -> String {
    let is_plain = |c: char| !is_unseen(c) && !matches!(c, '"' | '\\');
    if name.chars().all(is_plain) && !name.ends_with(' ') {
        // Without a tab, `patch` takes what follows a space for a date.
        return if name.contains(' ') { format!("{name}\t") } else { name.to_owned() };
    }
    let mut quoted = String::from("\"");
    for c in name.chars() {
        match c {
            '\t' => quoted += "\\t",
            '\n' => quoted += "\\n",
            '"' | '\\' => quoted.extend(['\\', c]),
            c if is_plain(c) => quoted.push(c),
            c => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // Writing to a string does not fail.
                    let _ = write!(quoted, "\\{byte:03o}");
                }
            }
        }
    }
    quoted + "\""
}

fn path(difference: &Difference) -> String {
    difference.file().map_or_else(String::new, |file| printable(&file.path.to_string_lossy()))
}

/// How many lines have been added and removed, if that is known.
fn lines_of(difference: &Difference) -> Option<(usize, usize)> {
    let Contents::Text { old, new } = &difference.contents else { return None };
    let (mut added, mut removed) = (0, 0);
    for change in Compared::new(old, new).changes.iter().filter(|change| change.tag() != DiffTag::Equal) {
        removed += change.old_range().len();
        added += change.new_range().len();
    }
    Some((added, removed))
}

/// What differs besides lines, in words.
fn notes(difference: &Difference) -> Vec<String> {
    let mut notes = Vec::new();
    match (&difference.old, &difference.new) {
        (Some(old), Some(new)) => {
            if kind(old) != kind(new) {
                notes.push(format!("was {}, is {}", described(old), described(new)));
            } else if let (ListedKind::Symlink { target: a }, ListedKind::Symlink { target: b }) =
                (&old.kind, &new.kind)
            {
                let [a, b] = [a, b].map(|target| printable(&target.to_string_lossy()));
                notes.push(format!("link pointed to {a}, points to {b}"));
            }
            if old.mode != new.mode && kind(old) == kind(new) {
                notes.push(format!("mode was {:04o}, is {:04o}", old.mode, new.mode));
            }
        }
        (Some(old), None) => notes.push(format!("removed {}", described(old))),
        (None, Some(new)) => notes.push(format!("new {}", described(new))),
        (None, None) => {}
    }
    let sizes = || {
        let sizes = [&difference.old, &difference.new].into_iter().flatten().filter_map(Listed::size);
        sizes.map(size).collect::<Vec<_>>().join(" and ")
    };
    match difference.contents {
        Contents::Binary => notes.push(format!("binary, {}", sizes())),
        Contents::Unread | Contents::From(_) => notes.push(format!("too large to show, {}", sizes())),
        Contents::Same | Contents::Text { .. } => {}
    }
    notes
}

fn kind(file: &Listed) -> &'static str {
    match file.kind {
        ListedKind::Directory => "directory",
        ListedKind::File { .. } => "file",
        ListedKind::Symlink { .. } => "symlink",
    }
}

/// `file with mode 0755`, `link to a.txt`
fn described(file: &Listed) -> String {
    match &file.kind {
        ListedKind::Symlink { target } => format!("link to {}", printable(&target.to_string_lossy())),
        _ => format!("{} with mode {:04o}", kind(file), file.mode),
    }
}

pub(super) fn to_json(difference: &Difference) -> Value {
    let change = match (&difference.old, &difference.new) {
        (None, _) => "added",
        (_, None) => "removed",
        (Some(old), Some(new)) if kind(old) != kind(new) => "type",
        (Some(old), Some(new)) if old.kind == new.kind && difference.contents == Contents::Same => "mode",
        _ => "modified",
    };
    let contents = match difference.contents {
        Contents::Same => "same",
        Contents::Text { .. } => "text",
        Contents::Binary => "binary",
        Contents::Unread | Contents::From(_) => "unread",
    };
    let lines = lines_of(difference);
    json!({
        "path": difference.file().map(|file| file.path.to_string_lossy()),
        "change": change,
        "old": difference.old.as_ref().map(super::list::to_json),
        "new": difference.new.as_ref().map(super::list::to_json),
        "contents": contents,
        "linesAdded": lines.map(|(added, _)| added),
        "linesRemoved": lines.map(|(_, removed)| removed),
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use similar::TextDiff;

    use super::*;

    proptest! {
        #[test]
        fn lines_differ_as_the_library_says_by_itself(
            old in vec("[a-d]?\n", 0..150),
            new in vec("[a-d]?\n", 0..150),
            same in vec("[a-z]\n", 0..150),
            last in "[a-c]?",
        ) {
            let [old, new] = [old, new].map(|lines| [&same[..], &lines, &same].concat().concat() + &last);
            let expected = TextDiff::configure().timeout(PATIENCE).diff_lines(&old, &new);
            assert_eq!(Compared::new(&old, &new).changes, expected.ops());
        }
    }
}
