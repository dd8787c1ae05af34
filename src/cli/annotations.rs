//! What a manifest is annotated with: what the user says, what a file says, and where the directory comes from.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::{Error, Exit};
use super::git;
use super::options::pair;
use super::output::Output;

/// The only key of an annotation file that a bundle has a place for.
const MANIFEST: &str = "$manifest";
/// The largest annotation file, in bytes: no manifest is larger.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// What the manifest is annotated with. What is said with `-a` counts more than what the file says, and that more than
/// what git says.
#[derive(Args, Debug)]
pub(super) struct AnnotationArgs {
    /// Annotate the manifest
    #[arg(short, long = "annotation", value_name = "KEY=VALUE", value_parser = pair, help_heading = "Image")]
    annotations: Vec<(String, String)>,
    /// Annotate it with what this file says, as oras has it: {"$manifest": {"key": "value"}}
    #[arg(long, value_name = "FILE", help_heading = "Image")]
    annotation_file: Option<PathBuf>,
    /// Annotate it with the commit, the source and the version of the directory, from git
    ///
    /// That is org.opencontainers.image.revision, with -dirty at its end if what is packed is not what was committed;
    /// .source, the URL of the remote "origin" without any password; and .version, a tag of this very commit. The digest
    /// then depends on them.
    #[arg(long, help_heading = "Image")]
    annotate_git: bool,
}

impl AnnotationArgs {
    /// Whether the manifest is annotated at all.
    pub(super) fn is_any(&self) -> bool {
        !self.annotations.is_empty() || self.annotation_file.is_some() || self.annotate_git
    }

    /// All of them, for an image of `directory`.
    pub(super) async fn all(&self, directory: &Path, output: &Output) -> Result<BTreeMap<String, String>, Error> {
        let mut all = if self.annotate_git { git::annotations(directory, output).await? } else { BTreeMap::new() };
        if let Some(path) = &self.annotation_file {
            all.extend(read(path)?);
        }
        all.extend(self.annotations.iter().cloned());
        Ok(all)
    }
}

/// The annotations that a file has for the manifest.
fn read(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let shown = path.display();
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE).read_to_string(&mut text))
        .map_err(|error| Error::new(Exit::Local, format!("cannot read {shown}: {error}")))?;
    let expected = r#"it is to be {"$manifest": {"key": "value"}}"#;
    let mut parts: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&text)
        .map_err(|error| Error::usage(format!("{shown} has no annotations: {error}")).hint(expected))?;
    let manifest = parts.remove(MANIFEST).unwrap_or_default();
    match parts.keys().next() {
        None => Ok(manifest),
        Some(other) => {
            Err(Error::usage(format!("{shown} annotates {other:?}, and a bundle has annotations of {MANIFEST} alone"))
                .hint(expected))
        }
    }
}
