//! The index: which entries a layer has, and in which members they are.

use std::collections::BTreeMap;

use super::annotation::{self, InvalidLocation, Location};
use super::entry::{Entry, EntryError, Kind};
use super::member::Place;
use super::order::{Order, OrderError};
use super::section::{self, MAX_SECTION_SIZE, SectionError, SectionKind, read_section};
use super::varint;
use crate::digest::Digest;

/// How many entries a layer has at most.
pub const MAX_ENTRIES: u64 = 1_000_000;
/// How many bytes the paths and link targets of a layer have together at most. Written after each other, they take far
/// less: without this, a few bytes of an index could take all memory.
pub const MAX_NAMES: u64 = 128 * 1024 * 1024;

/// A member: some of a layer's bytes, and the tar bytes that they decompress to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// How many bytes it has in the layer.
    pub size: u64,
    /// How many bytes it has in the tar archive.
    pub tar_size: u64,
    /// The SHA-256 digest of these tar bytes.
    pub digest: Digest,
    /// The path of the entry that it begins with or in the middle of; empty where there are no entries at all.
    pub first_path: String,
}

/// Why an index is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The layer's format is newer or older than this program.
    #[error("bundle format {0:?} is not known, expected \"1\"")]
    Format(String),
    /// An annotation is missing.
    #[error("layer has no annotation {0:?}")]
    Missing(&'static str),
    /// An annotation is not a location.
    #[error(transparent)]
    Location(#[from] InvalidLocation),
    /// The sections do not follow each other at the end of the layer.
    #[error("the index's sections do not lie one after the other at the end of the layer's {0} bytes")]
    Layout(u64),
    /// A section's bytes have another digest.
    #[error("{kind:?} of the index have digest {found}, expected {expected}")]
    Digest {
        /// Which section.
        kind: SectionKind,
        /// The digest in the annotation.
        expected: Digest,
        /// The digest of the bytes.
        found: Digest,
    },
    /// A section is not one.
    #[error(transparent)]
    Section(#[from] SectionError),
    /// A section's body breaks off or has something after its end.
    #[error("{0:?} of the index cannot be read")]
    Body(SectionKind),
    /// An entry is not one.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// There are too many entries, or their paths are too long together.
    #[error("a layer has at most {MAX_ENTRIES} entries, with paths and link targets of {MAX_NAMES} bytes together")]
    TooMany,
    /// The entries are not in order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The members do not fill the layer up to the index.
    #[error("the members fill {found} bytes of the layer, expected {expected}")]
    Tiling {
        /// Where the index begins.
        expected: u64,
        /// Where the members end.
        found: u64,
    },
}

/// Where a layer's index lies, as its annotations say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    /// The entry list.
    pub entries: Location,
    /// The member table, right after it, up to the end of the layer.
    pub members: Location,
}

impl Index {
    /// Reads the annotations of a layer of `size` bytes. A layer without any of ours is not a bundle's.
    ///
    /// # Errors
    /// When the layer says that it is a bundle's and its annotations are not as the format has them.
    pub fn of_layer(annotations: &BTreeMap<String, String>, size: u64) -> Result<Option<Self>, IndexError> {
        let Some(format) = annotations.get(annotation::FORMAT) else { return Ok(None) };
        if format != annotation::FORMAT_VERSION {
            return Err(IndexError::Format(format.clone()));
        }
        let location = |key: &'static str| -> Result<Location, IndexError> {
            Ok(annotations.get(key).ok_or(IndexError::Missing(key))?.parse()?)
        };
        let index = Self { entries: location(annotation::ENTRIES)?, members: location(annotation::MEMBERS)? };
        let adjacent = index.entries.offset + index.entries.length == index.members.offset;
        let fit = index.entries.length.max(index.members.length) <= MAX_SECTION_SIZE;
        if !adjacent || !fit || index.members.offset + index.members.length != size {
            return Err(IndexError::Layout(size));
        }
        Ok(Some(index))
    }

    /// The annotations that say this.
    #[must_use]
    pub fn annotations(&self) -> BTreeMap<String, String> {
        BTreeMap::from([
            (annotation::FORMAT.to_owned(), annotation::FORMAT_VERSION.to_owned()),
            (annotation::ENTRIES.to_owned(), self.entries.to_string()),
            (annotation::MEMBERS.to_owned(), self.members.to_string()),
        ])
    }

    /// The entries and the number of the member in which each begins, from the bytes at [`Index::entries`].
    ///
    /// # Errors
    /// When the bytes have another digest, or are not a list of entries in order.
    pub fn decode_entries(&self, bytes: &[u8]) -> Result<Vec<(Entry, u64)>, IndexError> {
        let mut entries = Vec::new();
        self.visit_entries(bytes, |entry, member| entries.push((entry, member)))?;
        Ok(entries)
    }

    /// The same, one by one, for those who do not need them all. What `visit` has seen counts for nothing when this
    /// fails.
    ///
    /// # Errors
    /// Those of [`Index::decode_entries`].
    pub fn visit_entries(&self, bytes: &[u8], visit: impl FnMut(Entry, u64)) -> Result<(), IndexError> {
        visit_entries(&verified(SectionKind::Entries, &self.entries, bytes)?, visit)
    }

    /// The members, which fill the layer from its first byte to the index, from the bytes at [`Index::members`].
    ///
    /// # Errors
    /// When the bytes have another digest, or are not a table of members that fill the layer.
    pub fn decode_members(&self, bytes: &[u8]) -> Result<Vec<Member>, IndexError> {
        let members = decode_members(&verified(SectionKind::Members, &self.members, bytes)?)?;
        let found = members.iter().fold(0_u64, |sum, member| sum.saturating_add(member.size));
        if found != self.entries.offset {
            return Err(IndexError::Tiling { expected: self.entries.offset, found });
        }
        Ok(members)
    }
}

