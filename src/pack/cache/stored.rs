//! A layer of the cache: its bytes, and after them what is known of it.
//!
//! That is a JSON document, the SHA-256 digest of it, and its length: 4 bytes, little-endian, the last ones of the file.
//! What cannot be read as that is no layer: a file may have been cut short, if the machine went down.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use libdeflater::{Crc, Decompressor};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use crate::bundle::{Index, Member, compare_paths};
use crate::digest::Digest;
use crate::manifest::Annotations;
use crate::pack::layer::{Layer, Reuse};

/// The digest of the document, and its length.
const TAIL: u64 = 32 + 4;
/// The longest document: ten digits for each of the most members that an index has room for are far less.
const MAX_RECORD: u64 = 16 * 1024 * 1024;

/// What is known of a layer.
pub(in crate::pack) struct Record {
    pub(in crate::pack) digest: Digest,
    pub(in crate::pack) size: u64,
    pub(in crate::pack) diff_id: Digest,
    pub(in crate::pack) index: Index,
    /// The CRC-32 of each member's bytes in the layer. What they decompress to is compared whole, but not every bit of a
    /// gzip member has a say in that.
    pub(in crate::pack) checksums: Vec<u32>,
}

/// The same, as it is written.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    digest: Digest,
    size: u64,
    diff_id: Digest,
    annotations: Annotations,
    checksums: Vec<u32>,
}

impl Record {
    /// Writes it after the layer.
    pub(super) fn append(&self, file: &File) -> io::Result<()> {
        let Self { digest, size, diff_id, index, ref checksums } = *self;
        let (annotations, checksums) = (index.annotations(), checksums.clone());
        let mut bytes = serde_json::to_vec(&Document { digest, size, diff_id, annotations, checksums })?;
        let length = bytes.len() as u32;
        bytes.extend_from_slice(Digest::sha256(&bytes).as_bytes());
        bytes.extend_from_slice(&length.to_le_bytes());
        file.write_all_at(&bytes, size)
    }

    fn read(file: &File) -> io::Result<Self> {
        let end = file.metadata()?.len();
        let tail = read_at(file, end.checked_sub(TAIL).ok_or_else(invalid)?, TAIL)?;
        let (digest, length) = tail.split_at(32);
        let length = u64::from(u32::from_le_bytes(length.try_into().map_err(|_| invalid())?));
        let start = end.checked_sub(TAIL + length).filter(|_| length <= MAX_RECORD).ok_or_else(invalid)?;
        let bytes = read_at(file, start, length)?;
        let record = (Digest::sha256(&bytes).as_bytes() == digest).then(|| Self::parse(&bytes)).flatten();
        record.filter(|record| record.size == start).ok_or_else(invalid)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let Document { digest, size, diff_id, annotations, checksums } = serde_json::from_slice(bytes).ok()?;
        let index = Index::of_layer(&annotations, size).ok()??;
        Some(Self { digest, size, diff_id, index, checksums })
    }
}

/// A layer of the cache, open: it stays readable whoever removes it.
pub(in crate::pack) struct Stored {
    pub(super) file: Arc<File>,
    record: Record,
    pub(in crate::pack) members: Vec<Member>,
    /// Where each begins.
    offsets: Vec<u64>,
}

impl Stored {
    /// Opens the layer at `path`, whose index is intact.
    ///
    /// # Errors
    /// Of the kind `InvalidData` if it is none; of any other, if that cannot be said.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Where a named pipe has taken the place of a file, opening must not wait for a writer.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let record = Record::read(&file)?;
        let Index { entries, members } = record.index;
        let index = read_at(&file, entries.offset, entries.length + members.length)?;
        let (list, table) = index.split_at(entries.length as usize);
        if entries.digest.algorithm().digest(list) != entries.digest {
            return Err(invalid());
        }
        let members = record.index.decode_members(table).map_err(|_| invalid())?;
        if members.len() != record.checksums.len() {
            return Err(invalid());
        }
        let offsets = members.iter().scan(0, |next, member| {
            let offset = *next;
            *next += member.size;
            Some(offset)
        });
        Ok(Self { file: Arc::new(file), record, offsets: offsets.collect(), members })
    }

    /// The member that begins with this entry, or with this step of it, if it has as many tar bytes.
    pub(in crate::pack) fn find(&self, first_path: &str, step: usize, tar_size: u64) -> Option<usize> {
        let first = self.members.partition_point(|member| compare_paths(&*member.first_path, first_path).is_lt());
        let member = self.members.get(first + step)?;
        (*member.first_path == *first_path && member.tar_size == tar_size).then_some(first + step)
    }

    /// A member's bytes in the layer, if they are what was written, at the front of a buffer that becomes as long as need be.
    pub(in crate::pack) fn read<'b>(&self, at: usize, buffer: &'b mut Vec<u8>) -> io::Result<&'b [u8]> {
        let bytes = front(buffer, self.members[at].size as usize);
        self.file.read_exact_at(bytes, self.offsets[at])?;
        if checksum(bytes) == self.record.checksums[at] { Ok(bytes) } else { Err(invalid()) }
    }

    /// A member's tar bytes, and its bytes in the layer.
    pub(in crate::pack) fn inflate(&self, at: usize) -> io::Result<(Vec<u8>, Vec<u8>)> {
        let mut gzip = Vec::new();
        self.read(at, &mut gzip)?;
        let mut tar = vec![0; self.members[at].tar_size as usize];
        let length = Decompressor::new().gzip_decompress(&gzip, &mut tar).map_err(io::Error::other)?;
        if length == tar.len() { Ok((tar, gzip)) } else { Err(invalid()) }
    }

    /// The whole layer, which has been found to be what is to be packed.
    pub(in crate::pack) fn layer(&self) -> Layer {
        let Record { digest, size, diff_id, index, .. } = self.record;
        Layer { file: Arc::clone(&self.file), size, digest, diff_id, index, reuse: Reuse::default() }
    }
}

/// The first `length` bytes of a buffer, which has become longer if need be: it is used for one member after the other, and
/// not filled with zeros for each.
pub(in crate::pack) fn front(buffer: &mut Vec<u8>, length: usize) -> &mut [u8] {
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    &mut buffer[..length]
}

/// The CRC-32 of a member's bytes in the layer.
pub(in crate::pack) fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

fn read_at(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(|_| invalid())?];
    let is_short = |error: &io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
    file.read_exact_at(&mut bytes, offset).map_err(|error| if is_short(&error) { invalid() } else { error })?;
    Ok(bytes)
}

fn invalid() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_not_taken_for_damaged() {
        let scratch = tempfile::tempdir().unwrap();
        let kind = |path: &Path| Stored::open(path).err().unwrap().kind();
        assert_eq!(kind(&scratch.path().join("missing")), io::ErrorKind::NotFound);
        assert_eq!(kind(scratch.path()), io::ErrorKind::InvalidInput);
        let pipe = scratch.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_eq!(kind(&pipe), io::ErrorKind::InvalidInput);
        let damaged = scratch.path().join("damaged");
        for content in [&b""[..], &[0; 36], &[0xff; 100]] {
            std::fs::write(&damaged, content).unwrap();
            assert_eq!(kind(&damaged), io::ErrorKind::InvalidData);
        }
    }
}
