//! Where it is kept what is known of directories: a file for each, which has the digest of the directory's path as its
//! name, outside of it.
//!
//! Such a file is a line with the digest of the rest, and then a JSON document. It is replaced whole. What cannot be read
//! as that, or what somebody else may have written, says nothing: then the directory is one that is not known. Beside it
//! is another that is locked as long as somebody is at work in the directory, and names what has to be removed if that
//! ends in the middle.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::known::{Known, Note, Row, RowKind, Stamp, Tree};
use crate::bundle::{Index, Indexed, LayerIndex, MAX_PATH};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::manifest::{Annotations, Descriptor};
use crate::unpack::error::Error;
use crate::unpack::place::path_of;
use crate::unpack::staging;
use crate::unpack::{Contents, Listed, ListedKind, listed};

/// The version of the document.
const VERSION: u32 = 1;
/// More bytes than the document of the largest image that is unpacked.
const MAX_STATE: u64 = 1 << 30;

/// How long it is kept what is known of a directory that is not there any more: a disk may be away for some days.
const KEPT: Duration = Duration::from_hours(7 * 24);

/// Where it is kept what has been unpacked into which directory, so that [`update`](super::update) knows what has changed
/// there since.
///
/// Who may write there decides what of a directory is taken for unchanged. So it has to belong to whoever runs this, or
/// to root, and nobody else may write to it.
#[derive(Clone, Debug)]
pub struct States(PathBuf);

impl States {
    /// Those in `directory`, which is made if need be.
    ///
    /// # Errors
    /// When the directory cannot be made, or when others could put something there.
    pub fn open(directory: &Path) -> io::Result<Self> {
        let directory = directory.join("directories");
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        for path in [directory.as_path(), directory.parent().unwrap_or(&directory)] {
            if !is_trusted(&fs::metadata(path)?) {
                return Err(io::Error::other(format!(
                    "{} is another user's, or others may write to it",
                    path.display()
                )));
            }
        }
        Ok(Self(directory))
    }

    /// Takes the directory at `target` for itself, and removes what somebody who did so before has left there.
    pub(in crate::unpack) fn hold(&self, target: &Path) -> Result<Held, Error> {
        let local = Error::local("keep what is known of", target);
        let identified = identify(target);
        let locked = identified.and_then(|path| Ok((self.lock(&path).map_err(|error| self.named(&error))?, path)));
        let (lock, directory) = match locked {
            Ok(locked) => locked,
            Err(error) => return Err(local(error)),
        };
        let Some(lock) = lock else { return Err(Error::Busy(target.to_owned())) };
        let mut held = Held { state: self.0.join(name(&directory)), directory, lock };
        // As many are looked at as there have been, so that there are never many more than there are directories.
        if !held.state.exists()
            && let Err(error) = self.remove_old()
        {
            tracing::debug!("* {}", self.named(&error));
        }
        if let Err(error) = held.remove_leftovers() {
            tracing::debug!("* what was left in {} or beside it cannot be removed: {error}", target.display());
        }
        Ok(held)
    }

    /// An error of the directory that states are in.
    fn named(&self, error: &io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.0.display()))
    }

    /// Nothing, if somebody else has it.
    fn lock(&self, directory: &Path) -> io::Result<Option<File>> {
        let path = self.lock_path(directory);
        loop {
            let mut options = OpenOptions::new();
            let lock = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
                locked => locked?,
            }
            // Whoever had it may just have removed it: then it says nothing any more.
            if fs::metadata(&path).is_ok_and(|now| lock.metadata().is_ok_and(|locked| locked.ino() == now.ino())) {
                return Ok(Some(lock));
            }
        }
    }

    fn lock_path(&self, directory: &Path) -> PathBuf {
        self.0.join(name(directory) + ".lock")
    }

    /// Removes what is known of directories that are not there any more, unless it is young.
    fn remove_old(&self) -> io::Result<()> {
        for file in fs::read_dir(&self.0)? {
            let file = file?;
            let is_old = |time: SystemTime| time.elapsed().is_ok_and(|age| age > KEPT);
            if file.path().extension().is_some() || !file.metadata()?.modified().is_ok_and(is_old) {
                continue;
            }
            let Some(directory) = directory_of(&file.path()) else { continue };
            let is_gone = fs::symlink_metadata(&directory).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
            if is_gone && let Some(_lock) = self.lock(&directory)? {
                fs::remove_file(file.path())?;
                fs::remove_file(self.lock_path(&directory))?;
            }
        }
        Ok(())
    }
}

