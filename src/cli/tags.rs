//! `bndlr tags`

use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::connect::RegistryArgs;
use super::error::Error;
use super::location::Location;
use super::output::Output;
use crate::content;
use crate::layout::{Archive, Directory};
use crate::reference::{Repository, Tag};

/// List the tags of a repository, or of an image layout
///
/// One on each line, in the order in which the registry has them. However many there are, all are listed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr tags localhost:5000/demo
  bndlr tags oci:layout
  bndlr tags ghcr.io/team/app | sort -V | tail -n 1")]
pub(super) struct Tags {
    /// Which repository
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Tags {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.repository)?;
        let is_more = match &location {
            Location::Registry(_) => self.repository.parse::<Repository>().is_err(),
            Location::Layout(_, identifier) | Location::Archive(_, identifier) => identifier.is_some(),
        };
        if is_more {
            let hint = format!("bndlr resolve {} shows what it points to", self.repository);
            return Err(Error::usage(format!("{} names more than a repository", self.repository)).hint(hint));
        }
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let of_layout = |tags: Vec<Tag>| stream::iter(tags.into_iter().map(Ok)).boxed();
        let tags = match &location {
            Location::Registry(reference) => {
                connection.repository(&reference.repository)?.tags().map_err(content::Error::from).boxed()
            }
            Location::Layout(path, _) => of_layout(Directory::at(path).await?.tags().await?),
            Location::Archive(path, _) => of_layout(Archive::at(path).await?.tags()),
        };
        let listed = output.list(tags, |tags| json!({"repository": location.place(), "tags": tags})).await;
        listed.map_err(|error| error.about(&location))
    }
}
