//! An image layout in a directory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tempfile::NamedTempFile;

use super::error::Error;
use super::file::{blocking, open_regular, read_small, sync_directory, temporary, write_all};
use super::index::{Index, MARKER_CONTENT, MAX_INDEX_SIZE, MAX_MARKER_SIZE, check_marker};
use super::referrers::Referrers;
use super::{BLOBS, INDEX, MARKER, blob_path, resolve};
use crate::content::{self, Open, OpenRange, Outcome, Reader, Source, TagCondition, Target};
use crate::content::{read_file, read_file_range, read_manifest};
use crate::digest::{Algorithm, Digest};
use crate::manifest::{Descriptor, MAX_MANIFEST_SIZE, RawManifest, media_type};
use crate::reference::{Identifier, Tag};

/// An image layout in a directory (image-spec v1.1.1, "OCI Image Layout Specification").
///
/// Any number of processes may read and write it at once. A file is written under a temporary name (`.bndlr-*`, in the
/// layout), synced and renamed, a blob before what names it: whenever a writer is killed, the layout is a valid one, and
/// at worst the temporary file stays. `index.json` is changed under a lock on `oci-layout`, which other programs do not
/// know: two of bndlr lose nothing to each other, one of bndlr and one of Skopeo may.
///
/// A manifest that is pushed without a tag is listed in `index.json` unless it is named by an image index that is, so
/// that every program finds it; only then does it [exist](Target::exists).
#[derive(Clone, Debug)]
pub struct Directory {
    files: Arc<Files>,
    referrers: Arc<Referrers>,
}

/// The files of a layout. All of this blocks.
#[derive(Debug)]
struct Files {
    path: PathBuf,
    /// What errors call the layout.
    name: PathBuf,
    /// Whether what is written has to outlive a crash of the machine.
    durable: bool,
}

/// A tag that a manifest gets, if a condition holds.
#[derive(Debug)]
struct Tagging {
    tag: Tag,
    condition: TagCondition,
}

impl Tagging {
    /// Lets the tag point to `manifest` in `index`, which nobody else changes meanwhile.
    fn make(&self, index: &mut Index, manifest: &Descriptor) -> Result<(), Error> {
        let Self { tag, condition } = self;
        if *condition != TagCondition::Any {
            let found = index.find_tag(tag)?.map(|listed| listed.digest);
            let layout = || index.layout().to_owned();
            condition.check(tag, found).map_err(|unmet| Error::Unmet { layout: layout(), unmet })?;
        }
        if !index.tagged(tag).is_ok_and(|listed| listed == *manifest) {
            index.tag(manifest, tag);
        }
        Ok(())
    }
}

impl Directory {
    /// The layout that is in the directory `path`.
    ///
    /// # Errors
    /// [`Local`](content::ErrorKind::Local) when there is no such directory, [`Content`](content::ErrorKind::Content)
    /// when it is no layout of version 1.0.0.
    pub async fn at(path: impl Into<PathBuf>) -> Result<Self, content::Error> {
        let path = path.into();
        Ok(Self::of(blocking(move || Files::at(path)).await?))
    }

    /// The layout that is in the directory `path`, or a new one if that is empty or not there.
    ///
    /// # Errors
    /// As for [`at`](Self::at), and [`Local`](content::ErrorKind::Local) when it has other files in it.
    pub async fn create(path: impl Into<PathBuf>) -> Result<Self, content::Error> {
        let path = path.into();
        Ok(Self::of(blocking(move || Files::create(Files { name: path.clone(), path, durable: true })).await?))
    }

    /// The layout that is in the directory `path`; nothing, if that is empty or not there. Nothing is written.
    ///
    /// # Errors
    /// As for [`create`](Self::create).
    pub async fn find(path: impl Into<PathBuf>) -> Result<Option<Self>, content::Error> {
        let path = path.into();
        Ok(blocking(move || Files::find(path)).await?.map(Self::of))
    }

