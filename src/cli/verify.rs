//! `bndlr verify`

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::connect::open;
use super::error::Error;
use super::list;
use super::location::Location;
use super::options::SidesArgs;
use super::output::{Format, Output, count, printable, write_stdout};
use crate::compare::{Depth, Difference, Drift, Side, Sides, compare};
use crate::pack::Selection;
use crate::unpack::Include;

/// Check that a directory is what a bundle, or any other image, says
///
/// Prints one line for each file that has drifted: `changed`, `missing`, `added`, `mode`, `type` or `target`, and its path.
/// What a push would leave out is not `added`. Of a bundle, only the index is fetched, and the members in which something
/// has changed; any other image is read whole.
///
/// The exit code is 0 if nothing has drifted, and 1 if something has.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr verify ./manifests localhost:5000/demo:v1
  bndlr verify ./copy localhost:5000/demo@sha256:77f6d184…
  bndlr verify /etc/app ghcr.io/team/app:v1.2.3 --ignore '*.log' --ignore /state
  bndlr verify ./manifests localhost:5000/demo:v1 --format json")]
pub(super) struct Verify {
    /// The directory, or the single file
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
    /// What it should be
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Pass over what matches, on both sides, in git's syntax, relative to the directory (can be repeated)
    #[arg(long, value_name = "PATTERN")]
    ignore: Vec<String>,
    #[command(flatten)]
    sides: SidesArgs,
}

/// Something that has drifted.
struct Change {
    drift: Drift,
    difference: Difference,
}

impl Verify {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let directory = self.directory()?;
        let location = Location::parse(&self.reference)?;
        let ignore = Include::new(self.ignore.iter().map(String::as_str)).map_err(Error::usage)?;
        let connection = self.sides.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let manifest = opened.image(self.sides.image.platform()).await?;
        let (sides, selection) = (Sides::new(self.sides.image.unpack_options()), self.selection());
        let (image, found) =
            futures::try_join!(sides.image(opened.images, &manifest), sides.unpacked(&directory, &selection))?;
        let changes = changes(&image, &found, &ignore).await?;
        warn_of_what_is_left_out(&directory, &changes, output);
        match output.format {
            Format::Text => write_stdout(&lines(&changes))?,
            Format::Json => {
                let result = if changes.is_empty() { "same" } else { "differs" };
                let json = json!({
                    "reference": location.to_string(), "digest": manifest.digest(), "directory": directory,
                    "result": result, "changes": changes.iter().map(to_json).collect::<Vec<_>>(),
                });
                write_stdout(&json.to_string())?;
            }
        }
        if !changes.is_empty() {
            return Err(Error::differs());
        }
        let files = count(found.count(), "path");
        output.say(format!("{} is what {location} says ({files})", directory.display()));
        Ok(())
    }

    /// The directory, which comes first.
    fn directory(&self) -> Result<PathBuf, Error> {
        let text = self.directory.to_str();
        let path = text.and_then(|text| text.strip_prefix("dir:")).map_or(self.directory.as_path(), Path::new);
        let second = self.reference.strip_prefix("dir:").unwrap_or(&self.reference);
        let is_swapped = !path.exists() && Path::new(second).exists();
        if is_swapped && text.is_some_and(|text| Location::parse(text).is_ok()) {
            return Err(Error::usage(format!("{} is not a directory", path.display()))
                .hint("the directory comes first, and then the reference"));
        }
        Ok(path.to_owned())
    }

    /// What of the directory is looked at: nothing that is to be passed over.
    fn selection(&self) -> Selection {
        let mut selection = self.sides.selection.selection();
        selection.exclude.extend(self.ignore.iter().cloned());
        selection
    }
}

/// What has drifted, in order of paths.
async fn changes(image: &Side, directory: &Side, ignore: &Include) -> Result<Vec<Change>, Error> {
    let mut changes = Vec::new();
    let visit = |difference: Difference| {
        if let Some(drift) = difference.drift()
            && !difference.file().is_some_and(|file| ignore.picks(&file.path, file.is_directory()))
        {
            changes.push(Change { drift, difference });
        }
        Ok::<(), Error>(())
    };
    compare(image, directory, Depth::Names, visit).await?;
    Ok(changes)
}

fn lines(changes: &[Change]) -> String {
    let mut text = String::new();
    for Change { drift, difference } in changes {
        let path = difference.file().map_or_else(String::new, |file| printable(&file.path.to_string_lossy()));
        // Writing to a string does not fail.
        let _ = writeln!(text, "{:<7}  {path}", word(*drift));
    }
    text
}

fn word(drift: Drift) -> &'static str {
    match drift {
        Drift::Changed => "changed",
        Drift::Missing => "missing",
        Drift::Added => "added",
        Drift::Mode => "mode",
        Drift::Type => "type",
        Drift::Target => "target",
    }
}

fn to_json(Change { drift, difference }: &Change) -> Value {
    json!({
        "path": difference.file().map(|file| file.path.to_string_lossy()),
        "kind": word(*drift),
        "expected": difference.old.as_ref().map(list::to_json),
        "found": difference.new.as_ref().map(list::to_json),
    })
}

/// A file may be there and yet be missing, because a push would leave it out: who looks should not wonder.
fn warn_of_what_is_left_out(directory: &Path, changes: &[Change], output: &Output) {
    let missing = changes.iter().filter(|change| change.drift == Drift::Missing);
    let paths = missing.filter_map(|change| Some(&change.difference.old.as_ref()?.path));
    let there: Vec<&PathBuf> = paths.filter(|path| directory.join(path).symlink_metadata().is_ok()).collect();
    if let [first, rest @ ..] = &there[..] {
        let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
        let message =
            "missing, because a push would leave it out (.bndlrignore, --exclude, version control, bndlr's cache)";
        output.warn(format!("{}{more}: {message}", first.display()));
    }
}
