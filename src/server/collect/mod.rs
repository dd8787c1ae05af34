//! Garbage collection: what nobody needs any more goes, beside pushes and beside other collections.
//!
//! [`collect`] works over any [`Storage`], [`DryRun`] shows what it would do. What records mean to each other is read as
//! `repositories` writes it. When to collect is left to who calls it.
//!
//! # What stays
//!
//! - *Manifests* that are tagged or younger than the grace; then what image indexes among those list, whoever has one of
//!   those as subject, and so on. All others are dead, unless [`Options::keep_untagged`] says otherwise.
//! - *Links* of blobs that a manifest of the repository refers to, whichever, or that are younger than the grace.
//! - *Contents* that are linked somewhere, or younger than the grace.
//! - *Upload sessions* that somebody has written to lately.
//!
//! # Why it is safe
//!
//! In this order, first repository by repository, what looks dead is *set aside* (A); then the collection *looks again*
//! (B), restores what turned out to be alive, and *discards* the rest (C). A writer writes a manifest (1), then looks
//! whether what it refers to is there, which restores what is aside (2), and only then acknowledges. If 1 comes before
//! B, the collection sees the manifest. Else 2 comes after A, so the writer either restores what it misses before C, and
//! nothing is left to discard, or it refuses the push. The same holds for a tag and its manifest, for an image index and
//! what it lists, and for a link and its content. The grace is no part of this argument, and may be zero.
//!
//! - Whoever misses something may restore it, a reader too. So *restored means alive*: a manifest is discarded before what
//!   it lists, and when one is no longer there to be discarded, the collection looks again before it goes on.
//! - Manifests that are aside in another collection keep what they refer to: they may come back. A look goes first to
//!   where things are, then aside, then once more to where things are. What another collection moves to or fro just then
//!   is seen in one of the three. Nothing is set aside twice in a round, so only several other collections that begin
//!   and end around each other could hide a thing from all looks of one.
//! - Killed at any moment, it leaves things aside, where whoever misses them finds them; the next collection restores
//!   them first, and then decides anew.
//!
//! - Of a manifest that is damaged, nobody knows what it refers to, and of a tag, what it points to. That may be
//!   anything in its repository, and nothing elsewhere. So that repository keeps all it has, and [`Collected::damaged`]
//!   says why; the others are collected.
//!
//! # Cost
//!
//! Every manifest is read twice. In memory are the digests of the manifests of one repository, and which keeps which:
//! some 200 bytes for each manifest and 4 for each that an image index lists. Of blobs, at most 65,536 digests are there
//! at once; the manifests of a repository are read again for each so many of its links that are older than the grace,
//! and all links are listed again for each so many contents.

mod blobs;
mod dry_run;
mod graph;
mod manifests;
mod referrers;

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::{Duration, SystemTime};

use futures::TryStreamExt;
use futures::future::try_join_all;
use futures::stream::{self, BoxStream, StreamExt};

use super::repositories::StoredManifest;
use super::storage::{Digests, Error, Item, Key, Round, Storage, Sweep};
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::reference::Name;

pub use dry_run::DryRun;

/// How many entries of a list are asked for at once.
const PAGE: usize = 10_000;
/// How many things are read or moved at once. A manifest has 4 MiB at most.
const AT_ONCE: usize = 8;

/// What is collected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What was written, mounted or asked for less than this ago stays, whether anything refers to it or not. A day,
    /// unless this says otherwise.
    ///
    /// It is how long a client may take from a blob to the manifest that refers to it. Below ten minutes, even a blob
    /// that was found with HEAD may be gone when the manifest comes: what was just asked for is not renewed again for so
    /// long. Then the push is refused with `MANIFEST_BLOB_UNKNOWN`, and the client has to repeat it. Nothing that was
    /// acknowledged is lost, even with no grace at all.
    pub grace: Duration,
    /// Whether manifests stay that no tag leads to.
    pub keep_untagged: bool,
    /// Upload sessions end that nobody has written to for so long. A day, unless this says otherwise.
    pub upload_timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        let day = Duration::from_hours(24);
        Self { grace: day, keep_untagged: false, upload_timeout: day }
    }
}

/// What a collection has freed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// How many manifests; one that two repositories had counts twice.
    pub manifests: u64,
    /// From how many repositories blobs have gone.
    pub links: u64,
    /// How many blobs are gone from all repositories.
    pub blobs: u64,
    /// How many upload sessions.
    pub uploads: u64,
    /// How many bytes all of it had.
    pub bytes: u64,
}

