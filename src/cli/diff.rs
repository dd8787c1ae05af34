//! `bndlr diff`

use std::io::{self, IsTerminal, Write};

use serde_json::{Value, json};

use super::connect::{Connection, Opened};
use super::error::{Error, Exit};
use super::options::SidesArgs;
use super::output::{Format, Output, write_stdout};
use super::place::{Place, open_place};
use super::show_diff::{Look, Shown, to_json};
use crate::compare::{Depth, Difference, Side, Sides, compare};

/// Show what differs between two of: bundles, other images, directories
///
/// ./x, ../x, /x and dir:x are directories, everything else is a reference. Of bundles, only their indexes and what differs
/// are fetched; a directory is hashed as if it were packed, without being compressed. Other images are read whole.
///
/// The exit code is 0 if nothing differs, and 1 if something does.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr diff localhost:5000/demo:v1 localhost:5000/demo:v2
  bndlr diff localhost:5000/demo:v1 ./manifests --stat
  bndlr diff --name-only oci:layout:v1 ghcr.io/team/app:v1.2.3
  bndlr diff localhost:5000/demo:v1 ./manifests --exclude '*.md' > changes.patch")]
pub(super) struct Diff {
    /// The old side: a reference, or a directory
    #[arg(value_name = "OLD")]
    old: String,
    /// The new side: a reference, or a directory
    #[arg(value_name = "NEW")]
    new: String,
    /// Show how many lines of each file differ, and not which
    #[arg(long, conflicts_with = "name_only")]
    stat: bool,
    /// Show the paths alone
    #[arg(long)]
    name_only: bool,
    #[command(flatten)]
    sides: SidesArgs,
}

impl Diff {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let places = self.sides.places(&self.old, &self.new)?;
        let connection = Place::connect(&places, &self.sides.registry)?;
        let [old, new] = &places;
        let sides = Sides::new(self.sides.image.unpack_options());
        let (old, new) = futures::try_join!(
            self.side(old, &self.old, &connection, &sides),
            self.side(new, &self.new, &connection, &sides)
        )?;
        let differs = match output.format {
            Format::Json => self.write_json(&old, &new).await?,
            Format::Text => self.write_text(&old, &new).await?,
        };
        if differs { Err(Error::differs()) } else { Ok(()) }
    }

    async fn side(&self, place: &Place, text: &str, connection: &Connection, sides: &Sides) -> Result<Side, Error> {
        let location = match place {
            Place::Directory(path) => return Ok(sides.directory(path, &self.sides.selection.selection()).await?),
            Place::Image(location) => location,
        };
        let image = async |opened: &Opened| opened.image(self.sides.image.platform()).await;
        let (opened, manifest) = open_place(location, text, connection, image).await?;
        Ok(sides.image(opened.images, &manifest).await?)
    }

    /// Writes one difference after the other. Once nobody reads them any more, none are looked for.
    async fn write_text(&self, old: &Side, new: &Side) -> Result<bool, Error> {
        let shown = match (self.name_only, self.stat) {
            (true, _) => Shown::Names,
            (false, true) => Shown::Stat,
            (false, false) => Shown::Lines,
        };
        let stdout = io::stdout();
        let has_colours = anstream::AutoStream::choice(&stdout) != anstream::ColorChoice::Never;
        let mut look = Look::new(shown, has_colours, stdout.is_terminal());
        let visit = |difference: Difference| {
            let text = look.text(&difference);
            match io::stdout().lock().write_all(text.as_bytes()) {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Stop::Unread),
                Err(error) => Err(Error::new(Exit::Local, format!("cannot write to standard output: {error}")).into()),
            }
        };
        let differs = match compare(old, new, shown.depth(), visit).await {
            Ok(differs) => differs,
            Err(Stop::Unread) => return Ok(true),
            Err(Stop::Failed(error)) => return Err(error),
        };
        write_stdout(&look.end())?;
        Ok(differs)
    }

    async fn write_json(&self, old: &Side, new: &Side) -> Result<bool, Error> {
        let depth = if self.name_only { Depth::Names } else { Depth::Texts };
        let mut differences: Vec<Value> = Vec::new();
        let visit = |difference: Difference| {
            differences.push(to_json(&difference));
            Ok::<(), Error>(())
        };
        let differs = compare(old, new, depth, visit).await?;
        let json = json!({
            "old": self.old, "new": self.new,
            "result": if differs { "differs" } else { "same" },
            "differences": differences,
        });
        write_stdout(&json.to_string())?;
        Ok(differs)
    }
}

/// Why no more differences are looked for.
enum Stop {
    /// Nobody reads them any more.
    Unread,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<crate::compare::Error> for Stop {
    fn from(error: crate::compare::Error) -> Self {
        Self::Failed(error.into())
    }
}
