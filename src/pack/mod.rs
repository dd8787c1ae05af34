//! Packing: a directory becomes a bundle, the same bytes on any machine at any time.
//!
//! [`scan`] walks the directory and says what goes in; [`Tree::pack`] reads, compresses and hashes it on all cores and
//! returns a [`Bundle`], which is a [`Source`](crate::content::Source) like any other. What the bytes have to be is
//! `bundle`'s; where they go is left to `content`. An [`Artifact`] has files as they are instead, about something else.

mod artifact;
mod digests;
mod error;
mod image;
mod layer;
mod read;
mod scan;
mod select;
mod walk;

pub use artifact::{Artifact, ArtifactFile, ArtifactOptions};
pub use digests::MemberDigests;
pub use error::Error;
pub use image::{Bundle, ImageFormat, ImageOptions};
pub use scan::{Tree, scan};
pub use select::{Selection, Symlinks};

use std::num::NonZeroUsize;

/// How to pack.
#[derive(Clone, Debug)]
pub struct PackOptions {
    /// How many threads compress. The bytes do not depend on it.
    pub threads: NonZeroUsize,
    /// What the image says of itself.
    pub image: ImageOptions,
}

impl Default for PackOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            image: ImageOptions::default(),
        }
    }
}
