//! The commands that take images from one place to another, and what refers to them along: `copy`, `attach`, `referrers`,
//! `push --subject`.

mod docker_registry;
mod embedded;
mod peer;
mod program;
mod sample;

use std::fs;

use bndlr::content::{Target, copy as copy_content};
use bndlr::layout::Directory;
use bndlr::manifest::{RawManifest, media_type};
use docker_registry::DockerRegistry;
use embedded::Embedded;
use program::{Desk, Ran};
use sample::{image_index, push_blobs, referrer_of, tag};
use serde_json::{Value, json};

/// An image index of two images in `oci:seed:v1`, with a signature of one of the images, and a signature of that.
struct Seed {
    index: RawManifest,
    images: [RawManifest; 2],
    signatures: [RawManifest; 2],
}

async fn seed(desk: &Desk) -> Seed {
    let memory = bndlr::content::Memory::new();
    let images = [
        push_blobs(&memory, &[b"shared by both", b"one", &program::noise(100_000)]).await,
        push_blobs(&memory, &[b"shared by both", b"two"]).await,
    ];
    let index = with_platforms(&image_index(&[&images[0], &images[1]]), ["amd64", "arm64"]);
    let first = referrer_of(&images[1], "application/vnd.example.signature", "of an image");
    let signatures = [first.clone(), referrer_of(&first, "application/vnd.example.signature", "of a signature")];
    for manifest in images.iter().chain([&index]).chain(&signatures) {
        memory.push(&manifest.descriptor(), manifest).await.unwrap();
    }
    let layout = Directory::create(desk.path("seed")).await.unwrap();
    let options = bndlr::content::CopyOptions { referrers: true, ..Default::default() };
    copy_content(&memory, &index.digest().into(), &layout, &[tag("v1")], &options).await.unwrap();
    Seed { index, images, signatures }
}

fn with_platforms(index: &RawManifest, architectures: [&str; 2]) -> RawManifest {
    let mut json: Value = serde_json::from_slice(index.bytes()).unwrap();
    for (at, architecture) in architectures.iter().enumerate() {
        json["manifests"][at]["platform"] = json!({"os": "linux", "architecture": architecture});
    }
    RawManifest::parse(media_type::OCI_INDEX, json.to_string().into()).unwrap()
}

