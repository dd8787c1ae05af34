//! `bndlr build`

use serde_json::json;

use super::cache::CacheUse;
use super::connect::{Connection, subject};
use super::deliver::{Delivery, Destination};
use super::digest_file::DigestFile;
use super::error::Error;
use super::location::Location;
use super::options::PackArgs;
use super::output::Output;

/// Pack a directory into an image layout or an archive, with no registry
///
/// Prints the digest, which is the one that `bndlr push` would push.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr build ./manifests -o oci:layout:v1
  bndlr build ./manifests -o archive:manifests.tar:v1
  bndlr build ./manifests --list")]
pub(super) struct Build {
    #[command(flatten)]
    pack: PackArgs,
    /// Where to write it: oci:DIR[:tag], which is added to, or archive:FILE[:tag], which is replaced
    #[arg(short, long = "output", required_unless_present = "list", value_name = "LOCATION")]
    outputs: Vec<String>,
    #[command(flatten)]
    digest_file: DigestFile,
}

impl Build {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        if self.pack.is_list() {
            return self.pack.list(output).await;
        }
        let locations = self.outputs.iter().map(|text| Location::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let connection = Connection::none();
        if let Some(Location::Registry(reference)) =
            locations.iter().find(|location| matches!(location, Location::Registry(_)))
        {
            connection.repository(&reference.repository)?;
        }
        let destinations = Destination::group(&locations, &self.pack.tags);
        self.digest_file.clear()?;
        let subject = subject(self.pack.subject()?.as_ref(), &connection).await?;
        let bundle = self.pack.pack(subject, CacheUse::ReadAndKeep, output).await?;
        let delivery = Delivery { concurrency: 1, ..Delivery::of(&bundle, bundle.raw_manifest(), &connection) };
        delivery.to(&destinations, output).await?;
        let digest = bundle.raw_manifest().digest();
        self.digest_file.write(digest)?;
        output.result(&digest.to_string(), || {
            let outputs: Vec<_> = destinations.iter().flat_map(Destination::names).collect();
            json!({"digest": digest, "outputs": outputs})
        })
    }
}
