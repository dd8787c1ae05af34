//! `oci-layout` and `index.json`: what a layout says of itself. Where they are read from and written to is left to the
//! layout.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::error::Error;
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, RawManifest, media_type, to_canonical_json};
use crate::reference::Tag;
use crate::text::excerpt;

/// The largest `index.json` that is read or written, in bytes: as large as any manifest may be.
pub(super) const MAX_INDEX_SIZE: u64 = crate::manifest::MAX_MANIFEST_SIZE;

/// The largest `oci-layout` that is read, in bytes.
pub(super) const MAX_MARKER_SIZE: u64 = 64 * 1024;

/// What `oci-layout` has to say.
pub(super) const MARKER_CONTENT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

const VERSION: &str = "1.0.0";

/// The annotation that makes an entry a tag (image-spec v1.1.1, "Pre-Defined Annotation Keys").
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// How many strings of somebody else's an error has in it.
const MAX_SHOWN: usize = 20;

/// Checks that `bytes` are an `oci-layout` of the one version that there is.
pub(super) fn check_marker(layout: &Path, bytes: &[u8]) -> Result<(), Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Marker {
        image_layout_version: String,
    }
    let marker: Marker =
        serde_json::from_slice(bytes).map_err(|source| Error::Marker { layout: layout.to_owned(), source })?;
    if marker.image_layout_version == VERSION {
        Ok(())
    } else {
        Err(Error::Version { layout: layout.to_owned(), found: marker.image_layout_version })
    }
}

/// An `index.json`. Entries and fields that are not understood here are kept as they are.
#[derive(Debug)]
pub(super) struct Index {
    layout: PathBuf,
    document: Map<String, Value>,
    entries: Vec<Value>,
}

impl Index {
    /// The `index.json` of a new layout.
    pub(super) fn empty(layout: &Path) -> Self {
        let fields = [("schemaVersion", json!(2)), ("mediaType", json!(media_type::OCI_INDEX))];
        Self {
            layout: layout.to_owned(),
            document: fields.map(|(key, value)| (key.to_owned(), value)).into_iter().collect(),
            entries: Vec::new(),
        }
    }

    /// Reads `bytes`, of which there are at most [`MAX_INDEX_SIZE`], as the `index.json` of `layout`.
    pub(super) fn parse(layout: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let invalid = |source| Error::Index { layout: layout.to_owned(), source };
        let mut document: Map<String, Value> = serde_json::from_slice(bytes).map_err(invalid)?;
        if document.get("schemaVersion") != Some(&json!(2)) {
            return Err(Error::SchemaVersion(layout.to_owned()));
        }
        // Programs in Go write null for an empty list.
        let entries = document.remove("manifests").unwrap_or(Value::Null);
        let entries = Option::<Vec<Value>>::deserialize(entries).map_err(invalid)?.unwrap_or_default();
        Ok(Self { layout: layout.to_owned(), document, entries })
    }

