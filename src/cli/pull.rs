//! `bndlr pull`

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::connect::{RegistryArgs, open};
use super::error::Error;
use super::location::Location;
use super::options::ImageArgs;
use super::output::{Output, size};
use super::progress::Progress;
use crate::content;
use crate::unpack::{Include, UnpackOptions, unpack, unpack_part};

/// Fetch a bundle, or any image, verify it, and unpack it
///
/// The directory must not exist or be empty. It appears with everything in it, or not at all. Prints the directory.
///
/// With --include, only what matches is unpacked, in the directories that it is in; of a bundle, only that is fetched.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr pull localhost:5000/demo:v1
  bndlr pull ghcr.io/team/app:v1.2.3 -o /srv/app
  bndlr pull archive:manifests.tar -o ./manifests
  bndlr pull localhost:5000/demo:v1 -o ./crds --include '*.crd.yaml'
  bndlr pull localhost:5000/demo:v1 -o ./base --include /base --include '!*.md'")]
pub(super) struct Pull {
    /// What to pull
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Where to unpack it; otherwise into ./<last part of the repository>
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Unpack only what matches, in git's syntax, relative to the top: of a directory all that is in it (can be repeated)
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Pull {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let directory = self.output.map_or_else(|| location.directory_name(), Ok)?;
        let patterns = self.include.iter().map(String::as_str);
        let include = (!self.include.is_empty()).then(|| Include::new(patterns)).transpose().map_err(Error::usage)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let manifest = opened.image(self.image.platform()).await?;
        output.say(format!("Pulling {location} with digest {}", manifest.digest()));
        let verb = if matches!(location, Location::Registry(_)) { "Downloading" } else { "Reading" };
        let limits = self.image.limits();
        let options = UnpackOptions { limits, observer: Arc::new(Progress::new(output, verb)) };
        let unpacked = match include {
            Some(include) => unpack_part(&*opened.images, &manifest, &directory, &include, &options).await,
            None => unpack(&*opened.images, &manifest, &directory, &options).await,
        };
        let unpacked = unpacked.map_err(content::Error::from)?;
        let directory = directory.display().to_string();
        output.say(format!(
            "Pulled {} ({}) into {directory}",
            super::output::count(unpacked.files as usize, "file"),
            size(unpacked.bytes)
        ));
        output.result(&directory, || {
            json!({
                "reference": location.to_string(),
                "digest": manifest.digest(),
                "directory": directory,
                "files": unpacked.files,
                "bytes": unpacked.bytes,
                "bytesFetched": unpacked.bytes_fetched + manifest.bytes().len() as u64,
                "result": "pulled",
            })
        })
    }
}
