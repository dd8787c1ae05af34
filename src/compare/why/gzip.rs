//! The header of a gzip file (RFC 1952, section 2.3), which says nothing about the content.

use crate::text::{count, excerpt};

/// How much of a file may be header, in bytes: with a name and a comment of any length, there would be no end to it.
pub(super) const MAX_HEADER: usize = 256 * 1024;

const HAS_CRC: u8 = 2;
const HAS_EXTRA: u8 = 4;
const HAS_NAME: u8 = 8;
const HAS_COMMENT: u8 = 16;

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    mtime: u32,
    level: u8,
    system: u8,
    extra: Option<Vec<u8>>,
    name: Option<Vec<u8>>,
    comment: Option<Vec<u8>>,
    has_crc: bool,
    /// How many bytes it has.
    pub(super) length: usize,
}

impl Header {
    /// Reads the header at the front of `bytes`; nothing, if there is none, or none that ends.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[0x1f, 0x8b, 8])?;
        let fixed = take(&mut rest, 7)?;
        let flags = fixed[0];
        let mtime = u32::from_le_bytes([fixed[1], fixed[2], fixed[3], fixed[4]]);
        let mut extra = None;
        if flags & HAS_EXTRA != 0 {
            let length = take(&mut rest, 2)?;
            extra = Some(take(&mut rest, usize::from(u16::from_le_bytes([length[0], length[1]])))?.to_vec());
        }
        let mut text = |flag: u8| -> Option<Option<Vec<u8>>> {
            if flags & flag == 0 {
                return Some(None);
            }
            let end = rest.iter().position(|&byte| byte == 0)?;
            let text = rest[..end].to_vec();
            rest = &rest[end + 1..];
            Some(Some(text))
        };
        let (name, comment) = (text(HAS_NAME)?, text(HAS_COMMENT)?);
        let has_crc = flags & HAS_CRC != 0;
        if has_crc {
            take(&mut rest, 2)?;
        }
        let length = bytes.len() - rest.len();
        Some(Self { mtime, level: fixed[5], system: fixed[6], extra, name, comment, has_crc, length })
    }

    /// The fields that differ: the name of each, and what it is on both sides. If the compressor is another anyway, it is
    /// no wonder that it says another system and level.
    pub(super) fn differences(&self, other: &Self, has_other_compressor: bool) -> Vec<(&'static str, [String; 2])> {
        let text = |text: &Option<Vec<u8>>| {
            text.as_ref().map_or_else(|| "none".to_owned(), |text| excerpt(&String::from_utf8_lossy(text)))
        };
        let bytes = |bytes: &Option<Vec<u8>>| {
            bytes.as_ref().map_or_else(|| "none".to_owned(), |bytes| count(bytes.len(), "byte"))
        };
        let is_there = |is_there: bool| if is_there { "there" } else { "none" }.to_owned();
        let both = |shown: &dyn Fn(&Self) -> String| [shown(self), shown(other)];
        let rows = [
            (self.name != other.name, "file name", both(&|header| text(&header.name))),
            (self.mtime != other.mtime, "time", both(&|header| time(header.mtime))),
            (self.comment != other.comment, "comment", both(&|header| text(&header.comment))),
            (self.extra != other.extra, "extra field", both(&|header| bytes(&header.extra))),
            (self.has_crc != other.has_crc, "header checksum", both(&|header| is_there(header.has_crc))),
            (
                self.system != other.system && !has_other_compressor,
                "operating system",
                both(&|header| header.system.to_string()),
            ),
            (self.level != other.level && !has_other_compressor, "level", both(&|header| header.level.to_string())),
        ];
        rows.into_iter().filter(|row| row.0).map(|(_, name, values)| (name, values)).collect()
    }
}

/// What is left of Go's zero time, the first of January of the year 1, in 32 bits: pgzip, which Docker, Podman and Buildah
/// compress with, writes that where there is no time.
const NO_TIME_OF_GO: u32 = 0x886e_0900;

fn time(seconds: u32) -> String {
    match seconds {
        0 => "none".to_owned(),
        NO_TIME_OF_GO => "none as pgzip writes it".to_owned(),
        seconds => super::entry::time(i64::from(seconds)),
    }
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (front, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(front)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, GzBuilder};
    use proptest::prelude::*;

    use super::*;

    fn gzip(builder: GzBuilder) -> Vec<u8> {
        let mut encoder = builder.write(Vec::new(), Compression::default());
        encoder.write_all(b"content").unwrap();
        encoder.finish().unwrap()
    }

    fn found(a: GzBuilder, b: GzBuilder) -> Vec<&'static str> {
        let (a, b) = (gzip(a), gzip(b));
        let headers = [&a, &b].map(|bytes| Header::parse(bytes).unwrap());
        assert_eq!(a[headers[0].length..], b[headers[1].length..]);
        headers[0].differences(&headers[1], false).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn each_field_has_a_name() {
        let plain = || GzBuilder::new().operating_system(255);
        assert!(found(plain(), plain()).is_empty());
        assert_eq!(found(plain(), plain().filename("layer.tar")), ["file name"]);
        assert_eq!(found(plain().mtime(1_700_000_000), plain()), ["time"]);
        assert_eq!(found(plain().comment("x"), plain().comment("y")), ["comment"]);
        assert_eq!(found(plain().extra(vec![1; 9]), plain()), ["extra field"]);
        assert_eq!(found(plain(), plain().operating_system(3)), ["operating system"]);
    }

    #[test]
    fn a_header_that_does_not_end_is_none() {
        let bytes = gzip(GzBuilder::new().filename("name").comment("comment").extra(vec![1, 2, 3]));
        let length = Header::parse(&bytes).unwrap().length;
        for end in 0..length {
            assert_eq!(Header::parse(&bytes[..end]), None, "{end}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(mut bytes: Vec<u8>) {
            let _ = Header::parse(&bytes);
            bytes.splice(..0, [0x1f, 0x8b, 8, 0x1f]);
            let _ = Header::parse(&bytes);
        }
    }
}