fn verified(kind: SectionKind, location: &Location, bytes: &[u8]) -> Result<Vec<u8>, IndexError> {
    let found = location.digest.algorithm().digest(bytes);
    if found != location.digest || bytes.len() as u64 != location.length {
        return Err(IndexError::Digest { kind, expected: location.digest, found });
    }
    Ok(read_section(kind, bytes)?)
}

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
        self.members.path(&self.first_path);
        varint::write(&mut self.members.body, size);
        varint::write(&mut self.members.body, tar_size);
        self.digests.extend_from_slice(digest.as_bytes());
        self.member += 1;
    }

    /// The bodies of the entry list and of the member table.
    #[must_use]
    pub fn bodies(self) -> (Vec<u8>, Vec<u8>) {
        let entries = self.entries.finish();
        let mut members = self.members.finish();
        members.extend_from_slice(&self.digests);
        (entries, members)
    }

    /// The bytes that follow the last member in the layer, which is `offset` bytes long so far, and where they lie.
    ///
    /// # Errors
    /// When there are too many entries for a section.
    pub fn finish(self, offset: u64) -> Result<(Vec<u8>, Index), IndexError> {
        self.budget.check()?;
        let (entries, members) = self.bodies();
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

/// How much the entries of a layer take when they are in memory.
#[derive(Clone, Copy, Debug, Default)]
struct Budget {
    entries: u64,
    names: u64,
}

impl Budget {
    fn take(&mut self, entry: &Entry) {
        let target = match entry.kind() {
            Kind::Symlink { target } => target.len(),
            Kind::Directory | Kind::File { .. } => 0,
        };
        self.entries += 1;
        self.names += (entry.path().len() + target) as u64;
    }

    fn check(self) -> Result<(), IndexError> {
        if self.entries > MAX_ENTRIES || self.names > MAX_NAMES { Err(IndexError::TooMany) } else { Ok(()) }
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

    fn finish(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.body.len() + 10);
        varint::write(&mut body, self.rows);
        body.extend_from_slice(&self.body);
        body
    }
}

/// How many bytes two paths have in common at their front.
fn shared(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

/// Takes a path from the front of a row.
fn take_path(input: &mut &[u8], previous: &str) -> Option<String> {
    let kept = usize::try_from(varint::read(input)?).ok()?;
    let suffix = take_bytes(input)?;
    let mut path = previous.as_bytes().get(..kept)?.to_vec();
    path.extend_from_slice(suffix);
    let path = String::from_utf8(path).ok()?;
    // There is one way to write a path after another.
    (shared(previous, &path) == kept).then_some(path)
}

fn take_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint::read(input)?).ok()?;
    let (bytes, rest) = input.split_at_checked(length)?;
    *input = rest;
    Some(bytes)
}

