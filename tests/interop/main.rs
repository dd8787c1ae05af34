//! What others make of our work, and we of theirs: the real binary and the field's own programs, a file for each.
//!
//! A program that is not installed skips its tests with a message, or fails them when `BNDLR_REQUIRE_PEERS=1`. Whatever
//! a test starts listens on loopback, keeps its files in a temporary directory, and ends with the test.

#[path = "../authority/mod.rs"]
mod authority;
#[path = "../docker_registry/mod.rs"]
mod docker_registry;
#[path = "../golden/mod.rs"]
mod golden;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../program/mod.rs"]
mod program;

mod access;
mod bsdtar;
mod build;
mod buildah;
mod busybox;
mod containerd;
mod containers;
mod distribution;
mod docker;
mod format;
mod gnu_tar;
mod gzip;
mod oci_client;
mod oras_python;
mod pigz;
mod podman;
mod python;
mod quine;
mod registries;
mod round_trip;
mod run;
mod shapes;
mod skopeo;
mod table;
mod tree;
mod umoci;
mod writers;
mod zstd;
