//! The view of an image: what is where once its layers have been applied, one over the other.
//!
//! Everything that is read, in whatever format, goes through [`View::apply`], and what comes out goes to a [`Sink`]: so
//! who lists an image sees what who unpacks it gets. Names and links are resolved here, in memory, as a process would
//! that has the target as its root (image-spec v1.1.1, layer.md, "Applying Changesets"); no sink is ever asked to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::Limits;
use super::error::{Fault, shown};
use super::item::{Contents, Item, Kind, Sink};
use super::place::{Place, names};
use super::staging::is_closed;
use crate::bundle::MAX_PATH;

/// How many links are followed on the way to one entry, as in a kernel.
const MAX_FOLLOWED: usize = 40;
/// How many names may be looked up, for each entry that is allowed: many times what any image needs, and few enough that
/// an archive of long chains of links ends.
const STEPS_PER_ENTRY: u64 = 64;
/// How many bytes of paths and targets may be held in memory, for each entry that is allowed.
const NAMES_PER_ENTRY: u64 = 256;

/// What an entry says of those below.
const WHITEOUT: &[u8] = b".wh.";
/// Hides all that lower layers have in its directory.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What AUFS kept for itself, and old layers still have at their top.
const AUFS: &[u8] = b".wh..wh.";

/// The mode of directories that no entry speaks of.
const DIRECTORY_MODE: u32 = 0o755;

/// What is at a place. There are very many of them, and most are files: what others have is to make none larger.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) mode: u32,
    pub(super) kind: NodeKind,
    /// The layer that put it there, or that put something below it.
    layer: u32,
}

#[derive(Clone, Debug)]
pub(super) enum NodeKind {
    Directory,
    File {
        size: u64,
        /// How many files were made before it. Of a hard link, what it is of its original.
        number: u32,
    },
    Symlink {
        target: Box<[u8]>,
    },
}

impl Node {
    /// [`NodeKind::File::number`], if it is a file.
    pub(super) fn file_number(&self) -> Option<u32> {
        match self.kind {
            NodeKind::File { number, .. } => Some(number),
            NodeKind::Directory | NodeKind::Symlink { .. } => None,
        }
    }
}

/// How a layer's entries are meant.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Names that begin with `.wh.` hide things.
    pub(super) whiteouts: bool,
    /// Nothing may be there already, except directories.
    pub(super) unique: bool,
}

/// The directory of the last entry, as it was called and where it is: the next one is often in the same. All on the way
/// there exists, so it leads elsewhere only after something has been removed.
#[derive(Default)]
struct Last {
    names: Vec<u8>,
    place: Place,
}

pub(super) struct View<'a> {
    sink: &'a mut dyn Sink,
    tally: Tally,
    nodes: BTreeMap<Place, Node>,
    rules: Rules,
    layer: u32,
    /// The directories of which this layer has hidden what lower ones have below them.
    cleared: BTreeSet<Place>,
    last: Option<Last>,
    /// How many files have been made.
    files: u32,
    steps: u64,
}

/// How much there is, and how much there may be.
struct Tally {
    limits: Limits,
    entries: u64,
    bytes: u64,
    names: u64,
}

impl Tally {
    fn new(limits: Limits) -> Self {
        Self { limits, entries: 0, bytes: 0, names: 0 }
    }

    /// Counts what an entry takes.
    fn count(&mut self, item: &Item) -> Result<(), Fault> {
        let (size, target) = match &item.kind {
            Kind::Directory => (0, 0),
            Kind::File { size } => (*size, 0),
            Kind::Symlink { target } => (0, target.len()),
            Kind::HardLink { original } => (0, original.len()),
        };
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(size);
        self.names += (item.path.len() + target) as u64;
        let Limits { entries, bytes } = self.limits;
        limit("entries", self.entries, entries, item)?;
        limit("bytes of files", self.bytes, bytes, item)?;
        limit("bytes of names", self.names, entries.saturating_mul(NAMES_PER_ENTRY), item)
    }
}

