//! Taking an image to where it should be: the common part of `push`, `build`, `copy` and `attach`.

use std::sync::{Arc, Mutex, PoisonError};

use super::ahead::Ahead;
use super::connect::Connection;
use super::error::{Error, Exit};
use super::location::Location;
use super::output::{Output, count};
use super::progress::Progress;
use crate::content::{Copied, CopyOptions, DEFAULT_CONCURRENCY, Look, Observer, Outcome, Source, Target, copy};
use crate::digest::Digest;
use crate::layout::{ArchiveWriter, Directory};
use crate::manifest::{Descriptor, RawManifest};
use crate::reference::{Repository, Tag};

/// A repository, image layout or archive, and the tags that an image gets there.
pub(super) struct Destination {
    location: Location,
    pub(super) tags: Vec<Tag>,
    /// Digests that the image must have.
    pub(super) expected: Vec<Digest>,
    /// What the tags point to, if that is being asked already.
    ahead: Option<Ahead>,
}

impl Destination {
    /// Where these locations are, each place once, with all tags that are meant there and `tags`.
    pub(super) fn group(locations: &[Location], tags: &[Tag]) -> Vec<Self> {
        let mut destinations: Vec<Self> = Vec::new();
        for location in locations {
            let at = destinations.iter().position(|other| other.location.place() == location.place());
            let destination = match at {
                Some(at) => &mut destinations[at],
                None => destinations.push_mut(Self::untagged(location)),
            };
            destination.expected.extend(location.digest());
            for tag in location.tags().iter().chain(tags) {
                if !destination.tags.contains(tag) {
                    destination.tags.push(tag.clone());
                }
            }
        }
        destinations
    }

    /// Where this location is, for something that gets no tag there.
    pub(super) fn untagged(location: &Location) -> Self {
        Self { location: location.clone(), tags: Vec::new(), expected: Vec::new(), ahead: None }
    }

    /// Begins to ask a registry what the tags point to, while something else is done: a push is to know it.
    pub(super) fn look_ahead(&mut self, connection: &Connection) -> Result<(), Error> {
        if let Some(repository) = self.repository() {
            self.ahead = Some(Ahead::begin(connection.repository(repository)?, self.tags.clone()));
        }
        Ok(())
    }

    /// What that came to.
    async fn look(&self) -> Result<Option<Look>, Error> {
        let Some(ahead) = &self.ahead else { return Ok(None) };
        ahead.look().await.map_err(|error| self.explain(error))
    }

    /// Where it is, without tags.
    pub(super) fn place(&self) -> String {
        self.location.place()
    }

    /// Whether it is a file that is replaced as a whole.
    pub(super) fn is_archive(&self) -> bool {
        matches!(self.location, Location::Archive(..))
    }

    /// The repository, if it is one.
    pub(super) fn repository(&self) -> Option<&Repository> {
        match &self.location {
            Location::Registry(reference) => Some(&reference.repository),
            Location::Layout(..) | Location::Archive(..) => None,
        }
    }

    /// A repository of the same registry among these.
    pub(super) fn sibling<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> Option<&'a Repository> {
        let registry = &self.repository()?.registry;
        others.into_iter().filter_map(Self::repository).find(|other| other.registry == *registry)
    }

    /// The same error about what is here.
    pub(super) fn explain(&self, error: impl Into<Error>) -> Error {
        error.into().about(&self.location)
    }

    /// Where each tag is; the place alone, where there is no tag.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.tags[..] {
            [] => vec![self.place()],
            tags => tags.iter().map(|tag| format!("{}:{tag}", self.place())).collect(),
        }
    }
}

/// An image, and how it is taken somewhere.
pub(super) struct Delivery<'a> {
    pub(super) source: &'a dyn Source,
    pub(super) manifest: &'a RawManifest,
    pub(super) connection: &'a Connection,
    /// How many blobs are under way at once.
    pub(super) concurrency: usize,
    /// Whether what refers to the image goes with it.
    pub(super) referrers: bool,
}

impl<'a> Delivery<'a> {
    /// The image of `source` that has this manifest, alone.
    pub(super) fn of(source: &'a dyn Source, manifest: &'a RawManifest, connection: &'a Connection) -> Self {
        Self { source, manifest, connection, concurrency: DEFAULT_CONCURRENCY, referrers: false }
    }

    /// Copies the image to each destination, one after the other, and says how it goes, until one fails. What a registry has
    /// got for one of its repositories is mounted in the others.
    pub(super) async fn to(&self, destinations: &[Destination], output: &Output) -> Result<Vec<Copied>, Error> {
        self.expect(destinations)?;
        let mut done = Vec::new();
        for (at, destination) in destinations.iter().enumerate() {
            let sibling = destination.sibling(&destinations[..at]);
            done.push(self.to_one(destination, sibling, &Arc::default(), output).await?);
        }
        Ok(done)
    }

    /// Fails if the image has not the digest that it has to have somewhere: before anything is sent anywhere.
    pub(super) fn expect(&self, destinations: &[Destination]) -> Result<(), Error> {
        let digest = self.manifest.digest();
        match destinations.iter().flat_map(|destination| &destination.expected).find(|expected| **expected != digest) {
            None => Ok(()),
            Some(expected) => {
                Err(Error::new(Exit::Conflict, format!("the image has digest {digest}, expected {expected}")))
            }
        }
    }

