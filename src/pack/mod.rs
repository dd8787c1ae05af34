//! Packing: a directory becomes a bundle, the same bytes on any machine at any time.
//!
//! [`scan`] walks the directory and says what goes in; [`Tree::pack`] reads, compresses and hashes it on all cores and
//! returns a [`Bundle`], which is a [`Source`](crate::content::Source) like any other. What the bytes have to be is
//! `bundle`'s; where they go is left to `content`. An [`Artifact`] has files as they are instead, about something else.

mod alike;
mod artifact;
mod cache;
mod digests;
mod error;
mod image;
mod layer;
mod plan;
mod read;
mod scan;
mod select;
mod walk;
mod workers;

pub use artifact::{Artifact, ArtifactFile, ArtifactOptions};
pub use cache::{Cache, CacheContents, DEFAULT_CACHE_SIZE};
pub use digests::MemberDigests;
pub use error::Error;
pub use image::{Bundle, ImageFormat, ImageOptions};
pub use layer::Reuse;
pub use plan::{MAX_LAYERS, Split};
pub use scan::{Tree, look, scan};
pub use select::{LeftOut, Selection, Symlinks, Why};

use std::num::NonZeroUsize;
use std::path::Path;

/// How to pack.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// How many threads compress. The bytes do not depend on it.
    pub threads: NonZeroUsize,
    /// Whether the layer is kept in memory, and not in a temporary file: for what is small and may be packed where no file
    /// can be written.
    pub in_memory: bool,
    /// What the image says of itself.
    pub image: ImageOptions,
    /// Whether there is to be more than one layer.
    pub split: Split,
    /// Where to look for what has been packed before, and to keep what is packed now. The bytes do not depend on it.
    pub cache: Option<Cache>,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            in_memory: false,
            image: ImageOptions::default(),
            split: Split::Never,
            cache: None,
        }
    }
}

/// Packs what is in `directory`, with nothing left out but what version control keeps there, as an image that says nothing
/// of itself: [`scan`] and [`Tree::pack`] with their defaults.
///
/// # Errors
/// Theirs.
pub fn pack(directory: &Path) -> Result<Bundle, Error> {
    scan(directory, &Selection::default())?.pack(&PackOptions::default(), &|_| ())
}
