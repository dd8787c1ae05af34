//! `bndlr inspect`

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::connect::{Opened, RegistryArgs, open};
use super::error::Error;
use super::location::Location;
use super::output::{Output, size, write_bytes};
use crate::content::read_config;
use crate::manifest::{
    Annotations, Descriptor, ImageConfig, ImageManifest, Manifest, Platform, RawManifest, media_type,
};
use crate::text::printable;

/// Show what a digest contains: manifest, configuration, layers, sizes, annotations
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr inspect localhost:5000/demo:v1
  bndlr inspect localhost:5000/demo:v1 --format json
  bndlr inspect alpine --platform linux/arm64
  bndlr inspect localhost:5000/demo:v1 --raw | jq .layers")]
pub(super) struct Inspect {
    /// What to inspect
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// If it is an image index, show the image that it has for this platform
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Show the manifest as it is, byte for byte
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Inspect {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let manifest = match &self.platform {
            Some(platform) => opened.image(Some(platform)).await?,
            None => opened.manifest().await?,
        };
        if self.raw {
            return write_bytes(manifest.bytes());
        }
        let config = match manifest.manifest() {
            Manifest::Image(image) => config(&opened, image).await?,
            Manifest::Index(_) => None,
        };
        let text = text(&location, &manifest, config.as_ref());
        output.result(&text, || to_json(&location, &manifest, config.as_ref()))
    }
}

/// The configuration, if it is one of an image.
async fn config(opened: &Opened, image: &ImageManifest) -> Result<Option<ImageConfig>, Error> {
    if !media_type::is_image_config(&image.config.media_type) {
        return Ok(None);
    }
    Ok(Some(read_config(&*opened.images, image).await?))
}

fn text(location: &Location, manifest: &RawManifest, config: Option<&ImageConfig>) -> String {
    let mut text = String::new();
    row(&mut text, "Reference", &location.to_string());
    row(&mut text, "Digest", &manifest.digest().to_string());
    row(&mut text, "Media type", manifest.media_type());
    match manifest.manifest() {
        Manifest::Image(image) => {
            if let Some(artifact_type) = &image.artifact_type {
                row(&mut text, "Artifact type", artifact_type);
            }
            if let Some(config) = config {
                row(&mut text, "Platform", &config.platform.to_string());
                config.created.iter().for_each(|created| row(&mut text, "Created", created));
            }
            row(&mut text, "Config", &described(&image.config));
            for layer in &image.layers {
                row(&mut text, "Layer", &described(layer));
                pairs(&mut text, "", &layer.annotations);
            }
            if let Some(subject) = &image.subject {
                row(&mut text, "Subject", &described(subject));
            }
            pairs(&mut text, "Annotations", &image.annotations);
        }
        Manifest::Index(index) => {
            for image in &index.manifests {
                let platform = image.platform.as_ref().map_or_else(|| "no platform".to_owned(), ToString::to_string);
                row(&mut text, "Manifest", &format!("{}  {platform}", described(image)));
            }
            pairs(&mut text, "Annotations", &index.annotations);
        }
    }
    if let Some(labels) = config.and_then(ImageConfig::labels) {
        pairs(&mut text, "Labels", labels);
    }
    text
}

/// A line; names stand in a column of their own. Control characters, which could move the cursor, are shown escaped.
fn row(text: &mut String, name: &str, value: &str) {
    let name = if name.is_empty() { String::new() } else { format!("{name}:") };
    // Writing to a string does not fail.
    let _ = writeln!(text, "{name:<15}{}", printable(value));
}

fn pairs(text: &mut String, name: &str, pairs: &Annotations) {
    for (at, (key, value)) in pairs.iter().enumerate() {
        let indent = if name.is_empty() { "  " } else { "" };
        row(text, if at == 0 { name } else { "" }, &format!("{indent}{key}={value}"));
    }
}

fn described(descriptor: &Descriptor) -> String {
    format!("{}  {}  {}", descriptor.digest, size(descriptor.size), descriptor.media_type)
}

fn to_json(location: &Location, manifest: &RawManifest, config: Option<&ImageConfig>) -> Value {
    let mut json = json!({
        "reference": location.to_string(),
        "digest": manifest.digest(),
        "mediaType": manifest.media_type(),
        "size": manifest.bytes().len(),
    });
    match manifest.manifest() {
        Manifest::Image(image) => {
            json["artifactType"] = json!(image.artifact_type);
            json["config"] = json!(image.config);
            json["layers"] = json!(image.layers);
            json["subject"] = json!(image.subject);
            json["annotations"] = json!(image.annotations);
            if let Some(config) = config {
                json["platform"] = json!(config.platform.to_string());
                json["created"] = json!(config.created);
                json["labels"] = json!(config.labels());
                json["diffIds"] = json!(config.rootfs.diff_ids);
            }
        }
        Manifest::Index(index) => {
            json["manifests"] = json!(index.manifests);
            json["annotations"] = json!(index.annotations);
        }
    }
    json
}
