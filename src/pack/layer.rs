//! Making the layer: members are read and compressed on all cores, then hashed and written in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use libdeflater::{CompressionLvl, Compressor};

use super::Error;
use super::scan::Tree;
use crate::bundle::{COMPRESSION_LEVEL, END_OF_ARCHIVE, Index, IndexBuilder, Kind, Place, Plan, plan};
use crate::digest::{Algorithm, Digest, Hasher, update_both};

/// How many tar bytes may be under way at once, however many threads there are. Their compressed members come on top,
/// which are rarely larger.
const IN_FLIGHT: u64 = 16 * 1024 * 1024;

/// How many buffers are kept for the next member: fewer than may be under way, since each may have grown to 1 MiB.
const SPARE: usize = 8;

/// A layer, compressed, in a temporary file that has no name and ends with the process.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) file: File,
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) diff_id: Digest,
    pub(super) index: Index,
}

/// A member that is ready to be hashed and written.
struct Packed {
    tar: Vec<u8>,
    gzip: Vec<u8>,
}

/// Makes the layer of `tree`. `progress` is told how many tar bytes are done, again and again.
pub(super) fn write(tree: &Tree, threads: NonZeroUsize, progress: &dyn Fn(u64)) -> Result<Layer, Error> {
    let plans = plan(tree.entries());
    let queue = Queue::new(&plans);
    let threads = threads.get().min(plans.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let (sender, queue) = (sender.clone(), &queue);
            scope.spawn(move || work(tree, queue, &sender));
        }
        drop(sender);
        // However this ends, the threads must not wait for room that nobody makes.
        let _stop = StopOnDrop(&queue);
        assemble(tree, &queue, &receiver, progress)
    })
}

/// Which member is next, and whether there is room for it.
struct Queue<'a> {
    plans: &'a [Plan],
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
    fn new(plans: &'a [Plan]) -> Self {
        Self { plans, state: Mutex::default(), room: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room and takes the next member, with an empty buffer for its tar bytes.
    fn take(&self) -> Option<(usize, Vec<u8>)> {
        let full = |state: &mut State| {
            let size = self.plans.get(state.next).map_or(0, Plan::size);
            state.in_flight > 0 && state.in_flight + size > IN_FLIGHT
        };
        let mut state = self.room.wait_while(self.state(), full).unwrap_or_else(PoisonError::into_inner);
        let at = state.next;
        state.in_flight += self.plans.get(at)?.size();
        state.next += 1;
        Some((at, state.spare.pop().unwrap_or_default()))
    }

    /// Makes room again once a member is written.
    fn done(&self, at: usize, mut tar: Vec<u8>) {
        let mut state = self.state();
        state.in_flight -= self.plans[at].size();
        if state.spare.len() < SPARE {
            tar.clear();
            state.spare.push(tar);
        }
        drop(state);
        self.room.notify_all();
    }
}

struct StopOnDrop<'a>(&'a Queue<'a>);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        *self.0.state() = State { next: self.0.plans.len(), ..State::default() };
        self.0.room.notify_all();
    }
}

/// Reads and compresses members until there are no more, or until nobody takes them.
fn work(tree: &Tree, queue: &Queue<'_>, sender: &Sender<(usize, Result<Packed, Error>)>) {
    let Ok(level) = CompressionLvl::new(COMPRESSION_LEVEL) else { unreachable!("6 is a level of libdeflate") };
    let mut compressor = Compressor::new(level);
    let mut buffer = Vec::new();
    while let Some((at, mut tar)) = queue.take() {
        let is_last = at + 1 == queue.plans.len();
        let packed = fill(tree, &queue.plans[at], is_last, &mut tar).map(|()| {
            buffer.resize(buffer.len().max(compressor.gzip_compress_bound(tar.len())), 0);
            let Ok(length) = compressor.gzip_compress(&tar, &mut buffer) else {
                unreachable!("the buffer is as long as libdeflate says is enough")
            };
            Packed { gzip: buffer[..length].to_vec(), tar }
        });
        if sender.send((at, packed)).is_err() {
            return;
        }
    }
}

/// Puts the tar bytes of a member into `tar`, which is empty.
pub(super) fn fill(tree: &Tree, plan: &Plan, is_last: bool, tar: &mut Vec<u8>) -> Result<(), Error> {
    // One byte more than the contents is read at a time, to see where a file ends.
    tar.reserve(plan.size() as usize + END_OF_ARCHIVE.len() + 1);
    for found in &tree.entries[plan.entries.clone()] {
        let entry = &found.entry;
        let range = plan.bytes_of(entry);
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
    if is_last {
        tar.extend_from_slice(&END_OF_ARCHIVE);
    }
    Ok(())
}

/// Puts members in order, hashes them, writes them, and adds the index.
fn assemble(
    tree: &Tree,
    queue: &Queue<'_>,
    receiver: &Receiver<(usize, Result<Packed, Error>)>,
    progress: &dyn Fn(u64),
) -> Result<Layer, Error> {
    let mut spool = Spool::new()?;
    let mut diff_id = Hasher::new(Algorithm::Sha256);
    let mut index = IndexBuilder::default();
    let mut early = BTreeMap::new();
    let mut done = 0;
    for (at, plan) in queue.plans.iter().enumerate() {
        let packed = next(receiver, &mut early, at)?;
        let mut digest = Hasher::new(Algorithm::Sha256);
        update_both(&mut diff_id, &mut digest, &packed.tar);
        spool.write(&packed.gzip)?;
        if plan.begins() {
            for (nth, found) in tree.entries[plan.entries.clone()].iter().enumerate() {
                index.entry(&found.entry, if nth == 0 { Place::Begins } else { Place::Continues });
            }
        }
        index.member(packed.gzip.len() as u64, packed.tar.len() as u64, &digest.finish());
        queue.done(at, packed.tar);
        done += plan.size();
        progress(done);
    }
    let (bytes, index) = index.finish(spool.size)?;
    spool.write(&bytes)?;
    Ok(Layer { size: spool.size, digest: spool.hasher.finish(), file: spool.file, diff_id: diff_id.finish(), index })
}

/// The member with this number; those that come before their turn wait in `early`.
fn next(
    receiver: &Receiver<(usize, Result<Packed, Error>)>,
    early: &mut BTreeMap<usize, Packed>,
    wanted: usize,
) -> Result<Packed, Error> {
    loop {
        if let Some(packed) = early.remove(&wanted) {
            return Ok(packed);
        }
        let Ok((at, packed)) = receiver.recv() else {
            unreachable!("threads end only when every member has been sent, or by a panic that ends the scope")
        };
        early.insert(at, packed?);
    }
}

/// The layer on its way to a temporary file.
struct Spool {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Spool {
    fn new() -> Result<Self, Error> {
        let file = tempfile::tempfile().map_err(spool_error)?;
        Ok(Self { file, hasher: Hasher::new(Algorithm::Sha256), size: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write_all(bytes).map_err(spool_error)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }
}

fn spool_error(source: io::Error) -> Error {
    Error::Spool { directory: std::env::temp_dir(), source }
}