fn result_of<'a>(list: &'a Value, digest: &str) -> &'a Value {
    let found = list.as_array().unwrap().iter().find(|item| item["digest"] == digest);
    &found.unwrap_or_else(|| panic!("no {digest} in {list}"))["result"]
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_arrives_bit_for_bit_from_anywhere_to_anywhere() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let Seed { index, images, signatures } = seed(&desk).await;
    let host = registry.address();
    let sources = [format!("{host}/from:v1"), "oci:from:v1".to_owned(), "archive:from.tar:v1".to_owned()];
    for (at, source) in sources.iter().enumerate() {
        desk.run(&format!("copy oci:seed:v1 {source} --referrers")).ok();
        let places = [format!("{host}/to{at}"), format!("oci:to{at}"), format!("archive:to{at}.tar")];
        for place in places {
            let copied = desk.run(&format!("copy {source} {place}:v1 -t latest --referrers"));
            assert_eq!(copied.ok(), format!("{}\n", index.digest()), "{source} to {place}");
            for tag in ["v1", "latest"] {
                let resolved = desk.run(&format!("resolve {place}:{tag}")).ok();
                assert_eq!(resolved, format!("{}\n", index.digest()), "{source} to {place}");
            }
            for manifest in images.iter().chain([&index]).chain(&signatures) {
                let raw = desk.run(&format!("inspect --raw {place}@{}", manifest.digest())).ok();
                assert_eq!(raw.as_bytes(), manifest.bytes(), "{source} to {place}");
            }
            let tree = desk.run(&format!("referrers {place}@{} --tree", images[1].digest())).ok();
            let expected = format!(
                "{place}@{}\n└── {}  application/vnd.example.signature\n    └── {}  application/vnd.example.signature\n",
                images[1].digest(),
                signatures[0].digest(),
                signatures[1].digest()
            );
            assert_eq!(tree, expected, "{source} to {place}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_the_only_tag_need_not_be_named_beside_what_refers_to_it() {
    let desk = Desk::new();
    let Seed { index, .. } = seed(&desk).await;
    desk.run("copy oci:seed archive:seed.tar --referrers").ok();
    for place in ["oci:seed", "archive:seed.tar"] {
        assert_eq!(desk.run(&format!("resolve {place}")).ok(), format!("{}\n", index.digest()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_copy_sends_nothing_and_says_so() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let Seed { index, signatures, .. } = seed(&desk).await;
    let to = format!("{}/to", registry.address());
    let first = desk.run(&format!("copy oci:seed:v1 {to}:v1 --format json")).json();
    assert_eq!((&first["result"], &first["referrers"]), (&json!("copied"), &json!([])));
    assert_eq!(first["reference"], format!("{to}@{}", index.digest()));
    assert!(first["bytesUploaded"].as_u64().unwrap() > 100_000);
    let again = desk.run(&format!("copy oci:seed:v1 {to}:v1 --format json")).json();
    assert_eq!((&again["result"], &again["bytesUploaded"]), (&json!("unchanged"), &json!(0)));

    let late = desk.run(&format!("copy oci:seed:v1 {to}:v1 --referrers --format json")).json();
    assert_eq!((&late["result"], &late["bytesUploaded"]), (&json!("copied"), &json!(0)));
    assert_eq!(result_of(&late["referrers"], &signatures[1].digest().to_string()), "uploaded");
    let end = desk.run(&format!("copy oci:seed:v1 {to}:v1 --referrers"));
    assert!(end.stderr.ends_with(&format!("2 referrers with it\nUnchanged {to}:v1 with digest {}\n", index.digest())));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_platform_is_copied_alone_and_the_rest_goes_on_from_there() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let Seed { index, images, .. } = seed(&desk).await;
    let to = format!("{}/to", registry.address());
    let one = desk.run(&format!("copy oci:seed:v1 {to}:v1 --platform linux/arm64")).ok();
    assert_eq!(one, format!("{}\n", images[1].digest()));
    assert_eq!(desk.run(&format!("resolve {to}@{}", images[0].digest())).code, Some(3));
    assert_eq!(desk.run(&format!("copy oci:seed:v1 {to}:v1 --platform linux/s390x")).code, Some(3));

    let rest = desk.run(&format!("copy oci:seed:v1 {to}:v2 --format json")).json();
    assert_eq!(rest["digest"], index.digest().to_string());
    let shared = bndlr::digest::Digest::sha256(b"shared by both").to_string();
    assert_eq!(result_of(&rest["blobs"], &shared), "exists", "what one image has of the other is not sent again");
}

#[tokio::test(flavor = "multi_thread")]
async fn within_a_registry_blobs_are_mounted() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    seed(&desk).await;
    let host = registry.address();
    desk.run(&format!("copy oci:seed:v1 {host}/from:v1")).ok();
    let mounted = desk.run(&format!("copy {host}/from:v1 {host}/to:v1 --format json"));
    assert_eq!(mounted.json()["bytesUploaded"], 0);
    assert!(mounted.json()["blobs"].as_array().unwrap().iter().all(|blob| blob["result"] == "mounted"));
    assert!(mounted.stderr.contains("\nMounted "), "{mounted:?}");
    let traced = desk.run(&format!("copy {host}/from:v1 {host}/again:v1 -v"));
    assert!(fetched(&traced).is_empty(), "{traced:?}");
}

/// How often each blob was fetched, as the trace says.
fn fetched(ran: &Ran) -> Vec<usize> {
    let lines: Vec<_> = ran.stderr.lines().filter(|line| line.contains("> GET") && line.contains("/blobs/")).collect();
    lines
        .iter()
        .map(|line| lines.iter().filter(|other| other.split(" > ").last() == line.split(" > ").last()).count())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_blob_is_fetched_once_and_the_manifest_is_not_asked_for_again() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let Seed { index, .. } = seed(&desk).await;
    let from = format!("{}/from", registry.address());
    desk.run(&format!("copy oci:seed:v1 {from}:v1")).ok();
    let copied = desk.run(&format!("copy {from}:v1 oci:to:v1 -v"));
    assert_eq!(fetched(&copied), [1; 5], "a config and four layers: {copied:?}");
    assert_eq!(copied.stderr.matches("/v2/from/manifests/v1").count(), 1);
    assert!(!copied.stderr.contains(&format!("/v2/from/manifests/{}", index.digest())), "{copied:?}");
}

/// As with Windows's base layers: the manifest says where they are, and that is not for a copy to follow.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_from_the_urls_of_a_foreign_layer() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let elsewhere = program::Wire::start(|_| (program::answer("200 OK", "", 7, b"foreign"), program::Then::Close));
    let image = push_blobs(&Directory::create(desk.path("seed")).await.unwrap(), &[b"ordinary"]).await;
    let mut json: Value = serde_json::from_slice(image.bytes()).unwrap();
    let foreign = bndlr::manifest::Descriptor {
        urls: vec![format!("http://{}/layer", elsewhere.address)],
        ..bndlr::manifest::Descriptor::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"foreign")
    };
    json["layers"].as_array_mut().unwrap().push(serde_json::to_value(&foreign).unwrap());
    let image = RawManifest::parse(media_type::OCI_MANIFEST, json.to_string().into()).unwrap();
    Directory::at(desk.path("seed")).await.unwrap().tag(&image, &tag("v1")).await.unwrap();
    let docker = DockerRegistry::start("validation: {manifests: {urls: {allow: [\"^http://127\"]}}}");
    let mut places =
        vec![format!("{}/a:v1", registry.address()), "oci:to:v1".to_owned(), "archive:to.tar:v1".to_owned()];
    places.extend(docker.as_ref().map(|docker| format!("{}/a:v1", docker.address)));
    let mut source = "oci:seed:v1".to_owned();
    for place in places {
        let copied = desk.run(&format!("copy {source} {place} --format json"));
        assert_eq!(result_of(&copied.json()["blobs"], &foreign.digest.to_string()), "left out", "{place}: {copied:?}");
        assert!(copied.stderr.contains(&format!("\nLeft out {} layer 7 B\n", foreign.digest.short())), "{copied:?}");
        assert_eq!(desk.run(&format!("resolve {place}")).ok(), format!("{}\n", image.digest()));
        source = place;
    }
    assert!(!elsewhere.was_asked());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_not_what_it_should_be_is_refused_before_anything_is_sent() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let Seed { images, .. } = seed(&desk).await;
    let to = format!("{}/to", registry.address());
    assert_eq!(desk.run(&format!("copy oci:seed:v1 {to}@{}", images[0].digest())).code, Some(7));
    assert_eq!(desk.run(&format!("copy oci:seed:v2 {to}:v1")).code, Some(3));
    assert_eq!(desk.run(&format!("copy oci:nowhere:v1 {to}:v1")).code, Some(8));
    assert_eq!(desk.run("copy oci:seed:v1").code, Some(2));
    assert_eq!(desk.run(&format!("resolve {to}:v1")).code, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_is_found_and_the_same_files_are_the_same_artifact() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    desk.write("report.txt", "all is well\n");
    desk.write("sbom.json", "{}\n");
    let host = registry.address();
    for place in [format!("{host}/app"), "oci:layout".to_owned()] {
        desk.run(&format!("push tree {place}:v1")).ok();
        let attach = format!(
            "attach {place}:v1 report.txt sbom.json:application/spdx+json --artifact-type application/vnd.example.report -a a=b=c"
        );
        let digest = desk.run(&attach).ok().trim_end().to_owned();
        let again = desk.run(&format!("{attach} --format json --digest-file digest")).json();
        assert_eq!((&again["digest"], &again["result"]), (&json!(digest), &json!("unchanged")));
        assert_eq!(desk.read("digest"), format!("{digest}\n"));
        let subject = desk.run(&format!("resolve {place}:v1 --format json")).json();
        assert_eq!(again["subject"]["digest"], subject["digest"]);

        let listed = desk.run(&format!("referrers {place}:v1")).ok();
        assert_eq!(listed, format!("{place}@{digest}  application/vnd.example.report\n"));
        let json = desk.run(&format!("referrers {place}:v1 --format json")).json();
        assert_eq!(json["referrers"][0]["annotations"], json!({"a": "b=c"}));
        let none = desk.run(&format!("referrers {place}:v1 --artifact-type application/vnd.example.other"));
        assert_eq!(none.ok(), "");

        let artifact = desk.run(&format!("inspect {place}@{digest} --format json")).json();
        let layers = artifact["layers"].as_array().unwrap();
        let title = |at: usize| layers[at]["annotations"]["org.opencontainers.image.title"].as_str().unwrap();
        assert_eq!((title(0), title(1)), ("report.txt", "sbom.json"));
        assert_eq!(layers[0]["mediaType"], "application/octet-stream");
        assert_eq!(layers[1]["mediaType"], "application/spdx+json");
        assert_eq!(artifact["config"]["mediaType"], media_type::OCI_EMPTY);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_attached_is_said() {
    let desk = Desk::with_tree();
    desk.write("report.txt", "all is well\n");
    desk.write("other/report.txt", "all is well\n");
    desk.run("build tree -o oci:layout:v1 -o archive:layout.tar:v1").ok();
    for (arguments, code, words) in [
        ("archive:layout.tar:v1 report.txt --artifact-type a/b", 2, "archive"),
        ("oci:layout:v2 report.txt --artifact-type a/b", 3, "no tag v2"),
        ("oci:layout:v1 report.txt other/report.txt --artifact-type a/b", 2, "two files"),
        ("oci:layout:v1 tree --artifact-type a/b", 2, "no file"),
        ("oci:layout:v1 missing.txt --artifact-type a/b", 8, "missing.txt"),
        ("oci:layout:v1 report.txt --artifact-type nothing", 2, "media type"),
        ("oci:layout:v1 report.txt", 2, "--artifact-type"),
        ("oci:layout:v1 --artifact-type a/b", 2, "FILE"),
    ] {
        let ran = desk.run(&format!("attach {arguments}"));
        assert_eq!(ran.code, Some(code), "{arguments}: {ran:?}");
        assert!(ran.stderr.contains(words), "{arguments}: {ran:?}");
    }
    assert_eq!(desk.run("referrers oci:layout:v1").ok(), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_can_be_about_something() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    fs::create_dir(desk.path("report")).unwrap();
    desk.write("report/index.html", "all is well\n");
    let app = format!("{}/app", registry.address());
    desk.run(&format!("push tree {app}:v1")).ok();
    let about = format!("--subject {app}:v1 --artifact-type application/vnd.example.report");
    let pushed = desk.run(&format!("push report {app}:report {about}")).ok();
    let listed = desk.run(&format!("referrers {app}:v1")).ok();
    assert_eq!(listed, format!("{}  application/vnd.example.report\n", pushed.trim_end()));
    assert_eq!(desk.run(&format!("push report {app}:report {about}")).ok(), pushed, "deterministic");
    desk.run(&format!("pull {app}:report -o back")).ok();
    assert_eq!(desk.read("back/index.html"), "all is well\n");

    assert_eq!(desk.run(&format!("push report {app}:x --subject {app}:v2")).code, Some(3));
    for unsayable in ["--artifact-type a/b".to_owned(), format!("--subject {app}:v1")] {
        let schema_2 = desk.run(&format!("push report {app}:x --image-format docker {unsayable}"));
        assert_eq!(schema_2.code, Some(2), "{schema_2:?}");
    }
}

/// CNCF Distribution knows neither referrers nor `OCI-Subject`.
#[tokio::test(flavor = "multi_thread")]
async fn referrers_survive_a_registry_that_does_not_know_them() {
    let Some(docker) = DockerRegistry::start("") else { return };
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let Seed { index, images, signatures } = seed(&desk).await;
    let (there, back) = (format!("{}/a", docker.address), format!("{}/a", registry.address()));
    desk.write("report.txt", "all is well\n");
    desk.run(&format!("copy oci:seed:v1 {there}:v1 --referrers")).ok();
    let attached = desk.run(&format!("attach {there}:v1 report.txt --artifact-type a/b")).ok();
    let attached = attached.trim_end();
    let mounted = desk.run(&format!("copy {there}:v1 {}/b:v1 --referrers --format json", docker.address)).json();
    assert_eq!(mounted["bytesUploaded"], 0, "{mounted}");
    desk.run(&format!("copy {}/b:v1 {back}:v1 --referrers", docker.address)).ok();
    for place in [&there, &back] {
        assert_eq!(desk.run(&format!("referrers {place}:v1")).ok(), format!("{place}@{attached}  a/b\n"));
        let tree = desk.run(&format!("referrers {place}@{} --tree", images[1].digest())).ok();
        assert!(signatures.iter().all(|signature| tree.contains(&signature.digest().to_string())), "{tree}");
        assert_eq!(desk.run(&format!("resolve {place}:v1")).ok(), format!("{}\n", index.digest()));
        desk.run(&format!("manifest delete {place}@{attached}")).ok();
        assert_eq!(desk.run(&format!("referrers {place}:v1")).ok(), "");
    }
}
