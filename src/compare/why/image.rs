//! What images say of themselves, held against each other: manifests, configurations, image indexes. What follows from
//! something that is named elsewhere, as the digest of a layer from what is in it, is not named again.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::documents::{between, leaves, spelling, value};
use super::reason::{Level, Reason, Reasons, What};
use crate::bundle::annotation::{self, ENTRIES, FORMAT, MEMBERS, ORAS_DIGEST, ORAS_UNPACK, TITLE};
use crate::compare::Error;
use crate::content::{self, ErrorKind, Open};
use crate::manifest::{Descriptor, ImageConfig, ImageManifest, MAX_CONFIG_SIZE, Manifest, RawManifest, media_type};
use crate::unpack::{self, has_archive};

/// What a bundle says of its layers so that others can read it: whoever makes no bundle does not say it.
const OURS: [&str; 6] = [FORMAT, ENTRIES, MEMBERS, TITLE, ORAS_UNPACK, ORAS_DIGEST];
/// What a configuration says of the platform.
const PLATFORM: [&str; 4] = ["os", "architecture", "variant", "os.version"];
/// What follows from the bytes of a layer.
const OF_BYTES: [&str; 3] = [ENTRIES, MEMBERS, ORAS_DIGEST];

/// An image: its manifest, and its configuration, if that is JSON.
pub(super) struct Image<'a> {
    pub(super) raw: &'a RawManifest,
    pub(super) manifest: &'a ImageManifest,
    config: Option<(Bytes, Value)>,
    /// Whether all layers are those of a bundle.
    pub(super) is_bundle: bool,
}

impl<'a> Image<'a> {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When it cannot be read, or is none although the manifest says that it is one; and for an image index.
    pub(super) async fn read(source: &dyn Open, raw: &'a RawManifest) -> Result<Self, Error> {
        let Manifest::Image(manifest) = raw.manifest() else {
            return Err(unpack::Error::Index(raw.digest()).into());
        };
        let config = config(source, &manifest.config).await?;
        let parsed = config.as_ref().and_then(|(_, value)| ImageConfig::deserialize(value).ok());
        let labels = parsed.as_ref().and_then(ImageConfig::labels);
        let is_ours = |(number, layer)| annotation::of_layer(raw, number, layer, labels).contains_key(FORMAT);
        let is_bundle = !manifest.layers.is_empty() && manifest.layers.iter().enumerate().all(is_ours);
        Ok(Self { raw, manifest, config, is_bundle })
    }

    fn is_docker(&self) -> bool {
        self.raw.media_type() == media_type::DOCKER_MANIFEST
    }

    fn has_archives(&self) -> bool {
        self.manifest.layers.iter().any(has_archive)
    }
}

async fn config(source: &dyn Open, descriptor: &Descriptor) -> Result<Option<(Bytes, Value)>, content::Error> {
    let is_image = media_type::is_image_config(&descriptor.media_type);
    let wrong =
        |problem: String| content::Error::new(ErrorKind::Content, format!("config {} {problem}", descriptor.digest));
    if descriptor.size > MAX_CONFIG_SIZE {
        let problem = format!("has {} bytes, more than the {MAX_CONFIG_SIZE} that are allowed", descriptor.size);
        return if is_image { Err(wrong(problem)) } else { Ok(None) };
    }
    let bytes = source.open(descriptor).await?.read_all().await?;
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some((bytes, value))),
        Err(error) if is_image => Err(wrong(format!("is not one of an image: {error}"))),
        Err(_) => Ok(None),
    }
}

/// What is known of two images, and what follows from it.
pub(super) struct Known<'a> {
    pub(super) a: &'a Image<'a>,
    pub(super) b: &'a Image<'a>,
    /// One has OCI's manifest, the other Docker's.
    formats: bool,
    /// One is a bundle, the other is not.
    makers: bool,
    /// They have as many layers.
    pub(super) as_many: bool,
    /// They have the same layers in the same order.
    pub(super) same_layers: bool,
    /// The same files are in them, too: what a file is called that is a layer, only the manifest says.
    pub(super) same_files: bool,
}

impl<'a> Known<'a> {
    pub(super) fn of(a: &'a Image<'a>, b: &'a Image<'a>) -> Self {
        let (left, right) = (&a.manifest.layers, &b.manifest.layers);
        let as_many = left.len() == right.len();
        let same_layers = as_many && left.iter().zip(right).all(|(a, b)| a.digest == b.digest);
        Self {
            a,
            b,
            formats: a.is_docker() != b.is_docker(),
            makers: a.is_bundle != b.is_bundle,
            as_many,
            same_layers,
            same_files: same_layers && left.iter().zip(right).all(|(a, b)| file_name(a) == file_name(b)),
        }
    }

