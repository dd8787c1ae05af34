//! Sections: bytes of the index, hidden in gzip members that decompress to nothing.
//!
//! A section is a kind, the length of its body and the body in raw deflate, cut into pieces; each piece is the one
//! extra field of an empty gzip member (RFC 1952, 2.3.1.1). What a body means is left to `index`.

use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor};

use super::member::COMPRESSION_LEVEL;
use super::varint;
use crate::text::bytes;

/// The longest body of a section, in bytes.
pub const MAX_SECTION: u64 = 64 * 1024 * 1024;

/// The longest section in the layer, in bytes: what cannot be compressed grows by less than one part in 64.
pub(super) const MAX_SECTION_SIZE: u64 = MAX_SECTION + MAX_SECTION / 64;

/// The front of a gzip member that has an extra field and nothing else: no time, no name, system unknown.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
/// The name of our subfield.
const SUBFIELD: [u8; 2] = *b"BN";
/// The empty deflate stream, and the checksum and length of nothing.
const TAIL: [u8; 10] = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// How many bytes of a section a member carries: with the subfield's own head, 8 KiB. BusyBox reads no more than 16.
const PIECE: usize = 8188;

/// Which section it is: the first byte of its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// The entry list.
    Entries = b'E' as isize,
    /// The member table.
    Members = b'M' as isize,
}

/// Why some bytes are no section.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SectionError {
    /// The gzip members are not what they have to be.
    #[error("the gzip member at byte {0} of the section is not one that carries an index")]
    Carrier(usize),
    /// The section is another one.
    #[error("the section is not {0:?}")]
    Kind(SectionKind),
    /// The body is too long, or as long as it does not say.
    #[error("the section's body is not the deflate of {} that it says, or more than {MAX_SECTION}", bytes(*.0))]
    Body(u64),
}

/// Writes a section as gzip members.
///
/// # Errors
/// When the body is longer than [`MAX_SECTION`].
pub(super) fn write(kind: SectionKind, body: &[u8]) -> Result<Vec<u8>, SectionError> {
    let too_long = SectionError::Body(body.len() as u64);
    if body.len() as u64 > MAX_SECTION {
        return Err(too_long);
    }
    let level = CompressionLvl::new(COMPRESSION_LEVEL).map_err(|_| too_long.clone())?;
    let mut compressor = Compressor::new(level);
    let mut payload = vec![kind as u8];
    varint::write(&mut payload, body.len() as u64);
    let front = payload.len();
    payload.resize(front + compressor.deflate_compress_bound(body.len()), 0);
    let length = compressor.deflate_compress(body, &mut payload[front..]).map_err(|_| too_long)?;
    payload.truncate(front + length);

    let mut out = Vec::with_capacity(payload.len() + (payload.len() / PIECE + 1) * 26);
    for piece in payload.chunks(PIECE) {
        // A piece is at most PIECE bytes, so both lengths fit.
        let length = piece.len() as u16;
        out.extend_from_slice(&HEAD);
        out.extend_from_slice(&(length + 4).to_le_bytes());
        out.extend_from_slice(&SUBFIELD);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(&TAIL);
    }
    Ok(out)
}

/// Reads the body of a section from the gzip members that carry it.
///
/// # Errors
/// When the bytes are anything but what [`write`] makes, up to how they are compressed.
pub fn read_section(kind: SectionKind, bytes: &[u8]) -> Result<Vec<u8>, SectionError> {
    let payload = gather(bytes)?;
    let mut payload = payload.strip_prefix(&[kind as u8]).ok_or(SectionError::Kind(kind))?;
    let length = varint::read(&mut payload).ok_or(SectionError::Body(0))?;
    let wrong = SectionError::Body(length);
    if length > MAX_SECTION {
        return Err(wrong);
    }
    // One byte more than there should be, so that a body that is too long shows.
    let mut body = Vec::with_capacity(length as usize + 1);
    let mut inflate = Decompress::new(false);
    match inflate.decompress_vec(payload, &mut body, FlushDecompress::Finish) {
        Ok(Status::StreamEnd) if body.len() as u64 == length && inflate.total_in() == payload.len() as u64 => Ok(body),
        _ => Err(wrong),
    }
}

