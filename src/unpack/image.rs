//! What an image's manifest and configuration say of its layers: how each is to be read, and what must come out.

use crate::bundle::annotation::{self, ORAS_UNPACK, TITLE};
use crate::bundle::{Index, IndexError};
use crate::content::{Open, read_config};
use crate::digest::Digest;
use crate::manifest::{Annotations, Descriptor, ImageConfig, ImageManifest, Manifest, RawManifest, media_type};

use super::error::Error;

/// A layer, and how to read it.
pub(super) struct Layer {
    pub(super) descriptor: Descriptor,
    pub(super) form: Form,
}

/// What a layer is.
pub(super) enum Form {
    /// A bundle's.
    Bundle { index: Index, diff_id: Digest },
    /// A changeset of an image (image-spec v1.1.1, layer.md), or, without a diff ID, an archive in an artifact.
    Changeset { diff_id: Option<Digest> },
    /// What ORAS makes of a directory: an archive of what goes below this path.
    Directory { title: String },
    /// One file.
    File { title: String },
}

/// An image.
pub(super) struct Image {
    pub(super) layers: Vec<Layer>,
    /// How many bytes have been read to find that out.
    pub(super) fetched: u64,
}

impl Image {
    /// How many bytes there are to read in all, without the manifest.
    pub(super) fn size(&self) -> u64 {
        self.layers.iter().fold(self.fetched, |sum, layer| sum + layer.descriptor.size)
    }

    /// Whether this is a bundle and nothing else.
    pub(super) fn is_bundle(&self) -> bool {
        self.layers.iter().all(|layer| matches!(layer.form, Form::Bundle { .. }))
    }
}

/// The layers of an image that are read, each with its number among all: those of an artifact that are empty are not.
pub(super) fn layers(manifest: &RawManifest) -> Result<Vec<(usize, &Descriptor)>, Error> {
    let layers = &of(manifest)?.layers;
    Ok(layers.iter().enumerate().filter(|(_, layer)| !is_empty(layer)).collect())
}

/// Reads the configuration of an image, and decides how to read its layers.
pub(super) async fn inspect(source: &dyn Open, manifest: &RawManifest) -> Result<Image, Error> {
    let image = of(manifest)?;
    let is_image = media_type::is_image_config(&image.config.media_type);
    let has_archive = image.layers.iter().any(|layer| is_archive(&layer.media_type) || is_ours(layer));
    let config = if is_image && has_archive { Some(config_of(source, image).await?) } else { None };
    let fetched = if config.is_some() { image.config.size } else { 0 };
    let mut layers = Vec::new();
    for (number, descriptor) in self::layers(manifest)? {
        let labels = config.as_ref().and_then(ImageConfig::labels);
        let annotations = annotation::of_layer(manifest, number, descriptor, labels);
        let diff_id = config.as_ref().map(|config| config.rootfs.diff_ids[number]);
        layers.push(Layer { descriptor: descriptor.clone(), form: form(descriptor, &annotations, diff_id)? });
    }
    Ok(Image { layers, fetched })
}

fn of(manifest: &RawManifest) -> Result<&ImageManifest, Error> {
    match manifest.manifest() {
        Manifest::Image(image) => Ok(image),
        Manifest::Index(_) => Err(Error::Index(manifest.digest())),
    }
}

/// Decides how to read a layer.
fn form(descriptor: &Descriptor, annotations: &Annotations, diff_id: Option<Digest>) -> Result<Form, Error> {
    let layer = descriptor.digest;
    let wrong = |problem| Error::Annotations { layer, problem };
    if let Some(index) = Index::of_layer(annotations, descriptor.size).map_err(wrong)? {
        let diff_id =
            diff_id.ok_or_else(|| wrong(IndexError::Missing("diff ID, for want of an image configuration")))?;
        return Ok(Form::Bundle { index, diff_id });
    }
    Ok(match title(descriptor) {
        _ if diff_id.is_some() && is_archive(&descriptor.media_type) => Form::Changeset { diff_id },
        Some(title) if descriptor.annotations.get(ORAS_UNPACK).is_some_and(|unpack| unpack == "true") => {
            Form::Directory { title: title.clone() }
        }
        _ if is_archive(&descriptor.media_type) => Form::Changeset { diff_id: None },
        Some(title) => Form::File { title: title.clone() },
        None => return Err(Error::MediaType { layer, media_type: descriptor.media_type.clone() }),
    })
}

/// Whether a layer is read as an archive, and not as one file.
#[must_use]
pub fn has_archive(layer: &Descriptor) -> bool {
    let is_directory = || layer.annotations.get(ORAS_UNPACK).is_some_and(|unpack| unpack == "true");
    is_ours(layer) || is_archive(&layer.media_type) || is_directory()
}

fn title(layer: &Descriptor) -> Option<&String> {
    layer.annotations.get(TITLE).filter(|title| !title.is_empty())
}

/// Whether this stands in an artifact for a layer that it does not have.
fn is_empty(layer: &Descriptor) -> bool {
    layer.media_type == media_type::OCI_EMPTY && title(layer).is_none() && !is_ours(layer)
}

fn is_ours(layer: &Descriptor) -> bool {
    layer.annotations.contains_key(annotation::FORMAT)
}

/// Whether this is the media type of a tar archive: OCI's and Docker's layers, those that may not be distributed among
/// them, and the many that others have made up in their likeness.
fn is_archive(media_type: &str) -> bool {
    let suffixes = [".tar", ".tar+gzip", ".tar.gzip", ".tar+zstd", ".tar.zstd", "/x-tar", "/x-gtar", "/tar+gzip"];
    suffixes.iter().any(|suffix| media_type.ends_with(suffix))
}

/// The configuration of an image, which has to have a diff ID for each layer.
async fn config_of(source: &dyn Open, image: &ImageManifest) -> Result<ImageConfig, Error> {
    let config = read_config(source, image).await?;
    let (found, expected) = (config.rootfs.diff_ids.len(), image.layers.len());
    if found != expected {
        return Err(Error::DiffIds { config: image.config.digest, expected, found });
    }
    Ok(config)
}