    /// A new layout that nobody needs after a crash. Errors call it `name`.
    pub(super) fn create_passing(path: &Path, name: &Path) -> Result<Self, Error> {
        let files = Files { path: path.to_owned(), name: name.to_owned(), durable: false };
        Ok(Self::of(Files::create(files)?))
    }

    fn of(files: Files) -> Self {
        Self { files: Arc::new(files), referrers: Arc::default() }
    }

    /// The only manifest that the layout lists with a tag, or lists at all: for when no tag was given.
    ///
    /// # Errors
    /// [`NotFound`](content::ErrorKind::NotFound) when there is none or more than one; the error then names the tags.
    pub async fn sole(&self) -> Result<Descriptor, content::Error> {
        Ok(self.index().await?.sole()?)
    }

    /// The tags, in order.
    ///
    /// # Errors
    /// [`Content`](content::ErrorKind::Content) when `index.json` is not what it should be.
    pub async fn tags(&self) -> Result<Vec<Tag>, content::Error> {
        Ok(self.index().await?.tag_names())
    }

    /// The descriptor of a blob of which only the digest is known, with [`media_type::OCTET_STREAM`].
    ///
    /// # Errors
    /// [`NotFound`](content::ErrorKind::NotFound) when there is none.
    pub async fn resolve_blob(&self, digest: Digest) -> Result<Descriptor, content::Error> {
        let (_, size) = self.blocking(move |files| files.open_blob(&digest)).await?;
        Ok(Descriptor::new(media_type::OCTET_STREAM, digest, size))
    }

    /// What `index.json` says now.
    pub(super) async fn index(&self) -> Result<Index, Error> {
        self.blocking(Files::index).await
    }

    /// Stores `manifest` under `digest`, and lists it.
    async fn list(&self, manifest: RawManifest, digest: Digest, tag: Option<Tagging>) -> Result<(), Error> {
        self.blocking(move |files| files.list(&manifest, digest, tag.as_ref())).await?;
        // An image index that has named it all along may lead to it now, without index.json being another.
        self.referrers.forget().await;
        Ok(())
    }

    /// The file of a blob of this digest and size.
    async fn blob(&self, descriptor: &Descriptor) -> Result<Arc<File>, Error> {
        let (digest, expected) = (descriptor.digest, descriptor.size);
        let (file, found) = self.blocking(move |files| files.open_blob(&digest)).await?;
        if found != expected {
            return Err(Error::BlobSize { layout: self.files.name.clone(), digest, expected, found });
        }
        Ok(Arc::new(file))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Files) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let files = Arc::clone(&self.files);
        blocking(move || work(&files)).await
    }
}

#[async_trait]
impl Open for Directory {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        Ok(Reader::new(descriptor, read_file(self.blob(descriptor).await?, 0, descriptor.size)))
    }
}

#[async_trait]
impl OpenRange for Directory {
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, content::Error> {
        read_file_range(self.blob(descriptor).await?, offset, length).await
    }
}

#[async_trait]
impl Source for Directory {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, content::Error> {
        let index = self.index().await?;
        let size = async {
            let Identifier::Digest(digest) = *identifier else { return Ok(None) };
            self.blocking(move |files| files.blob_size(&digest)).await
        };
        resolve(&index, identifier, size, self).await
    }

    async fn referrers(&self, subject: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, content::Error> {
        let bytes = self.blocking(|files| files.read_own(INDEX, MAX_INDEX_SIZE)).await?;
        let listed = || Ok(Index::parse(&self.files.name, &bytes)?.descriptors().collect());
        self.referrers.of(subject, artifact_type, &bytes, listed, self).await
    }
}

#[async_trait]
impl Target for Directory {
    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, content::Error> {
        let descriptor = descriptor.clone();
        let exists = self.blocking(move |files| {
            let is_there = files.has_blob(&descriptor)?;
            let must_be_listed = is_there && media_type::is_manifest(&descriptor.media_type);
            if must_be_listed { Ok(files.leads_to(&files.index()?, descriptor.digest)) } else { Ok(is_there) }
        });
        Ok(exists.await?)
    }

