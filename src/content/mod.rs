//! Content: where it comes from, where it goes, and the one `copy` between any two ends.
//!
//! The traits are small, and each end of the house implements them: a packed bundle ([`Source`]), image layouts, a
//! registry, and the in-memory [`Memory`] ([`Target`]). What a manifest means is `manifest`'s; what a layer has in it
//! is left to `bundle` and `unpack`.

mod apart;
mod copy;
mod each;
mod error;
mod file;
mod look;
mod memory;
mod publish;
mod reader;

use async_trait::async_trait;
use bytes::Bytes;

pub(crate) use apart::apart;
pub use copy::{Copied, CopyOptions, DEFAULT_CONCURRENCY, Observer, Outcome, copy};
pub use error::{Error, ErrorKind};
pub(crate) use file::{is_in_memory, read_at_hand};
pub use file::{read_file, read_file_range};
pub use look::{Look, Tagged};
pub use memory::Memory;
pub use publish::{Alike, Fate, Publication, TagCondition, Unmet};
pub use reader::Reader;

use crate::digest::{Digest, Mismatch};
use crate::manifest::{Descriptor, ImageConfig, ImageManifest, MAX_CONFIG_SIZE, MAX_MANIFEST_SIZE, RawManifest};
use crate::reference::{Identifier, Repository, Tag};
use crate::text::bytes;

/// What can be opened by its descriptor, as often as need be.
#[async_trait]
pub trait Open: Send + Sync {
    /// A reader of the content that `descriptor` names. It verifies size and digest as it is read and fails on the last
    /// byte if they are wrong.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such content.
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error>;

    /// The repository that all of this content is in, if it is in one: a target in the same registry can take it from there
    /// without its bytes being sent.
    fn origin(&self) -> Option<&Repository> {
        None
    }
}

/// Content that can be found by tag or digest.
#[async_trait]
pub trait Source: Open {
    /// The descriptor of the manifest that `identifier` picks.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it picks nothing.
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, Error>;

    /// The manifest that `identifier` picks, verified. A source that can do better than to resolve and then to open
    /// does so.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when it picks nothing, [`ErrorKind::Content`] when what it picks is no manifest.
    async fn manifest(&self, identifier: &Identifier) -> Result<RawManifest, Error> {
        read_manifest(self, &self.resolve(identifier).await?).await
    }

    /// The manifests that have the one with this digest as their subject, each once: those of `artifact_type`, if one is
    /// named. Each descriptor says artifact type and annotations, as [`RawManifest::referrer`] does. The subject need not
    /// be there itself.
    ///
    /// # Errors
    /// [`ErrorKind::Content`] when the list, or a manifest that had to be looked at, is not what it should be.
    async fn referrers(&self, _subject: Digest, _artifact_type: Option<&str>) -> Result<Vec<Descriptor>, Error> {
        Ok(Vec::new())
    }
}

/// Content of which a part can be read.
#[async_trait]
pub trait OpenRange: Open {
    /// `length` bytes of the content that `descriptor` names, from `offset` on, at most as much as fits in memory well.
    ///
    /// **Nothing vouches for them**: a part cannot be held against the digest of the whole. Only `bundle` reads like
    /// this, which knows the digest of each part that it asks for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is no such content, [`ErrorKind::Content`] when it ends too early.
    async fn read_range_unverified(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, Error> {
        check_range(descriptor, offset, length)?;
        self.range_within(descriptor, offset, length).await
    }

    /// As [`read_range_unverified`](Self::read_range_unverified), which is what to call: it has seen that the range lies
    /// within the size that `descriptor` says.
    ///
    /// # Errors
    /// As there.
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, Error>;
}

/// Whether the content that `descriptor` names has `length` bytes from `offset` on.
fn check_range(descriptor: &Descriptor, offset: u64, length: u64) -> Result<(), Error> {
    if offset.checked_add(length).is_some_and(|end| end <= descriptor.size) {
        return Ok(());
    }
    let (digest, size) = (descriptor.digest, descriptor.size);
    Err(Error::new(ErrorKind::Content, format!("{digest} has {}, and not {length} more from {offset} on", bytes(size))))
}

/// Where content can be put, and then found.
#[async_trait]
pub trait Target: Source {
    /// Whether the content that `descriptor` names is there.
    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, Error>;

