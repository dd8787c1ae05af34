//! Why a manifest is not taken.

use crate::digest::Digest;
use crate::reference::{Name, Tag};
use crate::server::storage;

/// Why a manifest is not taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// Something that it refers to is not in the repository.
    #[error(transparent)]
    Missing(#[from] Missing),
    /// The tag does not point to what the condition says.
    #[error("tag {tag} of {repository} points to {}, expected {}", target(*found), target(*expected))]
    Condition {
        /// The repository.
        repository: Name,
        /// The tag.
        tag: Tag,
        /// What it should point to; `None` for a tag that should not be there.
        expected: Option<Digest>,
        /// What it points to.
        found: Option<Digest>,
    },
    /// The storage failed.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

/// What a manifest refers to, and its repository does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the manifest refers to {} {digest} ({media_type}), which repository {repository} does not have",
    if *is_manifest { "manifest" } else { "blob" }
)]
pub struct Missing {
    /// The repository.
    pub repository: Name,
    /// What is missing.
    pub digest: Digest,
    /// What the manifest says that it is.
    pub media_type: String,
    /// Whether only a manifest would do.
    pub is_manifest: bool,
}

fn target(digest: Option<Digest>) -> String {
    digest.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string())
}
