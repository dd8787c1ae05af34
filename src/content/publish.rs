//! Publishing: which tags may be moved, and how they are moved so that nobody comes between the look and the move.
//!
//! That the image itself is there by then is `copy`'s to see to.

use std::fmt;

use async_trait::async_trait;

use super::{Error, ErrorKind, Open, Target};
use crate::digest::Digest;
use crate::manifest::{Descriptor, RawManifest};
use crate::reference::Tag;

/// How often a tag is looked at again after somebody else has moved it. Each time, one of those who move it is done.
const TRIES: usize = 100;

/// What has to hold for a tag to be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagCondition {
    /// Nothing.
    Any,
    /// There is no such tag.
    Absent,
    /// It points to this.
    Is(Digest),
}

impl TagCondition {
    /// That a tag is as it was found.
    fn unchanged(found: Option<Digest>) -> Self {
        found.map_or(Self::Absent, Self::Is)
    }

    /// Whether it holds for a tag that points to `found`, or is not there.
    #[must_use]
    pub fn holds(self, found: Option<Digest>) -> bool {
        match self {
            Self::Any => true,
            Self::Absent => found.is_none(),
            Self::Is(expected) => found == Some(expected),
        }
    }

    /// Fails if it does not hold for `tag`, which points to `found`, or is not there.
    ///
    /// # Errors
    /// [`Unmet`].
    pub fn check(self, tag: &Tag, found: Option<Digest>) -> Result<(), Unmet> {
        if self.holds(found) { Ok(()) } else { Err(Unmet { tag: tag.clone(), found, expected: self }) }
    }
}

/// A tag is not as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    tag: Tag,
    found: Option<Digest>,
    expected: TagCondition,
}

impl std::error::Error for Unmet {}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            Some(digest) => write!(f, "tag {} points to {digest}", self.tag)?,
            None => write!(f, "there is no tag {}", self.tag)?,
        }
        match self.expected {
            TagCondition::Any => Ok(()),
            TagCondition::Absent => f.write_str(", expected none"),
            TagCondition::Is(digest) => write!(f, ", expected {digest}"),
        }
    }
}

impl From<Unmet> for Error {
    fn from(unmet: Unmet) -> Self {
        Self::new(ErrorKind::Conflict, unmet)
    }
}

/// What says which other image has the same content.
#[async_trait]
pub trait Alike: Sync {
    /// Whether the image with this manifest, whose config `source` opens, has the same content.
    ///
    /// # Errors
    /// When it cannot be found out. An image that is not what it should be is not the same.
    async fn is_alike(&self, manifest: &RawManifest, source: &dyn Open) -> Result<bool, Error>;
}

/// An image that is to be published, and what must not become of tags.
#[derive(Clone, Copy)]
pub struct Publication<'a> {
    /// Its manifest.
    pub manifest: &'a RawManifest,
    /// What beside the image itself counts as the same: a tag that points to that stays. If nothing, only the image does.
    pub alike: Option<&'a dyn Alike>,
    /// Whether a tag that is there must not be moved.
    pub immutable: bool,
}

/// What becomes of a tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It points to this, which is the same: it stays.
    Stays(Descriptor),
    /// It pointed to this, or was not there, and is moved.
    Moves(Option<Digest>),
    /// It points to this, which is something else, and must not be moved.
    Refused(Digest),
}

impl Publication<'_> {
    /// What would become of `tag`. Nothing is written.
    ///
    /// # Errors
    /// When `target` cannot say what it points to.
    pub async fn look(&self, target: &dyn Target, tag: &Tag) -> Result<Fate, Error> {
        let found = match target.tagged(tag).await {
            // Some registries deny a look at what is not there. Whether it may be pushed, the push will show; that nothing
            // is overwritten, it cannot.
            Err(error) if error.kind() == ErrorKind::Denied && !self.immutable => None,
            found => found?,
        };
        Ok(match found {
            None => Fate::Moves(None),
            Some(found) if found.digest == self.manifest.digest() => Fate::Stays(found),
            Some(found) if self.is_alike(&found, target).await? => Fate::Stays(found),
            Some(found) if self.immutable => Fate::Refused(found.digest),
            Some(found) => Fate::Moves(Some(found.digest)),
        })
    }

    /// Moves `tag`, or leaves it where it is, and says which: by a look, and by a condition that nobody has moved it since.
    /// Whether the image is at `target` is the caller's to see to.
    ///
    /// # Errors
    /// Whatever `target` fails with; [`ErrorKind::Conflict`] when it refuses to move the tag for a reason of its own, or
    /// others move it all the time.
    pub async fn tag(&self, target: &dyn Target, tag: &Tag) -> Result<Fate, Error> {
        let mut refusal: Option<(TagCondition, Error)> = None;
        for _ in 0..TRIES {
            let fate = self.look(target, tag).await?;
            let mut condition = match &fate {
                Fate::Moves(found) => TagCondition::unchanged(*found),
                // What was sent may have arrived although its answer did not.
                Fate::Stays(found) if refusal.is_some() && found.digest == self.manifest.digest() => {
                    return Ok(Fate::Moves(None));
                }
                Fate::Stays(_) | Fate::Refused(_) => return Ok(fate),
            };
            match refusal {
                // It holds, so that it was not refused for it; or the target has another name for what it has.
                Some((refused @ TagCondition::Is(_), _)) if refused == condition => condition = TagCondition::Any,
                Some((refused, error)) if refused == condition || refused == TagCondition::Any => return Err(error),
                _ => {}
            }
            match target.tag_if(self.manifest, tag, condition).await {
                Err(error) if error.kind() == ErrorKind::Conflict => refusal = Some((condition, error)),
                done => return done.map(|()| fate),
            }
        }
        Err(Error::new(ErrorKind::Conflict, format!("others move tag {tag} all the time")).with_hint("try again"))
    }

    /// Whether what is at `target` has the same content. What cannot be read is something else.
    async fn is_alike(&self, found: &Descriptor, target: &dyn Target) -> Result<bool, Error> {
        let Some(alike) = self.alike.filter(|_| found.media_type == self.manifest.media_type()) else {
            return Ok(false);
        };
        let is_alike = async {
            let manifest = target.manifest(&found.digest.into()).await?;
            alike.is_alike(&manifest, target).await
        };
        match is_alike.await {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Content) => Ok(false),
            is_alike => is_alike,
        }
    }
}
