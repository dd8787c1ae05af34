//! The blocks that stand before an entry's contents, held against those of the same entry in another archive.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use tar::Header;

use super::reason::{Reason, What};
use crate::archive::{BLOCK, padding, take_record};
use crate::text::excerpt;

const BLOCK_SIZE: usize = BLOCK as usize;

/// The fields of a ustar header (POSIX.1-2017, pax, "ustar Interchange Format") that have no reason of their own.
const FIELDS: [(&str, Range<usize>); 14] = [
    ("name", 0..100),
    ("mode", 100..108),
    ("uid", 108..116),
    ("gid", 116..124),
    ("size", 124..136),
    ("mtime", 136..148),
    ("type", 156..157),
    ("linkname", 157..257),
    ("uname", 265..297),
    ("gname", 297..329),
    ("devmajor", 329..337),
    ("devminor", 337..345),
    ("prefix", 345..500),
    ("what fills up the block", 500..512),
];

/// The PAX records that speak of what a header has a field for.
const OF_FIELDS: [&str; 8] = ["path", "linkpath", "size", "mtime", "uid", "gid", "uname", "gname"];

/// An entry's blocks, taken apart.
struct Head<'a> {
    records: BTreeMap<String, String>,
    /// GNU's long names.
    long: BTreeMap<char, Vec<u8>>,
    header: &'a Header,
}

impl<'a> Head<'a> {
    /// Reads blocks in which `Headers` has found an entry. What it would not have taken is passed over.
    fn parse(blocks: &'a [u8]) -> Option<Self> {
        let (mut rest, mut records, mut long) = (blocks, BTreeMap::new(), BTreeMap::new());
        loop {
            let (block, after) = rest.split_at_checked(BLOCK_SIZE)?;
            let header = Header::from_byte_slice(block);
            let kind = char::from(header.entry_type().as_byte());
            if !matches!(kind, 'x' | 'g' | 'L' | 'K') {
                return Some(Self { records, long, header });
            }
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
        match self.records.get(keyword) {
            Some(value) => value.clone(),
            None => of_header(self.header).map_or_else(|_| "no number".to_owned(), |number| number.to_string()),
        }
    }

    fn text(&self, keyword: &str, of_header: impl Fn(&Header) -> Option<&[u8]>) -> String {
        match self.records.get(keyword) {
            Some(value) => value.clone(),
            None => excerpt(&String::from_utf8_lossy(of_header(self.header).unwrap_or_default())),
        }
    }

    fn path(&self) -> String {
        let path = self.long.get(&'L').map(|name| name.strip_suffix(b"\0").unwrap_or(name).to_vec());
        let path = path.or_else(|| self.records.get("path").map(|path| path.clone().into_bytes()));
        excerpt(&String::from_utf8_lossy(&path.unwrap_or_else(|| self.header.path_bytes().into_owned())))
    }

    fn mode(&self) -> String {
        self.header.mode().map_or_else(|_| "no number".to_owned(), |mode| format!("{:04o}", mode & 0o7777))
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
        if self.records.contains_key("path") {
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

fn read_records(kind: char, mut bytes: &[u8], records: &mut BTreeMap<String, String>) {
    while let Some((keyword, value)) = take_record(&mut bytes) {
        let front = if kind == 'g' { "global " } else { "" };
        let keyword = front.to_owned() + &excerpt(&String::from_utf8_lossy(keyword));
        records.insert(keyword, excerpt(&String::from_utf8_lossy(value)));
    }
}

/// A time in words, from seconds since 1970.
pub(super) fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// What differs between the blocks of one entry, which is at `path`; if something differs there anyway, not what follows
/// from that: its type, its mode, where it points, its size.
pub(super) fn differences(a: &[u8], b: &[u8], path: &str, differs_anyway: bool) -> Vec<(What, Reason)> {
    if a == b {
        return Vec::new();
    }
    let (Some(left), Some(right)) = (Head::parse(a), Head::parse(b)) else {
        return vec![(What::HeaderField, Reason::default().about(path))];
    };
    let pair = |shown: &dyn Fn(&Head<'_>) -> String| [shown(&left), shown(&right)];
    let rows = [
        (What::EntryType, !differs_anyway, pair(&|head| head.kind().to_owned())),
        (What::Mode, !differs_anyway, pair(&|head| head.mode())),
        (What::Time, true, pair(&|head| head.time())),
        (What::Owner, true, pair(&|head| head.owner())),
        (What::OwnerName, true, pair(&|head| head.owner_name())),
        (What::Spelling, true, pair(&|head| head.path())),
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
    if found.is_empty() && !differs_anyway {
        found.extend(fields(&left, &right, path));
    }
    if found.is_empty() && !differs_anyway {
        found.push((What::HeaderField, Reason::default().about(path)));
    }
    found
}

/// The PAX records that differ and that no field has room for.
fn records<'a>(a: &'a Head<'_>, b: &'a Head<'_>, path: &'a str) -> impl Iterator<Item = (What, Reason)> + 'a {
    let keywords: BTreeSet<&String> = a.records.keys().chain(b.records.keys()).collect();
    let is_other = |keyword: &&String| !OF_FIELDS.contains(&keyword.as_str());
    keywords.into_iter().filter(is_other).filter_map(move |keyword| {
        let [a, b] = [a, b].map(|head| head.records.get(keyword).map(|value| format!("{keyword}={value}")));
        (a != b).then(|| (What::Record, Reason { name: Some(path.to_owned()), a, b, first: None }))
    })
}

/// The fields that have other bytes, whatever they mean: all of an entry together.
fn fields(a: &Head<'_>, b: &Head<'_>, path: &str) -> Option<(What, Reason)> {
    let (a, b) = (a.header.as_bytes(), b.header.as_bytes());
    let other: Vec<_> = FIELDS.into_iter().filter(|(_, range)| a[range.clone()] != b[range.clone()]).collect();
    let shown = |block: &[u8; BLOCK_SIZE]| {
        let field = |(name, range): &(&str, Range<usize>)| format!("{name} {}", bytes(&block[range.clone()]));
        other.iter().map(field).collect::<Vec<_>>().join(", ")
    };
    (!other.is_empty()).then(|| (What::HeaderField, Reason::of(shown(a), shown(b)).about(path)))
}

/// Bytes of a field: up to its last that is not zero, as Rust writes them.
fn bytes(field: &[u8]) -> String {
    let end = field.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    format!("\"{}\"", excerpt(&field[..end].escape_ascii().to_string()))
}
