//! The words of boater, another client of registries: they and their flags mean here what they mean there.
//!
//! Like it, they ask the registry first whether it wants to know who asks, so that a trace begins with `GET …/v2/`.

use futures::{StreamExt, TryStreamExt};
use serde_json::json;

use super::blob::InputArgs;
use super::connect::RegistryArgs;
use super::error::Error;
use super::location::Location;
use super::manifest::{anything, header_value};
use super::output::{Output, write_bytes};
use super::signature::sign;
use super::{blob, manifest};
use crate::content;
use crate::digest::Digest;
use crate::manifest::media_type;
use crate::protocol::Scope;
use crate::reference::{Name, Reference};
use crate::remote::RemoteRepository;

/// One of the words.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Word {
    GetManifest(GetManifest),
    PutManifest(PutManifest),
    DeleteManifest(DeleteManifest),
    GetBlob(GetBlob),
    PutBlob(PutBlob),
    GetTags(GetTags),
}

impl Word {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        match self {
            Self::GetManifest(get) => get.run().await,
            Self::PutManifest(put) => put.run(output).await,
            Self::DeleteManifest(delete) => delete.run().await,
            Self::GetBlob(get) => get.run().await,
            Self::PutBlob(put) => put.run(output).await,
            Self::GetTags(get) => get.run(output).await,
        }
    }
}

/// Opens a repository, and says who asks if the registry wants to know, for what `scope` allows.
async fn open(
    text: &str,
    registry: &RegistryArgs,
    scope: fn(&Name) -> Scope,
) -> Result<(RemoteRepository, Reference), Error> {
    let (location, reference) = Location::in_registry(text)?;
    let connection = registry.connect(std::slice::from_ref(&location))?;
    let repository = connection.repository(&reference.repository)?;
    repository.introduce(&scope(&reference.repository.name)).await.map_err(content::Error::from)?;
    Ok((repository, reference))
}

/// As boater has it: get a manifest
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr get-manifest -a ubuntu | head -c120
  bndlr get-manifest ubuntu --accept-schema2")]
pub(super) struct GetManifest {
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Take a manifest of any kind that is known here, and of no other
    #[arg(short, long)]
    accept_known: bool,
    /// Take Docker's manifests of schema 1
    #[arg(long)]
    accept_schema1: bool,
    /// Take Docker's manifests of schema 1 with their signatures
    #[arg(long)]
    accept_schema1_signed: bool,
    /// Take Docker's manifests of schema 2
    #[arg(long)]
    accept_schema2: bool,
    /// Take OCI manifests
    #[arg(long)]
    accept_ocischema: bool,
    /// Take OCI image indexes
    #[arg(long)]
    accept_oci_index: bool,
    /// Take manifest lists
    #[arg(long)]
    accept_manifest_list: bool,
    /// Take manifests of this media type (can be repeated)
    #[arg(short = 't', long, value_name = "TYPE", value_parser = header_value)]
    accept: Vec<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl GetManifest {
    async fn run(self) -> Result<(), Error> {
        let (repository, reference) = open(&self.reference, &self.registry, Scope::pull).await?;
        write_bytes(&manifest::fetch(&repository, &reference, &self.accepted()).await?)
    }

    /// What the flags say; without one, anything.
    fn accepted(&self) -> Vec<&str> {
        let mut accepted: Vec<&str> = Vec::new();
        if self.accept_known {
            accepted.extend(media_type::MANIFESTS);
        }
        let flags = [
            (self.accept_known || self.accept_schema1_signed, media_type::DOCKER_MANIFEST_SIGNED),
            (self.accept_known || self.accept_schema1, media_type::DOCKER_MANIFEST_1),
            (self.accept_schema2, media_type::DOCKER_MANIFEST),
            (self.accept_ocischema, media_type::OCI_MANIFEST),
            (self.accept_oci_index, media_type::OCI_INDEX),
            (self.accept_manifest_list, media_type::DOCKER_MANIFEST_LIST),
        ];
        accepted.extend(flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, media_type)| media_type));
        accepted.extend(self.accept.iter().map(String::as_str));
        if accepted.is_empty() { anything() } else { accepted }
    }
}

/// As boater has it: put a manifest
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr put-manifest localhost:5000/my/repo ./manifest.json \\
      --content-type=\"application/vnd.docker.distribution.manifest.v2+json\"")]
pub(super) struct PutManifest {
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// What to send it as; otherwise what it says itself
    #[arg(short = 't', long, value_name = "TYPE", value_parser = header_value)]
    content_type: Option<String>,
    /// Sign it with a key made up for that, as manifests of schema 1 have to be
    #[arg(short = 's', long)]
    json_signature: bool,
    #[command(flatten)]
    input: InputArgs,
}

impl PutManifest {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let signed = self.json_signature.then(|| media_type::DOCKER_MANIFEST_SIGNED.to_owned());
        let mut manifest = manifest::read(&self.input.open().await?, self.content_type.or(signed)).await?;
        if self.json_signature {
            manifest.bytes = sign(&manifest.bytes)?.into();
        }
        let (repository, reference) = open(&self.reference, &self.input.registry, Scope::push).await?;
        let digest = manifest::store(&repository, &reference, &manifest).await?;
        output.result(&digest.to_string(), || json!({"reference": reference.to_string(), "digest": digest}))
    }
}

/// As boater has it: delete a tag, `latest` if none is named, or a manifest by its digest
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr delete-manifest localhost:5000/busybox:stable
  bndlr delete-manifest localhost:5000/busybox@sha256:…")]
pub(super) struct DeleteManifest {
    #[arg(value_name = "REFERENCE")]
    reference: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl DeleteManifest {
    async fn run(self) -> Result<(), Error> {
        let (repository, reference) = open(&self.reference, &self.registry, Scope::delete).await?;
        manifest::remove(&repository, &reference).await
    }
}

/// As boater has it: get a blob
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr get-blob ubuntu sha256:… | head -c120")]
pub(super) struct GetBlob {
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    #[arg(value_name = "DIGEST")]
    digest: Digest,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl GetBlob {
    async fn run(self) -> Result<(), Error> {
        let (repository, _) = open(&self.repository, &self.registry, Scope::pull).await?;
        blob::get(repository, self.digest).await
    }
}

/// As boater has it: put a file as a blob
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr put-blob -u me --password-stdin localhost:5000/repo ./blob <password")]
pub(super) struct PutBlob {
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Store it only if it has this digest
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,
    #[command(flatten)]
    input: InputArgs,
}

impl PutBlob {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let input = self.input.open().await?;
        let (repository, _) = open(&self.repository, &self.input.registry, Scope::push).await?;
        let (descriptor, _) = blob::put(&repository, &input, self.digest).await?;
        let digest = descriptor.digest;
        output.result(&digest.to_string(), || json!({"digest": digest, "size": descriptor.size}))
    }
}

/// As boater has it: list the tags of a repository
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr get-tags busybox")]
pub(super) struct GetTags {
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl GetTags {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let (repository, _) = open(&self.repository, &self.registry, Scope::pull).await?;
        let tags = repository.tags().map_err(content::Error::from).boxed();
        output.list(tags, |tags| json!({"repository": repository.repository().to_string(), "tags": tags})).await
    }
}
