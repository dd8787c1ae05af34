//! A layer of which parts are read: its index, and one member at a time, held against that.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::END_OF_ARCHIVE;
use super::entry::Entry;
use super::index::{Index, IndexError, Member};
use super::member::{MAX_MEMBER, MEMBER_HEADER};
use super::plan::{MemberPlan, members_of, plan_members};
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::text::bytes;

/// The checksum and the length that end a gzip member (RFC 1952, section 2.3.1).
const TRAILER: usize = 8;
/// How many bytes a member may have in the layer. What cannot be compressed grows by far less; nothing else needs more.
const MAX_SIZE: u64 = 2 * MAX_MEMBER;

/// Buffers that nobody reads any more. Each is as large as any member; fresh ones, on many threads, would be memory that
/// the process keeps.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// How many of them are kept.
const MAX_SPARE: usize = 8;
/// One byte more than there may be, so that too many show.
const CAPACITY: usize = MAX_MEMBER as usize + END_OF_ARCHIVE.len() + 1;

/// Some of the contents of an entry, which may be none: as much as there is in one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The number of the entry.
    pub entry: usize,
    /// Where it begins in the contents, in bytes.
    pub offset: u64,
    /// The bytes.
    pub bytes: Bytes,
}

/// The index of a layer, byte for byte, and where it lies in that.
#[derive(Clone, Debug)]
pub struct LayerIndex {
    /// The layer.
    pub layer: Descriptor,
    /// Where both sections lie, and their digests.
    pub index: Index,
    /// Both sections.
    pub bytes: Bytes,
}

/// Reads contents of an entry from an offset on, as many as the buffer takes.
pub type ReadContents<'a> = &'a mut dyn FnMut(&Entry, u64, &mut [u8]) -> io::Result<()>;

/// A layer and its index, whose two sections agree.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    /// What it was decoded from.
    pub(super) source: LayerIndex,
    pub(super) entries: Vec<Entry>,
    pub(super) members: Vec<Member>,
    /// Where each member begins in the layer.
    pub(super) offsets: Vec<u64>,
    plans: Vec<MemberPlan>,
}

impl Layer {
    /// Decodes both sections, which follow each other in `bytes`.
    ///
    /// # Errors
    /// When they are not what the manifest says, or when the members are not those that the format makes of the entries.
    pub(super) fn decode(source: LayerIndex) -> Result<Self, IndexError> {
        let LayerIndex { layer: descriptor, index, bytes } = &source;
        let (list, table) = bytes.split_at_checked(index.entries.length as usize).unwrap_or((bytes, &[]));
        let (members, mut entries, mut begins) = (index.decode_members(table)?, Vec::new(), Vec::new());
        index.visit_entries(list, |entry, member| {
            entries.push(entry);
            begins.push(member);
        })?;
        entries.shrink_to_fit();
        check_sizes(&entries, &begins, &members)?;
        let plans = plan_members(entries.iter());
        if let Some(number) = disagreement(&plans, &entries, &begins, &members) {
            return Err(IndexError::Disagreement(number));
        }
        let place = |end: &mut u64, member: &Member| Some(std::mem::replace(end, *end + member.size));
        let offsets = members.iter().scan(0, place).collect();
        Ok(Self { descriptor: descriptor.clone(), source, entries, members, offsets, plans })
    }

    /// The entries that are in a member, whole or in part.
    pub(super) fn entries_of(&self, number: usize) -> &[Entry] {
        &self.entries[self.plans[number].entries.clone()]
    }

    /// What is in a member, of each entry that is in it, if `read` yields just that: it is put together as the archive has
    /// it, and held against the member's digest.
    pub(super) fn pieces_from(&self, number: usize, read: ReadContents<'_>) -> io::Result<Option<Vec<Piece>>> {
        let plan = &self.plans[number];
        let (mut tar, mut places) = (Tar::empty(), Vec::with_capacity(plan.entries.len()));
        for at in plan.entries.clone() {
            let entry = &self.entries[at];
            let (range, head) = (plan.bytes_of(entry), entry.head());
            let (start, length) = (tar.0.len(), head.len() as u64);
            let within = |at: u64| at.clamp(range.start, range.end);
            tar.0.extend_from_slice(&head[within(0).min(length) as usize..within(length).min(length) as usize]);
            let contents = tar.0.len()..tar.0.len() + (within(length + entry.size()) - within(length)) as usize;
            let offset = range.start.saturating_sub(length);
            tar.0.resize(contents.end, 0);
            read(entry, offset, &mut tar.0[contents.clone()])?;
            tar.0.resize(start + (range.end - range.start) as usize, 0);
            places.push((at, offset, contents));
        }
        if number + 1 == self.members.len() {
            tar.0.extend_from_slice(&END_OF_ARCHIVE);
        }
        if Digest::sha256(&tar.0) != self.members[number].digest {
            return Ok(None);
        }
        let tar = Bytes::from_owner(tar);
        let piece = |(entry, offset, range)| Piece { entry, offset, bytes: tar.slice(range) };
        Ok(Some(places.into_iter().map(piece).collect()))
    }

    /// The numbers of the members that the entry with this number is in.
    pub(super) fn members_of(&self, entry: usize) -> Range<usize> {
        members_of(&self.plans, entry)
    }

