//! A bundle's layer, held to the letter of the format (`docs/format.md`): entries, members, index.
//!
//! What the whole layer turned out to be is written down as an index again, and the one that the layer carries has to
//! say the same. Links are only collected: where they lead shows when all layers have been read.

use std::io::{self, BufRead, Read};

use bytes::Bytes;

use super::diff_id::DiffId;
use super::error::{Fault, shown};
use super::feed::Feed;
use super::item::{Contents, Item, Piece};
use super::members::Members;
use super::view::View;
use crate::archive::{BLOCK, padding};
use crate::bundle::{
    Cutter, Entry, EntryError, Index, IndexBuilder, IndexError, Kind as EntryKind, Links, MAX_MEMBER, Order, Place,
    read_entry,
};
use crate::digest::Digest;
use crate::text::bytes;

/// How much longer than ours an index may be that says the same: it may have been compressed by something else.
const SLACK: u64 = 64 * 1024;

/// Reads the layer in `feed` whole, and shows `view` what is in it. Returns the index, byte for byte.
pub(super) fn read(
    feed: &mut Feed,
    index: &Index,
    diff_id: Digest,
    links: &mut Links,
    view: &mut View<'_>,
) -> Result<Bytes, Fault> {
    let members = Members::new(feed, DiffId::new(diff_id.algorithm(), true)?);
    let mut reading = Reading { members, builder: IndexBuilder::default() };
    reading.entries(links, view)?;
    let Reading { members, mut builder } = reading;
    let position = members.layer_position();
    let found = members.finish()?;
    found.members.iter().for_each(|digest| builder.digest(digest));
    if position != index.entries.offset {
        return Err(IndexError::Tiling { expected: index.entries.offset, found: position }.into());
    }
    if found.diff_id != diff_id {
        return Err(Fault::DiffId { expected: diff_id, found: found.diff_id });
    }
    let bytes = check_index(feed, index, builder)?;
    feed.finish()?;
    Ok(bytes.into())
}

struct Reading<'a> {
    members: Members<'a>,
    builder: IndexBuilder,
}

impl Reading<'_> {
    fn entries(&mut self, links: &mut Links, view: &mut View<'_>) -> Result<(), Fault> {
        let (mut order, mut cutter) = (Order::default(), Cutter::default());
        let mut path = String::new();
        self.members.begin()?;
        loop {
            let begins = self.members.position() == 0 || self.next_member()?;
            let entry = match read_entry(&mut self.members) {
                Ok(Some(entry)) => entry,
                Ok(None) => return self.end(begins && !path.is_empty()),
                Err(EntryError::Read(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.members.fault(format!("ends within the entry after {path:?}")));
                }
                Err(error) => return Err(error.into()),
            };
            order.next(&entry)?;
            let place = cutter.place(&entry);
            if begins != (place == Place::Begins) {
                let problem = if begins { "begins" } else { "does not begin" };
                return Err(self.members.fault(format!("{problem} at entry {:?}", entry.path())));
            }
            self.builder.entry(&entry, place);
            if let EntryKind::Symlink { target } = entry.kind() {
                links.insert(entry.path(), target);
            }
            entry.path().clone_into(&mut path);
            self.entry(&entry, view)?;
        }
    }

    /// Shows the entry, whose header has been read, and reads to the end of its last block.
    fn entry(&mut self, entry: &Entry, view: &mut View<'_>) -> Result<(), Fault> {
        let path = entry.path();
        let item = Item::from(entry);
        let is_large = entry.tar_size() > MAX_MEMBER;
        let mut contents = EntryContents { reading: self, path, left: entry.size(), is_large };
        view.apply(&item, &mut contents)?;
        let mut pad = [0; BLOCK as usize];
        let pad = &mut pad[..padding(entry.size()) as usize];
        self.members.read_exact(pad).map_err(|_| self.members.fault(format!("ends within entry {path:?}")))?;
        if pad.iter().any(|&byte| byte != 0) {
            return Err(Fault::Header { path: path.to_owned(), problem: "is not filled up with zeros" });
        }
        Ok(())
    }

    /// Goes on to the next member, if this one has ended.
    fn next_member(&mut self) -> Result<bool, Fault> {
        if !self.members.fill_buf()?.is_empty() {
            return Ok(false);
        }
        self.close();
        self.members.begin()?;
        Ok(true)
    }

    fn close(&mut self) {
        let done = self.members.done();
        self.builder.member_of(done.size, done.tar_size);
    }

    /// The archive has ended. So must its last member, which has to be that of the last entry.
    fn end(&mut self, alone: bool) -> Result<(), Fault> {
        if alone {
            return Err(self.members.fault("has nothing but the end of the archive"));
        }
        if !self.members.fill_buf()?.is_empty() {
            return Err(self.members.fault("has bytes after the end of the archive"));
        }
        self.close();
        Ok(())
    }
}