    async fn push(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, content::Error> {
        if media_type::is_manifest(&descriptor.media_type) {
            let manifest = read_manifest(from, descriptor).await?;
            self.list(manifest, descriptor.digest, None).await?;
            return Ok(Outcome::Uploaded);
        }
        let wanted = descriptor.clone();
        let Some(file) = self.blocking(move |files| files.begin_blob(&wanted)).await? else {
            return Ok(Outcome::Exists);
        };
        let file = write_all(file, from.open(descriptor).await?).await?;
        let digest = descriptor.digest;
        let persisted = self.blocking(move |files| {
            files.sync(&file)?;
            files.persist(file, &blob_path(&digest))
        });
        persisted.await?;
        Ok(Outcome::Uploaded)
    }

    async fn tag_if(&self, manifest: &RawManifest, tag: &Tag, condition: TagCondition) -> Result<(), content::Error> {
        let tagging = Tagging { tag: tag.clone(), condition };
        Ok(self.list(manifest.clone(), manifest.digest(), Some(tagging)).await?)
    }
}

impl Files {
    fn at(path: PathBuf) -> Result<Self, Error> {
        let metadata = fs::metadata(&path).map_err(Error::io("open", &path))?;
        if !metadata.is_dir() {
            return Err(Error::IsFile(path));
        }
        let files = Self { name: path.clone(), path, durable: true };
        files.check()?;
        Ok(files)
    }

    fn find(path: PathBuf) -> Result<Option<Self>, Error> {
        if path.join(MARKER).exists() || path.is_file() {
            return Self::at(path).map(Some);
        }
        Self { name: path.clone(), path, durable: true }.check_unoccupied().map(|()| None)
    }

    /// Makes a layout of an empty directory. `oci-layout` is written last, and no file of somebody who does the same is
    /// replaced, so that there is a layout at once or none, and only one.
    fn create(self) -> Result<Self, Error> {
        if fs::metadata(&self.path).is_ok_and(|metadata| !metadata.is_dir()) {
            return Err(Error::IsFile(self.path));
        }
        let marker = self.path.join(MARKER);
        if !marker.exists() {
            self.check_unoccupied()?;
            let blobs = self.path.join(BLOBS).join(Algorithm::Sha256.name());
            fs::create_dir_all(&blobs).map_err(Error::io("create", &blobs))?;
            self.write_new(INDEX, &Index::empty(&self.name).to_bytes()?)?;
            self.write_new(MARKER, MARKER_CONTENT)?;
            if self.durable {
                sync_directory(&self.path.join(BLOBS))?;
                sync_directory(&self.path)?;
            }
        }
        self.check()?;
        Ok(self)
    }

    /// Checks that the directory has nothing in it but what creating a layout, broken off, leaves.
    fn check_unoccupied(&self) -> Result<(), Error> {
        let entries = match fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(Error::io("read", &self.path))?,
        };
        for entry in entries {
            let name = entry.map_err(Error::io("read", &self.path))?.file_name();
            let is_ours =
                name.to_str().is_some_and(|name| matches!(name, BLOBS | INDEX | MARKER) || name.starts_with(".bndlr-"));
            if !is_ours {
                return Err(Error::Occupied(self.name.clone()));
            }
        }
        Ok(())
    }