    /// What is in a member, of each entry that is in it, from the member's bytes in the layer.
    ///
    /// # Errors
    /// When it is not one gzip member that says nothing but this, or does not hold what the index says that it holds.
    pub(super) fn pieces(&self, number: usize, gzip: &[u8]) -> Result<Vec<Piece>, String> {
        let member = &self.members[number];
        let tar = inflate(gzip, member.tar_size as usize)?;
        let found = Digest::sha256(&tar.0);
        if found != member.digest {
            return Err(format!("has tar bytes with digest {found}, expected {}", member.digest));
        }
        let (plan, mut rest) = (&self.plans[number], Bytes::from_owner(tar));
        let mut pieces = Vec::with_capacity(plan.entries.len());
        for at in plan.entries.clone() {
            let entry = &self.entries[at];
            let range = plan.bytes_of(entry);
            // The tar bytes are as many as the entries make: that is held against the table when it is decoded.
            let here = rest.split_to((range.end - range.start) as usize);
            let (offset, bytes) = contents(entry, range.start, &here)
                .ok_or_else(|| format!("does not hold {:?} as the entry list has it", entry.path()))?;
            pieces.push(Piece { entry: at, offset, bytes });
        }
        let is_last = number + 1 == self.members.len();
        let is_end = if is_last { rest == END_OF_ARCHIVE[..] } else { rest.is_empty() };
        if is_end { Ok(pieces) } else { Err("does not end as the archive has to".to_owned()) }
    }
}

/// Sees that the entries have as many tar bytes as the members, so that planning takes no more than that. `begins` says in
/// which member each begins.
fn check_sizes(entries: &[Entry], begins: &[u64], members: &[Member]) -> Result<(), IndexError> {
    let all = members.iter().fold(0_u64, |sum, member| sum.saturating_add(member.tar_size));
    let is_fit =
        |member: &Member| member.size <= MAX_SIZE && member.tar_size <= MAX_MEMBER + END_OF_ARCHIVE.len() as u64;
    if let Some(number) = members.iter().position(|member| !is_fit(member)) {
        return Err(IndexError::Disagreement(number));
    }
    let mut left = all;
    for (entry, member) in entries.iter().zip(begins) {
        let wrong = IndexError::Disagreement(usize::try_from(*member).unwrap_or(usize::MAX));
        // A size of its own that is larger than everything must not even be rounded up.
        let needed = if entry.size() < all { entry.tar_size() } else { u64::MAX };
        left = left.checked_sub(needed).ok_or(wrong)?;
    }
    Ok(())
}

/// The first member that is another than the entries make.
fn disagreement(plans: &[MemberPlan], entries: &[Entry], begins: &[u64], members: &[Member]) -> Option<usize> {
    let last = plans.len() - 1;
    let agrees = |(number, (plan, member)): (usize, (&MemberPlan, &Member))| {
        let end = if number == last { END_OF_ARCHIVE.len() as u64 } else { 0 };
        let first = entries.get(plan.entries.start).map_or("", Entry::path);
        let is_here = |begins: &u64| !plan.begins() || *begins == number as u64;
        member.tar_size == plan.size() + end
            && *member.first_path == *first
            && begins[plan.entries.clone()].iter().all(is_here)
    };
    let wrong = plans.iter().zip(members).enumerate().position(|row| !agrees(row));
    wrong.or_else(|| (plans.len() != members.len()).then(|| plans.len().min(members.len())))
}

/// The tar bytes of a member, in a buffer that is spare once nobody has any of them.
struct Tar(Vec<u8>);

impl Tar {
    fn empty() -> Self {
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(spare.unwrap_or_else(|| Vec::with_capacity(CAPACITY)))
    }
}

impl AsRef<[u8]> for Tar {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Tar {
    fn drop(&mut self) {
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < MAX_SPARE {
            self.0.clear();
            spare.push(std::mem::take(&mut self.0));
        }
    }
}

/// Decompresses what has to be exactly one gzip member, with `size` tar bytes.
///
/// `flate2` does it, because it says where a stream ends: libdeflate would not show what comes after that, and that is
/// something to all who read the layer whole.
fn inflate(gzip: &[u8], size: usize) -> Result<Tar, String> {
    let rest = gzip.strip_prefix(&MEMBER_HEADER).ok_or("has not the gzip header that it should have")?;
    let (deflate, trailer) = rest.split_last_chunk::<TRAILER>().ok_or("breaks off")?;
    let mut tar = Tar::empty();
    let mut inflate = Decompress::new(false);
    match inflate.decompress_vec(deflate, &mut tar.0, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) if tar.0.len() == size && inflate.total_in() == deflate.len() as u64 => {}
        _ => return Err(format!("is not one gzip member of {}", bytes(size as u64))),
    }
    let mut crc = Crc::new();
    crc.update(&tar.0);
    // A member is far smaller than the 4 GiB at which gzip begins to count anew.
    let expected = u64::from(crc.sum()) | (size as u64) << 32;
    if u64::from_le_bytes(*trailer) == expected { Ok(tar) } else { Err("has a wrong checksum or length".to_owned()) }
}

/// What of an entry's contents is in these of its tar bytes, from `start` on, and where; nothing, if they are not the
/// entry's.
fn contents(entry: &Entry, start: u64, tar: &Bytes) -> Option<(u64, Bytes)> {
    let head = entry.head();
    let end = start + tar.len() as u64;
    let within = |at: u64| (at.clamp(start, end) - start) as usize;
    let (front, back) = (within(head.len() as u64), within(head.len() as u64 + entry.size()));
    let is_head = tar[..front] == head[(start as usize).min(head.len())..(end as usize).min(head.len())];
    let is_filled_up = tar[back..].iter().all(|&byte| byte == 0);
    let offset = start.saturating_sub(head.len() as u64);
    (is_head && is_filled_up).then(|| (offset, tar.slice(front..back)))
}
