//! Making the layer: members come from all cores, and are hashed and written in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

use super::Error;
use super::cache::{Cache, Name, Record, Stored, checksum};
use super::plan::{Plan, plan};
use super::scan::Tree;
use super::workers::{Packed, Queue, Sent, StopOnDrop, work};
use crate::bundle::{Index, IndexBuilder, Place};
use crate::digest::{Algorithm, Digest, Hasher, update_both};

/// A layer, compressed, at the front of a file: one that has no name and ends with the process, or one of the cache's.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
    pub(super) digest: Digest,
    pub(super) diff_id: Digest,
    pub(super) index: Index,
    pub(super) reuse: Reuse,
}

/// How much of a bundle had been packed before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reuse {
    /// How many members it has.
    pub members: usize,
    /// How many of them did not have to be compressed.
    pub cached: usize,
}

/// Makes the layer of `tree`. `progress` is told how many tar bytes are done, again and again.
pub(super) fn write(
    tree: &Tree,
    threads: NonZeroUsize,
    cache: Option<&Cache>,
    progress: &dyn Fn(u64),
) -> Result<Layer, Error> {
    let plans = plan(tree);
    let bases = cache.map(|cache| cache.bases(tree, &plans)).unwrap_or_default();
    let queue = Queue::new(&plans);
    let threads = threads.get().min(plans.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let (sender, queue, bases) = (sender.clone(), &queue, &bases);
            scope.spawn(move || work(tree, queue, bases, &sender));
        }
        drop(sender);
        let _stop = StopOnDrop(&queue);
        Assembly { tree, queue: &queue, bases: &bases, cache }.run(&receiver, progress)
    })
}

/// Putting members in order.
struct Assembly<'a> {
    tree: &'a Tree,
    queue: &'a Queue<'a>,
    bases: &'a [Stored],
    cache: Option<&'a Cache>,
}

impl Assembly<'_> {
    /// As long as every member is that of the first base, nothing is hashed or written: if it stays so, this is that layer.
    fn run(&self, receiver: &Receiver<Sent>, progress: &dyn Fn(u64)) -> Result<Layer, Error> {
        let plans = self.queue.plans;
        let base = self.bases.first().filter(|base| base.members.len() == plans.len());
        let mut writing = None;
        let mut reuse = Reuse { members: plans.len(), cached: 0 };
        let (mut early, mut done) = (BTreeMap::new(), 0);
        for (at, plan) in plans.iter().enumerate() {
            let packed = next(receiver, &mut early, at)?;
            reuse.cached += usize::from(packed.found.is_some());
            let is_base = base.is_some() && packed.found.is_some_and(|(number, _)| number == 0);
            if writing.is_some() || !is_base {
                let writing = match &mut writing {
                    Some(writing) => writing,
                    None => writing.insert(self.begin(base, at)?),
                };
                self.add(writing, plan, &packed.tar, &packed.gzip, packed.found.map(|(_, digest)| digest))?;
            }
            self.queue.done(at, packed.tar);
            done += plan.size();
            progress(done);
        }
        let layer = match (writing, base) {
            (Some(writing), _) => self.finish(writing)?,
            (None, Some(base)) => base.layer(),
            (None, None) => unreachable!("there is at least one member, and it is not that of a base"),
        };
        Ok(Layer { reuse, ..layer })
    }

    /// Starts to write, with the members before `at`, which are those of `base`.
    fn begin(&self, base: Option<&Stored>, at: usize) -> Result<Writing, Error> {
        let mut writing = Writing::new(self.cache)?;
        for (at, plan) in self.queue.plans[..at].iter().enumerate() {
            let Some(base) = base else { unreachable!("without a base, writing starts with the first member") };
            let (tar, gzip) = base.inflate(at).map_err(spool_error)?;
            self.add(&mut writing, plan, &tar, &gzip, Some(base.members[at].digest))?;
        }
        Ok(writing)
    }

    fn add(&self, to: &mut Writing, plan: &Plan, tar: &[u8], gzip: &[u8], known: Option<Digest>) -> Result<(), Error> {
        let digest = if let Some(digest) = known {
            to.diff_id.update(tar);
            digest
        } else {
            let mut digest = Hasher::new(Algorithm::Sha256);
            update_both(&mut to.diff_id, &mut digest, tar);
            digest.finish()
        };
        to.spool.write(gzip)?;
        to.checksums.push(checksum(gzip));
        if plan.begins() {
            for (nth, found) in self.tree.entries[plan.entries.clone()].iter().enumerate() {
                to.index.entry(&found.entry, if nth == 0 { Place::Begins } else { Place::Continues });
            }
        }
        to.index.member(gzip.len() as u64, tar.len() as u64, &digest);
        Ok(())
    }

    /// Adds the index, and lets the cache keep what has been written.
    fn finish(&self, writing: Writing) -> Result<Layer, Error> {
        let Writing { mut spool, diff_id, index, checksums } = writing;
        let (bytes, index) = index.finish(spool.size)?;
        spool.write(&bytes)?;
        let Spool { file, is_in_cache, hasher, size } = spool;
        let (digest, diff_id) = (hasher.finish(), diff_id.finish());
        if let Some(cache) = self.cache.filter(|_| is_in_cache) {
            cache.keep(&file, &Name::of(self.tree, digest), &Record { digest, size, diff_id, index, checksums });
        }
        Ok(Layer { file: Arc::new(file), size, digest, diff_id, index, reuse: Reuse::default() })
    }
}

