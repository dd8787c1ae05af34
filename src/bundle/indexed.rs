//! A bundle of which only what is needed is read: its indexes, and then the members that hold it.
//!
//! Everything is held against the manifest's digest: the sections by their digests in its annotations, each member by its
//! digest in the member table, and what is in a member by the entry list. What other members say of the same entries, a
//! reader of some cannot know; whoever reads the whole layer does.

use std::cmp::Ordering;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};

use super::annotation;
use super::body::Budget;
use super::entry::{Entry, Kind};
use super::index::{Index, IndexError};
use super::links::{Escape, Links};
use super::order::{Last, compare_paths};
use super::part::Layer;
pub use super::part::{LayerIndex, Piece, ReadContents};
use crate::content::{self, ErrorKind, OpenRange, read_config};
use crate::digest::Digest;
use crate::manifest::{Descriptor, ImageConfig, Manifest, RawManifest, media_type};

/// How many bytes of a layer are asked for at once, at most: two of the largest members that nothing compresses.
const MAX_RANGE: u64 = 9 * 256 * 1024;
/// How many ranges are under way at once.
const RANGES: usize = 4;
/// How long an index may be of which several are read at once: one that is as long as it may be is a large part of the memory
/// that there is, before it shows whether it is one.
const LONG_INDEX: u64 = 4 * 1024 * 1024;
/// How many members are decompressed at once.
const INFLATING: usize = 4;

/// Why a part of a bundle is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The index of a layer is wrong.
    #[error("layer {layer}: {problem}")]
    Index {
        /// The layer.
        layer: Digest,
        /// What is wrong.
        problem: IndexError,
    },
    /// A member is not what the index says.
    #[error("layer {layer}: member {member} at byte {offset} {problem}")]
    Member {
        /// The layer.
        layer: Digest,
        /// The number of the member, counted from 0.
        member: usize,
        /// Where it begins in the layer.
        offset: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A symbolic link leads out.
    #[error(transparent)]
    Escape(#[from] Escape),
}

impl From<ReadError> for content::Error {
    fn from(error: ReadError) -> Self {
        Self::new(ErrorKind::Content, error)
    }
}

/// Which member it is, of which layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberNumber {
    layer: usize,
    member: usize,
}

/// An entry: the layer that it is in, and its number there, which [`Budget`] keeps small.
#[derive(Clone, Copy, Debug)]
struct Row {
    layer: u32,
    at: u32,
}

/// A bundle, as its indexes have it.
#[derive(Debug)]
pub struct Indexed {
    layers: Vec<Arc<Layer>>,
    /// All entries, in order.
    rows: Vec<Row>,
    last: Last,
    /// How many bytes have been asked for.
    fetched: AtomicU64,
}

impl Row {
    fn place(self) -> (usize, usize) {
        (self.layer as usize, self.at as usize)
    }

    fn entry(self, layers: &[Arc<Layer>]) -> &Entry {
        let (layer, at) = self.place();
        &layers[layer].entries[at]
    }
}

impl Indexed {
    /// Reads the indexes of a bundle, with one request for each layer; nothing, if not all layers have one.
    ///
    /// # Errors
    /// [`ErrorKind::Content`] when an index is not what the manifest says, or not that of any bundle; and whatever
    /// `source` fails with.
    pub async fn open(source: &dyn OpenRange, manifest: &RawManifest) -> Result<Option<Self>, content::Error> {
        let Some((found, fetched)) = locate(source, manifest).await? else {
            tracing::debug!("* {} is no bundle with an index: its layers are read whole", manifest.digest());
            return Ok(None);
        };
        let longest = found.iter().map(|(_, index)| index.entries.length.saturating_add(index.members.length)).max();
        let at_once = if longest.is_some_and(|longest| longest > LONG_INDEX) { 1 } else { RANGES };
        let mut read = stream::iter(found).map(|(layer, index)| read_index(source, layer, index)).buffered(at_once);
        let (mut layers, mut fetched) = (Layers::default(), fetched);
        while let Some(index) = read.try_next().await? {
            fetched += index.bytes.len() as u64;
            layers.add(index)?;
        }
        Ok(Some(layers.finish(fetched)?))
    }

    /// The bundle that has these indexes, of one layer after the other, which may have been kept somewhere.
    ///
    /// # Errors
    /// When they are not those of any bundle.
    pub fn of_indexes(indexes: impl IntoIterator<Item = LayerIndex>) -> Result<Self, ReadError> {
        let mut layers = Layers::default();
        indexes.into_iter().try_for_each(|index| layers.add(index))?;
        layers.finish(0)
    }

