//! Bundles that are not what they say: members, entries or an index that no packer would write. Each is refused, with an
//! error that says what is wrong; nothing outside the target is touched, and nothing is left behind.

mod archives;

use archives::hostile::{Error, run, run_all};
use archives::ours::{Layer, Member, Row, bundle, compress, dir, file, honest, index, link, members, rows};
use archives::{Image, Tar};
use bndlr::bundle::annotation;
use bndlr::digest::Digest;
use bndlr::manifest::media_type;

/// A layer whose bytes and annotations are changed after all was written.
fn altered(change: impl FnOnce(&mut Layer)) -> Image {
    let mut layer = Layer::of(&rows());
    change(&mut layer);
    layer.image()
}

fn annotate(key: &str, value: impl FnOnce(&str) -> String) -> Image {
    altered(|layer| {
        let new = value(&layer.annotations[key]);
        layer.annotations.insert(key.to_owned(), new);
    })
}

/// A layer whose tar bytes are changed, and nothing else in the whole chain is wrong.
fn tar_changed(at: usize, value: u8) -> Image {
    honest(|members| {
        let entries = std::mem::take(&mut members[0].entries);
        members[0].tar[at] = value;
        seal(&mut members[0].tar[..512]);
        members[0] = Member::new(std::mem::take(&mut members[0].tar), entries);
    })
}

/// Writes the checksum of a header anew.
fn seal(header: &mut [u8]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
}

#[tokio::test]
async fn bundles_whose_index_disagrees() {
    let says = |index: &'static [&'static str]| Error(index);
    run_all(
        vec![
            (
                "an entry is missing in the index",
                bundle(|_, index| drop(index[0].entries.remove(1))),
                says(&["the index says entry \"b\"", "layer has entry \"a/one\""]),
            ),
            (
                "an entry too many in the index",
                bundle(|_, index| index[2].entries.push(file("e", "").0)),
                says(&["entry \"e\"", "nothing more"]),
            ),
            (
                "an entry has another size",
                bundle(|_, index| index[0].entries[1] = file("a/one", "x").0),
                says(&["size: 1,", "size: 200000"]),
            ),
            (
                "an entry has another mode",
                bundle(|_, index| index[0].entries[1] = archives::ours::program("a/one", vec![0; 200_000]).0),
                says(&["executable: true", "executable: false"]),
            ),
            (
                "an entry is of another type",
                bundle(|_, index| index[2].entries[0] = dir("c").0),
                says(&["\"c\", Directory", "Symlink"]),
            ),
            (
                "a link leads elsewhere",
                bundle(|_, index| index[2].entries[0] = link("c", "d").0),
                says(&["target: \"d\"", "target: \"b\""]),
            ),
            (
                "an entry is called otherwise",
                bundle(|_, index| index[1].entries[0] = file("bb", vec![0; 200_000]).0),
                says(&["\"bb\"", "\"b\""]),
            ),
            ("entries in another order", bundle(|_, index| index[2].entries.reverse()), says(&["in order"])),
            (
                "an entry in another member",
                bundle(|_, index| {
                    let c = index[2].entries.remove(0);
                    index[1].entries.push(c);
                }),
                says(&["\"c\"", "in member 1", "in member 2"]),
            ),
            (
                "a member has another digest",
                bundle(|_, index| index[1].tar[0] ^= 1),
                says(&["a member from \"b\"", "with digest"]),
            ),
            (
                "a member has another size",
                bundle(|_, index| {
                    index[0].gzip.push(0);
                    index[1].gzip.pop();
                }),
                says(&["a member from \"a\""]),
            ),
            ("a member has another tar size", bundle(|_, index| index[2].tar.push(0)), says(&["a member from \"c\""])),
            ("members that overlap", bundle(|_, index| index[1].gzip.push(0)), says(&["members fill", "expected"])),
            ("members in another order", bundle(|_, index| index.swap(0, 1)), says(&["in order"])),
            (
                "a member is missing in the index",
                bundle(|_, index| drop(index.pop())),
                says(&["members fill", "expected"]),
            ),
            ("another index altogether", bundle(|_, index| index.truncate(1)), says(&["members fill"])),
            (
                "the sections are swapped",
                annotate(annotation::ENTRIES, |_| String::new()).with_swapped_sections(),
                says(&["do not lie one after the other"]),
            ),
            (
                "another section digest",
                annotate(annotation::MEMBERS, |value| value.replace("@sha256:", "@sha256:0")[..value.len()].to_owned()),
                says(&["digest"]),
            ),
            (
                "a section beyond the layer",
                annotate(annotation::MEMBERS, |value| format!("9{value}")),
                says(&["do not lie"]),
            ),
            (
                "no member table",
                altered(|layer| drop(layer.annotations.remove(annotation::MEMBERS))),
                says(&["no annotation"]),
            ),
            ("a format of the future", annotate(annotation::FORMAT, |_| "2".into()), says(&["format \"2\""])),
            ("an index of gigabytes", altered(huge_index), says(&["the index says 1049"])),
        ],
        22,
    )
    .await;
}