/// Whether states in `directory` would be in `target`, whether or not one of them is there.
///
/// # Errors
/// When it cannot be found out where they are.
pub fn are_within(directory: &Path, target: &Path) -> io::Result<bool> {
    Ok(identify(directory)?.starts_with(identify(target)?))
}

/// Whether nobody but this user and root could have written what this is said of.
fn is_trusted(metadata: &Metadata) -> bool {
    let owner = metadata.uid();
    (owner == 0 || owner == rustix::process::geteuid().as_raw()) && metadata.mode() & 0o022 == 0
}

/// The path of a directory, which need not exist yet, without links.
fn identify(target: &Path) -> io::Result<PathBuf> {
    let target = std::path::absolute(target)?;
    let mut missing = Vec::new();
    let mut at = target.as_path();
    loop {
        match fs::canonicalize(at) {
            Ok(path) => return Ok(missing.iter().rev().fold(path, |path, name| path.join(name))),
            Err(error) => match (at.components().next_back(), at.parent()) {
                (Some(Component::Normal(name)), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
                    missing.push(name.to_owned());
                    at = parent;
                }
                _ => return Err(error),
            },
        }
    }
}

/// Which directory the state in a file is of, if it says so and is called so.
fn directory_of(state: &Path) -> Option<PathBuf> {
    let mut front = Vec::new();
    // A character takes up to six bytes in JSON, as in \u001b.
    File::open(state).ok()?.take(8 * MAX_PATH as u64).read_to_end(&mut front).ok()?;
    let key = br#""directory":"#;
    let at = front.windows(key.len()).position(|window| window == key)?;
    let text = serde_json::Deserializer::from_slice(&front[at + key.len()..]).into_iter::<String>().next()?.ok()?;
    let directory = PathBuf::from(text);
    (state.file_name()?.to_str()? == name(&directory)).then_some(directory)
}

fn name(directory: &Path) -> String {
    Digest::sha256(directory.as_os_str().as_bytes()).hex()
}

/// A directory that nobody else is at work in, as long as this lives.
#[derive(Debug)]
pub(in crate::unpack) struct Held {
    /// Its path, without links.
    directory: PathBuf,
    state: PathBuf,
    lock: File,
}

/// What is known of a directory: the images that its files are from. There is one, or, if work has been broken off, those
/// before and the one that was to come.
#[derive(Debug, Default)]
pub(in crate::unpack) struct State {
    pub(super) images: Vec<Known>,
    /// Whether all of it is as the only image has it.
    pub(super) is_complete: bool,
}

impl State {
    /// Whether it is all of the image that this manifest describes, and nothing else.
    pub(super) fn is_all_of(&self, manifest: Digest) -> bool {
        matches!(&self.images[..], [only] if only.digest == manifest && self.is_complete)
    }
}

