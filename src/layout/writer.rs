//! An image layout in a tar archive, written.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::directory::Directory;
use super::error::Error;
use super::file::{blocking, open_regular, sync_directory, temporary};
use super::index::{Index, MARKER_CONTENT};
use super::{BLOBS, INDEX, MARKER, blob_path};
use crate::content::{self, Open, Outcome, Reader, Source, TagCondition, Target, read_manifest};
use crate::digest::{Algorithm, Digest};
use crate::manifest::{Descriptor, ImageManifest, Manifest, RawManifest, media_type, to_canonical_json};
use crate::reference::{Identifier, Tag};

/// What `docker load` looks for: without the containerd image store it does not know image layouts, but takes one that
/// has this file, in Docker's own format, beside `index.json`.
const DOCKER_LIST: &str = "manifest.json";

/// A new image layout in a plain tar archive.
///
/// What is pushed is kept in a hidden directory beside the archive, so that blobs can come several at a time and in any
/// order; [`finish`](Self::finish) then writes the archive, and puts it in place of what had its name. Without that,
/// nothing but the hidden directory is written, and it is removed when this is dropped.
///
/// **The same content makes the same bytes.** The archive has `oci-layout`, `index.json` with its entries sorted by tag
/// and digest, `manifest.json` if there are images in it (`docker load` wants it; the images have no names there, because
/// a tag of a layout is none), `blobs/`, and then, for each algorithm, its directory and its blobs sorted by digest;
/// modes 0644 and 0755, all other fields 0 or empty. Names are ustar's, except that those of sha512 blobs, which are too
/// long for it, are in a PAX record.
#[derive(Debug)]
pub struct ArchiveWriter {
    destination: PathBuf,
    staging: TempDir,
    directory: Directory,
}

impl ArchiveWriter {
    /// Begins an archive that will be `destination`, in a directory that exists.
    ///
    /// # Errors
    /// [`Local`](content::ErrorKind::Local) when nothing can be written there.
    pub async fn create(destination: impl Into<PathBuf>) -> Result<Self, content::Error> {
        let destination = destination.into();
        let begun = blocking(move || {
            if destination.is_dir() {
                return Err(Error::IsDirectory(destination));
            }
            let staging = tempfile::Builder::new()
                .prefix(".bndlr-")
                .tempdir_in(parent(&destination))
                .map_err(Error::io("create a temporary directory beside", &destination))?;
            let directory = Directory::create_passing(staging.path(), &destination)?;
            Ok(Self { destination, staging, directory })
        });
        Ok(begun.await?)
    }

    /// Writes the archive, with all that was pushed, and gives it its name.
    ///
    /// # Errors
    /// [`Local`](content::ErrorKind::Local) when it cannot be written; what had its name is then as it was.
    pub async fn finish(self) -> Result<(), content::Error> {
        let mut index = self.directory.index().await?;
        index.sort();
        let images = self.images(&index).await?;
        Ok(blocking(move || self.write(&index, &images)).await?)
    }

    /// The images that are listed, as [`DOCKER_LIST`] has them.
    async fn images(&self, index: &Index) -> Result<Vec<Value>, content::Error> {
        let mut images = Vec::new();
        for descriptor in index.descriptors().filter(|descriptor| media_type::is_image(&descriptor.media_type)) {
            let manifest = read_manifest(&self.directory, &descriptor).await?;
            let Manifest::Image(image) = manifest.manifest() else { continue };
            if !self.is_whole(image).await? {
                continue;
            }
            let is_artifact = !media_type::is_image_config(&image.config.media_type);
            let layers: Vec<PathBuf> = image.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
            let entry = json!({ "Config": blob_path(&image.config.digest), "Layers": layers, "RepoTags": [] });
            if !is_artifact && !images.contains(&entry) {
                images.push(entry);
            }
        }
        Ok(images)
    }

