//! Where things of this program are kept: the base directories of the XDG specification.

use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;

/// The directory of this program in the one that the variable names, else in this one below the home directory; nothing, if
/// there is neither.
pub(super) fn base_directory(name: &str, below_home: &[&str]) -> Option<PathBuf> {
    // The base directory specification has relative paths ignored.
    let absolute = |path: &PathBuf| path.is_absolute();
    let in_home = || {
        let home = variable("HOME").filter(absolute)?;
        Some(below_home.iter().fold(home, |path, name| path.join(name)))
    };
    Some(variable(name).filter(absolute).or_else(in_home)?.join("bndlr"))
}

/// What a variable of the environment says, if it says anything.
pub(super) fn variable(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
