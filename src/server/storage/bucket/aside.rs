//! What a collection sets aside stays in its object. An empty object says where to look for it: it is written before
//! something is set aside and deleted after that has been restored or discarded, so it may be there in vain.

use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::super::{Aside, Error, Item, Round};
use super::content::Content;
use super::object::{Object, Value};
use super::objects::{Entry, Objects};
use super::{leftovers, listing, paths};

/// How many objects are looked at at once.
const CONCURRENT_LOOKS: usize = 16;
/// How many of those that say where to look are listed at once.
const PAGE: usize = 1000;

pub(super) async fn set_aside(objects: &Objects, round: &Round, item: &Item) -> Result<Option<SystemTime>, Error> {
    let path = paths::item(item);
    if objects.modified(&path).await?.is_none() {
        return Ok(None);
    }
    let marker = paths::aside(round, &path);
    objects.put(&marker, Bytes::new()).await?;
    let set_aside = |mut object: Object| {
        let Some(value) = object.live.take() else { return (None, None) };
        let modified = value.modified;
        object.aside.push((round.clone(), value));
        (Some(object), modified)
    };
    let modified = objects.change(&path, false, set_aside).await?;
    if modified.is_none() {
        objects.delete(&marker).await?;
    }
    Ok(modified)
}

pub(super) async fn restore(objects: &Objects, item: &Item) -> Result<bool, Error> {
    let path = paths::item(item);
    let Some(found) = objects.get(&path).await?.filter(|found| !found.object.aside.is_empty()) else {
        return Ok(false);
    };
    // If one of them is not what is there in the end, its data are nobody's.
    for (_, value) in &found.object.aside {
        leftovers::announce(objects, item, value).await?;
    }
    let restore = |mut object: Object| {
        let rounds: Vec<Round> = object.aside.iter().map(|(round, _)| round.clone()).collect();
        let last = object.aside.pop().map(|(_, value)| value);
        object.aside.clear();
        object.live = object.live.or(last);
        ((!rounds.is_empty()).then_some(object), rounds)
    };
    let rounds = objects.change(&path, false, restore).await?;
    for round in &rounds {
        objects.delete(&paths::aside(round, &path)).await?;
    }
    Ok(!rounds.is_empty())
}

pub(super) async fn discard(objects: &Objects, round: &Round, item: &Item) -> Result<Option<u64>, Error> {
    let path = paths::item(item);
    let mine = |object: &Object| object.aside.iter().position(|(other, _)| other == round);
    let Some(found) = objects.get(&path).await? else { return Ok(None) };
    let Some(value) = mine(&found.object).map(|at| &found.object.aside[at].1) else { return Ok(None) };
    leftovers::announce(objects, item, value).await?;
    let discard = |mut object: Object| match mine(&object) {
        Some(at) => {
            let (_, value) = object.aside.remove(at);
            (Some(object), Some(value))
        }
        None => (None, None),
    };
    let discarded = objects.change(&path, false, discard).await?;
    objects.delete(&paths::aside(round, &path)).await?;
    discarded.map(|value| size(item, &value)).transpose()
}

fn size(item: &Item, value: &Value) -> Result<u64, Error> {
    match item {
        Item::Record(_) => Ok(value.bytes.len() as u64),
        Item::Content(_) => {
            let content = Content::decode(&value.bytes).ok_or_else(|| Error::Damaged(item.to_string()))?;
            Ok(content.size())
        }
    }
}

pub(super) async fn list(objects: &Objects, limit: usize) -> Result<Vec<Aside>, Error> {
    let (mut found, mut after) = (Vec::new(), None::<String>);
    while found.len() < limit {
        let pick = |name: &str, entry: Entry<'_>| match entry {
            Entry::Object(meta) => Some((name.to_owned(), listing::is_stale(meta))),
            Entry::Folder => None,
        };
        let markers = objects.list(paths::ASIDE, false, after.as_deref(), PAGE, pick).await?;
        let Some((last, _)) = markers.last() else { break };
        after = Some(last.clone());
        let looks: Vec<_> = markers.iter().map(|(name, is_stale)| look(objects, name, *is_stale)).collect();
        let page: Vec<Option<Aside>> = stream::iter(looks).buffered(CONCURRENT_LOOKS).try_collect().await?;
        found.extend(page.into_iter().flatten());
    }
    found.truncate(limit);
    Ok(found)
}

/// What is aside where the object of this name says. If nothing is, and none is about to be set aside, that object goes.
async fn look(objects: &Objects, name: &str, is_stale: bool) -> Result<Option<Aside>, Error> {
    let parsed = name.split_once('/').and_then(|(round, path)| Some((round.parse().ok()?, paths::parse_item(path)?)));
    let Some((round, item)): Option<(Round, Item)> = parsed else { return Ok(None) };
    let found = objects.get(&paths::item(&item)).await?;
    let aside = found.map(|found| found.object.aside).unwrap_or_default();
    let modified = aside.into_iter().find(|(other, _)| *other == round).and_then(|(_, value)| value.modified);
    if modified.is_none() && is_stale {
        objects.delete(&format!("{}{name}", paths::ASIDE)).await?;
    }
    Ok(modified.map(|modified| Aside { round, item, modified }))
}
