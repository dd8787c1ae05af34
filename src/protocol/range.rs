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

/// How many ranges a header may ask for. Nobody needs more, and each costs a part of the answer.
const MAX_RANGES: usize = 64;

/// The ranges of a `Range: bytes=…` header, at least one (RFC 9110, section 14.1.2; distribution-spec v1.1.1, "Pulling
/// blobs").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByteRanges(Vec<ByteRange>);

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// `first-last`, both inclusive; there is no byte in it when `first` comes after `last`.
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

/// What a server sends to somebody who asks for ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Nothing of it is there (416).
    Nothing,
    /// One part (206).
    Part(Range<u64>),
    /// Several parts, none of them empty, in the order in which they were asked for (206, `multipart/byteranges`).
    Parts(Vec<Range<u64>>),
    /// Everything (200): the ranges overlap, so that they could ask for more than there is.
    Whole,
}

impl ByteRanges {
    /// What to send of content that has `size` bytes. Of several ranges, those that have no bytes are left out.
    #[must_use]
    pub fn select(&self, size: u64) -> Selection {
        let mut parts: Vec<_> = self.0.iter().filter_map(|range| range.resolve(size)).collect();
        let mut sorted = parts.clone();
        sorted.sort_by_key(|part| part.start);
        match parts.len() {
            0 => Selection::Nothing,
            1 => Selection::Part(parts.remove(0)),
            _ if sorted.windows(2).any(|pair| pair[0].end > pair[1].start) => Selection::Whole,
            _ => Selection::Parts(parts),
        }
    }
}

impl ByteRange {
    /// Which bytes these are of content that has `size` bytes; `None` when there are none.
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

impl fmt::Display for ByteRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            write!(f, "{}{range}", if at == 0 { "bytes=" } else { "," })?;
        }
        Ok(())
    }
}

impl fmt::Display for ByteRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { first, last } => write!(f, "{first}-{last}"),
            Self::From(first) => write!(f, "{first}-"),
            Self::Suffix(length) => write!(f, "-{length}"),
        }
    }
}

impl FromStr for ByteRanges {
    type Err = InvalidRange;

    /// Reads a header. Other units are errors, and so are too many ranges: a server ignores what it does not understand
    /// here and answers with everything. Elements of the list may be empty.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange {
            found: text.chars().take(100).collect(),
            expected: "bytes=first-last, bytes=first- or bytes=-n, or some of them with commas between",
        };
        let (unit, ranges) = text.split_once('=').ok_or_else(invalid)?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return Err(invalid());
        }
        let elements = ranges.split(',').map(str::trim).filter(|element| !element.is_empty());
        let ranges: Option<Vec<_>> = elements.take(MAX_RANGES + 1).map(ByteRange::parse).collect();
        match ranges {
            Some(ranges) if (1..=MAX_RANGES).contains(&ranges.len()) => Ok(Self(ranges)),
            _ => Err(invalid()),
        }
    }
}

impl FromStr for ByteRange {
    type Err = InvalidRange;

    /// Reads `first-last`, `first-` or `-n`, without a unit.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange { found: text.chars().take(100).collect(), expected: "first-last, first- or -n" };
        Self::parse(text).ok_or_else(invalid)
    }
}

impl ByteRange {
    /// Positions that no integer can hold are taken as the largest one.
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('-')? {
            ("", length) => Some(Self::Suffix(saturating(length)?)),
            (first, "") => Some(Self::From(saturating(first)?)),
            (first, last) => Some(Self::Closed { first: saturating(first)?, last: saturating(last)? }),
        }
    }
}

/// Decimal digits as an integer, or as the largest one when it is larger than that.
fn saturating(digits: &str) -> Option<u64> {
    let valid = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    valid.then(|| digits.parse().unwrap_or(u64::MAX))
}

/// Which part of some content an answer brings (RFC 9110, section 14.4, `Content-Range`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContentRange {
    /// The position of the first byte.
    pub first: u64,
    /// The position of the last byte, not before the first.
    pub last: u64,
    /// How many bytes the content has, if that is said; more than `last`.
    pub size: Option<u64>,
}

impl ContentRange {
    /// How many bytes the part has.
    #[must_use]
    pub fn length(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }

    /// Whether this is the part that was asked for.
    #[must_use]
    pub fn answers(self, asked: ByteRange) -> bool {
        let found = self.first..self.last.saturating_add(1);
        match (self.size, asked) {
            (Some(size), _) => asked.resolve(size) == Some(found),
            (None, ByteRange::Closed { first, last }) => self.first == first && self.last <= last,
            (None, ByteRange::From(first)) => self.first == first,
            (None, ByteRange::Suffix(length)) => self.length() <= length,
        }
    }
}

impl FromStr for ContentRange {
    type Err = InvalidRange;

    /// Reads `bytes first-last/size`, where `*` stands for a size that is not said.
    fn from_str(text: &str) -> Result<Self, InvalidRange> {
        let invalid = || InvalidRange {
            found: text.chars().take(100).collect(),
            expected: "bytes first-last/size or bytes first-last/*",
        };
        let (range, size) = text.strip_prefix("bytes ").and_then(|rest| rest.split_once('/')).ok_or_else(invalid)?;
        let ChunkRange { first, last } = range.trim().parse().map_err(|_| invalid())?;
        let size = match size.trim() {
            "*" => None,
            digits => Some(saturating(digits).filter(|size| *size > last).ok_or_else(invalid)?),
        };
        Ok(Self { first, last, size })
    }
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

