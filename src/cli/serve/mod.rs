//! `bndlr serve`

mod access;
mod contents;
mod operations;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::json;

use access::AccessArgs;
use contents::Contents;
pub(super) use operations::AccessLog;
use operations::Operations;

use super::error::{Error, Exit};
use super::output::Output;
#[cfg(feature = "object-store")]
use crate::server::storage::{Bucket, BucketError};
use crate::server::storage::{Filesystem, Memory};
use crate::server::{Registry, Server};

/// Run a registry
///
/// Anybody who reaches it may push to it, unless --htpasswd says who may; so it listens on loopback unless told
/// otherwise. Prints its address.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("place").required(true)))]
#[command(after_help = "\
Examples:
  bndlr serve --root /var/lib/bndlr
  bndlr serve --root data --listen 0.0.0.0:5000 --htpasswd users --access rules
  bndlr serve --storage s3://bucket/registry --listen 0.0.0.0:5000 --htpasswd users --token-key key
  bndlr serve --memory --listen 127.0.0.1:0")]
pub(super) struct Serve {
    /// Where to listen; port 0 is any free one. A socket that systemd hands over is used instead
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:5000")]
    listen: SocketAddr,
    /// Keep everything in this directory
    #[arg(long, value_name = "DIR", group = "place")]
    root: Option<PathBuf>,
    /// Keep everything in a bucket: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX. Credentials come
    /// from the environment, as in AWS_ACCESS_KEY_ID
    #[cfg(feature = "object-store")]
    #[arg(long, value_name = "URL", group = "place")]
    storage: Option<String>,
    /// Keep everything in memory, until the program ends
    #[arg(long, group = "place")]
    memory: bool,
    /// Answer requests for this host, too, while listening on loopback (can be repeated)
    #[arg(long = "host", value_name = "HOST[:PORT]")]
    hosts: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
    #[command(flatten)]
    contents: Contents,
    #[command(flatten)]
    operations: Operations,
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
        let registry = self.registry().await?;
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
        for host in self.hosts {
            server = server.allow_host(host);
        }
        if let Some(tls) = tls {
            server = server.tls(tls);
        }
        let address = server.address();
        // Whoever reads the address may end the program at once.
        let interrupted = super::interrupted();
        output.result(&address.to_string(), || json!({"address": address.to_string()}))?;
        server.run(interrupted).await;
        Ok(())
    }

    /// A registry over the storage that was asked for.
    async fn registry(&self) -> Result<Registry, Error> {
        #[cfg(feature = "object-store")]
        if let Some(url) = &self.storage {
            return Ok(Registry::new(Bucket::open(url).await?));
        }
        let Some(root) = &self.root else { return Ok(Registry::new(Memory::new())) };
        let storage = Filesystem::open(root).map_err(|error| {
            Error::new(Exit::Local, format!("cannot keep a registry in {}: {error}", root.display()))
        })?;
        Ok(Registry::new(storage))
    }
}

#[cfg(feature = "object-store")]
impl From<BucketError> for Error {
    fn from(error: BucketError) -> Self {
        let message = format!("cannot keep a registry there: {error}");
        match &error {
            BucketError::Url(_) => Self::usage(message),
            BucketError::Settings { .. } | BucketError::Storage { .. } => Self::new(Exit::Remote, message)
                .hint("the environment says how to reach it: AWS_REGION, AWS_ENDPOINT, AWS_ACCESS_KEY_ID and others"),
            _ => Self::new(Exit::Remote, message),
        }
    }
}
