//! `bndlr validate`: images that are what they say, and images that are not.

mod embedded;
mod program;

use bndlr::digest::Digest;
use bndlr::manifest::media_type::{OCI_INDEX, OCI_MANIFEST};
use embedded::Embedded;
use program::{Desk, Ran};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_what_it_says_is_ok_wherever_it_is() {
    let registry = Embedded::in_memory().await;
    let (desk, place) = (Desk::with_tree(), format!("{}/a:v1", registry.address()));
    desk.run(&format!("push tree {place}")).ok();
    desk.run("build tree -o oci:layout:v1 -o archive:image.tar:v1 --image-format docker").ok();
    for location in [&*place, "oci:layout:v1", "archive:image.tar"] {
        assert_eq!(desk.run(&format!("validate {location}")).ok(), "ok\n");
    }
    let digest = desk.run(&format!("resolve {place}")).ok();
    let valid = desk.run(&format!("validate {place} --format json")).json();
    assert_eq!(valid, json!({"reference": place, "digest": digest.trim(), "manifests": 1, "result": "ok"}));
    assert_eq!(desk.run("validate oci:layout:v2").code, Some(3));
    let limited = desk.run("validate oci:layout:v1 --max-entries 1");
    assert!(limited.code == Some(5) && limited.stdout.contains("entries"), "{limited:?}");
}

/// Stores an image in `oci:layout` under `tag`, with this configuration, and layers with these media types.
fn store(desk: &Desk, place: &str, config: &str, layers: &[(&str, &[u8])]) -> String {
    std::fs::write(desk.path("config"), config).unwrap();
    let config_digest = desk.run(&format!("blob put {place} config")).ok();
    let describe = |media_type: &str, digest: &str, size: usize| json!({"mediaType": media_type, "digest": digest.trim(), "size": size});
    let layers: Vec<_> = layers
        .iter()
        .map(|(media_type, layer)| {
            std::fs::write(desk.path("layer"), layer).unwrap();
            describe(media_type, &desk.run(&format!("blob put {place} layer")).ok(), layer.len())
        })
        .collect();
    let config = describe("application/vnd.oci.image.config.v1+json", &config_digest, config.len());
    json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers}).to_string()
}

