//! The digests of a layer's tar bytes, computed on a thread of its own beside the one that unpacks: the diff ID, and those of
//! the members of a bundle.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::digest::{Algorithm, Digest, Hasher, update_both};

/// How many bytes are handed over at once.
const BATCH: usize = 256 * 1024;
/// How many batches may wait.
const WAITING: usize = 4;

/// Computes digests of all bytes that it is given, elsewhere.
pub(super) struct DiffId {
    batch: Batch,
    sender: SyncSender<Batch>,
    /// Memory of batches that have been seen to, which is used again.
    spare: Receiver<Vec<u8>>,
    thread: JoinHandle<Digests>,
}

/// What has come of it.
pub(super) struct Digests {
    pub(super) diff_id: Digest,
    /// Of what has been ended with [`DiffId::end_member`], in order: SHA-256.
    pub(super) members: Vec<Digest>,
}

/// Some bytes.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Whether they are the last of a member.
    ends_member: bool,
}

impl DiffId {
    /// A digest of one kind for all bytes. If `of_members`, there is one for each member as well.
    pub(super) fn new(algorithm: Algorithm, of_members: bool) -> io::Result<Self> {
        let (sender, batches) = sync_channel(WAITING);
        let (done, spare) = sync_channel(WAITING);
        let mut digesting = Digesting {
            diff_id: Hasher::new(algorithm),
            member: of_members.then(|| Hasher::new(Algorithm::Sha256)),
            members: Vec::new(),
        };
        let thread = thread::Builder::new().spawn(move || {
            while let Ok(batch) = batches.recv() {
                digesting.take(&batch);
                // When nobody wants the memory back, it is freed.
                let _ = done.try_send(batch.bytes);
            }
            Digests { diff_id: digesting.diff_id.finish(), members: digesting.members }
        })?;
        Ok(Self { batch: Batch::default(), sender, spare, thread })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.batch.bytes.extend_from_slice(bytes);
        if self.batch.bytes.len() >= BATCH {
            self.send();
        }
    }

    /// Says that the bytes since the last call of this are a member.
    pub(super) fn end_member(&mut self) {
        self.batch.ends_member = true;
        self.send();
    }

    /// Hands the batch over. The thread listens until the sender is gone; were it not there, `finish` would say so.
    fn send(&mut self) {
        let mut bytes = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(2 * BATCH));
        bytes.clear();
        let _ = self.sender.send(std::mem::replace(&mut self.batch, Batch { bytes, ends_member: false }));
    }

    /// The digests of all bytes.
    pub(super) fn finish(mut self) -> io::Result<Digests> {
        self.send();
        drop(self.sender);
        self.thread.join().map_err(|_| io::Error::other("the thread that computes the diff ID failed"))
    }
}

/// What the thread has.
struct Digesting {
    diff_id: Hasher,
    member: Option<Hasher>,
    members: Vec<Digest>,
}

impl Digesting {
    fn take(&mut self, batch: &Batch) {
        let Some(member) = &mut self.member else { return self.diff_id.update(&batch.bytes) };
        update_both(&mut self.diff_id, member, &batch.bytes);
        if batch.ends_member {
            let ended = std::mem::replace(member, Hasher::new(Algorithm::Sha256));
            self.members.push(ended.finish());
        }
    }
}
