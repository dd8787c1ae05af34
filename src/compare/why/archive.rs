//! Two layers that are archives, held against each other below what their files are: entries, headers, order, padding,
//! compression.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::entry;
use super::gzip::{self, Header};
use super::reason::{Level, Reason, Reasons, What};
use super::tape::{Index, Mark, Tape, is_zero};
use crate::archive::{Compression, decompress};
use crate::compare::First;
use crate::content::{self, ErrorKind};
use crate::text::excerpt;

/// How much of two files is compared at once, in bytes.
const STEP: usize = 256 * 1024;

/// A layer, in a file.
pub(super) struct Blob {
    pub(super) file: Arc<File>,
    pub(super) size: u64,
}

/// Two layers, and what is known of them.
pub(super) struct Pair {
    pub(super) blobs: [Blob; 2],
    /// The number of the layer.
    pub(super) number: usize,
    /// The paths at which something differs anyway.
    pub(super) differing: Arc<BTreeSet<Vec<u8>>>,
    /// How many bytes the archives may have.
    pub(super) limit: u64,
}

/// Finds out why they differ.
///
/// # Errors
/// When they are no archives, or cannot be read.
pub(super) fn explain(pair: &Pair, reasons: &mut Reasons) -> Result<(), content::Error> {
    let before = reasons.count();
    let (kind_a, a) = unpacked(&pair.blobs[0], pair.limit)?;
    let (kind_b, b) = unpacked(&pair.blobs[1], pair.limit)?;
    let first = first_byte((&a.file, 0, a.size), (&b.file, 0, b.size))?;
    if kind_a != kind_b {
        let reason = Reason::of(name(kind_a), name(kind_b));
        reasons.add(Level::Layer, What::Compression, reason.about(pair.number.to_string()));
    } else if kind_a == Compression::Gzip {
        members(pair, first.is_none(), reasons)?;
    } else if first.is_none() && kind_a == Compression::Zstd {
        reasons.add(Level::Layer, What::Compressor, Reason::default().about(pair.number.to_string()));
    }
    let Some(first) = first else { return Ok(()) };
    let indexes = (a.index()?, b.index()?);
    headers((&a, &indexes.0), (&b, &indexes.1), &pair.differing, reasons)?;
    padding((&a, indexes.0.end), (&b, indexes.1.end), pair.number, reasons)?;
    if reasons.count() == before && pair.differing.is_empty() {
        let first = Some(First { offset: first, line: None });
        reasons.add(Level::Layer, What::Bytes, Reason { first, ..Reason::default() }.about(pair.number.to_string()));
    }
    Ok(())
}

fn name(compression: Compression) -> &'static str {
    match compression {
        Compression::Plain => "nothing",
        Compression::Gzip => "gzip",
        Compression::Zstd => "zstd",
    }
}

/// The archive in a layer, in a temporary file without a name.
fn unpacked(blob: &Blob, limit: u64) -> Result<(Compression, Tape), content::Error> {
    let local = |error| content::Error::local("write to a temporary file", error);
    let wrong = |error: io::Error| content::Error::new(ErrorKind::Content, error);
    let reader = BufReader::with_capacity(STEP, At { file: &blob.file, at: 0 });
    let (compression, tar) = decompress(reader).map_err(wrong)?;
    let mut tar = tar.take(limit.saturating_add(1));
    let mut file = tempfile::tempfile().map_err(local)?;
    let (mut buffer, mut size) = (vec![0; STEP], 0);
    loop {
        let length = tar.read(&mut buffer).map_err(wrong)?;
        if length == 0 {
            break;
        }
        size += length as u64;
        if size > limit {
            let message = format!("a layer decompresses to more than the {limit} bytes that are allowed");
            return Err(content::Error::new(ErrorKind::Content, message));
        }
        file.write_all(&buffer[..length]).map_err(local)?;
    }
    file.seek(SeekFrom::Start(0)).map_err(local)?;
    Ok((compression, Tape { file, size }))
}