    /// The indexes of its layers.
    pub fn indexes(&self) -> impl Iterator<Item = &LayerIndex> {
        self.layers.iter().map(|layer| &layer.source)
    }

    fn check_links(&self) -> Result<(), ReadError> {
        let mut links = Links::default();
        for entry in self.entries() {
            if let Kind::Symlink { target } = entry.kind() {
                links.insert(entry.path(), target);
            }
        }
        Ok(links.check()?)
    }

    /// All entries, in order.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.rows.iter().map(|row| row.entry(&self.layers))
    }

    /// The entry with this number.
    #[must_use]
    pub fn entry(&self, number: usize) -> &Entry {
        self.rows[number].entry(&self.layers)
    }

    /// The number of the entry at `path`, if there is one.
    pub fn find(&self, path: impl AsRef<[u8]>) -> Option<usize> {
        self.last.find(path.as_ref(), &self.rows, |row| row.entry(&self.layers).path().as_bytes())
    }

    /// How many bytes have been asked for so far, the manifest not among them.
    #[must_use]
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Relaxed)
    }

    /// The digests of the members that the entry with this number is in. Where two bundles have the same path in members of
    /// the same digests, they have the same there; with other digests, they may all the same.
    pub fn members_of(&self, entry: usize) -> impl ExactSizeIterator<Item = Digest> {
        let (layer, at) = self.rows[entry].place();
        let layer = &self.layers[layer];
        layer.members[layer.members_of(at)].iter().map(|member| member.digest)
    }

    /// Whether the entry with this number is the last of its layer: its last member has the end of the archive as well.
    #[must_use]
    pub fn ends_layer(&self, entry: usize) -> bool {
        let (layer, at) = self.rows[entry].place();
        let layer = &self.layers[layer];
        layer.members_of(at).end == layer.members.len()
    }

    /// The members that the entry with this number is in.
    pub fn members_with(&self, entry: usize) -> impl ExactSizeIterator<Item = MemberNumber> {
        let (layer, at) = self.rows[entry].place();
        self.layers[layer].members_of(at).map(move |member| MemberNumber { layer, member })
    }

    /// The entries that are in a member, whole or in part.
    #[must_use]
    pub fn entries_of(&self, member: MemberNumber) -> &[Entry] {
        self.layers[member.layer].entries_of(member.member)
    }

    /// What is in a member, as [`contents`](Self::contents) yields it, if that is what `read` yields of each entry in it;
    /// the numbers in the pieces are those within the layer.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn rebuild(&self, member: MemberNumber, read: ReadContents<'_>) -> io::Result<Option<Vec<Piece>>> {
        self.layers[member.layer].pieces_from(member.member, read)
    }

    /// The contents of the entries with these numbers, each in one piece or, if it is large, in several that follow each
    /// other; of what has no contents, one piece without any. They come in the order of `wanted`.
    ///
    /// Only members that hold them are read, those that follow each other in the layer together, some ranges at once;
    /// each is verified before anything of it comes. `source` is what the bundle was opened with.
    pub fn contents<'a>(
        &'a self,
        source: &'a dyn OpenRange,
        wanted: &[usize],
    ) -> impl Stream<Item = Result<Piece, content::Error>> + Send + 'a {
        self.contents_without(source, wanted, |_| false)
    }

    /// The same, but for what is in the members that `is_known`.
    pub fn contents_without<'a>(
        &'a self,
        source: &'a dyn OpenRange,
        wanted: &[usize],
        is_known: impl Fn(MemberNumber) -> bool,
    ) -> impl Stream<Item = Result<Piece, content::Error>> + Send + 'a {
        let mut visits = self.visits(wanted);
        visits.retain(|&Visit { layer, member, .. }| !is_known(MemberNumber { layer, member }));
        stream::iter(join(visits, self))
            .map(move |range| self.fetch(source, range))
            .buffered(RANGES)
            .map_ok(|members| stream::iter(members.into_iter().map(Ok)))
            .try_flatten()
            .map_ok(Fetched::open)
            .try_buffered(INFLATING)
            .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
            .try_flatten()
    }

    /// Which members to read, in order, and what is wanted of each.
    fn visits(&self, wanted: &[usize]) -> Vec<Visit> {
        let mut visits: Vec<Visit> = Vec::new();
        for &number in wanted {
            let (layer, at) = self.rows[number].place();
            for member in self.layers[layer].members_of(at) {
                match visits.last_mut() {
                    Some(last) if (last.layer, last.member) == (layer, member) => last.entries.push((number, at)),
                    _ => visits.push(Visit { layer, member, entries: vec![(number, at)] }),
                }
            }
        }
        visits
    }

    /// Reads members that follow each other.
    async fn fetch(&self, source: &dyn OpenRange, visits: Vec<Visit>) -> Result<Vec<Fetched>, content::Error> {
        let range = self.range(&visits);
        // There is at least one, and they are all in the same layer.
        let layer = &self.layers[visits[0].layer];
        let length = range.end - range.start;
        let mut bytes = source.read_range_unverified(&layer.descriptor, range.start, length).await?;
        self.fetched.fetch_add(length, Relaxed);
        let cut = |visit: Visit| {
            let gzip = bytes.split_to(layer.members[visit.member].size as usize);
            Fetched { layer: Arc::clone(layer), visit, gzip }
        };
        Ok(visits.into_iter().map(cut).collect())
    }

    /// Where members that follow each other lie.
    fn range(&self, visits: &[Visit]) -> Range<u64> {
        let place = |visit: &Visit| {
            let (layer, member) = (&self.layers[visit.layer], visit.member);
            layer.offsets[member]..layer.offsets[member] + layer.members[member].size
        };
        match (visits.first(), visits.last()) {
            (Some(first), Some(last)) => place(first).start..place(last).end,
            _ => 0..0,
        }
    }
}

