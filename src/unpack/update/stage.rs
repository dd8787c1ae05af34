//! What has to be in a directory and is not: made in a hidden directory inside of it, and verified there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle, available_parallelism};

use bytes::Bytes;
use cap_std::fs::{Dir, File, FileExt};
use tokio::sync::mpsc;

use super::known::{Note, Row, RowKind, Tree};
use super::local::{FoundKind, Handles, is_same};
use super::scene::{Scene, Standing};
use crate::bundle::{Entry, Indexed, Kind, MemberNumber};
use crate::unpack::Limits;
use crate::unpack::error::{Error, Fault, shown};
use crate::unpack::item::{Contents, Item, Piece, Sink};
use crate::unpack::part::{Message, stopped};
use crate::unpack::place::{Place, names};
use crate::unpack::staging::Staging;
use crate::unpack::view::{Rules, View};
use crate::unpack::writer::Writer;

/// How many members of a large file are read at once, at most.
const MAX_READING: usize = 8;

/// The hidden directory, and what is in it. Dropped, it is removed.
pub(super) struct Staged {
    _staging: Staging,
    pub(super) handles: Handles,
    /// Of each row of the tree that is in the hidden directory: what is to be known of it.
    pub(super) rows: BTreeMap<usize, Note>,
}

/// What has been made: the number of its row in the tree and, of a file, its own number.
pub(super) type Made = (usize, Option<u32>);

/// A hidden directory that nothing is in, and what makes files in it.
pub(super) struct Stage {
    staging: Staging,
    top: Dir,
    writer: Writer,
}

impl Stage {
    pub(super) fn new(scene: &mut Scene) -> Result<Self, Error> {
        let target = scene.held.directory().to_owned();
        let staging = Staging::within(&target, &mut scene.held)?;
        let top = staging.open()?;
        let writer = top.try_clone().and_then(|top| Ok(Writer::new(top)?.noting()));
        let writer = writer.map_err(Error::local("make files in", &target))?;
        Ok(Self { staging, top, writer })
    }

    /// What to make things with: directories only hold what is in them, and have a mode that allows that.
    pub(super) fn sink(&mut self) -> impl Sink + use<'_> {
        Holding(&mut self.writer)
    }

    /// Makes what is `wanted` of a bundle: of what is in members that `is_here`, from what the directory has, of others from
    /// the `pieces` that come. Of a small file that is there already, nothing is made.
    pub(super) fn fill(
        &mut self,
        scene: &mut Scene,
        bundle: &Arc<Indexed>,
        wanted: &[usize],
        is_here: &BTreeSet<MemberNumber>,
        pieces: mpsc::Receiver<Message>,
    ) -> Result<Vec<Made>, Error> {
        let mut sink = Holding(&mut self.writer);
        let mut view = View::new(&mut sink, Limits { entries: u64::MAX, bytes: u64::MAX });
        view.begin(Rules { whiteouts: false, unique: true });
        let (mut made, mut files) = (Vec::new(), 0..);
        let mut source =
            Source { scene, bundle, is_here, pieces, members: Vec::new(), local: Local::default(), first: None };
        for &number in wanted {
            let entry = bundle.entry(number);
            source.begin(number)?;
            if !source.is_there(entry) {
                view.apply(&Item::from(entry), &mut source)?;
                // The view numbers them in the same way.
                let file = matches!(entry.kind(), Kind::File { .. }).then(|| files.next()).flatten();
                made.push((number, file));
            }
        }
        source.end()?;
        view.finish()?;
        Ok(made)
    }

    /// Removes files that the directory has already, and says what is left.
    pub(super) fn finish(self, scene: &mut Scene, tree: &Tree, made: &[Made]) -> Result<Staged, Error> {
        let Self { staging, top, mut writer } = self;
        let target = scene.held.directory().to_owned();
        let (mut handles, mut left) = (Handles::new(top), Vec::new());
        for &(number, file) in made {
            let row = tree.row(number);
            let is_there = match row.kind {
                RowKind::Directory => true,
                RowKind::File { .. } => has_file(scene, &mut handles, &row),
                RowKind::Symlink { .. } => scene.find(row.path).is_some_and(|found| scene.found[found].is_like(&row)),
            };
            if !is_there {
                left.push((number, file));
            } else if !matches!(row.kind, RowKind::Directory) {
                writer.remove(&place(row.path)?, false)?;
            }
        }
        let notes = writer.notes().map_err(Error::local("make files in", &target))?;
        let rows = left.into_iter().map(|(number, file)| (number, Note::among(&notes, file))).collect();
        Ok(Staged { _staging: staging, handles, rows })
    }
}

/// Whether a file is in the directory as the row says. With the same contents, it counts as that of the new image.
fn has_file(scene: &mut Scene, staged: &mut Handles, row: &Row<'_>) -> bool {
    let Some(found) = scene.find(row.path) else { return false };
    let same = match (scene.handles.file(row.path), staged.file(row.path)) {
        (Ok(here), Ok(new)) => is_same(&here, &new).unwrap_or(false),
        _ => false,
    };
    if same {
        scene.standings[found] = Standing::New;
    }
    same && scene.found[found].is_in_place_of(row)
}

/// The place of a path that an image has.
pub(super) fn place(path: &[u8]) -> Result<Place, Fault> {
    let mut place = Place::top();
    names(path)?.into_iter().for_each(|name| place.push(name));
    Ok(place)
}

