//! bndlr packs a directory of manifests or configuration into a deterministic OCI image, pushes it to any registry with
//! as few bytes as possible, and gets it back.
//!
//! # The map of the house
//!
//! Imports point from right to left only, which `tests/layering.rs` checks. Rooms in braces never import each other:
//! what two of them need lives to their left.
//!
//! ```text
//! text, digest, reference -> manifest -> protocol -> content -> archive -> bundle
//!     -> {pack, unpack, layout, remote, server} -> {compare, quine} -> cli
//! ```
//!
//! | room | what it is for |
//! |---|---|
//! | [`text`] | text for people: numbers of bytes, and what strangers wrote |
//! | [`digest`] | digests, and the verifier that holds bytes against them |
//! | [`reference`](mod@reference) | references, parsed once and valid ever after |
//! | [`manifest`] | descriptors, media types, manifests whose bytes are kept verbatim, canonical JSON |
//! | [`protocol`] | the distribution API as values: paths, error codes, headers; client and server share it |
//! | [`content`] | sources, targets and the one `copy` between any two of them; the in-memory store |
//! | [`archive`] | tar archives, whoever wrote them: blocks, PAX records, from one entry to the next |
//! | [`bundle`] | the format of a bundle's layer: entries, members, the index; patterns of paths; both sides share it |
//! | [`pack`] | a directory becomes a bundle, on all cores |
//! | [`unpack`] | a bundle or any other image becomes a directory |
//! | [`layout`] | OCI image layouts, as a directory and as a tar archive |
//! | [`remote`] | a registry over HTTP, as a client: blobs, manifests, credentials |
//! | [`server`] | a registry, as a server, over storage on disk, in a bucket or in memory |
//! | [`compare`] | what differs between bundles, images and directories |
//! | [`quine`] | this program as an image, and a registry that serves it |
//! | [`cli`] | the commands: arguments, output, progress, exit codes |

pub mod archive;
pub mod bundle;
pub mod cli;
pub mod compare;
pub mod content;
pub mod digest;
pub mod layout;
pub mod manifest;
pub mod pack;
pub mod protocol;
pub mod quine;
pub mod reference;
pub mod remote;
pub mod server;
pub mod text;
pub mod unpack;
