//! Members: where a layer is cut into gzip members.

use super::entry::Entry;
use crate::digest::Digest;

/// The level at which libdeflate compresses members and sections of the index.
pub const COMPRESSION_LEVEL: i32 = 6;
/// The gzip header of every member that holds tar bytes: no flags, no time, system unknown.
pub const MEMBER_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// How many tar bytes a member has at most, not counting the two zero blocks at the very end.
pub const MAX_MEMBER: u64 = 1024 * 1024;
/// How many tar bytes a member has at least when an entry's path closes it; and the mean of what comes after that.
const MIN_MEMBER: u64 = 128 * 1024;

/// Where an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is the first of a new member.
    Begins,
    /// It belongs to the member of the entry before it.
    Continues,
}

/// Cuts a sequence of entries into members.
///
/// An entry of more than [`MAX_MEMBER`] tar bytes stands alone, in as many members as it has steps of that size. Of the
/// others, a member takes as many as fit, and is closed early by an entry whose path says so once it has 128 KiB. What
/// closes a member is in that member, so a change in one place leaves the boundaries elsewhere as they are.
#[derive(Debug)]
pub struct Cutter {
    filled: u64,
    closed: bool,
}

impl Default for Cutter {
    fn default() -> Self {
        Self { filled: 0, closed: true }
    }
}

impl Cutter {
    /// Says where the next entry goes.
    pub fn place(&mut self, entry: &Entry) -> Place {
        let size = entry.tar_size();
        let begins = self.closed || size > MAX_MEMBER || self.filled + size > MAX_MEMBER;
        self.filled = if begins { size } else { self.filled + size };
        self.closed = size > MAX_MEMBER || (self.filled >= MIN_MEMBER && closes(entry.path(), size));
        if begins { Place::Begins } else { Place::Continues }
    }
}

/// Whether an entry with this path and this many tar bytes closes its member: the larger, the likelier.
fn closes(path: &str, tar_size: u64) -> bool {
    let digest = Digest::sha256(path.as_bytes());
    let mut first = [0; 4];
    first.copy_from_slice(&digest.as_bytes()[..4]);
    u64::from(u32::from_le_bytes(first)) * MIN_MEMBER < tar_size << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::Kind;

    fn file(path: impl Into<String>, size: u64) -> Entry {
        Entry::new(path, Kind::File { size, executable: false }).unwrap()
    }

    fn cut(entries: &[Entry]) -> Vec<usize> {
        let mut cutter = Cutter::default();
        let places: Vec<_> = entries.iter().map(|entry| cutter.place(entry)).collect();
        (0..entries.len()).filter(|&at| places[at] == Place::Begins).collect()
    }

    #[test]
    fn an_entry_over_one_mib_stands_alone() {
        let limit = MAX_MEMBER - 512;
        assert_eq!(cut(&[file("a", 0), file("b", limit + 1), file("c", 0)]), [0, 1, 2]);
        // One of exactly 1 MiB fits a member, but nothing else does with it.
        assert_eq!(cut(&[file("a", 0), file("b", limit), file("c", 0)]), [0, 1, 2]);
        assert_eq!(cut(&[file("a", 0), file("b", limit - 512)]), [0]);
    }

    #[test]
    fn members_average_a_quarter_of_a_mib_and_never_exceed_one() {
        let entries: Vec<_> = (0..4000).map(|n| file(format!("charts/{n}/values.yaml"), n * 7919 % 20_000)).collect();
        let total: u64 = entries.iter().map(Entry::tar_size).sum();
        let starts = cut(&entries);
        let average = total / starts.len() as u64;
        assert!((200 * 1024..320 * 1024).contains(&average), "{average}");
        for window in starts.windows(2) {
            let size: u64 = entries[window[0]..window[1]].iter().map(Entry::tar_size).sum();
            assert!((128 * 1024..=MAX_MEMBER).contains(&size) || size + 20_480 > MAX_MEMBER, "{size}");
        }
    }

    #[test]
    fn a_change_moves_the_boundaries_near_it_and_no_others() {
        let mut entries: Vec<_> = (0..2000).map(|n| file(format!("f{n:05}"), 9000)).collect();
        let before: Vec<_> = cut(&entries).into_iter().map(|at| entries[at].path().to_owned()).collect();
        entries.insert(700, file("f00699b", 4000));
        let after: Vec<_> = cut(&entries).into_iter().map(|at| entries[at].path().to_owned()).collect();
        let moved = after.iter().filter(|path| !before.contains(path)).count();
        assert!(moved <= 3, "{moved} of {}", after.len());
    }
}
