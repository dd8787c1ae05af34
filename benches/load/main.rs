//! How much a registry serves and takes, beside CNCF Distribution's in the same run.
//!
//! `cargo bench --bench load -- [--rounds N] [--seconds N] [DIRECTORY…]` keeps both registries' roots in each of the
//! directories: without one, in `/dev/shm`, which is memory, and in Cargo's target directory, which is usually a disk.
//! Both run on loopback, take turns, and get the same bytes from the same clients: `wrk` for what is served, and a small
//! one of our own for what is pushed. It prints medians. Measure on a quiet machine.

#![expect(clippy::cast_precision_loss, reason = "rates need no 53 bits")]

mod client;
mod measure;
mod process;
mod table;
mod wrk;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use measure::{Case, Sample};
use process::Server;

/// What is asked for on the command line.
struct Options {
    rounds: usize,
    seconds: u64,
    directories: Vec<PathBuf>,
}

impl Options {
    fn parse() -> Self {
        let mut options = Self { rounds: 3, seconds: 2, directories: Vec::new() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let number = |value: Option<String>| value.and_then(|value| value.parse().ok()).expect("a number");
            match argument.as_str() {
                "--rounds" => options.rounds = number(arguments.next()) as usize,
                "--seconds" => options.seconds = number(arguments.next()),
                // Cargo says so.
                "--bench" => {}
                directory => options.directories.push(directory.into()),
            }
        }
        if options.directories.is_empty() {
            options.directories = vec!["/dev/shm".into(), env!("CARGO_TARGET_TMPDIR").into()];
        }
        options
    }
}

fn main() -> ExitCode {
    let missing: Vec<&str> =
        ["wrk", "docker-registry"].into_iter().filter(|name| process::find(name).is_none()).collect();
    if !missing.is_empty() {
        eprintln!("missing: {} (in Debian, packages of these names)", missing.join(", "));
        return ExitCode::FAILURE;
    }
    let options = Options::parse();
    for directory in &options.directories {
        compare(directory, &options);
    }
    ExitCode::SUCCESS
}

/// Runs every case against both, in turns, and prints a table.
fn compare(directory: &Path, options: &Options) {
    let servers = [Server::ours(directory), Server::peers(directory)];
    let blobs = servers.each_ref().map(measure::Blobs::push);
    println!("\n{} ({}), {} rounds", directory.display(), process::file_system(directory), options.rounds);
    table::head();
    for case in Case::ALL {
        let mut samples: [Vec<Sample>; 2] = [Vec::new(), Vec::new()];
        for _ in 0..options.rounds {
            for ((server, blobs), samples) in servers.iter().zip(&blobs).zip(&mut samples) {
                samples.push(case.run(server, blobs, options.seconds));
            }
        }
        table::rows(case.name(), samples.map(Sample::median));
    }
}
