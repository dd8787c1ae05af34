//! The image around a layer: configuration and manifest.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::layer::{self, Layer, Reuse};
use super::{Error, PackOptions, Tree};
use crate::bundle::annotation;
use crate::content::{self, Open, OpenRange, Reader, Source, read_file, read_file_range};
use crate::digest::Digest;
use crate::manifest::{
    Annotations, Descriptor, History, ImageConfig, ImageManifest, Labels, Manifest, Platform, RawManifest, RootFs, Run,
    RuntimeConfig, media_type, to_canonical_json,
};
use crate::reference::Identifier;

/// Which of the two manifests an image has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// The OCI image manifest, 1.1.
    #[default]
    Oci,
    /// Docker's image manifest, version 2, schema 2.
    Docker,
}

/// What an image says of itself.
#[derive(Clone, Debug)]
pub struct ImageOptions {
    /// Its manifest.
    pub format: ImageFormat,
    /// What it runs on.
    pub platform: Platform,
    /// Annotations of the manifest; schema 2 has none.
    pub annotations: Annotations,
    /// What kind of artifact it is, if it is to be more than an image; schema 2 does not say it.
    pub artifact_type: Option<String>,
    /// What it refers to; schema 2 does not say it.
    pub subject: Option<Descriptor>,
    /// Labels of the configuration.
    pub labels: Labels,
    /// What is run in it, if it is a program.
    pub run: Run,
    /// When it was made, as RFC 3339 has it. Without, the same directory has the same digest at any time.
    pub created: Option<String>,
}

impl Default for ImageOptions {
    fn default() -> Self {
        let platform = Platform { os: "linux".into(), architecture: "amd64".into(), os_version: None, variant: None };
        Self {
            format: ImageFormat::Oci,
            platform,
            annotations: Annotations::new(),
            artifact_type: None,
            subject: None,
            labels: Labels::new(),
            run: Run::default(),
            created: None,
        }
    }
}

impl ImageOptions {
    /// Fails if something is to be said that a schema 2 manifest cannot say, and it is to be one.
    fn check(&self) -> Result<(), Error> {
        if self.format != ImageFormat::Docker {
            return Ok(());
        }
        let unsayable = [
            (!self.annotations.is_empty(), "annotations: use labels, or the OCI format"),
            (self.artifact_type.is_some(), "artifact type: use the OCI format"),
            (self.subject.is_some(), "subject: use the OCI format"),
        ];
        match unsayable.iter().find(|(is_said, _)| *is_said) {
            Some((_, what)) => Err(Error::Option(format!("a schema 2 manifest has no {what}"))),
            None => Ok(()),
        }
    }
}

/// A directory, packed: an image whose contents can be opened as often as need be. Its layers are in temporary files that
/// go with it, in the cache, or in memory, if [`PackOptions`] say so.
#[derive(Debug)]
pub struct Bundle {
    manifest: RawManifest,
    config: Bytes,
    config_digest: Digest,
    layers: Arc<[Layer]>,
}

impl Bundle {
    /// An image of these layers, of which `options` can be said.
    fn of(layers: Arc<[Layer]>, options: &ImageOptions) -> Result<Self, Error> {
        let config = Bytes::from(canonical(&config(options, &layers))?);
        let manifest = manifest(options, &layers, &config)?;
        Ok(Self { manifest, config_digest: Digest::sha256(&config), config, layers })
    }

    /// The same layers in another image. Both share them.
    ///
    /// # Errors
    /// When `options` cannot be said in the manifest.
    pub fn with_image(&self, options: &ImageOptions) -> Result<Self, Error> {
        options.check()?;
        Self::of(Arc::clone(&self.layers), options)
    }

    /// The manifest.
    #[must_use]
    pub fn raw_manifest(&self) -> &RawManifest {
        &self.manifest
    }

    /// The bytes of the config.
    pub(super) fn config(&self) -> &Bytes {
        &self.config
    }

    /// How much of it had been packed before.
    #[must_use]
    pub fn reuse(&self) -> Reuse {
        let all = self.layers.iter().map(|layer| layer.reuse);
        all.fold(Reuse::default(), |sum, layer| Reuse {
            members: sum.members + layer.members,
            cached: sum.cached + layer.cached,
        })
    }

    /// The layers: one, unless it was to be split.
    #[must_use]
    pub fn layers(&self) -> &[Descriptor] {
        match self.manifest.manifest() {
            Manifest::Image(image) => &image.layers,
            Manifest::Index(_) => &[],
        }
    }
}

