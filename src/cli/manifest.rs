//! `bndlr manifest`: manifests as a registry has them, byte for byte.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use super::blob::{Input, InputArgs};
use super::connect::{RegistryArgs, open};
use super::error::{Error, Exit};
use super::location::Location;
use super::output::{Output, write_bytes};
use crate::content;
use crate::manifest::{Descriptor, MAX_MANIFEST_SIZE, Platform, media_type};
use crate::reference::{Identifier, Reference};
use crate::remote::{AnyManifest, RemoteRepository};

/// Get, look at, put or delete a manifest, as the registry has it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr manifest get localhost:5000/demo:v1 | jq .layers
  bndlr manifest head localhost:5000/demo:v1
  bndlr manifest get ghcr.io/a/b:v1 | bndlr manifest put localhost:5000/b:v1 -
  bndlr manifest delete localhost:5000/demo:v1")]
pub(super) struct Manifest {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Get(Get),
    Head(Head),
    Put(Put),
    Delete(Delete),
}

impl Manifest {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        match self.action {
            Action::Get(get) => get.run().await,
            Action::Head(head) => head.run(output).await,
            Action::Put(put) => put.run(output).await,
            Action::Delete(delete) => delete.run(output).await,
        }
    }
}

/// Which kinds of manifest a registry may choose from.
#[derive(clap::Args, Debug)]
pub(super) struct AcceptArgs {
    /// Take a manifest of this media type only (can be repeated); otherwise of any
    #[arg(long, value_name = "TYPE", value_parser = header_value)]
    accept: Vec<String>,
}

impl AcceptArgs {
    fn accepted(&self) -> Vec<&str> {
        if self.accept.is_empty() { anything() } else { self.accept.iter().map(String::as_str).collect() }
    }
}

/// Those that are known here, and then any other.
pub(super) fn anything() -> Vec<&'static str> {
    media_type::MANIFESTS.into_iter().chain(["*/*"]).collect()
}

/// Text that a header can have as its value.
pub(super) fn header_value(text: &str) -> Result<String, String> {
    let is_good = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_good { Ok(text.to_owned()) } else { Err("expected a media type such as application/json".to_owned()) }
}

/// Write a manifest to standard output, byte for byte
///
/// It is verified against the digest that is asked for, or that the registry names.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr manifest get localhost:5000/demo:v1
  bndlr manifest get alpine --platform linux/arm64 >alpine.json")]
struct Get {
    /// Which manifest
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// If it is an image index, take the manifest that it has for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", conflicts_with = "accept")]
    platform: Option<Platform>,
    #[command(flatten)]
    accept: AcceptArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Get {
    async fn run(self) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let bytes = match (&location, &self.platform) {
            (Location::Registry(reference), None) => {
                let repository = connection.repository(&reference.repository)?;
                fetch(&repository, reference, &self.accept.accepted()).await.map_err(|error| error.about(&location))?
            }
            (_, None) => open(&location, &connection).await?.manifest().await?.bytes().clone(),
            (_, platform) => open(&location, &connection).await?.image(platform.as_ref()).await?.bytes().clone(),
        };
        write_bytes(&bytes)
    }
}

/// The bytes of a manifest.
pub(super) async fn fetch(
    repository: &RemoteRepository,
    reference: &Reference,
    accept: &[&str],
) -> Result<Bytes, Error> {
    let manifest = repository.fetch_manifest(&reference.identifier(), accept).await;
    Ok(manifest.map_err(content::Error::from)?.bytes)
}

/// Show the digest, size and media type of a manifest without fetching it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr manifest head localhost:5000/demo:v1
  sha256:… 563 application/vnd.oci.image.manifest.v1+json")]
struct Head {
    /// Which manifest
    #[arg(value_name = "REFERENCE")]
    reference: String,
    #[command(flatten)]
    accept: AcceptArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Head {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let descriptor = if let Location::Registry(reference) = &location {
            let repository = connection.repository(&reference.repository)?;
            let found = repository.describe_manifest(&reference.identifier(), &self.accept.accepted()).await;
            found.map_err(|error| Error::from(content::Error::from(error)).about(&location))?
        } else {
            open(&location, &connection).await?.resolve().await?
        };
        show(output, &location.to_string(), &descriptor)
    }
}

