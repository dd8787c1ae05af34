//! The digests of a layer's tar bytes, computed on threads beside the one that unpacks: the diff ID, and those of the members
//! of a bundle.

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use bytes::Bytes;

use crate::digest::{Algorithm, Digest, Hasher, are_sooner_together, update_both};

/// How many chunks may wait for a thread.
const WAITING: usize = 4;

/// Computes digests of all bytes that it is given, elsewhere.
pub(super) struct DiffId {
    all: Thread<Digests>,
    /// Those of members, where that is sooner than one thread for both.
    members: Option<Thread<Members>>,
}

/// What has come of it.
pub(super) struct Digests {
    pub(super) diff_id: Digest,
    /// Of what has been ended with [`DiffId::end_member`], in order: SHA-256.
    pub(super) members: Vec<Digest>,
}

#[derive(Clone)]
enum Message {
    Bytes(Bytes),
    /// These were all bytes of a member.
    EndOfMember,
}

impl DiffId {
    /// A digest of one kind for all bytes. If `of_members`, there is one for each member as well.
    pub(super) fn new(algorithm: Algorithm, of_members: bool) -> io::Result<Self> {
        Self::on_threads(algorithm, of_members, are_sooner_together(algorithm))
    }

    fn on_threads(algorithm: Algorithm, of_members: bool, together: bool) -> io::Result<Self> {
        let (together, apart) = match (of_members, together) {
            (true, true) => (Some(Members::new()), None),
            (true, false) => (None, Some(Members::new())),
            (false, _) => (None, None),
        };
        let all = All { diff_id: Hasher::new(algorithm), members: together };
        let members = apart.map(|members| Thread::spawn(members, Members::take, |members| members));
        Ok(Self { all: Thread::spawn(all, All::take, All::finish)?, members: members.transpose()? })
    }

    pub(super) fn update(&self, bytes: Bytes) {
        self.send(Message::Bytes(bytes));
    }

    /// Says that the bytes since the last call of this are a member.
    pub(super) fn end_member(&self) {
        self.send(Message::EndOfMember);
    }

    fn send(&self, message: Message) {
        if let Some(members) = &self.members {
            members.send(message.clone());
        }
        self.all.send(message);
    }

    /// The digests of all bytes.
    pub(super) fn finish(self) -> io::Result<Digests> {
        let digests = self.all.finish()?;
        Ok(match self.members {
            Some(members) => Digests { members: members.finish()?.ended, ..digests },
            None => digests,
        })
    }
}

/// A thread, and the way to it.
struct Thread<T> {
    sender: SyncSender<Message>,
    handle: JoinHandle<T>,
}

impl<T: Send + 'static> Thread<T> {
    fn spawn<S: Send + 'static>(mut state: S, take: fn(&mut S, Message), finish: fn(S) -> T) -> io::Result<Self> {
        let (sender, messages) = sync_channel(WAITING);
        let handle = thread::Builder::new().spawn(move || {
            for message in messages {
                take(&mut state, message);
            }
            finish(state)
        })?;
        Ok(Self { sender, handle })
    }

    fn send(&self, message: Message) {
        // The thread listens until the sender is gone; were it not there, `finish` would say so.
        let _ = self.sender.send(message);
    }

    fn finish(self) -> io::Result<T> {
        drop(self.sender);
        self.handle.join().map_err(|_| io::Error::other("a thread that computes digests failed"))
    }
}

/// The digest of all bytes, and perhaps those of members.
struct All {
    diff_id: Hasher,
    members: Option<Members>,
}

impl All {
    fn take(&mut self, message: Message) {
        match (message, &mut self.members) {
            (Message::Bytes(bytes), Some(members)) => update_both(&mut self.diff_id, &mut members.current, &bytes),
            (Message::Bytes(bytes), None) => self.diff_id.update(&bytes),
            (Message::EndOfMember, Some(members)) => members.end(),
            (Message::EndOfMember, None) => {}
        }
    }

    fn finish(self) -> Digests {
        Digests { diff_id: self.diff_id.finish(), members: self.members.map_or_else(Vec::new, |members| members.ended) }
    }
}

/// The digests of members.
struct Members {
    current: Hasher,
    ended: Vec<Digest>,
}

impl Members {
    fn new() -> Self {
        Self { current: Hasher::new(Algorithm::Sha256), ended: Vec::new() }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Bytes(bytes) => self.current.update(&bytes),
            Message::EndOfMember => self.end(),
        }
    }

    fn end(&mut self) {
        let ended = std::mem::replace(&mut self.current, Hasher::new(Algorithm::Sha256));
        self.ended.push(ended.finish());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of them is used depends on the processor that the tests run on.
    #[test]
    fn on_one_thread_and_on_two_digests_are_the_same() {
        let parts = ["one", "", "two and three", "x"].map(|part| Bytes::from(part.repeat(9000)));
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            for (of_members, together) in [(true, true), (true, false), (false, true), (false, false)] {
                let digests = DiffId::on_threads(algorithm, of_members, together).unwrap();
                for part in &parts {
                    digests.update(part.slice(..part.len() / 3));
                    digests.update(part.slice(part.len() / 3..));
                    digests.end_member();
                }
                let Digests { diff_id, members } = digests.finish().unwrap();
                assert_eq!(diff_id, algorithm.digest(&parts.concat()));
                let expected: Vec<Digest> = parts.iter().map(|part| Digest::sha256(part)).collect();
                assert_eq!(members, if of_members { expected } else { Vec::new() });
            }
        }
    }
}