    fn write_new(&self, name: &str, contents: &[u8]) -> Result<(), Error> {
        let path = self.path.join(name);
        match self.write_temporary(contents)?.persist_noclobber(&path) {
            Err(error) if error.error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("write", path)(error.error))
            }
            _ => Ok(()),
        }
    }

    fn check(&self) -> Result<(), Error> {
        check_marker(&self.name, &self.read_own(MARKER, MAX_MARKER_SIZE)?)?;
        self.index().map(|_| ())
    }

    fn index(&self) -> Result<Index, Error> {
        Index::parse(&self.name, &self.read_own(INDEX, MAX_INDEX_SIZE)?)
    }

    fn read_own(&self, file: &'static str, limit: u64) -> Result<Vec<u8>, Error> {
        let path = self.path.join(file);
        match read_small(&path, limit) {
            Ok(Ok(contents)) => Ok(contents),
            Ok(Err(size)) => Err(Error::FileTooLarge { layout: self.name.clone(), file, size, limit }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Err(Error::Incomplete { layout: self.name.clone(), file })
            }
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    fn open_blob(&self, digest: &Digest) -> Result<(File, u64), Error> {
        let path = self.path.join(blob_path(digest));
        open_regular(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoBlob { layout: self.name.clone(), digest: *digest },
            _ => Error::io("open", path)(error),
        })
    }

    fn blob_size(&self, digest: &Digest) -> Result<Option<u64>, Error> {
        match self.open_blob(digest) {
            Ok((_, size)) => Ok(Some(size)),
            Err(Error::NoBlob { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn has_blob(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        Ok(self.blob_size(&descriptor.digest)? == Some(descriptor.size))
    }

    /// A file to write this blob to, unless it is there.
    fn begin_blob(&self, descriptor: &Descriptor) -> Result<Option<NamedTempFile>, Error> {
        if self.has_blob(descriptor)? { Ok(None) } else { temporary(&self.path).map(Some) }
    }

    /// Stores `manifest` under `digest`, and lists it: with a tag, if the condition holds for that.
    fn list(&self, manifest: &RawManifest, digest: Digest, tagging: Option<&Tagging>) -> Result<(), Error> {
        let descriptor = Descriptor { digest, ..manifest.descriptor() };
        if !self.has_blob(&descriptor)? {
            let file = self.write_temporary(manifest.bytes())?;
            self.persist(file, &blob_path(&digest))?;
        }
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let before = index.to_bytes()?;
        match tagging {
            Some(tagging) => tagging.make(&mut index, &descriptor)?,
            None if self.leads_to(&index, digest) => {}
            None => index.add(&descriptor),
        }
        index.unlist_successors(manifest);
        let after = index.to_bytes()?;
        if before == after { Ok(()) } else { self.persist(self.write_temporary(&after)?, Path::new(INDEX)) }
    }

    /// Waits until no other process or task changes `index.json`, and keeps them from it until the file is dropped.
    fn lock(&self) -> Result<File, Error> {
        let path = self.path.join(MARKER);
        let file = File::open(&path).map_err(Error::io("open", &path))?;
        file.lock().map_err(Error::io("lock", path))?;
        Ok(file)
    }

    /// Whether `index` lists the manifest with this digest, or names it through image indexes that it lists.
    fn leads_to(&self, index: &Index, digest: Digest) -> bool {
        let mut found: Vec<Descriptor> = index.descriptors().collect();
        let mut seen = HashSet::new();
        while let Some(descriptor) = found.pop() {
            if descriptor.digest == digest {
                return true;
            }
            if media_type::is_index(&descriptor.media_type) && seen.insert(descriptor.digest) {
                let path = self.path.join(blob_path(&descriptor.digest));
                // One that is missing or no image index leads to nothing.
                let Ok(Ok(bytes)) = read_small(&path, MAX_MANIFEST_SIZE) else { continue };
                let Ok(manifest) = RawManifest::parse(&descriptor.media_type, bytes.into()) else { continue };
                found.extend(manifest.manifest().successors().cloned());
            }
        }
        false
    }

    fn write_temporary(&self, contents: &[u8]) -> Result<NamedTempFile, Error> {
        let mut file = temporary(&self.path)?;
        file.write_all(contents).map_err(Error::io("write", file.path()))?;
        self.sync(&file)?;
        Ok(file)
    }

    fn sync(&self, file: &NamedTempFile) -> Result<(), Error> {
        if self.durable { file.as_file().sync_all().map_err(Error::io("write", file.path())) } else { Ok(()) }
    }

    /// Gives a file that is written and synced its name in the layout, in place of what had it.
    fn persist(&self, file: NamedTempFile, name: &Path) -> Result<(), Error> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(&self.path);
        if !parent.exists() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
            if self.durable {
                sync_directory(&self.path.join(BLOBS))?;
            }
        }
        file.persist(&path).map_err(|error| Error::io("write", &path)(error.error))?;
        if self.durable { sync_directory(parent) } else { Ok(()) }
    }
}
