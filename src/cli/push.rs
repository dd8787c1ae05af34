//! `bndlr push`

use std::path::PathBuf;

use serde_json::{Value, json};

use super::connect::{RegistryArgs, subject};
use super::deliver::{Delivery, Destination};
use super::error::{Error, Exit};
use super::location::Location;
use super::options::PackArgs;
use super::output::Output;
use crate::content::{Copied, Outcome};
use crate::pack::Bundle;
use crate::reference::Tag;

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
  bndlr push rules.yaml localhost:5000/rules:v1 --digest-file digest.txt
  bndlr push ./report localhost:5000/demo:r1 --subject localhost:5000/demo:v1")]
pub(super) struct Push {
    #[command(flatten)]
    pack: PackArgs,
    /// Where to push to
    #[arg(required = true, value_name = "REFERENCE")]
    references: Vec<String>,
    /// Write the digest to this file
    #[arg(long, value_name = "FILE")]
    digest_file: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Push {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let locations = self.references.iter().map(|text| Location::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let about = self.pack.subject()?;
        let named: Vec<_> = locations.iter().chain(&about).cloned().collect();
        let connection = self.registry.connect(&named)?;
        let destinations = Destination::group(&locations, &self.pack.tags);
        let subject = subject(about.as_ref(), &connection).await?;
        let bundle = self.pack.pack(subject, output).await?;
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
        output.result(&references.join("\n"), || to_json(&bundle, &destinations, &references, &copies))
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
