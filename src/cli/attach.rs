//! `bndlr attach`

use std::path::Path;

use serde_json::json;

use super::connect::{RegistryArgs, subject};
use super::deliver::{Delivery, Destination};
use super::digest_file::DigestFile;
use super::error::{Error, Exit};
use super::location::Location;
use super::options::{self, pair};
use super::output::Output;
use crate::manifest::media_type;
use crate::pack::{Artifact, ArtifactFile, ArtifactOptions};

/// Attach files to an image: a report, a signature, a list of its parts
///
/// The files become an artifact that refers to the image, which does not change. Prints the digest of the artifact; `bndlr
/// referrers` finds it, and so does every client that knows referrers. The same files have the same digest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr attach localhost:5000/demo:v1 report.txt --artifact-type text/x-report
  bndlr attach oci:layout:v1 sbom.json:text/json --artifact-type text/spdx+json")]
pub(super) struct Attach {
    /// What to attach to
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// The files; each may say its media type after a colon
    #[arg(required = true, value_name = "FILE[:TYPE]")]
    files: Vec<String>,
    /// What kind of artifact it is, as a media type
    #[arg(long, required = true, value_name = "TYPE", value_parser = options::media_type)]
    artifact_type: String,
    /// Annotate the artifact
    #[arg(short, long = "annotation", value_name = "KEY=VALUE", value_parser = pair)]
    annotations: Vec<(String, String)>,
    #[command(flatten)]
    digest_file: DigestFile,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Attach {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        if matches!(location, Location::Archive(..)) {
            return Err(Error::usage(format!("{location} is an archive, which is written once and not added to"))
                .hint("copy it to oci:DIR with --referrers, attach there, and copy it back"));
        }
        self.digest_file.clear()?;
        let files = self.files.iter().map(|text| file(text)).collect();
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let subject = subject(Some(&location), &connection).await.map_err(|error| error.about(&location))?;
        let options = ArtifactOptions {
            artifact_type: self.artifact_type,
            subject: subject.clone(),
            annotations: self.annotations.into_iter().collect(),
        };
        let artifact = read(files, options).await?;
        let manifest = artifact.raw_manifest();
        let destination = Destination::untagged(&location);
        let concurrency = self.registry.concurrency();
        let delivery = Delivery { concurrency, ..Delivery::of(&artifact, manifest, &connection) };
        let copies = delivery.to(&[destination], output).await?;
        let digest = manifest.digest();
        self.digest_file.write(digest)?;
        output.result(&digest.to_string(), || {
            json!({
                "reference": format!("{}@{digest}", location.place()),
                "digest": digest,
                "mediaType": manifest.media_type(),
                "size": manifest.bytes().len(),
                "artifactType": manifest.referrer().artifact_type,
                "subject": subject,
                "result": if copies.iter().any(|copied| copied.changed) { "pushed" } else { "unchanged" },
            })
        })
    }
}

/// Reads the files, on a thread that may wait for the disk.
async fn read(files: Vec<ArtifactFile>, options: ArtifactOptions) -> Result<Artifact, Error> {
    let read = tokio::task::spawn_blocking(move || Artifact::of(&files, &options)).await;
    Ok(read.map_err(|error| Error::new(Exit::Local, format!("reading stopped: {error}")))??)
}

/// `FILE[:TYPE]`: what stands after the last colon is a media type if it can be one, and there is no file of that name.
fn file(text: &str) -> ArtifactFile {
    let typed = text.rsplit_once(':').filter(|_| !Path::new(text).exists());
    let typed = typed.and_then(|(path, kind)| Some((path, options::media_type(kind).ok()?)));
    match typed {
        Some((path, media_type)) => ArtifactFile { path: path.into(), media_type },
        None => ArtifactFile { path: text.into(), media_type: media_type::OCTET_STREAM.to_owned() },
    }
}
