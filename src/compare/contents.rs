//! The contents of two files, held against each other.

use futures::stream::{BoxStream, TryStreamExt};

use crate::bundle::Piece;
use crate::content::{self, ErrorKind};
use crate::digest::{Algorithm, Digest, Hasher};

/// How many bytes a file has at most whose contents are shown.
pub const MAX_TEXT: u64 = 4 * 1024 * 1024;
/// How far at the front of a file a zero byte says that it is no text.
const FRONT: usize = 8000;

/// How the contents of files at a path differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// They do not, or there are none.
    Same,
    /// They differ, and have not been read, or are too large to be kept.
    Unread,
    /// They differ; where no file is, there is nothing.
    Text {
        /// The old ones.
        old: String,
        /// The new ones.
        new: String,
    },
    /// They differ, and at least one is no text.
    Binary,
}

/// The contents of a file that has been read.
#[derive(Debug)]
pub(super) struct Collected {
    digest: Digest,
    /// The bytes, if they were to be kept, and are not too many.
    bytes: Option<Vec<u8>>,
}

/// Reads the contents of a file of so many bytes off the front of `pieces`.
pub(super) async fn collect(
    size: u64,
    keep: bool,
    pieces: &mut BoxStream<'_, Result<Piece, content::Error>>,
) -> Result<Collected, content::Error> {
    let mut bytes = (keep && size <= MAX_TEXT).then(|| Vec::with_capacity(size as usize));
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut left = size;
    while left > 0 {
        let broken = || content::Error::new(ErrorKind::Content, "contents end before they should");
        let piece = pieces.try_next().await?.ok_or_else(broken)?;
        left = left.checked_sub(piece.bytes.len() as u64).ok_or_else(broken)?;
        hasher.update(&piece.bytes);
        if let Some(bytes) = &mut bytes {
            bytes.extend_from_slice(&piece.bytes);
        }
    }
    Ok(Collected { digest: hasher.finish(), bytes })
}

impl Contents {
    /// What two files are, or one of which the other side has none.
    pub(super) fn of((old, new): (Option<Collected>, Option<Collected>)) -> Self {
        if let (Some(old), Some(new)) = (&old, &new)
            && old.digest == new.digest
        {
            return Self::Same;
        }
        let bytes = |side: Option<Collected>| side.map_or_else(|| Some(Vec::new()), |side| side.bytes);
        let (Some(old), Some(new)) = (bytes(old), bytes(new)) else { return Self::Unread };
        match (text(old), text(new)) {
            (Some(old), Some(new)) => Self::Text { old, new },
            _ => Self::Binary,
        }
    }
}

fn text(bytes: Vec<u8>) -> Option<String> {
    let has_zero = bytes[..bytes.len().min(FRONT)].contains(&0);
    if has_zero { None } else { String::from_utf8(bytes).ok() }
}
