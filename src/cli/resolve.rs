//! `bndlr resolve`

use serde_json::json;

use super::connect::{RegistryArgs, open};
use super::error::Error;
use super::location::Location;
use super::output::Output;

/// Show the digest that a tag points to
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr resolve localhost:5000/demo:v1")]
pub(super) struct Resolve {
    /// What to resolve
    #[arg(value_name = "REFERENCE")]
    reference: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Resolve {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let descriptor = opened.resolve().await?;
        output.result(&descriptor.digest.to_string(), || {
            json!({
                "reference": location.to_string(),
                "digest": descriptor.digest,
                "mediaType": descriptor.media_type,
                "size": descriptor.size,
            })
        })
    }
}