    /// Copies the image to a destination, and lets all of its tags point to it. `sibling` is another repository of the same
    /// registry that has it. What is done is noted in `done`, also when something fails.
    pub(super) async fn to_one(
        &self,
        destination: &Destination,
        sibling: Option<&Repository>,
        done: &Arc<Done>,
        output: &Output,
    ) -> Result<Copied, Error> {
        let copied = self.copy_to(destination, &destination.tags, sibling, done, output).await;
        let copied = copied.inspect_err(|_| {
            for (tag, is_moved) in done.steps().tags {
                let name = format!("{}:{tag}", destination.place());
                say_ended(destination, &name, self.manifest.digest(), is_moved, output);
            }
        })?;
        if self.referrers {
            output.say(format!("{} with it", count(copied.referrers.len(), "referrer")));
        }
        for name in destination.names() {
            say_ended(destination, &name, self.manifest.digest(), copied.changed, output);
        }
        Ok(copied)
    }

    /// Copies the image to a destination, where it gets these tags. What is done is noted in `done`, also when something
    /// fails.
    pub(super) async fn copy_to(
        &self,
        destination: &Destination,
        tags: &[Tag],
        sibling: Option<&Repository>,
        done: &Arc<Done>,
        output: &Output,
    ) -> Result<Copied, Error> {
        let [begins, goes_on] = match destination.location {
            Location::Registry(_) => ["Pushing to", "Uploading"],
            Location::Layout(..) | Location::Archive(..) => ["Writing to", "Writing"],
        };
        output.say(format!("{begins} {}", destination.names()[0]));
        let observer = Arc::new(Noting { progress: Progress::new(output, goes_on), done: Arc::clone(done) });
        let (concurrency, referrers, mount_from) = (self.concurrency, self.referrers, sibling.cloned());
        let look = destination.look().await?;
        let options = CopyOptions { concurrency, referrers, mount_from, look, observer };
        let copied = self.deliver(destination, tags, &options).await;
        copied.map_err(|error| error.about(&destination.location))
    }

    async fn deliver(&self, destination: &Destination, tags: &[Tag], options: &CopyOptions) -> Result<Copied, Error> {
        if let Location::Archive(path, _) = &destination.location {
            let archive = ArchiveWriter::create(path).await?;
            let copied = self.copy(&archive, tags, options).await?;
            archive.finish().await?;
            return Ok(copied);
        }
        self.copy(&*self.target(destination).await?, tags, options).await
    }

    /// Where a destination is that can be added to.
    pub(super) async fn target(&self, destination: &Destination) -> Result<Box<dyn Target>, Error> {
        match &destination.location {
            Location::Registry(reference) => Ok(Box::new(self.connection.repository(&reference.repository)?)),
            Location::Layout(path, _) => Ok(Box::new(Directory::create(path).await?)),
            Location::Archive(..) => {
                Err(Error::usage(format!("{} is written as a whole, and not added to", destination.place())))
            }
        }
    }

    /// The same for somebody who only looks: nothing, where nothing is yet.
    pub(super) async fn find_target(&self, destination: &Destination) -> Result<Option<Box<dyn Target>>, Error> {
        if let Location::Layout(path, _) = &destination.location {
            return Ok(Directory::find(path).await?.map(|layout| Box::new(layout) as Box<dyn Target>));
        }
        self.target(destination).await.map(Some)
    }

    async fn copy(&self, target: &dyn Target, tags: &[Tag], options: &CopyOptions) -> Result<Copied, Error> {
        Ok(copy(self.source, &self.manifest.digest().into(), target, tags, options).await?)
    }
}

/// Says what has become of a tag, or of a place without one.
pub(super) fn say_ended(destination: &Destination, name: &str, digest: Digest, changed: bool, output: &Output) {
    let ended = match destination.location {
        _ if !changed => "Unchanged",
        Location::Registry(_) => "Pushed",
        Location::Layout(..) | Location::Archive(..) => "Wrote",
    };
    output.say(format!("{ended} {name} with digest {digest}"));
}

/// What has been done at a destination so far, which somebody notes.
#[derive(Default)]
pub(super) struct Done(Mutex<Steps>);

/// What has been done at a destination.
#[derive(Clone, Default)]
pub(super) struct Steps {
    /// The tags that point to the image, each with whether it was moved there.
    pub(super) tags: Vec<(Tag, bool)>,
    /// The blobs that are there.
    pub(super) blobs: Vec<(Descriptor, Outcome)>,
}

impl Done {
    fn note(&self, step: impl FnOnce(&mut Steps)) {
        step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn steps(&self) -> Steps {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Shows how a copy goes on, and notes it.
struct Noting {
    progress: Progress,
    done: Arc<Done>,
}

impl Observer for Noting {
    fn started(&self, descriptor: &Descriptor) {
        self.progress.started(descriptor);
    }

    fn advanced(&self, descriptor: &Descriptor, bytes: u64) {
        self.progress.advanced(descriptor, bytes);
    }

    fn finished(&self, descriptor: &Descriptor, outcome: Outcome) {
        self.progress.finished(descriptor, outcome);
        self.done.note(|steps| steps.blobs.push((descriptor.clone(), outcome)));
    }

    fn tagged(&self, tag: &Tag, is_moved: bool) {
        self.done.note(|steps| steps.tags.push((tag.clone(), is_moved)));
    }
}