/// Shows the entries of a body, and the number of the member in which each begins.
fn visit_entries(body: &[u8], mut visit: impl FnMut(Entry, u64)) -> Result<(), IndexError> {
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
fn decode_members(body: &[u8]) -> Result<Vec<Member>, IndexError> {
    let decode = || {
        let mut input = body;
        let rows = varint::read(&mut input)?;
        let mut members = Vec::new();
        let mut path = String::new();
        for _ in 0..rows {
            path = take_path(&mut input, &path)?;
            let (size, tar_size) = (varint::read(&mut input)?, varint::read(&mut input)?);
            members.push(Member { size, tar_size, digest: Digest::from_sha256([0; 32]), first_path: path.clone() });
        }
        let (digests, rest) = input.as_chunks::<32>();
        if digests.len() != members.len() || !rest.is_empty() {
            return None;
        }
        for (member, digest) in members.iter_mut().zip(digests) {
            member.digest = Digest::from_sha256(*digest);
        }
        Some(members)
    };
    decode().ok_or(IndexError::Body(SectionKind::Members))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode_entries(body: &[u8]) -> Result<(), IndexError> {
        visit_entries(body, |_, _| ())
    }

    fn sample() -> (Vec<(Entry, u64)>, Vec<Member>, IndexBuilder) {
        let entry = |path: &str, kind| Entry::new(path, kind).unwrap();
        let entries = vec![
            (entry("a", Kind::Directory), 0),
            (entry("a/é.yaml", Kind::File { size: 300, executable: false }), 0),
            (entry("a/è.yaml", Kind::Symlink { target: "é.yaml".into() }), 0),
            (entry("big", Kind::File { size: 2_500_000, executable: true }), 1),
            (entry("z", Kind::File { size: 0, executable: false }), 4),
        ];
        let mut entries = entries;
        entries.sort_by(|a, b| super::super::compare_paths(a.0.path(), b.0.path()));
        let mut builder = IndexBuilder::default();
        let mut members = Vec::new();
        let mut add = |builder: &mut IndexBuilder, first_path: &str, tar_size| {
            let member = Member {
                size: 100,
                tar_size,
                digest: Digest::sha256(&[tar_size as u8]),
                first_path: first_path.into(),
            };
            builder.member(member.size, member.tar_size, &member.digest);
            members.push(member);
        };
        builder.entry(&entries[0].0, Place::Begins);
        builder.entry(&entries[1].0, Place::Continues);
        builder.entry(&entries[2].0, Place::Continues);
        add(&mut builder, "a", 2560);
        builder.entry(&entries[3].0, Place::Begins);
        add(&mut builder, "big", 1_048_576);
        add(&mut builder, "big", 1_048_575);
        add(&mut builder, "big", 400_000);
        builder.entry(&entries[4].0, Place::Begins);
        add(&mut builder, "z", 1536);
        (entries, members, builder)
    }

    #[test]
    fn an_index_is_read_as_it_is_written() {
        let (entries, members, builder) = sample();
        let (bytes, index) = builder.finish(500).unwrap();
        let (list, table) = bytes.split_at(index.entries.length as usize);
        assert_eq!(index.decode_entries(list).unwrap(), entries);
        assert_eq!(index.decode_members(table).unwrap(), members);
        let size = 500 + bytes.len() as u64;
        assert_eq!(Index::of_layer(&index.annotations(), size).unwrap(), Some(index));
        assert!(matches!(Index::of_layer(&index.annotations(), size + 1), Err(IndexError::Layout(_))));
        assert_eq!(Index::of_layer(&BTreeMap::new(), size).unwrap(), None);
    }

    #[test]
    fn an_index_that_says_something_else_than_the_manifest_is_refused() {
        let (_, _, builder) = sample();
        let (bytes, mut index) = builder.finish(500).unwrap();
        let (list, table) = bytes.split_at(index.entries.length as usize);
        let mut changed = list.to_vec();
        changed[20] ^= 1;
        assert!(matches!(index.decode_entries(&changed), Err(IndexError::Digest { .. })));
        assert!(matches!(index.decode_members(list), Err(IndexError::Digest { .. })));
        index.entries.offset += 1;
        assert!(matches!(index.decode_members(table), Err(IndexError::Tiling { expected: 501, found: 500 })));
    }

    #[test]
    fn annotations_that_are_not_ours_to_the_letter_are_refused() {
        let (_, _, builder) = sample();
        let (bytes, index) = builder.finish(500).unwrap();
        let size = 500 + bytes.len() as u64;
        let with = |key: &str, value: &str| {
            let mut annotations = index.annotations();
            annotations.insert(key.into(), value.into());
            Index::of_layer(&annotations, size)
        };
        assert!(matches!(with(annotation::FORMAT, "2"), Err(IndexError::Format(_))));
        let digest = index.entries.digest;
        for wrong in [
            "",
            "1",
            "1+1",
            &format!("+1+1@{digest}"),
            &format!("01+1@{digest}"),
            &format!("{}+{0}@{digest}", u64::MAX),
        ] {
            assert!(matches!(with(annotation::ENTRIES, wrong), Err(IndexError::Location(_))), "{wrong}");
        }
        assert!(matches!(with(annotation::ENTRIES, &format!("0+1@{digest}")), Err(IndexError::Layout(_))));
    }

    #[test]
    fn a_body_that_breaks_off_anywhere_is_refused() {
        let (entries, members) = sample().2.bodies();
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

        let mut budget = Budget { entries: MAX_ENTRIES - 1, names: 0 };
        let entry = Entry::new("f", Kind::Directory).unwrap();
        budget.take(&entry);
        budget.check().unwrap();
        budget.take(&entry);
        assert!(matches!(budget.check(), Err(IndexError::TooMany)));
        assert!(matches!(Budget { entries: 1, names: MAX_NAMES + 1 }.check(), Err(IndexError::TooMany)));
    }

    #[test]
    fn a_section_that_is_longer_than_any_is_refused_before_it_is_read() {
        let digest = Digest::sha256(b"");
        let index = Index {
            entries: Location { offset: 0, length: 1 << 40, digest },
            members: Location { offset: 1 << 40, length: 78, digest },
        };
        let found = Index::of_layer(&index.annotations(), (1 << 40) + 78);
        assert!(matches!(found, Err(IndexError::Layout(_))));
    }

    proptest! {
        #[test]
        fn reading_never_panics(bytes: Vec<u8>) {
            let _ = decode_entries(&bytes);
            let _ = decode_members(&bytes);
        }
    }
}
