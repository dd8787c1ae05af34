//! `bndlr token`

use serde_json::json;

use super::connect::RegistryArgs;
use super::error::Error;
use super::output::Output;
use crate::content;
use crate::reference::Registry;

/// Get a token from the token service of a registry, to make requests with
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr token docker.io repository:library/busybox:pull
  bndlr token ghcr.io repository:team/app:pull -u alice --password-stdin < pw")]
pub(super) struct Token {
    /// The registry: host[:port]
    #[arg(value_name = "REGISTRY")]
    host: Registry,
    /// What it is to allow, such as repository:team/app:pull,push or registry:catalog:*
    #[arg(value_name = "SCOPE")]
    scopes: Vec<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Token {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let mut credentials = self.registry.credentials()?;
        if let Some(login) = self.registry.login()? {
            credentials = credentials.with_login(self.host.clone(), login);
        }
        let client = self.registry.client(&self.host, credentials)?;
        let token = client.token(&self.host, &self.scopes).await.map_err(content::Error::from)?;
        output.result(token.expose(), || json!({"registry": self.host.as_str(), "token": token.expose()}))
    }
}