/// The contents of one entry after the other.
struct Source<'a> {
    scene: &'a mut Scene,
    bundle: &'a Arc<Indexed>,
    is_here: &'a BTreeSet<MemberNumber>,
    pieces: mpsc::Receiver<Message>,
    /// The members with this entry that have not been read, the last first.
    members: Vec<MemberNumber>,
    /// Those of them that the directory has.
    local: Local,
    /// What has been read and not been handed out.
    first: Option<Bytes>,
}

impl Source<'_> {
    /// Begins the next entry.
    fn begin(&mut self, entry: usize) -> Result<(), Fault> {
        self.members = self.bundle.members_with(entry).collect();
        let is_here: VecDeque<_> =
            self.members.iter().copied().filter(|member| self.is_here.contains(member)).collect();
        if !is_here.is_empty() {
            let path = self.bundle.entry(entry).path();
            let file = self.scene.handles.file(path.as_bytes()).ok().map(Arc::new);
            let threads = available_parallelism().map_or(1, NonZeroUsize::get).min(MAX_READING);
            let path = shown(path.as_bytes());
            self.local = Local { path, file, threads, waiting: is_here, reading: VecDeque::new() };
        }
        self.members.reverse();
        self.first = self.read()?;
        Ok(())
    }

    /// What is in the next member.
    fn read(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(member) = self.members.pop() else { return Ok(None) };
        if self.is_here.contains(&member) {
            return self.local.read(self.bundle).map(Some);
        }
        Ok(Some(self.pieces.blocking_recv().flatten().ok_or_else(stopped)?.bytes))
    }

    /// Whether the directory has this file as it should be, of which all contents are at hand.
    fn is_there(&mut self, entry: &Entry) -> bool {
        let Some(bytes) = self.first.as_ref().filter(|bytes| bytes.len() as u64 == entry.size()) else { return false };
        let path = entry.path().as_bytes();
        let Some(found) = self.scene.find(path) else { return false };
        // A link has no bytes, either, as an empty file.
        let is_file = matches!(self.scene.found[found].kind, FoundKind::File { .. });
        if !is_file || !self.scene.found[found].is_like(&entry.into()) {
            return false;
        }
        let mut here = vec![0; bytes.len()];
        let read = self.scene.handles.file(path).and_then(|file| file.read_exact_at(&mut here, 0));
        let is_same = read.is_ok() && here == bytes[..];
        if is_same {
            self.scene.standings[found] = Standing::New;
        }
        is_same && self.scene.found[found].is_in_place_of(&entry.into())
    }

    /// Waits until it is said that all have come, and were what they should be.
    fn end(&mut self) -> Result<(), Fault> {
        if matches!(self.pieces.blocking_recv(), Some(None)) { Ok(()) } else { Err(stopped()) }
    }
}

impl Contents for Source<'_> {
    fn next(&mut self) -> Result<Piece, Fault> {
        let next = match self.first.take() {
            Some(bytes) => Some(bytes),
            None => self.read()?,
        };
        Ok(next.map_or(Piece::End, Piece::from))
    }
}

/// The members of a large file that the directory has: some are read and held against their digests at once, on threads of
/// their own.
#[derive(Default)]
struct Local {
    path: String,
    file: Option<Arc<File>>,
    /// How many are read at once.
    threads: usize,
    waiting: VecDeque<MemberNumber>,
    reading: VecDeque<JoinHandle<Read>>,
}

/// What is in a member; nothing, if the file does not have that.
type Read = io::Result<Option<Bytes>>;

impl Local {
    /// What is in the next one, while those after it are read.
    fn read(&mut self, bundle: &Arc<Indexed>) -> Result<Bytes, Fault> {
        let other = || Fault::OtherContents(self.path.clone());
        let file = self.file.clone().ok_or_else(other)?;
        let read = |member| {
            let (file, bundle) = (Arc::clone(&file), Arc::clone(bundle));
            move || {
                // It is in no member with others.
                let pieces = bundle.rebuild(member, &mut |_, offset, buffer| file.read_exact_at(buffer, offset))?;
                Ok(pieces.and_then(|mut pieces| pieces.pop()).map(|piece| piece.bytes))
            }
        };
        while self.reading.len() < self.threads
            && let Some(&member) = self.waiting.front()
            // Where there can be no more threads, this one reads.
            && let Ok(thread) = thread::Builder::new().spawn(read(member))
        {
            self.waiting.pop_front();
            self.reading.push_back(thread);
        }
        let read = if let Some(thread) = self.reading.pop_front() {
            thread.join().unwrap_or(Ok(None))
        } else if let Some(member) = self.waiting.pop_front() {
            read(member)()
        } else {
            Ok(None)
        };
        match read {
            Ok(Some(bytes)) => Ok(bytes),
            Ok(None) => Err(other()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(other()),
            Err(source) => Err(Fault::Local { what: "read", path: self.path.clone(), source }),
        }
    }
}

/// Makes everything in directories that only hold it: they have another mode than they are to get.
struct Holding<'a>(&'a mut Writer);

impl Sink for Holding<'_> {
    fn directory(&mut self, place: &Place, _: u32) -> Result<(), Fault> {
        self.0.directory(place, 0o700)
    }

    fn file(&mut self, place: &Place, mode: u32, number: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
        self.0.file(place, mode, number, contents)
    }

    fn symlink(&mut self, place: &Place, target: &[u8]) -> Result<(), Fault> {
        self.0.symlink(place, target)
    }

    fn hard_link(&mut self, place: &Place, original: &Place) -> Result<(), Fault> {
        self.0.hard_link(place, original)
    }

    fn remove(&mut self, place: &Place, is_directory: bool) -> Result<(), Fault> {
        self.0.remove(place, is_directory)
    }

    fn set_mode(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }
}
