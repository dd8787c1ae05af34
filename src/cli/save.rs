//! What is saved as a file: it gets its name when all of it is there and has been verified, and not before.

use std::fs::Permissions;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use futures::stream::{Stream, TryStreamExt};

use super::error::{Error, Exit};
use crate::content;

/// Writes bytes as they come to a file, which replaces the one that has its name, and says how many they are.
pub(super) async fn save_stream(
    mut bytes: impl Stream<Item = Result<Bytes, content::Error>> + Unpin,
    path: &Path,
) -> Result<u64, Error> {
    let failed = |error| Error::new(Exit::Local, format!("cannot write {}: {error}", path.display()));
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        return Err(Error::new(Exit::Local, format!("{} is there already, and is no file", path.display())));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // It gets the mode that any new file gets, not that of a temporary one.
    let mut builder = tempfile::Builder::new();
    builder.prefix(".bndlr-").permissions(Permissions::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    let mut size = 0;
    while let Some(chunk) = bytes.try_next().await? {
        size += chunk.len() as u64;
        let written = tokio::task::spawn_blocking(move || file.write_all(&chunk).map(|()| file));
        file = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error))).map_err(failed)?;
    }
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(size)
}
