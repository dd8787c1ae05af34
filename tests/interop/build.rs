//! A directory packed into a layout, and the files that it consists of there.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::run::{arg, bndlr, run, text};

/// An image layout that `bndlr build` made, with one image in it, tagged `v1`.
pub struct Built {
    home: TempDir,
    pub digest: String,
}

impl Built {
    pub fn new(directory: &Path, arguments: &[&str]) -> Self {
        let home = TempDir::new().unwrap();
        let location = format!("oci:{}:v1", arg(&home.path().join("layout")));
        let digest = text(bndlr(&["build", arg(directory), "-o", &location]).args(arguments));
        Self { home, digest }
    }

    pub fn layout(&self) -> PathBuf {
        self.home.path().join("layout")
    }

    /// A name for a file of the test's own, which goes with the layout.
    pub fn aside(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn blob(&self, digest: &Value) -> PathBuf {
        let (algorithm, hex) = digest.as_str().unwrap().split_once(':').unwrap();
        self.layout().join("blobs").join(algorithm).join(hex)
    }

    fn manifest(&self) -> Value {
        let file = self.blob(&Value::from(self.digest.as_str()));
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
    }

    /// The file that is the layer, under a name that programs take for a compressed archive.
    pub fn layer(&self) -> PathBuf {
        let layer = self.aside("layer.tar.gz");
        fs::copy(self.blob(&self.manifest()["layers"][0]["digest"]), &layer).unwrap();
        layer
    }

    /// The digest of the archive that is in the layer, from the config.
    pub fn diff_id(&self) -> String {
        let config = fs::read(self.blob(&self.manifest()["config"]["digest"])).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        config["rootfs"]["diff_ids"][0].as_str().unwrap().to_owned()
    }

    /// An empty directory beside the layout.
    pub fn directory(&self, name: &str) -> PathBuf {
        let directory = self.aside(name);
        fs::create_dir(&directory).unwrap();
        directory
    }
}

/// What `bndlr pull` makes of `location`.
pub fn pull(location: &str, home: &Path) -> PathBuf {
    let directory = home.join("pulled");
    run(&mut bndlr(&["pull", location, "-o", arg(&directory)]));
    directory
}
