//! What Flux, Argo CD and the nodes of a cluster demand of an image, each demand with its source, against what is packed.

mod archives;
mod program;

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::bufread::{GzDecoder, MultiGzDecoder};
use program::Desk;
use serde_json::Value;

/// <https://github.com/argoproj/argo-cd/blob/37ee0097cf851bc2dd7665fc081bbce61a7e836e/cmd/argocd-repo-server/commands/argocd_repo_server.go>,
/// `--oci-layer-media-types`.
const ARGO_ALLOWS: [&str; 3] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
];
/// There, `--oci-manifest-max-extracted-size`.
const ARGO_EXTRACTS: u64 = 1_000_000_000;
/// <https://github.com/argoproj/argo-cd/blob/37ee0097cf851bc2dd7665fc081bbce61a7e836e/util/oci/client.go>, `isCompressedLayer`.
const ARGO_CONTENT: [&str; 3] = ["tar+gzip", "tar.gzip", "tar"];

/// An image in a layout.
struct Image {
    manifest: Value,
    config: Value,
    layers: Vec<Vec<u8>>,
}

impl Image {
    /// What `bndlr build` makes of the desk's tree with these arguments.
    fn build(desk: &Desk, arguments: &str) -> Self {
        let digest = desk.run(&format!("build tree -o oci:layout -q {arguments}")).ok();
        let blob = |digest: &str| fs::read(desk.path("layout/blobs").join(digest.trim().replace(':', "/"))).unwrap();
        let manifest: Value = serde_json::from_slice(&blob(&digest)).unwrap();
        let named = |descriptor: &Value| blob(descriptor["digest"].as_str().unwrap());
        Self {
            config: serde_json::from_slice(&named(&manifest["config"])).unwrap(),
            layers: manifest["layers"].as_array().unwrap().iter().map(named).collect(),
            manifest,
        }
    }

    fn media_type(&self, layer: usize) -> &str {
        self.manifest["layers"][layer]["mediaType"].as_str().unwrap()
    }

    /// Why Argo CD does not take it: `extract` in `util/oci/client.go`.
    fn refused_by_argo(&self) -> Option<String> {
        let types = (0..self.layers.len()).map(|layer| self.media_type(layer));
        let content: Vec<&str> =
            types.filter(|kind| ARGO_CONTENT.iter().any(|suffix| kind.ends_with(suffix))).collect();
        if let Some(kind) = content.iter().find(|kind| !ARGO_ALLOWS.contains(kind)) {
            return Some(format!("media type {kind}"));
        }
        let extracted: u64 = self.layers.iter().map(|layer| archive(layer).len() as u64).sum();
        if extracted > ARGO_EXTRACTS {
            return Some("too large".to_owned());
        }
        (content.len() != 1).then(|| format!("{} layers with content", content.len()))
    }
}

/// A layer as it was before compression. All gzip members of it, as Go's `compress/gzip` reads them.
fn archive(layer: &[u8]) -> Vec<u8> {
    let mut archive = Vec::new();
    MultiGzDecoder::new(layer).read_to_end(&mut archive).unwrap();
    archive
}

/// The names of what source-controller unpacks of the first layer, or why it does not: `Untar` in
/// <https://github.com/fluxcd/pkg/blob/e2cfd1a2d1815a81b3e77ef750e6528282ccccd6/tar/untar.go>, which it calls
/// `WithSkipSymlinks` and without a limit.
fn unpacked_by_flux(layer: &[u8]) -> Result<Vec<String>, String> {
    assert!(GzDecoder::new(layer).header().is_some(), "requires gzip-compressed body");
    let archive = archive(layer);
    let mut unpacked = Vec::new();
    for entry in tar::Archive::new(&*archive).entries().unwrap() {
        let entry = entry.unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        if name.is_empty() || name.starts_with('/') || name.contains('\\') || name.contains("../") {
            return Err(format!("invalid name {name:?}"));
        }
        match entry.header().entry_type() {
            tar::EntryType::Symlink => {}
            tar::EntryType::Regular | tar::EntryType::Directory => unpacked.push(name),
            kind => return Err(format!("{name} is {kind:?}")),
        }
    }
    Ok(unpacked)
}

#[test]
fn a_bundle_is_what_argo_cd_takes() {
    let desk = Desk::with_tree();
    assert_eq!(Image::build(&desk, "").refused_by_argo(), None);
    assert_eq!(Image::build(&desk, "-a a=b -l c=d --platform linux/arm64").refused_by_argo(), None);
    // What docs/gitops.md says not to do for it.
    let docker = Image::build(&desk, "--image-format docker").refused_by_argo().unwrap();
    assert!(docker.starts_with("media type application/vnd.docker."), "{docker}");
    fs::write(desk.path("tree/large"), program::noise(6_000_000)).unwrap();
    let split = Image::build(&desk, "--split=1MB").refused_by_argo().unwrap();
    assert!(split.ends_with("layers with content"), "{split}");
}