    /// The bytes of this `index.json`, canonical.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        let mut document = self.document.clone();
        document.insert("manifests".to_owned(), Value::Array(self.entries.clone()));
        let bytes =
            to_canonical_json(&document).map_err(|source| Error::Index { layout: self.layout.clone(), source })?;
        if bytes.len() as u64 > MAX_INDEX_SIZE { Err(Error::IndexFull(self.layout.clone())) } else { Ok(bytes) }
    }

    /// The path of the layout, for errors.
    pub(super) fn layout(&self) -> &Path {
        &self.layout
    }

    /// The descriptors of all entries that are understood.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = Descriptor> {
        self.entries.iter().filter_map(descriptor)
    }

    /// The entry with this digest, whatever its tag.
    pub(super) fn listed(&self, digest: Digest) -> Option<Descriptor> {
        self.descriptors().find(|descriptor| descriptor.digest == digest)
    }

    /// The manifest that `tag` points to.
    pub(super) fn tagged(&self, tag: &Tag) -> Result<Descriptor, Error> {
        let no_tag = || Error::NoTag { layout: self.layout.clone(), tag: tag.clone(), tags: self.tags() };
        self.find_tag(tag)?.ok_or_else(no_tag)
    }

    /// The manifest that `tag` points to, if there is such a tag.
    pub(super) fn find_tag(&self, tag: &Tag) -> Result<Option<Descriptor>, Error> {
        let named = || self.entries.iter().filter(|entry| ref_name(entry) == Some(tag.as_str()));
        let mut digests: Vec<&str> = named().map(digest).collect();
        digests.sort_unstable();
        digests.dedup();
        if digests.len() > 1 {
            let digests = shown(&digests);
            return Err(Error::AmbiguousTag { layout: self.layout.clone(), tag: tag.clone(), digests });
        }
        named().next().map(|entry| self.understood(entry)).transpose()
    }

    /// The tags, in order. Names that are no tags, such as the whole references that some programs write, are left out.
    pub(super) fn tag_names(&self) -> Vec<Tag> {
        let mut tags: Vec<Tag> = self.entries.iter().filter_map(|entry| ref_name(entry)?.parse().ok()).collect();
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    /// The only manifest that has a tag, or the only one that is listed where none has: what refers to an image stands
    /// beside it without a tag.
    pub(super) fn sole(&self) -> Result<Descriptor, Error> {
        let mut tagged = self.entries.iter().filter(|entry| ref_name(entry).is_some()).peekable();
        let Some(first) = tagged.peek().copied().or(self.entries.first()) else {
            return Err(Error::Empty(self.layout.clone()));
        };
        let is_another = |entry: &Value| digest(entry) != digest(first);
        let is_one_of_several =
            if tagged.peek().is_some() { tagged.any(is_another) } else { self.entries.iter().any(is_another) };
        if is_one_of_several {
            return Err(Error::Several { layout: self.layout.clone(), tags: self.tags() });
        }
        self.understood(first)
    }

    fn understood(&self, entry: &Value) -> Result<Descriptor, Error> {
        let required = Required::deserialize(entry);
        required.map(Descriptor::from).map_err(|source| Error::Index { layout: self.layout.clone(), source })
    }

    /// The tags, for an error.
    fn tags(&self) -> String {
        let mut tags: Vec<&str> = self.entries.iter().filter_map(ref_name).collect();
        tags.sort_unstable();
        tags.dedup();
        if tags.is_empty() { "no tags".to_owned() } else { shown(&tags) }
    }

    /// Lists a manifest that has no tag yet.
    pub(super) fn add(&mut self, descriptor: &Descriptor) {
        self.entries.push(entry(descriptor, None));
    }

    /// Lets `tag` point to this manifest, and to no other.
    pub(super) fn tag(&mut self, descriptor: &Descriptor, tag: &Tag) {
        self.entries.retain(|entry| ref_name(entry) != Some(tag.as_str()));
        self.unlist(descriptor);
        self.entries.push(entry(descriptor, Some(tag)));
    }

    /// Takes the manifests that `manifest`, an image index, names off the list, except those of which more is said
    /// there, such as a tag.
    pub(super) fn unlist_successors(&mut self, manifest: &RawManifest) {
        if let Manifest::Index(index) = manifest.manifest() {
            index.manifests.iter().for_each(|descriptor| self.unlist(descriptor));
        }
    }

    /// Undoes [`add`](Self::add).
    fn unlist(&mut self, descriptor: &Descriptor) {
        let unlisted = entry(descriptor, None);
        self.entries.retain(|entry| *entry != unlisted);
    }

    /// Puts the entries in an order that does not depend on when they were listed.
    pub(super) fn sort(&mut self) {
        self.entries.sort_by(|a, b| (ref_name(a), digest(a)).cmp(&(ref_name(b), digest(b))));
    }
}

/// The fields without which an entry is none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Required {
    media_type: String,
    digest: Digest,
    size: u64,
}

impl From<Required> for Descriptor {
    fn from(required: Required) -> Self {
        Self::new(required.media_type, required.digest, required.size)
    }
}

fn descriptor(entry: &Value) -> Option<Descriptor> {
    Required::deserialize(entry).ok().map(Descriptor::from)
}

/// The entry's digest as it is written, which may be one that is not understood here.
fn digest(entry: &Value) -> &str {
    entry.get("digest").and_then(Value::as_str).unwrap_or_default()
}

fn ref_name(entry: &Value) -> Option<&str> {
    entry.get("annotations")?.get(REF_NAME)?.as_str()
}

/// Strings of somebody else's, as an error can have them in it.
fn shown(strings: &[&str]) -> String {
    let listed = strings.iter().take(MAX_SHOWN).map(|text| excerpt(text)).collect::<Vec<String>>().join(", ");
    match strings.len().saturating_sub(MAX_SHOWN) {
        0 => listed,
        more => format!("{listed}, and {more} more"),
    }
}

/// An entry as it is written here: media type, digest, size, and the tag.
fn entry(descriptor: &Descriptor, tag: Option<&Tag>) -> Value {
    let mut entry = json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest.to_string(),
        "size": descriptor.size,
    });
    if let Some(tag) = tag {
        entry["annotations"] = json!({ REF_NAME: tag.as_str() });
    }
    entry
}
