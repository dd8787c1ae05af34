//! Manifests, beside what a reader finds in them that knows nothing of manifests.

use bndlr::digest::Digest;
use bndlr::manifest::{Manifest, RawManifest, media_type};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::embedded::{descriptor, image_manifest};
use crate::random::Random;
use crate::run::fuzz;

const MEDIA_TYPES: &[&str] = &[
    "",
    "application/json",
    "text/html",
    "x",
    media_type::OCI_MANIFEST,
    media_type::OCI_INDEX,
    media_type::DOCKER_MANIFEST,
    media_type::DOCKER_MANIFEST_LIST,
    "application/vnd.oci.image.manifest.v1+json; charset=utf-8",
];

/// A manifest that is valid, of one of the kinds.
pub fn valid(random: &mut Random) -> Value {
    let mut manifest: Value = serde_json::from_str(&image_manifest(b"layer")).unwrap();
    if random.once_in(3) {
        let image = image_manifest(b"layer");
        let listed: Value = serde_json::from_str(&descriptor(media_type::OCI_MANIFEST, image.as_bytes())).unwrap();
        manifest = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [listed]});
    }
    if random.once_in(3) {
        manifest["subject"] = serde_json::from_str(&descriptor(media_type::OCI_MANIFEST, b"subject")).unwrap();
    }
    if random.once_in(3) {
        manifest["annotations"] = json!({"a": random.text(10), "größe": ""});
        manifest["artifactType"] = "application/x".into();
    }
    manifest
}

/// Changes something somewhere in a document.
pub fn change(random: &mut Random, value: &mut Value) {
    let children: Vec<&mut Value> = match value {
        Value::Array(items) if !items.is_empty() => items.iter_mut().collect(),
        Value::Object(fields) if !fields.is_empty() => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    if !children.is_empty() && !random.once_in(4) {
        let at = random.below(children.len());
        return change(random, children.into_iter().nth(at).unwrap());
    }
    match (random.below(6), &mut *value) {
        (0, Value::Object(fields)) => drop(fields.insert((*random.pick(KEYS)).to_owned(), Value::Null)),
        (1, Value::Array(items)) => items.extend(items.clone()),
        (2, Value::Object(fields)) => fields.retain(|_, _| !random.once_in(2)),
        (3, _) => *value = json!(random.number()),
        (4, Value::String(text)) => *text = random.mutated(text),
        _ => {
            *value =
                random.pick(&[json!(null), json!([]), json!({}), json!(""), json!(-1), json!(1.5), json!(2)]).clone();
        }
    }
}

const KEYS: &[&str] =
    &["config", "layers", "manifests", "subject", "mediaType", "fsLayers", "annotations", "urls", "data"];

fn bytes(random: &mut Random) -> Vec<u8> {
    let mut manifest = valid(random);
    for _ in 0..random.below(3) {
        change(random, &mut manifest);
    }
    let mut bytes = manifest.to_string().into_bytes();
    if random.once_in(3) {
        random.mutate(&mut bytes);
    }
    bytes
}

/// The digests in a list of descriptors.
fn digests(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter().map(|descriptor| descriptor["digest"].as_str().expect("a digest").to_owned()).collect()
}

#[test]
fn what_is_taken_for_a_manifest_says_the_same_to_any_reader() {
    fuzz(|random| {
        let (bytes, announced) = (bytes(random), *random.pick(MEDIA_TYPES));
        let Ok(raw) = RawManifest::parse(announced, Bytes::from(bytes.clone())) else { return };
        let text = String::from_utf8_lossy(&bytes);
        assert_eq!(raw.bytes(), &bytes);
        assert_eq!(raw.digest(), Digest::sha256(&bytes));
        assert!(media_type::is_manifest(raw.media_type()), "{text}");

        let json: Value = serde_json::from_slice(&bytes).expect("a manifest is JSON");
        assert_eq!(json["schemaVersion"], 2, "{text}");
        assert!(json["mediaType"].is_null() || json["mediaType"] == raw.media_type(), "{text}");
        let successors: Vec<_> = raw.manifest().successors().map(|found| found.digest.to_string()).collect();
        let expected = if let Manifest::Index(_) = raw.manifest() {
            assert!(json["config"].is_null() && json["layers"].is_null(), "{text}");
            digests(&json["manifests"])
        } else {
            assert!(json["manifests"].is_null(), "{text}");
            [digests(&json!([json["config"]])), digests(&json["layers"])].concat()
        };
        assert_eq!(successors, expected, "{text}");
        let subject = raw.manifest().subject().map(|subject| subject.digest.to_string());
        assert_eq!(subject.as_deref(), json["subject"]["digest"].as_str(), "{text}");
    });
}