#[test]
fn a_bundle_is_what_flux_takes_all_of_it_but_links() {
    let desk = Desk::with_tree();
    for arguments in ["", "--image-format docker"] {
        let image = Image::build(&desk, arguments);
        assert_eq!(unpacked_by_flux(&image.layers[0]).unwrap(), ["a.txt", "empty/", "sub/", "sub/noise", "sub/run.sh"]);
    }
    let followed = Image::build(&desk, "--symlinks follow");
    assert_eq!(
        unpacked_by_flux(&followed.layers[0]).unwrap(),
        ["a.txt", "empty/", "link", "sub/", "sub/noise", "sub/run.sh"]
    );
    // What docs/gitops.md says that it does not take.
    desk.write("tree/back\\slash", "");
    unpacked_by_flux(&Image::build(&desk, "").layers[0]).unwrap_err();
    fs::remove_file(desk.path("tree/back\\slash")).unwrap();
    fs::create_dir(desk.path("tree/dots..")).unwrap();
    desk.write("tree/dots../a", "");
    unpacked_by_flux(&Image::build(&desk, "").layers[0]).unwrap_err();
}

/// Image-spec v1.1.1, config.md, `rootfs`, and manifest.md: what a runtime looks at before it unpacks and mounts an image.
#[test]
fn a_bundle_is_what_a_node_mounts() {
    let desk = Desk::with_tree();
    fs::write(desk.path("tree/large"), program::noise(6_000_000)).unwrap();
    for arguments in ["", "--image-format docker", "--split=1MB", "--platform linux/arm64"] {
        let image = Image::build(&desk, arguments);
        let platform = if arguments.contains("arm64") { "arm64" } else { "amd64" };
        assert_eq!((&image.config["os"], &image.config["architecture"]), (&"linux".into(), &platform.into()));
        assert_eq!(image.config["rootfs"]["type"], "layers");
        let diff_ids = image.config["rootfs"]["diff_ids"].as_array().unwrap();
        assert_eq!(diff_ids.len(), image.layers.len(), "{arguments}");
        for (diff_id, layer) in diff_ids.iter().zip(&image.layers) {
            assert_eq!(*diff_id, bndlr::digest::Digest::sha256(&archive(layer)).to_string());
        }
    }
}

/// The `- word` items and `key: value` pairs of a manifest in `examples/`, in which names stand for those of a user.
fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)).unwrap()
}

#[test]
fn the_init_container_fills_the_volume_and_brings_it_up_to_date() {
    let yaml = example("kubernetes/init-container.yaml");
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v7 -q").ok();
    let mut arguments: Vec<&str> = yaml
        .lines()
        .skip_while(|line| line.trim() != "args:")
        .skip(1)
        .map_while(|line| line.trim().strip_prefix("- "))
        .collect();
    assert_eq!(arguments[..2], ["pull", "registry.example/shop/config:v7"]);
    arguments[1] = "oci:layout:v7";
    let arguments: Vec<String> = arguments.iter().map(|argument| argument.replace("/config/", "volume/")).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let pull = || desk.run_with(&arguments, &[("XDG_STATE_HOME", "volume/state")]).ok();
    fs::create_dir(desk.path("volume")).unwrap();
    pull();
    assert_eq!(archives::snapshot(&desk.path("volume/files")), archives::snapshot(&desk.path("tree")));
    desk.write("tree/a.txt", "another");
    desk.run("build tree -o oci:layout:v7 -q").ok();
    pull();
    assert_eq!(archives::snapshot(&desk.path("volume/files")), archives::snapshot(&desk.path("tree")));
}

#[test]
fn the_examples_are_yaml_that_names_what_the_docs_name() {
    let docs = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gitops.md")).unwrap();
    for (name, words) in [
        ("gitops/flux.yaml", ["kind: OCIRepository", "url: oci://registry.example/shop/manifests"]),
        ("gitops/argocd.yaml", ["kind: Application", "repoURL: oci://registry.example/shop/manifests"]),
        ("kubernetes/image-volume.yaml", ["image:", "reference: registry.example/shop/config:v7"]),
        ("kubernetes/init-container.yaml", ["initContainers:", "- registry.example/shop/config:v7"]),
    ] {
        let yaml = example(name);
        assert!(words.iter().all(|word| yaml.contains(word)), "{name}");
        assert!(docs.contains(&format!("../examples/{name}")), "{name}");
    }
}
