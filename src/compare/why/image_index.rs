//! Image indexes, held against each other: which images they have, for which platforms, and what they say of them.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::documents::{between, leaves, shown, spelling, value};
use super::reason::{Level, Reason, Reasons, What};
use crate::manifest::{Manifest, RawManifest};

/// Names what differs between image indexes, or that one side has none.
pub(super) fn explain(a: &RawManifest, b: &RawManifest, reasons: &mut Reasons) {
    let word = |manifest: &RawManifest| match manifest.manifest() {
        Manifest::Index(_) => "an image index",
        Manifest::Image(_) => "one image",
    };
    match (a.manifest(), b.manifest()) {
        (Manifest::Image(_), Manifest::Image(_)) => {}
        (Manifest::Index(_), Manifest::Index(_)) => indexes(a, b, reasons),
        _ => reasons.add(Level::Manifest, What::ImageIndex, Reason::of(word(a), word(b))),
    }
}

fn indexes(a: &RawManifest, b: &RawManifest, reasons: &mut Reasons) {
    let [left, right] = [a, b].map(value);
    let (in_a, in_b) = (by_platform(&left), by_platform(&right));
    let (names_a, names_b) = (names(&in_a), names(&in_b));
    let mut visit = |path: &[&str], a: Option<&Value>, b: Option<&Value>| {
        let path = if let ["manifests", _, "digest"] = path { &path[..2] } else { path };
        reasons.add(Level::Manifest, What::ImageIndex, between(Some(path.join(".")), a, b));
    };
    let (of_a, of_b) = (said(&left, &in_a, &names_b), said(&right, &in_b, &names_a));
    leaves(&mut Vec::new(), Some(&of_a), Some(&of_b), &mut visit);
    let common = |these: &Platforms<'_>, others: &BTreeSet<&str>| {
        let names = these.iter().map(|(name, _)| name.as_str()).filter(|name| others.contains(name));
        names.collect::<Vec<_>>().join(", ")
    };
    let order = [common(&in_a, &names_b), common(&in_b, &names_a)];
    if order[0] != order[1] {
        let [a, b] = order.map(|names| shown(&names.into()));
        reasons.add(Level::Manifest, What::ImageIndex, Reason::of(a, b).about("manifests"));
    }
    spelling(Level::Manifest, (a.bytes(), &left), (b.bytes(), &right), reasons);
}

/// The manifests of an image index, each by a name of its own.
type Platforms<'a> = Vec<(String, &'a Value)>;

fn names<'a>(platforms: &'a Platforms<'_>) -> BTreeSet<&'a str> {
    platforms.iter().map(|(name, _)| name.as_str()).collect()
}

fn by_platform(index: &Value) -> Platforms<'_> {
    let (mut found, mut taken) = (Platforms::new(), BTreeSet::new());
    for manifest in index["manifests"].as_array().into_iter().flatten() {
        let words = ["os", "architecture", "variant"].map(|key| manifest["platform"][key].as_str().unwrap_or_default());
        let name = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join("/");
        let mut unique = if name.is_empty() { "no platform".to_owned() } else { name.clone() };
        while !taken.insert(unique.clone()) {
            unique = format!("{name} ({})", found.len());
        }
        found.push((unique, manifest));
    }
    found
}

/// What an image index says: of a manifest that the other does not have, the digest alone.
fn said(index: &Value, these: &Platforms<'_>, others: &BTreeSet<&str>) -> Value {
    let mut said = index.clone();
    let manifests = these.iter().map(|(name, manifest)| {
        let mut said = (*manifest).clone();
        match said.as_object_mut().filter(|_| others.contains(name.as_str())) {
            // These follow from the image.
            Some(fields) => fields.retain(|key, _| !matches!(key.as_str(), "mediaType" | "size" | "data")),
            None => said = manifest["digest"].clone(),
        }
        (name.clone(), said)
    });
    let manifests: Map<String, Value> = manifests.collect();
    if let Some(fields) = said.as_object_mut() {
        fields.insert("manifests".to_owned(), manifests.into());
    }
    said
}
