//! What is compared: a bundle that is read by its index, another image that has been read whole, a directory. And who reads
//! them, so that two sides take no more memory than one.

use std::iter::{self, Peekable};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use tokio::sync::{Mutex, OnceCell};

use super::Error;
use crate::bundle::{Indexed, Piece};
use crate::content::{self, ErrorKind, Open, OpenRange, apart};
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::pack::{self, MemberDigests, PackOptions, Selection, Tree, look, scan};
use crate::unpack::{Listed, Spooled, UnpackOptions, open_bundle, spool};

/// How many bytes of files are read together, and how many files: to hand over to another thread takes longer than to read
/// a small file.
const STEP: u64 = 256 * 1024;
const FILES: usize = 128;

/// How many entries are looked up together.
const BATCH: usize = 256;

/// One of two sides, which [`Sides`] reads.
pub struct Side(Kind);

/// Reads the sides of a comparison, at once if they are asked for at once: the indexes of two bundles are fetched beside each
/// other. Of images and directories that are read whole, one waits for the other, because what is known of their entries
/// meanwhile is most of what there is in memory.
pub struct Sides {
    options: UnpackOptions,
    /// Held by who reads one whole.
    turn: Mutex<()>,
}

/// What finds out what is in a directory.
type Find = fn(&Path, &Selection) -> Result<Tree, pack::Error>;

enum Kind {
    Bundle {
        source: Box<dyn OpenRange>,
        bundle: Indexed,
    },
    Image(Arc<Spooled>),
    Directory {
        tree: Arc<Tree>,
        /// Once they are needed.
        members: OnceCell<MemberDigests>,
    },
}

impl Sides {
    /// With `options` for images that are read whole.
    #[must_use]
    pub fn new(options: UnpackOptions) -> Self {
        Self { options, turn: Mutex::new(()) }
    }

    /// An image: of a bundle, the index is read; any other is read whole, and kept in a temporary file.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it should be.
    pub async fn image(&self, source: Box<dyn OpenRange>, manifest: &RawManifest) -> Result<Side, Error> {
        if let Some(bundle) = open_bundle(&*source, manifest, self.options.limits).await? {
            return Ok(Side(Kind::Bundle { source, bundle }));
        }
        self.whole(&*source, manifest).await
    }

    /// An image, read whole even if it is a bundle, and kept in a temporary file: for who needs all of its layers anyway. Of
    /// a bundle, its index is then held against its layers.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it should be.
    pub async fn whole(&self, source: &dyn Open, manifest: &RawManifest) -> Result<Side, Error> {
        let _turn = self.turn.lock().await;
        Ok(Side(Kind::Image(Arc::new(spool(source, manifest, None, &self.options).await?))))
    }

    /// A directory, or a single file: what of it would go into a bundle. What is in its files is read when it is compared.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub async fn directory(&self, path: &Path, selection: &Selection) -> Result<Side, Error> {
        self.tree(path, selection, scan).await
    }

    /// The same of a directory as it is: of what somebody else's image was unpacked to, links may lead out.
    ///
    /// # Errors
    /// When something in it could not be in a bundle, as a socket.
    pub async fn unpacked(&self, path: &Path, selection: &Selection) -> Result<Side, Error> {
        self.tree(path, selection, look).await
    }

    async fn tree(&self, path: &Path, selection: &Selection, find: Find) -> Result<Side, Error> {
        let (path, selection) = (path.to_owned(), selection.clone());
        let _turn = self.turn.lock().await;
        blocking(move || {
            let tree = apart(|| find(&path, &selection))?;
            Ok(Side(Kind::Directory { tree: Arc::new(tree), members: OnceCell::new() }))
        })
        .await
    }
}

impl Side {
    /// Whether it is, or would be, in members whose digests say what is in them.
    pub(super) fn has_members(&self) -> bool {
        !matches!(self.0, Kind::Image(_))
    }

