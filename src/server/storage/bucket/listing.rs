//! Lists. A bucket keeps its keys in order, and says with each how large its object is and when it was written.

use std::time::{Duration, SystemTime};

use object_store::ObjectMeta;

use super::super::{Digests, Error};
use super::object::Kind;
use super::objects::{Entry, Objects, written};
use super::paths;
use crate::digest::Digest;
use crate::reference::{Name, Tag};

/// How old an object has to be that is gone before a list removes it: whoever let it be gone is about to do so.
const STALE: Duration = Duration::from_mins(10);

/// How many of those are removed at once.
const MAX_STALE: usize = 100;

pub(super) async fn tags(objects: &Objects, name: &Name, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error> {
    let after = after.map(paths::offset);
    records(objects, &paths::tags(name), after, limit, |tag, _| tag.parse().ok()).await
}

pub(super) async fn digests(
    objects: &Objects,
    list: &Digests,
    after: Option<Digest>,
    limit: usize,
) -> Result<Vec<(Digest, SystemTime)>, Error> {
    let after = after.map(paths::component);
    let pick = |digest: &str, meta: &ObjectMeta| Some((paths::parse_digest(digest)?, written(meta)));
    records(objects, &paths::digests(list), after, limit, pick).await
}

/// What `pick` makes of the names of the records below `place`. Those that are gone, and were left behind by a process
/// that was killed, are removed in passing: a collection reads all lists.
async fn records<T>(
    objects: &Objects,
    place: &str,
    after: Option<String>,
    limit: usize,
    pick: impl Fn(&str, &ObjectMeta) -> Option<T> + Send + Sync,
) -> Result<Vec<T>, Error> {
    let mut stale = Vec::new();
    let see = |name: &str, entry: Entry<'_>| {
        let Entry::Object(meta) = entry else { return None };
        match Kind::of_size(meta.size) {
            Kind::Live => return pick(name, meta),
            Kind::Gone if is_stale(meta) && stale.len() < MAX_STALE => stale.push(name.to_owned()),
            Kind::Aside | Kind::Gone => {}
        }
        None
    };
    let page = objects.list(place, false, after.as_deref(), limit, see).await?;
    for name in stale {
        objects.clear(&format!("{place}{name}")).await?;
    }
    Ok(page)
}

pub(super) fn is_stale(meta: &ObjectMeta) -> bool {
    written(meta).elapsed().is_ok_and(|age| age > STALE)
}

pub(super) async fn subjects(
    objects: &Objects,
    name: &Name,
    after: Option<Digest>,
    limit: usize,
) -> Result<Vec<Digest>, Error> {
    // Behind everything below the subject.
    let after = after.map(|after| paths::component(after) + "0");
    let pick = |subject: &str, _: Entry<'_>| paths::parse_digest(subject);
    objects.list(&paths::subjects(name), true, after.as_deref(), limit, pick).await
}

pub(super) async fn repositories(objects: &Objects, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error> {
    // The same: `0` comes after the slash.
    let offset = after.map(|after| paths::repository(&paths::offset(after)) + "0");
    let pick = |component: &str, _: Entry<'_>| {
        paths::parse_repository(component).filter(|name| after.is_none_or(|after| name.as_str() > after))
    };
    objects.list(paths::REPOSITORIES, true, offset.as_deref(), limit, pick).await
}
