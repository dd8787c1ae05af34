//! The digests of the members that a tree would be packed into: everything is read and hashed, nothing is compressed.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::Error;
use super::plan::{Plan, Split};
use super::scan::Tree;
use super::workers::fill;
use crate::bundle::{MemberPlan, members_of};
use crate::digest::Digest;

/// The members of a tree: what a bundle of it would have, and where.
#[derive(Debug)]
pub struct MemberDigests {
    plans: Vec<MemberPlan>,
    digests: Vec<Digest>,
}

impl MemberDigests {
    /// The digests of the members that the entry with this number is in.
    #[must_use]
    pub fn of(&self, entry: usize) -> &[Digest] {
        &self.digests[members_of(&self.plans, entry)]
    }
}

impl Tree {
    /// Reads everything, on so many threads, and hashes it member by member.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it was when it was found.
    pub fn member_digests(&self, threads: NonZeroUsize) -> Result<MemberDigests, Error> {
        let plan = Plan::new(self, Split::Never);
        let count = plan.members.len();
        let next = AtomicUsize::new(0);
        let work = || -> Result<Vec<(usize, Digest)>, Error> {
            let (mut tar, mut done) = (Vec::new(), Vec::new());
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= count {
                    return Ok(done);
                }
                tar.clear();
                fill(self, &plan, at, &mut tar)?;
                done.push((at, Digest::sha256(&tar)));
            }
        };
        let mut digests = Vec::with_capacity(count);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..threads.get().min(count)).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| {
                // A panic there goes on here.
                digests.extend(worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
                Ok::<_, Error>(())
            })
        })?;
        digests.sort_unstable_by_key(|(at, _)| *at);
        let plans = plan.members.into_iter().map(|member| member.plan).collect();
        Ok(MemberDigests { digests: digests.into_iter().map(|(_, digest)| digest).collect(), plans })
    }

    /// Appends `length` bytes of the contents of the entry with this number, from `offset` on, to `out`.
    ///
    /// # Errors
    /// When the file is not what it was when it was found.
    pub fn read_contents(&self, entry: usize, offset: u64, length: u64, out: &mut Vec<u8>) -> Result<(), Error> {
        self.read(&self.entries[entry], offset, length, out)
    }
}
