//! Layers of any origin: whatever they are compressed with, what is in them is shown to a view.
//!
//! The layers of bundles are read by `bundle`, which is stricter.

use std::io::{self, Read};

use bytes::Bytes;

use super::Limits;
use super::archive::Archive;
use super::chunks::{Chunks, Decoder};
use super::diff_id::DiffId;
use super::error::{Fault, shown};
use super::feed::Feed;
use super::item::{Contents, Item, Kind, Piece};
use super::place::names;
use super::view::View;
use crate::archive::decompress;
use crate::digest::Digest;
use crate::text::bytes;

/// How many bytes an entry may have in an archive beside its contents, on average.
const HEAD_PER_ENTRY: u64 = 4096;

/// Reads the tar archive in `feed` whole, which may be in gzip, in zstd, or plain: its first bytes say. All entries have
/// to be below the directory `within`.
pub(super) fn read(
    feed: &mut Feed,
    within: &[&[u8]],
    diff_id: Option<Digest>,
    limits: Limits,
    view: &mut View<'_>,
) -> Result<(), Fault> {
    let mut archive = Archive::new(Chunks::new(Tar::new(feed, diff_id, limits)?));
    while let Some(item) = archive.next_item()? {
        if !within.is_empty() && !names(&item.path)?.starts_with(within) {
            let problem = "is not in the directory that the layer's title names";
            return Err(Fault::Name { path: shown(&item.path), problem });
        }
        view.apply(&item, &mut archive)?;
    }
    let mut rest = archive.into_inner();
    io::copy(&mut rest, &mut io::sink())?;
    let found = rest.into_decoder().diff_id.map(DiffId::finish).transpose()?;
    match (diff_id, found) {
        (Some(expected), Some(found)) if expected != found.diff_id => {
            Err(Fault::DiffId { expected, found: found.diff_id })
        }
        _ => feed.finish(),
    }
}

/// Reads the one file that is in `feed`, and that goes to `path`.
pub(super) fn read_file(feed: &mut Feed, path: &str, size: u64, view: &mut View<'_>) -> Result<(), Fault> {
    let item = Item { path: path.as_bytes().to_vec(), mode: 0o644, kind: Kind::File { size } };
    view.apply(&item, &mut Whole(feed))?;
    feed.finish()
}

/// A blob that is a file.
struct Whole<'a>(&'a mut Feed);

impl Contents for Whole<'_> {
    fn next(&mut self) -> Result<Piece, Fault> {
        Ok(self.0.piece()?.into())
    }
}

/// The bytes of a tar archive, as they come out of whatever they are compressed with.
struct Tar<'a> {
    decoder: Box<dyn Read + 'a>,
    diff_id: Option<DiffId>,
    /// How many more bytes there may be.
    left: u64,
    limit: u64,
}

impl<'a> Tar<'a> {
    fn new(feed: &'a mut Feed, diff_id: Option<Digest>, limits: Limits) -> Result<Self, Fault> {
        let (_, decoder) = decompress(feed)?;
        let limit = limits.bytes.saturating_add(limits.entries.saturating_mul(HEAD_PER_ENTRY));
        let diff_id = diff_id.map(|expected| DiffId::new(expected.algorithm(), false)).transpose()?;
        Ok(Self { decoder, diff_id, left: limit, limit })
    }
}

impl Read for Tar<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.decoder.read(buffer)?;
        self.left = self.left.checked_sub(length as u64).ok_or_else(|| {
            io::Error::other(format!("it decompresses to more than {}, which is the limit", bytes(self.limit)))
        })?;
        Ok(length)
    }
}

impl Decoder for Tar<'_> {
    fn decoded(&mut self, chunk: &Bytes) {
        if let Some(diff_id) = &self.diff_id {
            diff_id.update(chunk.clone());
        }
    }
}
