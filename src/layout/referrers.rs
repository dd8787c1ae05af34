//! Which manifests of a layout refer to another one. A layout has no list of them (image-spec v1.1.1, "OCI Image Layout
//! Specification"), so that each manifest that `index.json` leads to is looked at.

use std::collections::HashSet;

use super::index::Index;
use crate::content::{Error, ErrorKind, Open, read_manifest};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, media_type};

/// The manifests, among those that `index` lists or names through image indexes, that have `subject` as their subject, in
/// the order of their digests.
pub(super) async fn referrers(
    index: &Index,
    blobs: &dyn Open,
    subject: Digest,
    artifact_type: Option<&str>,
) -> Result<Vec<Descriptor>, Error> {
    let mut found = Vec::new();
    let mut left: Vec<Descriptor> = index.descriptors().collect();
    let mut seen = HashSet::new();
    while let Some(descriptor) = left.pop() {
        if !media_type::is_manifest(&descriptor.media_type) || !seen.insert(descriptor.digest) {
            continue;
        }
        let manifest = match read_manifest(blobs, &descriptor).await {
            // What an image index names may have been left out of the layout.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            manifest => manifest?,
        };
        if manifest.manifest().subject().is_some_and(|of| of.digest == subject) {
            found.push(Descriptor { digest: descriptor.digest, ..manifest.referrer() });
        }
        if let Manifest::Index(index) = manifest.manifest() {
            left.extend(index.manifests.iter().filter(|named| !seen.contains(&named.digest)).cloned());
        }
    }
    found.retain(|referrer| referrer.has_artifact_type(artifact_type));
    found.sort_unstable_by_key(|referrer| referrer.digest);
    Ok(found)
}
