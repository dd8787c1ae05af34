//! Publishing a bundle at one destination or several, under a contract: what can be known beforehand is looked at
//! everywhere before anything is sent anywhere. From then on, one that fails does not keep the others from it.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::{Map, Value, json};

use super::contract::ContractArgs;
use super::deliver::{Delivery, Destination, Done, say_ended};
use super::error::{Error, Exit};
use super::output::{Output, size};
use super::progress;
use crate::content::{Alike, Fate, Outcome, Publication, Target};
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::pack::Bundle;
use crate::reference::{Repository, Tag};

/// A bundle, where it goes, and what must not happen there.
pub(super) struct Publishing<'a> {
    pub(super) bundle: &'a Bundle,
    pub(super) delivery: Delivery<'a>,
    pub(super) contract: &'a ContractArgs,
}

/// What became of the bundle at a destination, or would become of it.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) place: String,
    /// All tags that are meant there.
    wanted: Vec<Tag>,
    /// The image that its tags have now.
    pub(super) image: Descriptor,
    /// What its tags point to, as far as they have been seen to.
    pub(super) tags: Vec<(Tag, Digest)>,
    pub(super) blobs: Vec<(Descriptor, Outcome)>,
    /// Whether anything there is another than before.
    pub(super) changed: bool,
    pub(super) failure: Option<Error>,
}

/// The word in JSON for where something failed.
const FAILED: &str = "failed";

/// Another repository of the same registry, which blobs may be mounted from.
#[derive(Clone, Copy)]
struct Sibling<'a> {
    repository: &'a Repository,
    /// Whether all of them would be sent there before.
    is_sent: bool,
}

