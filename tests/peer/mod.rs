//! Programs of others that tests hold ours against.
#![allow(dead_code)] // each test binary uses a part of it

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Where the program `name` is. A test that gets nothing returns: it has been said that it is skipped. With
/// `BNDLR_REQUIRE_PEERS=1` a missing program fails the test instead.
///
/// # Panics
/// When the program is missing and `BNDLR_REQUIRE_PEERS` is `1`.
#[must_use]
pub fn require(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Some distributions keep daemons where only root looks.
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = directories.map(|directory| directory.join(name)).find(|program| program.is_file());
    if found.is_none() {
        assert!(!are_required(), "{name} is not installed, and BNDLR_REQUIRE_PEERS=1");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// The static program, which `cargo build-static` builds and `BNDLR_STATIC` names: else the test is skipped, or
/// fails, as for a missing one.
///
/// # Panics
/// When `BNDLR_STATIC` names no file, or nothing, and `BNDLR_REQUIRE_PEERS` is `1`.
#[must_use]
pub fn require_static() -> Option<PathBuf> {
    if let Some(program) = env::var_os("BNDLR_STATIC").map(PathBuf::from) {
        assert!(program.is_file(), "BNDLR_STATIC: {} is no file", program.display());
        return Some(fs::canonicalize(program).unwrap());
    }
    assert!(!are_required(), "BNDLR_STATIC does not name a static program, and BNDLR_REQUIRE_PEERS=1");
    eprintln!("skipped: BNDLR_STATIC does not name a static program");
    None
}

/// Whether a test that would be skipped has to fail instead.
#[must_use]
pub fn are_required() -> bool {
    env::var("BNDLR_REQUIRE_PEERS").is_ok_and(|value| value == "1")
}

/// Whether the program `name`, which needs root, can be run: else the test is skipped, or fails, as for a missing one.
///
/// # Panics
/// When the tests do not run as root and `BNDLR_REQUIRE_PEERS` is `1`.
#[must_use]
pub fn require_root(name: &str) -> Option<()> {
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        return Some(());
    }
    assert!(!are_required(), "{name} needs root, and BNDLR_REQUIRE_PEERS=1");
    eprintln!("skipped: {name} needs root");
    None
}
