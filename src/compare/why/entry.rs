//! The blocks that stand before an entry's contents, held against those of the same entry in another archive.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tar::Header;

use super::reason::{Reason, What};
use crate::archive::{BLOCK, padding, take_record};
use crate::text::excerpt;

const BLOCK_SIZE: usize = BLOCK as usize;

/// The fields of a ustar header (POSIX.1-2017, pax, "ustar Interchange Format"), and what says that they differ. Where that
/// has been said, no more is said of them.
const FIELDS: [(&str, Range<usize>, &[What]); 14] = [
    ("name", 0..100, &[What::Spelling, What::LongName]),
    ("mode", 100..108, &[What::Mode]),
    ("uid", 108..116, &[What::Owner]),
    ("gid", 116..124, &[What::Owner]),
    ("size", 124..136, &[What::EntryType]),
    ("mtime", 136..148, &[What::Time]),
    ("type", 156..157, &[What::EntryType]),
    ("linkname", 157..257, &[What::EntryType]),
    ("uname", 265..297, &[What::OwnerName]),
    ("gname", 297..329, &[What::OwnerName]),
    ("devmajor", 329..337, &[What::EntryType]),
    ("devminor", 337..345, &[What::EntryType]),
    ("prefix", 345..500, &[What::Spelling, What::LongName, What::EntryType]),
    ("what fills up the block", 500..512, &[]),
];

/// The PAX records that speak of what a header has a field for.
const OF_FIELDS: [&[u8]; 8] = [b"path", b"linkpath", b"size", b"mtime", b"uid", b"gid", b"uname", b"gname"];

/// An entry's blocks, taken apart.
struct Head<'a> {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// GNU's long names.
    long: BTreeMap<char, Vec<u8>>,
    /// The headers that carry those.
    before: Vec<&'a Header>,
    header: &'a Header,
}

impl<'a> Head<'a> {
    /// Reads blocks in which `Headers` has found an entry. What it would not have taken is passed over.
    fn parse(blocks: &'a [u8]) -> Option<Self> {
        let (mut rest, mut records, mut long, mut before) = (blocks, BTreeMap::new(), BTreeMap::new(), Vec::new());
        loop {
            let (block, after) = rest.split_at_checked(BLOCK_SIZE)?;
            let header = Header::from_byte_slice(block);
            let kind = char::from(header.entry_type().as_byte());
            if !matches!(kind, 'x' | 'g' | 'L' | 'K') {
                return Some(Self { records, long, before, header });
            }
            before.push(header);
            let size = header.entry_size().ok()?;
            let (carried, after) = after.split_at_checked(usize::try_from(size).ok()?)?;
            rest = after.get(padding(size) as usize..)?;
            match kind {
                'L' | 'K' => drop(long.insert(kind, carried.to_vec())),
                _ => read_records(kind, carried, &mut records),
            }
        }
    }

    /// A number, as the records have it, or else the header.
    fn number(&self, keyword: &str, of_header: impl Fn(&Header) -> std::io::Result<u64>) -> String {
        match self.records.get(keyword.as_bytes()) {
            Some(value) => shown(value),
            None => of_header(self.header).map_or_else(|_| "no number".to_owned(), |number| number.to_string()),
        }
    }

    fn text(&self, keyword: &str, of_header: impl Fn(&Header) -> Option<&[u8]>) -> String {
        let record = self.records.get(keyword.as_bytes()).map(Vec::as_slice);
        shown(record.or_else(|| of_header(self.header)).unwrap_or_default())
    }

    fn path(&self) -> String {
        let path = self.long.get(&'L').map(|name| name.strip_suffix(b"\0").unwrap_or(name).to_vec());
        let path = path.or_else(|| self.records.get(&b"path"[..]).cloned());
        shown(&path.unwrap_or_else(|| self.header.path_bytes().into_owned()))
    }

    fn mode(&self) -> String {
        self.header.mode().map_or_else(|_| "no number".to_owned(), |mode| format!("{:04o}", mode & 0o7777))
    }

