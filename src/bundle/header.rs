//! An entry as exactly one sequence of tar header blocks.
//!
//! [`Entry::head`] writes the blocks; [`read_entry`] reads them and accepts only what `head` would have written.

use std::borrow::Cow;
use std::io::Read;

use tar::{EntryType, Header, UstarHeader};

use super::END_OF_ARCHIVE;
use super::entry::{Entry, EntryError, Kind, MAX_PATH};
use crate::archive::{BLOCK, padding, take_record, write_record};

/// The largest size that the header's eleven octal digits hold.
const MAX_USTAR_SIZE: u64 = 0o777_7777_7777;
/// The name of an entry that carries PAX records, the same for all.
const PAX_NAME: &str = "././@PaxHeader";
/// More than the records of one entry can have: two paths and a size.
const MAX_PAX: u64 = 3 * MAX_PATH as u64;

impl Entry {
    /// How many bytes the entry has in the tar archive: headers, contents, padding.
    #[must_use]
    pub fn tar_size(&self) -> u64 {
        let records = self.pax_records().len() as u64;
        let pax = if records == 0 { 0 } else { BLOCK + records + padding(records) };
        pax + BLOCK + self.size() + padding(self.size())
    }

    /// The blocks that stand before the contents: the header, and before it the PAX records where ustar cannot say it.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        let records = self.pax_records();
        let mut head = Vec::with_capacity(3 * BLOCK as usize);
        if !records.is_empty() {
            let mut pax = header(EntryType::XHeader, 0o644, records.len() as u64);
            put(&mut ustar(&mut pax).name, PAX_NAME.as_bytes());
            seal(&mut pax);
            head.extend_from_slice(pax.as_bytes());
            head.extend_from_slice(&records);
            head.resize(head.len() + padding(records.len() as u64) as usize, 0);
        }
        head.extend_from_slice(self.header().as_bytes());
        head
    }

    /// The name as it stands in the archive: of a directory with a slash at its end.
    fn name(&self) -> Cow<'_, str> {
        match self.kind() {
            Kind::Directory => Cow::Owned(format!("{}/", self.path())),
            _ => Cow::Borrowed(self.path()),
        }
    }

    fn header(&self) -> Header {
        let (kind, target) = match self.kind() {
            Kind::Directory => (EntryType::Directory, ""),
            Kind::File { .. } => (EntryType::Regular, ""),
            Kind::Symlink { target } => (EntryType::Symlink, target.as_str()),
        };
        let size = if self.size() > MAX_USTAR_SIZE { 0 } else { self.size() };
        let mut header = header(kind, self.mode(), size);
        let name = self.name();
        let ustar = ustar(&mut header);
        if let Some((prefix, rest)) = split(&name) {
            put(&mut ustar.prefix, prefix.as_bytes());
            put(&mut ustar.name, rest.as_bytes());
        } else {
            put(&mut ustar.name, &ascii(&name));
        }
        put(&mut ustar.linkname, &ascii(target));
        seal(&mut header);
        header
    }

    /// The records that ustar has no room for, sorted by keyword.
    fn pax_records(&self) -> Vec<u8> {
        let mut records = Vec::new();
        if let Kind::Symlink { target } = self.kind()
            && (!target.is_ascii() || target.len() > 100)
        {
            write_record(&mut records, "linkpath", target);
        }
        let name = self.name();
        if split(&name).is_none() {
            write_record(&mut records, "path", &name);
        }
        if self.size() > MAX_USTAR_SIZE {
            write_record(&mut records, "size", &self.size().to_string());
        }
        records
    }
}

/// A header with everything that is the same in all entries of this type.
fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    let ustar = ustar(&mut header);
    octal(&mut ustar.mode, mode.into());
    octal(&mut ustar.size, size);
    for zero in [&mut ustar.uid[..], &mut ustar.gid, &mut ustar.mtime, &mut ustar.dev_major, &mut ustar.dev_minor] {
        octal(zero, 0);
    }
    header
}

/// Writes the checksum, which counts itself as spaces.
fn seal(header: &mut Header) {
    ustar(header).cksum = [b' '; 8];
    let sum = sum(header.as_bytes());
    octal(&mut ustar(header).cksum, sum);
}

/// The sum of all bytes. Eight are added at a time, in four lanes of 16 bits: 64 times two bytes are less than fills one.
fn sum(block: &[u8; 512]) -> u64 {
    const EVEN: u64 = 0x00ff_00ff_00ff_00ff;
    let eights = block.as_chunks().0.iter().map(|&eight| u64::from_ne_bytes(eight));
    let lanes = eights.fold(0, |sums, eight| sums + (eight & EVEN) + (eight >> 8 & EVEN));
    (0..4).map(|lane| lanes >> (16 * lane) & 0xffff).sum()
}

