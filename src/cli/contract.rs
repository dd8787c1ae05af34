//! The contract of a push: what must not become of tags, and what has to hold before anything is sent.

use clap::Args;

use super::deliver::Destination;
use super::error::Error;
use crate::digest::Digest;

/// What a push promises.
#[derive(Args, Debug)]
#[command(next_help_heading = "Contract")]
pub(super) struct ContractArgs {
    /// Leave a tag alone if its image has the same content for the same platform, whatever its labels, its annotations and
    /// its date say
    #[arg(long)]
    pub(super) if_changed: bool,
    /// Never move a tag to other content; one that has this content is no error
    #[arg(long)]
    pub(super) immutable: bool,
    /// Push nothing if the image has another digest than this
    #[arg(long, value_name = "DIGEST")]
    pub(super) expect_digest: Option<Digest>,
    /// Say what would happen, and write nothing: ends with 0 if nothing would change, and with 1 if something would
    #[arg(long, visible_alias = "dry-run", conflicts_with_all = ["digest_file", "list"])]
    pub(super) check: bool,
}

impl ContractArgs {
    /// Whether nothing is sent where the tags have what they should have: to a push without these flags, they say nothing of
    /// the blobs.
    pub(super) fn keeps_tags(&self) -> bool {
        self.if_changed || self.immutable
    }

    /// Whether there is nothing to be looked at before the first byte is sent.
    pub(super) fn is_blind(&self) -> bool {
        !(self.keeps_tags() || self.check)
    }

    /// Fails if something is wanted that cannot be had there.
    pub(super) fn check_places(&self, destinations: &[Destination]) -> Result<(), Error> {
        let about_tags = [(self.if_changed, "--if-changed"), (self.immutable, "--immutable")];
        let about_tags = about_tags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag);
        let check = self.check.then_some("--check");
        let archive = destinations.iter().find(|destination| destination.is_archive());
        if let (Some(flag), Some(archive)) = (about_tags.clone().chain(check).next(), archive) {
            let message = format!("{flag} is for what is added to, and {} is replaced as a whole", archive.place());
            return Err(Error::usage(message).hint("write to an image layout, oci:DIR, which keeps what it has"));
        }
        let untagged = destinations.iter().find(|destination| destination.tags.is_empty());
        if let (Some(flag), Some(untagged)) = (about_tags.clone().next(), untagged) {
            let message = format!("{flag} is about tags, and for {} none is named", untagged.place());
            return Err(Error::usage(message).hint("name one before the digest, or with -t"));
        }
        Ok(())
    }
}
