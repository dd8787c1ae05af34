//! Bringing a directory up to date: it ends as a fresh pull would have it, what stays the same is not touched, what
//! somebody has changed is not overwritten, and whatever ends it in the middle does no harm.

#[path = "../archives/mod.rs"]
mod archives;
#[path = "../embedded/mod.rs"]
mod embedded;
#[path = "../fake/mod.rs"]
mod fake;
mod hostile;
mod interrupted;
#[path = "../parts/meter.rs"]
mod meter;
mod model;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../program/mod.rs"]
mod program;
mod protected;
#[path = "../random/mod.rs"]
mod random;
mod same;
#[path = "../../benches/trees/mod.rs"]
mod trees;
mod wire;