/// The member with this number; those that come before their turn wait in `early`.
fn next(receiver: &Receiver<Sent>, early: &mut BTreeMap<usize, Packed>, wanted: usize) -> Result<Packed, Error> {
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

/// A layer that is being written.
struct Writing {
    spool: Spool,
    diff_id: Hasher,
    index: IndexBuilder,
    /// What the cache has to know of each member.
    checksums: Vec<u32>,
}

impl Writing {
    fn new(cache: Option<&Cache>) -> Result<Self, Error> {
        Ok(Self {
            spool: Spool::new(cache)?,
            diff_id: Hasher::new(Algorithm::Sha256),
            index: IndexBuilder::default(),
            checksums: Vec::new(),
        })
    }
}

/// The layer on its way to a temporary file.
struct Spool {
    file: File,
    /// Whether the cache may keep it.
    is_in_cache: bool,
    hasher: Hasher,
    size: u64,
}

impl Spool {
    fn new(cache: Option<&Cache>) -> Result<Self, Error> {
        let in_cache = cache.and_then(|cache| cache.spool().ok());
        let is_in_cache = in_cache.is_some();
        let file = in_cache.map_or_else(tempfile::tempfile, Ok).map_err(spool_error)?;
        Ok(Self { file, is_in_cache, hasher: Hasher::new(Algorithm::Sha256), size: 0 })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Err(error) = self.file.write_all_at(bytes, self.size) {
            if !self.is_in_cache {
                return Err(spool_error(error));
            }
            self.leave_cache().and_then(|()| self.file.write_all_at(bytes, self.size)).map_err(spool_error)?;
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Goes on elsewhere: where the cache is may be full, which is no reason to fail.
    fn leave_cache(&mut self) -> io::Result<()> {
        let mut file = tempfile::tempfile()?;
        let (mut buffer, mut copied) = (vec![0; 256 * 1024], 0);
        while copied < self.size {
            let length = (self.size - copied).min(buffer.len() as u64) as usize;
            self.file.read_exact_at(&mut buffer[..length], copied)?;
            file.write_all(&buffer[..length])?;
            copied += length as u64;
        }
        (self.file, self.is_in_cache) = (file, false);
        Ok(())
    }
}

fn spool_error(source: io::Error) -> Error {
    Error::Spool { directory: std::env::temp_dir(), source }
}
