//! A look at what a copy is about to change, and what that says of what need not be sent.

use std::collections::{HashMap, HashSet};

use super::{Error, ErrorKind, Target};
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::reference::Tag;

/// What a tag points to, as a copy finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tagged {
    /// The digest of the manifest.
    pub digest: Digest,
    /// The blobs that are there because it names them; none, if the target takes manifests without what they name.
    pub vouched: Vec<Descriptor>,
}

/// What tags of a target point to, before a copy moves them.
#[derive(Clone, Debug, Default)]
pub struct Look {
    tagged: HashMap<Tag, Tagged>,
    /// Blobs that were asked for, and are there.
    present: HashSet<Digest>,
}

impl Look {
    /// Looks at `tags`, one after the other.
    ///
    /// # Errors
    /// When `target` cannot say what one of them points to. Some registries deny a look at what is not there: whether it may
    /// be made, the push will show.
    pub async fn at(target: &dyn Target, tags: &[Tag]) -> Result<Self, Error> {
        let mut look = Self::default();
        for tag in tags {
            match target.tagged_with(tag).await {
                Ok(Some(tagged)) => drop(look.tagged.insert(tag.clone(), tagged)),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Denied => {}
                Err(error) => return Err(error),
            }
        }
        Ok(look)
    }

    /// The same for somebody who has time: asks also for the blobs of these manifests, unless there are more than `limit`. That
    /// they are there has to be known where no tag is moved.
    ///
    /// # Errors
    /// As there.
    pub async fn closely(target: &dyn Target, tags: &[Tag], limit: usize) -> Result<Self, Error> {
        let mut look = Self::at(target, tags).await?;
        let mut met = HashSet::new();
        let blobs: Vec<_> = look.blobs().filter(|blob| met.insert(blob.digest)).cloned().collect();
        if blobs.len() <= limit {
            for blob in blobs {
                // What cannot be found out now is asked again by whoever has to know it.
                if matches!(target.exists(&blob).await, Ok(true)) {
                    look.present.insert(blob.digest);
                }
            }
        }
        Ok(look)
    }

    fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        self.tagged.values().flat_map(|tagged| &tagged.vouched)
    }

    /// Which of `tags` do not point to this manifest.
    pub(super) fn elsewhere(&self, tags: &[Tag], manifest: Digest) -> Vec<Tag> {
        let points_there = |tag: &&Tag| self.tagged.get(tag).is_some_and(|tagged| tagged.digest == manifest);
        tags.iter().filter(|tag| !points_there(tag)).cloned().collect()
    }

    /// The blobs that need not be asked for, if a manifest `is_put`: where none is, nobody would notice that one is lost.
    pub(super) fn known(&self, is_put: bool) -> HashSet<Digest> {
        let vouched = self.blobs().map(|blob| blob.digest).filter(|_| is_put);
        vouched.chain(self.present.iter().copied()).collect()
    }
}
