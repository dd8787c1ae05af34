//! `bndlr pull`

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;

use super::connect::{RegistryArgs, open};
use super::error::Error;
use super::location::Location;
use super::output::{Output, size};
use super::progress::Progress;
use crate::content;
use crate::manifest::Platform;
use crate::unpack::{Limits, UnpackOptions, unpack};

/// Fetch a bundle, or any image, verify it, and unpack it
///
/// The directory must not exist or be empty. It appears with everything in it, or not at all. Prints the directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr pull localhost:5000/demo:v1
  bndlr pull ghcr.io/team/app:v1.2.3 -o /srv/app
  bndlr pull archive:manifests.tar -o ./manifests")]
pub(super) struct Pull {
    /// What to pull
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Where to unpack it; otherwise into ./<last part of the repository>
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Which image of an image index to take; otherwise the one for this machine's processor
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// How many bytes the files may have together, so that a small archive cannot fill the disk
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().bytes)]
    max_bytes: u64,
    /// How many entries the layers may have together
    #[arg(long, value_name = "N", default_value_t = Limits::default().entries)]
    max_entries: u64,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Pull {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let directory = self.output.unwrap_or_else(|| PathBuf::from(".").join(location.directory_name()));
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let manifest = opened.image(self.platform.as_ref()).await?;
        output.say(format!("Pulling {location} with digest {}", manifest.digest()));
        let verb = if matches!(location, Location::Registry(_)) { "Downloading" } else { "Reading" };
        let limits = Limits { entries: self.max_entries, bytes: self.max_bytes };
        let options = UnpackOptions { limits, observer: Arc::new(Progress::new(output, verb)) };
        let unpacked = unpack(&*opened.images, &manifest, &directory, &options).await.map_err(content::Error::from)?;
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
