//! The cache: layers that have been packed before, so that what has not changed is not compressed again.
//!
//! A layer is a file of its own, which has the name of what it was made of, and goes with what `stored` says of it. So a
//! layer is kept by renaming the file that it was written to, many processes share a cache without a lock, and one that
//! is killed leaves nothing half done. Nothing is believed: a member is taken only if it decompresses to what has just
//! been read from the directory.

mod stored;
mod tag;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Seek};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{AtFlags, CWD, linkat};
use rustix::process::{Resource, getrlimit};

pub(super) use self::stored::{Record, Stored, checksum, front};
pub(super) use self::tag::is_cache;
use super::plan::{MAX_LAYERS, Plan};
use super::scan::Tree;
use super::workers::fill;
use crate::bundle::{COMPRESSION_LEVEL, Kind, annotation};
use crate::digest::{Algorithm, Digest, Hasher};

/// How many bytes a cache holds if nobody says otherwise: 1 GiB.
pub const DEFAULT_CACHE_SIZE: u64 = 1 << 30;

/// What the directory of the layers is called.
const LAYERS: &str = "layers";
/// What part of the limit comes on top of it, for what a layer has beside the bytes of its files.
const SLACK: u64 = 64;
/// What a file counts for at least, so that there are never too many to look through.
const MIN_FILE: u64 = 256 * 1024;
/// How many layers of the same entries are looked at.
const ALIKE: usize = 4;
/// How many other layers are looked at if there is none: those of the same directory first, then those used last.
const OTHERS: usize = 6;
/// How many of them are open at most, for all layers of a bundle together: three for each of the most layers.
const OPEN: usize = 3 * MAX_LAYERS;
/// How many files are left to all else that needs some, where a process may not have many: connections, what is read.
const OTHER_FILES: usize = 48;
/// What files are called that are copied, and how long one may go on before it is taken for left behind.
const SPOOL: &str = ".spool-";
const ABANDONED: Duration = Duration::from_hours(24);

/// Layers that have been packed before, in a directory.
///
/// It is trusted as the program is: who may write there decides what is pushed. So it has to belong to whoever runs this,
/// or to root, and nobody else may write to it.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: PathBuf,
    limit: u64,
    is_read_only: bool,
}

/// What is in a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheContents {
    /// How many layers.
    pub layers: u64,
    /// How many bytes they have together.
    pub bytes: u64,
}

