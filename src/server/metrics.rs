//! What a registry counts, in the text format of Prometheus. The labels have few values, whatever clients send: no
//! names of repositories, no paths.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};

use super::collect::{self, Freed};
use super::page;
use crate::protocol::Endpoint;

/// The upper bounds of the histogram of durations, in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0];

/// The content type of the text format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What one registry counts.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    answers: Mutex<BTreeMap<Kind, Durations>>,
    received: AtomicU64,
    sent: AtomicU64,
    collected: Mutex<Collected>,
    /// Each open connection has a clone.
    connections: Arc<()>,
}

/// What garbage collections came to, those among them that only ended uploads, too.
#[derive(Debug, Default)]
struct Collected {
    done: u64,
    /// Those that have kept a repository as it is, because something there is damaged.
    damaged: u64,
    failed: u64,
    freed: Freed,
}

/// What kind of request was answered how.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    endpoint: &'static str,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Default)]
struct Durations {
    count: u64,
    sum: Duration,
    /// Those up to each of [`BUCKETS`].
    buckets: [u64; BUCKETS.len()],
}

impl Metrics {
    /// Counts an answer whose last byte has been sent.
    pub(super) fn answered(
        &self,
        endpoint: &'static str,
        method: &Method,
        status: StatusCode,
        took: Duration,
        sent: u64,
    ) {
        self.sent.fetch_add(sent, Ordering::Relaxed);
        let kind = Kind { endpoint, method: method_label(method), status: status.as_u16() };
        // Each entry is whole at any time.
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = answers.entry(kind).or_default();
        durations.count += 1;
        durations.sum += took;
        for (bucket, bound) in durations.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(took.as_secs_f64() <= bound);
        }
    }

    /// Counts bytes of a request's body.
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts a garbage collection, and what it freed unless it failed.
    pub(super) fn collected(&self, came_to: Option<&collect::Collected>) {
        // Each number is right on its own.
        let mut collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        match came_to {
            None => collected.failed += 1,
            Some(collect::Collected { freed, damaged }) => {
                collected.done += u64::from(damaged.is_empty());
                collected.damaged += u64::from(!damaged.is_empty());
                collected.freed += *freed;
            }
        }
    }

    /// Counts a connection, until what this returns is dropped.
    pub(super) fn connection(&self) -> Arc<()> {
        Arc::clone(&self.connections)
    }

    /// All there is, and how many uploads are running.
    pub(super) fn text(&self, uploads: usize) -> String {
        let mut text = String::new();
        // A string takes whatever is written to it.
        let _ = self.write(&mut text, uploads);
        text
    }

    fn write(&self, text: &mut String, uploads: usize) -> fmt::Result {
        self.write_answers(text)?;
        let connections = Arc::strong_count(&self.connections) - 1;
        for (name, kind, help, value) in [
            (
                "received_bytes_total",
                "counter",
                "Bytes of the bodies of requests",
                self.received.load(Ordering::Relaxed),
            ),
            ("sent_bytes_total", "counter", "Bytes of the bodies of answers", self.sent.load(Ordering::Relaxed)),
            ("connections", "gauge", "Connections that are open", connections as u64),
            ("uploads", "gauge", "Requests that are sending parts of blobs", uploads as u64),
        ] {
            head(text, name, kind, help)?;
            writeln!(text, "bndlr_{name} {value}")?;
        }
        self.write_collected(text)?;
        head(text, "build_info", "gauge", "Which version this is")?;
        writeln!(text, "bndlr_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"))
    }

    fn write_collected(&self, text: &mut String) -> fmt::Result {
        let collected = self.collected.lock().unwrap_or_else(PoisonError::into_inner);
        let Collected { done, damaged, failed, freed } = &*collected;
        head(text, "collections_total", "counter", "Garbage collections that have ended")?;
        writeln!(text, "bndlr_collections_total{{result=\"done\"}} {done}")?;
        writeln!(text, "bndlr_collections_total{{result=\"damaged\"}} {damaged}")?;
        writeln!(text, "bndlr_collections_total{{result=\"failed\"}} {failed}")?;
        for (name, help, value) in [
            ("collected_manifests_total", "Manifests that collections have removed", freed.manifests),
            ("collected_blobs_total", "Blobs that collections have removed", freed.blobs),
            ("collected_uploads_total", "Upload sessions that collections have ended", freed.uploads),
            ("collected_bytes_total", "Bytes that collections have freed", freed.bytes),
        ] {
            head(text, name, "counter", help)?;
            writeln!(text, "bndlr_{name} {value}")?;
        }
        Ok(())
    }

    fn write_answers(&self, text: &mut String) -> fmt::Result {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        head(text, "requests_total", "counter", "Requests that were answered")?;
        for (kind, durations) in &*answers {
            writeln!(text, "bndlr_requests_total{{{kind}}} {}", durations.count)?;
        }
        let name = "request_duration_seconds";
        head(text, name, "histogram", "From the headers of a request to the last byte of its answer")?;
        for (kind, Durations { count, sum, buckets }) in &*answers {
            for (bucket, bound) in buckets.iter().zip(BUCKETS) {
                writeln!(text, "bndlr_{name}_bucket{{{kind},le=\"{bound}\"}} {bucket}")?;
            }
            writeln!(text, "bndlr_{name}_bucket{{{kind},le=\"+Inf\"}} {count}")?;
            writeln!(text, "bndlr_{name}_sum{{{kind}}} {}", sum.as_secs_f64())?;
            writeln!(text, "bndlr_{name}_count{{{kind}}} {count}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { endpoint, method, status } = self;
        write!(f, "method=\"{method}\",endpoint=\"{endpoint}\",status=\"{status}\"")
    }
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(text, "# HELP bndlr_{name} {help}.\n# TYPE bndlr_{name} {kind}")
}

/// A client may send any word as a method.
fn method_label(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| method == known).unwrap_or("other")
}

/// What a path is, without the names in it.
pub(super) fn endpoint_label(path: &str, named: Option<&Endpoint>) -> &'static str {
    match (path, named) {
        ("/healthz", _) => "healthz",
        ("/metrics", _) => "metrics",
        _ if page::is_address(path) => "page",
        (_, Some(Endpoint::Base)) => "base",
        (_, Some(Endpoint::Blob(..))) => "blob",
        (_, Some(Endpoint::Uploads(_))) => "uploads",
        (_, Some(Endpoint::Upload(..))) => "upload",
        (_, Some(Endpoint::Manifest(..))) => "manifest",
        (_, Some(Endpoint::Tags(_))) => "tags",
        (_, Some(Endpoint::Referrers(..))) => "referrers",
        (_, Some(Endpoint::Catalog)) => "catalog",
        (_, None) => "other",
    }
}
