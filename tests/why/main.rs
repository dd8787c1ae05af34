//! `why`: pairs of images that differ in one thing each, and what is said about them.

#[path = "../archives/mod.rs"]
mod archives;
#[path = "../embedded/mod.rs"]
mod embedded;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../program/mod.rs"]
mod program;

mod bundles;
mod documents;
mod hostile;
mod layers;
mod peers;
mod picture;
mod shown;
