//! Tags.

use super::Repositories;
use crate::digest::Digest;
use crate::reference::{Name, Tag};
use crate::server::storage::{Condition, Digests, Error, Key};

/// How many tags are looked at at once.
const PAGE: usize = 1000;

impl Repositories {
    /// What the tag points to.
    pub async fn tag(&self, name: &Name, tag: &Tag) -> Result<Option<Digest>, Error> {
        let key = Key::Tag(name.clone(), tag.clone());
        let value = self.storage.read(&key).await?;
        value.map(|value| parse(&value).ok_or_else(|| Error::Damaged(key.to_string()))).transpose()
    }

    /// Removes the tag, and leaves its manifest; `false` when there is no such tag.
    pub async fn delete_tag(&self, name: &Name, tag: &Tag) -> Result<bool, Error> {
        self.storage.remove(&Key::Tag(name.clone(), tag.clone()), Condition::Any).await
    }

    /// The repository's tags in byte order: at most `limit` after `after`. `None` when it has nothing at all.
    pub async fn tags(&self, name: &Name, after: Option<&str>, limit: usize) -> Result<Option<Vec<Tag>>, Error> {
        let tags = self.storage.tags(name, after, limit).await?;
        Ok((!tags.is_empty() || self.has_anything(name).await?).then_some(tags))
    }

    async fn has_anything(&self, name: &Name) -> Result<bool, Error> {
        for list in [Digests::Manifests(name.clone()), Digests::Blobs(name.clone())] {
            if !self.storage.digests(&list, None, 1).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(!self.storage.tags(name, None, 1).await?.is_empty())
    }

    /// Removes all tags that point to `digest`.
    pub(super) async fn delete_tags_of(&self, name: &Name, digest: Digest) -> Result<(), Error> {
        let mut after = None;
        loop {
            let tags = self.storage.tags(name, after.as_ref().map(Tag::as_str), PAGE).await?;
            for tag in &tags {
                // One that is moved elsewhere meanwhile stays.
                let condition = Condition::Is(digest.to_string().into());
                self.storage.remove(&Key::Tag(name.clone(), tag.clone()), condition).await?;
            }
            match tags.into_iter().nth(PAGE - 1) {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }
}

/// What the value of a tag's record says.
pub(in crate::server) fn parse(value: &[u8]) -> Option<Digest> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
