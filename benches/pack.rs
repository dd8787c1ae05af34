//! How fast packing is, against what bounds it: libdeflate alone, on all cores, over the same members in memory.
//!
//! `cargo bench --bench pack -- [DIRECTORY…]` prints a row for each tree: medians of interleaved runs, and their ratio.
//! Without a directory, it makes trees of its own, the same on every machine. Measure on a quiet machine.

#![expect(clippy::cast_precision_loss, reason = "rates need no 53 bits")]

mod trees;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bndlr::content::Open;
use bndlr::pack::{PackOptions, Selection, scan};
use libdeflater::{CompressionLvl, Compressor};
use trees::Tree;

const RUNS: usize = 7;

fn main() {
    let directories: Vec<PathBuf> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).map(PathBuf::from).collect();
    println!("{:<40} {:>9} {:>10} {:>10} {:>6}", "tree", "tar MB", "bare MB/s", "pack MB/s", "ratio");
    for directory in &directories {
        measure(&directory.display().to_string(), directory);
    }
    if directories.is_empty() {
        let trees = [Tree::Manifests, Tree::Charts, Tree::Source, Tree::Tiny, Tree::Large(256 << 20)];
        for tree in trees {
            let root = tempfile::tempdir().unwrap();
            trees::generate(tree, root.path()).unwrap();
            measure(&format!("{tree:?}"), root.path());
        }
    }
}

fn measure(name: &str, directory: &Path) {
    let members = members(directory);
    let bytes: usize = members.iter().map(Vec::len).sum();
    let (mut bare, mut pack) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        bare.push(time(|| compress(&members)));
        pack.push(time(|| {
            let tree = scan(directory, &Selection::default()).unwrap();
            tree.pack(&PackOptions::default(), &|_| ()).unwrap()
        }));
    }
    let (bare, pack) = (median(bare), median(pack));
    let rate = |time: Duration| bytes as f64 / 1e6 / time.as_secs_f64();
    println!(
        "{name:<40} {:>9.1} {:>10.0} {:>10.0} {:>5.0}%",
        bytes as f64 / 1e6,
        rate(bare),
        rate(pack),
        100.0 * bare.as_secs_f64() / pack.as_secs_f64()
    );
}

/// The tar bytes of the bundle's members, as packing makes them.
fn members(directory: &Path) -> Vec<Vec<u8>> {
    let tree = scan(directory, &Selection::default()).unwrap();
    let bundle = tree.pack(&PackOptions::default(), &|_| ()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let layer = runtime.block_on(async { bundle.open(&bundle.layers()[0]).await.unwrap().read_all().await.unwrap() });
    let mut members = Vec::new();
    let mut rest = &layer[..];
    while !rest.is_empty() {
        let mut decoder = flate2::bufread::GzDecoder::new(rest);
        let mut tar = Vec::new();
        decoder.read_to_end(&mut tar).unwrap();
        rest = decoder.into_inner();
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
