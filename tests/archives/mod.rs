//! Makes archives and images byte by byte, right ones and wrong ones, and looks at what became of them.
// Each test file is a crate of its own, and none needs all of this.
#![allow(dead_code)]

pub mod hostile;
pub mod ours;

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use async_trait::async_trait;
use bndlr::content::{Error, Open, OpenRange, Reader};
use bndlr::digest::Digest;
use bndlr::manifest::{Descriptor, RawManifest, media_type};
use bndlr::unpack::{self, Limits, Listed, UnpackOptions, Unpacked};
use bytes::Bytes;
use futures::stream;
use serde_json::{Value, json};

/// A tar archive in the making. Nothing is checked.
#[derive(Clone, Default)]
pub struct Tar(pub Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn dir(self, name: &str) -> Self {
        self.entry(name, b'5', 0o755, "", b"")
    }

    pub fn file(self, name: &str, contents: &str) -> Self {
        self.entry(name, b'0', 0o644, "", contents.as_bytes())
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(name, b'2', 0o777, target, b"")
    }

    pub fn hard_link(self, name: &str, original: &str) -> Self {
        self.entry(name, b'1', 0o644, original, b"")
    }

    pub fn entry(self, name: &str, kind: u8, mode: u32, link: &str, contents: &[u8]) -> Self {
        self.header(name.as_bytes(), kind, mode, link.as_bytes(), contents.len() as u64).blocks(contents)
    }

    /// A header, whatever it may say.
    pub fn header(self, name: &[u8], kind: u8, mode: u32, link: &[u8], size: u64) -> Self {
        self.tweaked(name, kind, mode, link, size, |_| ())
    }

    pub fn tweaked(
        mut self,
        name: &[u8],
        kind: u8,
        mode: u32,
        link: &[u8],
        size: u64,
        tweak: impl FnOnce(&mut [u8; 512]),
    ) -> Self {
        let mut block = [0; 512];
        block[..name.len().min(100)].copy_from_slice(&name[..name.len().min(100)]);
        block[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
        block[108..115].copy_from_slice(b"0000000");
        block[116..123].copy_from_slice(b"0000000");
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        block[136..147].copy_from_slice(b"00000000000");
        block[156] = kind;
        block[157..157 + link.len().min(100)].copy_from_slice(&link[..link.len().min(100)]);
        block[257..265].copy_from_slice(b"ustar\x0000");
        tweak(&mut block);
        block[148..156].copy_from_slice(b"        ");
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        self.0.extend_from_slice(&block);
        self
    }

    /// Contents, filled up to a whole block.
    pub fn blocks(mut self, contents: &[u8]) -> Self {
        self.0.extend_from_slice(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// PAX records for the next entry.
    pub fn pax(self, records: &[(&str, &str)]) -> Self {
        let records: String = records.iter().map(|(key, value)| record(key, value)).collect();
        self.entry("PaxHeaders/x", b'x', 0o644, "", records.as_bytes())
    }

    /// GNU's long name for the next entry.
    pub fn long_name(self, name: &str) -> Self {
        self.entry("././@LongLink", b'L', 0o644, "", format!("{name}\0").as_bytes())
    }

    pub fn long_link(self, target: &str) -> Self {
        self.entry("././@LongLink", b'K', 0o644, "", format!("{target}\0").as_bytes())
    }

    /// The whole archive.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub fn record(key: &str, value: &str) -> String {
    let rest = key.len() + value.len() + 3;
    let length = (rest..rest + 20).find(|length| *length == rest + length.to_string().len()).unwrap();
    format!("{length} {key}={value}\n")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An image in memory: whatever is asked for comes in small chunks.
#[derive(Clone)]
pub struct Image {
    pub blobs: HashMap<Digest, Bytes>,
    pub layers: Vec<Descriptor>,
    pub diff_ids: Vec<Digest>,
    pub labels: BTreeMap<String, String>,
    pub is_docker: bool,
    /// Another config than that of an image: its media type and itself.
    pub config: Option<(String, Vec<u8>)>,
    pub limits: Limits,
    pub chunk: usize,
}

impl Image {
    pub fn new() -> Self {
        Self {
            blobs: HashMap::new(),
            layers: Vec::new(),
            diff_ids: Vec::new(),
            labels: BTreeMap::new(),
            is_docker: false,
            config: None,
            limits: Limits::default(),
            chunk: 1000,
        }
    }

    /// An image of one layer in gzip.
    pub fn of(tar: Tar) -> Self {
        Self::new().gzip(tar)
    }

    pub fn gzip(self, tar: Tar) -> Self {
        let tar = tar.end();
        self.layer(media_type::OCI_LAYER_GZIP, gzip(&tar), &tar)
    }

    /// A layer whose archive is `tar`.
    pub fn layer(mut self, media_type: &str, blob: Vec<u8>, tar: &[u8]) -> Self {
        self.diff_ids.push(Digest::sha256(tar));
        self.blob(media_type, blob, &[])
    }

    /// A layer with annotations, and without a diff ID.
    pub fn blob(mut self, media_type: &str, blob: Vec<u8>, annotations: &[(&str, &str)]) -> Self {
        let mut descriptor = Descriptor::of(media_type, &blob);
        descriptor.annotations = annotations.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        self.blobs.insert(descriptor.digest, blob.into());
        self.layers.push(descriptor);
        self
    }

    pub fn artifact(mut self) -> Self {
        self.config = Some((media_type::OCI_EMPTY.into(), b"{}".to_vec()));
        self
    }

    pub fn limited(mut self, entries: u64, bytes: u64) -> Self {
        self.limits = Limits { entries, bytes };
        self
    }

    pub fn manifest(&mut self) -> RawManifest {
        let (kind, config) = self.config.clone().unwrap_or_else(|| {
            let kind = if self.is_docker { media_type::DOCKER_CONFIG } else { media_type::OCI_CONFIG };
            let config = json!({
                "architecture": "amd64", "os": "linux",
                "config": {"Labels": self.labels},
                "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            });
            (kind.into(), config.to_string().into_bytes())
        });
        let descriptor = Descriptor::of(kind, &config);
        self.blobs.insert(descriptor.digest, config.into());
        let kind = if self.is_docker { media_type::DOCKER_MANIFEST } else { media_type::OCI_MANIFEST };
        let manifest: Value =
            json!({"schemaVersion": 2, "mediaType": kind, "config": descriptor, "layers": self.layers});
        RawManifest::parse(kind, manifest.to_string().into()).unwrap()
    }

    pub fn options(&self) -> UnpackOptions {
        UnpackOptions { limits: self.limits, ..UnpackOptions::default() }
    }

    pub async fn unpack(&mut self, target: &Path) -> Result<Unpacked, unpack::Error> {
        let manifest = self.manifest();
        unpack::unpack(self, &manifest, target, &self.options()).await
    }

    pub async fn list(&mut self) -> Result<Vec<Listed>, unpack::Error> {
        let manifest = self.manifest();
        unpack::list(self, &manifest, &self.options()).await
    }
}

#[async_trait]
impl Open for Image {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        let blob = self.blobs.get(&descriptor.digest).ok_or_else(|| Error::not_found("no such blob"))?;
        let (blob, chunk) = (blob.clone(), self.chunk);
        let chunks = (0..blob.len()).step_by(chunk);
        let chunks: Vec<_> = chunks.map(|at| Ok(blob.slice(at..(at + chunk).min(blob.len())))).collect();
        Ok(Reader::new(descriptor, stream::iter(chunks)))
    }
}

#[async_trait]
impl OpenRange for Image {
    async fn range_within(&self, descriptor: &Descriptor, offset: u64, length: u64) -> Result<Bytes, Error> {
        let blob = self.blobs.get(&descriptor.digest).ok_or_else(|| Error::not_found("no such blob"))?;
        Ok(blob.slice(offset as usize..(offset + length) as usize))
    }
}

/// All that is below a directory: paths, and for each its mode and its contents, or where the link points.
pub fn snapshot(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut ahead = vec![directory.to_owned()];
    while let Some(next) = ahead.pop() {
        let metadata = std::fs::symlink_metadata(&next).unwrap();
        let mode = metadata.permissions().mode() & 0o7777;
        let what = if metadata.is_dir() {
            for entry in std::fs::read_dir(&next).unwrap() {
                ahead.push(entry.unwrap().path());
            }
            format!("directory {mode:o}")
        } else if metadata.is_symlink() {
            format!("-> {}", std::fs::read_link(&next).unwrap().display())
        } else {
            let contents = std::fs::read(&next).unwrap();
            let shown = String::from_utf8_lossy(&contents[..contents.len().min(100)]).into_owned();
            format!("file {mode:o} {} {shown} {}", contents.len(), Digest::sha256(&contents).short())
        };
        let path = next.strip_prefix(directory).unwrap().to_string_lossy().into_owned();
        found.insert(path, what);
    }
    found
}
