//! Making the layer: members come from all cores, and are hashed and written in order.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};

#[cfg(target_os = "linux")]
use rustix::fs::{MemfdFlags, memfd_create};

use super::cache::{Bases, Name, Record, Stored, checksum};
use super::plan::Plan;
use super::scan::Tree;
use super::workers::{Packed, Queue, Sent, StopOnDrop, work};
use super::{Error, PackOptions};
use crate::bundle::{Index, IndexBuilder, Place};
use crate::digest::{Algorithm, Digest, Hasher, update_both};

/// A layer, compressed, at the front of a file: one that has no name and ends with the process, one in memory, or one of the
/// cache's.
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

/// Makes the layers of `tree`. `progress` is told how many tar bytes are done, again and again.
pub(super) fn write(tree: &Tree, options: &PackOptions, progress: &dyn Fn(u64)) -> Result<Vec<Layer>, Error> {
    let plan = Plan::new(tree, options.split);
    let layers = plan.layers();
    let cache = options.cache.as_ref();
    let bases = match cache {
        Some(cache) => cache.bases(tree, &plan, &layers),
        None => layers.iter().map(|_| Bases::default()).collect(),
    };
    let is_new = |(layer, bases): (&Range<usize>, &Bases)| (layer.start, bases.whole(layer.len()).is_none());
    let queue = Queue::new(&plan, layers.iter().zip(&bases).map(is_new));
    let threads = options.threads.get().min(plan.members.len());
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let (sender, queue, bases) = (sender.clone(), &queue, &bases);
            scope.spawn(move || work(tree, queue, bases, &sender));
        }
        drop(sender);
        let _stop = StopOnDrop(&queue);
        let mut members = Members { receiver, early: BTreeMap::new(), queue: &queue, done: 0, progress };
        let assemble =
            |(layer, bases): (Range<usize>, &Bases)| Assembly { plan: &plan, layer, bases, options }.run(&mut members);
        layers.into_iter().zip(&bases).map(assemble).collect()
    })
}

/// The members, in order, as the threads make them.
struct Members<'a> {
    receiver: Receiver<Sent>,
    /// Those that came before their turn.
    early: BTreeMap<usize, Packed>,
    queue: &'a Queue<'a>,
    /// How many tar bytes are done.
    done: u64,
    progress: &'a dyn Fn(u64),
}

impl Members<'_> {
    /// The member with this number.
    fn next(&mut self, wanted: usize) -> Result<Packed, Error> {
        loop {
            if let Some(packed) = self.early.remove(&wanted) {
                return Ok(packed);
            }
            let Ok((at, packed)) = self.receiver.recv() else {
                unreachable!("threads end only when every member has been sent, or by a panic that ends the scope")
            };
            self.early.insert(at, packed?);
        }
    }

    /// Makes room for others.
    fn done(&mut self, at: usize, packed: Packed) {
        self.done += self.queue.done(at, packed);
        (self.progress)(self.done);
    }
}

/// Putting the members of a layer in order.
struct Assembly<'a> {
    plan: &'a Plan<'a>,
    /// The numbers of its members.
    layer: Range<usize>,
    bases: &'a Bases,
    options: &'a PackOptions,
}

impl Assembly<'_> {
    /// As long as every member is that of the first base, nothing is hashed or written: if it stays so, this is that layer.
    fn run(&self, members: &mut Members<'_>) -> Result<Layer, Error> {
        let base = self.bases.whole(self.layer.len());
        let mut writing = None;
        let mut reuse = Reuse { members: self.layer.len(), cached: 0 };
        for at in self.layer.clone() {
            let packed = members.next(at)?;
            reuse.cached += usize::from(!matches!(packed, Packed::Made { is_cached: false, .. }));
            if writing.is_none() && matches!(packed, Packed::Made { .. }) {
                members.queue.write(self.plan.members[at].layer);
                writing = Some(self.begin(base, at)?);
            }
            match (&mut writing, &packed) {
                (Some(writing), Packed::Made { tar, gzip, digest, .. }) => self.add(writing, at, tar, gzip, *digest)?,
                (Some(writing), Packed::Kept) => self.add_kept(writing, base, at)?,
                (None, _) => {}
            }
            members.done(at, packed);
        }
        let layer = match (writing, base) {
            (Some(writing), _) => self.finish(writing)?,
            (None, Some(base)) => {
                self.options.cache.iter().for_each(|cache| cache.used(base));
                base.layer()
            }
            (None, None) => unreachable!("there is at least one member, and it is not that of a base"),
        };
        Ok(Layer { reuse, ..layer })
    }

    /// Starts to write, with the members before `at`, which are those of `base`.
    fn begin(&self, base: Option<&Stored>, at: usize) -> Result<Writing, Error> {
        let mut writing = Writing::new(self.options)?;
        for at in self.layer.start..at {
            self.add_kept(&mut writing, base, at)?;
        }
        Ok(writing)
    }

    /// Adds a member that is that of `base`.
    fn add_kept(&self, to: &mut Writing, base: Option<&Stored>, at: usize) -> Result<(), Error> {
        let Some(base) = base else { unreachable!("without a base, members bring their bytes") };
        let nth = at - self.layer.start;
        let (tar, gzip) = base.inflate(nth).map_err(spool_error)?;
        self.add(to, at, &tar, &gzip, Some(base.members[nth].digest))
    }

    fn add(&self, to: &mut Writing, at: usize, tar: &[u8], gzip: &[u8], known: Option<Digest>) -> Result<(), Error> {
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
        let member = &self.plan.members[at];
        if member.plan.begins() {
            for (nth, found) in self.plan.entries(member).iter().enumerate() {
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
        if let Some(cache) = self.options.cache.as_ref().filter(|_| is_in_cache) {
            cache.keep(&file, &Name::of(self.bases, digest), &Record { digest, size, diff_id, index, checksums });
        }
        Ok(Layer { file: Arc::new(file), size, digest, diff_id, index, reuse: Reuse::default() })
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
    fn new(options: &PackOptions) -> Result<Self, Error> {
        Ok(Self {
            spool: Spool::new(options)?,
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
    fn new(options: &PackOptions) -> Result<Self, Error> {
        let elsewhere = if options.in_memory { memory } else { tempfile::tempfile };
        let in_cache = options.cache.as_ref().and_then(|cache| cache.spool().ok());
        let is_in_cache = in_cache.is_some();
        let file = in_cache.map_or_else(elsewhere, Ok).map_err(spool_error)?;
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

/// A file that is nowhere but in memory.
#[cfg(target_os = "linux")]
fn memory() -> io::Result<File> {
    Ok(File::from(memfd_create("layer", MemfdFlags::CLOEXEC)?))
}

/// Systems that have no such files have a place for temporary ones.
#[cfg(not(target_os = "linux"))]
fn memory() -> io::Result<File> {
    tempfile::tempfile()
}

fn spool_error(source: io::Error) -> Error {
    Error::Spool { directory: std::env::temp_dir(), source }
}