impl Cache {
    /// The cache in `directory`, which is made if need be, and which holds about `limit` bytes at most: the layers that
    /// were used last. One file of so many bytes finds room, even if it cannot be compressed.
    ///
    /// # Errors
    /// When the directory cannot be made, when others could put layers there, or when it has something else in it.
    pub fn open(directory: &Path, limit: u64) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory.join(LAYERS))?;
        let cache = Self::open_to_read(directory, limit)?;
        match tag::write(&cache.directory) {
            Ok(()) => Ok(Self { is_read_only: false, ..cache }),
            // What is there can be used all the same.
            Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
                Ok(cache)
            }
            Err(error) => Err(error),
        }
    }

    /// The cache in `directory`, if there is one, of which nothing is changed by packing: what is packed is not kept.
    ///
    /// # Errors
    /// When it is not there, or when others could put layers there.
    pub fn open_to_read(directory: &Path, limit: u64) -> io::Result<Self> {
        let directory = directory.join(LAYERS);
        for path in [directory.as_path(), directory.parent().unwrap_or(&directory)] {
            let metadata = fs::metadata(path)?;
            let owner = metadata.uid();
            if owner != 0 && owner != rustix::process::geteuid().as_raw() {
                return Err(io::Error::other(format!("{} belongs to user {owner}", path.display())));
            }
            if metadata.mode() & 0o022 != 0 {
                return Err(io::Error::other(format!("others may write to {}", path.display())));
            }
        }
        Ok(Self { directory, limit, is_read_only: true })
    }

    /// What is there.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn contents(&self) -> io::Result<CacheContents> {
        let kept = self.kept()?;
        Ok(CacheContents { layers: kept.len() as u64, bytes: kept.iter().map(|kept| kept.size).sum() })
    }

    /// Removes all of it, and nothing that is not the cache's. Returns what was there.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn clear(&self) -> io::Result<CacheContents> {
        let mut removed = CacheContents::default();
        for kept in self.kept()? {
            remove(&kept.path)?;
            removed.layers += 1;
            removed.bytes += kept.size;
        }
        self.remove_abandoned(Duration::ZERO)?;
        Ok(removed)
    }

    /// For each of the layers, what it is found by, and what has been found.
    pub(super) fn bases(&self, tree: &Tree, plan: &Plan<'_>, layers: &[Range<usize>]) -> Vec<Bases> {
        let kept = self.kept().unwrap_or_default();
        let directory = fs::canonicalize(&tree.path).unwrap_or_else(|_| tree.path.clone());
        let mut files = files_for(layers.len());
        let bases = |(number, layer)| {
            let (shape, place) = (shape(plan, layer), place(&directory, plan, layer));
            let mut bases = Bases { shape, place, layers: Vec::new() };
            // What one leaves is for those after it.
            let most = files.div_ceil(layers.len() - number);
            bases.layers = self.find(&kept, tree, plan, layer, &bases, most);
            files -= bases.layers.len();
            bases
        };
        layers.iter().enumerate().map(bases).collect()
    }

    /// What is kept that may have some members of a layer, which `bases` has the name of: so many at most.
    fn find(
        &self,
        kept: &[Kept],
        tree: &Tree,
        plan: &Plan<'_>,
        layer: &Range<usize>,
        bases: &Bases,
        most: usize,
    ) -> Vec<Stored> {
        if most == 0 {
            return Vec::new();
        }
        let open = |kept: &Kept| self.read(kept);
        let alike = kept.iter().filter(|kept| kept.name.shape == bases.shape).take(ALIKE);
        let mut found: Vec<Stored> = alike.filter_map(open).collect();
        if found.is_empty() {
            let (here, elsewhere): (Vec<_>, Vec<_>) = kept.iter().partition(|kept| kept.name.place == bases.place);
            return here.into_iter().chain(elsewhere).take(OTHERS.min(most)).filter_map(open).collect();
        }
        likeliest_first(tree, plan, layer, &mut found);
        found.truncate(most);
        found
    }

    /// Takes note that a layer has been used just now, which decides how long it is kept.
    pub(super) fn used(&self, layer: &Stored) {
        if !self.is_read_only {
            mark_used(&layer.file);
        }
    }

    /// Opens what is kept. What is damaged is removed; what only cannot be read now, because too many files are open or a disk
    /// fails, is not.
    fn read(&self, kept: &Kept) -> Option<Stored> {
        let opened = Stored::open(&kept.path);
        let is_damaged = opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::InvalidData);
        if is_damaged && !self.is_read_only {
            let _ = remove(&kept.path);
        }
        opened.ok()
    }

    /// A file without a name for a layer to be written to, in case it is to be kept.
    pub(super) fn spool(&self) -> io::Result<File> {
        if self.is_read_only {
            return Err(ErrorKind::ReadOnlyFilesystem.into());
        }
        tempfile::tempfile_in(&self.directory)
    }

    /// Keeps the layer that has been written to a [`Cache::spool`], or does not, if that fails: then it will have to be
    /// packed again, and that is all. What has its name already is replaced: it may be damaged.
    pub(super) fn keep(&self, file: &File, name: &Name, record: &Record) {
        let path = self.directory.join(name.to_string());
        let finds_room = |file: &File| file.metadata().is_ok_and(|metadata| metadata.len() <= self.room());
        if record.append(file).is_err() || !finds_room(file) {
            return;
        }
        // By this clock, whatever that of the file system says.
        mark_used(file);
        if self.link(file, &path).or_else(|_| self.copy(file, &path)).is_ok() {
            let _ = self.make_room();
        }
    }

    /// Gives a file that has never had one a name (`man 2 open`, `O_TMPFILE`). No name can be taken from another file that way,
    /// so where one has it, this one gets another name first.
    fn link(&self, file: &File, path: &Path) -> io::Result<()> {
        let file = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = |path: &Path| -> io::Result<()> { Ok(linkat(CWD, &file, CWD, path, AtFlags::SYMLINK_FOLLOW)?) };
        match link(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                tempfile::Builder::new().prefix(SPOOL).make_in(&self.directory, link)?.persist(path)?;
                Ok(())
            }
            linked => linked,
        }
    }

    /// Where a file cannot be given a name later, another one is written.
    fn copy(&self, mut file: &File, path: &Path) -> io::Result<()> {
        let mut copy = tempfile::Builder::new().prefix(SPOOL).tempfile_in(&self.directory)?;
        file.rewind()?;
        io::copy(&mut file, &mut copy)?;
        copy.persist(path)?;
        Ok(())
    }

    fn room(&self) -> u64 {
        self.limit.saturating_add(self.limit / SLACK)
    }

    /// Removes what was used longest ago.
    fn make_room(&self) -> io::Result<()> {
        let mut total = 0;
        for kept in self.kept()? {
            total += kept.size.max(MIN_FILE);
            if total > self.room() {
                remove(&kept.path)?;
            }
        }
        self.remove_abandoned(ABANDONED)
    }

    fn remove_abandoned(&self, age: Duration) -> io::Result<()> {
        for file in fs::read_dir(&self.directory)? {
            let file = file?;
            if !is_spool(&file.file_name()) {
                continue;
            }
            let Ok(metadata) = file.metadata() else { continue };
            if metadata.is_file() && metadata.modified().is_ok_and(|time| is_older(time, age)) {
                remove(&file.path())?;
            }
        }
        Ok(())
    }

    /// What is kept, used last first.
    fn kept(&self) -> io::Result<Vec<Kept>> {
        let mut all = Vec::new();
        for file in fs::read_dir(&self.directory)? {
            let file = file?;
            let Some(name) = file.file_name().to_str().and_then(Name::parse) else { continue };
            // Another process may just have removed it.
            let Ok(metadata) = file.metadata() else { continue };
            // What has such a name and is no file is not the cache's.
            if !metadata.is_file() {
                continue;
            }
            // A time that is yet to come says nothing. Taken for the last, it would keep all that is new out until it has come.
            let used = metadata.modified().ok().filter(|used| *used <= SystemTime::now());
            let used = used.unwrap_or(SystemTime::UNIX_EPOCH);
            all.push(Kept { name, path: file.path(), size: metadata.len(), used });
        }
        all.sort_by(|a, b| b.used.cmp(&a.used).then_with(|| a.path.cmp(&b.path)));
        Ok(all)
    }
}

