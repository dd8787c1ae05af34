//! Unpacking: a bundle, or any other OCI or Docker image, becomes a directory; or a list of what would be in it.
//!
//! [`unpack`] fills a hidden directory beside the target and renames it once everything has been verified: all or
//! nothing. [`list`] reads the same way and writes nothing; [`unpack_part`] makes a part, and [`spool`]
//! keeps the contents without making files.
//!
//! A blob's bytes go one way: `feed` brings them, verified, to a thread of their own; `chunks` shares what they
//! decompress to; `bundle` and `members`, or `layer` and `archive`, make items of it; `view` decides what is where; and `writer` makes it so, small files on several threads
//! (`writers`). Which image to unpack, and where its blobs come from, is left to the caller.

mod archive;
mod bundle;
mod chunks;
mod diff_id;
mod error;
mod feed;
mod image;
mod include;
mod item;
mod layer;
mod members;
mod part;
mod picking;
mod place;
mod spool;
mod staging;
mod update;
mod view;
mod writer;
mod writers;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::thread::available_parallelism;

use futures::future::{Either, select};

pub use error::{Error, Fault};
pub use image::has_archive;
pub use include::Include;
pub use part::unpack_part;
pub use spool::{Spooled, spool};
pub use staging::check_vacant;
pub use update::{Doing, LocalChange, Outcome, States, UpdateOptions, Updated, are_within, update};

use self::feed::Feed;
use self::image::{Form, Image};
use self::item::{Item, Nowhere, Sink};
use self::place::{Place, names};
use self::staging::Staging;
use self::view::{Node, NodeKind, Rules, View};
use self::writer::Writer;
use self::writers::Writers;
use crate::bundle::{Entry, Indexed, Kind, LayerIndex, Links};
use crate::content::{self, ErrorKind, Observer, Open, OpenRange};
use crate::manifest::{Descriptor, RawManifest};

/// How much an image may unpack to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many entries its archives may have together.
    pub entries: u64,
    /// How many bytes its files may have together, holes among them.
    pub bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 1_000_000, bytes: 64 * 1024 * 1024 * 1024 }
    }
}

/// How to unpack.
#[derive(Clone)]
pub struct UnpackOptions {
    /// How much is too much.
    pub limits: Limits,
    /// Who sees how it goes on.
    pub observer: Arc<dyn Observer>,
    /// Where it is kept what has been unpacked where, so that it can be [updated](update) later; if nowhere, it cannot.
    pub states: Option<States>,
}

impl Default for UnpackOptions {
    fn default() -> Self {
        Self { limits: Limits::default(), observer: Arc::new(()), states: None }
    }
}

/// What was unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// The directory.
    pub directory: PathBuf,
    /// How many regular files it has.
    pub files: u64,
    /// How many bytes they have together.
    pub bytes: u64,
    /// How many bytes were read from the source, not counting the manifest.
    pub bytes_fetched: u64,
}

/// What is at a path of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The path, relative to the top.
    pub path: PathBuf,
    /// The permission bits.
    pub mode: u32,
    /// What is there.
    pub kind: ListedKind,
}

/// What is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// How many bytes it has.
        size: u64,
    },
    /// A symbolic link.
    Symlink {
        /// What it points to, verbatim.
        target: PathBuf,
    },
}

impl Listed {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == ListedKind::Directory
    }

    /// How many bytes it has, if it is a file.
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match self.kind {
            ListedKind::File { size } => Some(size),
            ListedKind::Directory | ListedKind::Symlink { .. } => None,
        }
    }
}

impl From<&Entry> for Listed {
    fn from(entry: &Entry) -> Self {
        let kind = match entry.kind() {
            Kind::Directory => ListedKind::Directory,
            Kind::File { size, .. } => ListedKind::File { size: *size },
            Kind::Symlink { target } => ListedKind::Symlink { target: target.into() },
        };
        Self { path: entry.path().into(), mode: entry.mode(), kind }
    }
}

/// Unpacks the image that `manifest` describes to `target`, which must not exist or be an empty directory; directories
/// on the way to it are made. Layers are applied as image-spec v1.1.1, layer.md, says; modes are set exactly, set-uid,
/// set-gid and sticky bits are dropped, files belong to whoever runs this, and their times are now.
///
/// Dropping the future stops the work; what was written is removed by the thread that wrote it, for which the runtime
/// waits when it is dropped.
///
/// # Errors
/// [`Error`] says what is wrong, naming the entry; nothing is left at the target or beside it.
pub async fn unpack(
    source: &dyn Open,
    manifest: &RawManifest,
    target: &Path,
    options: &UnpackOptions,
) -> Result<Unpacked, Error> {
    let (target, states, digest) = (target.to_owned(), options.states.clone(), manifest.digest());
    run(source, manifest, options, move |image, limits, feed| {
        let mut held = update::hold_if_possible(states.as_ref(), &target)?;
        let staging = Staging::new(&target, held.as_mut())?;
        let writer = Writer::new(staging.open()?).map_err(Error::local("make files beside", &target))?;
        let writer = if held.is_some() { writer.noting() } else { writer };
        let another = writer.another().map_err(Error::local("make files beside", &target))?;
        let mut writers = Writers::new(another, available_parallelism().unwrap_or(NonZeroUsize::MIN));
        let all = read(image, limits, feed, &mut writers)?;
        writers.finish()?;
        feed.check().map_err(Error::local("finish", &target))?;
        let done = unpacked(target, &all.nodes, |_| true, image.size());
        match held {
            Some(held) => update::publish(staging, &held, digest, all, writer)?,
            None => staging.publish()?,
        }
        Ok(done)
    })
    .await
}