/// The contents of an entry, which go on from member to member if it is a large one.
struct EntryContents<'a, 'f> {
    reading: &'a mut Reading<'f>,
    path: &'a str,
    left: u64,
    is_large: bool,
}

impl Contents for EntryContents<'_, '_> {
    fn next(&mut self) -> Result<Piece, Fault> {
        if self.left == 0 {
            return Ok(Piece::End);
        }
        let position = self.reading.members.position();
        if self.reading.members.fill_buf()?.is_empty() {
            // Blocks and steps both are multiples of 512 bytes, so a step never lies within the last block's padding.
            if !self.is_large || position != MAX_MEMBER {
                return Err(self.reading.members.fault(format!("ends within entry {:?}", self.path)));
            }
            self.reading.close();
            self.reading.members.begin()?;
        } else if position >= MAX_MEMBER {
            let problem = format!("does not end after {MAX_MEMBER} bytes, within entry {:?}", self.path);
            return Err(self.reading.members.fault(problem));
        }
        let room = MAX_MEMBER - self.reading.members.position();
        let bytes = self.reading.members.piece(self.left.min(room))?;
        self.left -= bytes.len() as u64;
        // A member that decompresses to nothing would look like a piece of no bytes again and again.
        if bytes.is_empty() { self.next() } else { Ok(Piece::Data(bytes)) }
    }
}

/// Holds the index that the layer ends with against what the layer turned out to be.
fn check_index(feed: &mut Feed, index: &Index, builder: IndexBuilder) -> Result<Vec<u8>, Fault> {
    let ours = builder.bodies()?;
    let length = index.entries.length.saturating_add(index.members.length);
    let expected = (ours.0.len() + ours.1.len()) as u64;
    if length > 2 * expected + SLACK {
        let index = bytes(length);
        return Err(Fault::Disagreement { index, layer: format!("what takes {expected}") });
    }
    let mut theirs = vec![0; length as usize];
    feed.read_exact(&mut theirs)?;
    // They say the same, whatever has compressed them; if not, the first difference is what to tell.
    if index.bodies(&theirs)? != ours {
        tell(index, &theirs, builder)?;
    }
    Ok(theirs)
}

/// What the index says that is not so.
fn tell(index: &Index, theirs: &[u8], builder: IndexBuilder) -> Result<(), Fault> {
    let (ours, our_index) = builder.finish(index.entries.offset)?;
    let decode = |index: &Index, bytes: &[u8]| {
        let (entries, members) = bytes.split_at(index.entries.length as usize);
        Ok::<_, IndexError>((index.decode_entries(entries)?, index.decode_members(members)?))
    };
    let (their_entries, their_members) = decode(index, theirs)?;
    let (our_entries, our_members) = decode(&our_index, &ours)?;
    agree(&their_entries, &our_entries, |(entry, member)| {
        format!("entry {:?}, {:?} in member {member}", entry.path(), entry.kind())
    })?;
    agree(&their_members, &our_members, |member| {
        let (from, size, tar_size) = (shown(member.first_path.as_bytes()), member.size, member.tar_size);
        format!("a member from \"{from}\" of {}, {tar_size} in the tar, with digest {}", bytes(size), member.digest)
    })
}

/// Fails with the first row that is not the same.
fn agree<T: PartialEq>(index: &[T], layer: &[T], show: impl Fn(&T) -> String) -> Result<(), Fault> {
    let at = index.iter().zip(layer).take_while(|(index, layer)| index == layer).count();
    let row = |rows: &[T]| rows.get(at).map_or_else(|| "nothing more".to_owned(), &show);
    if index.len() == at && layer.len() == at {
        Ok(())
    } else {
        Err(Fault::Disagreement { index: row(index), layer: row(layer) })
    }
}
