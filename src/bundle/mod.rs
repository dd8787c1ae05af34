//! The bundle format, version 1: what a layer of ours is made of, byte by byte. `docs/format.md` is its description.
//!
//! Both sides share what is here: `pack` writes with it, `unpack` and every later reader hold what they find against
//! it, and both pick with its patterns. It knows nothing of files or networks.

pub mod annotation;
mod body;
mod entry;
mod header;
mod index;
mod indexed;
mod links;
mod member;
mod order;
mod part;
mod pattern;
mod plan;
mod section;
mod varint;

pub use body::{IndexBuilder, MAX_ENTRIES, MAX_NAMES};
pub use entry::{Entry, EntryError, Kind, MAX_PATH};
pub use header::read_entry;
pub use index::{Index, IndexError, Member};
pub use indexed::{Indexed, LayerIndex, MemberNumber, Piece, ReadContents, ReadError};
pub use links::{Escape, Links};
pub use member::{COMPRESSION_LEVEL, Cutter, MAX_MEMBER, MEMBER_HEADER, Place};
pub use order::{Last, Order, OrderError, compare_paths};
pub use pattern::{Pattern, PatternError, Patterns};
pub use plan::{MemberPlan, members_of, plan_members};
pub use section::{MAX_SECTION, SectionError, SectionKind};

/// The two zero blocks that end a tar archive.
pub const END_OF_ARCHIVE: [u8; 1024] = [0; 1024];
