//! Unpacking a part: of a bundle only what is wanted is fetched; any other image is read whole, and only what is wanted is
//! written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bytes::Bytes;
use futures::stream::{Stream, TryStreamExt};
use tokio::sync::mpsc;

use super::error::{Error, Fault};
use super::feed::Feed;
use super::image::Image;
use super::include::Include;
use super::item::{Contents, Item, Piece, Sink};
use super::picking::{Picked, Picking, Wanted};
use super::place::Place;
use super::staging::Staging;
use super::update::{Held, hold_if_possible};
use super::view::{Node, Rules, View};
use super::writer::Writer;
use super::{Limits, UnpackOptions, Unpacked, open_bundle, read, run, unpacked};
use crate::bundle::{self, Entry, Indexed, Kind as EntryKind};
use crate::content::{self, ErrorKind, Open, OpenRange};
use crate::manifest::RawManifest;

/// How many pieces of contents may wait, of 1 MiB at most each.
pub(super) const WAITING: usize = 4;

/// Unpacks what `include` picks, and the directories that it is in, as [`unpack`](super::unpack) does. Of a bundle, only its
/// index and the members that hold that are fetched.
///
/// # Errors
/// Those of [`unpack`](super::unpack), and [`Error::NothingPicked`].
pub async fn unpack_part(
    source: &dyn OpenRange,
    manifest: &RawManifest,
    target: &Path,
    include: &Include,
    options: &UnpackOptions,
) -> Result<Unpacked, Error> {
    match open_bundle(source, manifest, options.limits).await? {
        Some(bundle) => unpack_members(source, &bundle, target, include, options).await,
        None => unpack_picked(source, manifest, target, include, options).await,
    }
}

/// Reads all of an image, and unpacks what is picked.
async fn unpack_picked(
    source: &dyn Open,
    manifest: &RawManifest,
    target: &Path,
    include: &Include,
    options: &UnpackOptions,
) -> Result<Unpacked, Error> {
    let (mut originals, mut before) = (BTreeSet::new(), 0);
    loop {
        let (target, include, states) = (target.to_owned(), include.clone(), options.states.clone());
        let picked = run(source, manifest, options, move |image, limits, feed| {
            let fetched = before + image.size();
            let mut held = hold_if_possible(states.as_ref(), &target)?;
            let staging = Staging::new(&target, held.as_mut())?;
            let mut writer = Writer::new(staging.open()?).map_err(Error::local("make files beside", &target))?;
            let wanted = |place: &Place, is_directory: bool| include.picks(&place.to_path(), is_directory);
            let (nodes, picked) = pick(image, limits, feed, &mut writer, &wanted, &originals)?;
            let made = match picked {
                Picked::Missing(missing) => {
                    // Whatever is in the image, there are more of them each time: so this ends.
                    originals.extend(missing);
                    return Ok(Err((originals, fetched)));
                }
                Picked::All(made) if made.is_empty() => return Err(Error::NothingPicked),
                Picked::All(made) => made,
            };
            feed.check().map_err(Error::local("finish", &target))?;
            forget(held.as_ref());
            staging.publish()?;
            Ok(Ok(unpacked(target, &nodes, |place| made.contains(place), fetched)))
        });
        match picked.await? {
            Ok(unpacked) => return Ok(unpacked),
            Err(again) => (originals, before) = again,
        }
    }
}

/// Reads all layers, and makes what is wanted in `sink`.
pub(super) fn pick(
    image: &Image,
    limits: Limits,
    feed: &mut Feed,
    sink: &mut dyn Sink,
    wanted: Wanted<'_>,
    originals: &BTreeSet<Place>,
) -> Result<(BTreeMap<Place, Node>, Picked), Error> {
    let mut picking = Picking::new(sink, wanted, originals);
    let nodes = read(image, limits, feed, &mut picking)?.nodes;
    Ok((nodes, picking.finish()?))
}

