//! `bndlr cat`

use std::path::Path;

use futures::StreamExt;
use futures::stream::TryStreamExt;

use super::connect::{Opened, RegistryArgs, open};
use super::error::Error;
use super::location::Location;
use super::lookup::{find, path_in_image};
use super::options::ImageArgs;
use super::output::write_stream;
use crate::content;
use crate::manifest::RawManifest;
use crate::unpack::{Listed, UnpackOptions, open_bundle, spool};

/// Write one file of a bundle, or of any image, to standard output
///
/// Of a bundle, only the index and the part of the layer that holds the file are fetched, and nothing is written before it
/// has been held against the manifest. Any other image is read whole. Links are followed inside the image.
///
/// The index is what whoever made the bundle says of it. `pull` and `--full` read everything, and find out if other tools
/// would see another file there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr cat localhost:5000/demo:v1 base/app.yaml
  bndlr cat localhost:5000/demo:v1 base/app.yaml | kubectl apply -f -
  bndlr cat --full ghcr.io/team/app:v1.2.3 config.json
  bndlr cat alpine --platform linux/arm64 etc/os-release")]
pub(super) struct Cat {
    /// What has the file
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// The path of the file, from the top
    #[arg(value_name = "PATH")]
    path: String,
    /// Read every layer whole, and trust nothing but its digest: nothing is written before all of it has been read
    #[arg(long)]
    full: bool,
    #[command(flatten)]
    image: ImageArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Cat {
    pub(super) async fn run(self) -> Result<(), Error> {
        let path = path_in_image(&self.path)?;
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let manifest = opened.image(self.image.platform()).await?;
        let options = self.image.unpack_options();
        let bundle =
            async { if self.full { Ok(None) } else { open_bundle(&*opened.images, &manifest, options.limits).await } };
        let Some(bundle) = bundle.await.map_err(content::Error::from)? else {
            return read_whole(&opened, &manifest, &path, &options).await;
        };
        let files: Vec<Listed> = bundle.entries().map(Listed::from).collect();
        let contents = bundle.contents(&*opened.images, &[find(&files, &path)?]);
        write_stream(contents.map_ok(|piece| piece.bytes).boxed()).await
    }
}

/// Reads all layers, and once more if it then shows that links lead elsewhere.
async fn read_whole(
    opened: &Opened,
    manifest: &RawManifest,
    path: &Path,
    options: &UnpackOptions,
) -> Result<(), Error> {
    let read =
        async |path: &Path| spool(&*opened.images, manifest, Some(path), options).await.map_err(content::Error::from);
    let mut spooled = read(path).await?;
    let files = spooled.list().await?;
    let number = find(&files, path)?;
    if !spooled.has(number) {
        spooled = read(&files[number].path).await?;
    }
    write_stream(spooled.contents(number)).await
}
