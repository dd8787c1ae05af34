//! Reading and compressing members, on all cores, with bounded memory. Putting them in order is left to `layer`.

use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::Error;
use super::cache::{Bases, Stored};
use super::plan::{Member, Plan};
use super::scan::Tree;
use crate::bundle::{COMPRESSION_LEVEL, END_OF_ARCHIVE, Kind};
use crate::digest::Digest;

/// How many tar bytes may be under way at once, however many threads there are. Their compressed members come on top,
/// which are rarely larger.
const IN_FLIGHT: u64 = 16 * 1024 * 1024;

/// How many buffers are kept for the next member: fewer than may be under way, since each may have grown to 1 MiB.
const SPARE: usize = 8;

/// A member that is ready to be hashed and written.
pub(super) struct Packed {
    pub(super) tar: Vec<u8>,
    pub(super) gzip: Vec<u8>,
    /// Which of the bases of its layer it is from, and the digest of its tar bytes that is known from there.
    pub(super) found: Option<(usize, Digest)>,
}

/// A member by its number, or why it cannot be read.
pub(super) type Sent = (usize, Result<Packed, Error>);

/// Which member is next, and whether there is room for it.
pub(super) struct Queue<'a> {
    plan: &'a Plan<'a>,
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Default)]
struct State {
    next: usize,
    in_flight: u64,
    /// Buffers that have been used before: new ones would cost the kernel more than they cost us.
    spare: Vec<Vec<u8>>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(plan: &'a Plan<'a>) -> Self {
        Self { plan, state: Mutex::default(), room: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and takes the next member, with an empty buffer for its tar bytes.
    fn take(&self) -> Option<(usize, Vec<u8>)> {
        let full = |state: &mut State| {
            let size = self.plan.members.get(state.next).map_or(0, |member| member.plan.size());
            state.in_flight > 0 && state.in_flight + size > IN_FLIGHT
        };
        let mut state = self.room.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner);
        let at = state.next;
        state.in_flight += self.plan.members.get(at)?.plan.size();
        state.next += 1;
        Some((at, state.spare.pop().unwrap_or_default()))
    }

    /// Makes room again once a member is written, and says for how many tar bytes.
    pub(super) fn done(&self, at: usize, mut tar: Vec<u8>) -> u64 {
        let size = self.plan.members[at].plan.size();
        let mut state = self.state();
        state.in_flight -= size;
        if state.spare.len() < SPARE {
            tar.clear();
            state.spare.push(tar);
        }
        drop(state);
        self.room.notify_all();
        size
    }
}

/// Lets the threads end, however the work does: they must not wait for room that nobody makes.
pub(super) struct StopOnDrop<'a>(pub(super) &'a Queue<'a>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        *self.0.state() = State { next: self.0.plan.members.len(), ..State::default() };
        self.0.room.notify_all();
    }
}

/// Makes members until there are no more, or until nobody takes them. There are `bases` for each layer.
pub(super) fn work(tree: &Tree, queue: &Queue<'_>, bases: &[Bases], sender: &Sender<Sent>) {
    let mut worker = Worker::new();
    while let Some((at, mut tar)) = queue.take() {
        let plan = queue.plan;
        let bases = &bases[plan.members[at].layer].layers;
        let packed = fill(tree, plan, at, &mut tar).map(|()| worker.pack(plan, &plan.members[at], bases, tar));
        if sender.send((at, packed)).is_err() {
            return;
        }
    }
}

/// What a thread keeps from member to member.
struct Worker {
    compressor: Compressor,
    decompressor: Decompressor,
    /// As long as the longest member so far may have become.
    compressed: Vec<u8>,
    inflated: Vec<u8>,
}

impl Worker {
    fn new() -> Self {
        let Ok(level) = CompressionLvl::new(COMPRESSION_LEVEL) else { unreachable!("6 is a level of libdeflate") };
        Self {
            compressor: Compressor::new(level),
            decompressor: Decompressor::new(),
            compressed: Vec::new(),
            inflated: Vec::new(),
        }
    }

    fn pack(&mut self, plan: &Plan<'_>, member: &Member, bases: &[Stored], tar: Vec<u8>) -> Packed {
        if let Some((base, digest, gzip)) = self.find(bases, plan.first_path(member), member.plan.step(), &tar) {
            return Packed { tar, gzip, found: Some((base, digest)) };
        }
        let bound = self.compressor.gzip_compress_bound(tar.len());
        self.compressed.resize(self.compressed.len().max(bound), 0);
        let Ok(length) = self.compressor.gzip_compress(&tar, &mut self.compressed) else {
            unreachable!("the buffer is as long as libdeflate says is enough")
        };
        Packed { gzip: self.compressed[..length].to_vec(), tar, found: None }
    }

    /// The member of a cached layer that decompresses to just these bytes. Nothing else is taken for one: a cache that
    /// is damaged costs time and nothing more.
    fn find(&mut self, bases: &[Stored], path: &str, step: usize, tar: &[u8]) -> Option<(usize, Digest, Vec<u8>)> {
        let mut tried = Vec::new();
        for (number, base) in bases.iter().enumerate() {
            let Some(at) = base.find(path, step, tar.len() as u64) else { continue };
            let digest = base.members[at].digest;
            if tried.contains(&digest) {
                continue;
            }
            tried.push(digest);
            let Ok(gzip) = base.read(at) else { continue };
            self.inflated.resize(tar.len(), 0);
            let length = self.decompressor.gzip_decompress(&gzip, &mut self.inflated);
            if length == Ok(tar.len()) && self.inflated == tar {
                return Some((number, digest, gzip));
            }
        }
        None
    }
}

/// Puts the tar bytes of the member with this number into `tar`, which is empty.
pub(super) fn fill(tree: &Tree, plan: &Plan<'_>, at: usize, tar: &mut Vec<u8>) -> Result<(), Error> {
    let member = &plan.members[at];
    let entries = plan.entries(member);
    // One byte more than the contents is read at a time, to see where a file ends.
    tar.reserve(member.plan.size() as usize + END_OF_ARCHIVE.len() + 1);
    for found in entries {
        let entry = &found.entry;
        let range = member.plan.bytes_of(entry);
        let head = entry.head();
        let contents = head.len() as u64..head.len() as u64 + entry.size();
        let end = tar.len() + (range.end - range.start) as usize;
        if range.start < contents.start {
            tar.extend_from_slice(&head[range.start as usize..]);
        }
        if matches!(entry.kind(), Kind::File { .. }) && range.start < contents.end {
            let start = range.start.max(contents.start);
            let stop = range.end.min(contents.end);
            tree.read(found, start - contents.start, stop - start, tar)?;
        }
        // What is left to the end of the last block is zeros.
        tar.resize(end, 0);
    }
    if plan.is_last(at) {
        tar.extend_from_slice(&END_OF_ARCHIVE);
    }
    Ok(())
}
