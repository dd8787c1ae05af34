//! Copying: blobs before manifests, manifests before what refers to them, all that before tags; each of them once.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, TryStreamExt};
use tokio::sync::Semaphore;

use super::each::Each;
use super::{Error, ErrorKind, Look, Open, Reader, Source, Target, read_manifest};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, RawManifest, media_type};
use crate::reference::{Identifier, Repository, Tag};
use crate::text::excerpt;

/// How many blobs are under way at once, unless said otherwise.
pub const DEFAULT_CONCURRENCY: usize = 5;

/// How deep image indexes may be nested, and how long a chain of referrers may be.
const MAX_DEPTH: usize = 8;

/// How many manifests one copy takes along.
const MAX_MANIFESTS: usize = 100_000;

/// What became of some content at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Exists,
    /// It was sent.
    Uploaded,
    /// It was in another repository of the same registry, and is used from there.
    Mounted,
    /// It is a [foreign layer](media_type::is_foreign_layer) that the source does not have, and the target need not.
    LeftOut,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "exists",
            Self::Uploaded => "uploaded",
            Self::Mounted => "mounted",
            Self::LeftOut => "left out",
        })
    }
}

/// Sees how a copy goes on. Calls come from many tasks at once.
pub trait Observer: Send + Sync {
    /// Content begins to be read from the source; once more, if the target has to begin anew.
    fn started(&self, _descriptor: &Descriptor) {}
    /// This many more bytes of it were read from the source.
    fn advanced(&self, _descriptor: &Descriptor, _bytes: u64) {}
    /// The content is at the target.
    fn finished(&self, _descriptor: &Descriptor, _outcome: Outcome) {}
    /// The tag points to what was copied: it was moved there, or did so before.
    fn tagged(&self, _tag: &Tag, _is_moved: bool) {}
}

impl Observer for () {}

/// How to copy.
#[derive(Clone)]
pub struct CopyOptions {
    /// How many blobs may be under way at once; at least one is.
    pub concurrency: usize,
    /// Whether what refers to a manifest is copied, too, and what refers to that.
    pub referrers: bool,
    /// A repository that has all of the blobs by now, as that of an earlier copy: a target in the same registry mounts them
    /// from there. Otherwise from the source itself, if that is in the same registry.
    pub mount_from: Option<Repository>,
    /// What the tags were found to point to; without it, that is asked while blobs are under way.
    pub look: Option<Look>,
    /// Who sees how it goes on.
    pub observer: Arc<dyn Observer>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self {
            concurrency: DEFAULT_CONCURRENCY,
            referrers: false,
            mount_from: None,
            look: None,
            observer: Arc::new(()),
        }
    }
}

/// What a copy did.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The manifest that was asked for.
    pub manifest: RawManifest,
    /// Every blob that it needs, each once, in the order of the manifest where it is a single image.
    pub blobs: Vec<(Descriptor, Outcome)>,
    /// The manifests that were copied because they refer to another one.
    pub referrers: Vec<(Descriptor, Outcome)>,
    /// Whether anything was written: a blob that the target had lost, a manifest, a referrer or a tag.
    pub changed: bool,
}

impl Copied {
    /// How many bytes of blobs were sent.
    #[must_use]
    pub fn bytes_uploaded(&self) -> u64 {
        self.blobs.iter().filter(|(_, outcome)| *outcome == Outcome::Uploaded).map(|(blob, _)| blob.size).sum()
    }
}

/// Copies what `identifier` picks in `source`, with everything that it needs, to `target`, and lets `tags` point to it.
///
/// What is at the target is not sent again. Of a manifest that takes the place of another one at a tag, the blobs that both
/// name are not even asked for, if the target [vouches](Target::tagged_with) for them. Nothing points to a manifest before all
/// that it needs is there, and no tag before the referrers are. Foreign layers are copied like others if the source has them,
/// and left out if not: nothing is ever fetched from the URLs that a manifest names.
///
/// ```no_run
/// # async fn mirror() -> Result<(), Box<dyn std::error::Error>> {
/// use bndlr::content::{CopyOptions, copy};
/// use bndlr::layout::Directory;
/// use bndlr::reference::Tag;
/// use bndlr::remote::{Client, ClientOptions};
///
/// let source = Client::new(ClientOptions::default())?.repository(&"ghcr.io/team/app".parse()?)?;
/// let target = Directory::create("mirror").await?;
/// let tag: Tag = "v1".parse()?;
/// let options = CopyOptions { referrers: true, ..CopyOptions::default() };
/// let copied = copy(&source, &tag.clone().into(), &target, &[tag], &options).await?;
/// println!("{} with {} referrers", copied.manifest.digest(), copied.referrers.len());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Whatever either end fails with. What was sent until then stays, for the next try.
pub async fn copy(
    source: &dyn Source,
    identifier: &Identifier,
    target: &dyn Target,
    tags: &[Tag],
    options: &CopyOptions,
) -> Result<Copied, Error> {
    let manifest = source.manifest(identifier).await?;
    let concurrency = options.concurrency.max(1);
    let copying = Copying {
        source,
        target,
        observer: &options.observer,
        mount_from: options.mount_from.as_ref(),
        with_referrers: options.referrers,
        concurrency,
        permits: Semaphore::new(concurrency),
        known: OnceLock::new(),
        blobs: Each::default(),
        manifests: Each::default(),
        referrers: Each::default(),
    };
    // Whether the manifest is there is asked while the blobs are under way: it costs no round trip of its own.
    let missing = copying.missing(&manifest, tags, options.look.as_ref());
    let (missing, ()) = futures::try_join!(missing, copying.successors(&manifest, 0))?;
    if missing.manifest {
        let descriptor = manifest.descriptor();
        copying.put(&manifest, || target.push(&descriptor, &manifest)).await?;
    }
    if options.referrers {
        copying.all_referrers(manifest.digest()).await?;
    }
    for tag in tags {
        let is_moved = missing.tags.contains(tag);
        if is_moved {
            copying.put(&manifest, || target.tag(&manifest, tag)).await?;
        }
        options.observer.tagged(tag, is_moved);
    }
    let (blobs, referrers) = (copying.blobs.outcomes(), copying.referrers.outcomes());
    let is_written = |(_, outcome): &(Descriptor, Outcome)| matches!(outcome, Outcome::Uploaded | Outcome::Mounted);
    let changed = missing.any() || blobs.iter().any(is_written) || copying.manifests.outcomes().iter().any(is_written);
    Ok(Copied { manifest, blobs, referrers, changed })
}

