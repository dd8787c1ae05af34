//! An image layout in a tar archive, read.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::error::Error;
use super::file::{blocking, open_regular};
use super::index::{Index, MAX_INDEX_SIZE, MAX_MARKER_SIZE, check_marker};
use super::referrers::Referrers;
use super::scan::{Contents, Span, read_span, scan};
use super::{INDEX, MARKER, resolve};
use crate::content::{self, Open, OpenRange, Reader, Source, read_file, read_file_range};
use crate::digest::Digest;
use crate::manifest::{Descriptor, media_type};
use crate::reference::{Identifier, Tag};

/// An image layout in a plain tar archive, as `skopeo copy oci-archive:`, `docker save` and `podman save --format
/// oci-archive` write it, and as an [`ArchiveWriter`](super::ArchiveWriter) does.
///
/// The archive's headers are read once, when it is opened; contents are then read where they are, without unpacking
/// anything. The file must not be changed meanwhile; one that is replaced under its name stays what it was.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: Arc<File>,
    index: Index,
    contents: Contents,
    referrers: Referrers,
}

impl Archive {
    /// The layout that is in the archive `path`.
    ///
    /// # Errors
    /// [`Local`](content::ErrorKind::Local) when there is no such file, [`Content`](content::ErrorKind::Content) when it
    /// is no tar archive (a compressed one is none), cut short, or no layout of version 1.0.0.
    pub async fn at(path: impl Into<PathBuf>) -> Result<Self, content::Error> {
        let path = path.into();
        Ok(blocking(move || Self::read(path)).await?)
    }

    /// The only manifest that the layout lists with a tag, or lists at all: for when no tag was given.
    ///
    /// # Errors
    /// [`NotFound`](content::ErrorKind::NotFound) when there is none or more than one; the error then names the tags.
    pub fn sole(&self) -> Result<Descriptor, content::Error> {
        Ok(self.index.sole()?)
    }

    /// The tags, in order.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        self.index.tag_names()
    }

    /// The descriptor of a blob of which only the digest is known, with [`media_type::OCTET_STREAM`].
    ///
    /// # Errors
    /// [`NotFound`](content::ErrorKind::NotFound) when there is none.
    pub fn resolve_blob(&self, digest: Digest) -> Result<Descriptor, content::Error> {
        let no_blob = || Error::NoBlob { layout: self.path.clone(), digest };
        let span = self.contents.blobs.get(&digest).ok_or_else(no_blob)?;
        Ok(Descriptor::new(media_type::OCTET_STREAM, digest, span.size))
    }

    /// Where a blob of this digest and size is.
    fn blob(&self, descriptor: &Descriptor) -> Result<Span, Error> {
        let (layout, digest, expected) = (|| self.path.clone(), descriptor.digest, descriptor.size);
        match self.contents.blobs.get(&digest) {
            None => Err(Error::NoBlob { layout: layout(), digest }),
            Some(span) if span.size != expected => {
                Err(Error::BlobSize { layout: layout(), digest, expected, found: span.size })
            }
            Some(span) => Ok(*span),
        }
    }

    fn read(path: PathBuf) -> Result<Self, Error> {
        if fs::metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Error::IsDirectory(path));
        }
        let (file, _) = open_regular(&path).map_err(Error::io("open", &path))?;
        let contents = scan(&file, &path)?;
        check_marker(&path, &read_own(&file, &path, MARKER, contents.marker, MAX_MARKER_SIZE)?)?;
        let index = Index::parse(&path, &read_own(&file, &path, INDEX, contents.index, MAX_INDEX_SIZE)?)?;
        Ok(Self { path, file: Arc::new(file), index, contents, referrers: Referrers::default() })
    }
}

fn read_own(file: &File, archive: &Path, name: &'static str, span: Option<Span>, limit: u64) -> Result<Vec<u8>, Error> {
    let layout = || archive.to_owned();
    match span {
        None => Err(Error::Incomplete { layout: layout(), file: name }),
        Some(Span { size, .. }) if size > limit => {
            Err(Error::FileTooLarge { layout: layout(), file: name, size, limit })
        }
        Some(span) => read_span(file, span).map_err(Error::io("read", archive)),
    }
}

#[async_trait]
impl Open for Archive {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        let blob = self.blob(descriptor)?;
        Ok(Reader::new(descriptor, read_file(Arc::clone(&self.file), blob.offset, blob.size)))
    }
}

#[async_trait]
impl OpenRange for Archive {
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, content::Error> {
        let blob = self.blob(descriptor)?;
        read_file_range(Arc::clone(&self.file), blob.offset + offset, length).await
    }
}

#[async_trait]
impl Source for Archive {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, content::Error> {
        let size = async {
            let Identifier::Digest(digest) = identifier else { return Ok(None) };
            Ok(self.contents.blobs.get(digest).map(|span| span.size))
        };
        resolve(&self.index, identifier, size, self).await
    }

    async fn referrers(&self, subject: Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>, content::Error> {
        // There is one index.json, and it stays what it is.
        let listed = || Ok(self.index.descriptors().collect());
        self.referrers.of(subject, artifact_type, &[], listed, self).await
    }
}