    /// Reads and hashes all of a directory, so that the digests of its members are known.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what it was when it was found.
    pub(super) async fn hash(&self) -> Result<(), Error> {
        let Kind::Directory { tree, members } = &self.0 else { return Ok(()) };
        let tree = Arc::clone(tree);
        let hash = || blocking(move || Ok(tree.member_digests(PackOptions::default().threads)?));
        members.get_or_try_init(hash).await.map(drop)
    }

    /// How many paths there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match &self.0 {
            Kind::Bundle { bundle, .. } => bundle.entries().len(),
            Kind::Image(spooled) => spooled.count(),
            Kind::Directory { tree, .. } => tree.entries().len(),
        }
    }

    /// What is there, in order: of that, what has these numbers.
    async fn listed(&self, numbers: Range<usize>) -> Result<Vec<Listed>, content::Error> {
        match &self.0 {
            Kind::Bundle { bundle, .. } => Ok(numbers.map(|number| Listed::from(bundle.entry(number))).collect()),
            Kind::Image(spooled) => spooled.listed(numbers).await,
            Kind::Directory { tree, .. } => Ok(numbers.map(|number| Listed::from(tree.entry(number))).collect()),
        }
    }

    /// The digests of the members that the file with this number is in, or would be; nothing, if they are not known.
    pub(super) fn members_of(&self, number: usize) -> Option<Vec<Digest>> {
        match &self.0 {
            Kind::Bundle { bundle, .. } => Some(bundle.members_of(number).collect()),
            Kind::Directory { members, .. } => Some(members.get()?.of(number).to_vec()),
            Kind::Image(_) => None,
        }
    }

    /// Whether the last member that the file with this number is in ends with the end of the archive.
    pub(super) fn ends_archive(&self, number: usize) -> bool {
        match &self.0 {
            Kind::Bundle { bundle, .. } => bundle.ends_layer(number),
            Kind::Directory { tree, .. } => number + 1 == tree.entries().len(),
            Kind::Image(_) => false,
        }
    }

    /// The contents of the files with these numbers, one after the other, in pieces of at least one byte.
    pub(super) fn contents<'a>(
        &'a self,
        wanted: impl Iterator<Item = usize> + Send + 'a,
    ) -> BoxStream<'a, Result<Piece, content::Error>> {
        match &self.0 {
            Kind::Bundle { source, bundle } => {
                let pieces = bundle.contents(&**source, &wanted.collect::<Vec<_>>());
                pieces.try_filter(|piece| std::future::ready(!piece.bytes.is_empty())).boxed()
            }
            Kind::Image(spooled) => {
                let reading = Arc::clone(spooled);
                let read =
                    move |step: &Step, out: &mut Vec<u8>| reading.read(step.entry, step.offset, step.length, out);
                pieces(wanted.map(|entry| (entry, spooled.size(entry))), read).boxed()
            }
            Kind::Directory { tree, .. } => {
                let reading = Arc::clone(tree);
                let read = move |step: &Step, out: &mut Vec<u8>| {
                    Ok(reading.read_contents(step.entry, step.offset, step.length, out)?)
                };
                pieces(wanted.map(|entry| (entry, tree.entry(entry).size())), read).boxed()
            }
        }
    }
}

/// Who goes through what is there on a side, in order.
pub(super) struct Walk<'a> {
    side: &'a Side,
    /// Some of it, from this number on.
    at_hand: (usize, Vec<Listed>),
}

impl<'a> Walk<'a> {
    pub(super) fn new(side: &'a Side) -> Self {
        Self { side, at_hand: (0, Vec::new()) }
    }

    /// What has this number, if one is given.
    ///
    /// # Errors
    /// When a temporary file cannot be read.
    pub(super) async fn find(&mut self, number: Option<usize>) -> Result<Option<&Listed>, content::Error> {
        let Some(number) = number else { return Ok(None) };
        let (first, listed) = &self.at_hand;
        if !(*first..first + listed.len()).contains(&number) {
            let end = (number + BATCH).min(self.side.count());
            self.at_hand = (number, self.side.listed(number..end).await?);
        }
        let (first, listed) = &self.at_hand;
        Ok(listed.get(number - first))
    }
}

