//! Reading and compressing members, on all cores, with bounded memory. Putting them in order is left to `layer`.

use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use libdeflater::{CompressionLvl, Compressor, Decompressor};

use super::Error;
use super::cache::{Bases, Stored, front};
use super::plan::{Member, Plan};
use super::scan::Tree;
use crate::bundle::{COMPRESSION_LEVEL, END_OF_ARCHIVE, Kind};
use crate::digest::{Algorithm, Digest, are_sooner_together};

/// How many tar bytes may be under way at once, however many threads there are. Their compressed members come on top,
/// which are rarely larger.
const IN_FLIGHT: u64 = 16 * 1024 * 1024;

/// How many buffers are kept for the next member: fewer than may be under way, since each may have grown to 1 MiB.
const SPARE: usize = 8;

/// A member that is ready.
pub(super) enum Packed {
    /// It is that of the layer's likeliest base, which has its bytes. Nobody needs them as long as all members are.
    Kept,
    /// It is to be hashed and written.
    Made {
        tar: Vec<u8>,
        gzip: Vec<u8>,
        /// The digest of its tar bytes, if that is known already.
        digest: Option<Digest>,
        /// Whether it is from a base.
        is_cached: bool,
    },
}

/// A member by its number, or why it cannot be read.
pub(super) type Sent = (usize, Result<Packed, Error>);

/// Which member is next, and whether there is room for it.
pub(super) struct Queue<'a> {
    plan: &'a Plan<'a>,
    state: Mutex<State>,
    room: Condvar,
    /// By number.
    layers: Vec<Layer>,
}

struct Layer {
    /// The number of its first member.
    first: usize,
    /// Whether it is being written, so that its members have to bring their bytes.
    is_written: AtomicBool,
}

#[derive(Default)]
struct State {
    next: usize,
    in_flight: u64,
    /// Buffers that have been used before: new ones would cost the kernel more than they cost us.
    spare: Vec<Vec<u8>>,
}

impl<'a> Queue<'a> {
    /// All members of `plan`. Of each layer, `layers` says the number of its first member, and whether it has no base that it
    /// may be.
    pub(super) fn new(plan: &'a Plan<'a>, layers: impl Iterator<Item = (usize, bool)>) -> Self {
        let layers = layers.map(|(first, is_new)| Layer { first, is_written: AtomicBool::new(is_new) }).collect();
        Self { plan, state: Mutex::default(), room: Condvar::new(), layers }
    }

    /// From now on, members of this layer bring their bytes.
    pub(super) fn write(&self, layer: usize) {
        self.layers[layer].is_written.store(true, Ordering::Relaxed);
    }

    /// The place of a member in its layer, if its bytes are not needed where a base has it there.
    fn place(&self, at: usize) -> Option<usize> {
        let layer = &self.layers[self.plan.members[at].layer];
        (!layer.is_written.load(Ordering::Relaxed)).then_some(at - layer.first)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and takes the next member. `tar` becomes an empty buffer for its bytes.
    fn take(&self, tar: &mut Vec<u8>) -> Option<usize> {
        let full = |state: &mut State| {
            let size = self.plan.members.get(state.next).map_or(0, |member| member.plan.size());
            state.in_flight > 0 && state.in_flight + size > IN_FLIGHT
        };
        let mut state = self.room.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner);
        let at = state.next;
        state.in_flight += self.plan.members.get(at)?.plan.size();
        state.next += 1;
        if tar.capacity() == 0 {
            *tar = state.spare.pop().unwrap_or_default();
        }
        tar.clear();
        Some(at)
    }

    /// Makes room again once nothing is left to do for a member, and says for how many tar bytes.
    pub(super) fn done(&self, at: usize, packed: Packed) -> u64 {
        let size = self.plan.members[at].plan.size();
        let mut state = self.state();
        state.in_flight -= size;
        if let Packed::Made { tar, .. } = packed
            && state.spare.len() < SPARE
        {
            state.spare.push(tar);
        }
        drop(state);
        self.room.notify_all();
        size
    }
}

/// Lets the threads end, however the work does, or that of one of them: they must not wait for room that nobody makes.
pub(super) struct StopOnDrop<'a>(pub(super) &'a Queue<'a>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.state().next = self.0.plan.members.len();
        self.0.room.notify_all();
    }
}

