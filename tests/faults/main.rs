//! Networks that fail, and a bundle of 20 MB on its way through them: it arrives as it is, or there is an error, and
//! never are wrong bytes taken for right.

mod copies;
#[path = "../docker_registry/mod.rs"]
mod docker_registry;
#[path = "../embedded/mod.rs"]
mod embedded;
mod interrupted;
mod latency;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../program/mod.rs"]
mod program;
mod program_runs;
mod proxy;
mod pull;
mod push;
#[path = "../sample/mod.rs"]
mod sample;
mod scene;
mod segments;
