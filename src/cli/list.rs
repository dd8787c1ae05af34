//! `bndlr ls`

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};

use super::connect::{Opened, RegistryArgs, open};
use super::error::Error;
use super::location::Location;
use super::options::ImageArgs;
use super::output::Output;
use crate::content;
use crate::manifest::RawManifest;
use crate::text::printable;
use crate::unpack::{Listed, ListedKind, UnpackOptions, list, open_bundle};

/// List the files of a bundle, or of any image
///
/// Of a bundle, only the index is fetched. Any other image is read whole.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr ls localhost:5000/demo:v1
  bndlr ls -l oci:layout:v1")]
pub(super) struct List {
    /// What to list
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Show mode, size and where links point, too
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl List {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let manifest = opened.image(self.image.platform()).await?;
        let files = files(&opened, &manifest, &self.image.unpack_options()).await?;
        let mut text = String::new();
        for file in &files {
            // Writing to a string does not fail.
            let _ = if self.long { writeln!(text, "{}", long(file)) } else { writeln!(text, "{}", shown(&file.path)) };
        }
        output.result(&text, || files.iter().map(to_json).collect())
    }
}

/// What is in a bundle or an image, in order.
async fn files(opened: &Opened, manifest: &RawManifest, options: &UnpackOptions) -> Result<Vec<Listed>, Error> {
    let files = async {
        match open_bundle(&*opened.images, manifest, options.limits).await? {
            Some(bundle) => Ok(bundle.entries().map(Listed::from).collect()),
            None => list(&*opened.images, manifest, options).await,
        }
    };
    Ok(files.await.map_err(content::Error::from)?)
}

/// `-rwxr-xr-x      1234 path`, as `ls -l` has it.
fn long(file: &Listed) -> String {
    let (letter, size) = match file.kind {
        ListedKind::Directory => ('d', 0),
        ListedKind::File { size } => ('-', size),
        ListedKind::Symlink { .. } => ('l', 0),
    };
    let bit = |shift: u32, letter| if file.mode >> shift & 1 == 1 { letter } else { '-' };
    let mode: String = (0..9).rev().map(|shift| bit(shift, ['x', 'w', 'r'][shift as usize % 3])).collect();
    let target = match &file.kind {
        ListedKind::Symlink { target } => format!(" -> {}", shown(target)),
        _ => String::new(),
    };
    format!("{letter}{mode} {size:>12} {}{target}", shown(&file.path))
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

/// A file in JSON.
pub(super) fn to_json(file: &Listed) -> Value {
    let mut json = json!({"path": file.path.to_string_lossy(), "mode": format!("{:04o}", file.mode)});
    match &file.kind {
        ListedKind::Directory => json["type"] = json!("directory"),
        ListedKind::File { size } => {
            json["type"] = json!("file");
            json["size"] = json!(size);
        }
        ListedKind::Symlink { target } => {
            json["type"] = json!("symlink");
            json["target"] = json!(target.to_string_lossy());
        }
    }
    json
}
