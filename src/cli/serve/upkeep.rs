//! What goes by itself: the arguments of `bndlr serve` about garbage.

use std::time::Duration;

use super::super::duration;
use crate::server::collect::Options;
use crate::server::{Server, Upkeep};

/// What goes by itself.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Garbage collection")]
pub(super) struct Garbage {
    /// Collect garbage when it starts and again so often, as "bndlr gc" does
    #[arg(long, value_name = "DURATION", value_parser = duration::interval, conflicts_with = "read_only")]
    gc_interval: Option<Duration>,
    /// Keep what was pushed, mounted or asked for less than this ago; it has to be longer than a push takes
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse, requires = "gc_interval")]
    gc_grace: Duration,
    /// Keep manifests that no tag leads to
    #[arg(long, requires = "gc_interval")]
    gc_keep_untagged: bool,
    /// End uploads that nobody has gone on with for so long, whether garbage is collected or not
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    upload_timeout: Duration,
}

impl Garbage {
    pub(super) fn configure(&self, server: Server) -> Server {
        let upkeep = match self.gc_interval {
            None => Upkeep::end_uploads(self.upload_timeout),
            Some(interval) => Upkeep::collect(
                interval,
                Options {
                    grace: self.gc_grace,
                    keep_untagged: self.gc_keep_untagged,
                    upload_timeout: self.upload_timeout,
                },
            ),
        };
        server.upkeep(upkeep)
    }
}