    /// Stores the content that `descriptor` names, which `from` opens, as often as the target has to begin anew; or takes
    /// it from the [origin](Open::origin) of that. It is there, whole and verified, when this returns, and not before. A
    /// manifest is stored under its digest. Returns what was done.
    async fn push(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, Error>;

    /// What `tag` points to, for somebody who is about to move it: a manifest of whatever kind, or nothing.
    async fn tagged(&self, tag: &Tag) -> Result<Option<Descriptor>, Error> {
        match self.resolve(&Identifier::Tag(tag.clone())).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same, with what need not be asked for because the manifest names it. A target that says so refuses a manifest if
    /// it has lost what that names, with an error that is [lacking](Error::is_lacking). A manifest that cannot be read is
    /// none.
    async fn tagged_with(&self, tag: &Tag) -> Result<Option<Tagged>, Error> {
        let found = self.tagged(tag).await?;
        Ok(found.map(|found| Tagged { digest: found.digest, vouched: Vec::new() }))
    }

    /// Stores `manifest`, if it is not there, and lets `tag` point to it.
    async fn tag(&self, manifest: &RawManifest, tag: &Tag) -> Result<(), Error> {
        self.tag_if(manifest, tag, TagCondition::Any).await
    }

    /// The same, if `condition` holds at the moment when the tag is moved: nobody comes between. Of registries, some do not
    /// know conditions, and move the tag whatever it points to.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] when it does not hold. The tag is then as it was.
    async fn tag_if(&self, manifest: &RawManifest, tag: &Tag, condition: TagCondition) -> Result<(), Error>;
}

/// The manifest that `descriptor` names, read whole: never more than [`MAX_MANIFEST_SIZE`].
///
/// # Errors
/// [`ErrorKind::Content`] when it is too large or no manifest, and whatever `source` fails with.
pub async fn read_manifest<S: Open + ?Sized>(source: &S, descriptor: &Descriptor) -> Result<RawManifest, Error> {
    if descriptor.size > MAX_MANIFEST_SIZE {
        return Err(crate::manifest::Invalid::TooLarge(descriptor.size).into());
    }
    let bytes = source.open(descriptor).await?.read_all().await?;
    Ok(RawManifest::parse(&descriptor.media_type, bytes)?)
}

/// The configuration of `image`, read whole: never more than [`MAX_CONFIG_SIZE`].
///
/// # Errors
/// [`ErrorKind::Content`] when it is too large or none of an image, and whatever `source` fails with.
pub async fn read_config<S: Open + ?Sized>(source: &S, image: &ImageManifest) -> Result<ImageConfig, Error> {
    let Descriptor { digest, size, .. } = image.config;
    let wrong = |problem: String| Error::new(ErrorKind::Content, format!("config {digest} {problem}"));
    if size > MAX_CONFIG_SIZE {
        return Err(wrong(format!("has {size} bytes, more than the {MAX_CONFIG_SIZE} that are allowed")));
    }
    let bytes = source.open(&image.config).await?.read_all().await?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(format!("is not one of an image: {error}")))
}

#[async_trait]
impl Open for RawManifest {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        if descriptor.digest != self.digest() {
            return Err(Error::not_found(format!("{} is not manifest {}", descriptor.digest, self.digest())));
        }
        Ok(Reader::of_bytes(descriptor, self.bytes().clone()))
    }
}

#[async_trait]
impl Source for RawManifest {
    /// There is one manifest, and every tag means that.
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, Error> {
        match identifier {
            Identifier::Digest(digest) if *digest != self.digest() => {
                Err(Error::not_found(format!("{digest} is not manifest {}", self.digest())))
            }
            _ => Ok(self.descriptor()),
        }
    }
}

impl From<Mismatch> for Error {
    fn from(mismatch: Mismatch) -> Self {
        Self::new(ErrorKind::Content, mismatch)
    }
}

impl From<crate::manifest::Invalid> for Error {
    fn from(invalid: crate::manifest::Invalid) -> Self {
        Self::new(ErrorKind::Content, invalid)
    }
}