/// Fetches what is picked of a bundle, and unpacks it.
async fn unpack_members(
    source: &dyn OpenRange,
    bundle: &Indexed,
    target: &Path,
    include: &Include,
    options: &UnpackOptions,
) -> Result<Unpacked, Error> {
    let is_picked =
        |entry: &Entry| include.picks(Path::new(entry.path()), matches!(entry.kind(), EntryKind::Directory));
    let picked: Vec<(usize, Entry)> = bundle
        .entries()
        .enumerate()
        .filter(|(_, entry)| is_picked(entry))
        .map(|(at, entry)| (at, entry.clone()))
        .collect();
    if picked.is_empty() {
        return Err(Error::NothingPicked);
    }
    // Of a directory, the index says all that there is to say.
    let is_in_member = |(_, entry): &&(usize, Entry)| !matches!(entry.kind(), EntryKind::Directory);
    let wanted: Vec<usize> = picked.iter().filter(is_in_member).map(|(at, _)| *at).collect();
    let (sender, pieces) = mpsc::channel(WAITING);
    let (options, path) = (options.clone(), target.to_owned());
    let worker = tokio::task::spawn_blocking(move || write(&picked, pieces, &options, &path));
    let sent = send(bundle.contents(source, &wanted), sender).await;
    let done = worker.await.map_err(|error| content::Error::new(ErrorKind::Local, error));
    sent?;
    Ok(Unpacked { bytes_fetched: bundle.fetched(), ..done?? })
}

/// Forgets what was known of a directory of which a part has been made anew: a part cannot be updated. If that fails, what is
/// known is not what is there, and an update will say so.
fn forget(held: Option<&Held>) {
    if let Some(Err(error)) = held.map(Held::forget) {
        tracing::debug!("* what was known of this cannot be forgotten: {error}");
    }
}

/// What goes to the thread that writes: pieces, and then nothing, to say that all have come.
pub(super) type Message = Option<bundle::Piece>;

/// Sends contents of entries. Ends early, and without an error, when the other side stops listening.
pub(super) async fn send(
    contents: impl Stream<Item = Result<bundle::Piece, content::Error>>,
    sender: mpsc::Sender<Message>,
) -> Result<(), content::Error> {
    let mut contents = std::pin::pin!(contents);
    while let Some(piece) = contents.try_next().await? {
        if sender.send(Some(piece)).await.is_err() {
            return Ok(());
        }
    }
    // Who has stopped listening has its own error.
    let _ = sender.send(None).await;
    Ok(())
}

/// Makes the directory, in which each of `entries` that is no directory has the next pieces as its contents.
fn write(
    entries: &[(usize, Entry)],
    pieces: mpsc::Receiver<Message>,
    options: &UnpackOptions,
    target: &Path,
) -> Result<Unpacked, Error> {
    let mut held = hold_if_possible(options.states.as_ref(), target)?;
    let staging = Staging::new(target, held.as_mut())?;
    let mut writer = Writer::new(staging.open()?).map_err(Error::local("make files beside", target))?;
    let mut view = View::new(&mut writer, options.limits);
    view.begin(Rules { whiteouts: false, unique: true });
    let mut pieces = Pieces::new(pieces);
    for (_, entry) in entries {
        if !matches!(entry.kind(), EntryKind::Directory) {
            pieces.begin(entry.size())?;
        }
        view.apply(&Item::from(entry), &mut pieces)?;
    }
    pieces.end()?;
    let nodes = view.finish()?;
    forget(held.as_ref());
    staging.publish()?;
    Ok(unpacked(target.to_owned(), &nodes, |_| true, 0))
}

/// The contents of one entry after the other, in pieces as they come.
struct Pieces {
    receiver: mpsc::Receiver<Message>,
    /// What has come and not been handed out.
    next: Option<Bytes>,
    /// How many bytes of this entry come after that.
    left: u64,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<Message>) -> Self {
        Self { receiver, next: None, left: 0 }
    }

    /// Begins the next entry, whose contents have so many bytes.
    fn begin(&mut self, size: u64) -> Result<(), Fault> {
        self.left = size;
        self.fill()
    }

    fn fill(&mut self) -> Result<(), Fault> {
        let bytes = self.receiver.blocking_recv().flatten().ok_or_else(stopped)?.bytes;
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.next = Some(bytes);
        Ok(())
    }

    /// Waits until it is said that all have come, and were what they should be.
    fn end(&mut self) -> Result<(), Fault> {
        if matches!(self.receiver.blocking_recv(), Some(None)) { Ok(()) } else { Err(stopped()) }
    }
}

/// What nobody gets to see: either the future was dropped, or the source failed and its error is the one that counts.
pub(super) fn stopped() -> Fault {
    std::io::Error::other("stopped before the end").into()
}

impl Contents for Pieces {
    fn next(&mut self) -> Result<Piece, Fault> {
        if self.next.is_none() && self.left > 0 {
            self.fill()?;
        }
        Ok(self.next.take().map_or(Piece::End, Piece::from))
    }
}