/// A member that is read, and the entries that are wanted of it: the number of each in the bundle, and in the layer.
#[derive(Debug)]
struct Visit {
    layer: usize,
    member: usize,
    entries: Vec<(usize, usize)>,
}

/// Puts visits together that can be read at once.
fn join(visits: Vec<Visit>, bundle: &Indexed) -> Vec<Vec<Visit>> {
    let mut ranges: Vec<Vec<Visit>> = Vec::new();
    let mut filled = 0;
    for visit in visits {
        let size = bundle.layers[visit.layer].members[visit.member].size;
        let follows = |last: &Visit| last.layer == visit.layer && last.member + 1 == visit.member;
        match ranges.last_mut() {
            Some(range) if filled + size <= MAX_RANGE && range.last().is_some_and(follows) => {
                filled += size;
                range.push(visit);
            }
            _ => {
                filled = size;
                ranges.push(vec![visit]);
            }
        }
    }
    ranges
}

/// A member's bytes, not looked at yet.
struct Fetched {
    layer: Arc<Layer>,
    visit: Visit,
    gzip: Bytes,
}

impl Fetched {
    /// What is wanted of it, on a thread that may take its time.
    async fn open(self) -> Result<Vec<Piece>, content::Error> {
        let opened = tokio::task::spawn_blocking(move || self.pieces()).await;
        Ok(opened.map_err(|error| content::Error::new(ErrorKind::Local, error))??)
    }

    fn pieces(self) -> Result<Vec<Piece>, ReadError> {
        let Self { layer, visit: Visit { member, entries, .. }, gzip } = self;
        let pieces = layer.pieces(member, &gzip).map_err(|problem| ReadError::Member {
            layer: layer.descriptor.digest,
            member,
            offset: layer.offsets[member],
            problem,
        })?;
        let first = pieces.first().map_or(0, |piece| piece.entry);
        let wanted = |(number, at): (usize, usize)| Some(Piece { entry: number, ..pieces.get(at - first)?.clone() });
        Ok(entries.into_iter().filter_map(wanted).collect())
    }
}

/// The layers of a bundle, as they are decoded, and how much they take: together, no more than a single one may. That
/// they do not all say the same shows only in the end.
#[derive(Default)]
struct Layers {
    decoded: Vec<Arc<Layer>>,
    budget: Budget,
}

impl Layers {
    fn add(&mut self, index: LayerIndex) -> Result<(), ReadError> {
        let digest = index.layer.digest;
        let wrong = |problem| ReadError::Index { layer: digest, problem };
        let layer = Layer::decode(index).map_err(wrong)?;
        layer.entries.iter().for_each(|entry| self.budget.take(entry));
        self.budget.take_members(layer.members.len());
        self.budget.check().map_err(wrong)?;
        self.decoded.push(Arc::new(layer));
        Ok(())
    }

    fn finish(self, fetched: u64) -> Result<Indexed, ReadError> {
        let rows = in_order(&self.decoded).map_err(|(layer, problem)| ReadError::Index { layer, problem })?;
        let bundle = Indexed { layers: self.decoded, rows, last: Last::default(), fetched: fetched.into() };
        bundle.check_links()?;
        Ok(bundle)
    }
}

async fn read_index(source: &dyn OpenRange, layer: Descriptor, index: Index) -> Result<LayerIndex, content::Error> {
    let length = index.entries.length + index.members.length;
    let bytes = source.read_range_unverified(&layer, index.entries.offset, length).await?;
    Ok(LayerIndex { layer, index, bytes })
}

