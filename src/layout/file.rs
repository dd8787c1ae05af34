//! Files: opened with care, written to the end, kept off the async threads.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bytes::Bytes;
use futures::TryStreamExt;
use tempfile::NamedTempFile;
use tokio::sync::mpsc;

use super::error::Error;
use crate::content::{self, Reader};

/// How many chunks of a blob may wait to be written.
const CHUNKS_IN_FLIGHT: usize = 8;

/// Does `work` on a thread that may block.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await?
}

/// Opens the regular file at `path` and says how many bytes it has.
///
/// Links are followed: build systems make layouts of links. What they lead to is read only if it has the size and the
/// digest that its reader expects.
pub(super) fn open_regular(path: &Path) -> io::Result<(File, u64)> {
    // Looked at before it is opened, because to open a pipe waits for somebody who writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// The contents of the regular file at `path`, or how many bytes it has if these are more than `limit`.
pub(super) fn read_small(path: &Path, limit: u64) -> io::Result<Result<Vec<u8>, u64>> {
    let (file, size) = open_regular(path)?;
    if size > limit {
        return Ok(Err(size));
    }
    let mut contents = Vec::new();
    // The file may have grown since it was opened.
    file.take(limit + 1).read_to_end(&mut contents)?;
    let found = contents.len() as u64;
    Ok(if found > limit { Err(found) } else { Ok(contents) })
}

/// A temporary file in `directory`, which goes away unless it is given another name. It gets the mode that any new file
/// gets, not that of a temporary one.
pub(super) fn temporary(directory: &Path) -> Result<NamedTempFile, Error> {
    tempfile::Builder::new()
        .prefix(".bndlr-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
        .map_err(Error::io("create a temporary file in", directory))
}

/// Makes sure that new names in `directory` outlive a crash.
pub(super) fn sync_directory(directory: &Path) -> Result<(), Error> {
    File::open(directory).and_then(|opened| opened.sync_all()).map_err(Error::io("write", directory))
}

/// Writes what `reader` yields to `file`, in bounded memory. When this returns, nobody writes any more.
pub(super) async fn write_all(file: NamedTempFile, reader: Reader) -> Result<NamedTempFile, content::Error> {
    let (chunks, mut received) = mpsc::channel::<Bytes>(CHUNKS_IN_FLIGHT);
    let writing = blocking(move || {
        let mut file = file;
        while let Some(chunk) = received.blocking_recv() {
            let written = file.as_file_mut().write_all(&chunk);
            written.map_err(Error::io("write", file.path()))?;
        }
        Ok(file)
    });
    let (written, read) = futures::join!(writing, send(reader, chunks));
    let file = written?;
    read.map(|()| file)
}

async fn send(mut reader: Reader, chunks: mpsc::Sender<Bytes>) -> Result<(), content::Error> {
    while let Some(chunk) = reader.try_next().await? {
        if chunks.send(chunk).await.is_err() {
            // Nobody receives: writing has failed, and says so itself.
            break;
        }
    }
    Ok(())
}