/// Puts a megabyte where the index should be, and says so.
fn huge_index(layer: &mut Layer) {
    let bodies = Layer::of(&[file("x", "")]);
    let from: usize = members(&rows()).iter().map(|member| member.gzip.len()).sum();
    layer.bytes.truncate(from);
    layer.bytes.resize(from + (1 << 20) + 900, 0);
    layer.annotations = bodies.annotations;
    let digest = Digest::sha256(b"");
    layer.annotations.insert(annotation::ENTRIES.into(), format!("{from}+1048576@{digest}"));
    layer.annotations.insert(annotation::MEMBERS.into(), format!("{}+900@{digest}", from + (1 << 20)));
}

trait Swap {
    fn with_swapped_sections(self) -> Self;
}

impl Swap for Image {
    fn with_swapped_sections(mut self) -> Self {
        let annotations = Layer::of(&rows()).annotations;
        let layer = &mut self.layers[0].annotations;
        layer.insert(annotation::ENTRIES.into(), annotations[annotation::MEMBERS].clone());
        layer.insert(annotation::MEMBERS.into(), annotations[annotation::ENTRIES].clone());
        self
    }
}

/// Moves `count` bytes from the front of one member to the end of the one before it.
fn shift(members: &mut [Member], to: usize, count: usize) {
    let moved: Vec<u8> = members[to + 1].tar.drain(..count).collect();
    members[to].tar.extend(moved);
    compress_again(members);
}

fn compress_again(members: &mut [Member]) {
    for member in members {
        *member = Member::new(member.tar.clone(), member.entries.clone());
    }
}

fn large() -> Vec<Member> {
    let noise: Vec<u8> = (0..2_500_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 15) as u8).collect();
    members(&[file("big", noise), file("c", "")])
}

fn of_members(members: &[Member]) -> Image {
    Layer::new(members, index(members)).image()
}

#[tokio::test]
async fn bundles_whose_members_are_wrong_gzip() {
    let header = |change: fn(flate2::GzBuilder) -> flate2::GzBuilder| {
        honest(move |members| members[1].gzip = compress(&members[1].tar, change))
    };
    let member = |number: usize, change: fn(&mut Vec<u8>)| honest(move |members| change(&mut members[number].gzip));
    run_all(
        vec![
            ("a name in a gzip header", header(|builder| builder.filename("x")), Error(&["member 1", "gzip header"])),
            ("a time in a gzip header", header(|builder| builder.mtime(1)), Error(&["member 1", "gzip header"])),
            ("a comment in a gzip header", header(|builder| builder.comment("x")), Error(&["gzip header"])),
            (
                "an extra field in a gzip header",
                header(|builder| builder.extra(b"BN".to_vec())),
                Error(&["gzip header"]),
            ),
            ("a system in a gzip header", header(|builder| builder.operating_system(3)), Error(&["gzip header"])),
            (
                "a wrong checksum",
                member(0, |gzip| {
                    let at = gzip.len() - 8;
                    gzip[at] ^= 1;
                }),
                Error(&["member 0", "checksum"]),
            ),
            (
                "a wrong length",
                member(0, |gzip| {
                    let at = gzip.len() - 1;
                    gzip[at] ^= 1;
                }),
                Error(&["member 0", "length"]),
            ),
            ("broken deflate", member(1, |gzip| gzip[10] = 0xff), Error(&["member 1", "deflate"])),
            ("garbage between members", member(0, |gzip| gzip.push(0)), Error(&["member 1", "gzip header"])),
            (
                "a member hidden behind one, with another header",
                member(0, |gzip| gzip.extend(compress(b"hidden", |builder| builder.mtime(1)))),
                Error(&["member 1", "gzip header"]),
            ),
            (
                "bytes hidden behind a member, which end as it does",
                member(0, |gzip| gzip.extend_from_within(gzip.len() - 8..)),
                Error(&["member 1", "gzip header"]),
            ),
            (
                "a member hidden behind one, with the same checksum and length",
                honest(|members| {
                    let hidden = compress(&members[1].tar, |builder| builder.mtime(1));
                    members[1].gzip.extend(hidden);
                }),
                Error(&["member 2", "gzip header"]),
            ),
            (
                "an empty member between members",
                member(0, |gzip| gzip.extend(compress(b"", |builder| builder))),
                Error(&["member 1", "ends within"]),
            ),
            (
                "garbage before the index",
                member(2, |gzip| gzip.extend_from_slice(b"garbage")),
                Error(&["members fill"]),
            ),
            (
                "an empty member before the index",
                member(2, |gzip| gzip.extend(compress(b"", |builder| builder))),
                Error(&["members fill"]),
            ),
        ],
        15,
    )
    .await;
}

