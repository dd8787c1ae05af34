//! Where everything lies below the root. Only names that were parsed become parts of a path.
//!
//! ```text
//! bndlr-registry-2                                     says whose directory this is, and which version of this layout
//! blobs/<algorithm>/<two digits>/<digits>              contents
//! repositories/<name>/_blobs/<algorithm>/<digits>      a blob's link; empty
//! repositories/<name>/_manifests/<algorithm>/<digits>  a manifest
//! repositories/<name>/_tags/<tag>                      a tag
//! repositories/<name>/_referrers/<algorithm>/<digits of the subject>/<algorithm>/<digits>
//! uploads/<session>-<digest of the repository's name>  what an upload session has received
//! temporary/…                                          files until they get their name
//! aside/<round>/…                                      what a garbage collection set aside, in this same layout
//! locks/<two digits>                                   held by whoever changes a record whose name has this digest
//! ```
//!
//! No component of a repository's name begins with `_`, so `a` and `a/b` are kept apart. What is left in `uploads` and
//! `temporary` by a process that was killed is never served.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::{Digests, Item, Key, Round, SessionId};
use crate::content::is_in_memory;
use crate::digest::Digest;
use crate::reference::Name;

/// The name of the file that says whose directory this is.
pub(super) const MARKER: &str = "bndlr-registry-2";
/// How the markers of all versions begin.
pub(super) const ANY_MARKER: &str = "bndlr-registry-";
/// What a repository's directory has in it, beside other repositories.
pub(super) const PARTS: [&str; 4] = [BLOBS, MANIFESTS, TAGS, REFERRERS];

const REPOSITORIES: &str = "repositories";
const BLOBS: &str = "_blobs";
const MANIFESTS: &str = "_manifests";
const TAGS: &str = "_tags";
const REFERRERS: &str = "_referrers";

/// How many bytes the path of a record with one digest has, beside the root's and the name's.
const ROOM: usize = 256;

/// The paths below a root.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    root: Arc<Path>,
    in_memory: bool,
}

impl Paths {
    /// Those below `root`, which are all on one file system, because files are moved between them.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root: root.into(), in_memory: false }
    }

    /// Asks, once, whether that file system is memory.
    pub(super) fn look_at_medium(&mut self) {
        self.in_memory = File::open(&self.root).is_ok_and(|root| is_in_memory(&root));
    }

    /// Whether reading never waits for a disk, as far as is known.
    pub(super) fn are_in_memory(&self) -> bool {
        self.in_memory
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn item(&self, item: &Item) -> PathBuf {
        match item {
            Item::Record(key) => self.record(key),
            Item::Content(digest) => self.content(*digest),
        }
    }

    pub(super) fn record(&self, key: &Key) -> PathBuf {
        match key {
            Key::Blob(name, digest) => below(self.part(name, BLOBS), *digest),
            Key::Manifest(name, digest) => below(self.part(name, MANIFESTS), *digest),
            Key::Tag(name, tag) => {
                let mut path = self.part(name, TAGS);
                path.push(tag.as_str());
                path
            }
            Key::Referrer(name, subject, digest) => below(below(self.part(name, REFERRERS), *subject), *digest),
        }
    }

    pub(super) fn content(&self, digest: Digest) -> PathBuf {
        let hex = digest.hex();
        self.contents().join(digest.algorithm().name()).join(&hex[..2]).join(hex)
    }

    pub(super) fn contents(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn repositories(&self) -> PathBuf {
        self.root.join(REPOSITORIES)
    }

    pub(super) fn tags(&self, repository: &Name) -> PathBuf {
        self.part(repository, TAGS)
    }

    pub(super) fn subjects(&self, repository: &Name) -> PathBuf {
        self.part(repository, REFERRERS)
    }

    /// The directory that has a directory for each algorithm, which has the list's digests, or those of contents two
    /// digits further down.
    pub(super) fn digests(&self, list: &Digests) -> PathBuf {
        match list {
            Digests::Contents => self.contents(),
            Digests::Blobs(name) => self.part(name, BLOBS),
            Digests::Manifests(name) => self.part(name, MANIFESTS),
            Digests::Referrers(name, subject) => below(self.part(name, REFERRERS), *subject),
        }
    }

    /// All sessions lie in one directory, so that the abandoned ones are found at a glance; the repository is in the
    /// name, so that a session is found in its own only.
    pub(super) fn upload(&self, repository: &Name, session: &SessionId) -> PathBuf {
        let repository = Digest::sha256(repository.as_str().as_bytes()).hex();
        self.uploads().join(format!("{session}-{repository}"))
    }

    pub(super) fn uploads(&self) -> PathBuf {
        self.root.join("uploads")
    }

    pub(super) fn temporary(&self) -> PathBuf {
        self.root.join("temporary")
    }

    pub(super) fn rounds(&self) -> PathBuf {
        self.root.join("aside")
    }

    /// Where a collection sets things aside, as the root of this same layout.
    pub(super) fn aside(&self, round: &Round) -> Self {
        Self::new(self.rounds().join(round.to_string()))
    }

    pub(super) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// A record shares its lock with others: files that are never removed have to be few.
    pub(super) fn lock(&self, key: &Key) -> PathBuf {
        let digest = Digest::sha256(key.to_string().as_bytes());
        self.locks().join(&digest.hex()[..2])
    }

    fn part(&self, repository: &Name, part: &str) -> PathBuf {
        // With room for what comes after it, so that the path is not moved with every component.
        let mut path = PathBuf::with_capacity(self.root.as_os_str().len() + repository.as_str().len() + ROOM);
        path.push(&*self.root);
        path.push(REPOSITORIES);
        path.push(repository.as_str());
        path.push(part);
        path
    }
}

fn below(mut directory: PathBuf, digest: Digest) -> PathBuf {
    directory.push(digest.algorithm().name());
    directory.push(digest.hex());
    directory
}
