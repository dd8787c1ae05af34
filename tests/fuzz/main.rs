//! What strangers send, made up at random: nothing panics, and what can be said of every answer holds.
//!
//! libFuzzer needs a compiler that is not stable, so each target here is a loop over random cases, made with the
//! structure of the input in mind, for `BNDLR_FUZZ_SECONDS` (1, unless it is set). A case that fails prints the seed that
//! makes it again, alone: `BNDLR_FUZZ_SEED`.

#[path = "../archives/mod.rs"]
mod archives;
#[path = "../embedded/mod.rs"]
mod embedded;

mod bundles;
mod manifests;
mod paths;
mod random;
mod ranges;
mod requests;
mod run;
mod unpacking;
mod words;