/// Whether a view would take these entries of a bundle, of which it is known that they are in order, each once, and each in a
/// directory. Nothing is kept of them.
pub(super) fn check(entries: impl Iterator<Item = Item>, limits: Limits) -> Result<(), Fault> {
    let mut tally = Tally::new(limits);
    for item in entries {
        tally.count(&item)?;
        names(&item.path)?;
        check_length(&item, item.path.len())?;
        if let Kind::Symlink { target } = &item.kind {
            check_target(&item, target)?;
        }
    }
    Ok(())
}

fn check_length(item: &Item, length: usize) -> Result<(), Fault> {
    if length <= MAX_PATH {
        return Ok(());
    }
    Err(Fault::Name { path: shown(&item.path), problem: "has a path that is too long" })
}

fn check_target(item: &Item, target: &[u8]) -> Result<(), Fault> {
    if !target.is_empty() && !target.contains(&0) && target.len() <= MAX_PATH {
        return Ok(());
    }
    let problem = "has a target that is empty, too long or has a NUL in it";
    Err(Fault::Name { path: shown(&item.path), problem })
}

impl<'a> View<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink, limits: Limits) -> Self {
        Self {
            sink,
            tally: Tally::new(limits),
            nodes: BTreeMap::new(),
            rules: Rules::default(),
            layer: 0,
            cleared: BTreeSet::new(),
            last: None,
            files: 0,
            steps: 0,
        }
    }

    /// Begins the next layer.
    pub(super) fn begin(&mut self, rules: Rules) {
        self.rules = rules;
        self.layer += 1;
        self.cleared.clear();
        self.last = None;
    }

    /// Applies an entry of the layer.
    pub(super) fn apply(&mut self, item: &Item, contents: &mut dyn Contents) -> Result<(), Fault> {
        self.tally.count(item)?;
        let names = names(&item.path)?;
        let Some((&name, parents)) = names.split_last() else {
            // `./`, which many archives begin with. The target's own mode is not the archive's to say.
            return match item.kind {
                Kind::Directory => Ok(()),
                _ => Err(Fault::Name { path: shown(&item.path), problem: "is where the target itself is" }),
            };
        };
        if self.rules.whiteouts {
            if names[0].starts_with(AUFS) && names != [OPAQUE] {
                return contents.skip();
            }
            if parents.iter().any(|name| name.starts_with(WHITEOUT)) {
                return Err(Fault::Name { path: shown(&item.path), problem: "is in a whiteout" });
            }
            if let Some(hidden) = name.strip_prefix(WHITEOUT) {
                return self.whiteout(item, parents, hidden, contents);
            }
        }
        let place = self.enter(item, parents, name)?;
        self.put(item, place, contents)
    }

    /// The place of `name` in the directory that `parents` lead to, which is made where it is missing.
    fn enter(&mut self, item: &Item, parents: &[&[u8]], name: &[u8]) -> Result<Place, Fault> {
        let joined = parents.join(&0);
        let mut place = match &self.last {
            Some(last) if last.names == joined => last.place.clone(),
            _ => {
                let place = self.resolve(item, parents)?;
                self.make(&place)?;
                self.last = Some(Last { names: joined, place: place.clone() });
                place
            }
        };
        place.push(name);
        check_length(item, place.length())?;
        Ok(place)
    }

    /// Where a path leads: links are followed, absolute ones from the top, and nothing leads further up than that.
    /// What is not there leads where it says.
    fn resolve(&mut self, item: &Item, path: &[&[u8]]) -> Result<Place, Fault> {
        let mut place = Place::top();
        let mut ahead: Vec<Vec<u8>> = path.iter().rev().map(|name| name.to_vec()).collect();
        let mut followed = 0;
        while let Some(name) = ahead.pop() {
            self.steps += 1;
            let allowed = self.tally.limits.entries.saturating_mul(STEPS_PER_ENTRY);
            limit("steps to follow links", self.steps, allowed, item)?;
            match &name[..] {
                b"" | b"." => continue,
                b".." => {
                    place.pop();
                    continue;
                }
                name => place.push(name),
            }
            match self.nodes.get(&place).map(|node| &node.kind) {
                Some(NodeKind::File { .. }) => return Err(misplaced(item, "is below a file", &place)),
                Some(NodeKind::Symlink { target }) => {
                    followed += 1;
                    if followed > MAX_FOLLOWED {
                        return Err(misplaced(item, "is below a circle of links", &place));
                    }
                    place = if target.starts_with(b"/") { Place::top() } else { place.parent() };
                    ahead.extend(target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
                }
                Some(NodeKind::Directory) | None => {}
            }
            if place.length() > MAX_PATH {
                return Err(misplaced(item, "has a path that is too long", &place));
            }
        }
        Ok(place)
    }

    /// Makes the directories on the way to `place`, and itself one, and marks them as this layer's.
    fn make(&mut self, place: &Place) -> Result<(), Fault> {
        let mut missing = Vec::new();
        for above in place.upwards() {
            match self.nodes.get_mut(&above) {
                Some(node) if node.layer == self.layer => break,
                Some(node) => node.layer = self.layer,
                None => missing.push(above),
            }
        }
        while let Some(above) = missing.pop() {
            self.sink.directory(&above, DIRECTORY_MODE)?;
            self.insert(above, DIRECTORY_MODE, NodeKind::Directory);
        }
        Ok(())
    }

    fn insert(&mut self, place: Place, mode: u32, kind: NodeKind) {
        self.nodes.insert(place, Node { mode, kind, layer: self.layer });
    }

    /// Puts an entry in its place, instead of what may be there.
    fn put(&mut self, item: &Item, place: Place, contents: &mut dyn Contents) -> Result<(), Fault> {
        // Neither set-uid, set-gid nor sticky: whoever unpacks has not been asked.
        let mode = item.mode & 0o777;
        if let Some(node) = self.nodes.get_mut(&place) {
            if matches!((&item.kind, &node.kind), (Kind::Directory, NodeKind::Directory)) {
                node.layer = self.layer;
                if node.mode != mode {
                    node.mode = mode;
                    self.sink.set_mode(&place, mode | 0o700)?;
                }
                return Ok(());
            }
            if self.rules.unique {
                return Err(misplaced(item, "is there already", &place));
            }
        }
        match &item.kind {
            Kind::HardLink { original } => return self.hard_link(item, place, original),
            Kind::Directory => {
                self.remove(&place)?;
                self.sink.directory(&place, mode | 0o700)?;
                self.insert(place, mode, NodeKind::Directory);
            }
            Kind::File { size } => {
                self.remove(&place)?;
                let number = self.files;
                self.files = number.checked_add(1).ok_or_else(|| misplaced(item, "is one file too many", &place))?;
                self.sink.file(&place, mode, number, contents)?;
                self.insert(place, mode, NodeKind::File { size: *size, number });
            }
            Kind::Symlink { target } => {
                check_target(item, target)?;
                self.remove(&place)?;
                self.sink.symlink(&place, target)?;
                self.insert(place, 0o777, NodeKind::Symlink { target: target[..].into() });
            }
        }
        Ok(())
    }

    /// A hard link to what is at `original`, which may be a symbolic link itself: that is not followed.
    fn hard_link(&mut self, item: &Item, place: Place, original: &[u8]) -> Result<(), Fault> {
        let path: Vec<&[u8]> =
            original.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")).collect();
        let missing = |place: &Place| misplaced(item, "is a hard link to what is no file of the image", place);
        let Some((&name, parents)) = path.split_last() else { return Err(missing(&Place::top())) };
        let mut from = self.resolve(item, parents)?;
        from.push(name);
        if name == b".." || name.contains(&0) || from == place {
            return Err(missing(&from));
        }
        self.remove(&place)?;
        let Some(Node { mode, kind: kind @ (NodeKind::File { .. } | NodeKind::Symlink { .. }), .. }) =
            self.nodes.get(&from).cloned()
        else {
            return Err(missing(&from));
        };
        self.sink.hard_link(&place, &from)?;
        self.insert(place, mode, kind);
        Ok(())
    }

    /// Hides what lower layers have (image-spec v1.1.1, layer.md, "Whiteouts"): `hidden` in the directory that
    /// `parents` lead to, or all in it. What this layer has itself stays, before and after.
    fn whiteout(
        &mut self,
        item: &Item,
        parents: &[&[u8]],
        hidden: &[u8],
        contents: &mut dyn Contents,
    ) -> Result<(), Fault> {
        if !matches!(item.kind, Kind::File { .. }) {
            return Err(Fault::Name { path: shown(&item.path), problem: "has the name of a whiteout and is no file" });
        }
        contents.skip()?;
        let mut place = match self.resolve(item, parents) {
            // Umoci hides what was in a directory even where it has become a file, in either order.
            Err(Fault::Place { .. }) => return Ok(()),
            place => place?,
        };
        if Some(hidden) == OPAQUE.strip_prefix(WHITEOUT) {
            return self.hide_below(&place);
        }
        if matches!(hidden, b"" | b"." | b"..") {
            return Err(Fault::Name { path: shown(&item.path), problem: "is a whiteout of nothing" });
        }
        place.push(hidden);
        match self.nodes.get(&place) {
            Some(node) if node.layer < self.layer => self.remove(&place),
            Some(Node { kind: NodeKind::Directory, .. }) => self.hide_below(&place),
            Some(_) | None => Ok(()),
        }
    }

    /// Hides what lower layers have below `place`.
    fn hide_below(&mut self, place: &Place) -> Result<(), Fault> {
        let is_directory = |place| matches!(self.nodes.get(place), Some(Node { kind: NodeKind::Directory, .. }));
        if !place.is_top() && !is_directory(place) || !self.cleared.insert(place.clone()) {
            return Ok(());
        }
        let mut at = place.clone();
        let end = if place.is_top() { Bound::Unbounded } else { Bound::Excluded(place.after()) };
        while let Some((below, node)) = self.nodes.range((Bound::Excluded(at), end.clone())).next() {
            at = below.clone();
            if node.layer < self.layer {
                self.remove(&at)?;
            }
        }
        Ok(())
    }

    /// Removes what is at `place` and below it, if anything is.
    fn remove(&mut self, place: &Place) -> Result<(), Fault> {
        if !self.nodes.contains_key(place) {
            return Ok(());
        }
        self.last = None;
        let range = (Bound::Included(place.clone()), Bound::Excluded(place.after()));
        while let Some((last, node)) = self.nodes.range(range.clone()).next_back() {
            let last = last.clone();
            self.sink.remove(&last, matches!(node.kind, NodeKind::Directory))?;
            self.nodes.remove(&last);
        }
        Ok(())
    }

    /// Says that there are no more layers, and what is where now, in order.
    pub(super) fn finish(self) -> Result<BTreeMap<Place, Node>, Fault> {
        // The deepest first: once a directory has its mode, what is in it may be out of reach.
        for (place, node) in self.nodes.iter().rev() {
            if matches!(node.kind, NodeKind::Directory) && is_closed(node.mode) {
                self.sink.set_mode(place, node.mode)?;
            }
        }
        Ok(self.nodes)
    }
}

fn limit(what: &'static str, found: u64, limit: u64, item: &Item) -> Result<(), Fault> {
    if found > limit { Err(Fault::Limit { what, path: shown(&item.path), limit }) } else { Ok(()) }
}

fn misplaced(item: &Item, problem: &'static str, at: &Place) -> Fault {
    Fault::Place { path: shown(&item.path), problem, at: at.to_string() }
}