    /// The bits of the mode that anything is made with.
    fn permissions(&self) -> Option<u32> {
        self.header.mode().ok().map(|mode| mode & 0o777)
    }

    fn time(&self) -> String {
        let seconds = self.number("mtime", Header::mtime);
        match seconds.split_once('.') {
            Some((whole, rest)) => {
                whole.parse().map_or(seconds.clone(), |whole| format!("{} and .{rest} s", time(whole)))
            }
            None => seconds.parse().map_or(seconds, time),
        }
    }

    fn owner(&self) -> String {
        format!("{}:{}", self.number("uid", Header::uid), self.number("gid", Header::gid))
    }

    fn owner_name(&self) -> String {
        let user = self.text("uname", Header::username_bytes);
        let group = self.text("gname", Header::groupname_bytes);
        if user.is_empty() && group.is_empty() { "none".to_owned() } else { format!("{user}:{group}") }
    }

    fn kind(&self) -> &'static str {
        match self.header.as_bytes()[156] {
            b'0' => "a file",
            0 => "a file, as of before POSIX",
            b'1' => "a hard link",
            b'2' => "a symbolic link",
            b'5' => "a directory",
            b'7' => "a contiguous file",
            b'S' => "a sparse file",
            _ => "of another type",
        }
    }

    fn format(&self) -> &'static str {
        if self.header.as_ustar().is_some() {
            "ustar's"
        } else if self.header.as_gnu().is_some() {
            "GNU's"
        } else {
            "that of before POSIX"
        }
    }

    /// How the path is written: where a header has no room for it, there are several ways.
    fn long_name(&self) -> &'static str {
        let has_prefix = self.header.as_ustar().is_some_and(|header| header.prefix[0] != 0);
        if self.records.contains_key(&b"path"[..]) {
            "in a PAX record"
        } else if self.long.contains_key(&'L') {
            "in a header of GNU's"
        } else if has_prefix {
            "in two fields"
        } else {
            "in one field"
        }
    }
}

fn read_records(kind: char, mut bytes: &[u8], records: &mut BTreeMap<Vec<u8>, Vec<u8>>) {
    while let Some((keyword, value)) = take_record(&mut bytes) {
        let front: &[u8] = if kind == 'g' { b"global " } else { b"" };
        records.insert([front, keyword].concat(), value.to_vec());
    }
}

/// Bytes as text, if they are; else as Rust writes them, so that it shows where they differ.
fn shown(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => excerpt(text),
        Err(_) => excerpt(&bytes.escape_ascii().to_string()),
    }
}