/// Writes a number as ustar has it: octal digits, with zeros in front and a NUL after them. There is a header for each entry:
/// this takes a tenth of the time of what formats numbers.
fn octal(field: &mut [u8], mut value: u64) {
    if let Some((last, digits)) = field.split_last_mut() {
        *last = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (value & 7) as u8;
            value >>= 3;
        }
    }
}

fn ustar(header: &mut Header) -> &mut UstarHeader {
    // All headers here come from `Header::new_ustar`, which writes the magic that is looked for.
    header.as_ustar_mut().expect("a ustar header")
}

/// Puts `text` at the front of a field, as much of it as fits.
fn put(field: &mut [u8], text: &[u8]) {
    let length = text.len().min(field.len());
    field[..length].copy_from_slice(&text[..length]);
}

/// What a reader that does not know PAX sees instead.
fn ascii(text: &str) -> Vec<u8> {
    text.bytes().map(|byte| if byte.is_ascii() { byte } else { b'_' }).collect()
}

/// The prefix and the name of a ustar header, or nothing where ustar cannot say it. A name that fits is not split;
/// another is split at the last slash that leaves a prefix of at most 155 bytes and a name of 1 to 100.
fn split(name: &str) -> Option<(&str, &str)> {
    if !name.is_ascii() {
        return None;
    }
    if name.len() <= 100 {
        return Some(("", name));
    }
    let last = name.len().min(157) - 1;
    let slash = name[..last].rfind('/')?;
    let rest = &name[slash + 1..];
    (slash > 0 && rest.len() <= 100).then_some((&name[..slash], rest))
}

/// The values of the PAX records that a bundle may have.
#[derive(Default)]
struct Pax {
    linkpath: Option<String>,
    path: Option<String>,
    size: Option<u64>,
}

/// Reads the blocks before an entry's contents, or nothing at the end of the archive, which has to be two zero blocks
/// (whether anything comes after them is for the caller to see).
///
/// # Errors
/// When the blocks are anything but what [`Entry::head`] writes for the entry that they describe.
pub fn read_entry(tar: &mut impl Read) -> Result<Option<Entry>, EntryError> {
    let mut raw = vec![0; BLOCK as usize];
    tar.read_exact(&mut raw)?;
    if raw == END_OF_ARCHIVE[..BLOCK as usize] {
        tar.read_exact(&mut raw)?;
        return if raw == END_OF_ARCHIVE[..BLOCK as usize] { Ok(None) } else { Err(EntryError::End) };
    }
    let mut pax = Pax::default();
    if raw[156] == EntryType::XHeader.as_byte() {
        pax = read_pax(tar, &mut raw)?;
    }
    let header = Header::from_byte_slice(&raw[raw.len() - BLOCK as usize..]);
    let lossy = || String::from_utf8_lossy(&header.path_bytes()).into_owned();
    let entry = parse(header, pax).ok_or_else(|| EntryError::Header(lossy()))??;
    if entry.head() == raw { Ok(Some(entry)) } else { Err(EntryError::Header(entry.path().to_owned())) }
}

/// Reads the records of the PAX header in `raw` and the header after them, and appends the bytes of both.
fn read_pax(tar: &mut impl Read, raw: &mut Vec<u8>) -> Result<Pax, EntryError> {
    let invalid = || EntryError::Header(PAX_NAME.to_owned());
    let size = Header::from_byte_slice(raw).entry_size().map_err(|_| invalid())?;
    if size > MAX_PAX {
        return Err(invalid());
    }
    let start = raw.len();
    raw.resize(start + (size + padding(size) + BLOCK) as usize, 0);
    tar.read_exact(&mut raw[start..])?;
    parse_pax(&raw[start..start + size as usize]).ok_or_else(invalid)
}