/// Stores a manifest, which names what is there, and validates it.
fn validate(desk: &Desk, place: &str, manifest: &str) -> Ran {
    desk.write("manifest", manifest);
    desk.run(&format!("manifest put {place}:v1 manifest")).ok();
    desk.run(&format!("validate {place}:v1"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_an_image_is_said_line_by_line() {
    let registry = Embedded::in_memory().await;
    let (desk, place) = (Desk::new(), format!("{}/a", registry.address()));
    let tar = vec![0; 1024];
    let config = |kind: &str, layer: &[u8]| {
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": kind, "diff_ids": [Digest::sha256(layer)]}})
            .to_string()
    };
    let plain = "application/vnd.oci.image.layer.v1.tar";
    let good = store(&desk, &place, &config("layers", &tar), &[(plain, &tar)]);
    assert_eq!(validate(&desk, &place, &good).ok(), "ok\n");

    for (config, layers, expected) in [
        (config("layers", b"other"), vec![(plain, &tar[..])], "diff ID"),
        (config("layers", &tar), vec![(plain, &tar[..]), (plain, &tar[..])], "has 1 diff ID, expected"),
        (config("tree", &tar), vec![(plain, &tar[..])], "\"tree\", expected \"layers\""),
        (
            config("layers", &tar),
            vec![("application/vnd.oci.image.layer.v1.tar+gzip", &tar[..])],
            "is plain tar, and its media type says gzip",
        ),
        ("{}".to_owned(), vec![(plain, &tar[..])], "is not one of an image"),
    ] {
        let ran = validate(&desk, &place, &store(&desk, &place, &config, &layers));
        assert_eq!(ran.code, Some(5), "{ran:?}");
        assert!(ran.stdout.lines().count() == 1 && ran.stdout.contains(expected), "{expected}: {ran:?}");
        assert!(ran.stderr.ends_with("is not valid: 1 problem\n"), "{ran:?}");
    }
    let two = good.replace(plain, "a b").replace(r#""size""#, r#""data":"eA==","size""#);
    let ran = validate(&desk, &place, &two);
    assert!(ran.stdout.contains("media type of") && ran.stdout.contains("the data in the descriptor"), "{ran:?}");
    let json = desk.run(&format!("validate {place}:v1 --format json"));
    assert!(
        json.code == Some(5) && json.json()["error"]["message"].as_str().unwrap().contains("media type of"),
        "{json:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_image_of_an_image_index_is_checked() {
    let registry = Embedded::in_memory().await;
    let (desk, place) = (Desk::with_tree(), format!("{}/a", registry.address()));
    let digest = desk.run(&format!("push tree {place}:amd64")).ok();
    let digest = digest.trim().split_once('@').unwrap().1.to_owned();
    let size = desk.run(&format!("manifest get {place}:amd64")).ok().len();
    let index = |architecture: &str| {
        let platform = json!({"os": "linux", "architecture": architecture});
        let entry = json!({"mediaType": OCI_MANIFEST, "digest": digest, "size": size, "platform": platform});
        json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}).to_string()
    };
    assert_eq!(validate(&desk, &place, &index("amd64")).ok(), "ok\n");
    let ran = validate(&desk, &place, &index("arm64"));
    assert!(
        ran.code == Some(5) && ran.stdout.contains("is for linux/amd64, and the image index says linux/arm64"),
        "{ran:?}"
    );
}

#[test]
fn a_blob_that_is_missing_or_was_changed_is_found() {
    let desk = Desk::with_tree();
    let digest = desk.run("build tree -o oci:layout:v1").ok();
    let inspected = desk.run("inspect oci:layout:v1 --format json").json();
    let layer = inspected["layers"][0]["digest"].as_str().unwrap();
    let path = desk.path(&format!("layout/blobs/{}", layer.replace(':', "/")));
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    let missing = desk.run("validate oci:layout:v1");
    assert!(missing.code == Some(5) && missing.stdout.starts_with(digest.trim()), "{missing:?}");
    assert!(missing.stdout.contains(layer), "{missing:?}");
    std::fs::write(&path, bytes).unwrap();
    let changed = desk.run("validate oci:layout:v1");
    assert!(changed.code == Some(5) && changed.stdout.contains(&layer[7..]), "{changed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn image_indexes_in_image_indexes_are_followed_so_far_and_each_manifest_is_read_once() {
    let registry = Embedded::in_memory().await;
    let (desk, place) = (Desk::new(), format!("{}/a", registry.address()));
    let mut manifest = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}).to_string();
    for depth in 0..10 {
        let ran = validate(&desk, &place, &manifest);
        let expected = if depth <= 8 { (Some(0), true) } else { (Some(5), false) };
        assert_eq!((ran.code, ran.stdout == "ok\n"), expected, "{depth}: {ran:?}");
        let entry =
            json!({"mediaType": OCI_INDEX, "digest": Digest::sha256(manifest.as_bytes()), "size": manifest.len()});
        // Were each read as often as it is named, this would take a while.
        let entries = vec![entry; 20];
        manifest = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}).to_string();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_may_be_anything_that_is_there() {
    let registry = Embedded::in_memory().await;
    let (desk, place) = (Desk::new(), format!("{}/a", registry.address()));
    let artifact = store(&desk, &place, "{}", &[("application/vnd.example.thing", b"anything at all")]);
    let artifact = artifact.replace("application/vnd.oci.image.config.v1+json", "application/vnd.example.config");
    assert_eq!(validate(&desk, &place, &artifact).ok(), "ok\n");
    let blob = Digest::sha256(b"anything at all");
    desk.run(&format!("blob delete {place}@{blob}")).ok();
    let ran = desk.run(&format!("validate {place}:v1"));
    assert!(ran.code == Some(5) && ran.stdout.contains(&blob.to_string()), "{ran:?}");
}
