//! Where a registry keeps things, as it is said on the command line.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::{Error, Exit};
#[cfg(feature = "object-store")]
use crate::server::storage::{Bucket, BucketError};
use crate::server::storage::{Filesystem, OpenError, Storage};

/// Where a registry keeps things. Whatever else can be one of several is in the same group.
#[derive(clap::Args, Debug)]
#[group(id = "place", required = true, multiple = false)]
pub(super) struct Place {
    /// Keep everything in this directory
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Keep everything in a bucket: s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX. Credentials come
    /// from the environment, as in AWS_ACCESS_KEY_ID
    #[cfg(feature = "object-store")]
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
}

impl Place {
    /// The storage there, which is made if there is none; nothing if no place was given.
    pub(super) async fn open(&self) -> Result<Option<Arc<dyn Storage>>, Error> {
        #[cfg(feature = "object-store")]
        if let Some(url) = &self.storage {
            return Ok(Some(Arc::new(Bucket::open(url).await?)));
        }
        self.open_with(Filesystem::open)
    }

    /// The storage there, which is not made.
    pub(super) async fn open_existing(&self) -> Result<Option<Arc<dyn Storage>>, Error> {
        #[cfg(feature = "object-store")]
        if let Some(url) = &self.storage {
            return Ok(Some(Arc::new(Bucket::open_existing(url).await?)));
        }
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

#[cfg(feature = "object-store")]
impl From<BucketError> for Error {
    fn from(error: BucketError) -> Self {
        match &error {
            BucketError::Url(_) => Self::usage(error),
            BucketError::Absent(_) => Self::new(Exit::NotFound, error),
            BucketError::Settings { .. } | BucketError::Storage { .. } => Self::new(Exit::Remote, error)
                .hint("the environment says how to reach it: AWS_REGION, AWS_ENDPOINT, AWS_ACCESS_KEY_ID and others"),
            _ => Self::new(Exit::Remote, format!("cannot keep a registry there: {error}")),
        }
    }
}
