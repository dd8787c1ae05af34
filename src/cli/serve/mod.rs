//! `bndlr serve`

mod access;
mod contents;
mod operations;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::json;

use access::AccessArgs;
use contents::Contents;
pub(super) use operations::AccessLog;
use operations::Operations;
use upkeep::Garbage;

use super::error::{Error, Exit};
use super::output::Output;
use super::storage::Place;
use crate::server::repositories::Repositories;
use crate::server::storage::Memory;
use crate::server::{Registry, Server};

/// Run a registry
///
/// Anybody who reaches it may push to it, unless --htpasswd says who may; so it listens on loopback unless told
/// otherwise. Prints its address.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr serve --root /var/lib/bndlr
  bndlr serve --root data --listen 0.0.0.0:5000 --htpasswd users --access rules
  bndlr serve --storage s3://bucket/registry --htpasswd users --token-key key
  bndlr serve --memory --listen 127.0.0.1:0")]
pub(super) struct Serve {
    /// Where to listen; port 0 is any free one. A socket that systemd hands over is used instead
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    #[command(flatten)]
    place: Place,
    /// Keep everything in memory, until the program ends
    #[arg(long, group = "place")]
    memory: bool,
    /// Answer requests for this host, too, while listening on loopback (can be repeated)
    #[arg(long = "host", value_name = "HOST[:PORT]", value_parser = host)]
    hosts: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    contents: Contents,
    #[command(flatten)]
    garbage: Garbage,
    #[command(flatten)]
    operations: Operations,
}

/// What a `Host` header can have in it.
fn host(text: &str) -> Result<String, String> {
    let is_host = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "/@?#".contains(c));
    if is_host { Ok(text.to_owned()) } else { Err("expected HOST[:PORT], such as registry.example".to_owned()) }
}

impl Serve {
    pub(super) fn access_log(&self) -> AccessLog {
        self.operations.access_log
    }

    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let handed_over = operations::handed_over()
            .map_err(|error| Error::new(Exit::Local, format!("cannot use the socket in LISTEN_FDS: {error}")))?;
        let listen = match &handed_over {
            Some(listener) => listener.local_addr().map_err(|error| {
                Error::new(Exit::Local, format!("cannot find out the address of the socket in LISTEN_FDS: {error}"))
            })?,
            None => self.listen,
        };
        self.access.check_address(listen, self.contents.is_read_only())?;
        let (auth, tls) = (self.access.auth()?, self.access.tls()?);
        let storage = self.place.open().await?.unwrap_or_else(|| Arc::new(Memory::new()));
        let registry = Registry::over(Repositories::new(storage));
        let mut registry = self.contents.apply(registry).limits(self.operations.limits());
        if let Some(auth) = auth {
            registry = registry.auth(auth);
        }
        let cannot_listen = |error| {
            Error::new(Exit::Local, format!("cannot listen on {listen}: {error}"))
                .hint("is another registry running there? --listen 127.0.0.1:0 takes any free port")
        };
        let server = match handed_over {
            Some(listener) => Server::on(listener, registry),
            None => Server::bind(listen, registry).await,
        };
        let mut server = self.operations.configure(server.map_err(cannot_listen)?);
        if !self.contents.is_read_only() {
            server = self.garbage.configure(server);
        }
        for host in self.hosts {
            server = server.allow_host(host);
        }
        if let Some(tls) = tls {
            server = server.tls(tls);
        }
        let address = server.address();
        // Whoever reads the address may end the program at once.
        let interrupted = super::interrupt::interrupted();
        output.result(&address.to_string(), || json!({"address": address.to_string()}))?;
        server.run(interrupted).await;
        Ok(())
    }
}