/// Reads the records, among which is none that a bundle does not need.
fn parse_pax(mut records: &[u8]) -> Option<Pax> {
    let mut pax = Pax::default();
    while !records.is_empty() {
        let (keyword, value) = take_record(&mut records)?;
        let value = std::str::from_utf8(value).ok()?;
        match keyword {
            b"linkpath" => pax.linkpath = Some(value.to_owned()),
            b"path" => pax.path = Some(value.to_owned()),
            b"size" => pax.size = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    Some(pax)
}

/// What the header and the records say, or nothing where they cannot be of a bundle at all. What else is wrong with
/// them shows when they are written again.
fn parse(header: &Header, pax: Pax) -> Option<Result<Entry, EntryError>> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let mut path = pax.path.or_else(|| text(&header.path_bytes()))?;
    let kind = match header.entry_type() {
        EntryType::Directory => {
            path.pop();
            Kind::Directory
        }
        EntryType::Regular => Kind::File {
            size: pax.size.or_else(|| header.entry_size().ok())?,
            executable: header.mode().ok()? & 0o100 != 0,
        },
        EntryType::Symlink => {
            Kind::Symlink { target: pax.linkpath.or_else(|| text(&header.link_name_bytes().unwrap_or_default()))? }
        }
        _ => return None,
    };
    Some(Entry::new(path, kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FILE: Kind = Kind::File { size: 0, executable: false };

    fn entry(path: &str, kind: Kind) -> Entry {
        Entry::new(path, kind).unwrap()
    }

    fn read_back(entry: &Entry) -> Entry {
        read_entry(&mut &entry.head()[..]).unwrap().unwrap()
    }

    #[test]
    fn ustar_says_all_it_can_and_pax_the_rest() {
        let deep = |first: usize, second: usize| format!("{}/{}", "a".repeat(first), "b".repeat(second));
        for (path, blocks) in [
            ("a".repeat(99), 1),
            ("a".repeat(100), 1),
            ("a".repeat(101), 3),
            (deep(50, 50), 1),
            (deep(155, 100), 1),
            (deep(156, 100), 3),
            (deep(155, 101), 3),
            ("é".to_owned(), 3),
            ("new\nline".to_owned(), 1),
            ("new\nline é".to_owned(), 3),
        ] {
            let file = entry(&path, FILE);
            assert_eq!(file.head().len(), blocks * 512, "{path}");
            assert_eq!(file.tar_size(), blocks as u64 * 512, "{path}");
            assert_eq!(read_back(&file), file);
        }
        // The slash at the end of a directory's name counts, and is never where a name is split.
        assert_eq!(entry(&"a".repeat(99), Kind::Directory).head().len(), 512);
        assert_eq!(entry(&"a".repeat(100), Kind::Directory).head().len(), 3 * 512);
        assert_eq!(entry(&deep(155, 99), Kind::Directory).head().len(), 512);
        assert_eq!(entry(&deep(155, 100), Kind::Directory).head().len(), 3 * 512);
    }

    #[test]
    fn sizes_beyond_eight_gib_are_a_record() {
        for (size, blocks) in [(MAX_USTAR_SIZE, 1), (MAX_USTAR_SIZE + 1, 3)] {
            let file = entry("large", Kind::File { size, executable: true });
            assert_eq!(file.head().len(), blocks * 512);
            assert_eq!(file.tar_size(), blocks as u64 * 512 + size + padding(size));
            assert_eq!(read_back(&file), file);
        }
    }

    #[test]
    fn every_bit_of_a_header_is_as_the_format_has_it_or_refused() {
        let link = Kind::Symlink { target: format!("../{}", "t".repeat(120)) };
        for entry in
            [entry("dir", Kind::Directory), entry("bin/é", Kind::File { size: 5, executable: true }), entry("l", link)]
        {
            let head = entry.head();
            for at in 0..head.len() {
                for bit in [1, 0x20, 0x80] {
                    let mut changed = head.clone();
                    changed[at] ^= bit;
                    let read = read_entry(&mut &changed[..]);
                    assert!(!matches!(read, Ok(Some(other)) if other == entry), "byte {at} bit {bit:#x} of {entry:?}");
                }
            }
        }
    }

    #[test]
    fn an_archive_ends_with_two_zero_blocks() {
        assert!(matches!(read_entry(&mut &END_OF_ARCHIVE[..]), Ok(None)));
        assert!(matches!(read_entry(&mut &END_OF_ARCHIVE[..512]), Err(EntryError::Read(_))));
        let mut one = END_OF_ARCHIVE;
        one[700] = 1;
        assert!(matches!(read_entry(&mut &one[..]), Err(EntryError::End)));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            path in "[a-zé\n._-]{1,120}(/[a-z0-9ü ]{1,120}){0,4}",
            target in "[a-zé/.\n]{1,150}",
            size: u64,
            kind in 0..4,
        ) {
            let kind = match kind {
                0 => Kind::Directory,
                1 => Kind::Symlink { target },
                other => Kind::File { size: size >> 2, executable: other == 2 },
            };
            prop_assume!(Entry::new(path.clone(), kind.clone()).is_ok());
            let entry = entry(&path, kind);
            prop_assert_eq!(read_back(&entry), entry);
        }

        #[test]
        fn a_sum_is_that_of_every_byte(bytes in proptest::collection::vec(0xf0u8.., 512)) {
            let block: [u8; 512] = bytes.try_into().unwrap();
            prop_assert_eq!(sum(&block), block.iter().map(|&byte| u64::from(byte)).sum::<u64>());
            prop_assert_eq!(sum(&[0xff; 512]), 512 * 0xff);
        }

        #[test]
        fn reading_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 512..2048), pax: bool) {
            if pax {
                bytes[156] = b'x';
                bytes[124..136].copy_from_slice(b"00000000100\0");
            }
            let _ = read_entry(&mut &bytes[..]);
        }
    }
}
