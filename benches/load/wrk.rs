//! `wrk`, and what it prints.

use std::process::Command;
use std::time::Duration;

use bndlr::manifest::media_type::OCI_MANIFEST;

/// What `wrk` measured.
pub struct Report {
    pub requests: f64,
    pub elapsed: Duration,
    pub p99: Duration,
}

/// Asks for `url` over and over, on `connections` at once.
pub fn run(url: &str, connections: u32, seconds: u64) -> Report {
    // Distribution hands an OCI manifest only to who says that it wants one.
    let accept = format!("Accept: {OCI_MANIFEST}, */*");
    let output = Command::new("wrk")
        .args(["-H", &accept])
        .args(["--latency", "-t2", "--timeout", "30s", &format!("-c{connections}"), &format!("-d{seconds}s"), url])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !text.contains("Non-2xx") && !text.contains("Socket errors"), "{url}: {text}");
    // `12345 requests in 2.00s, 67.89MB read`
    let total = text.lines().find_map(|line| line.trim().split_once(" requests in "));
    let (requests, rest) = total.unwrap_or_else(|| panic!("no total: {text}"));
    let (elapsed, _) = rest.split_once(',').unwrap();
    let p99 = text.lines().find_map(|line| line.trim().strip_prefix("99%")).unwrap();
    Report { requests: requests.parse().unwrap(), elapsed: duration(elapsed), p99: duration(p99.trim()) }
}

/// `12.34ms`
fn duration(text: &str) -> Duration {
    let units = [("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    let (number, unit) = units.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit))).unwrap();
    Duration::from_secs_f64(number.parse::<f64>().unwrap() * unit)
}
