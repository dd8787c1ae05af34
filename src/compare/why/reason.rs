//! Reasons: what differs, where, and what each side has there. How that is said to a person is left to `cli`.

use std::collections::BTreeMap;

use crate::compare::First;

/// Where in an image something differs, from the outside in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// In the manifest, or in the image index that it was found by.
    Manifest,
    /// In the configuration.
    Config,
    /// In a layer as a whole.
    Layer,
    /// In a gzip member of a layer.
    Member,
    /// In an entry of a layer's archive.
    Entry,
}

/// What differs, the most important first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The contents of a file; what each side has is how many bytes.
    Contents,
    /// A path is in the first side alone.
    Removed,
    /// A path is in the second side alone.
    Added,
    /// A path is a file in one, a directory or a link in the other.
    Type,
    /// Where a symbolic link points.
    Target,
    /// The mode of a file or directory, in octal.
    Mode,
    /// One is found through an image index; or two image indexes differ in a field.
    ImageIndex,
    /// What the image runs on.
    Platform,
    /// When the image says that it was made.
    Created,
    /// A label.
    Label,
    /// An annotation of the manifest.
    Annotation,
    /// What kind of artifact it is.
    ArtifactType,
    /// What it refers to: a digest.
    Subject,
    /// OCI's manifest or Docker's: a media type.
    Format,
    /// Whether it is a bundle, with an index.
    Bundle,
    /// The media type of the config.
    ConfigType,
    /// How many layers there are.
    Layers,
    /// The same layers are in another order.
    LayerOrder,
    /// The same files are in other layers.
    Division,
    /// The media type of a layer.
    LayerType,
    /// An annotation of a layer.
    LayerAnnotation,
    /// Another field of the manifest.
    ManifestField,
    /// How the layers came to be: numbers of steps.
    History,
    /// Another field of the config.
    ConfigField,
    /// What a layer is compressed with.
    Compression,
    /// The type in a tar header, where it makes no other file: a hard link, and a file of its own.
    EntryType,
    /// The time in a tar header.
    Time,
    /// The numbers of the user and the group in a tar header.
    Owner,
    /// The names of the user and the group in a tar header.
    OwnerName,
    /// How a path is written in a tar header: with `./` in front.
    Spelling,
    /// An entry that makes nothing that the other side does not have, too: of a directory that others are in, or one that
    /// another entry replaces.
    Unlisted,
    /// Entries are in another order, from this one on.
    Order,
    /// The format of a tar header: ustar, GNU's, or what was before.
    HeaderFormat,
    /// How a path is written that a header has no room for.
    LongName,
    /// A PAX record.
    Record,
    /// Another field of a tar header.
    HeaderField,
    /// How many zero bytes follow the last entry.
    Padding,
    /// Something else than zero bytes follows the last entry.
    Trailing,
    /// The compressor or its level: the same content comes out.
    Compressor,
    /// A field of a gzip header.
    GzipField,
    /// The bytes of a bundle's index, about the same content.
    Index,
    /// White space in JSON.
    WhiteSpace,
    /// The order of keys in JSON, or how a letter is escaped.
    KeyOrder,
    /// Something that has no name here: the first byte that differs.
    Bytes,
}

/// Something that differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reason {
    /// What it is about: the path of an entry, the key of an annotation, the name of a field.
    pub name: Option<String>,
    /// What the first side has.
    pub a: Option<String>,
    /// What the second side has.
    pub b: Option<String>,
    /// Where it begins, if that is known.
    pub first: Option<First>,
}

impl Reason {
    pub(super) fn of(a: impl Into<String>, b: impl Into<String>) -> Self {
        Self { a: Some(a.into()), b: Some(b.into()), ..Self::default() }
    }

    pub(super) fn about(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }
}

/// Reasons of one kind, at one level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// What differs.
    pub what: What,
    /// Where.
    pub level: Level,
    /// The first of them.
    pub reasons: Vec<Reason>,
    /// How many there are in all.
    pub count: usize,
}

/// The reasons that have been found so far, of which no more are kept than are wanted.
#[derive(Debug)]
pub(super) struct Reasons {
    limit: usize,
    groups: BTreeMap<(What, Level), Group>,
}

impl Reasons {
    /// None yet; of each kind, `limit` will be kept.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, groups: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, level: Level, what: What, reason: Reason) {
        let empty = || Group { what, level, reasons: Vec::new(), count: 0 };
        let group = self.groups.entry((what, level)).or_insert_with(empty);
        group.count += 1;
        if group.reasons.len() < self.limit {
            group.reasons.push(reason);
        }
    }

    /// How many have been found.
    pub(super) fn count(&self) -> usize {
        self.groups.values().map(|group| group.count).sum()
    }

    /// Whether any of this kind has been found.
    pub(super) fn has(&self, what: What) -> bool {
        self.groups.keys().any(|(found, _)| *found == what)
    }

    /// All of them, the most important first.
    pub(super) fn finish(self) -> Vec<Group> {
        self.groups.into_values().collect()
    }
}
