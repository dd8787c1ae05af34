//! `bndlr push`

use serde_json::{Value, json};

use super::cache::CacheUse;
use super::connect::{RegistryArgs, subject};
use super::contract::ContractArgs;
use super::deliver::{Delivery, Destination};
use super::digest_file::DigestFile;
use super::error::Error;
use super::github;
use super::location::Location;
use super::options::PackArgs;
use super::output::{Format, Output};
use super::publish::{Published, Publishing, result_of, together};
use super::quine::of_this_program;
use crate::content::Outcome;
use crate::pack::Bundle;

/// What says how a directory is packed: this program is packed always alike, so that it has one digest.
const NOT_OF_THIS_PROGRAM: [&str; 13] = [
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
    "split",
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
  bndlr push ./manifests ghcr.io/team/app:v1.2.3 --immutable
  bndlr push ./manifests ghcr.io/team/app:main --if-changed -l revision=abc123
  bndlr push ./manifests ghcr.io/team/app:main --check
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
    #[command(flatten)]
    digest_file: DigestFile,
    #[command(flatten)]
    contract: ContractArgs,
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
        let mut destinations = Destination::group(&locations, &self.pack.tags);
        self.contract.check_places(&destinations)?;
        for destination in &mut destinations {
            destination.expected.extend(self.contract.expect_digest);
        }
        if !self.contract.check {
            self.digest_file.clear()?;
        }
        let named: Vec<_> = locations.iter().chain(&about).cloned().collect();
        let connection = self.registry.connect(&named)?;
        if self.contract.is_blind() {
            destinations.iter_mut().try_for_each(|destination| destination.look_ahead(&connection))?;
        }
        let subject = subject(about.as_ref(), &connection).await?;
        let bundle = if self.this_program {
            of_this_program(output).await?.into_image(self.pack.format())
        } else {
            let cache = if self.contract.check { CacheUse::Read } else { CacheUse::ReadAndKeep };
            self.pack.pack(subject, cache, output).await?
        };
        let delivery = Delivery {
            concurrency: self.registry.concurrency(),
            ..Delivery::of(&bundle, bundle.raw_manifest(), &connection)
        };
        let publishing = Publishing { bundle: &bundle, delivery, contract: &self.contract };
        let published = publishing.at(&destinations, output).await?;
        self.report(&bundle, published, output)
    }

    /// Says what was done; fails if anything did, or would change.
    fn report(&self, bundle: &Bundle, mut published: Vec<Published>, output: &Output) -> Result<(), Error> {
        let document = to_json(bundle, &published, self.contract.check);
        let of = published.len();
        let failed = published.extract_if(.., |published| published.failure.is_some());
        let failures = failed.filter_map(|failed| Some((failed.place, failed.failure?))).collect();
        let references = published.iter().map(Published::reference).collect::<Vec<_>>().join("\n");
        if let Some(error) = together(failures, of) {
            if output.format == Format::Text {
                output.result(&references, || Value::Null)?;
            }
            return Err(Error { done: Some(document), ..error });
        }
        if !self.contract.check {
            published.first().map_or(Ok(()), |first| self.digest_file.write(first.image.digest))?;
            github::summarize(output, &document);
        }
        output.result(&references, || document)?;
        let would_change = self.contract.check && published.iter().any(|published| published.changed);
        if would_change { Err(Error::differs()) } else { Ok(()) }
    }

    /// The references. The first argument is one, too, where it is not a directory.
    fn references(&self) -> Result<impl Iterator<Item = &str>, Error> {
        let first = &self.pack.directory;
        let no_text = || Error::usage(format!("{} is not a reference", first.display()));
        let first = self.this_program.then(|| first.to_str().ok_or_else(no_text)).transpose()?;
        Ok(first.into_iter().chain(self.references.iter().map(String::as_str)))
    }
}

/// The result in JSON. What was uploaded is counted over all repositories; what was uploaded to one and mounted in others
/// was uploaded. A check has the same document, as it would be.
fn to_json(bundle: &Bundle, published: &[Published], check: bool) -> Value {
    let all_blobs = || published.iter().flat_map(|published| &published.blobs);
    let outcome = |digest| {
        let of_blob: Vec<_> =
            all_blobs().filter(|(blob, _)| blob.digest == digest).map(|(_, outcome)| *outcome).collect();
        let most = [Outcome::Uploaded, Outcome::Mounted].into_iter().find(|outcome| of_blob.contains(outcome));
        // Where tags stay, nobody looks at blobs.
        let is_there = !of_blob.is_empty() || published.iter().all(|published| published.failure.is_none());
        most.or(is_there.then_some(Outcome::Exists)).map(|outcome| outcome.to_string())
    };
    let layers: Vec<_> = bundle
        .layers()
        .iter()
        .map(|layer| json!({"digest": layer.digest, "size": layer.size, "result": outcome(layer.digest)}))
        .collect();
    let mut tags: Vec<&str> = Vec::new();
    for (tag, _) in published.iter().flat_map(|published| &published.tags) {
        if !tags.contains(&tag.as_str()) {
            tags.push(tag.as_str());
        }
    }
    let done: Vec<_> = published.iter().filter(|published| published.failure.is_none()).collect();
    let references: Vec<_> = done.iter().map(|published| published.reference()).collect();
    let packed = bundle.raw_manifest().descriptor();
    let image = done.first().map_or(&packed, |published| &published.image);
    let uploaded = all_blobs().filter(|(_, outcome)| *outcome == Outcome::Uploaded);
    json!({
        "reference": references.first(),
        "references": references,
        "digest": image.digest,
        "mediaType": image.media_type,
        "size": image.size,
        "result": result_of(published),
        "check": check,
        "tags": tags,
        "layers": layers,
        "bytesUploaded": uploaded.map(|(blob, _)| blob.size).sum::<u64>(),
        "destinations": published.iter().map(Published::to_json).collect::<Vec<_>>(),
    })
}
