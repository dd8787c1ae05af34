//! Reading an image whole to keep the contents of its files: in one temporary file without a name, whatever their modes.

use std::collections::BTreeMap;
use std::env::temp_dir;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::error::{Error, Fault};
use super::item::{Contents, Piece, Sink};
use super::place::{Place, names};
use super::view::{Node, NodeKind};
use super::{Listed, ListedKind, UnpackOptions, listed, read, run};
use crate::content::{self, Open, apart, read_file, read_file_range};
use crate::manifest::RawManifest;

/// How many bytes are written at once.
const BUFFER: usize = 256 * 1024;

/// What is in an image, and the contents of its files, or of one. Most of it is in the file: of each entry, memory holds the
/// same few bytes, however long its path is.
#[derive(Debug)]
pub struct Spooled {
    rows: Vec<Row>,
    /// The contents, and then the names of all entries, one after the other.
    file: Arc<File>,
}

/// Where the contents of a file begin, or [`NOT_KEPT`]: an option would take twice as much.
type Start = u64;
/// That contents have not been kept.
const NOT_KEPT: Start = Start::MAX;

/// An entry. Its path and then the target, if it is a link, stand where the names of the one before end.
/// There may be very many, so one has no field that only some need.
#[derive(Debug)]
struct Row {
    kind: RowKind,
    mode: u32,
    /// How many bytes the contents of a file have, or the target of a link.
    size: u64,
    /// Where the contents of a file begin.
    start: Start,
    /// Where its names end in the file.
    end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowKind {
    Directory,
    File,
    Symlink,
}

impl Spooled {
    /// How many entries there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len() - 1
    }

    /// What is in the image, in order.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub async fn list(&self) -> Result<Vec<Listed>, content::Error> {
        self.listed(0..self.count()).await
    }

    /// The entries with these numbers.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    ///
    /// # Panics
    /// When there are not so many.
    pub async fn listed(&self, numbers: Range<usize>) -> Result<Vec<Listed>, content::Error> {
        // The first row is none: it says where names begin.
        let (start, rows) = (self.rows[numbers.start].end, &self.rows[numbers.start + 1..=numbers.end]);
        let end = rows.last().map_or(start, |row| row.end);
        let mut names = read_file_range(Arc::clone(&self.file), start, end - start).await?;
        let (mut listed, mut at) = (Vec::with_capacity(rows.len()), start);
        for row in rows {
            listed.push(row.listed(&names.split_to((row.end - at) as usize)));
            at = row.end;
        }
        Ok(listed)
    }

    /// Whether the contents of the file with this number have been kept.
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        self.extent(number).is_some()
    }

    /// The contents of the file with this number; an error, if they have not been kept.
    #[must_use]
    pub fn contents(&self, number: usize) -> BoxStream<'static, Result<Bytes, content::Error>> {
        if let Some((start, size)) = self.extent(number) {
            return read_file(Arc::clone(&self.file), start, size).boxed();
        }
        stream::once(async move { Err(not_kept(number)) }).boxed()
    }

    /// How many bytes the file with this number has; of what is no file, or has not been kept, none.
    #[must_use]
    pub fn size(&self, number: usize) -> u64 {
        self.extent(number).map_or(0, |(_, size)| size)
    }

    /// Appends `length` bytes of the contents of the file with this number, from `offset` on, to `out`: at once, on the thread
    /// that asks.
    ///
    /// # Errors
    /// When they have not been kept, or cannot be read.
    pub fn read(&self, number: usize, offset: u64, length: u64, out: &mut Vec<u8>) -> Result<(), content::Error> {
        let is_within = |&(_, size): &(u64, u64)| offset.checked_add(length).is_some_and(|end| end <= size);
        let extent = self.extent(number).filter(is_within);
        let (start, _) = extent.ok_or_else(|| not_kept(number))?;
        let from = out.len();
        out.resize(from + length as usize, 0);
        let read = self.file.read_exact_at(&mut out[from..], start + offset);
        read.map_err(|error| content::Error::local("read a temporary file", error))
    }

    /// Where contents begin, and how many bytes they have.
    fn extent(&self, number: usize) -> Option<(u64, u64)> {
        let Row { start, size, .. } = self.rows[number + 1];
        (start != NOT_KEPT).then_some((start, size))
    }
}

fn not_kept(number: usize) -> content::Error {
    content::Error::not_found(format!("the contents of entry {number} have not been kept"))
}

impl Row {
    /// The entry that has these names.
    fn listed(&self, names: &[u8]) -> Listed {
        let target = if self.kind == RowKind::Symlink { self.size } else { 0 };
        let (path, target) = names.split_at(names.len() - target as usize);
        let name = |bytes| PathBuf::from(OsStr::from_bytes(bytes));
        let kind = match self.kind {
            RowKind::Directory => ListedKind::Directory,
            RowKind::File => ListedKind::File { size: self.size },
            RowKind::Symlink => ListedKind::Symlink { target: name(target) },
        };
        Listed { path: name(path), mode: self.mode, kind }
    }
}

