//! Where a push goes: to a registry of ours, to Debian's, which heeds no conditions, or to an image layout.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use serde_json::Value;

use crate::docker_registry::DockerRegistry;
use crate::embedded::Embedded;
use crate::program::{Desk, Ran};

/// A repository or a layout with nothing in it.
pub struct Place {
    /// Without a tag.
    pub name: String,
    desk: Desk,
    _server: Box<dyn Any + Send>,
}

impl Place {
    /// One of each kind that there is on this machine.
    pub async fn all() -> Vec<Self> {
        let ours = Embedded::in_memory().await;
        let mut all = vec![
            Self { name: format!("{}/team/app", ours.address()), desk: desk(), _server: Box::new(ours) },
            Self { name: "oci:layout".to_owned(), desk: desk(), _server: Box::new(()) },
        ];
        if let Some(debian) = DockerRegistry::start("") {
            all.push(Self { name: format!("{}/team/app", debian.address), desk: desk(), _server: Box::new(debian) });
        }
        all
    }

    pub fn is_layout(&self) -> bool {
        self.name.starts_with("oci:")
    }

    /// Pushes `tree` with these flags. `REF` stands for the place.
    pub fn push(&self, flags: &str) -> Ran {
        self.push_at("", flags)
    }

    /// The same at a time, which goes into the image.
    pub fn push_at(&self, epoch: &str, flags: &str) -> Ran {
        let arguments = format!("push tree {flags} -v").replace("REF", &self.name);
        self.desk.run_with(&arguments.split_whitespace().collect::<Vec<_>>(), &[("SOURCE_DATE_EPOCH", epoch)])
    }

    /// The JSON document of a push that is done.
    #[track_caller]
    pub fn pushed(&self, flags: &str) -> Value {
        let ran = self.push(&format!("{flags} --format json"));
        assert_eq!(ran.code, Some(0), "{}: {ran:?}", self.name);
        ran.json()
    }

    /// What a tag points to.
    pub fn digest(&self, tag: &str) -> Option<String> {
        let ran = self.desk.run(&format!("resolve {}:{tag}", self.name));
        (ran.code == Some(0)).then(|| ran.stdout.trim_end().to_owned())
    }

    /// Changes the tree that is pushed.
    pub fn change(&self, content: &str) {
        self.desk.write("tree/a.txt", content);
    }

    /// Runs something, and fails if that writes anything there.
    #[track_caller]
    pub fn without_writing<T>(&self, run: impl FnOnce(&Self) -> (Ran, T)) -> T {
        let before = self.files();
        let (ran, result) = run(self);
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            assert!(!ran.stderr.contains(&format!(" > {method} ")), "{}: {}", self.name, ran.stderr);
        }
        assert_eq!(self.files(), before, "{}", self.name);
        result
    }

    /// Every file of the desk, but for the program's cache, and when it was written.
    fn files(&self) -> BTreeMap<String, SystemTime> {
        let mut files = BTreeMap::new();
        list(&self.desk.path(""), &mut files);
        files.retain(|path, _| !path.contains("/.cache"));
        files
    }

    pub fn desk(&self) -> &Desk {
        &self.desk
    }
}

fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("tree/a.txt", "alpha\n");
    desk
}

fn list(folder: &Path, files: &mut BTreeMap<String, SystemTime>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let (path, metadata) = (entry.path(), entry.metadata().unwrap());
        files.insert(path.to_str().unwrap().to_owned(), metadata.modified().unwrap());
        if metadata.is_dir() {
            list(&path, files);
        }
    }
}
