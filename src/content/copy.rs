//! Copying: blobs before manifests, manifests before tags, each blob once.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{self, TryStreamExt};
use tokio::sync::{OnceCell, Semaphore};

use super::{Error, ErrorKind, Open, Reader, Source, Target, read_manifest};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, RawManifest, media_type};
use crate::reference::{Identifier, Tag};

/// How many blobs are under way at once, unless said otherwise.
pub const DEFAULT_CONCURRENCY: usize = 5;

/// How deep image indexes may be nested.
const MAX_DEPTH: usize = 8;

/// What became of some content at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Exists,
    /// It was sent.
    Uploaded,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exists => "exists",
            Self::Uploaded => "uploaded",
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
}

impl Observer for () {}

/// How to copy.
#[derive(Clone)]
pub struct CopyOptions {
    /// How many blobs may be under way at once; at least one is.
    pub concurrency: usize,
    /// Who sees how it goes on.
    pub observer: Arc<dyn Observer>,
}

impl Default for CopyOptions {
    fn default() -> Self {
        Self { concurrency: DEFAULT_CONCURRENCY, observer: Arc::new(()) }
    }
}

/// What a copy did.
#[derive(Clone, Debug)]
pub struct Copied {
    /// The manifest that was asked for.
    pub manifest: RawManifest,
    /// Every blob that it needs, each once, in the order of the manifest where it is a single image.
    pub blobs: Vec<(Descriptor, Outcome)>,
    /// Whether the target's manifest or one of its tags is another than before.
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
/// What is at the target is not sent again. Nothing points to a manifest before all that it needs is there.
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
        concurrency,
        permits: Semaphore::new(concurrency),
        blobs: Mutex::default(),
    };
    // Whether the manifest is there is asked while the blobs are under way: it costs no round trip of its own.
    let ((), missing) = futures::try_join!(copying.successors(&manifest, 0), copying.missing(&manifest, tags))?;
    copying.publish(&manifest, &missing).await?;
    let blobs = copying.outcomes();
    Ok(Copied { manifest, blobs, changed: missing.any() })
}

struct Copying<'a> {
    source: &'a dyn Source,
    target: &'a dyn Target,
    observer: &'a Arc<dyn Observer>,
    concurrency: usize,
    permits: Semaphore,
    blobs: Mutex<Blobs>,
}

/// Blobs in the order in which they were met, and what became of each: who meets one again waits for the first.
#[derive(Default)]
struct Blobs {
    order: Vec<Descriptor>,
    outcomes: HashMap<Digest, Arc<OnceCell<Outcome>>>,
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
                        self.child(descriptor, depth + 1).await
                    } else {
                        self.blob(descriptor).await
                    }
                })
                .await
        }
        .boxed()
    }

    /// Copies a manifest that an image index names. One that is at the target is there with all that it needs.
    async fn child(&self, descriptor: &Descriptor, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            let message = format!("image indexes are nested more than {MAX_DEPTH} deep, down to {}", descriptor.digest);
            return Err(Error::new(ErrorKind::Content, message));
        }
        if self.target.exists(descriptor).await? {
            return Ok(());
        }
        let manifest = read_manifest(self.source, descriptor).await?;
        self.successors(&manifest, depth).await?;
        self.target.push(descriptor, &manifest).await
    }

    /// Copies a blob, unless it is there or another task has it in hand.
    async fn blob(&self, descriptor: &Descriptor) -> Result<(), Error> {
        let cell = {
            let mut blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
            if !blobs.outcomes.contains_key(&descriptor.digest) {
                blobs.order.push(descriptor.clone());
            }
            Arc::clone(blobs.outcomes.entry(descriptor.digest).or_default())
        };
        cell.get_or_try_init(|| self.transfer(descriptor)).await.map(|_| ())
    }

    async fn transfer(&self, descriptor: &Descriptor) -> Result<Outcome, Error> {
        let _permit = self.permits.acquire().await.map_err(|error| Error::new(ErrorKind::Local, error))?;
        let outcome = if self.target.exists(descriptor).await? {
            Outcome::Exists
        } else {
            self.target.push(descriptor, &Observed { source: self.source, observer: self.observer }).await?;
            Outcome::Uploaded
        };
        self.observer.finished(descriptor, outcome);
        Ok(outcome)
    }

    /// Which of `tags` do not point to `manifest`, or, where there are none, whether it is missing itself.
    async fn missing(&self, manifest: &RawManifest, tags: &[Tag]) -> Result<Missing, Error> {
        if tags.is_empty() {
            return Ok(Missing { manifest: !self.target.exists(&manifest.descriptor()).await?, tags: Vec::new() });
        }
        let mut missing = Vec::new();
        for tag in tags {
            match self.target.resolve(&Identifier::Tag(tag.clone())).await {
                Ok(found) if found.digest == manifest.digest() => {}
                Ok(_) => missing.push(tag.clone()),
                // Some registries deny a look at what is not there; whether it may be made, the push will show.
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Denied) => {
                    missing.push(tag.clone());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Missing { manifest: false, tags: missing })
    }

    async fn publish(&self, manifest: &RawManifest, missing: &Missing) -> Result<(), Error> {
        if missing.manifest {
            self.target.push(&manifest.descriptor(), manifest).await?;
        }
        for tag in &missing.tags {
            self.target.tag(manifest, tag).await?;
        }
        Ok(())
    }

    fn outcomes(&self) -> Vec<(Descriptor, Outcome)> {
        let blobs = self.blobs.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = |blob: &Descriptor| blobs.outcomes.get(&blob.digest)?.get().copied();
        blobs.order.iter().filter_map(|blob| Some((blob.clone(), outcome(blob)?))).collect()
    }
}

/// A source that lets an observer see what is read.
struct Observed<'a> {
    source: &'a dyn Source,
    observer: &'a Arc<dyn Observer>,
}

#[async_trait]
impl Open for Observed<'_> {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        let reader = self.source.open(descriptor).await?;
        self.observer.started(descriptor);
        let (observer, descriptor) = (Arc::clone(self.observer), descriptor.clone());
        Ok(reader.inspect(move |chunk| observer.advanced(&descriptor, chunk.len() as u64)))
    }
}
