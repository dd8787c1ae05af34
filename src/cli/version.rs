//! `bndlr version`

use serde_json::json;

use super::error::Error;
use super::output::Output;
use crate::bundle::annotation::FORMAT_VERSION;

/// Show the version of this program and of the bundle format.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr version
  bndlr version --format json")]
pub(super) struct Version {}

impl Version {
    #[expect(clippy::unused_self, reason = "a command runs as all others do")]
    pub(super) fn run(self, output: &Output) -> Result<(), Error> {
        let version = env!("CARGO_PKG_VERSION");
        output.result(
            &format!("bndlr {version}, bundle format {FORMAT_VERSION}"),
            || json!({"version": version, "format": FORMAT_VERSION}),
        )
    }
}