/// Reads all of an image as [`list`](super::list) does, and keeps the contents of the file at `only`, which no link is on
/// the way to, or of all files.
///
/// # Errors
/// Those of [`list`](super::list).
pub async fn spool(
    source: &dyn Open,
    manifest: &RawManifest,
    only: Option<&Path>,
    options: &UnpackOptions,
) -> Result<Spooled, Error> {
    let only = only.map(place).transpose()?;
    let mut wanted = only.clone().map_or(Wanted::All, Wanted::Place);
    loop {
        let only = only.clone();
        let spooled = run(source, manifest, options, move |image, limits, feed| {
            let file = BufWriter::with_capacity(BUFFER, tempfile::tempfile().map_err(failed)?);
            let mut spool = Spool { file, end: 0, wanted, starts: Vec::new() };
            apart(move || {
                let nodes = read(image, limits, feed, &mut spool)?.nodes;
                match only.and_then(|only| nodes.get(&only)) {
                    // A hard link, as it turns out, and its original was not kept.
                    Some(&Node { kind: NodeKind::File { number, .. }, .. })
                        if spool.starts[number as usize] == NOT_KEPT =>
                    {
                        Ok(Err(Wanted::Number(number)))
                    }
                    _ => Ok(Ok(spool.finish(nodes).map_err(failed)?)),
                }
            })
        });
        match spooled.await? {
            Ok(spooled) => return Ok(spooled),
            Err(number) => wanted = number,
        }
    }
}

fn place(path: &Path) -> Result<Place, Fault> {
    let mut place = Place::top();
    names(path.as_os_str().as_bytes())?.into_iter().for_each(|name| place.push(name));
    Ok(place)
}

fn failed(source: io::Error) -> Fault {
    Fault::Local { what: "write to a temporary file in", path: temp_dir().display().to_string(), source }
}

/// Which contents are kept.
enum Wanted {
    All,
    /// Those of each file that is at this place, for a while.
    Place(Place),
    /// Those of the file that so many files come before.
    Number(u32),
}

/// The sink that appends the contents of files to one.
struct Spool {
    file: BufWriter<File>,
    /// Where the file ends.
    end: u64,
    wanted: Wanted,
    /// Of each file that was made.
    starts: Vec<Start>,
}

impl Spool {
    /// Appends the names of what there is.
    fn finish(self, nodes: BTreeMap<Place, Node>) -> io::Result<Spooled> {
        let (mut file, mut end) = (self.file, self.end);
        let mut rows = Vec::with_capacity(nodes.len() + 1);
        rows.push(Row { kind: RowKind::Directory, mode: 0, size: 0, start: NOT_KEPT, end });
        for (place, node) in nodes {
            let start = node.file_number().map_or(NOT_KEPT, |number| self.starts[number as usize]);
            let Listed { path, mode, kind } = listed(&place, node);
            let mut names = path.into_os_string();
            let (kind, size) = match kind {
                ListedKind::Directory => (RowKind::Directory, 0),
                ListedKind::File { size } => (RowKind::File, size),
                ListedKind::Symlink { target } => {
                    names.push(&target);
                    (RowKind::Symlink, target.as_os_str().len() as u64)
                }
            };
            file.write_all(names.as_bytes())?;
            end += names.len() as u64;
            rows.push(Row { kind, mode, size, start, end });
        }
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Spooled { rows, file: Arc::new(file) })
    }
}

impl Sink for Spool {
    fn file(&mut self, place: &Place, _: u32, number: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
        let is_wanted = match &self.wanted {
            Wanted::All => true,
            Wanted::Place(wanted) => wanted == place,
            Wanted::Number(wanted) => *wanted == number,
        };
        if !is_wanted {
            self.starts.push(NOT_KEPT);
            return contents.skip();
        }
        self.starts.push(self.end);
        loop {
            match contents.next()? {
                Piece::Data(bytes) => {
                    self.file.write_all(&bytes).map_err(failed)?;
                    self.end += bytes.len() as u64;
                }
                // The names that come after all contents see to it that it does not end with a hole.
                Piece::Hole(size) => {
                    self.end = self.end.saturating_add(size);
                    self.file.seek(SeekFrom::Start(self.end)).map_err(failed)?;
                }
                Piece::End => return Ok(()),
            }
        }
    }

    fn directory(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }

    fn symlink(&mut self, _: &Place, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn hard_link(&mut self, _: &Place, _: &Place) -> Result<(), Fault> {
        Ok(())
    }

    fn remove(&mut self, _: &Place, _: bool) -> Result<(), Fault> {
        Ok(())
    }

    fn set_mode(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }
}
