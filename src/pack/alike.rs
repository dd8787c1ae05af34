//! Which other image has the same content as a bundle: all is the same but what is said of it.
//!
//! What the other image says is never believed. It is held against what has been packed here, whole: the manifest and the
//! config have to be written as they are written here, but for annotations, labels and the date. So whoever can write
//! there, and lies, makes the image another one, and never the same.

use async_trait::async_trait;
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::Bundle;
use crate::bundle::annotation;
use crate::content::{Alike, Error, Open};
use crate::manifest::{Descriptor, ImageManifest, Manifest, RawManifest, to_canonical_json};

/// The largest config that is compared, in bytes: as a document, it takes many times as much memory.
const MAX_COMPARED: u64 = 1024 * 1024;

#[async_trait]
impl Alike for Bundle {
    /// Whether the image has the same layers, with the same index, for the same platform, and the same artifact type,
    /// subject and program; whatever its annotations and labels say, and whenever it was made.
    async fn is_alike(&self, manifest: &RawManifest, source: &dyn Open) -> Result<bool, Error> {
        let (Manifest::Image(ours), Manifest::Image(theirs)) = (self.raw_manifest().manifest(), manifest.manifest())
        else {
            return Ok(false);
        };
        // What is written otherwise may have a field twice, or one that others read as another.
        let is_ours = to_canonical_json(theirs).is_ok_and(|bytes| bytes == *manifest.bytes());
        if !is_ours || !is_same_but_for_annotations(ours, theirs) || theirs.config.size > MAX_COMPARED {
            return Ok(false);
        }
        let found = source.open(&theirs.config).await?.read_all().await?;
        let ours = without_labels(self.config());
        Ok(ours.is_some() && without_labels(&found) == ours)
    }
}

fn is_same_but_for_annotations(ours: &ImageManifest, theirs: &ImageManifest) -> bool {
    let Descriptor { digest, size, .. } = theirs.config;
    let annotations = theirs.annotations.clone();
    let config = Descriptor { digest, size, ..ours.config.clone() };
    ImageManifest { config, annotations, ..ours.clone() } == *theirs
}

/// A config without its labels and its date; nothing, if it is not written as this program writes it.
fn without_labels(config: &[u8]) -> Option<Value> {
    let mut value: Value = serde_json::from_slice(config).ok()?;
    if to_canonical_json(&value).ok()? != config {
        return None;
    }
    let fields = value.as_object_mut()?;
    if let Some(created) = fields.remove("created") {
        created.as_str()?.parse::<Timestamp>().ok()?;
    }
    if let Some(runtime) = fields.get_mut("config").and_then(Value::as_object_mut) {
        remove_labels(runtime)?;
        if runtime.is_empty() {
            fields.remove("config");
        }
    }
    Some(value)
}