impl Held {
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// What is known, if anything is.
    pub(super) fn load(&self) -> Option<State> {
        let mut options = OpenOptions::new();
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
        let file = options.read(true).custom_flags(flags).open(&self.state).ok()?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || !is_trusted(&metadata) || metadata.len() > MAX_STATE {
            return None;
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        file.take(MAX_STATE).read_to_end(&mut bytes).ok()?;
        let end = bytes.iter().position(|&byte| byte == b'\n')?;
        let digest = Digest::from_str(std::str::from_utf8(&bytes[..end]).ok()?).ok()?;
        let json = &bytes[end + 1..];
        if Digest::sha256(json) != digest {
            return None;
        }
        let document: Document = serde_json::from_slice(json).ok()?;
        drop(bytes);
        document.read()
    }

    /// Keeps this instead of what was known; when it returns, also for after the machine has gone down, if it `has_to_last`.
    pub(super) fn save(&self, images: &[Image], is_complete: bool, has_to_last: bool) -> io::Result<()> {
        let directory = self.directory.to_string_lossy().into_owned();
        let document = Document { version: VERSION, directory, is_complete, images: images.into() };
        // Nobody else writes to it, as long as this has the lock; of somebody who was killed, it may be left.
        let new = self.state.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        // The digest comes first, and is known last: until then, another one is there.
        file.write_all(first_line(&Digest::sha256(b"")).as_bytes())?;
        let mut json = BufWriter::new(Hashed { file: &file, hasher: Hasher::new(Algorithm::Sha256) });
        serde_json::to_writer(&mut json, &document)?;
        let hashed = json.into_inner().map_err(io::IntoInnerError::into_error)?;
        let digest = hashed.hasher.finish();
        file.write_all_at(first_line(&digest).as_bytes(), 0)?;
        if has_to_last {
            file.sync_all()?;
        }
        fs::rename(&new, &self.state)?;
        match self.state.parent().filter(|_| has_to_last) {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Forgets what was known.
    pub(in crate::unpack) fn forget(&self) -> io::Result<()> {
        match fs::remove_file(&self.state) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Notes what has to be removed if this ends in the middle: a directory with a name that no other has. If that cannot be
    /// noted, it will be left there then.
    pub(in crate::unpack) fn note(&mut self, path: &Path) {
        if let Err(error) = self.try_note(path) {
            tracing::debug!("* {} will be left if this is killed: {error}", path.display());
            let _ = self.lock.set_len(0);
        }
    }

    fn try_note(&mut self, path: &Path) -> io::Result<()> {
        let path = std::path::absolute(path)?;
        self.lock.set_len(0)?;
        self.lock.rewind()?;
        self.lock.write_all(path.as_os_str().as_bytes())
    }

    fn remove_leftovers(&mut self) -> io::Result<()> {
        let mut path = Vec::new();
        self.lock.rewind()?;
        Read::by_ref(&mut self.lock).take(2 * MAX_PATH as u64).read_to_end(&mut path)?;
        if path.is_empty() {
            return Ok(());
        }
        let path = path_of(&path);
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && staging::is_hidden(name)
            && let Ok(parent) = Dir::open_ambient_dir(parent, ambient_authority())
        {
            // It may have been removed, or have become the directory.
            staging::remove(&parent, name).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Ok(()),
                _ => Err(error),
            })?;
        }
        self.lock.set_len(0)
    }
}

fn first_line(digest: &Digest) -> String {
    format!("{digest}\n")
}

/// A file that is hashed as it is written.
struct Hashed<'a> {
    file: &'a File,
    hasher: Hasher,
}

impl Write for Hashed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing it would not be enough: a program that is just being started has it, too, for a moment.
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document<'a> {
    version: u32,
    /// For who reads it.
    directory: String,
    is_complete: bool,
    images: Cow<'a, [Image<'a>]>,
}

/// What is kept of an image.
#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Image<'a> {
    pub(super) digest: Digest,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    indexes: Vec<LayerDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    rows: Vec<RowDocument>,
    checksums: Cow<'a, [u32]>,
    stamps: Cow<'a, [Option<Stamp>]>,
}

/// The index of a bundle's layer.
#[derive(Clone, Deserialize, Serialize)]
struct LayerDocument {
    layer: Descriptor,
    annotations: Annotations,
    /// Both sections.
    #[serde(with = "in_base64")]
    bytes: Bytes,
}

/// Bytes as text, which nobody has to have whole while it is written.
mod in_base64 {
    use std::borrow::Cow;

    use base64::Engine;
    use base64::display::Base64Display;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(bytes, &BASE64_STANDARD))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(Bytes::from).map_err(Error::custom)
    }
}

/// What another image has at a path: its mode, its path, and the size of a file or the target of a link.
#[derive(Clone, Deserialize, Serialize)]
struct RowDocument(u32, Name, Option<u64>, Option<Name>);

/// A name, which need not be text.
#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes { base64: String },
}

impl Name {
    fn of(name: &[u8]) -> Self {
        match std::str::from_utf8(name) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes { base64: BASE64_STANDARD.encode(name) },
        }
    }

    fn read(self) -> Option<PathBuf> {
        Some(match self {
            Self::Text(text) => text.into(),
            Self::Bytes { base64 } => OsString::from_vec(BASE64_STANDARD.decode(base64).ok()?).into(),
        })
    }
}

