//! Layers of bundles, in parts that a test can put together wrongly.

use std::collections::BTreeMap;

use bndlr::archive::padding;
use bndlr::bundle::{Cutter, END_OF_ARCHIVE, Entry, Index, IndexBuilder, Kind, MAX_MEMBER, Place};
use bndlr::digest::Digest;
use bndlr::manifest::media_type;
use flate2::{Compression, GzBuilder};

use super::Image;

/// An entry and its contents.
pub type Row = (Entry, Vec<u8>);

pub fn file(path: &str, contents: impl Into<Vec<u8>>) -> Row {
    let contents = contents.into();
    let kind = Kind::File { size: contents.len() as u64, executable: false };
    (Entry::new(path, kind).unwrap(), contents)
}

pub fn program(path: &str, contents: impl Into<Vec<u8>>) -> Row {
    let contents = contents.into();
    let kind = Kind::File { size: contents.len() as u64, executable: true };
    (Entry::new(path, kind).unwrap(), contents)
}

pub fn dir(path: &str) -> Row {
    (Entry::new(path, Kind::Directory).unwrap(), Vec::new())
}

pub fn link(path: &str, target: &str) -> Row {
    (Entry::new(path, Kind::Symlink { target: target.into() }).unwrap(), Vec::new())
}

/// A member: its tar bytes, the gzip member that they are in, and the entries that begin in it.
#[derive(Clone)]
pub struct Member {
    pub tar: Vec<u8>,
    pub gzip: Vec<u8>,
    pub entries: Vec<Entry>,
}

impl Member {
    pub fn new(tar: Vec<u8>, entries: Vec<Entry>) -> Self {
        let gzip = compress(&tar, |builder| builder);
        Self { tar, gzip, entries }
    }
}

/// A gzip member with a header that says nothing, or what `header` makes it say.
pub fn compress(bytes: &[u8], header: impl FnOnce(GzBuilder) -> GzBuilder) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = header(GzBuilder::new().operating_system(255)).write(Vec::new(), Compression::new(5));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The tar bytes of an entry.
pub fn tar_of((entry, contents): &Row) -> Vec<u8> {
    let mut tar = entry.head();
    tar.extend_from_slice(contents);
    tar.resize(tar.len() + padding(contents.len() as u64) as usize, 0);
    tar
}

/// Cuts entries into members as the format has it, with the end of the archive.
pub fn members(rows: &[Row]) -> Vec<Member> {
    let mut cutter = Cutter::default();
    let mut members: Vec<(Vec<u8>, Vec<Entry>)> = Vec::new();
    for row in rows {
        let tar = tar_of(row);
        match cutter.place(&row.0) {
            Place::Begins => {
                let mut steps = tar.chunks(MAX_MEMBER as usize);
                members.push((steps.next().unwrap().to_vec(), vec![row.0.clone()]));
                members.extend(steps.map(|step| (step.to_vec(), Vec::new())));
            }
            Place::Continues => {
                let (bytes, entries) = members.last_mut().unwrap();
                bytes.extend_from_slice(&tar);
                entries.push(row.0.clone());
            }
        }
    }
    if members.is_empty() {
        members.push((Vec::new(), Vec::new()));
    }
    members.last_mut().unwrap().0.extend_from_slice(&END_OF_ARCHIVE);
    members.into_iter().map(|(tar, entries)| Member::new(tar, entries)).collect()
}

/// The index of these members, and its bytes.
pub fn index(members: &[Member]) -> (Vec<u8>, Index) {
    index_after(members, members)
}

/// The index of `members` in a layer that has `layer` before it.
pub fn index_after(layer: &[Member], members: &[Member]) -> (Vec<u8>, Index) {
    let mut builder = IndexBuilder::default();
    for member in members {
        for (number, entry) in member.entries.iter().enumerate() {
            builder.entry(entry, if number == 0 { Place::Begins } else { Place::Continues });
        }
        builder.member(member.gzip.len() as u64, member.tar.len() as u64, &Digest::sha256(&member.tar));
    }
    builder.finish(layer.iter().map(|member| member.gzip.len() as u64).sum()).unwrap()
}

/// A layer whose members are one thing and whose index may speak of another.
pub struct Layer {
    pub bytes: Vec<u8>,
    pub tar: Vec<u8>,
    pub annotations: BTreeMap<String, String>,
}

impl Layer {
    pub fn new(members: &[Member], (section, index): (Vec<u8>, Index)) -> Self {
        let mut bytes: Vec<u8> = members.iter().flat_map(|member| member.gzip.clone()).collect();
        bytes.extend(section);
        let tar = members.iter().flat_map(|member| member.tar.clone()).collect();
        Self { bytes, tar, annotations: index.annotations() }
    }

    /// As the format has it.
    pub fn of(rows: &[Row]) -> Self {
        let members = members(rows);
        Self::new(&members, index(&members))
    }

    pub fn add_to(self, image: Image) -> Image {
        let mut image = image.layer(media_type::OCI_LAYER_GZIP, self.bytes, &self.tar);
        image.layers.last_mut().unwrap().annotations = self.annotations;
        image
    }

    pub fn image(self) -> Image {
        self.add_to(Image::new())
    }
}

/// A bundle of three members.
pub fn rows() -> Vec<Row> {
    let noise: Vec<u8> = (0..200_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 15) as u8).collect();
    vec![dir("a"), file("a/one", noise.clone()), file("b", noise.clone()), link("c", "b"), file("d", noise)]
}

/// What is in the layer, and then what the index speaks of, before either is written.
pub fn bundle(change: impl FnOnce(&mut Vec<Member>, &mut Vec<Member>)) -> Image {
    let mut layer = members(&rows());
    let mut spoken = layer.clone();
    change(&mut layer, &mut spoken);
    Layer::new(&layer, index_after(&layer, &spoken)).image()
}

/// The same change to both: the index says what is there.
pub fn honest(change: impl FnOnce(&mut Vec<Member>)) -> Image {
    let mut layer = members(&rows());
    change(&mut layer);
    Layer::new(&layer, index(&layer)).image()
}
