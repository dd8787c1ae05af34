//! What is compared: a bundle that is read by its index, another image that has been read whole, a directory.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::Error;
use crate::bundle::{Indexed, Piece};
use crate::content::{self, ErrorKind, Open, OpenRange};
use crate::digest::Digest;
use crate::manifest::RawManifest;
use crate::pack::{self, MemberDigests, PackOptions, Selection, Tree, look, scan};
use crate::unpack::{Listed, Spooled, UnpackOptions, spool};

/// How much of a file of a directory is read at once, in bytes.
const STEP: u64 = 1024 * 1024;

/// One of two sides.
pub struct Side {
    /// What is there, unless what was spooled says it.
    files: Vec<Listed>,
    kind: Kind,
}

/// What finds out what is in a directory.
type Find = fn(&Path, &Selection) -> Result<Tree, pack::Error>;

enum Kind {
    Bundle { source: Box<dyn OpenRange>, bundle: Indexed },
    Image(Spooled),
    Directory { tree: Arc<Tree>, members: MemberDigests },
}

impl Side {
    /// An image: of a bundle, the index is read; any other is read whole, and kept in a temporary file.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it should be.
    pub async fn image(
        source: Box<dyn OpenRange>,
        manifest: &RawManifest,
        options: &UnpackOptions,
    ) -> Result<Self, Error> {
        if let Some(bundle) = Indexed::open(&*source, manifest).await? {
            let files = bundle.entries().map(Listed::from).collect();
            return Ok(Self { files, kind: Kind::Bundle { source, bundle } });
        }
        Self::whole(&*source, manifest, options).await
    }

    /// An image, read whole even if it is a bundle, and kept in a temporary file: for who needs all of its layers anyway. Of
    /// a bundle, its index is then held against its layers.
    ///
    /// # Errors
    /// When it cannot be read, or is not what it should be.
    pub async fn whole(source: &dyn Open, manifest: &RawManifest, options: &UnpackOptions) -> Result<Self, Error> {
        let spooled = spool(source, manifest, None, options).await?;
        Ok(Self { files: Vec::new(), kind: Kind::Image(spooled) })
    }

    /// A directory, or a single file: what of it would go into a bundle. All of it is read and hashed.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub async fn directory(path: &Path, selection: &Selection) -> Result<Self, Error> {
        Self::tree(path, selection, scan).await
    }

    /// The same of a directory as it is: of what somebody else's image was unpacked to, links may lead out.
    ///
    /// # Errors
    /// When something in it could not be in a bundle, as a socket.
    pub async fn unpacked(path: &Path, selection: &Selection) -> Result<Self, Error> {
        Self::tree(path, selection, look).await
    }

    async fn tree(path: &Path, selection: &Selection, find: Find) -> Result<Self, Error> {
        let (path, selection) = (path.to_owned(), selection.clone());
        blocking(move || {
            let tree = find(&path, &selection)?;
            let members = tree.member_digests(PackOptions::default().threads)?;
            let files = tree.entries().map(Listed::from).collect();
            Ok(Self { files, kind: Kind::Directory { tree: Arc::new(tree), members } })
        })
        .await
    }

    /// What is there, in order.
    #[must_use]
    pub fn files(&self) -> &[Listed] {
        match &self.kind {
            Kind::Image(spooled) => spooled.files(),
            Kind::Bundle { .. } | Kind::Directory { .. } => &self.files,
        }
    }

    /// The digests of the members that the file with this number is in, or would be; nothing, if it never was in any.
    pub(super) fn members_of(&self, number: usize) -> Option<Vec<Digest>> {
        match &self.kind {
            Kind::Bundle { bundle, .. } => Some(bundle.members_of(number).collect()),
            Kind::Directory { members, .. } => Some(members.of(number).to_vec()),
            Kind::Image(_) => None,
        }
    }

    /// The contents of the files with these numbers, one after the other, in pieces of at least one byte.
    pub(super) fn contents<'a>(&'a self, wanted: &[usize]) -> BoxStream<'a, Result<Piece, content::Error>> {
        match &self.kind {
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
                    let size = self.files[entry].size().unwrap_or_default();
                    (0..size).step_by(STEP as usize).map(move |offset| (entry, offset, STEP.min(size - offset)))
                });
                stream::iter(steps.collect::<Vec<_>>()).then(|step| read(Arc::clone(tree), step)).boxed()
            }
        }
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