/// What the cache has for a layer: nothing, where there is no cache.
#[derive(Default)]
pub(super) struct Bases {
    shape: String,
    place: String,
    /// Kept layers that may have some of its members, the likeliest first.
    pub(super) layers: Vec<Stored>,
}

impl Bases {
    /// The likeliest, if it may be all of a layer of so many members.
    pub(super) fn whole(&self, members: usize) -> Option<&Stored> {
        self.layers.first().filter(|base| base.members.len() == members)
    }
}

/// How many files of the cache may be open to pack so many layers, each of which may need a file of its own.
fn files_for(layers: usize) -> usize {
    let most = getrlimit(Resource::Nofile).current.and_then(|most| usize::try_from(most).ok());
    most.unwrap_or(usize::MAX).saturating_sub(layers + OTHER_FILES).min(OPEN)
}

/// A layer that is kept.
struct Kept {
    name: Name,
    path: PathBuf,
    size: u64,
    used: SystemTime,
}

fn is_spool(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(SPOOL.as_bytes())
}

/// Whose a layer is, or where it is, may keep its time from being set: that costs time, later, and nothing else.
fn mark_used(file: &File) {
    let _ = file.set_modified(SystemTime::now());
}

fn is_older(time: SystemTime, age: Duration) -> bool {
    SystemTime::now().duration_since(time).unwrap_or_default() >= age
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What a file of the cache is called: by what its layer was made of, so that the likeliest are found by name.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// What was known of it before any file had been read.
    shape: String,
    /// Which part of which directory it was.
    place: String,
    /// Its digest.
    layer: String,
}

impl Name {
    /// The name of a layer that is found by what `bases` say.
    pub(super) fn of(bases: &Bases, digest: Digest) -> Self {
        Self { shape: bases.shape.clone(), place: bases.place.clone(), layer: digest.hex() }
    }

    fn parse(text: &str) -> Option<Self> {
        let parts: Vec<&str> = text.split('-').collect();
        let &[shape, place, layer] = parts.as_slice() else { return None };
        let is_hex = |part: &str, length| part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let is_name = is_hex(shape, SHORT) && is_hex(place, SHORT) && is_hex(layer, 64);
        is_name.then(|| Self { shape: shape.into(), place: place.into(), layer: layer.into() })
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.shape, self.place, self.layer)
    }
}

/// How many digits of a digest are enough where a wrong guess costs nothing but time.
const SHORT: usize = 16;

fn short(digest: &Digest) -> String {
    let mut hex = digest.hex();
    hex.truncate(SHORT);
    hex
}

fn shape(plan: &Plan<'_>, layer: &Range<usize>) -> String {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    hasher.update(format!("{} {COMPRESSION_LEVEL}\n", annotation::FORMAT_VERSION).as_bytes());
    let members = plan.members[layer.clone()].iter().filter(|member| member.plan.begins());
    let entries = members.flat_map(|member| plan.entries(member));
    for entry in entries.map(|found| &found.entry) {
        hasher.update(entry.path().as_bytes());
        match entry.kind() {
            Kind::Directory => hasher.update(b"\0/\0"),
            Kind::File { size, executable } => hasher.update(format!("\0{size} {executable}\0").as_bytes()),
            Kind::Symlink { target } => hasher.update(format!("\0-> {target}\0").as_bytes()),
        }
    }
    short(&hasher.finish())
}

fn place(directory: &Path, plan: &Plan<'_>, layer: &Range<usize>) -> String {
    let mut place = directory.as_os_str().as_encoded_bytes().to_vec();
    // Without splitting, there is one layer, whatever it begins with.
    if layer.start > 0 {
        place.push(0);
        place.extend_from_slice(plan.last_path(&plan.members[layer.start]).as_bytes());
    }
    short(&Digest::sha256(&place))
}

/// Puts that of several layers of the same entries first that has what is in the directory now, if one has: where two of
/// them differ, the directory is looked at.
fn likeliest_first(tree: &Tree, plan: &Plan<'_>, layer: &Range<usize>, bases: &mut Vec<Stored>) {
    bases.retain(|base| base.members.len() == layer.len());
    for other in 1..bases.len() {
        let members = bases[0].members.iter().zip(&bases[other].members);
        let Some(at) = members.map(|(a, b)| a.digest == b.digest).position(|same| !same) else { continue };
        let mut tar = Vec::new();
        let is_other = fill(tree, plan, layer.start + at, &mut tar).is_ok()
            && Digest::sha256(&tar) == bases[other].members[at].digest;
        if is_other {
            bases.swap(0, other);
        }
    }
}