impl Publishing<'_> {
    /// Publishes the bundle at each destination, one after the other, or says what that would come to.
    ///
    /// # Errors
    /// When something stands in the way that can be known beforehand: then nothing has been sent anywhere. What fails later
    /// is said for its destination.
    pub(super) async fn at(&self, destinations: &[Destination], output: &Output) -> Result<Vec<Published>, Error> {
        self.delivery.expect(destinations).map_err(|error| {
            error.hint(
                "files, modes, annotations, labels, the platform and SOURCE_DATE_EPOCH decide it; nothing was sent",
            )
        })?;
        let fates = if self.contract.is_blind() { Vec::new() } else { self.look(destinations).await? };
        let mut done: Vec<Published> = Vec::new();
        for (number, destination) in destinations.iter().enumerate() {
            let before = destinations.iter().zip(&done).filter(|(_, published)| published.failure.is_none());
            let sibling = destination.sibling(before.map(|(destination, _)| destination));
            let mut published = Published::nothing(destination, self.bundle);
            let result = match fates.get(number) {
                None => self.push(destination, sibling, output, &mut published).await,
                Some(fates) if self.contract.check => {
                    let mut before = destinations.iter().zip(&done);
                    let sibling = sibling.map(|repository| Sibling {
                        repository,
                        is_sent: before.any(|(at, done)| at.repository() == Some(repository) && !done.blobs.is_empty()),
                    });
                    self.check(destination, fates, sibling, output, &mut published).await
                }
                Some(fates) => self.publish(destination, fates, sibling, output, &mut published).await,
            };
            published.failure = result.err();
            done.push(published);
        }
        Ok(done)
    }

    /// What would become of the tags of each destination, if none of them stands in the way.
    async fn look(&self, destinations: &[Destination]) -> Result<Vec<Vec<Fate>>, Error> {
        let (mut all, mut failures) = (Vec::new(), Vec::new());
        for destination in destinations {
            match self.look_at(destination).await {
                Ok(fates) => all.push(fates),
                Err(error) => failures.push((destination.place(), error)),
            }
        }
        match together(failures, destinations.len()) {
            None => Ok(all),
            Some(error) => Err(error),
        }
    }

    async fn look_at(&self, destination: &Destination) -> Result<Vec<Fate>, Error> {
        let Some(target) = self.delivery.find_target(destination).await? else {
            return Ok(vec![Fate::Moves(None); destination.tags.len()]);
        };
        let publication = self.publication(destination);
        let (mut fates, mut refused) = (Vec::new(), Vec::new());
        for tag in &destination.tags {
            let fate = publication.look(&*target, tag).await.map_err(|error| destination.explain(error))?;
            if let Fate::Refused(found) = fate {
                refused.push(self.refusal(destination, tag, found));
            }
            fates.push(fate);
        }
        if refused.is_empty() {
            return Ok(fates);
        }
        Err(Error::new(Exit::Conflict, refused.join("; "))
            .hint("nothing was sent: push it under another tag, or without --immutable to move this one"))
    }

    fn refusal(&self, destination: &Destination, tag: &Tag, found: Digest) -> String {
        let (place, digest) = (destination.place(), self.delivery.manifest.digest());
        format!("{place}:{tag} has digest {found}, and an immutable tag is not moved to {digest}")
    }

    /// A tag of which a certain digest is expected is not left alone with another one.
    fn publication(&self, destination: &Destination) -> Publication<'_> {
        let may_be_alike = self.contract.keeps_tags() && destination.expected.is_empty();
        Publication {
            manifest: self.delivery.manifest,
            alike: may_be_alike.then_some(self.bundle as &dyn Alike),
            immutable: self.contract.immutable,
        }
    }

    /// Pushes without a look.
    async fn push(
        &self,
        destination: &Destination,
        sibling: Option<&Repository>,
        output: &Output,
        published: &mut Published,
    ) -> Result<(), Error> {
        let done = Arc::<Done>::default();
        let copied = self.delivery.to_one(destination, sibling, &done, output).await;
        let (steps, digest) = (done.steps(), published.image.digest);
        published.tags = steps.tags.into_iter().map(|(tag, _)| (tag, digest)).collect();
        published.blobs = steps.blobs;
        published.changed = copied?.changed;
        Ok(())
    }

    /// Sends the image, if a tag is to be moved, and moves the tags when it is there.
    async fn publish(
        &self,
        destination: &Destination,
        fates: &[Fate],
        sibling: Option<&Repository>,
        output: &Output,
        published: &mut Published,
    ) -> Result<(), Error> {
        let is_move = |fate: &Fate| matches!(fate, Fate::Moves(_));
        if fates.iter().any(is_move) {
            let done = Arc::<Done>::default();
            let copied = self.delivery.copy_to(destination, &[], sibling, &done, output).await;
            published.blobs = done.steps().blobs;
            published.changed = copied?.changed;
        }
        let mut target = None;
        for ((tag, fate), name) in destination.tags.iter().zip(fates).zip(destination.names()) {
            let fate = if is_move(fate) {
                let target = match &target {
                    Some(target) => target,
                    None => target.insert(self.delivery.target(destination).await?),
                };
                let fate = self.publication(destination).tag(&**target, tag).await;
                fate.map_err(|error| destination.explain(error))?
            } else {
                fate.clone()
            };
            if let Fate::Refused(found) = fate {
                return Err(Error::new(Exit::Conflict, self.refusal(destination, tag, found))
                    .hint("somebody else has just pushed it; what was sent is there by its digest alone"));
            }
            let digest = published.note(tag, &fate, self.bundle);
            say_ended(destination, &name, digest, is_move(&fate), output);
        }
        Ok(())
    }

    /// Says what would be sent, and which tags would be moved.
    async fn check(
        &self,
        destination: &Destination,
        fates: &[Fate],
        sibling: Option<Sibling<'_>>,
        output: &Output,
        published: &mut Published,
    ) -> Result<(), Error> {
        output.say(format!("Checking {}", destination.names()[0]));
        let stay = !fates.is_empty() && fates.iter().all(|fate| matches!(fate, Fate::Stays(_)));
        if !(stay && self.contract.keeps_tags()) {
            let target = self.delivery.find_target(destination).await?;
            published.blobs = self.missing(target.as_deref(), sibling).await?;
            published.changed = published.blobs.iter().any(|(_, outcome)| *outcome != Outcome::Exists);
            if fates.is_empty() {
                let manifest = self.delivery.manifest.descriptor();
                published.changed |= !exists(target.as_deref(), &manifest).await?;
            }
        }
        for (blob, outcome) in &published.blobs {
            let would = match outcome {
                Outcome::Exists | Outcome::LeftOut => "Exists",
                Outcome::Uploaded => "Would upload",
                Outcome::Mounted => "Would mount",
            };
            output.say(format!("{would} {} {}", progress::name(blob), size(blob.size)));
        }
        for ((tag, fate), name) in destination.tags.iter().zip(fates).zip(destination.names()) {
            let digest = published.note(tag, fate, self.bundle);
            output.say(match fate {
                Fate::Moves(None) => format!("Would push {name} with digest {digest}"),
                Fate::Moves(Some(found)) => format!("Would move {name} from {found} to {digest}"),
                Fate::Stays(_) | Fate::Refused(_) => format!("Unchanged {name} with digest {digest}"),
            });
        }
        Ok(())
    }

    /// What would become of each blob.
    async fn missing(
        &self,
        target: Option<&dyn Target>,
        sibling: Option<Sibling<'_>>,
    ) -> Result<Vec<(Descriptor, Outcome)>, Error> {
        let mounted_from = match sibling {
            Some(Sibling { repository, .. }) => Some(self.delivery.connection.repository(repository)?),
            None => None,
        };
        let mounted_from = mounted_from.as_ref().map(|repository| repository as &dyn Target);
        let is_sent = sibling.is_some_and(|sibling| sibling.is_sent);
        let blobs: Vec<_> = self.delivery.manifest.manifest().successors().cloned().collect();
        let look = |blob: Descriptor| async move {
            let outcome = if exists(target, &blob).await? {
                Outcome::Exists
            } else if is_sent || exists(mounted_from, &blob).await? {
                Outcome::Mounted
            } else {
                Outcome::Uploaded
            };
            Ok((blob, outcome))
        };
        stream::iter(blobs.into_iter().map(look)).buffered(self.delivery.concurrency).try_collect().await
    }
}

