//! The contract of a push (`docs/publishing.md`), sentence by sentence: which tags stay, which are never moved, and what is
//! known before anything is sent.

mod check;
mod damaged;
#[path = "../docker_registry/mod.rs"]
mod docker_registry;
#[path = "../embedded/mod.rs"]
mod embedded;
mod failures;
mod messages;
#[path = "../peer/mod.rs"]
mod peer;
mod place;
mod present;
#[path = "../program/mod.rs"]
mod program;
#[path = "../faults/proxy.rs"]
mod proxy;
mod race;
#[path = "../sample/mod.rs"]
mod sample;
mod several;
mod tags;
