//! Files as streams of chunks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, TryStreamExt};

use super::{Error, ErrorKind};

/// How many bytes are read at once.
const CHUNK: u64 = 256 * 1024;

/// `length` bytes of `file` from `offset` on, read by position, so that many readers can share one file. Ends early
/// where the file does.
pub fn read_file(
    file: Arc<File>,
    offset: u64,
    length: u64,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    stream::try_unfold((file, offset, length), |(file, offset, left)| async move {
        let wanted = left.min(CHUNK);
        if wanted == 0 {
            return Ok(None);
        }
        let reading = Arc::clone(&file);
        let chunk = tokio::task::spawn_blocking(move || read_at(&reading, offset, wanted))
            .await
            .map_err(|error| Error::local("read a file", std::io::Error::other(error)))?
            .map_err(|error| Error::local("read a file", error))?;
        let read = chunk.len() as u64;
        Ok((read > 0).then_some((chunk, (file, offset + read, left - read))))
    })
}

/// `length` bytes of `file` from `offset` on, at once.
///
/// # Errors
/// [`ErrorKind::Content`] when the file ends before them, [`ErrorKind::Local`] when it cannot be read.
pub async fn read_file_range(file: Arc<File>, offset: u64, length: u64) -> Result<Bytes, Error> {
    let bytes = read_file(file, offset, length).try_collect::<BytesMut>().await?.freeze();
    if bytes.len() as u64 == length {
        return Ok(bytes);
    }
    let message = format!("the content ends after {} of the {length} bytes from {offset} on", bytes.len());
    Err(Error::new(ErrorKind::Content, message))
}

fn read_at(file: &File, offset: u64, wanted: u64) -> std::io::Result<Bytes> {
    // `wanted` is at most CHUNK.
    let mut buffer = vec![0; wanted as usize];
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    buffer.truncate(filled);
    Ok(buffer.into())
}