/// Removes the labels, but for those that say where the index of a layer is; nothing, if these are no labels.
fn remove_labels(runtime: &mut Map<String, Value>) -> Option<()> {
    let Some(labels) = runtime.get_mut("Labels") else { return Some(()) };
    let labels = labels.as_object_mut()?;
    if !labels.values().all(Value::is_string) {
        return None;
    }
    labels.retain(|key, _| annotation::is_label(key));
    if labels.is_empty() {
        runtime.remove("Labels");
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{Memory, Reader, Target};
    use crate::manifest::media_type;
    use crate::pack::{ImageFormat, ImageOptions, pack};

    fn bundle() -> Bundle {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("a.yaml"), "kind: ConfigMap\n").unwrap();
        pack(directory.path()).unwrap()
    }

    fn said(bundle: &Bundle, say: impl FnOnce(&mut ImageOptions)) -> Bundle {
        let mut options = ImageOptions::default();
        say(&mut options);
        bundle.with_image(&options).unwrap()
    }

    async fn are_alike(one: &Bundle, other: &Bundle) -> bool {
        one.is_alike(other.raw_manifest(), other).await.unwrap()
    }

    #[tokio::test]
    async fn labels_annotations_and_the_date_make_no_other_content() {
        let bundle = bundle();
        let word = |key: &str| [(key.to_owned(), "x".to_owned())].into();
        let labelled = said(&bundle, |image| image.labels = word("a"));
        let annotated = said(&bundle, |image| image.annotations = word("a"));
        let dated = said(&bundle, |image| image.created = Some("2023-11-14T22:13:20Z".to_owned()));
        for other in [&bundle, &labelled, &annotated, &dated] {
            assert!(are_alike(&bundle, other).await && are_alike(other, &bundle).await);
        }
        assert!(are_alike(&labelled, &dated).await);
        let docker = said(&bundle, |image| image.format = ImageFormat::Docker);
        let labels = |image: &mut ImageOptions| (image.format, image.labels) = (ImageFormat::Docker, word("a"));
        assert!(are_alike(&docker, &said(&bundle, labels)).await);
    }

    #[tokio::test]
    async fn whatever_else_differs_makes_other_content() {
        let bundle = bundle();
        let subject = Descriptor::of(media_type::OCI_MANIFEST, b"{}");
        let others = [
            said(&bundle, |image| image.platform = "linux/arm64".parse().unwrap()),
            said(&bundle, |image| image.platform.variant = Some("v2".to_owned())),
            said(&bundle, |image| image.format = ImageFormat::Docker),
            said(&bundle, |image| image.artifact_type = Some("a/b".to_owned())),
            said(&bundle, |image| image.subject = Some(subject)),
            said(&bundle, |image| image.run.entrypoint = vec!["/evil".to_owned()]),
        ];
        for other in &others {
            assert!(!are_alike(&bundle, other).await && !are_alike(other, &bundle).await);
        }
        let directory = tempfile::tempdir().unwrap();
        assert!(!are_alike(&bundle, &pack(directory.path()).unwrap()).await);
    }

    struct Text(String);

    #[async_trait]
    impl Open for Text {
        async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
            Ok(Reader::of_bytes(descriptor, self.0.clone().into()))
        }
    }

    /// An image with this config, which somebody has written, and the layers of `bundle`.
    async fn forged(bundle: &Bundle, config: &str, change: impl FnOnce(String) -> String) -> (RawManifest, Memory) {
        let Manifest::Image(image) = bundle.raw_manifest().manifest() else { unreachable!("it is an image") };
        let memory = Memory::new();
        let described = Descriptor::of(media_type::OCI_CONFIG, config.as_bytes());
        memory.push(&described, &Text(config.to_owned())).await.unwrap();
        let image = ImageManifest { config: described.clone(), ..image.clone() };
        let json = String::from_utf8(to_canonical_json(&image).unwrap()).unwrap();
        (RawManifest::parse(media_type::OCI_MANIFEST, change(json).into()).unwrap(), memory)
    }

    #[tokio::test]
    async fn a_config_or_a_manifest_that_could_be_read_in_two_ways_is_another() {
        let bundle = bundle();
        let config = String::from_utf8(bundle.config().to_vec()).unwrap();
        let swap = |from: &str, to: &str| {
            assert!(config.contains(from));
            config.replace(from, to)
        };
        let (same, memory) = forged(&bundle, &config, |json| json).await;
        assert!(bundle.is_alike(&same, &memory).await.unwrap());
        for other in [
            swap("{\"architecture\":\"amd64\"", "{\"Architecture\":\"arm64\",\"architecture\":\"amd64\""),
            swap("{\"architecture\":\"amd64\"", "{\"architecture\":\"arm64\",\"architecture\":\"amd64\""),
            swap("{\"architecture\"", "{ \"architecture\""),
            swap("\"architecture\":\"amd64\"", "\"architecture\":\"amd64\",\"created\":\"yesterday\""),
            swap("\"architecture\":\"amd64\"", "\"architecture\":\"amd64\",\"config\":{\"Labels\":{\"a\":1}}"),
            swap("\"architecture\":\"amd64\"", "\"architecture\":\"amd64\",\"config\":{\"User\":\"0\"}"),
            swap("\"history\":[{\"created_by\":\"bndlr\"}],", ""),
            swap("\"diff_ids\":[\"sha256:", "\"diff_ids\":[\"sha256:00"),
            "{}".to_owned(),
            "[".repeat(1000),
        ] {
            let (manifest, memory) = forged(&bundle, &other, |json| json).await;
            assert!(!bundle.is_alike(&manifest, &memory).await.unwrap(), "{other}");
        }
        for change in [
            |json: String| json.replacen('{', "{\"Layers\":[],", 1),
            |json: String| json.replacen('{', "{ ", 1),
            |json: String| json.replace("dev.bndlr.index.members", "dev.bndlr.index.other"),
        ] {
            let (manifest, memory) = forged(&bundle, &config, change).await;
            assert!(!bundle.is_alike(&manifest, &memory).await.unwrap());
        }
    }
}