/// Whether some content is there, where anything is at all.
async fn exists(target: Option<&dyn Target>, content: &Descriptor) -> Result<bool, Error> {
    match target {
        Some(target) => Ok(target.exists(content).await?),
        None => Ok(false),
    }
}

impl Published {
    fn nothing(destination: &Destination, bundle: &Bundle) -> Self {
        Self {
            place: destination.place(),
            wanted: destination.tags.clone(),
            image: bundle.raw_manifest().descriptor(),
            tags: Vec::new(),
            blobs: Vec::new(),
            changed: false,
            failure: None,
        }
    }

    /// Takes note of what became of a tag, and returns what it has now. Where none has got the image that was packed, the
    /// first one's counts.
    fn note(&mut self, tag: &Tag, fate: &Fate, bundle: &Bundle) -> Digest {
        let found = match fate {
            Fate::Stays(found) => found.clone(),
            Fate::Moves(_) | Fate::Refused(_) => bundle.raw_manifest().descriptor(),
        };
        let digest = found.digest;
        self.changed |= matches!(fate, Fate::Moves(_));
        self.tags.push((tag.clone(), digest));
        if self.tags.len() == 1 || digest == bundle.raw_manifest().digest() {
            self.image = found;
        }
        digest
    }

    /// What a tag points to, if it has been seen to.
    fn digest_of(&self, tag: &Tag) -> Option<Digest> {
        self.tags.iter().find(|(other, _)| other == tag).map(|(_, digest)| *digest)
    }

    /// `host/repository@sha256:…`
    pub(super) fn reference(&self) -> String {
        format!("{}@{}", self.place, self.image.digest)
    }

    pub(super) fn to_json(&self) -> Value {
        let tags: Map<_, _> = self.wanted.iter().map(|tag| (tag.to_string(), json!(self.digest_of(tag)))).collect();
        match &self.failure {
            Some(error) => {
                let mut failed = error.without_passwords().to_json();
                failed["reference"] = json!(self.place);
                failed["result"] = json!(FAILED);
                failed["tags"] = Value::Object(tags);
                failed
            }
            None => json!({
                "reference": self.reference(),
                "digest": self.image.digest,
                "result": result(self.changed),
                "tags": tags,
            }),
        }
    }
}

/// The word for it in JSON.
fn result(changed: bool) -> &'static str {
    if changed { "pushed" } else { "unchanged" }
}

/// The word for what became of all in JSON.
pub(super) fn result_of(published: &[Published]) -> &'static str {
    if published.iter().any(|published| published.failure.is_some()) {
        return FAILED;
    }
    result(published.iter().any(|published| published.changed))
}

/// What failed, of so many, as one error: with the highest exit code of them.
pub(super) fn together(failures: Vec<(String, Error)>, of: usize) -> Option<Error> {
    let count = failures.len();
    let message = failures.iter().map(|(place, error)| format!("{place}: {}", error.message)).collect::<Vec<_>>();
    let worst = failures.into_iter().map(|(_, error)| error).reduce(|a, b| if b.exit > a.exit { b } else { a })?;
    if of == 1 {
        return Some(worst);
    }
    Some(Error { message: format!("{count} of {of} failed: {}", message.join("; ")), ..worst })
}
