//! The bodies of an index's sections: a row for each entry, and one for each member.

use std::sync::Arc;

use super::annotation::Location;
use super::entry::{Entry, Kind, MAX_PATH};
use super::index::{Index, IndexError, Member};
use super::member::Place;
use super::order::Order;
use super::section::{self, MAX_SECTION, SectionKind};
use super::varint;
use crate::digest::Digest;

/// How many entries a layer has at most.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// How many bytes the paths and link targets of a layer have together at most. Written after each other, they take far
/// less: without this, a few bytes of an index could take all memory.
pub const MAX_NAMES: u64 = 128 * 1024 * 1024;

/// How many bytes a digest has in the member table.
const DIGEST: usize = 32;
/// How many members a table can have: of each, four numbers and a digest.
pub(super) const MAX_MEMBERS: u64 = MAX_SECTION / (4 + DIGEST as u64);

/// Makes the bodies of both sections, entry by entry and member by member.
///
/// Who packs writes them; who unpacks makes them again from what was found, and compares.
#[derive(Debug, Default)]
pub struct IndexBuilder {
    entries: FrontCoded,
    members: FrontCoded,
    digests: Vec<u8>,
    budget: Budget,
    /// The member in which the last entry begins.
    last_begun: u64,
    member: u64,
    first_path: String,
}

impl IndexBuilder {
    /// Adds the next entry, which begins a member or continues one. It comes before its (first) member is added.
    pub fn entry(&mut self, entry: &Entry, place: Place) {
        if place == Place::Begins {
            entry.path().clone_into(&mut self.first_path);
        }
        self.budget.take(entry);
        self.entries.path(entry.path());
        let out = &mut self.entries.body;
        out.push(match entry.kind() {
            Kind::Directory => 0,
            Kind::File { executable: false, .. } => 1,
            Kind::File { executable: true, .. } => 2,
            Kind::Symlink { .. } => 3,
        });
        varint::write(out, self.member - self.last_begun);
        self.last_begun = self.member;
        match entry.kind() {
            Kind::Directory => {}
            Kind::File { size, .. } => varint::write(out, *size),
            Kind::Symlink { target } => {
                varint::write(out, target.len() as u64);
                out.extend_from_slice(target.as_bytes());
            }
        }
    }

    /// Adds the next member, once every entry that begins in it has been added: how many bytes it has in the layer and
    /// in the tar archive, and the SHA-256 digest of the latter.
    pub fn member(&mut self, size: u64, tar_size: u64, digest: &Digest) {
        self.member_of(size, tar_size);
        self.digest(digest);
    }

    /// The same without the digest, which is added later.
    pub fn member_of(&mut self, size: u64, tar_size: u64) {
        self.members.path(&self.first_path);
        varint::write(&mut self.members.body, size);
        varint::write(&mut self.members.body, tar_size);
        self.member += 1;
    }

    /// Adds the digest of the first member that was added without one.
    pub fn digest(&mut self, digest: &Digest) {
        self.digests.extend_from_slice(digest.as_bytes());
    }

    /// The bodies of the entry list and of the member table.
    ///
    /// # Errors
    /// When there are too many entries for an index.
    pub fn bodies(&self) -> Result<(Vec<u8>, Vec<u8>), IndexError> {
        self.budget.check()?;
        let entries = self.entries.finish();
        let mut members = self.members.finish();
        members.extend_from_slice(&self.digests);
        Ok((entries, members))
    }

    /// The bytes that follow the last member in the layer, which is `offset` bytes long so far, and where they lie.
    ///
    /// # Errors
    /// When there are too many entries for a section.
    pub fn finish(self, offset: u64) -> Result<(Vec<u8>, Index), IndexError> {
        let (entries, members) = self.bodies()?;
        let mut bytes = section::write(SectionKind::Entries, &entries)?;
        let entries = locate(offset, &bytes);
        let table = section::write(SectionKind::Members, &members)?;
        let members = locate(offset + entries.length, &table);
        bytes.extend_from_slice(&table);
        Ok((bytes, Index { entries, members }))
    }
}

fn locate(offset: u64, bytes: &[u8]) -> Location {
    Location { offset, length: bytes.len() as u64, digest: Digest::sha256(bytes) }
}

/// How much the entries of a layer take when they are in memory, or those of several together.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Budget {
    entries: u64,
    names: u64,
    members: u64,
}

impl Budget {
    pub(super) fn take(&mut self, entry: &Entry) {
        let target = match entry.kind() {
            Kind::Symlink { target } => target.len(),
            Kind::Directory | Kind::File { .. } => 0,
        };
        self.take_names(entry.path().len() + target);
    }