/// A file, read from a place of its own: others read it, too.
struct At<'a> {
    file: &'a File,
    at: u64,
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read_at(buffer, self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}

/// The first byte at which two parts of files differ: where each begins, and how long it is.
pub(super) fn first_byte(a: (&File, u64, u64), b: (&File, u64, u64)) -> Result<Option<u64>, content::Error> {
    let local = |error| content::Error::local("read a temporary file", error);
    let (mut left, mut right, mut at) = (vec![0; STEP], vec![0; STEP], 0);
    let common = a.2.min(b.2);
    while at < common {
        let step = (common - at).min(STEP as u64) as usize;
        a.0.read_exact_at(&mut left[..step], a.1 + at).map_err(local)?;
        b.0.read_exact_at(&mut right[..step], b.1 + at).map_err(local)?;
        if let Some(found) = left[..step].iter().zip(&right[..step]).position(|(a, b)| a != b) {
            return Ok(Some(at + found as u64));
        }
        at += step as u64;
    }
    Ok((a.2 != b.2).then_some(common))
}

/// Says what differs between two files in gzip: the headers, and what comes after them, if that makes the same archive.
fn members(pair: &Pair, is_same_archive: bool, reasons: &mut Reasons) -> Result<(), content::Error> {
    let [a, b] = &pair.blobs;
    let local = |error| content::Error::local("read a temporary file", error);
    let header = |blob: &Blob| -> Result<Option<Header>, content::Error> {
        let mut bytes = vec![0; gzip::MAX_HEADER.min(usize::try_from(blob.size).unwrap_or(usize::MAX))];
        blob.file.read_exact_at(&mut bytes, 0).map_err(local)?;
        Ok(Header::parse(&bytes))
    };
    let (Some(left), Some(right)) = (header(a)?, header(b)?) else { return Ok(()) };
    let rest = |blob: &Blob, header: &Header| (header.length as u64, blob.size - header.length as u64);
    let ((start_a, length_a), (start_b, length_b)) = (rest(a, &left), rest(b, &right));
    let has_same_rest = first_byte((&a.file, start_a, length_a), (&b.file, start_b, length_b))?.is_none();
    for (name, [a, b]) in left.differences(&right, !has_same_rest) {
        reasons.add(Level::Member, What::GzipField, Reason::of(a, b).about(name));
    }
    if is_same_archive && !has_same_rest {
        reasons.add(Level::Layer, What::Compressor, Reason::default().about(pair.number.to_string()));
    }
    Ok(())
}

/// Holds the headers of entries that both archives have against each other, and says which ones only one has.
fn headers(
    a: (&Tape, &Index),
    b: (&Tape, &Index),
    differing: &BTreeSet<Vec<u8>>,
    reasons: &mut Reasons,
) -> Result<(), content::Error> {
    let [sorted_a, sorted_b] = [a.1, b.1].map(sorted);
    let (mut at_a, mut at_b, mut both, mut only) = (0, 0, Vec::new(), Vec::new());
    loop {
        let (left, right) = match (mark(a.1, &sorted_a, at_a), mark(b.1, &sorted_b, at_b)) {
            (None, None) => break,
            (Some(left), Some(right)) => (left.key <= right.key, right.key <= left.key),
            (left, right) => (left.is_some(), right.is_some()),
        };
        if left && right {
            both.push((sorted_a[at_a], sorted_b[at_b]));
        } else {
            let (tape, index, number) = if left { (a.0, a.1, sorted_a[at_a]) } else { (b.0, b.1, sorted_b[at_b]) };
            only.extend(Only::of(tape, &index.marks[number as usize], left, differing)?);
        }
        at_a += usize::from(left);
        at_b += usize::from(right);
    }
    only.sort_unstable();
    for only in only {
        reasons.add(Level::Entry, What::Unlisted, only.reason());
    }
    both.sort_unstable();
    let marks = |&(in_a, in_b): &(u32, u32)| (&a.1.marks[in_a as usize], &b.1.marks[in_b as usize]);
    for pair in &both {
        let (left, right) = marks(pair);
        let (head_a, head_b) = (a.0.head(left)?, b.0.head(right)?);
        if head_a != head_b {
            let path = a.0.path(left)?;
            for (what, reason) in entry::differences(&head_a, &head_b, &shown(&path), differing.contains(&path)) {
                reasons.add(Level::Entry, what, reason);
            }
        }
    }
    if let Some([before, after]) = both.windows(2).find(|pair| pair[0].1 > pair[1].1) {
        let (before, after) = (shown(&a.0.path(marks(before).0)?), shown(&a.0.path(marks(after).0)?));
        let reason = Reason::of(format!("{before} before {after}"), format!("{after} before {before}"));
        reasons.add(Level::Entry, What::Order, reason);
    }
    Ok(())
}

