//! `bndlr pull`

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::json;

use super::connect::{RegistryArgs, open};
use super::error::Error;
use super::home::base_directory;
use super::location::Location;
use super::options::ImageArgs;
use super::output::{Output, count, size};
use super::progress::Progress;
use crate::content;
use crate::unpack::{
    Include, LocalChange, Outcome, States, UnpackOptions, UpdateOptions, Updated, are_within, check_vacant, unpack,
    unpack_part, update,
};

/// How many local changes are named that have been discarded.
const NAMED: usize = 100;

/// Fetch a bundle, or any image, verify it, and unpack it
///
/// The directory must not exist or be empty. It appears with everything in it, or not at all. Prints the directory.
///
/// With --include, only what matches is unpacked, in the directories that it is in; of a bundle, only that is fetched.
///
/// With --update, a directory that an image was pulled to becomes what this one has: only what differs is fetched, files that
/// stay the same are not touched, and what the image does not have is removed. What has been changed there since is not
/// overwritten without --force. What was pulled where is kept in bndlr in $XDG_STATE_HOME or ~/.local/state.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr pull localhost:5000/demo:v1
  bndlr pull ghcr.io/team/app:v1.2.3 -o /srv/app
  bndlr pull archive:manifests.tar -o ./manifests
  bndlr pull localhost:5000/demo:v2 -o ./copy --update
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
    /// Bring the directory up to date, if something was pulled to it before
    #[arg(long, conflicts_with = "include")]
    update: bool,
    /// Discard what has been changed there, and whatever else is there that the image does not have
    #[arg(long, requires = "update")]
    force: bool,
    /// Read every file that is there, and do not go by its size and time
    #[arg(long, requires = "update")]
    verify: bool,
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
        let states = states(&directory, output);
        if !self.update {
            check_vacant(&directory, states.as_ref()).map_err(content::Error::from)?;
        }
        output.say(format!("Pulling {location} with digest {}", manifest.digest()));
        let verb = if matches!(location, Location::Registry(_)) { "Downloading" } else { "Reading" };
        let options =
            UnpackOptions { observer: Arc::new(Progress::new(output, verb)), states, ..self.image.unpack_options() };
        let how = UpdateOptions { force: self.force, verify: self.verify };
        let pulled = |unpacked| Updated { unpacked, outcome: Outcome::Pulled, discarded: Vec::new() };
        let updated = match include {
            _ if self.update => update(&*opened.images, &manifest, &directory, how, &options).await,
            Some(include) => unpack_part(&*opened.images, &manifest, &directory, &include, &options).await.map(pulled),
            None => unpack(&*opened.images, &manifest, &directory, &options).await.map(pulled),
        };
        let Updated { unpacked, outcome, discarded } = updated.map_err(content::Error::from)?;
        let directory = directory.display().to_string();
        warn_of(&discarded, output);
        let what = format!("{} ({})", count(unpacked.files as usize, "file"), size(unpacked.bytes));
        let (said, result) = match outcome {
            Outcome::Pulled => (format!("Pulled {what} into {directory}"), "pulled"),
            Outcome::Updated => (format!("Updated {directory}, which has {what}"), "updated"),
            Outcome::Unchanged => (format!("Unchanged {directory}, which has {what}"), "unchanged"),
        };
        output.say(said);
        output.result(&directory, || {
            json!({
                "reference": location.to_string(),
                "digest": manifest.digest(),
                "directory": directory,
                "files": unpacked.files,
                "bytes": unpacked.bytes,
                "bytesFetched": unpacked.bytes_fetched + manifest.bytes().len() as u64,
                "result": result,
            })
        })
    }
}

/// Where it is kept what has been pulled where; nothing, where there is no such place. Without it, nothing can be updated.
fn states(target: &Path, output: &Output) -> Option<States> {
    let Some(directory) = base_directory("XDG_STATE_HOME", &[".local", "state"]) else {
        tracing::debug!("* neither HOME nor XDG_STATE_HOME is set: this cannot be updated later");
        return None;
    };
    // It would be something in the target that the image does not have.
    if are_within(&directory, target).unwrap_or_default() {
        let (directory, target) = (directory.display(), target.display());
        output.warn(format!(
            "this cannot be updated later: what is known of {target} cannot be kept in {directory}, which is in it: set \
             XDG_STATE_HOME"
        ));
        return None;
    }
    match States::open(&directory) {
        Ok(states) => Some(states),
        Err(error) => {
            let problem = format!("what is pulled is not kept in {}: {error}", directory.display());
            // That somebody else could write there has to be known; where there is no home to write to, nobody minds.
            if error.kind() == ErrorKind::Other {
                output.warn(problem);
            } else {
                tracing::debug!("* {problem}");
            }
            None
        }
    }
}

/// Says what has been discarded.
fn warn_of(discarded: &[LocalChange], output: &Output) {
    for change in discarded.iter().take(NAMED) {
        output.warn(format!("discarded {change}"));
    }
    if discarded.len() > NAMED {
        output.warn(format!("discarded {} more", discarded.len() - NAMED));
    }
}