/// Makes members until there are no more, or until nobody takes them. There are `bases` for each layer.
pub(super) fn work(tree: &Tree, queue: &Queue<'_>, bases: &[Bases], sender: &Sender<Sent>) {
    let _stop = StopOnDrop(queue);
    let (mut worker, mut tar) = (Worker::new(), Vec::new());
    while let Some(at) = queue.take(&mut tar) {
        let (plan, member) = (queue.plan, &queue.plan.members[at]);
        let packed = fill(tree, plan, at, &mut tar)
            .map(|()| worker.pack(plan, member, &bases[member.layer].layers, &mut tar, queue.place(at)));
        if sender.send((at, packed)).is_err() {
            return;
        }
    }
}

/// A member in a cached layer.
#[derive(Clone, Copy)]
struct Found {
    /// The number of the base.
    base: usize,
    /// The number of the member.
    at: usize,
}

/// What a thread keeps from member to member.
struct Worker {
    compressor: Compressor,
    decompressor: Decompressor,
    /// As long as the longest member so far is, or may have become.
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

    /// Finds or compresses a member. Its bytes stay in `tar` if the first base has it at `place`.
    fn pack(
        &mut self,
        plan: &Plan<'_>,
        member: &Member,
        bases: &[Stored],
        tar: &mut Vec<u8>,
        place: Option<usize>,
    ) -> Packed {
        let found = self.find(bases, plan.first_path(member), member.plan.step(), tar);
        if let Some(Found { base, at }) = found {
            // Where one has gone and another has come, a member may have another place there.
            if base == 0 && place == Some(at) {
                return Packed::Kept;
            }
            let kept = &bases[base].members[at];
            let gzip = self.compressed[..kept.size as usize].to_vec();
            return Packed::Made { tar: mem::take(tar), gzip, digest: Some(kept.digest), is_cached: true };
        }
        let bound = self.compressor.gzip_compress_bound(tar.len());
        let compressed = front(&mut self.compressed, bound);
        let Ok(length) = self.compressor.gzip_compress(tar, compressed) else {
            unreachable!("the buffer is as long as libdeflate says is enough")
        };
        let gzip = compressed[..length].to_vec();
        let digest = (!are_sooner_together(Algorithm::Sha256)).then(|| Digest::sha256(tar));
        Packed::Made { tar: mem::take(tar), gzip, digest, is_cached: false }
    }

    /// The member of a cached layer that decompresses to just these bytes; its own are then at the front of `compressed`.
    /// Nothing else is taken for one: a cache that is damaged costs time and nothing more.
    fn find(&mut self, bases: &[Stored], path: &str, step: usize, tar: &[u8]) -> Option<Found> {
        let mut tried = Vec::new();
        for (number, base) in bases.iter().enumerate() {
            let Some(at) = base.find(path, step, tar.len() as u64) else { continue };
            let digest = base.members[at].digest;
            if tried.contains(&digest) {
                continue;
            }
            tried.push(digest);
            let Ok(gzip) = base.read(at, &mut self.compressed) else { continue };
            let inflated = front(&mut self.inflated, tar.len());
            if self.decompressor.gzip_decompress(gzip, inflated) == Ok(tar.len()) && inflated == tar {
                return Some(Found { base: number, at });
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::mpsc;

    use super::super::plan::Split;
    use super::*;

    #[test]
    fn a_thread_that_panics_lets_the_others_end() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(2 * IN_FLIGHT).unwrap();
        let tree = Tree::of_file(file, Path::new("zeros"), "zeros", false).unwrap();
        let plan = Plan::new(&tree, Split::Never);
        let (queue, bases) = (Queue::new(&plan, [(0, true)].into_iter()), [Bases::default()]);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            let (first, second, tree, queue, bases) = (sender.clone(), sender, &tree, &queue, &bases);
            // It looks for the bases of a layer that are not there.
            assert!(scope.spawn(move || work(tree, queue, &[], &first)).join().is_err());
            scope.spawn(move || work(tree, queue, bases, &second));
            // Nobody makes room, so this ends only when they have.
            assert!(receiver.iter().count() < plan.members.len());
        });
    }
}