    /// Names what the manifests and the configurations say.
    pub(super) fn explain(&self, reasons: &mut Reasons) {
        let Self { a, b, .. } = self;
        if self.formats {
            reasons.add(Level::Manifest, What::Format, Reason::of(a.raw.media_type(), b.raw.media_type()));
        }
        if self.makers {
            let word = |image: &Image| if image.is_bundle { "a bundle" } else { "no bundle" };
            reasons.add(Level::Manifest, What::Bundle, Reason::of(word(a), word(b)));
        }
        let (left, right) = (&a.manifest.layers, &b.manifest.layers);
        // Of files that are a layer each, it says no more than which files there are.
        if !self.as_many && (a.has_archives() || b.has_archives()) {
            let counts = Reason::of(left.len().to_string(), right.len().to_string());
            reasons.add(Level::Manifest, What::Layers, counts);
        }
        self.manifests(reasons);
        if a.manifest.config.digest != b.manifest.config.digest {
            self.configs(reasons);
        }
    }

    fn manifests(&self, reasons: &mut Reasons) {
        let [a, b] = [self.a, self.b].map(|image| value(image.raw));
        let mut visit = |path: &[&str], a: Option<&Value>, b: Option<&Value>| {
            let (what, name) = match path {
                ["annotations", key] => (What::Annotation, Some((*key).to_owned())),
                ["artifactType"] => (What::ArtifactType, None),
                ["subject"] => (What::Subject, None),
                ["config", "mediaType"] => (What::ConfigType, None),
                ["layers", number, "annotations", key] => {
                    (What::LayerAnnotation, Some(format!("{key} of layer {number}")))
                }
                ["layers", number, "mediaType"] => (What::LayerType, Some((*number).to_owned())),
                _ => (What::ManifestField, Some(path.join("."))),
            };
            reasons.add(Level::Manifest, what, between(name, a, b));
        };
        leaves(&mut Vec::new(), Some(&self.said(&a)), Some(&self.said(&b)), &mut visit);
        let bytes = (self.a.raw.bytes(), self.b.raw.bytes());
        if self.a.raw.digest() != self.b.raw.digest() {
            spelling(Level::Manifest, (bytes.0, &a), (bytes.1, &b), reasons);
        }
    }

    /// What a manifest says that follows from nothing else.
    fn said(&self, manifest: &Value) -> Value {
        let mut said = manifest.clone();
        let Some(fields) = said.as_object_mut() else { return said };
        if self.formats {
            fields.remove("mediaType");
        }
        if let Some(subject) = fields.get_mut("subject") {
            *subject = subject.get("digest").cloned().unwrap_or_default();
        }
        if let Some(config) = fields.get_mut("config").and_then(Value::as_object_mut) {
            self.normalize(config);
            strip(config);
        }
        let layers = fields.remove("layers").unwrap_or_default();
        if self.as_many
            && let Value::Array(layers) = layers
        {
            let layers =
                layers.into_iter().enumerate().map(|(number, layer)| (number.to_string(), self.layer(number, layer)));
            fields.insert("layers".to_owned(), Value::Object(layers.collect()));
        }
        said
    }

    fn layer(&self, number: usize, mut layer: Value) -> Value {
        let Some(fields) = layer.as_object_mut() else { return layer };
        self.normalize(fields);
        let (a, b) = (&self.a.manifest.layers[number], &self.b.manifest.layers[number]);
        if a.digest != b.digest {
            // What it is compressed with shows in it.
            fields.entry("mediaType").and_modify(|kind| *kind = kind.as_str().map_or("", uncompressed).into());
        }
        strip(fields);
        let are_files = !has_archive(a) && !has_archive(b);
        let follows = |key: &str| {
            (self.formats || self.makers) && OURS.contains(&key)
                || a.digest != b.digest && OF_BYTES.contains(&key)
                || are_files && key == TITLE
        };
        leave_out(fields, "annotations", follows);
        layer
    }

    /// Calls by one name what has another in each format.
    fn normalize(&self, descriptor: &mut Map<String, Value>) {
        if self.formats
            && let Some(Value::String(kind)) = descriptor.get_mut("mediaType")
        {
            *kind = match kind.as_str() {
                media_type::DOCKER_CONFIG => media_type::OCI_CONFIG,
                media_type::DOCKER_LAYER_GZIP => media_type::OCI_LAYER_GZIP,
                other => other,
            }
            .to_owned();
        }
    }

