//! Places: where a directory may stand as well as a reference, what is meant.

use std::path::{Path, PathBuf};

use super::connect::{Connection, Opened, RegistryArgs, open};
use super::error::{Error, Exit};
use super::location::Location;

/// What stands on the command line.
pub(super) enum Place {
    /// `./x`, `../x`, `/x` or `dir:x`.
    Directory(PathBuf),
    /// Anything else.
    Image(Location),
}

impl Place {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        let is_path =
            |text: &str| matches!(text, "." | "..") || ["./", "../", "/"].iter().any(|front| text.starts_with(front));
        match text.strip_prefix("dir:") {
            Some(path) => Ok(Self::Directory(path.into())),
            None if is_path(text) => Ok(Self::Directory(text.into())),
            None => Location::parse(text).map(Self::Image).map_err(|error| hint(error, text)),
        }
    }

    /// What reaches the registries of these.
    pub(super) fn connect(places: &[Self], registry: &RegistryArgs) -> Result<Connection, Error> {
        let locations = places.iter().filter_map(|place| match place {
            Self::Image(location) => Some(location.clone()),
            Self::Directory(_) => None,
        });
        registry.connect(&locations.collect::<Vec<_>>())
    }
}

/// Opens a location, and does with it what may fail because there is nothing of that name: then a hint says how to mean a
/// directory.
pub(super) async fn open_place<T>(
    location: &Location,
    text: &str,
    connection: &Connection,
    read: impl AsyncFnOnce(&Opened) -> Result<T, Error>,
) -> Result<(Opened, T), Error> {
    let opened = async {
        let opened = open(location, connection).await?;
        let read = read(&opened).await?;
        Ok((opened, read))
    };
    let is_not_there = |error: &Error| matches!(error.exit, Exit::NotFound | Exit::Denied | Exit::Remote);
    opened.await.map_err(|error| if is_not_there(&error) { hint(error, text) } else { error })
}

/// The same error, with how to say it if a directory is meant.
fn hint(error: Error, text: &str) -> Error {
    let is_directory = !text.starts_with("oci:") && Path::new(text).is_dir();
    if is_directory {
        error.hint(format!("{text} is a directory here: write ./{text} if you mean that"))
    } else {
        error
    }
}
