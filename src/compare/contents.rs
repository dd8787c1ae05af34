//! The contents of two files, held against each other.

use bytes::Bytes;
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
    /// They differ from here on.
    From(First),
}

/// The first byte at which two files differ, or at which one of them ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct First {
    /// Its place, counted from 0.
    pub offset: u64,
    /// The line that it is in, counted from 1, if what comes before it is text.
    pub line: Option<u64>,
}

/// Holds two files of so many bytes, which are both at the front of their pieces, against each other, and reads both to
/// their ends.
pub(super) async fn first_difference(
    sizes: (u64, u64),
    old: &mut BoxStream<'_, Result<Piece, content::Error>>,
    new: &mut BoxStream<'_, Result<Piece, content::Error>>,
) -> Result<Contents, content::Error> {
    let (mut left, mut bytes) = (sizes, (Bytes::new(), Bytes::new()));
    let mut search = Search::default();
    while left.0 + left.1 > 0 {
        fill(&mut bytes.0, left.0, old).await?;
        fill(&mut bytes.1, left.1, new).await?;
        let step = match (bytes.0.len(), bytes.1.len()) {
            (0, length) | (length, 0) => length,
            (a, b) => a.min(b),
        };
        let pair = (bytes.0.split_to(step.min(bytes.0.len())), bytes.1.split_to(step.min(bytes.1.len())));
        left = (left.0 - pair.0.len() as u64, left.1 - pair.1.len() as u64);
        search.step(&pair.0, &pair.1);
    }
    Ok(search.found.map_or(Contents::Same, Contents::From))
}

/// Takes the next piece, if there is something left, and nothing of the one before.
async fn fill(
    bytes: &mut Bytes,
    left: u64,
    pieces: &mut BoxStream<'_, Result<Piece, content::Error>>,
) -> Result<(), content::Error> {
    if left == 0 || !bytes.is_empty() {
        return Ok(());
    }
    let broken = || content::Error::new(ErrorKind::Content, "contents end before they should");
    let piece = pieces.try_next().await?.ok_or_else(broken)?;
    if piece.bytes.is_empty() || piece.bytes.len() as u64 > left {
        return Err(broken());
    }
    *bytes = piece.bytes;
    Ok(())
}

/// A search for the first difference, over as many steps as it takes.
#[derive(Default)]
struct Search {
    offset: u64,
    lines: u64,
    has_zero: bool,
    found: Option<First>,
}

impl Search {
    /// Looks at what comes next, which is as long on both sides, unless one of them has ended.
    fn step(&mut self, old: &[u8], new: &[u8]) {
        if self.found.is_some() {
            return;
        }
        let same = old.iter().zip(new).take_while(|(a, b)| a == b).count();
        self.has_zero |= old[..same].contains(&0);
        self.lines += old[..same].split(|&byte| byte == b'\n').count() as u64 - 1;
        self.offset += same as u64;
        if same < old.len().max(new.len()) {
            self.has_zero |= [old, new].iter().any(|side| side.get(same) == Some(&0));
            self.found = Some(First { offset: self.offset, line: (!self.has_zero).then_some(self.lines + 1) });
        }
    }
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

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream;

    use super::*;

    async fn find(old: &[&'static str], new: &[&'static str]) -> Contents {
        let size = |pieces: &[&str]| pieces.iter().map(|piece| piece.len() as u64).sum();
        let pieces = |pieces: &[&'static str]| {
            let piece =
                |text: &&'static str| Ok(Piece { entry: 0, offset: 0, bytes: Bytes::from_static(text.as_bytes()) });
            stream::iter(pieces.iter().map(piece).collect::<Vec<_>>()).boxed()
        };
        let (mut a, mut b) = (pieces(old), pieces(new));
        let found = first_difference((size(old), size(new)), &mut a, &mut b).await.unwrap();
        assert!(a.next().await.is_none() && b.next().await.is_none(), "both are read to their ends");
        found
    }

    #[tokio::test]
    async fn the_first_difference_is_found_however_the_pieces_are_cut() {
        let from = |offset, line| Contents::From(First { offset, line });
        assert_eq!(find(&["ab", "c"], &["a", "bc"]).await, Contents::Same);
        assert_eq!(find(&[], &[]).await, Contents::Same);
        assert_eq!(find(&["a\nb\n", "c"], &["a", "\nb\nd", "e"]).await, from(4, Some(3)));
        assert_eq!(find(&["abc"], &["a", "b"]).await, from(2, Some(1)));
        assert_eq!(find(&[], &["x", "y"]).await, from(0, Some(1)));
        assert_eq!(find(&["a\0b"], &["a\0", "c"]).await, from(2, None));
        assert_eq!(find(&["a"], &["\0"]).await, from(0, None));
    }
}
