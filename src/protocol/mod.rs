//! The distribution API as values (distribution-spec v1.1.1): paths, ranges, error codes, headers,
//! challenges, scopes, secrets. No I/O.
//!
//! The client in `remote` writes what the server in `server` reads, and the other way round; that both mean the same
//! is decided here, once.

mod challenge;
mod endpoint;
mod error;
pub mod header;
mod link;
mod range;
mod scope;
mod secret;

pub use challenge::Challenge;
pub use endpoint::{Endpoint, InvalidPath};
pub use error::{ErrorBody, ErrorCode, ErrorEntry};
pub use link::next_page;
pub use range::{ByteRange, ByteRanges, ChunkRange, InvalidRange, Selection};
pub use scope::{Action, Actions, Scope};
pub use secret::Secret;
