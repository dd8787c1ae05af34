//! Records that say that a manifest has a subject, when that manifest is gone. They go after it: while it may come back,
//! so may what it says.

use futures::TryStreamExt;

use super::{Collection, PAGE};
use crate::digest::Digest;
use crate::reference::Name;
use crate::server::storage::{Digests, Error};

impl Collection<'_> {
    /// Collects the referrers of a repository that no manifest stands behind.
    pub(super) async fn referrers(&mut self, name: &Name) -> Result<(), Error> {
        let mut after = None;
        loop {
            let subjects = self.storage.subjects(name, after, PAGE).await?;
            for &subject in &subjects {
                self.referrers_of(name, subject).await?;
            }
            match subjects.get(PAGE - 1) {
                Some(&last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    async fn referrers_of(&mut self, name: &Name, subject: Digest) -> Result<(), Error> {
        let list = Digests::Referrers(name.clone(), subject);
        let mut dangling = Vec::new();
        let mut referrers = self.list(&list, None);
        while let Some((digest, modified)) = referrers.try_next().await? {
            if !self.is_young(modified) && !self.is_present(name, digest).await? {
                dangling.push(digest);
            }
        }
        drop(referrers);
        for digest in self.set_aside(&list, &dangling).await? {
            if self.is_present(name, digest).await? {
                self.restore(&list, &[digest]).await?;
            } else {
                self.discard(&list, &[digest]).await?;
            }
        }
        Ok(())
    }
}
