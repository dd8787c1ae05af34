//! Images in layouts, of which anything can be changed; and what `why` finds between two of them.

use std::fs;

use bndlr::digest::Digest;
use bndlr::manifest::{Descriptor, media_type};
use serde_json::{Value, json};

use crate::archives::{self, Tar};
use crate::program::{Desk, Ran};

/// A layer: its media type, its bytes, and its archive.
#[derive(Clone)]
pub struct Layer {
    pub media_type: String,
    pub blob: Vec<u8>,
    pub tar: Vec<u8>,
    pub annotations: Value,
}

/// An image in the making.
#[derive(Clone)]
pub struct Picture {
    pub layers: Vec<Layer>,
    /// The config, but for its diff IDs.
    pub config: Value,
    pub config_type: String,
    /// The manifest, but for its config and its layers.
    pub manifest: Value,
    /// What the documents are written by.
    pub write_config: fn(&Value) -> String,
    pub write_manifest: fn(&Value) -> String,
}

pub fn compact(value: &Value) -> String {
    value.to_string()
}

/// The archive of every picture, unless it is another.
pub fn base() -> Tar {
    Tar::new().dir("etc/").file("etc/a", "alpha\n").file("etc/b", "beta\n")
}

impl Layer {
    /// A layer in gzip.
    pub fn of(tar: Vec<u8>) -> Self {
        Self::new(media_type::OCI_LAYER_GZIP, archives::gzip(&tar), tar)
    }

    pub fn new(media_type: &str, blob: Vec<u8>, tar: Vec<u8>) -> Self {
        Self { media_type: media_type.into(), blob, tar, annotations: Value::Null }
    }
}

impl Picture {
    pub fn of(layers: Vec<Layer>) -> Self {
        Self {
            layers,
            config: json!({"architecture": "amd64", "os": "linux"}),
            config_type: media_type::OCI_CONFIG.into(),
            manifest: json!({"schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST}),
            write_config: compact,
            write_manifest: compact,
        }
    }

    /// One layer in gzip, with this archive.
    pub fn gzip(tar: Tar) -> Self {
        Self::of(vec![Layer::of(tar.end())])
    }

    pub fn base() -> Self {
        Self::gzip(base())
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Files, each a layer of its own, as ORAS pushes them.
    pub fn files(files: &[(&str, &str)]) -> Self {
        let layer = |(title, content): &(&str, &str)| Layer {
            annotations: json!({"org.opencontainers.image.title": title}),
            ..Layer::new("text/plain", content.as_bytes().to_vec(), Vec::new())
        };
        let mut picture = Self::of(files.iter().map(layer).collect());
        picture.config = json!({});
        picture.config_type = media_type::OCI_EMPTY.into();
        picture
    }

    /// Writes it into the layout `name`, as `v1`, and returns what describes its manifest.
    pub fn write(&self, desk: &Desk, name: &str) -> Descriptor {
        let mut config = self.config.clone();
        if media_type::is_image_config(&self.config_type) {
            let diff_ids: Vec<_> = self.layers.iter().map(|layer| Digest::sha256(&layer.tar)).collect();
            config["rootfs"] = json!({"type": "layers", "diff_ids": diff_ids});
        }
        let config = (self.write_config)(&config);
        let mut manifest = self.manifest.clone();
        manifest["config"] = json!(Descriptor::of(&self.config_type, config.as_bytes()));
        blob(desk, name, config.as_bytes());
        let layers = self.layers.iter().map(|layer| {
            blob(desk, name, &layer.blob);
            let mut descriptor = json!(Descriptor::of(&layer.media_type, &layer.blob));
            if !layer.annotations.is_null() {
                descriptor["annotations"] = layer.annotations.clone();
            }
            descriptor
        });
        manifest["layers"] = layers.collect();
        let manifest = (self.write_manifest)(&manifest);
        let described = Descriptor::of(media_type::OCI_MANIFEST, manifest.as_bytes());
        root(desk, name, manifest.as_bytes(), &described);
        described
    }
}

/// Writes the manifest that is called `v1`.
pub fn root(desk: &Desk, name: &str, manifest: &[u8], described: &Descriptor) {
    blob(desk, name, manifest);
    let mut entry = json!(described);
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "v1"});
    desk.write(&format!("{name}/index.json"), &json!({"schemaVersion": 2, "manifests": [entry]}).to_string());
    desk.write(&format!("{name}/oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#);
}

pub fn blob(desk: &Desk, name: &str, content: &[u8]) {
    let path = desk.path(name).join("blobs/sha256");
    fs::create_dir_all(&path).unwrap();
    fs::write(path.join(Digest::sha256(content).hex()), content).unwrap();
}

/// The reasons that `why` gives: `level what name`, one after the other.
#[track_caller]
pub fn reasons(ran: &Ran) -> Vec<String> {
    assert!(matches!(ran.code, Some(0 | 1)) && ran.stderr.is_empty(), "{ran:?}");
    let json = ran.json();
    let found = json["reasons"].as_array().unwrap();
    assert_eq!(ran.code == Some(0), found.is_empty(), "{ran:?}");
    assert_eq!(json["result"], if found.is_empty() { "same" } else { "differs" });
    let word = |reason: &Value, key: &str| reason[key].as_str().unwrap_or_default().to_owned();
    let name = |reason: &Value| word(reason, "path") + &word(reason, "name");
    let line = |reason: &Value| format!("{} {} {}", word(reason, "level"), word(reason, "what"), name(reason));
    found.iter().map(|reason| line(reason).trim_end().to_owned()).collect()
}

/// What `why` says about two pictures, either way round.
#[track_caller]
pub fn between(name: &str, a: &Picture, b: &Picture) -> Vec<String> {
    let desk = Desk::new();
    assert_ne!(a.write(&desk, "a").digest, b.write(&desk, "b").digest, "{name}: they are the same");
    let found = reasons(&desk.run("why oci:a:v1 oci:b:v1 --format json"));
    let turned = reasons(&desk.run("why oci:b:v1 oci:a:v1 --format json"));
    let turn = |line: &String| match line.split_once(' ').unwrap().1.split_once(' ') {
        Some(("added", path)) => format!("entry removed {path}"),
        Some(("removed", path)) => format!("entry added {path}"),
        _ => line.clone(),
    };
    let (mut there, mut back): (Vec<_>, Vec<_>) = (found.clone(), turned.iter().map(turn).collect());
    there.sort();
    back.sort();
    assert_eq!(there, back, "{name}: the other way round it says something else");
    let said = desk.run("why oci:a:v1 oci:b:v1");
    assert!(said.code == Some(1) && said.stdout.lines().count() >= 4, "{name}: {said:?}");
    assert_eq!(desk.names(), ["a", "b"], "{name}: something is left behind");
    found
}

/// A pair that differs in one thing, and what it has to be called.
pub type Case = (&'static str, Picture, Picture, &'static str);

/// Sees that each pair is said to differ in that one thing, and in nothing else.
#[track_caller]
pub fn run_all(cases: Vec<Case>) {
    for (name, a, b, expected) in cases {
        assert_eq!(between(name, &a, &b), [expected], "{name}");
    }
}
