//! The digests of a layer's tar bytes, computed on a thread of its own beside the one that unpacks: the diff ID, and those of
//! the members of a bundle.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use crate::digest::{Algorithm, Digest, Hasher, update_both};

/// How many chunks may wait.
const WAITING: usize = 4;

/// Computes digests of all bytes that it is given, elsewhere.
pub(super) struct DiffId {
    sender: SyncSender<Message>,
    thread: JoinHandle<Digests>,
}

/// What has come of it.
pub(super) struct Digests {
    pub(super) diff_id: Digest,
    /// Of what has been ended with [`DiffId::end_member`], in order: SHA-256.
    pub(super) members: Vec<Digest>,
}

enum Message {
    Bytes(Bytes),
    /// These were all bytes of a member.
    EndOfMember,
}

impl DiffId {
    /// A digest of one kind for all bytes. If `of_members`, there is one for each member as well.
    pub(super) fn new(algorithm: Algorithm, of_members: bool) -> io::Result<Self> {
        let (sender, messages) = sync_channel(WAITING);
        let mut digesting = Digesting {
            diff_id: Hasher::new(algorithm),
            member: of_members.then(|| Hasher::new(Algorithm::Sha256)),
            members: Vec::new(),
        };
        let thread = thread::Builder::new().spawn(move || {
            while let Ok(message) = messages.recv() {
                digesting.take(message);
            }
            Digests { diff_id: digesting.diff_id.finish(), members: digesting.members }
        })?;
        Ok(Self { sender, thread })
    }

    pub(super) fn update(&self, bytes: Bytes) {
        self.send(Message::Bytes(bytes));
    }

    /// Says that the bytes since the last call of this are a member.
    pub(super) fn end_member(&self) {
        self.send(Message::EndOfMember);
    }

    fn send(&self, message: Message) {
        // The thread listens until the sender is gone; were it not there, `finish` would say so.
        let _ = self.sender.send(message);
    }

    /// The digests of all bytes.
    pub(super) fn finish(self) -> io::Result<Digests> {
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
    fn take(&mut self, message: Message) {
        match (message, &mut self.member) {
            (Message::Bytes(bytes), Some(member)) => update_both(&mut self.diff_id, member, &bytes),
            (Message::Bytes(bytes), None) => self.diff_id.update(&bytes),
            (Message::EndOfMember, Some(member)) => {
                let ended = std::mem::replace(member, Hasher::new(Algorithm::Sha256));
                self.members.push(ended.finish());
            }
            (Message::EndOfMember, None) => {}
        }
    }
}
