//! Deciding, from the entries alone, what goes into each member.

use std::ops::Range;

use super::scan::Tree;
use crate::bundle::{Cutter, MAX_MEMBER, Place};

/// The tar bytes of a member: whole entries, or a range of the bytes of a single large one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) entries: Range<usize>,
    pub(super) bytes: Range<u64>,
}

impl Plan {
    pub(super) fn size(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// The path of the entry that it begins with or in the middle of, as the member table has it.
    pub(super) fn first_path<'a>(&self, tree: &'a Tree) -> &'a str {
        tree.entries.get(self.entries.start).map_or("", |found| found.entry.path())
    }

    /// Which step of that entry it is.
    pub(super) fn step(&self) -> usize {
        (self.bytes.start / MAX_MEMBER) as usize
    }

    /// Whether an entry begins in this member.
    pub(super) fn begins(&self) -> bool {
        self.bytes.start == 0
    }
}

/// Decides, from the entries alone, what goes into each member.
pub(super) fn plan(tree: &Tree) -> Vec<Plan> {
    let mut plans: Vec<Plan> = Vec::new();
    let mut cutter = Cutter::default();
    for (at, entry) in tree.entries().enumerate() {
        let size = entry.tar_size();
        if let (Place::Continues, Some(last)) = (cutter.place(entry), plans.last_mut()) {
            last.entries.end = at + 1;
            last.bytes.end += size;
        } else {
            let step = |start| Plan { entries: at..at + 1, bytes: start..size.min(start + MAX_MEMBER) };
            plans.extend((0..size).step_by(MAX_MEMBER as usize).map(step));
        }
    }
    if plans.is_empty() {
        plans.push(Plan { entries: 0..0, bytes: 0..0 });
    }
    plans
}
