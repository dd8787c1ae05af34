//! Tar archives, whoever wrote them: compression, blocks, PAX records, and the way from one entry to the next.
//!
//! The `tar` crate knows the fields of a header. Going from one header to the next is done here: that crate takes PAX
//! records and long names into memory whole, however many bytes they claim, and where two readers could see two things
//! in an archive, an error is better than a guess. What an entry means is left to who reads: `bundle` writes and takes
//! exactly one form of each, `unpack` takes what other programs write, `layout` looks only for its own files.

mod compression;
mod extensions;
mod headers;
mod pax;

pub use compression::{Compression, decompress};
pub use headers::{Head, HeaderError, Headers, Input};
pub use pax::{take_record, write_record};

/// The size of a tar block, in bytes.
pub const BLOCK: u64 = 512;

/// How many zero bytes fill the last block of `size` bytes.
#[must_use]
pub fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}
