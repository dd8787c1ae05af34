//! Manifests and what they are made of (image-spec v1.1.1): descriptors, media types, canonical JSON.
//!
//! A manifest is named by the digest of its bytes, so [`RawManifest`] keeps them verbatim; [`Manifest`] is what can be
//! read in them. Where they come from and go to is left to `content` and what stands on it.

mod config;
mod descriptor;
mod image;
mod json;
pub mod media_type;
mod raw;

pub use config::{History, ImageConfig, Labels, MAX_CONFIG_SIZE, RootFs, Run, RuntimeConfig};
pub use descriptor::{Annotations, Descriptor, Platform};
pub use image::{ImageIndex, ImageManifest, Manifest};
pub use json::to_canonical_json;
pub use raw::{Invalid, MAX_MANIFEST_SIZE, RawManifest};