/// What has become of a target, in which these of the nodes are.
fn unpacked(
    directory: PathBuf,
    nodes: &BTreeMap<Place, Node>,
    is_there: impl Fn(&Place) -> bool,
    bytes_fetched: u64,
) -> Unpacked {
    let (mut files, mut bytes) = (0, 0);
    for (place, node) in nodes {
        if let NodeKind::File { size, .. } = node.kind
            && is_there(place)
        {
            files += 1;
            bytes += size;
        }
    }
    Unpacked { directory, files, bytes, bytes_fetched }
}

/// What [`unpack`] would make, in order: depth-first, names byte by byte. Everything is read and verified as it is there.
///
/// # Errors
/// Those of [`unpack`], but for what only a file system can find wrong.
pub async fn list(source: &dyn Open, manifest: &RawManifest, options: &UnpackOptions) -> Result<Vec<Listed>, Error> {
    let all = run(source, manifest, options, |image, limits, feed| read(image, limits, feed, &mut Nowhere)).await?;
    Ok(all.nodes.into_iter().map(|(place, node)| listed(&place, node)).collect())
}

fn listed(place: &Place, node: Node) -> Listed {
    let kind = match node.kind {
        NodeKind::Directory => ListedKind::Directory,
        NodeKind::File { size, .. } => ListedKind::File { size },
        NodeKind::Symlink { target } => ListedKind::Symlink { target: place::path_of(&target) },
    };
    Listed { path: place.to_path(), mode: node.mode, kind }
}

/// Reads the index of a bundle, and sees that all of it may be unpacked, as far as that says; nothing, if the image is none.
///
/// # Errors
/// Those of [`Indexed::open`], and whatever of those of [`unpack`] shows in the index, a limit that is exceeded among it.
pub async fn open_bundle(
    source: &dyn OpenRange,
    manifest: &RawManifest,
    limits: Limits,
) -> Result<Option<Indexed>, Error> {
    let Some(bundle) = Indexed::open(source, manifest).await? else { return Ok(None) };
    let check = move || view::check(bundle.entries().map(Item::from), limits).map(|()| bundle);
    let checked = tokio::task::spawn_blocking(check).await;
    Ok(Some(checked.map_err(|error| content::Error::new(ErrorKind::Local, error))??))
}

/// Runs `work` on a thread of its own, and feeds it the image's layers. The first of them is under way while the
/// configuration is still read, which saves a round trip: as much of it waits as the channel holds.
async fn run<T: Send + 'static>(
    source: &dyn Open,
    manifest: &RawManifest,
    options: &UnpackOptions,
    work: impl FnOnce(&Image, Limits, &mut Feed) -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let blobs: Vec<Descriptor> = image::layers(manifest)?.into_iter().map(|(_, layer)| layer.clone()).collect();
    let (sender, mut feed, _stop) = feed::channel();
    let limits = options.limits;
    let working = pin!(async move {
        let image = image::inspect(source, manifest).await?;
        let worker = tokio::task::spawn_blocking(move || work(&image, limits, &mut feed));
        worker.await.map_err(|error| content::Error::new(ErrorKind::Local, error))?
    });
    let feeding = pin!(feed::feed(source, &blobs, &*options.observer, sender));
    match select(working, feeding).await {
        // Without an error, it has read the end of the last layer: nothing is left to be fed but what observers are told.
        Either::Left((Ok(done), feeding)) => feeding.await.map(|()| done).map_err(Error::from),
        Either::Left((Err(error), _)) => Err(error),
        Either::Right((outcome, working)) => {
            // If the source failed, what that did to the work is no error of its own; but what was written is gone then.
            let done = working.await;
            outcome?;
            done
        }
    }
}

/// What layers have come to.
struct Contents {
    nodes: BTreeMap<Place, Node>,
    /// Of a bundle, the index of each layer.
    indexes: Vec<LayerIndex>,
}

/// Reads all layers, the lowest first, and makes what comes out in `sink`.
fn read(image: &Image, limits: Limits, feed: &mut Feed, sink: &mut dyn Sink) -> Result<Contents, Error> {
    let mut view = View::new(sink, limits);
    let mut indexes = Vec::new();
    let mut links = Links::default();
    for layer in &image.layers {
        let fault = |fault| Error::Layer { layer: layer.descriptor.digest, fault };
        view.begin(Rules {
            whiteouts: matches!(layer.form, Form::Changeset { .. }),
            unique: image.is_bundle() || matches!(layer.form, Form::File { .. }),
        });
        match &layer.form {
            Form::Bundle { index, diff_id } => {
                bundle::read(feed, index, *diff_id, &mut links, &mut view).map(|bytes| {
                    indexes.push(LayerIndex { layer: layer.descriptor.clone(), index: *index, bytes });
                })
            }
            Form::Changeset { diff_id } => layer::read(feed, &[], *diff_id, limits, &mut view),
            Form::Directory { title } => {
                names(title.as_bytes()).and_then(|within| layer::read(feed, &within, None, limits, &mut view))
            }
            Form::File { title } => layer::read_file(feed, title, layer.descriptor.size, &mut view),
        }
        .map_err(fault)?;
    }
    if image.is_bundle() {
        links.check()?;
    } else {
        indexes.clear();
    }
    Ok(Contents { nodes: view.finish()?, indexes })
}
