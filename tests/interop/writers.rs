//! What a program that pushes has to be able to do with our registry: without TLS, and with TLS and a password.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bndlr::digest::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access;
use crate::build::{Built, pull};
use crate::registries::{Registry, Request, Serve};
use crate::run::{arg, bndlr, run, text};
use crate::table::{Program, proved};
use crate::tree;

/// How many images are pushed at once.
const AT_ONCE: usize = 4;
/// How many tags an image gets, one after the other.
const TAGS: usize = 12;
/// The size of a large file, in MiB: more than 200 MB.
const LARGE: usize = 192;

/// A program that pushes images to registries.
pub trait Writer: Sync {
    /// Which it is.
    fn program(&self) -> Program;

    /// Pushes the image `v1` of a layout to `reference`. The registry there is `guarded`, with TLS and a password, or it
    /// has neither.
    fn push(&self, layout: &Path, reference: &str, guarded: bool);

    /// Whether it looks what is there before it sends anything.
    fn asks_first(&self) -> bool {
        true
    }
}

fn assert_pulls(tree: &TempDir, reference: &str, guarded: bool) {
    if guarded {
        return access::assert_pulls(tree, reference);
    }
    let home = TempDir::new().unwrap();
    tree::assert_same(tree.path(), &pull(reference, home.path()));
}

fn sends_content(request: &Request) -> bool {
    matches!(request.method.as_str(), "PUT" | "PATCH") && request.path.contains("/blobs/uploads/")
}

/// Pushes, pushes again, with many tags, and several images at once that share a layer.
pub fn push_in_every_way(writer: &impl Writer) {
    let tree = tree::sample();
    let built: Vec<Built> =
        (0..AT_ONCE).map(|number| Built::new(tree.path(), &["-l", &format!("number={number}")])).collect();
    for guarded in [false, true] {
        let registry = if guarded { Serve::guarded() } else { Serve::in_directory() };
        let reference = |path: &str| format!("{}/{path}", registry.address());

        // At once and at first, so that nobody finds the shared layer there.
        std::thread::scope(|scope| {
            for (number, built) in built.iter().enumerate() {
                let reference = reference(&format!("shared/app:{number}"));
                scope.spawn(move || writer.push(&built.layout(), &reference, guarded));
            }
        });
        for number in 0..AT_ONCE {
            assert_pulls(&tree, &reference(&format!("shared/app:{number}")), guarded);
        }

        writer.push(&built[0].layout(), &reference("team/app:v1"), guarded);
        let before = registry.requests().len();
        writer.push(&built[0].layout(), &reference("team/app:v1"), guarded);
        let again = registry.requests().split_off(before);
        let sent = again.iter().any(sends_content);
        assert!(!sent || !writer.asks_first(), "what is there was sent again: {again:#?}");
        assert_pulls(&tree, &reference("team/app:v1"), guarded);

        let tags: Vec<String> = (0..TAGS).map(|number| format!("tag-{number:02}")).collect();
        for tag in &tags {
            writer.push(&built[0].layout(), &reference(&format!("many/app:{tag}")), guarded);
        }
        let mut list = bndlr(&["tags", &reference("many/app")]);
        if guarded {
            list.args(access::login());
        }
        assert_eq!(text(&mut list).lines().collect::<Vec<_>>(), tags);
    }
    let what = "pushes, pushes again, sets many tags, pushes several images at once that share a layer; \
                without TLS, and with TLS and a password";
    proved(writer.program(), what);
}

/// Pushes a layer of more than 200 MB.
pub fn push_a_large_layer(writer: &impl Writer) {
    let (large, registry, home) = (Large::shared(), Registry::Ours(Serve::in_directory()), TempDir::new().unwrap());
    let reference = registry.reference("large/app:v1");
    writer.push(&large.built.layout(), &reference, false);
    assert_eq!(large_digest(&pull(&reference, home.path())), large.digest);
    proved(writer.program(), "pushes layers of 200 MB");
}

