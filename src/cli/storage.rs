//! Where a registry keeps things, as it is said on the command line.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Error, Exit};
use crate::server::storage::{Filesystem, OpenError, Storage};

/// Where a registry keeps things. Whatever else can be one of several is in the same group.
#[derive(clap::Args, Debug)]
#[group(id = "storage", required = true)]
pub(super) struct Place {
    /// Keep everything in this directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Place {
    /// The storage there, which is made if there is none; nothing if no place was given.
    pub(super) fn open(&self) -> Result<Option<Arc<dyn Storage>>, Error> {
        self.open_with(Filesystem::open)
    }

    /// The storage there, which is not made.
    pub(super) fn open_existing(&self) -> Result<Option<Arc<dyn Storage>>, Error> {
        self.open_with(Filesystem::open_existing)
    }

    fn open_with(
        &self,
        open: impl FnOnce(PathBuf) -> Result<Filesystem, OpenError>,
    ) -> Result<Option<Arc<dyn Storage>>, Error> {
        let Some(root) = &self.root else { return Ok(None) };
        match open(root.clone()) {
            Ok(storage) => Ok(Some(Arc::new(storage))),
            Err(error @ OpenError::Absent(_)) => Err(Error::new(Exit::NotFound, error)),
            Err(error) => {
                Err(Error::new(Exit::Local, format!("cannot keep a registry in {}: {error}", root.display())))
            }
        }
    }
}
