//! Taking a bundle to where it should be: the common part of `push` and `build`.

use std::sync::Arc;

use super::connect::Connection;
use super::error::{Error, Exit};
use super::location::Location;
use super::output::Output;
use super::progress::Progress;
use crate::content::{Copied, CopyOptions, Target, copy};
use crate::digest::Digest;
use crate::layout::{ArchiveWriter, Directory};
use crate::pack::Bundle;
use crate::reference::Tag;

/// A repository, image layout or archive, and the tags that a bundle gets there.
pub(super) struct Destination {
    location: Location,
    pub(super) tags: Vec<Tag>,
    /// Digests that the bundle must have.
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

    /// Where it is, without tags.
    pub(super) fn place(&self) -> String {
        self.location.place()
    }

    /// Where each tag is; the place alone, where there is no tag.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.tags[..] {
            [] => vec![self.place()],
            tags => tags.iter().map(|tag| format!("{}:{tag}", self.place())).collect(),
        }
    }

    /// Copies `bundle` there.
    pub(super) async fn deliver(
        &self,
        bundle: &Bundle,
        connection: &Connection,
        options: &CopyOptions,
    ) -> Result<Copied, Error> {
        match &self.location {
            Location::Registry(reference) => {
                let repository = connection.repository(&reference.repository)?;
                self.copy(bundle, &repository, options).await
            }
            Location::Layout(path, _) => self.copy(bundle, &Directory::create(path).await?, options).await,
            Location::Archive(path, _) => {
                let archive = ArchiveWriter::create(path).await?;
                let copied = self.copy(bundle, &archive, options).await?;
                archive.finish().await?;
                Ok(copied)
            }
        }
    }

    async fn copy(&self, bundle: &Bundle, target: &dyn Target, options: &CopyOptions) -> Result<Copied, Error> {
        let digest = bundle.raw_manifest().digest();
        Ok(copy(bundle, &digest.into(), target, &self.tags, options).await?)
    }
}

/// Copies `bundle` to each destination, one after the other, and says how it goes.
pub(super) async fn deliver_all(
    bundle: &Bundle,
    destinations: &[Destination],
    connection: &Connection,
    concurrency: usize,
    output: &Output,
) -> Result<Vec<Copied>, Error> {
    let digest = bundle.raw_manifest().digest();
    // Before the first, so that either all are right or nothing has been sent.
    for &expected in destinations.iter().flat_map(|destination| &destination.expected) {
        if expected != digest {
            return Err(Error::new(Exit::Conflict, format!("the bundle has digest {digest}, expected {expected}")));
        }
    }
    let mut done = Vec::new();
    for destination in destinations {
        let names = destination.names();
        let [begins, goes_on, ended] = match destination.location {
            Location::Registry(_) => ["Pushing to", "Uploading", "Pushed"],
            Location::Layout(..) | Location::Archive(..) => ["Writing to", "Writing", "Wrote"],
        };
        output.say(format!("{begins} {}", names[0]));
        let observer = Arc::new(Progress::new(output, goes_on));
        let options = CopyOptions { concurrency, observer, ..CopyOptions::default() };
        let delivered = destination.deliver(bundle, connection, &options).await;
        let copied = delivered.map_err(|error| error.about(&destination.location))?;
        let ended = if copied.changed { ended } else { "Unchanged" };
        for name in names {
            output.say(format!("{ended} {name} with digest {digest}"));
        }
        done.push(copied);
    }
    Ok(done)
}