/// The numbers of entries, those of one path next to each other, in their order.
fn sorted(index: &Index) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..index.marks.len() as u32).collect();
    numbers.sort_unstable_by_key(|&number| (index.marks[number as usize].key, number));
    numbers
}

/// The entry that has this place in `sorted`.
fn mark<'a>(index: &'a Index, sorted: &[u32], at: usize) -> Option<&'a Mark> {
    sorted.get(at).map(|&number| &index.marks[number as usize])
}

/// An entry that only one archive has.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Only {
    path: Vec<u8>,
    is_directory: bool,
    is_in_a: bool,
}

impl Only {
    /// Nothing, if what it makes is not in the other at all.
    fn of(
        tape: &Tape,
        mark: &Mark,
        is_in_a: bool,
        differing: &BTreeSet<Vec<u8>>,
    ) -> Result<Option<Self>, content::Error> {
        let path = tape.path(mark)?;
        let is_known = differing.contains(&path) || differing.contains(&unhidden(&path));
        Ok((!is_known).then_some(Self { path, is_directory: mark.is_directory, is_in_a }))
    }

    fn reason(&self) -> Reason {
        let what = Some(if self.is_directory { "a directory" } else { "an entry" }.to_owned());
        let (a, b) = if self.is_in_a { (what, None) } else { (None, what) };
        Reason { name: Some(shown(&self.path)), a, b, first: None }
    }
}

/// What a whiteout hides (image-spec v1.1.1, layer.md, "Whiteouts"); of any other path, itself.
fn unhidden(path: &[u8]) -> Vec<u8> {
    let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let name = path[start..].strip_prefix(b".wh.").unwrap_or(&path[start..]);
    [&path[..start], name].concat()
}

/// Says what comes after the last entry.
fn padding(a: (&Tape, u64), b: (&Tape, u64), number: usize, reasons: &mut Reasons) -> Result<(), content::Error> {
    let rest = [a, b].map(|(tape, end)| tape.size - end);
    let about = |reason: Reason| reason.about(number.to_string());
    let (zero_a, zero_b) = (is_zero(a.0, a.1)?, is_zero(b.0, b.1)?);
    if !zero_a || !zero_b {
        let same = first_byte((&a.0.file, a.1, rest[0]), (&b.0.file, b.1, rest[1]))?.is_none();
        let word = |is_zero| if is_zero { "zero bytes" } else { "something" };
        if !same {
            reasons.add(Level::Layer, What::Trailing, about(Reason::of(word(zero_a), word(zero_b))));
        }
    } else if rest[0] != rest[1] {
        let [a, b] = rest.map(|bytes| bytes.to_string());
        reasons.add(Level::Layer, What::Padding, about(Reason::of(a, b)));
    }
    Ok(())
}

fn shown(path: &[u8]) -> String {
    if path.is_empty() {
        return "./".to_owned();
    }
    excerpt(&String::from_utf8_lossy(path))
}