/// Joins the pieces.
fn gather(bytes: &[u8]) -> Result<Vec<u8>, SectionError> {
    let mut payload = Vec::new();
    let mut at = 0;
    while at < bytes.len() || at == 0 {
        let piece = carried(&bytes[at..]).ok_or(SectionError::Carrier(at))?;
        let is_last = at + HEAD.len() + 6 + piece.len() + TAIL.len() == bytes.len();
        if piece.len() != PIECE && !is_last {
            return Err(SectionError::Carrier(at));
        }
        payload.extend_from_slice(piece);
        at += HEAD.len() + 6 + piece.len() + TAIL.len();
    }
    Ok(payload)
}

/// The piece that the gzip member at the front of `bytes` carries.
fn carried(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(&HEAD)?;
    let (extra, rest) = rest.split_first_chunk::<2>()?;
    let (subfield, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = u16::from_le_bytes(*length);
    let fits = u16::from_le_bytes(*extra) == length.checked_add(4)? && usize::from(length) <= PIECE && length > 0;
    let (piece, rest) = rest.split_at_checked(usize::from(length))?;
    (fits && *subfield == SUBFIELD && rest.starts_with(&TAIL)).then_some(piece)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn a_section_is_read_as_it_is_written_and_other_tools_see_nothing() {
        for body in [vec![], b"x".repeat(100_000), noise(8180), noise(8188), noise(100_000)] {
            let bytes = write(SectionKind::Members, &body).unwrap();
            assert_eq!(read_section(SectionKind::Members, &bytes).unwrap(), body);
            assert_eq!(read_section(SectionKind::Entries, &bytes), Err(SectionError::Kind(SectionKind::Entries)));
            let mut seen = Vec::new();
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_end(&mut seen).unwrap();
            assert!(seen.is_empty());
        }
    }

    #[test]
    fn any_changed_byte_of_the_framing_is_refused() {
        let bytes = write(SectionKind::Entries, &noise(20_000)).unwrap();
        let carriers = [0, 8214, 16428];
        for at in carriers.iter().flat_map(|start| *start..start + 16).chain(bytes.len() - 10..bytes.len()) {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(read_section(SectionKind::Entries, &changed).is_err(), "byte {at}");
        }
        assert!(read_section(SectionKind::Entries, &bytes[..bytes.len() - 1]).is_err());
        assert!(read_section(SectionKind::Entries, &[&bytes[..], &bytes[..]].concat()).is_err());
        assert!(read_section(SectionKind::Entries, &[]).is_err());
    }

    #[test]
    fn a_body_that_lies_about_its_length_is_refused_before_it_takes_memory() {
        let frame = |length: u64, deflate: &[u8]| {
            let mut payload = vec![b'E'];
            varint::write(&mut payload, length);
            payload.extend_from_slice(deflate);
            let mut bytes = HEAD.to_vec();
            bytes.extend_from_slice(&(payload.len() as u16 + 4).to_le_bytes());
            bytes.extend_from_slice(&SUBFIELD);
            bytes.extend_from_slice(&(payload.len() as u16).to_le_bytes());
            bytes.extend_from_slice(&payload);
            bytes.extend_from_slice(&TAIL);
            bytes
        };
        let mut compressor = Compressor::new(CompressionLvl::new(6).unwrap());
        let mut deflate = vec![0; 1000];
        let length = compressor.deflate_compress(&[7; 5000], &mut deflate).unwrap();
        deflate.truncate(length);
        read_section(SectionKind::Entries, &frame(5000, &deflate)).unwrap();
        for lie in [0, 4999, 5001, MAX_SECTION, MAX_SECTION + 1, u64::MAX] {
            assert_eq!(read_section(SectionKind::Entries, &frame(lie, &deflate)), Err(SectionError::Body(lie)));
        }
        deflate.push(0);
        assert!(read_section(SectionKind::Entries, &frame(5000, &deflate)).is_err(), "trailing bytes");
    }
}
