//! Taking an image to where it should be: the common part of `push`, `build`, `copy` and `attach`.

use std::sync::Arc;

use super::connect::Connection;
use super::error::{Error, Exit};
use super::location::Location;
use super::output::{Output, count};
use super::progress::Progress;
use crate::content::{Copied, CopyOptions, DEFAULT_CONCURRENCY, Source, Target, copy};
use crate::digest::Digest;
use crate::layout::{ArchiveWriter, Directory};
use crate::manifest::RawManifest;
use crate::reference::{Repository, Tag};

/// A repository, image layout or archive, and the tags that an image gets there.
pub(super) struct Destination {
    location: Location,
    pub(super) tags: Vec<Tag>,
    /// Digests that the image must have.
    expected: Vec<Digest>,
}

impl Destination {
    /// Where these locations are, each place once, with all tags that are meant there and `tags`.
    pub(super) fn group(locations: &[Location], tags: &[Tag]) -> Vec<Self> {
        let mut destinations: Vec<Self> = Vec::new();
        for location in locations {
            let at = destinations.iter().position(|other| other.location.place() == location.place());
            let destination = match at {
                Some(at) => &mut destinations[at],
                None => {
                    destinations.push_mut(Self { location: location.clone(), tags: Vec::new(), expected: Vec::new() })
                }
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
        Self { location: location.clone(), tags: Vec::new(), expected: Vec::new() }
    }

    /// Where it is, without tags.
    pub(super) fn place(&self) -> String {
        self.location.place()
    }

    /// The repository, if it is one.
    fn repository(&self) -> Option<&Repository> {
        match &self.location {
            Location::Registry(reference) => Some(&reference.repository),
            Location::Layout(..) | Location::Archive(..) => None,
        }
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

    /// Copies the image to each destination, one after the other, and says how it goes. What a registry has got for one of
    /// its repositories is mounted in the others.
    pub(super) async fn to(&self, destinations: &[Destination], output: &Output) -> Result<Vec<Copied>, Error> {
        let digest = self.manifest.digest();
        // Before the first, so that either all are right or nothing has been sent.
        for &expected in destinations.iter().flat_map(|destination| &destination.expected) {
            if expected != digest {
                return Err(Error::new(Exit::Conflict, format!("the image has digest {digest}, expected {expected}")));
            }
        }
        let mut done = Vec::new();
        for (at, destination) in destinations.iter().enumerate() {
            let registry = destination.repository().map(|repository| &repository.registry);
            let mut before = destinations[..at].iter().filter_map(Destination::repository);
            let sibling = before.find(|repository| Some(&repository.registry) == registry);
            done.push(self.to_one(destination, sibling, output).await?);
        }
        Ok(done)
    }

    /// Copies the image to a destination. `sibling` is another repository of the same registry that has it.
    async fn to_one(
        &self,
        destination: &Destination,
        sibling: Option<&Repository>,
        output: &Output,
    ) -> Result<Copied, Error> {
        let names = destination.names();
        let [begins, goes_on, ended] = match destination.location {
            Location::Registry(_) => ["Pushing to", "Uploading", "Pushed"],
            Location::Layout(..) | Location::Archive(..) => ["Writing to", "Writing", "Wrote"],
        };
        output.say(format!("{begins} {}", names[0]));
        let observer = Arc::new(Progress::new(output, goes_on));
        let (concurrency, referrers, mount_from) = (self.concurrency, self.referrers, sibling.cloned());
        let options = CopyOptions { concurrency, referrers, mount_from, observer };
        let delivered = self.deliver(destination, &options).await;
        let copied = delivered.map_err(|error| error.about(&destination.location))?;
        if self.referrers {
            output.say(format!("{} with it", count(copied.referrers.len(), "referrer")));
        }
        let ended = if copied.changed { ended } else { "Unchanged" };
        for name in names {
            output.say(format!("{ended} {name} with digest {}", self.manifest.digest()));
        }
        Ok(copied)
    }

    async fn deliver(&self, destination: &Destination, options: &CopyOptions) -> Result<Copied, Error> {
        let tags = &destination.tags;
        match &destination.location {
            Location::Registry(reference) => {
                let repository = self.connection.repository(&reference.repository)?;
                self.copy(&repository, tags, options).await
            }
            Location::Layout(path, _) => self.copy(&Directory::create(path).await?, tags, options).await,
            Location::Archive(path, _) => {
                let archive = ArchiveWriter::create(path).await?;
                let copied = self.copy(&archive, tags, options).await?;
                archive.finish().await?;
                Ok(copied)
            }
        }
    }

    async fn copy(&self, target: &dyn Target, tags: &[Tag], options: &CopyOptions) -> Result<Copied, Error> {
        Ok(copy(self.source, &self.manifest.digest().into(), target, tags, options).await?)
    }
}
