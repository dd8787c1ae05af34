//! Deciding, from the entries alone, what goes into each member, and each member into which layer.

use std::ops::Range;

use super::scan::{Found, Tree};
use crate::bundle::{MemberPlan, plan_members};
use crate::digest::Digest;

/// The most layers that a bundle is split into.
pub const MAX_LAYERS: usize = 64;
/// How many layers are aimed at, if nobody says how large one should be: fewer than the most, as sizes differ.
const LAYERS: u64 = 40;
/// The smallest layer that is aimed at then.
const MIN_LAYER: u64 = 256 * 1024;

/// How a bundle becomes layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// One layer, as Flux and Argo CD expect it.
    #[default]
    Never,
    /// Several, so that a small change makes one of them another: some forty, if there is enough to split.
    Auto,
    /// Several of about so many bytes, uncompressed; larger ones where there were more than [`MAX_LAYERS`].
    Every(u64),
}

/// What goes where.
pub(super) struct Plan<'a> {
    /// The entries of all layers, in order: those of the tree, and directories again in each layer that has something in
    /// them, because some runtimes unpack each layer by itself.
    entries: Vec<&'a Found>,
    pub(super) members: Vec<Member>,
}

/// A member of a layer.
pub(super) struct Member {
    /// Its tar bytes. The numbers of entries are those of [`Plan`].
    pub(super) plan: MemberPlan,
    /// The number of its layer.
    pub(super) layer: usize,
}

impl<'a> Plan<'a> {
    /// Plans the members of all layers, in order.
    pub(super) fn new(tree: &'a Tree, split: Split) -> Self {
        let starts = starts(&tree.entries, split);
        let mut plan = Self { entries: Vec::new(), members: Vec::new() };
        for (layer, &start) in starts.iter().enumerate() {
            let end = starts.get(layer + 1).copied().unwrap_or(tree.entries.len());
            let first = plan.entries.len();
            plan.entries.extend(parents(&tree.entries, start));
            plan.entries.extend(&tree.entries[start..end]);
            for mut member in plan_members(plan.entries[first..].iter().map(|found| &found.entry)) {
                member.entries = member.entries.start + first..member.entries.end + first;
                plan.members.push(Member { plan: member, layer });
            }
        }
        plan
    }

    /// The entries of a member. Several have the same one if it is large.
    pub(super) fn entries(&self, member: &Member) -> &[&'a Found] {
        &self.entries[member.plan.entries.clone()]
    }

    /// The path of the entry that a member begins with or in the middle of, as the member table has it.
    pub(super) fn first_path(&self, member: &Member) -> &'a str {
        self.entries(member).first().map_or("", |found| found.entry.path())
    }

    /// The path of the last entry of a member.
    pub(super) fn last_path(&self, member: &Member) -> &'a str {
        self.entries(member).last().map_or("", |found| found.entry.path())
    }

    /// Whether this is the last member of its layer.
    pub(super) fn is_last(&self, at: usize) -> bool {
        self.members.get(at + 1).is_none_or(|next| next.layer != self.members[at].layer)
    }

    /// The members of each layer, by number.
    pub(super) fn layers(&self) -> Vec<Range<usize>> {
        let mut start = 0;
        let chunks = self.members.chunk_by(|a, b| a.layer == b.layer);
        let range = |chunk: &[Member]| {
            let range = start..start + chunk.len();
            start = range.end;
            range
        };
        chunks.map(range).collect()
    }
}

/// The directories that the entry with this number is in, the outermost first.
fn parents(entries: &[Found], at: usize) -> Vec<&Found> {
    let path = entries.get(at).map_or("", |found| found.entry.path());
    let is_above = |found: &&Found| path.strip_prefix(found.entry.path()).is_some_and(|rest| rest.starts_with('/'));
    entries[..at].iter().filter(is_above).collect()
}

/// The numbers of the entries with which layers begin.
fn starts(entries: &[Found], split: Split) -> Vec<usize> {
    let total: u64 = entries.iter().map(|found| found.entry.tar_size()).sum();
    let mut target = match split {
        Split::Never => return vec![0],
        // In powers of two, so that the layers stay what they are when the directory grows.
        Split::Auto => (total / LAYERS).next_power_of_two().max(MIN_LAYER),
        Split::Every(size) => size.max(1),
    };
    loop {
        let starts = starts_for(entries, target);
        if starts.len() <= MAX_LAYERS {
            return starts;
        }
        target = target.saturating_mul(2);
    }
}

/// The same for layers of about `target` bytes. A layer may end before any member that begins with an entry, and does where
/// the path of that entry says so, as members end where a path says so (`docs/format.md`): a change moves no boundary but
/// those near it.
fn starts_for(entries: &[Found], target: u64) -> Vec<usize> {
    let (mut starts, mut size, mut before) = (vec![0], 0_u64, 0_u64);
    for member in plan_members(entries.iter().map(|found| &found.entry)) {
        let first = member.entries.start;
        let is_small = size == 0 || size < target / 2;
        let is_large = size >= target.saturating_mul(2);
        if member.begins() && !is_small && (is_large || ends_before(&entries[first], before, target)) {
            starts.push(first);
            size = 0;
        }
        before = member.size();
        size += before;
    }
    starts
}

/// Whether the path of an entry says that a layer ends before it: as probable as the member there, of `size` bytes, is large
/// in a layer of `target` bytes. The bytes of the digest are not those that say where members end.
fn ends_before(found: &Found, size: u64, target: u64) -> bool {
    let digest = Digest::sha256(found.entry.path().as_bytes());
    let bytes = digest.as_bytes();
    let drawn = u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
    u128::from(drawn) * u128::from(target) < u128::from(size) << 32
}
