//! What the registry takes and shows: the arguments of `bndlr serve` about its contents.

use clap::Args;

use crate::server::Registry;

/// What is taken and what is not.
#[derive(Args, Debug)]
#[command(next_help_heading = "Contents")]
pub(super) struct Contents {
    /// Take nothing and remove nothing
    #[arg(long)]
    read_only: bool,
    /// Take manifests though the blobs and manifests that they refer to are missing, as a mirror may need it
    #[arg(long)]
    allow_missing_blobs: bool,
    /// Show browsers nothing: without this, http://ADDRESS/ lists what they may pull
    #[arg(long)]
    no_ui: bool,
}

impl Contents {
    pub(super) fn is_read_only(&self) -> bool {
        self.read_only
    }

    pub(super) fn apply(&self, registry: Registry) -> Registry {
        registry.read_only(self.read_only).allow_missing_blobs(self.allow_missing_blobs).page(!self.no_ui)
    }
}
