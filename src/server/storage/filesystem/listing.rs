//! Lists, made of the names in directories. A page is all of a list that is in memory.

use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::{Aside, Digests, Error, Item, Key, Round};
use super::paths::{PARTS, Paths};
use super::{found, records};
use crate::digest::{Algorithm, Digest};
use crate::reference::{Name, Tag};

/// In the order that digests have.
const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];

/// The names of what is in a directory. One that is not there has nothing in it.
fn names(directory: &Path) -> io::Result<impl Iterator<Item = io::Result<String>> + use<>> {
    let entries = found(fs::read_dir(directory))?.into_iter().flatten();
    Ok(entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()))
}

/// The `limit` smallest of what `parse` makes of the names in a directory, in order.
fn smallest<T: Ord>(directory: &Path, limit: usize, parse: impl Fn(&str) -> Option<T>) -> io::Result<Vec<T>> {
    let mut kept = BinaryHeap::new();
    for name in names(directory)? {
        kept.extend(parse(&name?));
        if kept.len() > limit {
            kept.pop();
        }
    }
    Ok(kept.into_sorted_vec())
}

pub(super) fn tags(paths: &Paths, repository: &Name, after: Option<&str>, limit: usize) -> Result<Vec<Tag>, Error> {
    let parse = |name: &str| name.parse::<Tag>().ok().filter(|tag| after.is_none_or(|after| tag.as_str() > after));
    smallest(&paths.tags(repository), limit, parse).map_err(Error::io(format_args!("list the tags of {repository}")))
}

pub(super) fn digests(
    paths: &Paths,
    list: &Digests,
    after: Option<Digest>,
    limit: usize,
) -> Result<Vec<(Digest, SystemTime)>, Error> {
    let directories = match list {
        Digests::Contents => shards(&paths.contents(), after),
        _ => by_algorithm(&paths.digests(list)),
    };
    in_directories(directories, after, limit).map_err(Error::io(format_args!("list {list}")))
}

/// The digests that are names in these directories, which are in order.
fn in_directories(
    directories: Vec<(Algorithm, PathBuf)>,
    after: Option<Digest>,
    limit: usize,
) -> io::Result<Vec<(Digest, SystemTime)>> {
    let mut page = Vec::new();
    for (algorithm, directory) in directories {
        if page.len() == limit {
            break;
        }
        for digest in smallest(&directory, limit - page.len(), |name| digest_after(algorithm, name, after))? {
            // What is gone by now may be in the list. Nobody takes it for old.
            let modified = records::modified(&directory.join(digest.hex()))?;
            page.push((digest, modified.unwrap_or_else(SystemTime::now)));
        }
    }
    Ok(page)
}

fn digest_after(algorithm: Algorithm, name: &str, after: Option<Digest>) -> Option<Digest> {
    let digest = format!("{algorithm}:{name}").parse::<Digest>().ok()?;
    after.is_none_or(|after| digest > after).then_some(digest)
}

fn by_algorithm(directory: &Path) -> Vec<(Algorithm, PathBuf)> {
    ALGORITHMS.map(|algorithm| (algorithm, directory.join(algorithm.name()))).into()
}

/// The directories of contents, from the one on in which `after` would be.
fn shards(contents: &Path, after: Option<Digest>) -> Vec<(Algorithm, PathBuf)> {
    let first = after.map(|after| (after.algorithm(), after.as_bytes()[0]));
    let all = by_algorithm(contents).into_iter().flat_map(|(algorithm, directory)| {
        (0..=u8::MAX).map(move |byte| ((algorithm, byte), directory.join(format!("{byte:02x}"))))
    });
    let wanted = all.filter(|(shard, _)| first.is_none_or(|first| *shard >= first));
    wanted.map(|((algorithm, _), directory)| (algorithm, directory)).collect()
}

pub(super) fn subjects(
    paths: &Paths,
    repository: &Name,
    after: Option<Digest>,
    limit: usize,
) -> Result<Vec<Digest>, Error> {
    let subjects = in_directories(by_algorithm(&paths.subjects(repository)), after, limit);
    let subjects = subjects.map_err(Error::io(format_args!("list the subjects of {repository}")))?;
    Ok(subjects.into_iter().map(|(digest, _)| digest).collect())
}

pub(super) fn repositories(paths: &Paths, after: Option<&str>, limit: usize) -> Result<Vec<Name>, Error> {
    let mut page = Vec::new();
    walk(&paths.repositories(), "", after, limit, &mut page).map_err(Error::io("list the repositories"))?;
    Ok(page)
}

/// Collects the repositories in and below `directory`, whose names begin with `prefix`, in byte order.
fn walk(directory: &Path, prefix: &str, after: Option<&str>, limit: usize, page: &mut Vec<Name>) -> io::Result<()> {
    // Each directory stands here twice, because names such as `a-b` come between `a` and `a/b`: as a repository, and
    // with a slash for the repositories below it.
    let mut places = Vec::new();
    for name in names(directory)? {
        let name = name?;
        if !name.starts_with('_') {
            places.extend([format!("{name}/"), name]);
        }
    }
    places.sort_unstable();
    for place in places {
        if page.len() == limit {
            break;
        }
        let full = format!("{prefix}{place}");
        if place.ends_with('/') {
            // All that is below comes before what comes after it.
            if after.is_none_or(|after| after < full.as_str() || after.starts_with(&full)) {
                walk(&directory.join(&place), &full, after, limit, page)?;
            }
        } else if after.is_none_or(|after| full.as_str() > after)
            && PARTS.iter().any(|part| directory.join(&place).join(part).exists())
        {
            page.extend(full.parse::<Name>().ok());
        }
    }
    Ok(())
}

/// The collections that have set something aside.
pub(super) fn rounds(paths: &Paths) -> io::Result<Vec<Round>> {
    let rounds = names(&paths.rounds())?.map(|name| name.map(|name| name.parse().ok()));
    rounds.filter_map(Result::transpose).collect()
}

pub(super) fn aside(paths: &Paths, limit: usize) -> Result<Vec<Aside>, Error> {
    let mut found = Vec::new();
    for round in rounds(paths).map_err(Error::io("list what is aside"))? {
        let place = paths.aside(&round);
        let mut add = |item, modified| found.push(Aside { round: round.clone(), item, modified });
        for list in lists(&place)? {
            for (digest, modified) in digests(&place, &list, None, limit)? {
                add(list.item(digest), modified);
            }
        }
        for repository in repositories(&place, None, usize::MAX)? {
            for tag in tags(&place, &repository, None, limit)? {
                let item = Item::from(Key::Tag(repository.clone(), tag));
                if let Some(modified) = records::find(&place, &item)? {
                    add(item, modified);
                }
            }
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// All lists of digests that there are.
fn lists(paths: &Paths) -> Result<Vec<Digests>, Error> {
    let mut lists = vec![Digests::Contents];
    for name in repositories(paths, None, usize::MAX)? {
        lists.extend([Digests::Manifests(name.clone()), Digests::Blobs(name.clone())]);
        let subjects = subjects(paths, &name, None, usize::MAX)?;
        lists.extend(subjects.into_iter().map(|subject| Digests::Referrers(name.clone(), subject)));
    }
    Ok(lists)
}
