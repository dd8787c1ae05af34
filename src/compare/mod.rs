//! Comparing: what differs between two sides, each a bundle, any other image, or a directory.
//!
//! Files are told to be the same by the digests of the members that they are in: two bundles are compared without any
//! contents, and then only what differs is read. A directory is hashed as if it were packed. What is read is held against
//! the other side as it comes, and kept only if it is to be shown and small. How a difference looks is left to `cli`.

mod contents;
mod drift;
mod error;
mod side;
mod why;

use std::cmp::Ordering;

use futures::stream::BoxStream;

pub use contents::{Contents, First, MAX_TEXT};
pub use drift::Drift;
pub use error::Error;
pub use side::{Side, Sides};
pub use why::{Group, Level, Reason, Subject, What, WhyOptions, explain};

use self::contents::{Collected, collect, first_difference};
use self::side::Walk;
use crate::bundle::Piece;
use crate::content;
use crate::digest::Digest;
use crate::unpack::{Listed, ListedKind};

/// How much is to be known of a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// That there is one.
    Names,
    /// The contents of both sides, as far as they can be shown.
    Texts,
    /// The first byte that differs.
    First,
}

/// What differs at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What the old side has there.
    pub old: Option<Listed>,
    /// What the new side has there.
    pub new: Option<Listed>,
    /// How the contents of files differ.
    pub contents: Contents,
}

impl Difference {
    /// What is there: on the new side, or else on the old one.
    #[must_use]
    pub fn file(&self) -> Option<&Listed> {
        self.new.as_ref().or(self.old.as_ref())
    }
}

/// A path at which something may differ: the number of what each side has there, of which no side has too many for it.
struct Pair {
    old: Option<u32>,
    new: Option<u32>,
    /// Whether the contents of both are the same, if that is known without reading them.
    is_same: Option<bool>,
    /// Which files have to be read, on the old side and on the new one.
    reads: [bool; 2],
}

impl Pair {
    fn in_old(&self) -> Option<usize> {
        self.old.map(|number| number as usize)
    }

    fn in_new(&self) -> Option<usize> {
        self.new.map(|number| number as usize)
    }
}

/// Shows `visit` each difference, in order of paths, and returns whether there is any.
///
/// # Errors
/// What a side fails with, what is wrong with its contents, and what `visit` returns.
pub async fn compare<E: From<Error>>(
    old: &Side,
    new: &Side,
    depth: Depth,
    mut visit: impl FnMut(Difference) -> Result<(), E>,
) -> Result<bool, E> {
    // Where one side has no members, those of the other say nothing.
    if old.has_members() && new.has_members() {
        old.hash().await?;
        new.hash().await?;
    }
    let pairs = pairs(old, new, depth).await.map_err(Error::from)?;
    let mut from_old = old.contents(pairs.iter().filter(|pair| pair.reads[0]).filter_map(Pair::in_old));
    let mut from_new = new.contents(pairs.iter().filter(|pair| pair.reads[1]).filter_map(Pair::in_new));
    let (mut in_old, mut in_new) = (Walk::new(old), Walk::new(new));
    let mut found = false;
    for pair in &pairs {
        let (a, b) = (
            in_old.find(pair.in_old()).await.map_err(Error::from)?,
            in_new.find(pair.in_new()).await.map_err(Error::from)?,
        );
        let contents = if pair.reads.contains(&true) {
            contents((a, b), depth, &mut from_old, &mut from_new).await.map_err(Error::from)?
        } else if pair.is_same == Some(false) {
            Contents::Unread
        } else {
            Contents::Same
        };
        if contents != Contents::Same || !is_alike(a, b) {
            found = true;
            visit(Difference { old: a.cloned(), new: b.cloned(), contents })?;
        }
    }
    Ok(found)
}

/// Reads the contents of both files, and says how they differ.
async fn contents(
    (a, b): (Option<&Listed>, Option<&Listed>),
    depth: Depth,
    old: &mut BoxStream<'_, Result<Piece, content::Error>>,
    new: &mut BoxStream<'_, Result<Piece, content::Error>>,
) -> Result<Contents, content::Error> {
    if let (Depth::First, Some(a), Some(b)) = (depth, a.and_then(Listed::size), b.and_then(Listed::size)) {
        return first_difference((a, b), old, new).await;
    }
    Ok(Contents::of(futures::try_join!(read(a, depth, old), read(b, depth, new))?))
}

