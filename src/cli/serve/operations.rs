//! Flags for who runs a registry: what clients may take of it, how it stops, what it logs.

use std::time::Duration;

use clap::{ValueEnum, value_parser};

use crate::server::{Limits, Server};

/// Flags for who runs a registry.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Operations")]
pub(super) struct Operations {
    /// Write a line for each request to standard error
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(super) access_log: AccessLog,
    /// How many connections are served at once
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections, value_parser = at_least_one)]
    max_connections: usize,
    /// How many requests may send blobs at once; others wait a while, and are then told to come back
    #[arg(long, value_name = "N", default_value_t = Limits::default().uploads, value_parser = at_least_one)]
    max_uploads: usize,
    /// How long a client may be waited for that sends or takes less than 1 KiB a second
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().idle_timeout.as_secs(), value_parser = value_parser!(u64).range(1..))]
    idle_timeout: u64,
    /// How long running requests may take to end after SIGTERM or SIGINT
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    shutdown_timeout: u64,
}

/// How requests are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum AccessLog {
    /// Not at all
    #[default]
    Off,
    /// As text
    Text,
    /// As a JSON document on each line
    Json,
}

/// With none, nobody is ever served.
fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..) => Ok(number),
        _ => Err("expected a number from 1 on".to_owned()),
    }
}

impl Operations {
    pub(super) fn limits(&self) -> Limits {
        Limits {
            connections: self.max_connections,
            requests: self.max_connections.max(Limits::default().requests),
            uploads: self.max_uploads,
            idle_timeout: Duration::from_secs(self.idle_timeout),
            ..Limits::default()
        }
    }

    pub(super) fn configure(&self, server: Server) -> Server {
        server.grace(Duration::from_secs(self.shutdown_timeout))
    }
}

/// The listening socket that systemd hands over (`LISTEN_FDS`, sd_listen_fds(3)), if it does.
pub(super) fn handed_over() -> std::io::Result<Option<std::net::TcpListener>> {
    listenfd::ListenFd::from_env().take_tcp_listener(0)
}
