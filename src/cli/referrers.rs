//! `bndlr referrers`

use std::collections::HashSet;
use std::fmt::Write as _;

use futures::future::{BoxFuture, FutureExt};
use serde_json::{Value, json};

use super::connect::{Images, RegistryArgs, open};
use super::error::{Error, Exit};
use super::location::Location;
use super::options::media_type;
use super::output::{Output, printable};
use crate::digest::Digest;
use crate::manifest::Descriptor;

/// How long a chain of referrers may be.
const MAX_DEPTH: usize = 16;

/// Show what refers to an image: signatures, lists of its parts, whatever was attached to it
///
/// Prints a reference and an artifact type on each line. A registry that does not know referrers is asked for the list that
/// clients keep under a tag there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr referrers localhost:5000/demo:v1
  bndlr referrers localhost:5000/demo:v1 --tree
  bndlr referrers localhost:5000/demo:v1 --artifact-type text/x-report")]
pub(super) struct Referrers {
    /// What is referred to
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// Show what refers to the referrers, too, and so on
    #[arg(long)]
    tree: bool,
    /// Show only what is of this artifact type
    #[arg(long, value_name = "TYPE", value_parser = media_type)]
    artifact_type: Option<String>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// A manifest, and what refers to it.
struct Referrer {
    descriptor: Descriptor,
    referrers: Vec<Referrer>,
}

impl Referrers {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let subject = opened.resolve().await?;
        let mut search = Search {
            images: &*opened.images,
            artifact_type: self.artifact_type.as_deref(),
            is_deep: self.tree,
            seen: HashSet::new(),
        };
        let referrers = search.referrers_of(subject.digest, 0).await?;
        let place = location.place();
        let reference = format!("{place}@{}", subject.digest);
        let text = if self.tree { tree(&reference, &referrers) } else { lines(&place, &referrers) };
        output.result(&text, || {
            let referrers: Vec<_> = referrers.iter().map(|referrer| referrer.to_json(&place, self.tree)).collect();
            json!({"reference": reference, "digest": subject.digest, "referrers": referrers})
        })
    }
}

struct Search<'a> {
    images: &'a dyn Images,
    artifact_type: Option<&'a str>,
    is_deep: bool,
    seen: HashSet<Digest>,
}

impl Search<'_> {
    /// What refers to `subject`, and what refers to that, if it is wanted. Nothing is looked at twice: whoever keeps a list
    /// may say what they like.
    fn referrers_of(&mut self, subject: Digest, depth: usize) -> BoxFuture<'_, Result<Vec<Referrer>, Error>> {
        async move {
            if depth > MAX_DEPTH {
                let message = format!("{subject} is at the end of a chain of more than {MAX_DEPTH} referrers");
                return Err(Error::new(Exit::Content, message));
            }
            let mut found = Vec::new();
            for descriptor in self.images.referrers(subject, self.artifact_type).await? {
                let is_asked = self.seen.insert(descriptor.digest) && self.is_deep;
                let referrers =
                    if is_asked { self.referrers_of(descriptor.digest, depth + 1).await? } else { Vec::new() };
                found.push(Referrer { descriptor, referrers });
            }
            Ok(found)
        }
        .boxed()
    }
}

impl Referrer {
    fn to_json(&self, place: &str, tree: bool) -> Value {
        // A descriptor is always JSON.
        let mut json = serde_json::to_value(&self.descriptor).unwrap_or_default();
        json["reference"] = json!(format!("{place}@{}", self.descriptor.digest));
        if tree {
            json["referrers"] = self.referrers.iter().map(|referrer| referrer.to_json(place, tree)).collect();
        }
        json
    }
}

fn lines(place: &str, referrers: &[Referrer]) -> String {
    let lines: Vec<_> = referrers.iter().map(|referrer| format!("{place}@{}", line(&referrer.descriptor))).collect();
    lines.join("\n")
}

fn tree(root: &str, referrers: &[Referrer]) -> String {
    let mut text = format!("{root}\n");
    branches(&mut text, "", referrers);
    text
}

/// The digest and the artifact type, which may be missing.
fn line(referrer: &Descriptor) -> String {
    let kind = referrer.artifact_type.as_deref().unwrap_or("-");
    format!("{}  {}", referrer.digest, printable(kind))
}

fn branches(text: &mut String, indent: &str, referrers: &[Referrer]) {
    for (at, referrer) in referrers.iter().enumerate() {
        let (fork, beside) = if at + 1 == referrers.len() { ("└── ", "    ") } else { ("├── ", "│   ") };
        // Writing to a string does not fail.
        let _ = writeln!(text, "{indent}{fork}{}", line(&referrer.descriptor));
        branches(text, &format!("{indent}{beside}"), &referrer.referrers);
    }
}