/// A bundle with a file of more than 200 MB that does not compress.
pub struct Large {
    pub built: Built,
    /// Of the file.
    pub digest: Digest,
}

impl Large {
    /// The one that all tests share, which is gone with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Large>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::make());
            *shared = Arc::downgrade(&made);
            made
        })
    }

    fn make() -> Self {
        let home = TempDir::new().unwrap();
        // A compressor does not look back as far as a MiB.
        fs::write(home.path().join("large.bin"), tree::noise(1024 * 1024).repeat(LARGE)).unwrap();
        Self { built: Built::new(home.path(), &[]), digest: large_digest(home.path()) }
    }
}

/// The digest of the large file in a directory.
pub fn large_digest(directory: &Path) -> Digest {
    Digest::sha256(&fs::read(directory.join("large.bin")).unwrap())
}

/// A layout with images for two platforms, and an image index of them as `v1`.
pub struct Indexed {
    home: TempDir,
    pub tree: TempDir,
    pub digest: String,
}

impl Indexed {
    pub fn new() -> Self {
        let (home, tree) = (TempDir::new().unwrap(), tree::sample());
        let mut indexed = Self { home, tree, digest: String::new() };
        let mut manifests = Vec::new();
        for architecture in ["amd64", "arm64"] {
            let (platform, location) =
                (format!("linux/{architecture}"), format!("{}:{architecture}", indexed.location()));
            let digest =
                text(&mut bndlr(&["build", arg(indexed.tree.path()), "-o", &location, "--platform", &platform]));
            let size = fs::metadata(indexed.blob(&digest)).unwrap().len();
            let platform = json!({"os": "linux", "architecture": architecture});
            let media_type = "application/vnd.oci.image.manifest.v1+json";
            manifests.push(json!({"mediaType": media_type, "digest": digest, "size": size, "platform": platform}));
        }
        indexed.add(&json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests,
        }));
        indexed
    }

    /// Adds the image index, and nothing else has a name any more.
    fn add(&mut self, index: &Value) {
        let bytes = index.to_string().into_bytes();
        self.digest = Digest::sha256(&bytes).to_string();
        fs::write(self.blob(&self.digest), &bytes).unwrap();
        let tag = json!({"org.opencontainers.image.ref.name": "v1"});
        let entry = json!({
            "mediaType": index["mediaType"], "digest": self.digest, "size": bytes.len(), "annotations": tag,
        });
        let top = json!({"schemaVersion": 2, "manifests": [entry]});
        fs::write(self.layout().join("index.json"), top.to_string()).unwrap();
    }

    pub fn layout(&self) -> PathBuf {
        self.home.path().join("layout")
    }

    fn location(&self) -> String {
        format!("oci:{}", arg(&self.layout()))
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.layout().join("blobs").join(digest.replace(':', "/"))
    }

    /// That `reference` is an image index of two platforms, and what comes for each.
    pub fn assert_pushed_to(&self, reference: &str) {
        let raw: Value = serde_json::from_str(&text(&mut bndlr(&["inspect", "--raw", reference]))).unwrap();
        assert_eq!(raw["manifests"].as_array().map(Vec::len), Some(2), "{raw}");
        let home = TempDir::new().unwrap();
        tree::assert_same(self.tree.path(), &pull(reference, home.path()));
        run(&mut bndlr(&["copy", reference, &format!("oci:{}", arg(&home.path().join("copied")))]));
    }
}

/// An archive of what is `v1` in a layout, for programs that read no directories.
pub fn archived(layout: &Path, home: &Path) -> PathBuf {
    let archive = home.join("archive.tar");
    let (from, to) = (format!("oci:{}:v1", arg(layout)), format!("archive:{}:v1", arg(&archive)));
    run(&mut bndlr(&["copy", &from, &to]));
    archive
}