#[tokio::test]
async fn bundles_that_are_cut_in_the_wrong_places() {
    let mut moved = large();
    shift(&mut moved, 0, 512);
    let mut back = large();
    back.swap(0, 1);
    compress_again(&mut back);
    let mut short = large();
    let cut: Vec<u8> = short[0].tar.split_off(1_048_576 - 512);
    short[1].tar.splice(..0, cut);
    compress_again(&mut short);
    let mut split = members(&rows());
    let end = split[2].tar.len() - 1024;
    let tail = split[2].tar.split_off(end);
    split.push(Member::new(tail, Vec::new()));
    compress_again(&mut split);
    let joined = honest(|members| {
        let last = members.pop().unwrap();
        let tar = [members[1].tar.clone(), last.tar].concat();
        members[1] = Member::new(tar, [members[1].entries.clone(), last.entries].concat());
    });
    run_all(
        vec![
            ("a member for the end alone", of_members(&split), Error(&["nothing but the end"])),
            ("a member too long", joined, Error(&["member 1"])),
            ("a step too long", of_members(&moved), Error(&["member 0", "does not end after 1048576 bytes"])),
            ("a step too short", of_members(&short), Error(&["member 0", "ends within entry \"big\""])),
            ("steps in another order", of_members(&back), Error(&["tar header"])),
            (
                "a boundary one block early",
                honest(|members| {
                    let tail = members[0].tar.split_off(512);
                    members[1].tar.splice(..0, tail);
                    compress_again(members);
                }),
                Error(&["member 1"]),
            ),
            (
                "a boundary one entry late",
                honest(|members| shift(members, 1, 512)),
                Error(&["member 1", "does not begin at entry \"c\""]),
            ),
            (
                "a bomb in a member",
                honest(|members| members[1] = Member::new(vec![0; 64 << 20], members[1].entries.clone())),
                Error(&["member 1", "nothing but the end"]),
            ),
            (
                "bytes after the end of the archive",
                honest(|members| {
                    members[2].tar.extend_from_slice(&[0; 512]);
                    compress_again(members);
                }),
                Error(&["after the end of the archive"]),
            ),
            (
                "one zero block",
                honest(|members| {
                    let length = members[2].tar.len() - 512;
                    members[2].tar.truncate(length);
                    compress_again(members);
                }),
                Error(&["member 2", "ends within"]),
            ),
            (
                "no zero blocks",
                honest(|members| {
                    let length = members[2].tar.len() - 1024;
                    members[2].tar.truncate(length);
                    compress_again(members);
                }),
                Error(&["gzip header"]),
            ),
            (
                "padding that is not zero",
                tar_changed(512 + 512 + 200_000 + 1, 1),
                Error(&["\"a/one\"", "filled up with zeros"]),
            ),
            ("an owner", tar_changed(114, b'1'), Error(&["tar header"])),
            ("another mode", tar_changed(105, b'7'), Error(&["tar header"])),
        ],
        14,
    )
    .await;
}

#[tokio::test]
async fn bundles_that_are_cut_or_continued_anywhere() {
    let whole = Layer::of(&rows());
    let ends: Vec<usize> = members(&rows())
        .iter()
        .scan(0, |at, member| {
            *at += member.gzip.len();
            Some(*at)
        })
        .collect();
    let last = whole.bytes.len();
    for at in [
        0,
        5,
        10,
        1000,
        ends[0] - 8,
        ends[0],
        ends[0] + 3,
        ends[1],
        ends[2] - 1,
        ends[2],
        ends[2] + 20,
        last - 10,
        last - 1,
    ] {
        let cut = altered(|layer| layer.bytes.truncate(at));
        run(("cut, and the annotations as they were", cut, Error(&["do not lie"]))).await;
        // The layer as it was announced, and less of it.
        let mut image = Layer::of(&rows()).image();
        let digest = image.layers[0].digest;
        let blob = image.blobs[&digest].slice(..at);
        image.blobs.insert(digest, blob);
        image.chunk = 1 << 20;
        run(("cut on the way", image, Error(&["ends after"]))).await;
    }
    for at in [ends[2], last] {
        let more = altered(|layer| drop(layer.bytes.splice(at..at, *b"garbage")));
        run(("continued", more, Error(&["do not lie"]))).await;
    }
    for at in [0, 9, 10, ends[0] - 1, ends[0], ends[2] - 1, ends[2], ends[2] + 30, last - 1] {
        let mut image = Layer::of(&rows()).image();
        let digest = image.layers[0].digest;
        let mut blob = image.blobs[&digest].to_vec();
        blob[at] ^= 0x10;
        image.blobs.insert(digest, blob.into());
        // In one piece, so that it is always the digest that is noticed first.
        image.chunk = 1 << 20;
        run(("one bit on the way", image, Error(&["content has digest"]))).await;
        let bit = altered(|layer| layer.bytes[at] ^= 0x10);
        run(("one bit, under its own digest", bit, Error(&[""]))).await;
    }
}

