//! `bndlr push`

use std::path::PathBuf;

use serde_json::{Value, json};

use super::connect::{RegistryArgs, subject};
use super::deliver::{Delivery, Destination};
use super::error::{Error, Exit};
use super::github;
use super::location::Location;
use super::options::PackArgs;
use super::output::Output;
use super::quine::of_this_program;
use crate::content::{Copied, Outcome};
use crate::pack::Bundle;
use crate::reference::Tag;

/// What says how a directory is packed: this program is packed always alike, so that it has one digest.
const NOT_OF_THIS_PROGRAM: [&str; 12] = [
    "exclude",
    "include",
    "include_vcs",
    "symlinks",
    "list",
    "annotations",
    "annotation_file",
    "annotate_git",
    "labels",
    "platform",
    "artifact_type",
    "subject",
];

/// Pack a directory and push it
///
/// The same directory has the same digest, wherever and whenever it is packed; what the registry has is not sent again, and
/// to several repositories of one registry everything is sent once. Prints the reference with the digest, once for each
/// repository.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr push ./manifests localhost:5000/demo:v1
  bndlr push ./manifests ghcr.io/team/app:v1.2.3 -t v1,latest
  bndlr push ./manifests ghcr.io/team/app:v1 ghcr.io/customer/app:v1
  bndlr push ./policies localhost:5000/policies:v1 --exclude '*_test.rego'
  bndlr push ./policies --list --exclude '*_test.rego'
  bndlr push rules.yaml localhost:5000/rules:v1 --digest-file digest.txt
  bndlr push ./report localhost:5000/demo:r1 --subject localhost:5000/demo:v1
  bndlr push --self localhost:5000/bndlr:v1")]
#[command(override_usage = "\
bndlr push [OPTIONS] <DIRECTORY> <REFERENCE>...
       bndlr push [OPTIONS] --self <REFERENCE>...
       bndlr push [OPTIONS] --list <DIRECTORY>")]
pub(super) struct Push {
    #[command(flatten)]
    pack: PackArgs,
    /// Where to push to
    #[arg(required_unless_present_any = ["this_program", "list"], value_name = "REFERENCE")]
    references: Vec<String>,
    /// Push this program as the image that "bndlr quine" serves, and no directory
    #[arg(long = "self", conflicts_with_all = NOT_OF_THIS_PROGRAM)]
    this_program: bool,
    /// Write the digest to this file
    #[arg(long, value_name = "FILE")]
    digest_file: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Push {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        if self.pack.is_list() {
            return self.pack.list(output).await;
        }
        let locations = self.references()?.map(Location::parse).collect::<Result<Vec<_>, _>>()?;
        let about = self.pack.subject()?;
        let named: Vec<_> = locations.iter().chain(&about).cloned().collect();
        let connection = self.registry.connect(&named)?;
        let destinations = Destination::group(&locations, &self.pack.tags);
        let subject = subject(about.as_ref(), &connection).await?;
        let bundle = if self.this_program {
            of_this_program(output).await?.into_image(self.pack.format())
        } else {
            self.pack.pack(subject, output).await?
        };
        let delivery = Delivery {
            concurrency: self.registry.concurrency(),
            ..Delivery::of(&bundle, bundle.raw_manifest(), &connection)
        };
        let copies = delivery.to(&destinations, output).await?;
        let digest = bundle.raw_manifest().digest();
        if let Some(path) = &self.digest_file {
            write_digest(path, &digest.to_string())?;
        }
        let references: Vec<_> =
            destinations.iter().map(|destination| format!("{}@{digest}", destination.place())).collect();
        let json = || to_json(&bundle, &destinations, &references, &copies);
        github::summarize(output, json);
        output.result(&references.join("\n"), json)
    }
}

impl Push {
    /// The references. The first argument is one, too, where it is not a directory.
    fn references(&self) -> Result<impl Iterator<Item = &str>, Error> {
        let first = &self.pack.directory;
        let no_text = || Error::usage(format!("{} is not a reference", first.display()));
        let first = self.this_program.then(|| first.to_str().ok_or_else(no_text)).transpose()?;
        Ok(first.into_iter().chain(self.references.iter().map(String::as_str)))
    }
}

pub(super) fn write_digest(path: &PathBuf, digest: &str) -> Result<(), Error> {
    std::fs::write(path, format!("{digest}\n"))
        .map_err(|error| Error::new(Exit::Local, format!("cannot write {}: {error}", path.display())))
}

/// The result in JSON. What was uploaded is counted over all repositories; what was uploaded to one and mounted in others
/// was uploaded.
fn to_json(bundle: &Bundle, destinations: &[Destination], references: &[String], copies: &[Copied]) -> Value {
    let manifest = bundle.raw_manifest();
    let outcome = |digest| {
        let outcomes = copies.iter().flat_map(|copied| &copied.blobs);
        let of_blob: Vec<_> = outcomes.filter(|(blob, _)| blob.digest == digest).map(|(_, outcome)| *outcome).collect();
        let most = [Outcome::Uploaded, Outcome::Mounted].into_iter().find(|outcome| of_blob.contains(outcome));
        most.unwrap_or(Outcome::Exists).to_string()
    };
    let layers: Vec<_> = bundle
        .layers()
        .iter()
        .map(|layer| json!({"digest": layer.digest, "size": layer.size, "result": outcome(layer.digest)}))
        .collect();
    let mut tags: Vec<&Tag> = Vec::new();
    for tag in destinations.iter().flat_map(|destination| &destination.tags) {
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    json!({
        "reference": references.first(),
        "references": references,
        "digest": manifest.digest(),
        "mediaType": manifest.media_type(),
        "size": manifest.bytes().len(),
        "result": if copies.iter().any(|copied| copied.changed) { "pushed" } else { "unchanged" },
        "tags": tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(),
        "layers": layers,
        "bytesUploaded": copies.iter().map(Copied::bytes_uploaded).sum::<u64>(),
    })
}
