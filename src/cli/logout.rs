//! `bndlr logout`

use std::path::PathBuf;

use serde_json::json;

use super::error::Error;
use super::output::Output;
use crate::content;
use crate::remote::{Account, Credentials};

/// Forget the user and the password that are stored for a registry
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr logout ghcr.io")]
pub(super) struct Logout {
    /// The registry, or the part of it that was logged in to: host[:port][/path]
    #[arg(value_name = "REGISTRY")]
    account: Account,
    /// Where credentials are, in the form of Docker's config.json; otherwise where Docker and Podman keep them
    #[arg(long, value_name = "FILE", help_heading = "Registry")]
    registry_config: Option<PathBuf>,
}

impl Logout {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let Self { account, registry_config } = self;
        let credentials = registry_config.map_or_else(Credentials::from_environment, Credentials::from_file);
        let place = credentials.forget(&account).await.map_err(content::Error::from)?;
        match &place {
            Some(place) => output.say(format!("Logged out of {account}: {place} has nothing for it any more")),
            None => output.say(format!("Not logged in to {account}")),
        }
        // Docker and Podman have places of their own, which are theirs to change.
        let left = credentials.place(&account).await.map_err(content::Error::from)?;
        if let Some(left) = &left {
            output.warn(format!("there are still credentials for {account} in {left}"));
        }
        output.result("", || {
            json!({
                "registry": account.to_string(),
                "loggedOut": place.is_some(),
                "left": left.map(|left| left.file),
            })
        })
    }
}
