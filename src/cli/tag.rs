//! `bndlr tag`

use serde_json::json;

use super::connect::{Connection, RegistryArgs, open};
use super::error::Error;
use super::location::Location;
use super::manifest::anything;
use super::output::Output;
use crate::content::{self, Target};
use crate::digest::Digest;
use crate::layout::Directory;
use crate::reference::Tag;

/// Let more tags point to what is there
///
/// No blob is read or sent: the manifest is stored again, byte for byte, under each tag.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr tag localhost:5000/demo:v1.2.3 v1.2 v1 latest
  bndlr tag localhost:5000/demo@sha256:… stable
  bndlr tag oci:layout:v1 v2")]
pub(super) struct TagCommand {
    /// What the tags are to point to
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// The tags
    #[arg(value_name = "TAG", required = true)]
    tags: Vec<Tag>,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl TagCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let digest = tag(&location, &self.tags, &connection).await?;
        let references: Vec<String> = self.tags.iter().map(|tag| format!("{}:{tag}", location.place())).collect();
        output.result(&references.join("\n"), || json!({"digest": digest, "references": references}))
    }
}

async fn tag(location: &Location, tags: &[Tag], connection: &Connection) -> Result<Digest, Error> {
    match location {
        Location::Registry(reference) => {
            let repository = connection.repository(&reference.repository)?;
            let manifest = repository.fetch_manifest(&reference.identifier(), &anything()).await;
            let manifest = manifest.map_err(|error| Error::from(content::Error::from(error)).about(location))?;
            for tag in tags {
                repository.push_manifest(&manifest, &tag.clone().into()).await.map_err(content::Error::from)?;
            }
            Ok(manifest.digest)
        }
        Location::Layout(path, _) => {
            let manifest = open(location, connection).await?.manifest().await?;
            let layout = Directory::at(path).await?;
            for tag in tags {
                layout.tag(&manifest, tag).await?;
            }
            Ok(manifest.digest())
        }
        Location::Archive(..) => Err(Error::usage(format!("{location} is in an archive, which is never changed"))
            .hint("unpack the archive with tar, and name the directory as oci:DIR")),
    }
}
