//! The diff ID of a layer, computed on a thread of its own beside the one that unpacks.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::digest::{Algorithm, Digest, Hasher};

/// How many bytes are handed over at once.
const BATCH: usize = 256 * 1024;
/// How many batches may wait.
const WAITING: usize = 4;

/// Computes a digest of all bytes that it is given, elsewhere.
pub(super) struct DiffId {
    batch: Vec<u8>,
    sender: SyncSender<Vec<u8>>,
    /// Batches that have been seen to: their memory is used again.
    spare: Receiver<Vec<u8>>,
    thread: JoinHandle<Digest>,
}

impl DiffId {
    pub(super) fn new(algorithm: Algorithm) -> io::Result<Self> {
        let (sender, batches) = sync_channel::<Vec<u8>>(WAITING);
        let (done, spare) = sync_channel(WAITING);
        let thread = thread::Builder::new().spawn(move || {
            let mut hasher = Hasher::new(algorithm);
            while let Ok(batch) = batches.recv() {
                hasher.update(&batch);
                // When nobody wants the memory back, it is freed.
                let _ = done.try_send(batch);
            }
            hasher.finish()
        })?;
        Ok(Self { batch: Vec::new(), sender, spare, thread })
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.batch.extend_from_slice(bytes);
        if self.batch.len() >= BATCH {
            let mut next = self.spare.try_recv().unwrap_or_else(|_| Vec::with_capacity(2 * BATCH));
            next.clear();
            self.send(next);
        }
    }

    /// Hands the batch over. The thread listens until the sender is gone; were it not there, `finish` would say so.
    fn send(&mut self, next: Vec<u8>) {
        let _ = self.sender.send(std::mem::replace(&mut self.batch, next));
    }

    /// The digest of all bytes.
    pub(super) fn finish(mut self) -> io::Result<Digest> {
        self.send(Vec::new());
        drop(self.sender);
        self.thread.join().map_err(|_| io::Error::other("the thread that computes the diff ID failed"))
    }
}
