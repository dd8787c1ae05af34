//! OCI image layouts (image-spec v1.1.1, "OCI Image Layout Specification"): as a [`Directory`], and in one tar file,
//! which is read as an [`Archive`] and written by an [`ArchiveWriter`].
//!
//! A tag is an entry of `index.json` with the annotation `org.opencontainers.image.ref.name`, as Skopeo and Umoci have
//! it. Everything else in `index.json` is kept as it was found. How a user names a layout is left to `cli`, what its
//! layers contain to `bundle` and `unpack`.

mod archive;
mod directory;
mod error;
mod file;
mod index;
mod referrers;
mod scan;
mod writer;

pub use archive::Archive;
pub use directory::Directory;
pub use writer::ArchiveWriter;

use std::path::{Path, PathBuf};

use error::Error;
use index::Index;

use crate::content::{self, Open};
use crate::digest::Digest;
use crate::manifest::{Descriptor, MAX_MANIFEST_SIZE, RawManifest};
use crate::reference::Identifier;

/// The file that says that this is an image layout, and of which version.
const MARKER: &str = "oci-layout";
/// The image index that lists what the layout has.
const INDEX: &str = "index.json";
/// The directory of all content, by algorithm and digest.
const BLOBS: &str = "blobs";

/// Where the blob of this digest is, relative to the layout.
fn blob_path(digest: &Digest) -> PathBuf {
    Path::new(BLOBS).join(digest.algorithm().name()).join(digest.hex())
}

/// The manifest that `identifier` picks: one that `index` lists, or the blob of that digest, if it is a manifest of at
/// most [`MAX_MANIFEST_SIZE`] bytes (image indexes name manifests that `index.json` does not list).
///
/// `size` is the size in bytes of the blob with that digest, if there is one.
async fn resolve(
    index: &Index,
    identifier: &Identifier,
    size: impl Future<Output = Result<Option<u64>, Error>>,
    blobs: &dyn Open,
) -> Result<Descriptor, content::Error> {
    let digest = match identifier {
        Identifier::Tag(tag) => return Ok(index.tagged(tag)?),
        Identifier::Digest(digest) => *digest,
    };
    if let Some(descriptor) = index.listed(digest) {
        return Ok(descriptor);
    }
    let no_manifest = || Error::NoManifest { layout: index.layout().to_owned(), digest };
    let size = size.await?.filter(|&size| size <= MAX_MANIFEST_SIZE).ok_or_else(no_manifest)?;
    let bytes = blobs.open(&Descriptor::new("", digest, size)).await?.read_all().await?;
    let manifest = RawManifest::parse("", bytes).map_err(|_| no_manifest())?;
    Ok(Descriptor::new(manifest.media_type(), digest, size))
}