/// A part of a file that is read: in which entry it is, where it begins there, and how many bytes it has.
struct Step {
    entry: usize,
    offset: u64,
    length: u64,
}

/// The contents of files, each given by its number and size, as `read` appends them to what it is given.
fn pieces<'a>(
    files: impl Iterator<Item = (usize, u64)> + Send + 'a,
    read: impl Fn(&Step, &mut Vec<u8>) -> Result<(), content::Error> + Clone + Send + 'static,
) -> impl Stream<Item = Result<Piece, content::Error>> + Send + 'a {
    let steps = files.flat_map(|(entry, size)| {
        let length = move |offset| STEP.min(size - offset);
        (0..size).step_by(STEP as usize).map(move |offset| Step { entry, offset, length: length(offset) })
    });
    let mut steps = steps.peekable();
    stream::iter(iter::from_fn(move || batch(&mut steps)))
        .map(move |batch| {
            let read = read.clone();
            blocking(move || read_all(&batch, read))
        })
        .buffered(1)
        .map_ok(|pieces| stream::iter(pieces.into_iter().map(Ok)))
        .try_flatten()
}

/// The next steps that are read together: at least one, if there is any.
fn batch(steps: &mut Peekable<impl Iterator<Item = Step>>) -> Option<Vec<Step>> {
    let (mut batch, mut left) = (Vec::new(), STEP);
    while batch.len() < FILES
        && let Some(step) = steps.next_if(|step| step.length <= left)
    {
        left -= step.length;
        batch.push(step);
    }
    (!batch.is_empty()).then_some(batch)
}

fn read_all(
    batch: &[Step],
    read: impl Fn(&Step, &mut Vec<u8>) -> Result<(), content::Error>,
) -> Result<Vec<Piece>, content::Error> {
    // One byte more is asked for, to see where a file ends.
    let length: u64 = batch.iter().map(|step| step.length).sum();
    let mut bytes = Vec::with_capacity(length as usize + 1);
    batch.iter().try_for_each(|step| read(step, &mut bytes))?;
    let mut bytes = Bytes::from(bytes);
    let piece =
        |step: &Step| Piece { entry: step.entry, offset: step.offset, bytes: bytes.split_to(step.length as usize) };
    Ok(batch.iter().map(piece).collect())
}

async fn blocking<T: Send + 'static, E: From<content::Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| content::Error::new(ErrorKind::Local, error))?
}

#[cfg(test)]
mod tests {
    use futures::future::{BoxFuture, FutureExt};
    use futures::poll;

    use super::*;

    #[tokio::test]
    async fn a_side_that_is_read_whole_has_the_turn_until_it_is_read_and_an_index_needs_none() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.txt"), "alpha\n").unwrap();
        let (bundle, all) = (pack::pack(folder.path()).unwrap(), Selection::default());
        let sides = Sides::new(UnpackOptions::default());
        let (path, manifest) = (folder.path(), bundle.raw_manifest().clone());
        let read: [BoxFuture<'_, Result<Side, Error>>; 3] = [
            sides.whole(&bundle, &manifest).boxed(),
            sides.directory(path, &all).boxed(),
            sides.unpacked(path, &all).boxed(),
        ];
        for mut read in read {
            assert!(poll!(&mut read).is_pending());
            assert!(sides.turn.try_lock().is_err());
            assert_eq!(read.await.unwrap().count(), 1);
            assert!(sides.turn.try_lock().is_ok());
        }
        let _others = sides.turn.lock().await;
        let image = pack::pack(path).unwrap();
        assert_eq!(sides.image(Box::new(image), &manifest).await.unwrap().count(), 1);
    }
}
