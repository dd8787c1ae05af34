//! The tables that are printed, in Markdown.

use std::time::Duration;

use super::turn::{Cost, Step, Steps, Traffic};

/// What came of a tool on one tree.
pub struct Figures {
    pub tool: &'static str,
    pub costs: Steps<Cost>,
    pub traffic: Steps<Traffic>,
    /// The size of its layers.
    pub layers: u64,
}

impl Figures {
    fn time(&self, step: Step) -> Option<Duration> {
        self.costs[step as usize].map(|cost| cost.time)
    }

    fn traffic(&self, step: Step, which: fn(Traffic) -> u64) -> Option<u64> {
        self.traffic[step as usize].map(which)
    }
}

/// How long each step took, beside how long it took the first tool, and the memory of its largest process.
pub fn costs(all: &[Figures]) {
    let columns = [
        ("push", Step::Push),
        ("push again", Step::Again),
        ("push, one file changed", Step::Changed),
        ("pull", Step::Pull),
        ("update, one file changed", Step::Update),
        ("one file", Step::Cat),
    ];
    let steps = columns.map(|(_, step)| step);
    head(&columns.map(|(name, _)| name));
    for figures in all {
        let cell = |step: Step| {
            let Cost { time, memory } = figures.costs[step as usize]?;
            let (time, first) = (time.as_secs_f64(), all[0].time(step)?.as_secs_f64());
            Some(format!("{time:.3} s ({}), {:.0} MiB", times(time / first), memory as f64 / f64::from(1 << 20)))
        };
        row(figures.tool, &steps.map(cell));
    }
}

/// How many bytes the layers have, and how many went over the wire.
pub fn traffic(all: &[Figures]) {
    head(&["layer", "push sends", "again", "one file changed", "pull receives", "update", "one file"]);
    for figures in all {
        let sent = |step| figures.traffic(step, |traffic| traffic.sent);
        let received = |step| figures.traffic(step, |traffic| traffic.received);
        let sent = [sent(Step::Push), sent(Step::Again), sent(Step::Changed)];
        let received = [received(Step::Pull), received(Step::Update), received(Step::Cat)];
        let cells: Vec<_> = [Some(figures.layers)].into_iter().chain(sent).chain(received).collect();
        row(figures.tool, &cells.into_iter().map(|bytes| bytes.map(kilobytes)).collect::<Vec<_>>());
    }
}

/// What is compared in the end, with a row for each tree.
pub fn summary(trees: &[(&str, Vec<Figures>)]) {
    head(&[
        "push: oras / bndlr",
        "push again: oras / bndlr",
        "push, one file changed: oras / bndlr --split",
        "pull: fastest of oras, imgpkg and crane / bndlr",
        "pull: fastest of all others / bndlr",
        "update: pull by oras / bndlr",
        "layer beside oras's",
        "sent with --split, one file changed",
        "received by update",
        "received for one file",
        "most memory",
    ]);
    for (tree, all) in trees {
        row(tree, &compare(all));
    }
}

fn compare(all: &[Figures]) -> [Option<String>; 11] {
    let of = |name: &str| all.iter().find(|figures| figures.tool == name);
    let (ours, split, oras) = (of("bndlr"), of("bndlr --split"), of("oras"));
    let time = |figures: Option<&Figures>, step| figures?.time(step);
    let ratio =
        |theirs: Option<Duration>, ours: Option<Duration>| Some(times(theirs?.as_secs_f64() / ours?.as_secs_f64()));
    let is_ours = |figures: &&Figures| figures.tool.starts_with("bndlr");
    let peers = || all.iter().filter(|figures| !is_ours(figures));
    let others = peers().filter_map(|peer| peer.time(Step::Pull)).min();
    let named = peers().filter(|peer| ["oras", "imgpkg", "crane + tar"].contains(&peer.tool));
    let named = named.filter_map(|peer| peer.time(Step::Pull)).min();
    let part = |bytes: Option<u64>, figures: Option<&Figures>| {
        Some(format!("{:.2} %", 100.0 * bytes? as f64 / figures?.layers as f64))
    };
    let most =
        all.iter().filter(is_ours).flat_map(|figures| figures.costs.iter().flatten()).map(|cost| cost.memory).max();
    [
        ratio(time(oras, Step::Push), time(ours, Step::Push)),
        ratio(time(oras, Step::Again), time(ours, Step::Again)),
        ratio(time(oras, Step::Changed), time(split, Step::Changed)),
        ratio(named, time(ours, Step::Pull)),
        ratio(others, time(ours, Step::Pull)),
        ratio(time(oras, Step::Pull), time(ours, Step::Update)),
        ours.zip(oras).map(|(ours, oras)| format!("{:+.2} %", 100.0 * (ours.layers as f64 / oras.layers as f64 - 1.0))),
        part(split.and_then(|split| split.traffic(Step::Changed, |traffic| traffic.sent)), split),
        part(ours.and_then(|ours| ours.traffic(Step::Update, |traffic| traffic.received)), ours),
        part(ours.and_then(|ours| ours.traffic(Step::Cat, |traffic| traffic.received)), ours),
        most.map(|bytes| format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20))),
    ]
}

fn times(ratio: f64) -> String {
    if ratio < 9.95 { format!("{ratio:.1}x") } else { format!("{ratio:.0}x") }
}

/// `12,345 kB`, or `1.2 kB` where there are few.
fn kilobytes(bytes: u64) -> String {
    match bytes.div_ceil(1000) {
        ..100 => format!("{:.1} kB", bytes as f64 / 1e3),
        whole @ 100..1000 => format!("{whole} kB"),
        whole @ 1000..1_000_000 => format!("{},{:03} kB", whole / 1000, whole % 1000),
        whole => format!("{},{:03},{:03} kB", whole / 1_000_000, whole / 1000 % 1000, whole % 1000),
    }
}

fn head(names: &[&str]) {
    println!("\n| | {} |", names.join(" | "));
    println!("|---{}|", "|---".repeat(names.len()));
}

/// A row, with a dash for what there is not.
fn row(first: &str, cells: &[Option<String>]) {
    let cells: Vec<&str> = cells.iter().map(|cell| cell.as_deref().unwrap_or("-")).collect();
    println!("| {first} | {} |", cells.join(" | "));
}
