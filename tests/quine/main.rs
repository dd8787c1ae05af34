//! This program as an image of itself: what the image is, and that it stays the same however it is made.
//!
//! A static program makes it, which `cargo test` does not build: `BNDLR_STATIC` names one, as `.ci/run` does. Tests of it
//! are skipped without that, or fail with `BNDLR_REQUIRE_PEERS=1`. Docker runs it in `tests/interop`.

#[path = "../embedded/mod.rs"]
mod embedded;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../program/mod.rs"]
mod program;

#[path = "../serve/mod.rs"]
mod serve;

mod command;
mod image;
mod program_itself;
