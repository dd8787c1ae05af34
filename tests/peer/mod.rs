//! Programs of others that tests hold ours against.

use std::env;
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
        let required = env::var("BNDLR_REQUIRE_PEERS").is_ok_and(|value| value == "1");
        assert!(!required, "{name} is not installed, and BNDLR_REQUIRE_PEERS=1");
        eprintln!("skipped: {name} is not installed");
    }
    found
}