    fn take_names(&mut self, length: usize) {
        self.entries += 1;
        self.names += length as u64;
    }

    /// The members of a large file are many and have no names of their own.
    pub(super) fn take_members(&mut self, count: usize) {
        self.members += count as u64;
    }

    pub(super) fn check(self) -> Result<(), IndexError> {
        let Self { entries, names, members } = self;
        let is_within = entries <= MAX_ENTRIES && names <= MAX_NAMES && members <= MAX_MEMBERS;
        if is_within { Ok(()) } else { Err(IndexError::TooMany) }
    }
}

/// A sequence of rows that each begin with a path, of which only what differs from the path before is written.
#[derive(Debug, Default)]
struct FrontCoded {
    rows: u64,
    previous: String,
    body: Vec<u8>,
}

impl FrontCoded {
    fn path(&mut self, path: &str) {
        let shared = shared(&self.previous, path);
        varint::write(&mut self.body, shared as u64);
        varint::write(&mut self.body, (path.len() - shared) as u64);
        self.body.extend_from_slice(&path.as_bytes()[shared..]);
        path.clone_into(&mut self.previous);
        self.rows += 1;
    }

    fn finish(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.body.len() + 10);
        varint::write(&mut body, self.rows);
        body.extend_from_slice(&self.body);
        body
    }
}

/// How many bytes two paths have in common at their front.
fn shared(a: &str, b: &str) -> usize {
    let differ = a.bytes().zip(b.bytes()).position(|(a, b)| a != b);
    differ.unwrap_or_else(|| a.len().min(b.len()))
}

/// Takes a path from the front of a row.
fn take_path(input: &mut &[u8], previous: &str) -> Option<String> {
    let kept = usize::try_from(varint::read(input)?).ok()?;
    let suffix = take_bytes(input)?;
    let (front, next) = previous.as_bytes().split_at_checked(kept)?;
    // There is one way to write a path after another.
    if next.first().is_some_and(|next| suffix.first() == Some(next)) {
        return None;
    }
    String::from_utf8([front, suffix].concat()).ok()
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint::read(input)?).ok()?;
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

/// Shows the entries of a body, and the number of the member in which each begins.
pub(super) fn visit_entries(body: &[u8], mut visit: impl FnMut(Entry, u64)) -> Result<(), IndexError> {
    let broken = || IndexError::Body(SectionKind::Entries);
    let mut input = body;
    let rows = varint::read(&mut input).ok_or_else(broken)?;
    let mut order = Order::default();
    let mut budget = Budget::default();
    let mut path = String::new();
    let mut member = 0_u64;
    for _ in 0..rows {
        path = take_path(&mut input, &path).ok_or_else(broken)?;
        let (kind, step) = take_kind(&mut input).ok_or_else(broken)?;
        let entry = Entry::new(path.clone(), kind)?;
        order.next(&entry)?;
        budget.take(&entry);
        budget.check()?;
        member = member.checked_add(step).ok_or_else(broken)?;
        visit(entry, member);
    }
    if input.is_empty() { Ok(()) } else { Err(broken()) }
}

fn take_kind(input: &mut &[u8]) -> Option<(Kind, u64)> {
    let (&kind, rest) = input.split_first()?;
    *input = rest;
    let step = varint::read(input)?;
    let kind = match kind {
        0 => Kind::Directory,
        1 | 2 => Kind::File { size: varint::read(input)?, executable: kind == 2 },
        3 => Kind::Symlink { target: String::from_utf8(take_bytes(input)?.to_vec()).ok()? },
        _ => return None,
    };
    Some((kind, step))
}

