//! Reading parts of bundles: how little of them goes over the wire, and that an index is never believed too much.

#[path = "../archives/mod.rs"]
mod archives;
#[path = "../embedded/mod.rs"]
mod embedded;
#[path = "../fake/mod.rs"]
mod fake;
mod hostile;
mod meter;
#[path = "../sample/mod.rs"]
mod sample;
#[path = "../../benches/trees/mod.rs"]
mod trees;
mod wire;