impl Tree {
    /// Packs what was found. `progress` is told, from the thread that calls this, how many tar bytes are done.
    ///
    /// # Errors
    /// When a file cannot be read or is not what it was when it was found, when there is no room for the layer, or when
    /// `options` cannot be said in the manifest.
    pub fn pack(&self, options: &PackOptions, progress: &dyn Fn(u64)) -> Result<Bundle, Error> {
        // Before anything is read.
        options.image.check()?;
        Bundle::of(layer::write(self, options, progress)?.into(), &options.image)
    }
}

pub(super) fn canonical(value: &impl serde::Serialize) -> Result<Vec<u8>, Error> {
    to_canonical_json(value).map_err(|error| Error::Option(error.to_string()))
}

fn config(options: &ImageOptions, layers: &[Layer]) -> ImageConfig {
    let mut labels = options.labels.clone();
    if options.format == ImageFormat::Docker {
        for (number, layer) in layers.iter().enumerate() {
            let index = layer.index.annotations();
            labels.extend(index.into_iter().map(|(key, value)| (annotation::label(&key, number), value)));
        }
    }
    let runtime = RuntimeConfig { run: options.run.clone(), labels: (!labels.is_empty()).then_some(labels) };
    ImageConfig {
        created: options.created.clone(),
        platform: options.platform.clone(),
        config: Some(runtime).filter(|runtime| *runtime != RuntimeConfig::default()),
        rootfs: RootFs { kind: "layers".into(), diff_ids: layers.iter().map(|layer| layer.diff_id).collect() },
        history: vec![History { created_by: Some("bndlr".into()), ..History::default() }; layers.len()],
    }
}

fn manifest(options: &ImageOptions, layers: &[Layer], config: &[u8]) -> Result<RawManifest, Error> {
    let (manifest_type, config_type, layer_type) = match options.format {
        ImageFormat::Oci => (media_type::OCI_MANIFEST, media_type::OCI_CONFIG, media_type::OCI_LAYER_GZIP),
        ImageFormat::Docker => (media_type::DOCKER_MANIFEST, media_type::DOCKER_CONFIG, media_type::DOCKER_LAYER_GZIP),
    };
    let descriptor = |layer: &Layer| {
        let mut descriptor = Descriptor::new(layer_type, layer.digest, layer.size);
        if options.format == ImageFormat::Oci {
            descriptor.annotations = layer.index.annotations();
            // ORAS takes two layers of one name for a mistake.
            if layers.len() == 1 {
                descriptor.annotations.extend(for_oras(layer));
            }
        }
        descriptor
    };
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: Some(manifest_type.to_owned()),
        artifact_type: options.artifact_type.clone(),
        config: Descriptor::of(config_type, config),
        layers: layers.iter().map(descriptor).collect(),
        subject: options.subject.clone(),
        annotations: options.annotations.clone(),
    };
    Ok(RawManifest::parse(manifest_type, canonical(&manifest)?.into())?)
}

/// What makes `oras pull` unpack the layer.
fn for_oras(layer: &Layer) -> [(String, String); 3] {
    [
        (annotation::TITLE.to_owned(), ".".to_owned()),
        (annotation::ORAS_UNPACK.to_owned(), "true".to_owned()),
        (annotation::ORAS_DIGEST.to_owned(), layer.diff_id.to_string()),
    ]
}

#[async_trait]
impl Open for Bundle {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        let digest = descriptor.digest;
        if let Some(layer) = self.layers.iter().find(|layer| layer.digest == digest) {
            Ok(Reader::new(descriptor, read_file(Arc::clone(&layer.file), 0, descriptor.size)))
        } else if digest == self.config_digest {
            Ok(Reader::of_bytes(descriptor, self.config.clone()))
        } else {
            self.manifest.open(descriptor).await
        }
    }
}

#[async_trait]
impl Source for Bundle {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, content::Error> {
        self.manifest.resolve(identifier).await
    }
}

#[async_trait]
impl OpenRange for Bundle {
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, content::Error> {
        let layer = self.layers.iter().find(|layer| layer.digest == descriptor.digest);
        let missing = || content::Error::not_found(format!("{} is no layer of this bundle", descriptor.digest));
        read_file_range(Arc::clone(&layer.ok_or_else(missing)?.file), offset, length).await
    }
}
