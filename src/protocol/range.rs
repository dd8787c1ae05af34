//! Byte ranges: which part of a blob is asked for, and where a chunk of an upload belongs.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

/// A text that is no range of the kind that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no range: expected {expected}")]
pub struct InvalidRange {
    found: String,
    expected: &'static str,
}

/// The one range of a `Range: bytes=…` header (RFC 9110, section 14.1.2; distribution-spec v1.1.1, "Pulling blobs").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both inclusive; `first` is at most `last`.
    Closed {
        /// The position of the first byte.
        first: u64,
        /// The position of the last byte, which may lie beyond the end.
        last: u64,
    },
    /// `first-`: from here to the end.
    From(u64),
    /// `-length`: this many bytes at the end.
    Suffix(u64),
}

impl ByteRange {
    /// Which bytes these are of content that has `size` bytes; `None` when there are none (416).
    #[must_use]
    pub fn resolve(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::Closed { first, last } => first..last.saturating_add(1).min(size),
            Self::From(first) => first..size,
            Self::Suffix(length) => size.saturating_sub(length)..size,
        };
        (range.start < range.end).then_some(range)
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { first, last } => write!(f, "bytes={first}-{last}"),
            Self::From(first) => write!(f, "bytes={first}-"),
            Self::Suffix(length) => write!(f, "bytes=-{length}"),
        }
    }
}

impl FromStr for ByteRange {
    type Err = InvalidRange;

    /// Reads a header. Other units and several ranges are errors, too: a server ignores what it does not understand
    /// here and answers with everything. Positions that no integer can hold are taken as the largest one.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid =
            || InvalidRange { found: text.to_owned(), expected: "bytes=first-last, bytes=first- or bytes=-n" };
        let (unit, range) = text.split_once('=').ok_or_else(invalid)?;
        let (first, last) = range.trim().split_once('-').ok_or_else(invalid)?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Err(invalid());
        }
        let number = |digits: &str| saturating(digits).ok_or_else(invalid);
        match (first, last) {
            ("", length) => Ok(Self::Suffix(number(length)?)),
            (first, "") => Ok(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first <= last { Ok(Self::Closed { first, last }) } else { Err(invalid()) }
            }
        }
    }
}

/// Decimal digits as an integer, or as the largest one when it is larger than that.
fn saturating(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Where a chunk of an upload belongs: `first-last`, both inclusive (distribution-spec v1.1.1, "Pushing a blob in
/// chunks"). A server's `Range: 0-<last>` about a session reads the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkRange {
    /// The position of the first byte.
    pub first: u64,
    /// The position of the last byte, not before the first.
    pub last: u64,
}

impl ChunkRange {
    /// How many bytes the chunk has.
    #[must_use]
    pub fn length(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl fmt::Display for ChunkRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl FromStr for ChunkRange {
    type Err = InvalidRange;

    /// Reads `first-last`, and HTTP's own `bytes first-last/total`, which some clients send.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange { found: text.to_owned(), expected: "first-last" };
        let range = match text.strip_prefix("bytes ") {
            Some(range) => range.split_once('/').map_or(range, |(range, _)| range),
            None => text,
        };
        let (first, last) = range.split_once('-').ok_or_else(invalid)?;
        let number = |digits: &str| {
            let only_digits = digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| only_digits).ok_or_else(invalid)
        };
        let (first, last) = (number(first)?, number(last)?);
        if first <= last { Ok(Self { first, last }) } else { Err(invalid()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_pick_the_bytes_that_they_name() {
        for (text, size, expected) in [
            ("bytes=0-0", 10, Some(0..1)),
            ("bytes=0-9", 10, Some(0..10)),
            ("bytes=3-99999999999999999999999", 10, Some(3..10)),
            ("bytes=3-", 10, Some(3..10)),
            ("bytes=-3", 10, Some(7..10)),
            ("bytes=-99", 10, Some(0..10)),
            ("bytes=10-", 10, None),
            ("bytes=99999999999999999999999-", 10, None),
            ("bytes=-0", 10, None),
            ("bytes=0-", 0, None),
            ("Bytes = 1-2", 10, Some(1..3)),
        ] {
            let range: ByteRange = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(range.resolve(size), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_single_range_is_an_error() {
        for text in ["", "bytes", "bytes=", "bytes=-", "bytes=2-1", "bytes=a-b", "bytes=0-1,3-4", "lines=0-1", "0-1"] {
            assert!(text.parse::<ByteRange>().is_err(), "{text}");
        }
        for text in ["", "-", "1-", "-1", "2-1", "+1-+2", "0-99999999999999999999999", "bytes=0-1", "a-b", "0-1-2"] {
            assert!(text.parse::<ChunkRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn chunks_may_be_named_as_http_does() {
        assert_eq!("bytes 5-9/*".parse(), Ok(ChunkRange { first: 5, last: 9 }));
        assert_eq!("5-9".parse::<ChunkRange>().unwrap().length(), 5);
        assert_eq!(ChunkRange { first: 0, last: u64::MAX }.length(), u64::MAX);
    }

    proptest! {
        #[test]
        fn parse_and_print_are_inverse(a: u64, b: u64) {
            let (first, last) = (a.min(b), a.max(b));
            for range in [ByteRange::Closed { first, last }, ByteRange::From(first), ByteRange::Suffix(last)] {
                prop_assert_eq!(range.to_string().parse::<ByteRange>().unwrap(), range);
            }
            let chunk = ChunkRange { first, last };
            prop_assert_eq!(chunk.to_string().parse::<ChunkRange>().unwrap(), chunk);
        }

        #[test]
        fn what_parses_lies_within_the_content(text in "(bytes=)?[0-9a-z, -]{0,50}", size: u64) {
            if let Ok(range) = text.parse::<ByteRange>() && let Some(bytes) = range.resolve(size) {
                prop_assert!(bytes.start < bytes.end && bytes.end <= size);
            }
            let _ = text.parse::<ChunkRange>();
        }
    }
}
