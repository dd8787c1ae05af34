//! Links that no manifest refers to, and contents that no link leads to.

use std::collections::BTreeSet;
use std::future::ready;

use futures::TryStreamExt;
use futures::stream::StreamExt;

use super::{AT_ONCE, Collection, PAGE};
use crate::digest::Digest;
use crate::reference::Name;
use crate::server::storage::{Digests, Error, Item, Key};

/// How many are judged at once.
const BATCH: usize = 1 << 16;

/// Where one batch is looked for.
struct Batch<'a> {
    /// The list that it is part of.
    list: &'a Digests,
    /// What it begins after.
    after: Option<Digest>,
    /// Manifests that were read, and say nothing about those that are still suspect. They need not be read again.
    known: BTreeSet<Digest>,
}

impl Collection<'_> {
    /// Collects what is dead of a list: the links of a repository, or the contents.
    pub(super) async fn blobs(&mut self, list: &Digests) -> Result<(), Error> {
        let mut after = None;
        loop {
            let old = self.list(list, after).try_filter(|(_, modified)| ready(!self.is_young(*modified)));
            let suspects: BTreeSet<Digest> = old.map_ok(|(digest, _)| digest).take(BATCH).try_collect().await?;
            let next = suspects.last().copied().filter(|_| suspects.len() == BATCH);
            self.judge(Batch { list, after, known: BTreeSet::new() }, suspects).await?;
            if next.is_none() {
                return Ok(());
            }
            after = next;
        }
    }

    async fn judge(&mut self, mut batch: Batch<'_>, mut suspects: BTreeSet<Digest>) -> Result<(), Error> {
        let list = batch.list;
        self.spare(&mut batch, &mut suspects).await?;
        let suspects: Vec<Digest> = suspects.into_iter().collect();
        let aside = self.set_aside(list, &suspects).await?;
        let mut dead: BTreeSet<Digest> = aside.iter().copied().collect();
        self.spare(&mut batch, &mut dead).await?;
        let (dead, alive): (Vec<_>, Vec<_>) = aside.into_iter().partition(|digest| dead.contains(digest));
        self.restore(list, &alive).await?;
        let discarded = self.discard(list, &dead).await?;
        match list {
            Digests::Contents => self.freed.blobs += discarded,
            _ => self.freed.links += discarded,
        }
        Ok(())
    }

    /// Takes out of `suspects` what something refers to.
    async fn spare(&self, batch: &mut Batch<'_>, suspects: &mut BTreeSet<Digest>) -> Result<(), Error> {
        match batch.list {
            _ if suspects.is_empty() => Ok(()),
            Digests::Blobs(name) => self.spare_referred(name, suspects, &mut batch.known).await,
            _ => self.spare_linked(batch.after, suspects).await,
        }
    }

    /// Takes out what manifests of the repository refer to, but for those that are known.
    async fn spare_referred(
        &self,
        name: &Name,
        suspects: &mut BTreeSet<Digest>,
        known: &mut BTreeSet<Digest>,
    ) -> Result<(), Error> {
        let present = self.present(name).await?;
        let new: Vec<Digest> = present.into_keys().filter(|digest| !known.contains(digest)).collect();
        for some in new.chunks(AT_ONCE) {
            for (digest, manifest) in self.read_manifests(name, some).await? {
                known.insert(digest);
                for successor in manifest.manifest().successors() {
                    suspects.remove(&successor.digest);
                }
            }
        }
        Ok(())
    }

    /// Takes out what is linked somewhere, or may be again.
    async fn spare_linked(&self, after: Option<Digest>, suspects: &mut BTreeSet<Digest>) -> Result<(), Error> {
        self.spare_listed(after, suspects).await?;
        for item in self.others_aside().await? {
            if let Item::Record(Key::Blob(_, digest)) = item {
                suspects.remove(&digest);
            }
        }
        self.spare_listed(after, suspects).await
    }

    async fn spare_listed(&self, after: Option<Digest>, suspects: &mut BTreeSet<Digest>) -> Result<(), Error> {
        let mut repository: Option<Name> = None;
        loop {
            let names = self.storage.repositories(repository.as_ref().map(Name::as_str), PAGE).await?;
            for name in &names {
                let Some(last) = suspects.last().copied() else { return Ok(()) };
                let links = self.list(&Digests::Blobs(name.clone()), after);
                let mut links = links.try_take_while(|(digest, _)| ready(Ok(*digest <= last)));
                while let Some((digest, _)) = links.try_next().await? {
                    suspects.remove(&digest);
                }
            }
            match names.into_iter().nth(PAGE - 1) {
                Some(last) => repository = Some(last),
                None => return Ok(()),
            }
        }
    }
}