/// Writes what a registry says of some content.
pub(super) fn show(output: &Output, reference: &str, descriptor: &Descriptor) -> Result<(), Error> {
    let Descriptor { digest, size, media_type, .. } = descriptor;
    output.result(
        &format!("{digest} {size} {media_type}"),
        || json!({"reference": reference, "digest": digest, "mediaType": media_type, "size": size}),
    )
}

/// Store a manifest as it is, and print its digest
///
/// Nothing in it is changed or checked here but its size, and the digest, if it is to be stored under one. The registry
/// may well refuse a manifest whose blobs it does not have.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr manifest put localhost:5000/demo:v1 manifest.json
  bndlr manifest put localhost:5000/demo:v1 - --content-type application/vnd.oci.image.manifest.v1+json <manifest.json")]
struct Put {
    /// Under which tag or digest
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// What to send it as; otherwise what it says itself
    #[arg(short = 't', long, value_name = "TYPE", value_parser = header_value)]
    content_type: Option<String>,
    #[command(flatten)]
    input: InputArgs,
}

impl Put {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let (location, reference) = Location::in_registry(&self.reference)?;
        let manifest = read(&self.input.open().await?, self.content_type).await?;
        let connection = self.input.registry.connect(std::slice::from_ref(&location))?;
        let repository = connection.repository(&reference.repository)?;
        let digest = store(&repository, &reference, &manifest).await?;
        output.result(&digest.to_string(), || {
            json!({
                "reference": reference.to_string(),
                "digest": digest,
                "mediaType": manifest.media_type,
                "size": manifest.bytes.len(),
            })
        })
    }
}

/// The manifest in a file, to be sent as what is said, or as what it says itself.
pub(super) async fn read(input: &Input, content_type: Option<String>) -> Result<AnyManifest, Error> {
    let bytes = input.read_up_to(MAX_MANIFEST_SIZE).await?;
    let media_type = match content_type {
        Some(content_type) => content_type,
        None => said(&bytes).ok_or_else(|| {
            Error::usage(format!("{} does not say of what media type it is", input.name))
                .hint("say it with --content-type")
        })?,
    };
    Ok(AnyManifest::new(media_type, bytes))
}

/// The media type that a manifest says itself.
fn said(bytes: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Says {
        media_type: String,
    }
    let says: Says = serde_json::from_slice(bytes).ok()?;
    header_value(&says.media_type).ok()
}

/// Stores a manifest under the tag or digest that the reference has.
pub(super) async fn store(
    repository: &RemoteRepository,
    reference: &Reference,
    manifest: &AnyManifest,
) -> Result<crate::digest::Digest, Error> {
    if let Some(expected) = reference.digest()
        && let found = expected.algorithm().digest(&manifest.bytes)
        && found != expected
    {
        return Err(Error::new(Exit::Conflict, format!("the manifest has digest {found}, expected {expected}")));
    }
    Ok(repository.push_manifest(manifest, &reference.identifier()).await.map_err(content::Error::from)?)
}

/// Delete a tag, or a manifest with all its tags
///
/// A tag is removed alone; what it points to stays. A manifest that is named by its digest is removed with every tag that
/// points to it. Blobs are removed by the registry, once nothing needs them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr manifest delete localhost:5000/demo:v1
  bndlr manifest delete localhost:5000/a@$(bndlr resolve localhost:5000/a:v1)")]
struct Delete {
    /// A tag or a digest, which has to be said
    #[arg(value_name = "REFERENCE")]
    reference: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Delete {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let (location, reference) = Location::in_registry(&self.reference)?;
        let is_plain = self.reference.parse::<crate::reference::Repository>().is_ok();
        if is_plain || (reference.tag().is_some() && reference.digest().is_some()) {
            let what = if is_plain { "neither a tag nor a digest" } else { "a tag and a digest" };
            return Err(Error::usage(format!("{} names {what}", self.reference))
                .hint("name a tag to delete that alone, or a digest to delete the manifest with all its tags"));
        }
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let repository = connection.repository(&reference.repository)?;
        remove(&repository, &reference).await?;
        output.result(&reference.to_string(), || json!({"reference": reference.to_string(), "result": "deleted"}))
    }
}

/// Removes what the reference names.
pub(super) async fn remove(repository: &RemoteRepository, reference: &Reference) -> Result<(), Error> {
    let removed = match reference.identifier() {
        Identifier::Tag(tag) => repository.delete_tag(&tag).await,
        Identifier::Digest(digest) => repository.delete_manifest(digest).await,
    };
    Ok(removed.map_err(content::Error::from)?)
}
