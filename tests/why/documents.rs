//! Pairs whose manifests or configurations differ in one thing.

use bndlr::manifest::{Descriptor, media_type};
use serde_json::{Value, json};

use crate::picture::{Case, Picture, between, blob, compact, reasons, root, run_all};
use crate::program::Desk;

fn manifest(key: &str, value: Value) -> Picture {
    Picture::base().with(|picture| picture.manifest[key] = value)
}

fn config(key: &str, value: Value) -> Picture {
    Picture::base().with(|picture| picture.config[key] = value)
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap()
}

/// As Go writes it: not sorted.
fn in_another_order(value: &Value) -> String {
    let fields = value.as_object().unwrap();
    let fields: Vec<String> = fields.iter().rev().map(|(key, value)| format!("{key:?}:{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

#[test]
fn a_difference_between_manifests_is_named() {
    let about = |digit: char| {
        let digest = format!("sha256:{}", digit.to_string().repeat(64));
        manifest("subject", json!({"mediaType": media_type::OCI_MANIFEST, "digest": digest, "size": 2}))
    };
    let cases: Vec<Case> = vec![
        ("an annotation", Picture::base(), manifest("annotations", json!({"a": "b"})), "manifest annotation a"),
        (
            "another annotation",
            manifest("annotations", json!({"a": "c", "same": "x"})),
            manifest("annotations", json!({"a": "b", "same": "x"})),
            "manifest annotation a",
        ),
        ("an artifact type", Picture::base(), manifest("artifactType", "text/plain".into()), "manifest artifact-type"),
        ("a subject", Picture::base(), about('1'), "manifest subject"),
        ("another subject", about('2'), about('1'), "manifest subject"),
        (
            "what is said of the same subject",
            about('1'),
            about('1').with(|picture| picture.manifest["subject"]["size"] = 3.into()),
            "manifest manifest-field subject.size",
        ),
        ("an unknown field", Picture::base(), manifest("x", json!([1])), "manifest manifest-field x"),
        (
            "a config of another type",
            Picture::files(&[("a", "x")]),
            Picture::files(&[("a", "x")]).with(|picture| picture.config_type = "text/x-json".into()),
            "manifest config-type",
        ),
        (
            "an annotation of a layer",
            Picture::base(),
            Picture::base().with(|picture| picture.layers[0].annotations = json!({"k": "v"})),
            "manifest layer-annotation k of layer 0",
        ),
        (
            "white space",
            Picture::base(),
            Picture::base().with(|picture| picture.write_manifest = pretty),
            "manifest white-space",
        ),
        (
            "the order of keys",
            Picture::base(),
            Picture::base().with(|picture| picture.write_manifest = in_another_order),
            "manifest key-order",
        ),
    ];
    run_all(cases);
}

#[test]
fn a_difference_between_configs_is_named() {
    let cases: Vec<Case> = vec![
        ("a date", Picture::base(), config("created", "2024-01-01T00:00:00Z".into()), "config created"),
        ("a processor", Picture::base(), config("architecture", "arm64".into()), "config platform"),
        ("a variant", Picture::base(), config("variant", "v3".into()), "config platform"),
        (
            "a label",
            config("config", json!({"Labels": {"k": "a"}})),
            config("config", json!({"Labels": {"k": "b"}})),
            "config label k",
        ),
        ("a label more", Picture::base(), config("config", json!({"Labels": {"k": "b"}})), "config label k"),
        ("what is run", Picture::base(), config("config", json!({"Cmd": ["x"]})), "config config-field config.Cmd"),
        (
            "a variant and a version of the same name",
            config("variant", "v3".into()),
            config("os.version", "v3".into()),
            "config config-field os.version, config config-field variant",
        ),
        ("a processor without a name", config("variant", "".into()), Picture::base(), "config config-field variant"),
        ("history", Picture::base(), config("history", json!([{"created_by": "x"}])), "config history"),
        ("history of nothing", Picture::base(), config("history", json!([])), "config history"),
        (
            "a step of the history",
            config("history", json!([{"created_by": "x"}, {"created_by": "y", "created": "2024-01-01T00:00:00Z"}])),
            config("history", json!([{"created_by": "x"}, {"created_by": "y", "created": "2024-01-02T00:00:00Z"}])),
            "config history created of step 1",
        ),
        (
            "how a number is written",
            config("x", json!(100.0)),
            config("x", json!(100.0))
                .with(|picture| picture.write_config = |value| compact(value).replace("100.0", "1e2")),
            "config key-order",
        ),
        (
            "white space",
            Picture::base(),
            Picture::base().with(|picture| picture.write_config = pretty),
            "config white-space",
        ),
        (
            "the order of keys",
            Picture::base(),
            Picture::base().with(|picture| picture.write_config = in_another_order),
            "config key-order",
        ),
    ];
    for (name, a, b, expected) in cases {
        assert_eq!(between(name, &a, &b).join(", "), expected, "{name}");
    }
}

/// Writes an image index of these into the layout `name`.
fn index(desk: &Desk, name: &str, images: &[(&str, &Picture)]) {
    let entries = images.iter().map(|(architecture, picture)| {
        let mut entry = json!(picture.write(desk, name));
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entry
    });
    let entries: Vec<_> = entries.collect();
    let text = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": entries}).to_string();
    blob(desk, name, text.as_bytes());
    root(desk, name, text.as_bytes(), &Descriptor::of(media_type::OCI_INDEX, text.as_bytes()));
}

#[test]
fn of_an_image_index_the_image_for_the_platform_is_compared() {
    let desk = Desk::new();
    let (base, other) = (Picture::base(), config("created", "2024-01-01T00:00:00Z".into()));
    base.write(&desk, "one");
    index(&desk, "both", &[("amd64", &base), ("arm64", &base)]);
    index(&desk, "dated", &[("amd64", &base), ("arm64", &other)]);
    let why = |arguments: &str| reasons(&desk.run(&format!("why {arguments} --format json")));
    assert_eq!(why("oci:one:v1 oci:both:v1 --platform linux/amd64"), ["manifest image-index"]);
    assert_eq!(
        why("oci:both:v1 oci:dated:v1 --platform linux/arm64"),
        ["manifest image-index manifests.linux/arm64", "config created"]
    );
    assert_eq!(why("oci:both:v1 oci:dated:v1 --platform linux/amd64"), ["manifest image-index manifests.linux/arm64"]);
    assert_eq!(why("oci:both:v1 oci:both:v1"), [""; 0]);
    index(&desk, "turned", &[("arm64", &base), ("amd64", &base)]);
    assert_eq!(why("oci:both:v1 oci:turned:v1 --platform linux/amd64"), ["manifest image-index manifests"]);
    index(&desk, "one-of-both", &[("amd64", &base)]);
    assert_eq!(
        why("oci:both:v1 oci:one-of-both:v1 --platform linux/amd64"),
        ["manifest image-index manifests.linux/arm64"]
    );
    assert_eq!(desk.run("why oci:one:v1 oci:both:v1 --platform linux/s390x").code, Some(3));
}
