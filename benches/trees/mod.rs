//! Trees of files for benchmarks and tests, made from a seed: the same bytes on every machine, in every run.
//!
//! They resemble what people pack in what decides speed and size: how many files, how long, how deep, and how far their
//! text compresses. Numbers are integers throughout, because floating point differs between machines. What the text
//! is made of lies in `text`.

mod text;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use text::{Kind, Text};

/// What to make. A benchmark or test seldom uses all of them.
#[allow(dead_code, reason = "each user of this module takes the trees it needs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// 100 files, 6 MB: the manifests of an installation, a few of them long definitions of resources.
    Manifests,
    /// 4,000 files, 67 MB: a repository of charts.
    Charts,
    /// 12,000 files, 230 MB: the sources of a large program.
    Source,
    /// 20,000 files, 31 MB: many small ones.
    Tiny,
    /// One file of so many random bytes, which nothing compresses.
    Large(u64),
}

/// What a tree consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// How many files.
    pub files: usize,
    /// The sum of their sizes.
    pub bytes: u64,
}

/// Where a file lies, given its number, and what kind of text it holds.
type Place = fn(&mut Random, usize) -> (String, Kind);

/// Writes the tree below `into`, which is created where it is missing.
///
/// # Errors
///
/// What the file system says.
pub fn generate(kind: Tree, into: &Path) -> io::Result<Totals> {
    let (seed, files, bytes, place): (u64, usize, u64, Place) = match kind {
        Tree::Manifests => (1, 100, 6_000_000, place_manifest),
        Tree::Charts => (2, 4_000, 67_000_000, place_chart),
        Tree::Source => (3, 12_000, 230_000_000, place_source),
        Tree::Tiny => (4, 20_000, 31_000_000, place_tiny),
        Tree::Large(bytes) => return large(bytes, into),
    };
    let mut random = Random::new(seed);
    let mut taken = BTreeSet::new();
    let mut folder = String::new();
    let mut text = Text::new();
    for (number, size) in sizes(&mut random, files, bytes).into_iter().enumerate() {
        let (path, kind) = place(&mut random, number);
        let path = if taken.contains(&path) { another(&path, number) } else { path };
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if parent != folder || number == 0 {
            fs::create_dir_all(into.join(parent))?;
            parent.clone_into(&mut folder);
        }
        fs::write(into.join(&path), text.write(kind, seed << 32 | number as u64, size))?;
        taken.insert(path);
    }
    Ok(Totals { files, bytes })
}

fn large(bytes: u64, into: &Path) -> io::Result<Totals> {
    fs::create_dir_all(into)?;
    let mut file = File::create(into.join("random.bin"))?;
    let mut random = Random::new(5);
    let mut chunk = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        for eight in chunk.chunks_exact_mut(8) {
            eight.copy_from_slice(&random.next().to_le_bytes());
        }
        let length = left.min(chunk.len() as u64);
        file.write_all(&chunk[..length as usize])?;
        left -= length;
    }
    Ok(Totals { files: 1, bytes })
}

/// Sizes that add up to `bytes`: most are small, some are many times the average, as it is with files.
fn sizes(random: &mut Random, files: usize, bytes: u64) -> Vec<u64> {
    // Two to the power of something like a normal distribution: five dice of 0 to 2.5, in steps of 1/256.
    let weights: Vec<u64> = (0..files)
        .map(|_| {
            let power: u64 = (0..5).map(|_| random.below(640)).sum();
            (256 + (power & 255)) << (power >> 8)
        })
        .collect();
    let sum: u64 = weights.iter().sum();
    let mut sizes: Vec<u64> = weights.iter().map(|weight| weight * bytes / sum).collect();
    sizes[0] += bytes - sizes.iter().sum::<u64>();
    sizes
}

fn another(path: &str, number: usize) -> String {
    match path.rsplit_once('.') {
        Some((stem, ending)) => format!("{stem}-{number}.{ending}"),
        None => format!("{path}-{number}"),
    }
}

fn place_manifest(random: &mut Random, number: usize) -> (String, Kind) {
    let app = text::word(&mut Random::new(number as u64 / 8));
    match number % 8 {
        0 => (format!("definitions/{app}.example.com_{}s.yaml", text::word(random)), Kind::Definition),
        1 => (format!("dashboards/{app}.json"), Kind::Json),
        2 => (format!("apps/{app}/overlays/production/{}.yaml", text::word(random)), Kind::Manifest),
        _ => (format!("apps/{app}/base/{}.yaml", text::word(random)), Kind::Manifest),
    }
}

fn place_chart(random: &mut Random, number: usize) -> (String, Kind) {
    let mut of_chart = Random::new(number as u64 / 20);
    let chart = format!("{}-{}", text::word(&mut of_chart), text::word(&mut of_chart));
    match number % 20 {
        0 => (format!("{chart}/Chart.yaml"), Kind::Values),
        1 | 2 => (format!("{chart}/values-{}.yaml", text::word(random)), Kind::Values),
        3 => (format!("{chart}/README.md"), Kind::Prose),
        4 => (format!("{chart}/definitions/{}.yaml", text::word(random)), Kind::Definition),
        5 => (format!("{chart}/dashboards/{}.json", text::word(random)), Kind::Json),
        6..9 => {
            (format!("{chart}/charts/{}/templates/{}.yaml", text::word(random), text::word(random)), Kind::Template)
        }
        _ => (format!("{chart}/templates/{}-{}.yaml", text::word(random), text::word(random)), Kind::Template),
    }
}

fn place_source(random: &mut Random, number: usize) -> (String, Kind) {
    let mut of_folder = Random::new(number as u64 / 12);
    let mut path = String::from(["cmd", "internal", "pkg", "pkg", "vendor/example.com"][of_folder.below(5) as usize]);
    for _ in 0..=of_folder.below(4) {
        path.push('/');
        path.push_str(text::word(&mut of_folder));
    }
    let (kind, ending) = match number % 16 {
        0 => (Kind::Prose, "md"),
        1 => (Kind::Json, "json"),
        2 => (Kind::Values, "yaml"),
        _ => (Kind::Code, "go"),
    };
    (format!("{path}/{}_{}.{ending}", text::word(random), text::word(random)), kind)
}

fn place_tiny(random: &mut Random, number: usize) -> (String, Kind) {
    let mut of_folder = Random::new(number as u64 / 50);
    let folder = format!("{}/{}-{}", text::word(&mut of_folder), text::word(&mut of_folder), of_folder.below(1000));
    let (kind, ending) = match number % 4 {
        0 => (Kind::Json, "json"),
        1 => (Kind::Code, "go"),
        _ => (Kind::Record, "yaml"),
    };
    (format!("{folder}/{}-{}.{ending}", text::word(random), text::word(random)), kind)
}

/// SplitMix64: small, fast, and good enough for text.
pub struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is small.
    fn below(&mut self, bound: u64) -> u64 {
        ((self.next() >> 32) * bound) >> 32
    }

    /// An index below `length`, the first ones far more often: words are used like this.
    fn index(&mut self, length: usize) -> usize {
        let (x, y) = (self.next() >> 48, self.next() >> 48);
        ((x * y * length as u64) >> 32) as usize
    }
}
