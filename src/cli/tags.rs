//! `bndlr tags`

use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;

use super::connect::{Connection, RegistryArgs};
use super::error::Error;
use super::location::Location;
use super::output::Output;
use super::settings;
use crate::content;
use crate::layout::{Archive, Directory};
use crate::reference::{Repository, Tag};

/// How many tags are looked at for one that was meant.
const MAX_COMPARED: usize = 1000;
/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// How many letters may be wrong in a tag.
const MAX_TYPOS: usize = 3;

/// Tags, as they come.
pub(super) type TagStream = BoxStream<'static, Result<Tag, content::Error>>;

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
        let whole = settings::expand(&self.repository);
        let is_more = match &location {
            Location::Registry(_) => whole.as_ref().unwrap_or(&self.repository).parse::<Repository>().is_err(),
            Location::Layout(_, identifier) | Location::Archive(_, identifier) => identifier.is_some(),
        };
        if is_more {
            let hint = format!("bndlr resolve {} shows what it points to", self.repository);
            return Err(Error::usage(format!("{} names more than a repository", self.repository)).hint(hint));
        }
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let tags = at(&location, &connection).await?;
        let listed = output.list(tags, |tags| json!({"repository": location.place(), "tags": tags})).await;
        listed.map_err(|error| error.about(&location))
    }
}

/// The tags that there are at `location`, as they come.
pub(super) async fn at(location: &Location, connection: &Connection) -> Result<TagStream, Error> {
    let of_layout = |tags: Vec<Tag>| stream::iter(tags.into_iter().map(Ok)).boxed();
    Ok(match location {
        Location::Registry(reference) => {
            connection.repository(&reference.repository)?.tags().map_err(content::Error::from).boxed()
        }
        Location::Layout(path, _) => of_layout(Directory::at(path).await?.tags().await?),
        Location::Archive(path, _) => of_layout(Archive::at(path).await?.tags()),
    })
}

/// The tag there that is written nearly as `tag` is. Where they cannot be listed, and soon, there is none.
pub(super) async fn near(location: &Location, tag: &Tag, connection: &Connection) -> Option<Tag> {
    let listed = async { at(location, connection).await.ok()?.take(MAX_COMPARED).try_collect::<Vec<_>>().await.ok() };
    let tags = tokio::time::timeout(PATIENCE, listed).await.ok()??;
    let allowed = MAX_TYPOS.min(tag.as_str().len() / 2).max(1);
    let ranked = tags.into_iter().map(|other| (strsim::osa_distance(tag.as_str(), other.as_str()), other));
    let near = ranked.filter(|(typos, _)| *typos <= allowed);
    near.min_by(|(one, a), (two, b)| (one, a.as_str()).cmp(&(two, b.as_str()))).map(|(_, tag)| tag)
}
