//! What is compared: a bundle that is read by its index, another image that has been read whole, a directory. And who reads
//! them, so that two sides take no more memory than one.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::sync::Mutex;

use super::Error;
use crate::bundle::{Indexed, Piece};
use crate::content::{self, ErrorKind, Open, OpenRange};
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::pack::{self, MemberDigests, PackOptions, Selection, Tree, look, scan};
use crate::unpack::{Listed, Spooled, UnpackOptions, spool};

/// How much of a file of a directory is read at once, in bytes.
const STEP: u64 = 1024 * 1024;

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
    Bundle { source: Box<dyn OpenRange>, bundle: Indexed },
    Image(Spooled),
    Directory { tree: Arc<Tree>, members: MemberDigests },
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
        if let Some(bundle) = Indexed::open(&*source, manifest).await? {
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
        Ok(Side(Kind::Image(spool(source, manifest, None, &self.options).await?)))
    }

    /// A directory, or a single file: what of it would go into a bundle. All of it is read and hashed.
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
            let tree = find(&path, &selection)?;
            let members = tree.member_digests(PackOptions::default().threads)?;
            Ok(Side(Kind::Directory { tree: Arc::new(tree), members }))
        })
        .await
    }
}

impl Side {
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

    /// The digests of the members that the file with this number is in, or would be; nothing, if it never was in any.
    pub(super) fn members_of(&self, number: usize) -> Option<Vec<Digest>> {
        match &self.0 {
            Kind::Bundle { bundle, .. } => Some(bundle.members_of(number).collect()),
            Kind::Directory { members, .. } => Some(members.of(number).to_vec()),
            Kind::Image(_) => None,
        }
    }

    /// The contents of the files with these numbers, one after the other, in pieces of at least one byte.
    pub(super) fn contents<'a>(&'a self, wanted: &[usize]) -> BoxStream<'a, Result<Piece, content::Error>> {
        match &self.0 {
            Kind::Bundle { source, bundle } => {
                let pieces = bundle.contents(&**source, wanted);
                pieces.try_filter(|piece| std::future::ready(!piece.bytes.is_empty())).boxed()
            }
            Kind::Image(spooled) => {
                let piece = |entry| move |bytes| Piece { entry, offset: 0, bytes };
                let contents = move |entry| spooled.contents(entry).map_ok(piece(entry));
                stream::iter(wanted.to_vec()).flat_map(contents).boxed()
            }
            Kind::Directory { tree, .. } => {
                let steps = wanted.iter().flat_map(|&entry| {
                    let size = tree.entry(entry).size();
                    (0..size).step_by(STEP as usize).map(move |offset| (entry, offset, STEP.min(size - offset)))
                });
                stream::iter(steps.collect::<Vec<_>>()).then(|step| read(Arc::clone(tree), step)).boxed()
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

/// Reads a part of a file of a directory.
async fn read(tree: Arc<Tree>, (entry, offset, length): (usize, u64, u64)) -> Result<Piece, content::Error> {
    let read = blocking(move || Ok(tree.contents(entry, offset, length)?)).await;
    let bytes = read.map_err(|error| match error {
        Error::Image(error) => error,
        Error::Directory(error) => error.into(),
    })?;
    Ok(Piece { entry, offset, bytes: Bytes::from(bytes) })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
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
