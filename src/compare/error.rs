//! What can go wrong while comparing: what can go wrong with a side.

use crate::{content, pack, unpack};

/// Why two sides cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An image cannot be read, or is not what it should be.
    #[error(transparent)]
    Image(#[from] content::Error),
    /// A directory cannot be read, or cannot be packed.
    #[error(transparent)]
    Directory(#[from] pack::Error),
}

impl From<unpack::Error> for Error {
    fn from(error: unpack::Error) -> Self {
        Self::Image(error.into())
    }
}
