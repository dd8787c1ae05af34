//! Artifacts: files as they are, each a blob, in a manifest that says what kind of thing they are and what they are about
//! (image-spec v1.1.1, "Guidelines for Artifact Usage").

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::Error;
use super::image::canonical;
use crate::bundle::annotation;
use crate::content::{self, Open, Reader, Source, read_file};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::manifest::{Annotations, Descriptor, ImageManifest, RawManifest, media_type};
use crate::reference::Identifier;

/// The content of a config that says nothing.
const EMPTY: &[u8] = b"{}";
/// How many bytes are hashed at once.
const CHUNK: usize = 256 * 1024;

/// A file of an artifact.
#[derive(Clone, Debug)]
pub struct ArtifactFile {
    /// Where it is. Its last component is what it is called.
    pub path: PathBuf,
    /// What kind of content it is.
    pub media_type: String,
}

/// What an artifact says of itself.
#[derive(Clone, Debug, Default)]
pub struct ArtifactOptions {
    /// What kind of artifact it is.
    pub artifact_type: String,
    /// What it refers to.
    pub subject: Option<Descriptor>,
    /// What else is said of it.
    pub annotations: Annotations,
}

/// Files in a manifest. The same files make the same digest. They are read again when they are pushed, and are then found
/// out if they have changed.
#[derive(Debug)]
pub struct Artifact {
    manifest: RawManifest,
    files: HashMap<Digest, Arc<File>>,
}

impl Artifact {
    /// The artifact that consists of `files`, in this order.
    ///
    /// # Errors
    /// When one cannot be read, is no file, or is called like another.
    pub fn of(files: &[ArtifactFile], options: &ArtifactOptions) -> Result<Self, Error> {
        let (mut opened, mut names, mut layers) = (HashMap::new(), HashSet::new(), Vec::new());
        for file in files {
            let (layer, content) = describe(file)?;
            if !names.insert(layer.annotations.get(annotation::TITLE).cloned()) {
                return Err(Error::Option(format!("two files have the name of {}", file.path.display())));
            }
            opened.insert(layer.digest, Arc::new(content));
            layers.push(layer);
        }
        let manifest = ImageManifest {
            schema_version: 2,
            media_type: Some(media_type::OCI_MANIFEST.to_owned()),
            artifact_type: Some(options.artifact_type.clone()),
            config: Descriptor::of(media_type::OCI_EMPTY, EMPTY),
            layers,
            subject: options.subject.clone(),
            annotations: options.annotations.clone(),
        };
        let manifest = RawManifest::parse(media_type::OCI_MANIFEST, canonical(&manifest)?.into())?;
        Ok(Self { manifest, files: opened })
    }

    /// The manifest.
    #[must_use]
    pub fn raw_manifest(&self) -> &RawManifest {
        &self.manifest
    }
}

/// Reads a file once to find out its digest.
fn describe(file: &ArtifactFile) -> Result<(Descriptor, File), Error> {
    let path = || file.path.clone();
    let failed = |source| Error::Read { path: path(), source };
    let mut content = File::open(&file.path).map_err(failed)?;
    if !content.metadata().map_err(failed)?.is_file() {
        let message = format!("{} is no file: a directory is packed, and then pushed", file.path.display());
        return Err(Error::Option(message));
    }
    let name = file.path.file_name().and_then(|name| name.to_str()).ok_or_else(|| Error::NotUtf8 { path: path() })?;
    let (mut hasher, mut size, mut chunk) = (Hasher::new(Algorithm::Sha256), 0, vec![0; CHUNK]);
    loop {
        let read = content.read(&mut chunk).map_err(failed)?;
        if read == 0 {
            break;
        }
        hasher.update(&chunk[..read]);
        size += read as u64;
    }
    let mut descriptor = Descriptor::new(&file.media_type, hasher.finish(), size);
    descriptor.annotations.insert(annotation::TITLE.to_owned(), name.to_owned());
    Ok((descriptor, content))
}

#[async_trait]
impl Open for Artifact {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        if let Some(file) = self.files.get(&descriptor.digest) {
            return Ok(Reader::new(descriptor, read_file(Arc::clone(file), 0, descriptor.size)));
        }
        if descriptor.digest == Digest::sha256(EMPTY) {
            return Ok(Reader::of_bytes(descriptor, Bytes::from_static(EMPTY)));
        }
        self.manifest.open(descriptor).await
    }
}

#[async_trait]
impl Source for Artifact {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, content::Error> {
        self.manifest.resolve(identifier).await
    }
}