    /// Whether all layers are here: foreign ones may have been left out, of which Docker's format knows nothing.
    async fn is_whole(&self, image: &ImageManifest) -> Result<bool, content::Error> {
        for layer in image.layers.iter().filter(|layer| media_type::is_foreign_layer(&layer.media_type)) {
            if !self.directory.exists(layer).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write(self, index: &Index, images: &[Value]) -> Result<(), Error> {
        let file = temporary(self.staging.path())?;
        let archive = Writing { staging: self.staging.path(), builder: Builder::new(file.as_file()) };
        archive.write(index, images).map_err(Error::io("write", &self.destination))?;
        file.as_file().sync_all().map_err(Error::io("write", &self.destination))?;
        file.persist(&self.destination).map_err(|error| Error::io("write", &self.destination)(error.error))?;
        sync_directory(parent(&self.destination))
    }
}

/// The directory that `path` is in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

struct Writing<'a> {
    staging: &'a Path,
    builder: Builder<&'a File>,
}

impl Writing<'_> {
    fn write(mut self, index: &Index, images: &[Value]) -> io::Result<()> {
        self.bytes(MARKER, MARKER_CONTENT)?;
        self.bytes(INDEX, &index.to_bytes().map_err(io::Error::other)?)?;
        if !images.is_empty() {
            self.bytes(DOCKER_LIST, &to_canonical_json(&images)?)?;
        }
        self.directory(BLOBS)?;
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            self.blobs(&format!("{BLOBS}/{algorithm}"))?;
        }
        self.builder.finish()
    }

    /// Moves the blobs of one algorithm into the archive.
    fn blobs(&mut self, directory: &str) -> io::Result<()> {
        let entries = match fs::read_dir(self.staging.join(directory)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        self.directory(directory)?;
        let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
        paths.sort_unstable();
        for path in paths {
            let (content, size) = open_regular(&path)?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.file(&format!("{directory}/{name}"), size, content)?;
            // So that the disk has to hold everything once and one blob twice.
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    fn directory(&mut self, name: &str) -> io::Result<()> {
        let header = self.header(&format!("{name}/"), EntryType::Directory, 0o755, 0)?;
        self.builder.append(&header, io::empty())
    }

    fn bytes(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        self.file(name, content.len() as u64, content)
    }

    fn file(&mut self, name: &str, size: u64, content: impl Read) -> io::Result<()> {
        let header = self.header(name, EntryType::Regular, 0o644, size)?;
        let mut content = content.take(size);
        self.builder.append(&header, &mut content)?;
        // The builder copies what there is; a file that is shorter than its header says would shift all that follows.
        if content.limit() == 0 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// The header of an entry, written after the extended header that its name may need.
    fn header(&mut self, name: &str, kind: EntryType, mode: u32, size: u64) -> io::Result<Header> {
        let mut header = Header::new_ustar();
        if header.set_path(name).is_err() {
            self.builder.append_pax_extensions([("path", name.as_bytes())])?;
            // For those who do not know PAX: as much as there is room for.
            let field = &mut header.as_old_mut().name;
            let shown = name.len().min(field.len());
            field[..shown].copy_from_slice(&name.as_bytes()[..shown]);
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(size);
        header.set_cksum();
        Ok(header)
    }
}

#[async_trait]
impl Open for ArchiveWriter {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        self.directory.open(descriptor).await
    }
}

#[async_trait]
impl Source for ArchiveWriter {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, content::Error> {
        self.directory.resolve(identifier).await
    }

    async fn referrers(&self, subject: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, content::Error> {
        self.directory.referrers(subject, artifact_type).await
    }
}

#[async_trait]
impl Target for ArchiveWriter {
    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, content::Error> {
        self.directory.exists(descriptor).await
    }

    async fn push(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, content::Error> {
        self.directory.push(descriptor, from).await
    }

    async fn tag_if(&self, manifest: &RawManifest, tag: &Tag, condition: TagCondition) -> Result<(), content::Error> {
        self.directory.tag_if(manifest, tag, condition).await
    }
}
