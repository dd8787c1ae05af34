//! Annotations of a bundle's layer, and where they go when the manifest has no room for any.

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::manifest::{Annotations, Descriptor, Labels, RawManifest, media_type};

/// The version of the bundle format; here always [`FORMAT_VERSION`].
pub const FORMAT: &str = "dev.bndlr.format";
/// Where the entry list is: a [`Location`].
pub const ENTRIES: &str = "dev.bndlr.index.entries";
/// Where the member table is: a [`Location`].
pub const MEMBERS: &str = "dev.bndlr.index.members";
/// The version of the format that this program writes and reads.
pub const FORMAT_VERSION: &str = "1";

/// The file name of a layer; `.` makes ORAS unpack it in place.
pub const TITLE: &str = "org.opencontainers.image.title";
/// Makes ORAS unpack a layer.
pub const ORAS_UNPACK: &str = "io.deis.oras.content.unpack";
/// The digest of what ORAS unpacks: the diff ID.
pub const ORAS_DIGEST: &str = "io.deis.oras.content.digest";

/// The label of an image's configuration that stands for an annotation of the layer with this number, counted from 0.
/// Docker's schema 2 has no annotations.
#[must_use]
pub fn label(annotation: &str, layer: usize) -> String {
    format!("{annotation}.{layer}")
}

/// Whether a label of this name stands for an annotation of a layer.
#[must_use]
pub fn is_label(name: &str) -> bool {
    let follows = |annotation: &&str| name.strip_prefix(annotation).is_some_and(|rest| rest.starts_with('.'));
    [FORMAT, ENTRIES, MEMBERS].iter().any(follows)
}

/// The annotations of the layer with this number, for every reader the same: of a schema 2 manifest, and there only,
/// they are what the labels of the image's configuration stand for.
#[must_use]
pub fn of_layer(manifest: &RawManifest, number: usize, layer: &Descriptor, labels: Option<&Labels>) -> Annotations {
    if manifest.media_type() != media_type::DOCKER_MANIFEST {
        return layer.annotations.clone();
    }
    let annotation = |key: &str| Some((key.to_owned(), labels?.get(&label(key, number))?.clone()));
    [FORMAT, ENTRIES, MEMBERS].into_iter().filter_map(annotation).collect()
}

/// A range of a layer's bytes and their digest, written `<offset>+<length>@<digest>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// Where the range begins, in bytes from the start of the layer.
    pub offset: u64,
    /// How many bytes it has.
    pub length: u64,
    /// The digest of these bytes.
    pub digest: Digest,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}@{}", self.offset, self.length, self.digest)
    }
}

/// A string that is no location.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a location in a layer: expected <offset>+<length>@<digest>")]
pub struct InvalidLocation(String);

impl FromStr for Location {
    type Err = InvalidLocation;

    fn from_str(text: &str) -> Result<Self, InvalidLocation> {
        let parse = || {
            let (range, digest) = text.split_once('@')?;
            let (offset, length) = range.split_once('+')?;
            let location =
                Self { offset: offset.parse().ok()?, length: length.parse().ok()?, digest: digest.parse().ok()? };
            // Numbers have one spelling, and the end of the range has to be a number, too.
            (location.to_string() == text && location.offset.checked_add(location.length).is_some()).then_some(location)
        };
        parse().ok_or_else(|| InvalidLocation(text.to_owned()))
    }
}