/// Reads the contents of a file, if there is one, off the front of a side's contents.
async fn read(
    file: Option<&Listed>,
    depth: Depth,
    contents: &mut BoxStream<'_, Result<Piece, content::Error>>,
) -> Result<Option<Collected>, content::Error> {
    match file.map(|file| &file.kind) {
        Some(ListedKind::File { size }) => Ok(Some(collect(*size, depth == Depth::Texts, contents).await?)),
        _ => Ok(None),
    }
}

/// Whether type, mode, and where a link points are the same.
fn is_alike(old: Option<&Listed>, new: Option<&Listed>) -> bool {
    match (old, new) {
        (Some(old), Some(new)) => old.mode == new.mode && old.kind == new.kind,
        _ => false,
    }
}

/// All paths of both sides at which something may differ.
async fn pairs(old: &Side, new: &Side, depth: Depth) -> Result<Vec<Pair>, content::Error> {
    let (mut in_old, mut in_new) = (Walk::new(old), Walk::new(new));
    // There is seldom need for more, and growing takes the room of three.
    let (mut at, mut pairs) = ((0, 0), Vec::with_capacity(old.count().max(new.count())));
    loop {
        let left = (at.0 < old.count()).then_some(at.0);
        let right = (at.1 < new.count()).then_some(at.1);
        let (a, b) = (in_old.find(left).await?, in_new.find(right).await?);
        let order = match (a, b) {
            (None, None) => return Ok(pairs),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => a.path.cmp(&b.path),
        };
        let old = Part { side: old, file: a.filter(|_| order.is_le()), number: at.0 };
        let new = Part { side: new, file: b.filter(|_| order.is_ge()), number: at.1 };
        at = (at.0 + usize::from(order.is_le()), at.1 + usize::from(order.is_ge()));
        let pair = pair(&old, &new, depth);
        if pair.is_same != Some(true) || !is_alike(old.file, new.file) {
            pairs.push(pair);
        }
    }
}

/// What a side has at a path.
struct Part<'a> {
    side: &'a Side,
    file: Option<&'a Listed>,
    /// Its number there, if there is any.
    number: usize,
}

/// Decides what has to be read of what is at one path.
fn pair(old: &Part<'_>, new: &Part<'_>, depth: Depth) -> Pair {
    let sizes = [old, new].map(|part| part.file?.size());
    let is_same = match (sizes, old.file, new.file) {
        ([None, None], ..) => Some(true),
        ([Some(a), Some(b)], Some(in_old), Some(in_new)) if a == b => {
            same_contents(old, new, in_old.mode == in_new.mode)
        }
        _ => Some(false),
    };
    let can_be_shown = sizes.into_iter().flatten().all(|size| size <= MAX_TEXT);
    let is_wanted = match depth {
        Depth::Names => false,
        Depth::Texts => true,
        Depth::First => sizes.iter().all(Option::is_some),
    };
    let reads = is_same.is_none() || (is_same == Some(false) && is_wanted && can_be_shown);
    let number = |part: &Part<'_>| part.file.map(|_| part.number as u32);
    Pair { old: number(old), new: number(new), is_same, reads: sizes.map(|size| reads && size.is_some()) }
}

/// Whether two files of the same size have the same contents, as far as the members that they are in say.
fn same_contents(old: &Part<'_>, new: &Part<'_>, has_same_mode: bool) -> Option<bool> {
    let (a, b): (Vec<Digest>, Vec<Digest>) = (old.side.members_of(old.number)?, new.side.members_of(new.number)?);
    if a == b {
        return Some(true);
    }
    // A large file stands alone. What comes before its contents is the same if its mode is; what comes after them, if it ends
    // the archive on both sides or on none.
    let end = a.len() - usize::from(old.side.ends_archive(old.number) != new.side.ends_archive(new.number));
    let contents = usize::from(!has_same_mode)..end;
    let is_surely_other = a.len() > 1 && a.len() == b.len() && a[contents.clone()] != b[contents];
    is_surely_other.then_some(false)
}
