//! The table that is printed.

use super::measure::Sample;

pub fn head() {
    println!(
        "{:<20} {:<8} {:>10} {:>8} {:>10} {:>12} {:>9}",
        "what", "server", "per second", "MB/s", "p99 ms", "CPU ms each", "peak MiB"
    );
}

/// A row for ours, one for the peer's, and how many times as much ours is.
pub fn rows(name: &str, [ours, peers]: [Sample; 2]) {
    for (server, sample) in [("bndlr", ours), ("peer", peers)] {
        println!(
            "{:<20} {:<8} {:>10.1} {:>8.1} {:>10.2} {:>12.3} {:>9.1}",
            name,
            server,
            sample.rate,
            sample.bytes_per_second / 1e6,
            sample.p99.as_secs_f64() * 1e3,
            sample.cpu.as_secs_f64() * 1e3,
            sample.peak as f64 / f64::from(1 << 20)
        );
    }
    let cpu = peers.cpu.as_secs_f64() / ours.cpu.as_secs_f64().max(1e-9);
    println!("{:<20} {:<8} {:>9.2}x {:>29} {:>11.2}x", name, "ratio", ours.rate / peers.rate, "", cpu);
}