/// The members of a body.
///
/// They take no more memory than the entries would whose paths they name: a path is kept once for all members that begin
/// with it, which are many where a file is large.
pub(super) fn decode_members(body: &[u8]) -> Result<Vec<Member>, IndexError> {
    let broken = || IndexError::Body(SectionKind::Members);
    let mut input = body;
    let rows = varint::read(&mut input).ok_or_else(broken)?;
    // The digests, of which there is one for each row, are at the end.
    let length = usize::try_from(rows).ok().and_then(|rows| rows.checked_mul(DIGEST));
    let end = length.and_then(|length| input.len().checked_sub(length)).ok_or_else(broken)?;
    let (mut input, digests) = input.split_at(end);
    let mut members = Vec::with_capacity(digests.len() / DIGEST);
    let mut budget = Budget::default();
    let mut path: Arc<str> = Arc::default();
    for digest in digests.as_chunks::<DIGEST>().0 {
        let first = take_path(&mut input, &path).filter(|path| path.len() <= MAX_PATH).ok_or_else(broken)?;
        if *first != *path {
            budget.take_names(first.len());
            budget.check()?;
            path = first.into();
        }
        let sizes = varint::read(&mut input).zip(varint::read(&mut input));
        let (size, tar_size) = sizes.ok_or_else(broken)?;
        let digest = Digest::from_sha256(*digest);
        members.push(Member { size, tar_size, digest, first_path: Arc::clone(&path) });
    }
    if input.is_empty() { Ok(members) } else { Err(broken()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::index::tests::sample;
    use proptest::prelude::*;

    fn decode_entries(body: &[u8]) -> Result<(), IndexError> {
        visit_entries(body, |_, _| ())
    }

    #[test]
    fn a_body_that_breaks_off_anywhere_is_refused() {
        let (entries, members) = sample().2.bodies().unwrap();
        for length in 0..entries.len() {
            assert!(decode_entries(&entries[..length]).is_err());
        }
        for length in 0..members.len() {
            assert!(decode_members(&members[..length]).is_err());
        }
        assert!(decode_entries(&[&entries[..], &[0]].concat()).is_err());
        assert!(decode_members(&[&members[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_few_bytes_of_index_do_not_take_all_memory() {
        let mut body = Vec::new();
        let rows = 40_000;
        varint::write(&mut body, rows);
        let parent = format!("d{}", "/d".repeat(2000));
        for row in 0..rows {
            let name = format!("{row:08}");
            let suffix = if row == 0 { format!("{parent}/{name}") } else { name };
            varint::write(&mut body, if row == 0 { 0 } else { parent.len() as u64 + 1 });
            varint::write(&mut body, suffix.len() as u64);
            body.extend_from_slice(suffix.as_bytes());
            body.extend_from_slice(&[1, 0, 0]);
        }
        // Whatever is wrong with it first, it is not read to its end.
        assert!(decode_entries(&body).is_err());

        let mut budget = Budget { entries: MAX_ENTRIES - 1, ..Budget::default() };
        let entry = Entry::new("f", Kind::Directory).unwrap();
        budget.take(&entry);
        budget.check().unwrap();
        budget.take(&entry);
        assert!(matches!(budget.check(), Err(IndexError::TooMany)));
        let budget = Budget { names: MAX_NAMES + 1, ..Budget::default() };
        assert!(matches!(budget.check(), Err(IndexError::TooMany)));
    }

    /// A table of members that begin with these paths.
    fn table<'a>(paths: impl IntoIterator<Item = &'a str>) -> Vec<u8> {
        let (mut builder, digest) = (IndexBuilder::default(), Digest::sha256(b""));
        for path in paths {
            path.clone_into(&mut builder.first_path);
            builder.member(1, 1, &digest);
        }
        let mut body = builder.members.finish();
        body.extend_from_slice(&builder.digests);
        body
    }

    #[test]
    fn a_few_bytes_of_member_table_do_not_take_all_memory() {
        let longest = "d".repeat(MAX_PATH);
        assert_eq!(decode_members(&table([&*longest])).unwrap()[0].first_path.len(), MAX_PATH);
        let too_long = format!("{longest}d");
        assert!(matches!(decode_members(&table([&*too_long])), Err(IndexError::Body(_))));

        // Each row takes a few bytes of the table, and kept most of 4 KiB.
        let paths: Vec<_> = (0..40_000).map(|row| format!("{}{row:08}", &longest[8..])).collect();
        let paths = paths.iter().map(|path| &**path);
        assert!(matches!(decode_members(&table(paths)), Err(IndexError::TooMany)));

        // More rows than there are digests for are not begun with.
        let mut body = Vec::new();
        varint::write(&mut body, 1 << 40);
        body.extend_from_slice(&[0; 40]);
        assert!(matches!(decode_members(&body), Err(IndexError::Body(_))));
    }

    #[test]
    fn a_large_file_has_its_path_once_however_many_members_it_has() {
        let path = "d".repeat(MAX_PATH);
        let members = decode_members(&table(std::iter::repeat_n(&*path, 40_000))).unwrap();
        assert!(members.iter().all(|member| Arc::ptr_eq(&member.first_path, &members[0].first_path)));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = decode_entries(&bytes);
            let _ = decode_members(&bytes);
        }
    }
}
