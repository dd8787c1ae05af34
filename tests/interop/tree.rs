//! The directory that is packed, and what it has to be after any journey.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::golden::golden_trees;

/// A believable application, and what is rare: an empty directory, a file of several members, names that a plain tar
/// header cannot hold.
pub fn sample() -> TempDir {
    let home = TempDir::new().unwrap();
    let root = home.path();
    copy(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/manifests")), root);
    fs::create_dir_all(root.join("empty/inside")).unwrap();
    fs::write(root.join("large.bin"), noise(3 * 1024 * 1024)).unwrap();
    let (long, longer) = ("l".repeat(90), "m".repeat(120));
    fs::create_dir(root.join(&long)).unwrap();
    fs::write(root.join(&long).join("split-between-prefix-and-name.yaml"), "kind: List\n").unwrap();
    fs::write(root.join(&longer), "kind: List\n").unwrap();
    fs::create_dir(root.join("größe")).unwrap();
    fs::write(root.join("größe/Übersicht 日本語.yaml"), "größe: 1\n").unwrap();
    symlink("Übersicht 日本語.yaml", root.join("größe/verweis")).unwrap();
    symlink(format!("../{longer}"), root.join("empty/to-longer")).unwrap();
    normalize(root);
    home
}

/// The sample, and deep in it files large enough that layers are cut between them.
pub fn large() -> TempDir {
    let home = sample();
    let nested = home.path().join("nested/deep");
    fs::create_dir_all(&nested).unwrap();
    for number in 0..6 {
        fs::write(nested.join(format!("{number}.bin")), noise(400_000 + number)).unwrap();
    }
    normalize(home.path());
    home
}

/// The trees of `testdata/golden.txt`, each in a directory of its own: every shape that a bundle can have.
pub fn shapes() -> Vec<(&'static str, TempDir)> {
    let made = golden_trees().into_iter().map(|(name, make)| {
        let home = TempDir::new().unwrap();
        make(home.path());
        (name, home)
    });
    made.collect()
}

/// Gives everything the mode that it has in a bundle, whatever umask the tests run under.
fn normalize(root: &Path) {
    for item in fs::read_dir(root).unwrap() {
        let path = item.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            normalize(&path);
        }
        if !metadata.is_symlink() {
            fs::set_permissions(&path, fs::Permissions::from_mode(in_a_bundle(&metadata))).unwrap();
        }
    }
}

/// The mode that a bundle has for this.
fn in_a_bundle(metadata: &fs::Metadata) -> u32 {
    if metadata.is_dir() || metadata.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 }
}

/// The same without what needs PAX headers: some programs pass over them.
pub fn plain() -> TempDir {
    let home = sample();
    let root = home.path();
    fs::remove_file(root.join("m".repeat(120))).unwrap();
    fs::remove_file(root.join("empty/to-longer")).unwrap();
    fs::remove_dir_all(root.join("größe")).unwrap();
    fs::remove_dir_all(root.join("runbooks")).unwrap();
    home
}

/// Bytes that do not compress.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn copy(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let (from, to) = (item.as_ref().unwrap().path(), to.join(item.unwrap().file_name()));
        if from.is_symlink() {
            symlink(fs::read_link(&from).unwrap(), &to).unwrap();
        } else if from.is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&from, &to);
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

#[derive(PartialEq)]
enum Item {
    Directory { mode: u32 },
    File { mode: u32, contents: Vec<u8> },
    Link(PathBuf),
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { mode } => write!(f, "a directory with mode {mode:o}"),
            Self::File { mode, contents } => {
                let start = String::from_utf8_lossy(&contents[..contents.len().min(40)]);
                write!(f, "a file with mode {mode:o} and {} bytes: {start:?}", contents.len())
            }
            Self::Link(target) => write!(f, "a link to {target:?}"),
        }
    }
}

/// Everything below `root`, by its path, with the modes that `mode` sees.
fn items(root: &Path, mode: fn(&fs::Metadata) -> u32) -> BTreeMap<String, Item> {
    let mut items = BTreeMap::new();
    let mut directories = vec![root.to_owned()];
    while let Some(directory) = directories.pop() {
        for item in fs::read_dir(&directory).unwrap() {
            let path = item.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let item = if metadata.is_symlink() {
                Item::Link(fs::read_link(&path).unwrap())
            } else if metadata.is_dir() {
                directories.push(path.clone());
                Item::Directory { mode: mode(&metadata) }
            } else {
                Item::File { mode: mode(&metadata), contents: fs::read(&path).unwrap() }
            };
            items.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), item);
        }
    }
    items
}

/// The paths of everything below `root`; those of directories end with a slash.
pub fn paths(root: &Path) -> BTreeSet<String> {
    let name = |(path, item)| if let Item::Directory { .. } = item { path + "/" } else { path };
    items(root, in_a_bundle).into_iter().map(name).collect()
}

/// That two directories hold the same: names, contents, targets of links, empty directories, and exactly the modes that a
/// bundle gives to what was packed.
pub fn assert_same(expected: &Path, found: &Path) {
    let exactly: fn(&fs::Metadata) -> u32 = |metadata| metadata.permissions().mode() & 0o7777;
    let (expected, found) = (items(expected, in_a_bundle), items(found, exactly));
    let paths: BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let differ = paths.into_iter().filter(|path| expected.get(*path) != found.get(*path));
    let differ: Vec<_> = differ.map(|path| (path, expected.get(path), found.get(path))).collect();
    assert!(differ.is_empty(), "path, expected, found: {differ:#?}");
}
