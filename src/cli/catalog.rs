//! `bndlr catalog`

use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::connect::RegistryArgs;
use super::error::{Error, Exit};
use super::output::Output;
use crate::content;
use crate::reference::Registry;

/// List the repositories of a registry
///
/// One on each line. Not every registry lists its repositories, and Docker Hub does not; most list those that you may see.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr catalog localhost:5000
  bndlr catalog localhost:5000 | xargs -n 1 bndlr tags")]
pub(super) struct Catalog {
    /// Which registry
    #[arg(value_name = "HOST")]
    host: Registry,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Catalog {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let mut credentials = self.registry.credentials()?;
        if let Some(login) = self.registry.login()? {
            credentials = credentials.with_login(self.host.clone(), login);
        }
        let client = self.registry.client(&self.host, credentials)?;
        let repositories = client.catalog(&self.host).map_err(content::Error::from)?;
        let repositories = repositories.map_err(content::Error::from).boxed();
        let json = |repositories| json!({"registry": self.host.to_string(), "repositories": repositories});
        output.list(repositories, json).await.map_err(|error| match error.exit {
            Exit::NotFound | Exit::Denied if error.hint.is_none() => {
                error.hint("not every registry lists its repositories")
            }
            _ => error,
        })
    }
}
