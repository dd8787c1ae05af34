//! How long it takes to publish a directory and to get it back, beside the programs that people do it with today.
//!
//! `cargo bench --bench peers -- [--quick] [--rounds N] [--trees NAME,…] [--tools NAME,…] [--directory DIR] [--line
//! MS,MB]` makes trees of files, the same on every machine, and lets each tool that is on `PATH` push them, push them
//! again, pull them, and so on, to and from CNCF Distribution's registry on loopback. All of it lies in `/dev/shm`, which
//! is memory, or in the directory that is named. The tools take turns, and each turn begins with an empty registry and
//! empty caches. Times are of whole processes, medians; memory is the most that one of them had; bytes are counted in a
//! turn of their own. What is pulled is held against what was pushed. It prints tables in Markdown, each when its tree is
//! done. All of it takes half an hour; `--quick` a minute, with the first two trees, once. `--line 20,10` puts the
//! registry at the end of a line with round trips of 20 ms, on which each connection gets 10 MB a second. Measure on a
//! quiet machine.

#![expect(clippy::cast_precision_loss, reason = "ratios need no 53 bits")]

#[path = "../load/process.rs"]
#[allow(dead_code, reason = "of the servers and what they cost, one server is needed here")]
mod process;
mod table;
mod tools;
#[path = "../trees/mod.rs"]
mod trees;
mod turn;
mod wire;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use table::Figures;
use tools::Tool;
use trees::Tree;
use turn::{Cost, Step, Steps, Subject, Turn};
use wire::Line;

/// The program that is measured.
const BNDLR: &str = env!("CARGO_BIN_EXE_bndlr");

const TREES: [(&str, &str, Tree); 5] = [
    ("manifests", "100 manifests, 6 MB", Tree::Manifests),
    ("charts", "4,000 files like charts, 67 MB", Tree::Charts),
    ("source", "12,000 files of source, 230 MB", Tree::Source),
    ("tiny", "20,000 tiny files, 31 MB", Tree::Tiny),
    ("large", "one file of 1 GiB, random", Tree::Large(1 << 30)),
];

/// What is asked for on the command line.
struct Options {
    rounds: usize,
    trees: Vec<String>,
    tools: Vec<String>,
    directory: PathBuf,
    line: Option<Line>,
}

impl Options {
    fn parse() -> Self {
        let mut options =
            Self { rounds: 3, trees: Vec::new(), tools: Vec::new(), directory: "/dev/shm".into(), line: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value"));
            let names = |list: String| list.split(',').map(str::to_owned).collect();
            match argument.as_str() {
                "--quick" => (options.rounds, options.trees) = (1, vec!["manifests".to_owned(), "charts".to_owned()]),
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--trees" => options.trees = names(value()),
                "--tools" => options.tools = names(value()),
                "--directory" => options.directory = value().into(),
                "--line" => options.line = Some(line(&value()).expect("milliseconds, a comma, and megabytes a second")),
                // Cargo says so.
                "--bench" => {}
                other => panic!("what is {other}?"),
            }
        }
        let is_known = |wanted: &String| TREES.iter().any(|(name, ..)| name == wanted);
        assert!(options.trees.iter().all(is_known), "the trees are manifests, charts, source, tiny, large");
        options
    }
}

fn line(text: &str) -> Option<Line> {
    let (milliseconds, megabytes) = text.split_once(',')?;
    let rate = megabytes.parse::<u32>().ok()?.checked_mul(1_000_000)?;
    Some(Line { round_trip: Duration::from_millis(milliseconds.parse().ok()?), rate })
}

fn main() -> ExitCode {
    let missing: Vec<&str> =
        ["docker-registry", "time"].into_iter().filter(|name| process::find(name).is_none()).collect();
    if !missing.is_empty() {
        eprintln!("missing: {} (in Debian, packages of these names)", missing.join(", "));
        return ExitCode::FAILURE;
    }
    let options = Options::parse();
    let tools = Tool::find(&options.tools);
    caption(&options, &tools);
    let mut trees = Vec::new();
    for (name, title, tree) in TREES {
        if options.trees.is_empty() || options.trees.iter().any(|wanted| wanted == name) {
            println!("\n### {title}");
            let figures = measure(tree, &tools, &options);
            table::costs(&figures);
            table::traffic(&figures);
            trees.push((title, figures));
        }
    }
    println!("\n### In short");
    table::summary(&trees);
    ExitCode::SUCCESS
}

/// On what machine this is, and with what.
fn caption(options: &Options, tools: &[Tool]) {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let programs: BTreeSet<String> = tools.iter().flat_map(Tool::versions).chain([tools::registry()]).collect();
    println!("{cores} cores, {}", model.trim_start_matches([' ', '\t', ':']));
    println!("{}: {}", options.directory.display(), process::file_system(&options.directory));
    println!("{} rounds", options.rounds);
    if let Some(Line { round_trip, rate }) = options.line {
        println!("a line with round trips of {round_trip:?} and {rate} bytes a second for each connection");
    }
    println!("{}", programs.into_iter().collect::<Vec<_>>().join(", "));
}

fn measure(tree: Tree, tools: &[Tool], options: &Options) -> Vec<Figures> {
    let subject = Subject::make(tree, &options.directory);
    let mut costs: Vec<Vec<Steps<Cost>>> = tools.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        for (tool, costs) in tools.iter().zip(&mut costs) {
            costs.push(Turn::new(tool, &subject, &options.directory, options.line).costs());
        }
    }
    let figures = |(tool, costs): (&Tool, Vec<_>)| {
        let (traffic, layers) = Turn::new(tool, &subject, &options.directory, None).traffic();
        Figures { tool: tool.name, costs: Step::ALL.map(|step| median(&costs, step)), traffic, layers }
    };
    tools.iter().zip(costs).map(figures).collect()
}

/// The time in the middle, and the most memory.
fn median(rounds: &[Steps<Cost>], step: Step) -> Option<Cost> {
    let costs: Vec<Cost> = rounds.iter().filter_map(|costs| costs[step as usize]).collect();
    let mut times: Vec<_> = costs.iter().map(|cost| cost.time).collect();
    times.sort_unstable();
    let memory = costs.iter().map(|cost| cost.memory).max()?;
    Some(Cost { time: times[times.len() / 2], memory })
}