/// The layers of an image and where their indexes are, if all have one, and how many bytes it took to find out.
async fn locate(
    source: &dyn OpenRange,
    manifest: &RawManifest,
) -> Result<Option<(Vec<(Descriptor, Index)>, u64)>, content::Error> {
    let Manifest::Image(image) = manifest.manifest() else { return Ok(None) };
    // Schema 2 has no annotations: there, labels of the configuration stand for them.
    let has_labels =
        manifest.media_type() == media_type::DOCKER_MANIFEST && media_type::is_image_config(&image.config.media_type);
    let config = if has_labels { Some(read_config(source, image).await?) } else { None };
    let fetched = config.as_ref().map_or(0, |_| image.config.size);
    let labels = config.as_ref().and_then(ImageConfig::labels);
    let mut found = Vec::new();
    for (number, layer) in image.layers.iter().enumerate() {
        let annotations = annotation::of_layer(manifest, number, layer, labels);
        let index = Index::of_layer(&annotations, layer.size);
        let Some(index) = index.map_err(|problem| ReadError::Index { layer: layer.digest, problem })? else {
            return Ok(None);
        };
        found.push((layer.clone(), index));
    }
    Ok((!found.is_empty()).then_some((found, fetched)))
}

/// The entries of all layers, in order. A directory that several have counts once; nothing else may be in two.
fn in_order(layers: &[Arc<Layer>]) -> Result<Vec<Row>, (Digest, IndexError)> {
    let numbers = |(number, layer): (usize, &Arc<Layer>)| {
        (0..layer.entries.len()).map(move |at| Row { layer: number as u32, at: at as u32 })
    };
    let mut rows = Vec::with_capacity(layers.iter().map(|layer| layer.entries.len()).sum());
    rows.extend(layers.iter().enumerate().flat_map(numbers));
    if layers.len() == 1 {
        return Ok(rows);
    }
    let order = |a: &Row, b: &Row| compare_paths(a.entry(layers).path(), b.entry(layers).path());
    rows.sort_by(order);
    for pair in rows.windows(2) {
        let [a, b] = [pair[0].entry(layers), pair[1].entry(layers)];
        if a.path() == b.path() && (a != b || !matches!(a.kind(), Kind::Directory)) {
            return Err((layers[pair[1].place().0].descriptor.digest, IndexError::Twice(a.path().to_owned())));
        }
    }
    rows.dedup_by(|a, b| order(a, b) == Ordering::Equal);
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::{END_OF_ARCHIVE, IndexBuilder, Place, plan_members};
    use crate::manifest::media_type;

    /// The index of a layer with these entries, of which nobody will read the members.
    fn index(entries: &[Entry]) -> LayerIndex {
        let (mut builder, mut size, digest) = (IndexBuilder::default(), 0, Digest::sha256(b""));
        let plans = plan_members(entries.iter());
        for (number, plan) in plans.iter().enumerate() {
            for (nth, entry) in entries[plan.entries.clone()].iter().enumerate().filter(|_| plan.begins()) {
                builder.entry(entry, if nth == 0 { Place::Begins } else { Place::Continues });
            }
            let end = if number + 1 == plans.len() { END_OF_ARCHIVE.len() as u64 } else { 0 };
            builder.member(20, plan.size() + end, &digest);
            size += 20;
        }
        let (bytes, index) = builder.finish(size).unwrap();
        let size = size + bytes.len() as u64;
        LayerIndex { layer: Descriptor::new(media_type::OCI_LAYER_GZIP, digest, size), index, bytes: bytes.into() }
    }

    #[test]
    fn several_layers_take_no_more_memory_than_one_may() {
        let link = |path: String| Entry::new(path, Kind::Symlink { target: "t".repeat(4000) }).unwrap();
        let layer = |name: &str| index(&(0..16_000).map(|row| link(format!("{name}{row:05}"))).collect::<Vec<_>>());
        // 64 million bytes each.
        let (a, b) = (layer("a"), layer("b"));
        assert_eq!(Indexed::of_indexes([a.clone(), b.clone()]).unwrap().entries().len(), 32_000);
        // That two are the same shows only in the end.
        let found = Indexed::of_indexes([a, b.clone(), b]).unwrap_err();
        assert!(matches!(found, ReadError::Index { problem: IndexError::TooMany, .. }), "{found}");
    }

    #[test]
    fn members_of_large_files_count_in_all_layers_together() {
        let layer = index(&[Entry::new("f", Kind::File { size: 1 << 40, executable: false }).unwrap()]);
        let found = Indexed::of_indexes([layer.clone(), layer]).unwrap_err();
        assert!(matches!(found, ReadError::Index { problem: IndexError::TooMany, .. }), "{found}");
    }
}