/// A time in words, from seconds since 1970.
pub(super) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// What differs between the blocks of one entry, which is at `path`; if something differs there anyway, not what follows
/// from that: its type, its permissions, where it points, its size.
pub(super) fn differences(a: &[u8], b: &[u8], path: &str, differs_anyway: bool) -> Vec<(What, Reason)> {
    if a == b {
        return Vec::new();
    }
    let (Some(left), Some(right)) = (Head::parse(a), Head::parse(b)) else {
        return vec![(What::HeaderField, Reason::default().about(path))];
    };
    let pair = |shown: &dyn Fn(&Head<'_>) -> String| [shown(&left), shown(&right)];
    let has_other_type = left.kind() != right.kind();
    // Set-uid and the like make no other file, so nobody has named them.
    let has_same_permissions = left.permissions() == right.permissions();
    // A directory has a slash.
    let ends_otherwise = differs_anyway && has_other_type;
    let written =
        |head: &Head<'_>| if ends_otherwise { head.path().trim_end_matches('/').to_owned() } else { head.path() };
    let rows = [
        (What::EntryType, !differs_anyway, pair(&|head| head.kind().to_owned())),
        (What::Mode, !differs_anyway || has_same_permissions, pair(&|head| head.mode())),
        (What::Time, true, pair(&|head| head.time())),
        (What::Owner, true, pair(&|head| head.owner())),
        (What::OwnerName, true, pair(&|head| head.owner_name())),
        (What::Spelling, true, pair(&written)),
        (What::HeaderFormat, true, pair(&|head| head.format().to_owned())),
    ];
    let mut found: Vec<_> = rows
        .into_iter()
        .filter(|(_, counts, [a, b])| *counts && a != b)
        .map(|(what, _, [a, b])| (what, Reason::of(a, b).about(path)))
        .collect();
    if left.path() == right.path() && left.long_name() != right.long_name() {
        found.push((What::LongName, Reason::of(left.long_name(), right.long_name()).about(path)));
    }
    found.extend(records(&left, &right, path));
    if !differs_anyway {
        found.extend(fields(&left, &right, path, &found));
    }
    if found.is_empty() && !differs_anyway {
        found.push((What::HeaderField, Reason::default().about(path)));
    }
    found
}

/// The PAX records that differ and that no field has room for.
fn records<'a>(a: &'a Head<'_>, b: &'a Head<'_>, path: &'a str) -> impl Iterator<Item = (What, Reason)> + 'a {
    let keywords: BTreeSet<&Vec<u8>> = a.records.keys().chain(b.records.keys()).collect();
    let is_other = |keyword: &&Vec<u8>| !OF_FIELDS.contains(&keyword.as_slice());
    keywords.into_iter().filter(is_other).filter_map(move |keyword| {
        let values = [a, b].map(|head| head.records.get(keyword));
        let [a, b] = values.map(|value| Some(format!("{}={}", shown(keyword), shown(value?))));
        (values[0] != values[1]).then(|| (What::Record, Reason { name: Some(path.to_owned()), a, b, first: None }))
    })
}

/// The fields that have other bytes, whatever they mean, and of which nothing has been said: all of a header together. Those
/// of the headers before it are looked at only where nothing else differs.
fn fields(a: &Head<'_>, b: &Head<'_>, path: &str, found: &[(What, Reason)]) -> Option<(What, Reason)> {
    let is_found = |what: &What| found.iter().any(|(found, _)| found == what);
    // Another format has other bytes everywhere.
    if is_found(&What::HeaderFormat) {
        return None;
    }
    let is_new = |(.., said): &(&str, Range<usize>, &[What])| !said.iter().any(is_found);
    let own: Vec<_> = FIELDS.into_iter().filter(is_new).map(|(name, range, _)| (name, range)).collect();
    let before = || {
        let all: Vec<_> = FIELDS.into_iter().map(|(name, range, _)| (name, range)).collect();
        a.before.iter().zip(&b.before).find_map(|(a, b)| other(a, b, &all, "extension header's "))
    };
    let checksum = || other(a.header, b.header, &[("checksum", 148..156)], "");
    let pair = other(a.header, b.header, &own, "");
    let pair = if found.is_empty() { pair.or_else(before).or_else(checksum) } else { pair };
    pair.map(|[a, b]| (What::HeaderField, Reason::of(a, b).about(path)))
}

/// Which of these fields have other bytes in two headers, and which; nothing, if none has.
fn other(a: &Header, b: &Header, fields: &[(&str, Range<usize>)], front: &str) -> Option<[String; 2]> {
    let blocks = [a.as_bytes(), b.as_bytes()];
    let differs = |(_, range): &&(&str, Range<usize>)| blocks[0][range.clone()] != blocks[1][range.clone()];
    let other: Vec<_> = fields.iter().filter(differs).collect();
    let shown = |block: &[u8; BLOCK_SIZE]| {
        let field = |(name, range): &&(&str, Range<usize>)| format!("{front}{name} {}", bytes(&block[range.clone()]));
        other.iter().map(field).collect::<Vec<_>>().join(", ")
    };
    (!other.is_empty()).then(|| blocks.map(shown))
}

/// Bytes of a field: up to its last that is not zero, as Rust writes them.
fn bytes(field: &[u8]) -> String {
    let end = field.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    format!("\"{}\"", excerpt(&field[..end].escape_ascii().to_string()))
}
