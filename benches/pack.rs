//! How fast packing is, against what bounds it: libdeflate alone, on all cores, over the same members in memory.
//!
//! `cargo bench --bench pack -- [DIRECTORY…]` prints a row for each tree: medians of interleaved runs, and their ratio; how
//! many times as fast it is packed again with the cache, unchanged, and after one file has changed; and how large the layer is
//! beside what gzip makes of the same archive. Without a directory, it makes trees of its own, the same on every machine; a
//! directory that is named is not changed. Measure on a quiet machine.

#![expect(clippy::cast_precision_loss, reason = "rates need no 53 bits")]

mod trees;

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bndlr::bundle::Kind;
use bndlr::content::Open;
use bndlr::pack::{Bundle, Cache, PackOptions, Selection, pack, scan};
use libdeflater::{CompressionLvl, Compressor};
use trees::Tree;

const RUNS: usize = 7;

fn main() {
    let directories: Vec<PathBuf> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).map(PathBuf::from).collect();
    println!(
        "{:<32} {:>7} {:>10} {:>10} {:>6} {:>7} {:>8} {:>8}",
        "tree", "tar MB", "bare MB/s", "pack MB/s", "ratio", "again", "changed", "gzip"
    );
    for directory in &directories {
        measure(&directory.display().to_string(), directory, false);
    }
    if directories.is_empty() {
        let trees = [Tree::Manifests, Tree::Charts, Tree::Source, Tree::Tiny, Tree::Large(256 << 20)];
        for tree in trees {
            let root = tempfile::tempdir().unwrap();
            trees::generate(tree, root.path()).unwrap();
            measure(&format!("{tree:?}"), root.path(), true);
        }
    }
}

fn measure(name: &str, directory: &Path, may_change: bool) {
    let layer = layer(directory);
    let members = members(&layer);
    let bytes: usize = members.iter().map(Vec::len).sum();
    let scratch = tempfile::tempdir().unwrap();
    let cached = || cached(directory, scratch.path());
    cached();
    let [mut bare, mut cold, mut again, mut changed] = [const { Vec::new() }; 4];
    for run in 0..RUNS {
        bare.push(time(|| compress(&members)));
        cold.push(time(|| pack(directory).unwrap()));
        again.push(time(cached));
        if may_change {
            change(directory, run);
            changed.push(time(cached));
        }
    }
    let (bare, cold, again) = (median(bare), median(cold), median(again));
    let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    let times = |faster: Duration| format!("{:.1}x", cold.as_secs_f64() / faster.as_secs_f64());
    println!(
        "{name:<32} {:>7.1} {:>10.0} {:>10.0} {:>5.0}% {:>7} {:>8} {:>8}",
        bytes as f64 / 1e6,
        rate(bare),
        rate(cold),
        100.0 * bare.as_secs_f64() / cold.as_secs_f64(),
        times(again),
        if may_change { times(median(changed)) } else { "-".to_owned() },
        beside_gzip(&members, layer.len()).unwrap_or_else(|| "-".to_owned()),
    );
}

/// Packs with a cache that lives in `scratch`.
fn cached(directory: &Path, scratch: &Path) -> Bundle {
    let cache = Cache::open(&scratch.join("cache"), 8 << 30).unwrap();
    let options = PackOptions { cache: Some(cache), ..PackOptions::default() };
    scan(directory, &Selection::default()).unwrap().pack(&options, &|_| ()).unwrap()
}

/// Writes over the front of the file in the middle of the tree, another word each time.
fn change(directory: &Path, run: usize) {
    let tree = scan(directory, &Selection::default()).unwrap();
    let files: Vec<_> = tree.entries().filter(|entry| matches!(entry.kind(), Kind::File { size: 64.., .. })).collect();
    let path = directory.join(files[files.len() / 2].path());
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    write!(file, "changed {run}").unwrap();
}

/// The layer's size beside what `gzip` makes of the same archive, if there is one.
fn beside_gzip(members: &[Vec<u8>], size: usize) -> Option<String> {
    let mut gzip = Command::new("gzip").arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().ok()?;
    let (mut to, mut from) = (gzip.stdin.take()?, gzip.stdout.take()?);
    let read = std::thread::scope(|scope| {
        scope.spawn(move || members.iter().for_each(|tar| to.write_all(tar).unwrap()));
        std::io::copy(&mut from, &mut std::io::sink()).unwrap()
    });
    gzip.wait().unwrap();
    Some(format!("{:+.1}%", 100.0 * (size as f64 / read as f64 - 1.0)))
}

/// The bytes of the bundle's layer.
fn layer(directory: &Path) -> Vec<u8> {
    let bundle = pack(directory).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { bundle.open(&bundle.layers()[0]).await.unwrap().read_all().await.unwrap() }).to_vec()
}

/// The tar bytes of its members.
fn members(mut layer: &[u8]) -> Vec<Vec<u8>> {
    let mut members = Vec::new();
    while !layer.is_empty() {
        let mut decoder = flate2::bufread::GzDecoder::new(layer);
        let mut tar = Vec::new();
        decoder.read_to_end(&mut tar).unwrap();
        layer = decoder.into_inner();
        if !tar.is_empty() {
            members.push(tar);
        }
    }
    members
}

fn compress(members: &[Vec<u8>]) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                let mut compressor = Compressor::new(CompressionLvl::new(6).unwrap());
                let mut out = Vec::new();
                while let Some(tar) = members.get(next.fetch_add(1, Ordering::Relaxed)) {
                    out.resize(compressor.gzip_compress_bound(tar.len()), 0);
                    compressor.gzip_compress(tar, &mut out).unwrap();
                }
            });
        }
    });
}

fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
