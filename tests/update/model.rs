//! Trees in memory, images of them, and directories that are pulled and updated.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bndlr::bundle::compare_paths;
use bndlr::content::OpenRange;
use bndlr::manifest::RawManifest;
use bndlr::unpack::{self, Error, States, UnpackOptions, UpdateOptions, Updated};
use tempfile::TempDir;

use crate::archives::ours::{self, Layer, Row};
use crate::archives::{Image, Tar, snapshot};
use crate::random::Random;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Directory(u32),
    File(Vec<u8>, u32),
    Link(String),
}

/// What is where.
pub type Tree = BTreeMap<String, Item>;

/// Whose images are made of trees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    Ours,
    Foreign,
}

impl Whose {
    fn mode(self, random: &mut Random, modes: [u32; 4]) -> u32 {
        match self {
            Self::Ours => modes[random.below(2) as usize],
            Self::Foreign => modes[random.below(4) as usize],
        }
    }

    fn item(self, random: &mut Random) -> Item {
        match random.below(10) {
            0 | 1 => Item::Directory(self.mode(random, [0o755, 0o755, 0o555, 0o750])),
            2 => Item::Link(["x", "a/b", "./nothing", "b"][random.below(4) as usize].to_owned()),
            _ => Item::File(contents(random), self.mode(random, [0o644, 0o755, 0o444, 0o600])),
        }
    }

    pub fn tree(self, random: &mut Random) -> Tree {
        let mut tree = Tree::new();
        (0..random.below(40)).for_each(|_| self.add(&mut tree, random));
        tree
    }

    fn add(self, tree: &mut Tree, random: &mut Random) {
        let directories = tree.iter().filter(|(_, item)| matches!(item, Item::Directory(_)));
        let mut parents: Vec<String> = directories.map(|(path, _)| format!("{path}/")).collect();
        parents.push(String::new());
        let parent = &parents[random.below(parents.len() as u64) as usize];
        let names = ["a", "b", "c", "d", "a-b", "a.b", "é", "x y", "z"];
        let path = format!("{parent}{}", names[random.below(names.len() as u64) as usize]);
        tree.entry(path).or_insert_with(|| self.item(random));
    }

    /// Changes a few things: contents, modes, kinds, what is there.
    pub fn edit(self, tree: &mut Tree, random: &mut Random) {
        for _ in 0..random.below(6) {
            let paths: Vec<String> = tree.keys().cloned().collect();
            let at = random.below(paths.len() as u64 + 1) as usize;
            let Some(path) = paths.get(at) else {
                self.add(tree, random);
                continue;
            };
            match (random.below(5), tree.get_mut(path).unwrap()) {
                (0, Item::File(_, mode)) => *mode = self.mode(random, [0o644, 0o755, 0o444, 0o600]),
                (0, Item::Directory(mode)) => *mode = self.mode(random, [0o755, 0o755, 0o555, 0o750]),
                (1, Item::File(bytes, _)) if !bytes.is_empty() => {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] ^= 1;
                }
                (2, _) => {
                    remove(tree, path);
                    tree.insert(path.clone(), self.item(random));
                }
                (3, _) => remove(tree, path),
                _ => self.add(tree, random),
            }
        }
    }

    pub fn image(self, tree: &Tree) -> Image {
        let mut paths: Vec<&String> = tree.keys().collect();
        paths.sort_by(|a, b| compare_paths(a, b));
        match self {
            Self::Ours => {
                let rows: Vec<Row> = paths.iter().map(|path| row(path, &tree[*path])).collect();
                Layer::of(&rows).image()
            }
            Self::Foreign => Image::of(paths.iter().fold(Tar::new(), |tar, path| match &tree[*path] {
                Item::Directory(mode) => tar.entry(path, b'5', *mode, "", b""),
                Item::File(bytes, mode) => tar.entry(path, b'0', *mode, "", bytes),
                Item::Link(target) => tar.entry(path, b'2', 0o777, target, b""),
            })),
        }
    }
}

/// Removes what is at a path and below it.
pub fn remove(tree: &mut Tree, path: &str) {
    tree.retain(|other, _| other != path && !other.starts_with(&format!("{path}/")));
}

fn row(path: &str, item: &Item) -> Row {
    match item {
        Item::Directory(_) => ours::dir(path),
        Item::File(bytes, 0o755) => ours::program(path, bytes.clone()),
        Item::File(bytes, _) => ours::file(path, bytes.clone()),
        Item::Link(target) => ours::link(path, target),
    }
}

/// Mostly short ones, some that make several members, and few that take more than one each.
fn contents(random: &mut Random) -> Vec<u8> {
    let length = match random.below(20) {
        0 => 0,
        1..15 => random.below(2000),
        15..19 => 100_000 + random.below(100_000),
        _ => 2_500_000,
    };
    let byte = random.below(256) as u8;
    (0..length).map(|at| byte.wrapping_add((at / 100) as u8)).collect()
}

/// What is in a directory, as `snapshot` says it.
pub type Seen = BTreeMap<String, String>;
/// Inode and time of each file.
pub type Stats = BTreeMap<String, (u64, i64, i64)>;

/// A place with a directory, and what is known of it.
pub struct Site {
    place: TempDir,
}

impl Site {
    pub fn new() -> Self {
        Self { place: tempfile::tempdir().unwrap() }
    }

    pub fn target(&self) -> PathBuf {
        self.place.path().join("target")
    }

    pub fn state(&self) -> PathBuf {
        self.place.path().join("state")
    }

    pub fn options(&self) -> UnpackOptions {
        UnpackOptions { states: Some(States::open(&self.state()).unwrap()), ..UnpackOptions::default() }
    }

    pub async fn pull(&self, image: &mut Image) {
        let manifest = image.manifest();
        unpack::unpack(image, &manifest, &self.target(), &self.options()).await.unwrap();
    }

    pub async fn update(&self, image: &mut Image) -> Result<Updated, Error> {
        self.update_so(image, UpdateOptions::default()).await
    }

    pub async fn update_so(&self, image: &mut Image, how: UpdateOptions) -> Result<Updated, Error> {
        let manifest = image.manifest();
        self.update_from(image, &manifest, how).await
    }

    pub async fn update_from(
        &self,
        source: &dyn OpenRange,
        manifest: &RawManifest,
        how: UpdateOptions,
    ) -> Result<Updated, Error> {
        unpack::update(source, manifest, &self.target(), how, &self.options()).await
    }

    /// What is in the directory, and inode and time of each file.
    pub fn look(&self) -> (Seen, Stats) {
        let seen = snapshot(&self.target());
        let stat = |path: &String| {
            let metadata = std::fs::symlink_metadata(self.target().join(path)).unwrap();
            metadata.is_file().then(|| (path.clone(), (metadata.ino(), metadata.mtime(), metadata.mtime_nsec())))
        };
        let stats = seen.keys().filter_map(stat).collect();
        (seen, stats)
    }
}

/// What a fresh pull makes.
pub async fn fresh(image: &mut Image) -> BTreeMap<String, String> {
    let place = tempfile::tempdir().unwrap();
    image.unpack(&place.path().join("target")).await.unwrap();
    without_top(snapshot(&place.path().join("target")))
}

/// The directory's own mode is not the image's to say.
pub fn without_top(mut seen: BTreeMap<String, String>) -> BTreeMap<String, String> {
    seen.remove("");
    seen
}

pub fn names(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
