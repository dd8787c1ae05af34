//! `bndlr gc`

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::duration;
use super::error::{Error, Exit};
use super::output::{self, Format, Output};
use super::storage::Place;
use crate::server::collect::{Collected, DryRun, Freed, Options, collect};
use crate::server::storage::{self, Item, Key};

/// Remove from a registry what nobody needs any more
///
/// That is: manifests that no tag leads to, directly or through an image index or a subject; blobs that no manifest
/// refers to; uploads that nobody goes on with. The registry may be running, and taking pushes, meanwhile. Prints what
/// it freed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr gc --root /var/lib/bndlr --dry-run
  bndlr gc --root /var/lib/bndlr --grace 7d --keep-untagged
  bndlr gc --storage s3://bucket/registry")]
pub(super) struct Collect {
    #[command(flatten)]
    place: Place,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
    /// Keep what was pushed, mounted or asked for less than this ago; it has to be longer than a push takes
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    grace: Duration,
    /// Keep manifests that no tag leads to
    #[arg(long)]
    keep_untagged: bool,
    /// End uploads that nobody has gone on with for so long
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = duration::parse)]
    upload_timeout: Duration,
}

impl Collect {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let options =
            Options { grace: self.grace, keep_untagged: self.keep_untagged, upload_timeout: self.upload_timeout };
        let Some(storage) = self.place.open_existing().await? else {
            return Err(Error::usage("no registry was named").hint("--root DIR or --storage URL names one"));
        };
        if !self.dry_run {
            let Collected { freed, damaged } = collect(&*storage, &options).await?;
            return report(output, &damaged, &format!("Freed {}", describe(&freed)), || to_json(&freed, None));
        }
        let dry_run = Arc::new(DryRun::over(storage));
        let Collected { freed, damaged } = collect(&*dry_run, &options).await?;
        let items = dry_run.discarded();
        let mut lines: Vec<String> = items.iter().map(|item| format!("Would remove {item}")).collect();
        lines.push(format!("Would free {}", describe(&freed)));
        report(output, &damaged, &lines.join("\n"), || to_json(&freed, Some(&items)))
    }
}

/// Says what was done, and fails when something could not be read.
fn report(
    output: &Output,
    damaged: &[storage::Error],
    text: &str,
    json: impl FnOnce() -> serde_json::Value,
) -> Result<(), Error> {
    if damaged.is_empty() {
        return output.result(text, json);
    }
    // There is one JSON document, and then that is the error's.
    if output.format == Format::Text {
        output.result(text, json)?;
    }
    let words: Vec<String> = damaged.iter().map(ToString::to_string).collect();
    Err(Error::new(Exit::Content, words.join("; "))
        .hint("all that is in the same repository was kept; push it again, or delete it, and collect once more"))
}

/// `3 manifests, 5 blobs and 1 upload: 12 MB`
fn describe(freed: &Freed) -> String {
    let Freed { manifests, blobs, uploads, bytes, .. } = *freed;
    let count = |number: u64, what| output::count(number as usize, what);
    format!(
        "{}, {} and {}: {}",
        count(manifests, "manifest"),
        count(blobs, "blob"),
        count(uploads, "upload"),
        output::size(bytes)
    )
}

fn to_json(freed: &Freed, would: Option<&[Item]>) -> serde_json::Value {
    let Freed { manifests, links, blobs, uploads, bytes } = freed;
    let mut json = json!({"manifests": manifests, "links": links, "blobs": blobs, "uploads": uploads, "bytes": bytes});
    json["dryRun"] = would.is_some().into();
    if let Some(items) = would {
        json["items"] = items.iter().map(item_to_json).collect();
    }
    json
}

fn item_to_json(item: &Item) -> serde_json::Value {
    let (kind, repository, digest) = match item {
        Item::Content(digest) => ("blob", None, digest.to_string()),
        Item::Record(Key::Blob(name, digest)) => ("link", Some(name), digest.to_string()),
        Item::Record(Key::Manifest(name, digest)) => ("manifest", Some(name), digest.to_string()),
        Item::Record(Key::Referrer(name, _, digest)) => ("referrer", Some(name), digest.to_string()),
        Item::Record(Key::Tag(name, tag)) => ("tag", Some(name), tag.to_string()),
    };
    let mut json = json!({"kind": kind, "digest": digest});
    if let Some(name) = repository {
        json["repository"] = name.as_str().into();
    }
    json
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Self {
        let exit = match error {
            storage::Error::Damaged(_) => Exit::Content,
            _ => Exit::Local,
        };
        Self::new(exit, error)
    }
}