struct Copying<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    observer: &'a Arc<dyn Observer>,
    mount_from: Option<&'a Repository>,
    with_referrers: bool,
    concurrency: usize,
    permits: Semaphore,
    /// Blobs that are not asked for, once it is known which those are.
    known: OnceLock<HashSet<Digest>>,
    blobs: Each,
    /// All manifests but the one that was asked for.
    manifests: Each,
    /// Those of them that refer to another one.
    referrers: Each,
}

/// What has still to be done for a manifest once all that it needs is there.
struct Missing {
    manifest: bool,
    tags: Vec<Tag>,
}

impl Missing {
    fn any(&self) -> bool {
        self.manifest || !self.tags.is_empty()
    }
}

impl Copying<'_> {
    /// Copies all that `manifest` needs.
    fn successors<'a>(&'a self, manifest: &'a RawManifest, depth: usize) -> BoxFuture<'a, Result<(), Error>> {
        let is_index = matches!(manifest.manifest(), Manifest::Index(_));
        async move {
            stream::iter(manifest.manifest().successors().map(Ok))
                .try_for_each_concurrent(self.concurrency, |descriptor| async move {
                    if is_index && media_type::is_manifest(&descriptor.media_type) {
                        self.manifest(descriptor, depth + 1).await.map(|_| ())
                    } else {
                        self.blobs.once(descriptor, || self.blob(descriptor)).await.map(|_| ())
                    }
                })
                .await
        }
        .boxed()
    }

    /// Copies a manifest that another one names or that refers to another one, unless that is done or under way.
    async fn manifest(&self, descriptor: &Descriptor, depth: usize) -> Result<Outcome, Error> {
        let too_much = |what: String| Error::new(ErrorKind::Content, what);
        if depth > MAX_DEPTH {
            let digest = descriptor.digest;
            return Err(too_much(format!("image indexes are nested more than {MAX_DEPTH} deep, down to {digest}")));
        }
        if self.manifests.len() > MAX_MANIFESTS {
            return Err(too_much(format!("there are more than {MAX_MANIFESTS} manifests to copy")));
        }
        self.manifests.once(descriptor, || self.whole_manifest(descriptor, depth)).await
    }

    /// Copies a manifest and what it needs. One that is at the target is there with all that; what refers to the manifests
    /// that it names may be missing.
    async fn whole_manifest(&self, descriptor: &Descriptor, depth: usize) -> Result<Outcome, Error> {
        let exists = self.target.exists(descriptor).await?;
        if exists && !(self.with_referrers && media_type::is_index(&descriptor.media_type)) {
            return Ok(Outcome::Exists);
        }
        let manifest = read_manifest(self.source, descriptor).await?;
        self.successors(&manifest, depth).await?;
        if exists {
            return Ok(Outcome::Exists);
        }
        self.put(&manifest, || self.target.push(descriptor, &manifest)).await
    }

    /// Copies a blob, unless it is there or need not be.
    async fn blob(&self, descriptor: &Descriptor) -> Result<Outcome, Error> {
        let _permit = self.permits.acquire().await.map_err(|error| Error::new(ErrorKind::Local, error))?;
        let outcome = if self.is_known(descriptor) { Outcome::Exists } else { self.send(descriptor).await? };
        self.observer.finished(descriptor, outcome);
        Ok(outcome)
    }

    fn is_known(&self, descriptor: &Descriptor) -> bool {
        self.known.get().is_some_and(|known| known.contains(&descriptor.digest))
    }

    /// Sends a blob, if the target says that it is not there.
    async fn send(&self, descriptor: &Descriptor) -> Result<Outcome, Error> {
        if self.target.exists(descriptor).await? {
            Ok(Outcome::Exists)
        } else if media_type::is_foreign_layer(&descriptor.media_type) && self.lacks(descriptor).await? {
            Ok(Outcome::LeftOut)
        } else {
            let Self { source, observer, mount_from, .. } = *self;
            self.target.push(descriptor, &Observed { source, observer, mount_from }).await
        }
    }

    /// Does `put`, which hands `manifest` to the target: twice, if that has lost what it vouched for.
    async fn put<T, F>(&self, manifest: &RawManifest, put: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        match put().await {
            Err(error) if error.is_lacking() && self.mend(manifest).await? => put().await,
            done => done,
        }
    }

    /// Asks for those blobs of `manifest` that were not asked for, and sends what is missing. Returns whether anything was.
    async fn mend(&self, manifest: &RawManifest) -> Result<bool, Error> {
        let mut is_mended = false;
        for descriptor in manifest.manifest().successors().filter(|descriptor| self.is_known(descriptor)) {
            let outcome = self.send(descriptor).await?;
            if outcome != Outcome::Exists {
                is_mended = true;
                self.blobs.set(descriptor.digest, outcome);
                self.observer.finished(descriptor, outcome);
            }
        }
        Ok(is_mended)
    }

    /// Whether the source does not have a blob.
    async fn lacks(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        match self.source.open(descriptor).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Copies what refers to `root`, or to any other manifest that was copied, and so on. Only when all that was met is
    /// there is it asked what refers to that: an image and an image index that refers to it and names it, too, would
    /// otherwise wait for each other.
    async fn all_referrers(&self, root: Digest) -> Result<(), Error> {
        let (mut subjects, mut known) = (vec![root], 0);
        for _ in 0..=MAX_DEPTH {
            subjects.extend(self.manifests.after(known));
            known = self.manifests.len();
            if subjects.is_empty() {
                return Ok(());
            }
            stream::iter(subjects.drain(..).map(Ok))
                .try_for_each_concurrent(self.concurrency, |subject| self.referrers_to(subject))
                .await?;
        }
        let message = format!("manifests that refer to {root} are referred to in turn, more than {MAX_DEPTH} times");
        Err(Error::new(ErrorKind::Content, message))
    }

    async fn referrers_to(&self, subject: Digest) -> Result<(), Error> {
        let found = self.source.referrers(subject, None).await?;
        stream::iter(found.iter().map(Ok))
            .try_for_each_concurrent(self.concurrency, |referrer| self.referrer(referrer))
            .await
    }

    /// Copies a manifest that is said to refer to another. In a list that clients keep, it may stand after it is gone.
    async fn referrer(&self, listed: &Descriptor) -> Result<(), Error> {
        let referrer = Descriptor::new(&listed.media_type, listed.digest, listed.size);
        if !media_type::is_manifest(&referrer.media_type) {
            let (digest, kind) = (referrer.digest, excerpt(&referrer.media_type));
            let message = format!("referrer {digest} is no manifest of a kind that can be copied ({kind})");
            return Err(Error::new(ErrorKind::Content, message));
        }
        let copied = self.referrers.once(&referrer, || self.manifest(&referrer, 1)).await;
        match copied {
            Err(error) if error.kind() == ErrorKind::NotFound && self.is_gone(referrer.digest).await? => Ok(()),
            copied => copied.map(|_| ()),
        }
    }

    async fn is_gone(&self, digest: Digest) -> Result<bool, Error> {
        match self.source.resolve(&digest.into()).await {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Which of `tags` do not point to `manifest`; and, where there are none or something else is to refer to it, whether
    /// it is missing itself.
    async fn missing(&self, manifest: &RawManifest, tags: &[Tag], look: Option<&Look>) -> Result<Missing, Error> {
        let by_digest = tags.is_empty() || self.with_referrers;
        let look = match look {
            Some(look) => Cow::Borrowed(look),
            None => Cow::Owned(Look::at(self.target, tags).await?),
        };
        let tags = look.elsewhere(tags, manifest.digest());
        self.known.get_or_init(|| look.known(!tags.is_empty()));
        let missing = by_digest && !self.target.exists(&manifest.descriptor()).await?;
        Ok(Missing { manifest: missing, tags })
    }
}

/// A source that lets an observer see what is read.
struct Observed<'a> {
    source: &'a dyn Source,
    observer: &'a Arc<dyn Observer>,
    mount_from: Option<&'a Repository>,
}

#[async_trait]
impl Open for Observed<'_> {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        let reader = self.source.open(descriptor).await?;
        self.observer.started(descriptor);
        let (observer, descriptor) = (Arc::clone(self.observer), descriptor.clone());
        Ok(reader.inspect(move |chunk| observer.advanced(&descriptor, chunk.len() as u64)))
    }

    fn origin(&self) -> Option<&Repository> {
        self.mount_from.or_else(|| self.source.origin())
    }
}