    fn select(text: &str, size: u64) -> Selection {
        text.parse::<ByteRanges>().unwrap_or_else(|error| panic!("{text}: {error}")).select(size)
    }

    #[test]
    fn a_range_picks_the_bytes_that_it_names() {
        for (text, size, expected) in [
            ("bytes=0-0", 10, Selection::Part(0..1)),
            ("bytes=0-9", 10, Selection::Part(0..10)),
            ("bytes=3-99999999999999999999999", 10, Selection::Part(3..10)),
            ("bytes=3-", 10, Selection::Part(3..10)),
            ("bytes=-3", 10, Selection::Part(7..10)),
            ("bytes=-99", 10, Selection::Part(0..10)),
            ("bytes=10-", 10, Selection::Nothing),
            ("bytes=2-1", 10, Selection::Nothing),
            ("bytes=99999999999999999999999-", 10, Selection::Nothing),
            ("bytes=-0", 10, Selection::Nothing),
            ("bytes=0-", 0, Selection::Nothing),
            ("Bytes = 1-2", 10, Selection::Part(1..3)),
        ] {
            assert_eq!(select(text, size), expected, "{text}");
        }
    }

    #[test]
    fn several_ranges_are_parts_unless_they_overlap() {
        for (text, expected) in [
            ("bytes=7-8, 0-1", Selection::Parts(vec![7..9, 0..2])),
            ("bytes=0-0,1-1,-1", Selection::Parts(vec![0..1, 1..2, 9..10])),
            ("bytes=0-0,20-30,", Selection::Part(0..1)),
            ("bytes=20-30,40-", Selection::Nothing),
            ("bytes=0-5,5-6", Selection::Whole),
            ("bytes=0-,0-", Selection::Whole),
        ] {
            assert_eq!(select(text, 10), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_an_error() {
        let too_many = format!("bytes=0-0{}", ",0-0".repeat(MAX_RANGES));
        for text in ["", "bytes", "bytes=", "bytes=,", "bytes=-", "bytes=a-b", "bytes=0-1,x", "lines=0-1", &too_many] {
            assert!(text.parse::<ByteRanges>().is_err(), "{text}");
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

    #[test]
    fn an_answer_brings_the_part_that_was_asked_for_or_another() {
        for (asked, found, expected) in [
            ("0-9", "bytes 0-9/100", true),
            ("0-9", "bytes 0-9/*", true),
            ("0-9", "bytes 0-4/5", true),
            ("0-9", "bytes 0-4/100", false),
            ("0-9", "bytes 1-9/100", false),
            ("0-9", "bytes 0-10/*", false),
            ("5-", "bytes 5-99/100", true),
            ("5-", "bytes 5-9/100", false),
            ("5-", "bytes 0-99/100", false),
            ("-5", "bytes 95-99/100", true),
            ("-5", "bytes 0-2/3", true),
            ("-5", "bytes 0-4/100", false),
            ("-5", "bytes 0-99/*", false),
        ] {
            let found: ContentRange = found.parse().unwrap();
            assert_eq!(found.answers(asked.parse().unwrap()), expected, "{asked} {found:?}");
        }
        for text in ["", "bytes", "bytes 0-9", "bytes 0-9/", "bytes 0-9/9", "bytes */9", "bytes 9-0/10", "0-9/10"] {
            assert!(text.parse::<ContentRange>().is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn parse_and_print_are_inverse(positions in prop::collection::vec(any::<(u64, u64)>(), 1..8)) {
            let ranges = positions.iter().flat_map(|&(first, last)| {
                [ByteRange::Closed { first, last }, ByteRange::From(first), ByteRange::Suffix(last)]
            });
            let ranges = ByteRanges(ranges.collect());
            prop_assert_eq!(ranges.to_string().parse::<ByteRanges>().unwrap(), ranges);
            let (first, last) = positions[0];
            let chunk = ChunkRange { first: first.min(last), last: first.max(last) };
            prop_assert_eq!(chunk.to_string().parse::<ChunkRange>().unwrap(), chunk);
        }

        #[test]
        fn what_parses_lies_within_the_content(text in "(bytes=)?[0-9a-z, -]{0,50}", size in 0..200_u64) {
            let parts = match text.parse::<ByteRanges>().map(|ranges| ranges.select(size)) {
                Ok(Selection::Part(part)) => vec![part],
                Ok(Selection::Parts(parts)) => parts,
                _ => vec![],
            };
            prop_assert!(parts.iter().all(|part| part.start < part.end && part.end <= size));
            prop_assert!(parts.iter().map(|part| part.end - part.start).sum::<u64>() <= size);
        }

        #[test]
        fn no_header_is_too_strange(text in ".{0,100}") {
            let _ = (text.parse::<ByteRanges>(), text.parse::<ByteRange>());
            let _ = (text.parse::<ChunkRange>(), format!("bytes {text}").parse::<ContentRange>());
        }
    }
}
