//! Where everything lies below the root. Only names that were parsed become parts of a path.
//!
//! ```text
//! bndlr-registry-1                                    says whose directory this is, and which version of this layout
//! blobs/<algorithm>/<two digits>/<digits>             contents: blobs and manifests
//! repositories/<name>/_blobs/<algorithm>/<digits>     a blob's link; empty
//! repositories/<name>/_manifests/<algorithm>/<digits> a manifest's link; has its media type in it
//! repositories/<name>/_tags/<tag>                     has the digest in it
//! uploads/<session>-<digest of the repository's name> what an upload session has received
//! temporary/…                                         files until they are renamed
//! ```
//!
//! No component of a repository's name begins with `_`, so `a` and `a/b` are kept apart. What is left in `uploads` and
//! `temporary` by a process that was killed is never served.

use std::path::{Path, PathBuf};

use super::super::SessionId;
use crate::digest::Digest;
use crate::reference::{Name, Tag};

/// The name of the file that says whose directory this is.
pub(super) const MARKER: &str = "bndlr-registry-1";
/// How the markers of all versions begin.
pub(super) const ANY_MARKER: &str = "bndlr-registry-";

/// The paths below a root.
#[derive(Clone, Debug)]
pub(super) struct Paths(PathBuf);

impl Paths {
    pub(super) fn new(root: PathBuf) -> Self {
        Self(root)
    }

    pub(super) fn root(&self) -> &Path {
        &self.0
    }

    pub(super) fn content(&self, digest: Digest) -> PathBuf {
        let hex = digest.hex();
        self.0.join("blobs").join(digest.algorithm().name()).join(&hex[..2]).join(hex)
    }

    pub(super) fn blob_link(&self, repository: &Name, digest: Digest) -> PathBuf {
        self.blob_links(repository).join(digest.algorithm().name()).join(digest.hex())
    }

    pub(super) fn blob_links(&self, repository: &Name) -> PathBuf {
        self.repository(repository).join("_blobs")
    }

    pub(super) fn manifest_link(&self, repository: &Name, digest: Digest) -> PathBuf {
        self.manifest_links(repository).join(digest.algorithm().name()).join(digest.hex())
    }

    pub(super) fn manifest_links(&self, repository: &Name) -> PathBuf {
        self.repository(repository).join("_manifests")
    }

    pub(super) fn tags(&self, repository: &Name) -> PathBuf {
        self.repository(repository).join("_tags")
    }

    pub(super) fn tag(&self, repository: &Name, tag: &Tag) -> PathBuf {
        self.tags(repository).join(tag.as_str())
    }

    /// All sessions lie in one directory, so that the abandoned ones are found at a glance; the repository is in the
    /// name, so that a session is found in its own only.
    pub(super) fn upload(&self, repository: &Name, session: &SessionId) -> PathBuf {
        let repository = Digest::sha256(repository.as_str().as_bytes()).hex();
        self.uploads().join(format!("{session}-{repository}"))
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.0.join("uploads")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.0.join("temporary")
    }

    fn repository(&self, repository: &Name) -> PathBuf {
        self.0.join("repositories").join(repository.as_str())
    }
}
