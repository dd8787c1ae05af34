//! `bndlr why`

use std::path::{Path, PathBuf};

use serde_json::json;

use super::connect::{Connection, Opened};
use super::error::{Error, Exit};
use super::options::{SidesArgs, source_date_epoch};
use super::output::{Output, printable};
use super::place::{Place, open_place};
use super::show_why::{Scene, lines, to_json};
use crate::compare::{Subject, WhyOptions, explain};
use crate::content::apart;
use crate::digest::Digest;
use crate::pack::{self, ImageOptions, PackOptions, Selection};

/// Explain why two digests differ
///
/// Compares bundles, other images, layouts, archives and directories, any with any, from the manifest down to the field of a
/// header or the first byte, and says what would make them equal. A directory stands for what a push with these options would
/// make of it. Of bundles, only what differs is fetched; of two that are not both bundles, the layers are read whole.
///
/// The exit code is 0 if they are the same, and 1 if they differ.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr why localhost:5000/demo:v1 ./manifests
  bndlr why localhost:5000/demo:v1 localhost:5000/demo:v2 --all
  bndlr why archive:yesterday.tar archive:today.tar
  bndlr why ghcr.io/team/app:v1.2.3 oci:layout:v1.2.3 --format json")]
pub(super) struct Why {
    /// The first: a reference, or a directory
    #[arg(value_name = "A")]
    a: String,
    /// The second: a reference, or a directory
    #[arg(value_name = "B")]
    b: String,
    /// Show every reason, and not only the first of each kind
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    sides: SidesArgs,
}

/// How many reasons of one kind are shown, unless all are.
const SHOWN: usize = 5;

impl Why {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let places = self.sides.places(&self.a, &self.b)?;
        let connection = Place::connect(&places, &self.sides.registry)?;
        let [a, b] = &places;
        let (a, b) = futures::try_join!(
            self.subject(a, &self.a, &connection, output),
            self.subject(b, &self.b, &connection, output)
        )?;
        let scene = Scene {
            names: [&self.a, &self.b].map(|text| printable(text)),
            digests: [a.root.digest(), b.root.digest()],
            is_directory: places.map(|place| matches!(place, Place::Directory(_))),
            is_dated: source_date_epoch()?.is_some(),
        };
        let unpack = self.sides.image.unpack_options();
        let options = WhyOptions { unpack, kept: if self.all { usize::MAX } else { SHOWN } };
        let groups = explain(a, b, &options).await?;
        let is_same = groups.is_empty();
        output.result(&lines(&groups, &scene), || {
            json!({
                "a": self.a, "b": self.b, "digests": scene.digests.map(|digest: Digest| digest.to_string()),
                "result": if is_same { "same" } else { "differs" },
                "reasons": to_json(&groups, &scene),
            })
        })?;
        if is_same { Ok(()) } else { Err(Error::differs()) }
    }

    /// What stands at a place: of a directory, what a push would make of it.
    async fn subject(
        &self,
        place: &Place,
        text: &str,
        connection: &Connection,
        output: &Output,
    ) -> Result<Subject, Error> {
        let location = match place {
            Place::Directory(path) => return packed(path.clone(), self.sides.selection.selection(), output).await,
            Place::Image(location) => location,
        };
        let platform = self.sides.image.platform();
        let read = async |opened: &Opened| {
            let root = opened.manifest().await?;
            Ok((opened.image_of(root.clone(), platform).await?, root))
        };
        let (opened, (manifest, root)) = open_place(location, text, connection, read).await?;
        Ok(Subject { source: opened.images, root, manifest })
    }
}

/// What a push would make of a directory.
async fn packed(path: PathBuf, selection: Selection, output: &Output) -> Result<Subject, Error> {
    let image = ImageOptions { created: source_date_epoch()?, ..ImageOptions::default() };
    let options = PackOptions { image, ..PackOptions::default() };
    let output = output.clone();
    let pack = move || -> Result<_, Error> {
        let tree = pack::scan(Path::new(&path), &selection)?;
        for warning in tree.warnings() {
            output.warn(warning);
        }
        Ok(tree.pack(&options, &|_| ())?)
    };
    let packed = tokio::task::spawn_blocking(|| apart(pack)).await;
    let bundle = packed.map_err(|error| Error::new(Exit::Local, format!("packing stopped: {error}")))??;
    let manifest = bundle.raw_manifest().clone();
    Ok(Subject { source: Box::new(bundle), root: manifest.clone(), manifest })
}