/// A bundle of these entries, in this order, whatever the format says.
fn raw(rows: &[Row]) -> Image {
    Layer::of(rows).image()
}

#[tokio::test]
async fn bundles_with_entries_that_no_bundle_has() {
    let foreign = |tar: Tar| {
        let members = [Member::new(tar.end(), vec![file("f", "").0])];
        of_members(&members)
    };
    let mut other = raw(&[file("f", "")]);
    other.diff_ids[0] = Digest::sha256(b"other");
    let mut artifact = raw(&[file("f", "")]);
    artifact.config = Some((media_type::OCI_EMPTY.into(), b"{}".to_vec()));
    let second = |rows: &[Row]| Layer::of(rows).add_to(raw(&[dir("d"), link("l", "d")]));
    run_all(
        vec![
            ("a link that leads out", raw(&[link("l", "../canary")]), Error(&["\"l\"", "leads out of the directory"])),
            ("an absolute link", raw(&[link("l", "/canary")]), Error(&["leads out"])),
            (
                "links that lead out together",
                raw(&[dir("d"), link("d/up", ".."), link("l", "d/up/../canary")]),
                Error(&["\"l\"", "leads out"]),
            ),
            (
                "an entry below a link",
                raw(&[link("l", "d"), file("l/x", "")]),
                Error(&["\"l/x\"", "not in a directory"]),
            ),
            (
                "an entry below a file",
                raw(&[file("f", ""), file("f/x", "")]),
                Error(&["\"f/x\"", "not in a directory"]),
            ),
            ("an entry in nothing", raw(&[file("d/x", "")]), Error(&["\"d/x\"", "not in a directory"])),
            ("an entry twice", raw(&[file("f", ""), file("f", "")]), Error(&["\"f\"", "unique"])),
            ("entries out of order", raw(&[file("g", ""), file("f", "")]), Error(&["\"f\"", "in order"])),
            (
                "a whiteout",
                foreign(Tar::new().file(".wh.f", "").file("f", "")),
                Error(&["\".wh.f\"", "a file is removed"]),
            ),
            (
                "an opaque whiteout",
                foreign(Tar::new().file(".wh..wh..opq", "")),
                Error(&["\".wh..wh..opq\"", "a file is removed"]),
            ),
            ("a link over a directory of another layer", second(&[link("d", "l")]), Error(&["\"d\"", "already"])),
            (
                "a directory over a link of another layer",
                second(&[dir("l"), file("l/x", "")]),
                Error(&["\"l\"", "already"]),
            ),
            ("another diff ID", other, Error(&["has diff ID"])),
            ("no diff ID at all", artifact, Error(&["diff ID"])),
            ("a name that no file system has", raw(&[file(&"n".repeat(256), "")]), Error(&["too long"])),
            (
                "an absolute name",
                foreign(Tar::new().file("/canary", "")),
                Error(&["\"/canary\"", "not a path within a bundle"]),
            ),
            ("a name that leads up", foreign(Tar::new().file("../canary", "")), Error(&["not a path within a bundle"])),
            ("a directory that leads up", foreign(Tar::new().dir("../")), Error(&["not a path within a bundle"])),
            ("a hard link", foreign(Tar::new().hard_link("h", "f")), Error(&["tar header of \"h\""])),
            ("a device", foreign(Tar::new().entry("null", b'3', 0o666, "", b"")), Error(&["tar header of \"null\""])),
            ("a long name of GNU", foreign(Tar::new().long_name("f").file("f", "")), Error(&["tar header"])),
            (
                "PAX records without need",
                foreign(Tar::new().pax(&[("path", "f")]).file("f", "")),
                Error(&["tar header"]),
            ),
            (
                "PAX records of gigabytes",
                foreign(Tar::new().header(b"././@PaxHeader", b'x', 0o644, b"", 0o777_7777_7777)),
                Error(&["tar header"]),
            ),
            ("set-uid", foreign(Tar::new().entry("f", b'0', 0o4755, "", b"")), Error(&["tar header of \"f\""])),
            ("a link to nothing", foreign(Tar::new().symlink("l", "")), Error(&["\"l\"", "target"])),
            ("too many entries", raw(&[dir("a"), dir("b"), dir("c")]).limited(2, 100), Error(&["entries", "\"c\""])),
            (
                "too many bytes",
                raw(&[file("a", "12345"), file("b", "12345")]).limited(10, 9),
                Error(&["bytes of files", "\"b\""]),
            ),
        ],
        27,
    )
    .await;
}
