//! The plan of a layer: what each member holds, from the entries alone. Who packs follows it; who reads a part holds the
//! index against it.

use std::ops::Range;

use super::entry::Entry;
use super::member::{Cutter, MAX_MEMBER, Place};

/// The tar bytes of a member: whole entries, or a step of a single large one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberPlan {
    /// The numbers of the entries.
    pub entries: Range<usize>,
    /// Which of their tar bytes, in bytes from the first one's front. The end of the archive is not counted.
    pub bytes: Range<u64>,
}

impl MemberPlan {
    /// How many tar bytes there are, without the end of the archive.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Whether an entry begins in this member.
    #[must_use]
    pub fn begins(&self) -> bool {
        self.bytes.start == 0
    }

    /// Which step it is of the entry that it begins in the middle of, counted from 0.
    #[must_use]
    pub fn step(&self) -> usize {
        (self.bytes.start / MAX_MEMBER) as usize
    }

    /// Which tar bytes of `entry`, one of those in this member, are in it.
    #[must_use]
    pub fn bytes_of(&self, entry: &Entry) -> Range<u64> {
        if self.entries.len() == 1 { self.bytes.clone() } else { 0..entry.tar_size() }
    }
}

/// Decides, from the entries alone, what goes into each member. There is always one.
pub fn plan_members<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<MemberPlan> {
    let mut plans: Vec<MemberPlan> = Vec::new();
    let mut cutter = Cutter::default();
    for (at, entry) in entries.enumerate() {
        let size = entry.tar_size();
        if let (Place::Continues, Some(last)) = (cutter.place(entry), plans.last_mut()) {
            last.entries.end = at + 1;
            last.bytes.end += size;
        } else {
            let step = |start| MemberPlan { entries: at..at + 1, bytes: start..size.min(start + MAX_MEMBER) };
            plans.extend((0..size).step_by(MAX_MEMBER as usize).map(step));
        }
    }
    if plans.is_empty() {
        plans.push(MemberPlan { entries: 0..0, bytes: 0..0 });
    }
    plans
}

/// The numbers of the members that the entry with this number is in.
#[must_use]
pub fn members_of(plans: &[MemberPlan], entry: usize) -> Range<usize> {
    let first = plans.partition_point(|plan| plan.entries.end <= entry);
    let count = plans[first..].iter().take_while(|plan| plan.entries.contains(&entry)).count();
    first..first + count
}
