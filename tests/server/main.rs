//! What the registry answers, request by request, as distribution-spec v1.1.1 and the draft after it have it: a file for
//! each resource. `docs/registry.md` lists which test holds which clause.

#[path = "../embedded/mod.rs"]
mod embedded;

mod blobs;
mod catalog;
mod clauses;
mod connections;
mod manifests;
mod protocol;
mod referrers;
mod tags;
mod uploads;