    fn configs(&self, reasons: &mut Reasons) {
        let (a, b) = (&self.a.manifest.config, &self.b.manifest.config);
        let types = [a, b].map(|config| media_type::is_image_config(&config.media_type));
        if types[0] != types[1] {
            return;
        }
        let (Some((bytes_a, a)), Some((bytes_b, b))) = (&self.a.config, &self.b.config) else {
            let reason = Reason::of(a.digest.to_string(), b.digest.to_string());
            return reasons.add(Level::Config, What::Bytes, reason);
        };
        let has_other_platform = self.platforms(reasons);
        self.history(a.get("history"), b.get("history"), reasons);
        let mut visit = |path: &[&str], a: Option<&Value>, b: Option<&Value>| {
            let (what, name) = match path {
                ["created"] => (What::Created, None),
                ["config", "Labels", key] => (What::Label, Some((*key).to_owned())),
                _ => (What::ConfigField, Some(path.join("."))),
            };
            reasons.add(Level::Config, what, between(name, a, b));
        };
        let configured = |config| self.configured(config, has_other_platform);
        leaves(&mut Vec::new(), Some(&configured(a)), Some(&configured(b)), &mut visit);
        spelling(Level::Config, (bytes_a, a), (bytes_b, b), reasons);
    }

    /// Names the platform, and says whether it is another.
    fn platforms(&self, reasons: &mut Reasons) -> bool {
        let [a, b] = [self.a, self.b].map(|image| {
            let (_, config) = image.config.as_ref()?;
            let words = PLATFORM.map(|key| config.get(key)?.as_str());
            // Crane and Flux write the keys without a value.
            let words: Vec<&str> = words.into_iter().flatten().filter(|word| !word.is_empty()).collect();
            (!words.is_empty()).then(|| crate::text::excerpt(&words.join("/")))
        });
        let differs = a != b;
        if differs {
            reasons.add(Level::Config, What::Platform, Reason { a, b, ..Reason::default() });
        }
        differs
    }

    /// Names how many steps there are, or what differs between them.
    fn history(&self, a: Option<&Value>, b: Option<&Value>, reasons: &mut Reasons) {
        let [left, right] = [a, b].map(|steps| steps.and_then(Value::as_array).map_or(&[][..], Vec::as_slice));
        // A step for each layer follows from how many of those there are.
        if !self.as_many && once(left) == once(right) {
            return;
        }
        if left.len() != right.len() || a.is_some() != b.is_some() {
            let [a, b] = [(a, left), (b, right)].map(|(there, steps)| there.map(|_| steps.len().to_string()));
            return reasons.add(Level::Config, What::History, Reason { a, b, ..Reason::default() });
        }
        for (number, (a, b)) in left.iter().zip(right).enumerate() {
            leaves(&mut Vec::new(), Some(a), Some(b), &mut |path, a, b| {
                let name = Some(format!("{} of step {number}", path.join(".")));
                reasons.add(Level::Config, What::History, between(name, a, b));
            });
        }
    }

    /// What a configuration says that follows from nothing else.
    fn configured(&self, config: &Value, has_other_platform: bool) -> Value {
        let mut said = config.clone();
        let Some(fields) = said.as_object_mut() else { return said };
        fields.remove("history");
        if has_other_platform {
            fields.retain(|key, _| !PLATFORM.contains(&key.as_str()));
        }
        if !self.same_layers
            && let Some(rootfs) = fields.get_mut("rootfs").and_then(Value::as_object_mut)
        {
            rootfs.remove("diff_ids");
        }
        if let Some(Value::Object(config)) = fields.get_mut("config") {
            let is_ours = |key: &str| [FORMAT, ENTRIES, MEMBERS].iter().any(|front| key.starts_with(front));
            if !self.same_layers || self.formats || self.makers {
                leave_out(config, "Labels", is_ours);
            }
            if config.is_empty() && self.formats {
                fields.remove("config");
            }
        }
        said
    }
}

/// What the file is called that a layer is, if it is no archive.
fn file_name(layer: &Descriptor) -> Option<&String> {
    if has_archive(layer) { None } else { layer.annotations.get(TITLE) }
}

/// Leaves out of an object within `fields` what `follows` says, and the object, if nothing is left of it.
fn leave_out(fields: &mut Map<String, Value>, key: &str, follows: impl Fn(&str) -> bool) {
    let Some(Value::Object(object)) = fields.get_mut(key) else { return };
    let before = object.len();
    object.retain(|key, _| !follows(key));
    if object.is_empty() && before > 0 {
        fields.remove(key);
    }
}

/// The steps of a history, each once.
fn once(steps: &[Value]) -> Vec<&Value> {
    let mut steps: Vec<&Value> = steps.iter().collect();
    steps.dedup();
    steps
}

/// Leaves out of a descriptor what follows from the content.
fn strip(descriptor: &mut Map<String, Value>) {
    for key in ["digest", "size", "data"] {
        descriptor.remove(key);
    }
}

/// A media type without what its content is compressed with.
pub(super) fn uncompressed(media_type: &str) -> &str {
    let suffixes = ["+gzip", ".gzip", "+zstd", ".zstd"];
    suffixes.iter().find_map(|suffix| media_type.strip_suffix(suffix)).unwrap_or(media_type)
}