impl Document<'_> {
    fn read(self) -> Option<State> {
        if self.version != VERSION || self.is_complete && self.images.len() != 1 {
            return None;
        }
        let images = self.images.into_owned().into_iter().map(Image::read).collect::<Option<_>>()?;
        Some(State { images, is_complete: self.is_complete })
    }
}

impl<'a> From<&'a Known> for Image<'a> {
    fn from(Known { digest, tree, stamps, checksums }: &'a Known) -> Self {
        let (indexes, rows) = tree_document(tree);
        Self { digest: *digest, indexes, rows, checksums: checksums.into(), stamps: stamps.into() }
    }
}

/// What is kept of an image of which nothing else is needed any more.
impl From<Known> for Image<'_> {
    fn from(Known { digest, tree, stamps, checksums }: Known) -> Self {
        let (indexes, rows) = tree_document(&tree);
        Self { digest, indexes, rows, checksums: checksums.into(), stamps: stamps.into() }
    }
}

fn tree_document(tree: &Tree) -> (Vec<LayerDocument>, Vec<RowDocument>) {
    match tree {
        Tree::Bundle(bundle) => (bundle.indexes().map(LayerDocument::of).collect(), Vec::new()),
        Tree::Other(_) => (Vec::new(), tree.rows().map(RowDocument::of).collect()),
    }
}

impl Image<'_> {
    /// What has just been unpacked.
    pub(super) fn new(digest: Digest, all: Contents, notes: &[Option<Note>]) -> Self {
        let notes = all.nodes.values().map(|node| Note::among(notes, node.file_number()));
        let (stamps, checksums): (Vec<_>, Vec<_>) = notes.map(|note| (note.stamp, note.checksum)).unzip();
        let indexes: Vec<_> = all.indexes.iter().map(LayerDocument::of).collect();
        let unindexed = if indexes.is_empty() { all.nodes } else { BTreeMap::new() };
        let row = |(place, node)| RowDocument::of((&listed(&place, node)).into());
        let rows = unindexed.into_iter().map(row).collect();
        Self { digest, indexes, rows, checksums: checksums.into(), stamps: stamps.into() }
    }

    fn read(self) -> Option<Known> {
        let Self { digest, indexes, rows, checksums, stamps } = self;
        let tree = if indexes.is_empty() {
            Tree::Other(rows.into_iter().map(RowDocument::read).collect::<Option<_>>()?)
        } else {
            let indexes = indexes.into_iter().map(LayerDocument::read).collect::<Option<Vec<_>>>()?;
            Tree::Bundle(Arc::new(Indexed::of_indexes(indexes).ok()?))
        };
        let is_whole = stamps.len() == tree.len() && checksums.len() == tree.len();
        is_whole.then(|| Known { digest, tree, stamps: stamps.into_owned(), checksums: checksums.into_owned() })
    }
}

impl LayerDocument {
    fn of(LayerIndex { layer, index, bytes }: &LayerIndex) -> Self {
        Self { layer: layer.clone(), annotations: index.annotations(), bytes: bytes.clone() }
    }

    fn read(self) -> Option<LayerIndex> {
        let index = Index::of_layer(&self.annotations, self.layer.size).ok()??;
        Some(LayerIndex { layer: self.layer, index, bytes: self.bytes })
    }
}

impl RowDocument {
    fn of(row: Row<'_>) -> Self {
        let (size, target) = match row.kind {
            RowKind::Directory => (None, None),
            RowKind::File { size } => (Some(size), None),
            RowKind::Symlink { target } => (None, Some(Name::of(target))),
        };
        Self(row.mode, Name::of(row.path), size, target)
    }

    fn read(self) -> Option<Listed> {
        let Self(mode, path, size, target) = self;
        let kind = match (size, target) {
            (None, None) => ListedKind::Directory,
            (Some(size), None) => ListedKind::File { size },
            (None, Some(target)) => ListedKind::Symlink { target: target.read()? },
            (Some(_), Some(_)) => return None,
        };
        Some(Listed { path: path.read()?, mode, kind })
    }
}