impl Freed {
    /// Whether that is nothing at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

impl AddAssign for Freed {
    fn add_assign(&mut self, more: Self) {
        let Self { manifests, links, blobs, uploads, bytes } = more;
        self.manifests += manifests;
        self.links += links;
        self.blobs += blobs;
        self.uploads += uploads;
        self.bytes += bytes;
    }
}

/// What a collection came to.
#[derive(Debug, Default)]
pub struct Collected {
    /// What it has freed.
    pub freed: Freed,
    /// What could not be read, the first thing in each repository. All that is in such a repository stays.
    pub damaged: Vec<Error>,
}

/// Collects what nobody needs any more. This may be dropped at any moment, and several may run at once.
///
/// # Errors
/// When the storage fails.
pub async fn collect(storage: &dyn Storage, options: &Options) -> Result<Collected, Error> {
    let round = Round::random().map_err(Error::io("name a collection"))?;
    let mut collection = Collection { storage, round, since: ago(options.grace), freed: Freed::default() };
    let mut damaged = Vec::new();
    collection.restore_leftovers().await?;
    let mut after: Option<Name> = None;
    loop {
        let names = storage.repositories(after.as_ref().map(Name::as_str), PAGE).await?;
        for name in &names {
            match collection.repository(name, options.keep_untagged).await {
                Err(error @ Error::Damaged(_)) => {
                    collection.restore_own().await?;
                    damaged.push(error);
                }
                result => result?,
            }
            // A storage in memory never waits for anything, and others want the thread, too.
            tokio::task::yield_now().await;
        }
        match names.into_iter().nth(PAGE - 1) {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    collection.blobs(&Digests::Contents).await?;
    collection.freed += end_uploads(storage, options.upload_timeout).await?;
    Ok(Collected { freed: collection.freed, damaged })
}

/// Ends the upload sessions that nobody has written to for `timeout`, and removes what processes that were killed had
/// begun to write (distribution-spec, draft after v1.1.1: a registry SHOULD let unfinished uploads time out).
pub async fn end_uploads(storage: &dyn Storage, timeout: Duration) -> Result<Freed, Error> {
    let found = storage.leftovers(ago(timeout), Sweep::Remove).await?;
    Ok(Freed { uploads: found.uploads, bytes: found.bytes, ..Freed::default() })
}

/// So long ago. Nothing is older than the beginning of time.
fn ago(duration: Duration) -> SystemTime {
    SystemTime::now().checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// One collection, which sets aside in a round of its own.
struct Collection<'a> {
    storage: &'a dyn Storage,
    round: Round,
    /// What was written or renewed after this is young.
    since: SystemTime,
    freed: Freed,
}

impl Collection<'_> {
    fn is_young(&self, modified: SystemTime) -> bool {
        modified > self.since
    }

    /// Puts back what collections that were killed have left aside. It is judged anew with all else.
    async fn restore_leftovers(&self) -> Result<(), Error> {
        loop {
            let aside = self.storage.aside(PAGE).await?;
            for left in &aside {
                self.storage.restore(&left.item).await?;
            }
            if aside.len() < PAGE {
                return Ok(());
            }
        }
    }

    /// Collects what is dead in a repository.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a manifest or a tag there cannot be read: it may keep whatever the repository has.
    async fn repository(&mut self, name: &Name, keep_untagged: bool) -> Result<(), Error> {
        if !keep_untagged {
            self.manifests(name).await?;
        }
        self.referrers(name).await?;
        self.blobs(&Digests::Blobs(name.clone())).await
    }

    /// Puts back what this collection has aside. Links that are aside in it would not keep their contents.
    async fn restore_own(&self) -> Result<(), Error> {
        for aside in self.storage.aside(usize::MAX).await? {
            if aside.round == self.round {
                self.storage.restore(&aside.item).await?;
            }
        }
        Ok(())
    }

    /// What other collections have aside at this moment.
    async fn others_aside(&self) -> Result<impl Iterator<Item = Item> + use<>, Error> {
        let (aside, own) = (self.storage.aside(usize::MAX).await?, self.round.clone());
        Ok(aside.into_iter().filter(move |aside| aside.round != own).map(|aside| aside.item))
    }

    /// The entries of a list after `after`, page by page.
    fn list(&self, list: &Digests, after: Option<Digest>) -> BoxStream<'_, Result<(Digest, SystemTime), Error>> {
        let (storage, list) = (self.storage, list.clone());
        let pages = stream::try_unfold(Some(after), move |next| {
            let list = list.clone();
            async move {
                let Some(after) = next else { return Ok(None) };
                let page = storage.digests(&list, after, PAGE).await?;
                let next = page.get(PAGE - 1).map(|(last, _)| Some(*last));
                Ok::<_, Error>(Some((stream::iter(page.into_iter().map(Ok)), next)))
            }
        });
        pages.try_flatten().boxed()
    }

    /// All manifests that are in the repository, or may come back to it from aside, and how old they are.
    async fn present(&self, name: &Name) -> Result<BTreeMap<Digest, SystemTime>, Error> {
        let list = Digests::Manifests(name.clone());
        let mut present: BTreeMap<_, _> = self.list(&list, None).try_collect().await?;
        for item in self.others_aside().await? {
            if matches!(&item, Item::Record(Key::Manifest(other, _)) if other == name) {
                self.storage.restore(&item).await?;
            }
        }
        present.extend(self.list(&list, None).try_collect::<Vec<_>>().await?);
        Ok(present)
    }

    /// Whether the manifest is there, or may come back.
    async fn is_present(&self, name: &Name, digest: Digest) -> Result<bool, Error> {
        let item = Item::from(Key::Manifest(name.clone(), digest));
        Ok(self.storage.find(&item).await?.is_some()
            || self.storage.restore(&item).await?
            || self.storage.find(&item).await?.is_some())
    }

    /// Those of these manifests that are there, each with its digest here.
    async fn read_manifests(&self, name: &Name, digests: &[Digest]) -> Result<Vec<(Digest, RawManifest)>, Error> {
        let found = try_join_all(digests.iter().map(|digest| self.read_manifest(name, *digest))).await?;
        Ok(digests.iter().copied().zip(found).filter_map(|(digest, found)| Some((digest, found?))).collect())
    }

    async fn read_manifest(&self, name: &Name, digest: Digest) -> Result<Option<RawManifest>, Error> {
        let key = Key::Manifest(name.clone(), digest);
        let value = match self.storage.read(&key).await? {
            None if self.is_present(name, digest).await? => self.storage.read(&key).await?,
            found => found,
        };
        let Some(value) = value else { return Ok(None) };
        let manifest = StoredManifest::decode(&value).and_then(|manifest| manifest.parse());
        // One that has other bytes than it was pushed with may name other blobs, too.
        let manifest = manifest.filter(|manifest| digest.algorithm().digest(manifest.bytes()) == digest);
        manifest.map(Some).ok_or_else(|| Error::Damaged(key.to_string()))
    }

    /// Sets entries of a list aside, and returns those that are. What turns out to be young goes back.
    async fn set_aside(&self, list: &Digests, digests: &[Digest]) -> Result<Vec<Digest>, Error> {
        let mut aside = Vec::with_capacity(digests.len());
        for some in digests.chunks(AT_ONCE) {
            let moves = some.iter().map(async |digest| {
                let item = list.item(*digest);
                let modified = self.storage.set_aside(&self.round, &item).await?;
                let is_young = modified.is_some_and(|modified| self.is_young(modified));
                if is_young {
                    self.storage.restore(&item).await?;
                }
                Ok::<_, Error>((modified.is_some() && !is_young).then_some(*digest))
            });
            aside.extend(try_join_all(moves).await?.into_iter().flatten());
        }
        Ok(aside)
    }

    async fn restore(&self, list: &Digests, digests: &[Digest]) -> Result<(), Error> {
        for some in digests.chunks(AT_ONCE) {
            let moves = some.iter().map(async |digest| self.storage.restore(&list.item(*digest)).await);
            try_join_all(moves).await?;
        }
        Ok(())
    }

    /// Discards entries of a list that are aside, in any order. Returns how many were still there, and counts their
    /// bytes.
    async fn discard(&mut self, list: &Digests, digests: &[Digest]) -> Result<u64, Error> {
        let mut count = 0;
        for some in digests.chunks(AT_ONCE) {
            let discards = some.iter().map(async |digest| self.storage.discard(&self.round, &list.item(*digest)).await);
            let sizes: Vec<u64> = try_join_all(discards).await?.into_iter().flatten().collect();
            count += sizes.len() as u64;
            self.freed.bytes += sizes.iter().sum::<u64>();
        }
        Ok(count)
    }
}
