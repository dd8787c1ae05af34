//! What an archive is compressed with, whatever it is called.

use std::io::{self, BufRead, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use zstd::stream::read::Decoder;

/// The largest window of a zstd frame, as a power of two: that of the `zstd` program, and as much memory.
const MAX_WINDOW: u32 = 27;

/// What an archive is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    Plain,
    /// gzip, of one member or several.
    Gzip,
    /// zstd.
    Zstd,
}

/// Decompresses `blob`, whose first bytes say how.
///
/// # Errors
/// When it cannot be read.
pub fn decompress<'a>(mut blob: impl BufRead + 'a) -> io::Result<(Compression, Box<dyn Read + 'a>)> {
    let mut front = Vec::new();
    blob.by_ref().take(4).read_to_end(&mut front)?;
    let is_zstd = front == [0x28, 0xb5, 0x2f, 0xfd];
    let is_gzip = front.starts_with(&[0x1f, 0x8b]);
    let whole = Cursor::new(front).chain(blob);
    if is_gzip {
        Ok((Compression::Gzip, Box::new(MultiGzDecoder::new(whole))))
    } else if is_zstd {
        let mut decoder = Decoder::with_buffer(whole)?;
        decoder.window_log_max(MAX_WINDOW)?;
        Ok((Compression::Zstd, Box::new(decoder)))
    } else {
        Ok((Compression::Plain, Box::new(whole)))
    }
}
