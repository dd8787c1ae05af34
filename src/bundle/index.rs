//! The index: where it lies in a layer, and that what is read there is what the manifest says. Its rows are left to
//! `body`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::annotation::{self, InvalidLocation, Location};
use super::body::{MAX_ENTRIES, MAX_MEMBERS, MAX_NAMES, decode_members, visit_entries};
use super::entry::{Entry, EntryError};
use super::order::OrderError;
use super::section::{MAX_SECTION_SIZE, SectionError, SectionKind, read_section};
use crate::digest::Digest;
use crate::text::bytes;

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
    pub first_path: Arc<str>,
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
    #[error("the index's sections do not lie one after the other at the end of the layer, which has {}", bytes(*.0))]
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
    /// There are too many entries or members, or their paths are too long together.
    #[error(
        "too much for an index: at most {MAX_ENTRIES} entries with paths and link targets of {MAX_NAMES} bytes, and \
         {MAX_MEMBERS} members, in all layers together"
    )]
    TooMany,
    /// The entries are not in order.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// The members do not fill the layer up to the index.
    #[error("the members fill {} of the layer, expected {expected}", bytes(*found))]
    Tiling {
        /// Where the index begins.
        expected: u64,
        /// Where the members end.
        found: u64,
    },
    /// The members are not those that the entries make.
    #[error("the member table is not that of the entries in the entry list, from member {0} on")]
    Disagreement(usize),
    /// Layers of one bundle both have something here.
    #[error("entry {0:?} is in two layers, and is not a directory in both")]
    Twice(String),
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

    /// The bodies of both sections, which follow each other in `bytes`: what [`IndexBuilder::bodies`] makes, however it has
    /// been compressed.
    ///
    /// # Errors
    /// When the bytes have another digest, or are no sections.
    ///
    /// [`IndexBuilder::bodies`]: super::IndexBuilder::bodies
    pub fn bodies(&self, bytes: &[u8]) -> Result<(Vec<u8>, Vec<u8>), IndexError> {
        let (entries, members) = bytes.split_at_checked(self.entries.length as usize).unwrap_or((bytes, &[]));
        let entries = verified(SectionKind::Entries, &self.entries, entries)?;
        Ok((entries, verified(SectionKind::Members, &self.members, members)?))
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::bundle::{IndexBuilder, Kind, Place};

    pub fn sample() -> (Vec<(Entry, u64)>, Vec<Member>, IndexBuilder) {
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
    fn a_section_that_is_longer_than_any_is_refused_before_it_is_read() {
        let digest = Digest::sha256(b"");
        let index = Index {
            entries: Location { offset: 0, length: 1 << 40, digest },
            members: Location { offset: 1 << 40, length: 78, digest },
        };
        let found = Index::of_layer(&index.annotations(), (1 << 40) + 78);
        assert!(matches!(found, Err(IndexError::Layout(_))));
    }
}
