//! `bndlr copy`

use async_trait::async_trait;
use serde_json::{Value, json};

use super::connect::{Images, RegistryArgs, open};
use super::deliver::{Delivery, Destination};
use super::error::Error;
use super::location::Location;
use super::output::Output;
use crate::content::{self, Copied, Open, Outcome, Reader, Source};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Platform, RawManifest};
use crate::reference::{Identifier, Repository, Tag};

/// Copy an image from anywhere to anywhere, bit for bit
///
/// Source and destination are each a registry, an image layout or an archive. An image index is copied with all that it
/// names. What the destination has is not sent again, so that a copy that was broken off goes on when it is repeated; within
/// a registry, blobs are mounted. Prints the digest.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr copy ghcr.io/team/app:v1.2.3 localhost:5000/app:v1.2.3
  bndlr copy ghcr.io/team/app:v1.2.3 localhost:5000/app:v1.2.3 --referrers
  bndlr copy ubuntu:24.04 oci:images:ubuntu --platform linux/arm64
  bndlr copy archive:app.tar localhost:5000/app:v1 -t latest")]
pub(super) struct CopyCommand {
    /// What to copy
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Where to: a reference, oci:DIR[:tag], which is added to, or archive:FILE[:tag], which is replaced
    #[arg(value_name = "DESTINATION")]
    destination: String,
    /// Add a tag (can be repeated, or several with commas)
    #[arg(short, long = "tag", value_name = "TAG", value_delimiter = ',')]
    tags: Vec<Tag>,
    /// Of an image index, copy the image for this platform alone
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Copy what refers to it, too, such as signatures, and what refers to that
    #[arg(long)]
    referrers: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl CopyCommand {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let locations = [Location::parse(&self.source)?, Location::parse(&self.destination)?];
        let connection = self.registry.connect(&locations)?;
        let [source, destination] = &locations;
        let opened = open(source, &connection).await?;
        let manifest = match &self.platform {
            Some(platform) => opened.image(Some(platform)).await?,
            None => opened.manifest().await?,
        };
        output.say(format!("Copying {source} with digest {}", manifest.digest()));
        let picked = Picked { images: &*opened.images, manifest: &manifest };
        let destinations = Destination::group(std::slice::from_ref(destination), &self.tags);
        let concurrency = self.registry.concurrency();
        let delivery =
            Delivery { concurrency, referrers: self.referrers, ..Delivery::of(&picked, &manifest, &connection) };
        let done = delivery.to(&destinations, output).await?;
        let digest = manifest.digest().to_string();
        output.result(&digest, || {
            let there = destinations.first().zip(done.first());
            there.map_or(Value::Null, |(to, copied)| to_json(source, to, copied))
        })
    }
}

fn to_json(source: &Location, destination: &Destination, copied: &Copied) -> Value {
    let described = |(content, outcome): &(Descriptor, Outcome)| {
        let Descriptor { digest, size, media_type, .. } = content;
        json!({"digest": digest, "size": size, "mediaType": media_type, "result": outcome.to_string()})
    };
    let manifest = &copied.manifest;
    json!({
        "source": source.to_string(),
        "reference": format!("{}@{}", destination.place(), manifest.digest()),
        "digest": manifest.digest(),
        "mediaType": manifest.media_type(),
        "size": manifest.bytes().len(),
        "result": if copied.changed { "copied" } else { "unchanged" },
        "tags": destination.tags.iter().map(Tag::as_str).collect::<Vec<_>>(),
        "blobs": copied.blobs.iter().map(described).collect::<Vec<_>>(),
        "referrers": copied.referrers.iter().map(described).collect::<Vec<_>>(),
        "bytesUploaded": copied.bytes_uploaded(),
    })
}

/// Images of which one manifest is at hand: it need not be fetched again, and is what it was when its tag has moved on.
struct Picked<'a> {
    images: &'a dyn Images,
    manifest: &'a RawManifest,
}

#[async_trait]
impl Open for Picked<'_> {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        self.images.open(descriptor).await
    }

    fn origin(&self) -> Option<&Repository> {
        self.images.origin()
    }
}

#[async_trait]
impl Source for Picked<'_> {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, content::Error> {
        self.images.resolve(identifier).await
    }

    async fn manifest(&self, identifier: &Identifier) -> Result<RawManifest, content::Error> {
        if *identifier == Identifier::Digest(self.manifest.digest()) {
            return Ok(self.manifest.clone());
        }
        self.images.manifest(identifier).await
    }

    async fn referrers(&self, subject: Digest, kind: Option<&str>) -> Result<Vec<Descriptor>, content::Error> {
        self.images.referrers(subject, kind).await
    }
}
