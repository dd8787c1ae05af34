//! What a manifest and its config say that is worth a line.

use futures::TryStreamExt;
use maud::{Markup, Render, html};

use super::Visit;
use crate::bundle::annotation;
use crate::digest::Digest;
use crate::manifest::{ImageConfig, ImageManifest, Manifest, RawManifest, media_type};
use crate::reference::Name;
use crate::server::answer::Result;
use crate::server::storage::{Blob, Error};

/// The largest config that is read, in bytes.
const MAX_CONFIG: u64 = 1024 * 1024;

/// What kind of thing a manifest stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bundle,
    Image,
    Artifact,
    Index,
}

impl Kind {
    /// Docker's schema 2 says only in its config that it is a bundle.
    pub(super) fn of(manifest: &RawManifest, config: Option<&ImageConfig>) -> Self {
        let Manifest::Image(image) = manifest.manifest() else { return Self::Index };
        let labels = config.and_then(ImageConfig::labels);
        let is_bundle = image.layers.iter().enumerate().any(|(number, layer)| {
            annotation::of_layer(manifest, number, layer, labels).contains_key(annotation::FORMAT)
        });
        if is_bundle {
            Self::Bundle
        } else if is_artifact(image) {
            Self::Artifact
        } else {
            Self::Image
        }
    }

    /// Whether Docker can pull it.
    pub(super) fn is_for_docker(self) -> bool {
        self != Self::Artifact
    }
}

impl Render for Kind {
    fn render(&self) -> Markup {
        let word = match self {
            Self::Bundle => "bundle",
            Self::Image => "image",
            Self::Artifact => "artifact",
            Self::Index => "image index",
        };
        html! { span.kind { (word) } }
    }
}

fn is_artifact(image: &ImageManifest) -> bool {
    let has_type = image.artifact_type.as_ref().is_some_and(|kind| !kind.is_empty());
    has_type || !matches!(&*image.config.media_type, media_type::OCI_CONFIG | media_type::DOCKER_CONFIG)
}

/// How many bytes the config and the layers have together, as the manifest says.
pub(super) fn size(manifest: &RawManifest) -> u64 {
    manifest.manifest().successors().fold(0, |sum, descriptor| sum.saturating_add(descriptor.size))
}

/// The config of an image, if it has one that can be read.
pub(super) async fn config(visit: &Visit<'_>, name: &Name, manifest: &RawManifest) -> Result<Option<ImageConfig>> {
    let Manifest::Image(ImageManifest { config, .. }) = manifest.manifest() else { return Ok(None) };
    if config.size > MAX_CONFIG {
        return Ok(None);
    }
    let Some(blob) = visit.repositories.open_blob(name, config.digest).await? else { return Ok(None) };
    if blob.size() != config.size {
        return Ok(None);
    }
    let bytes = read(&blob, config.digest, 0, config.size).await?;
    let is_whole = config.digest.algorithm().digest(&bytes) == config.digest;
    Ok(is_whole.then(|| serde_json::from_slice(&bytes).ok()).flatten())
}

/// Some bytes of a blob. They are not verified.
pub(super) async fn read(blob: &Blob, digest: Digest, offset: u64, length: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(length as usize);
    let mut chunks = blob.read(offset..offset + length);
    let failed = |error| Error::io(format_args!("read blob {digest}"))(std::io::Error::other(error));
    while let Some(chunk) = chunks.try_next().await.map_err(failed)? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
