//! Manifests that no tag leads to.

use futures::future::try_join_all;

use super::graph::{self, Graph};
use super::{AT_ONCE, Collection, PAGE};
use crate::digest::Digest;
use crate::reference::{Name, Tag};
use crate::server::repositories::tag_target;
use crate::server::storage::{Digests, Error, Key};

impl Collection<'_> {
    /// Collects the manifests of a repository that are dead.
    pub(super) async fn manifests(&mut self, name: &Name) -> Result<(), Error> {
        let present = self.present(name).await?;
        let graph = self.graph(name, present.keys().copied().collect()).await?;
        let young = present.into_iter().filter(|(_, modified)| self.is_young(*modified)).map(|(digest, _)| digest);
        let is_alive = graph.reach(self.tagged(name).await?.into_iter().chain(young));
        let list = Digests::Manifests(name.clone());
        let mut aside = self.set_aside(&list, &graph.dead(&is_alive)).await?;
        while !aside.is_empty() {
            let is_alive = graph.reach(self.roots(name, &graph).await?);
            let is_alive = |digest: &Digest| graph.position(digest).is_some_and(|at| is_alive[at]);
            let (alive, dead): (Vec<_>, Vec<_>) = aside.into_iter().partition(is_alive);
            self.restore(&list, &alive).await?;
            aside = self.discard_until_missed(&list, dead).await?;
        }
        Ok(())
    }

    async fn graph(&self, name: &Name, digests: Vec<Digest>) -> Result<Graph, Error> {
        let mut graph = Graph::new(digests.clone());
        for some in digests.chunks(AT_ONCE) {
            for (digest, manifest) in self.read_manifests(name, some).await? {
                graph.add(digest, &manifest);
            }
        }
        Ok(graph)
    }

    /// What keeps manifests that are aside: tags, and all that is not aside, with what it lists.
    async fn roots(&self, name: &Name, graph: &Graph) -> Result<Vec<Digest>, Error> {
        let mut roots: Vec<Digest> = self.present(name).await?.into_keys().collect();
        let new: Vec<Digest> = roots.iter().copied().filter(|digest| graph.position(digest).is_none()).collect();
        for some in new.chunks(AT_ONCE) {
            for (_, manifest) in self.read_manifests(name, some).await? {
                roots.extend(graph::listed(&manifest).filter(|digest| graph.position(digest).is_some()));
            }
        }
        roots.extend(self.tagged(name).await?);
        Ok(roots)
    }

    /// Discards manifests that are aside, in this order, up to one that somebody has restored. Returns those after it.
    async fn discard_until_missed(&mut self, list: &Digests, dead: Vec<Digest>) -> Result<Vec<Digest>, Error> {
        let mut dead = dead.into_iter();
        for digest in dead.by_ref() {
            let item = list.item(digest);
            let discarded = self.storage.discard(&self.round, &item).await?;
            self.freed.bytes += discarded.unwrap_or_default();
            if discarded.is_none() || self.storage.find(&item).await?.is_some() {
                break;
            }
            self.freed.manifests += 1;
        }
        Ok(dead.collect())
    }

    /// What the tags of a repository point to.
    async fn tagged(&self, name: &Name) -> Result<Vec<Digest>, Error> {
        let (mut tagged, mut after): (_, Option<Tag>) = (Vec::new(), None);
        loop {
            let tags = self.storage.tags(name, after.as_ref().map(Tag::as_str), PAGE).await?;
            for some in tags.chunks(AT_ONCE) {
                let targets = some.iter().map(|tag| self.target(Key::Tag(name.clone(), tag.clone())));
                tagged.extend(try_join_all(targets).await?.into_iter().flatten());
            }
            match tags.into_iter().nth(PAGE - 1) {
                Some(last) => after = Some(last),
                None => return Ok(tagged),
            }
        }
    }

    /// What a tag points to, unless it is gone by now.
    async fn target(&self, tag: Key) -> Result<Option<Digest>, Error> {
        let Some(value) = self.storage.read(&tag).await? else { return Ok(None) };
        tag_target(&value).map(Some).ok_or_else(|| Error::Damaged(tag.to_string()))
    }
}
