//! What says that a directory is a cache, so that it stays out of what is packed.
//!
//! A cache may lie in a directory that is packed. If it went in, each push would change what the next one packs, and publish
//! what was removed long ago. It is known by a file in it, and not by what the environment says: so it stays out whoever
//! packs or compares the directory, with a cache or without.

use std::fs;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use super::{LAYERS, Name, SPOOL, is_spool};
use crate::pack::read::read_small;

/// The file (<https://bford.info/cachedir/>), and what it has to be. It is not to change: caches have it.
const TAG: &str = "CACHEDIR.TAG";
const TAGGED: &str = "\
Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by bndlr.
# For information about cache directory tags, see https://bford.info/cachedir/
";
/// What tells git, for which a cache in a repository would be a change to it (`--annotate-git`).
const GIT_IGNORE: &str = ".gitignore";
const IGNORED: &str = "*\n";

/// Says that `directory` is a cache, unless that has been said.
///
/// # Errors
/// When it cannot be written to, or has files of somebody else in it, which would stay out with it.
pub(super) fn write(directory: &Path) -> io::Result<()> {
    if fs::read(directory.join(TAG)).is_ok_and(|text| text == TAGGED.as_bytes()) {
        return Ok(());
    }
    for file in fs::read_dir(directory)? {
        let name = file?.file_name();
        let is_ours = name == GIT_IGNORE || is_spool(&name) || name.to_str().and_then(Name::parse).is_some();
        // Another process may just have written the tag; and one that was cut short, when the machine went down, is ours.
        let is_tag = || fs::read(directory.join(TAG)).is_ok_and(|text| TAGGED.as_bytes().starts_with(&text));
        if !(is_ours || name == TAG && is_tag()) {
            return Err(io::Error::other(format!("{} is none of a cache", directory.join(name).display())));
        }
    }
    // The tag comes last, and whole: who finds it has all.
    for (name, text) in [(GIT_IGNORE, IGNORED), (TAG, TAGGED)] {
        let mut file = tempfile::Builder::new().prefix(SPOOL).tempfile_in(directory)?;
        file.write_all(text.as_bytes())?;
        file.persist(directory.join(name))?;
    }
    Ok(())
}

/// Whether the directory called `name` in `parent` is a cache of this program's, whoever uses it.
pub(in crate::pack) fn is_cache(parent: &OwnedFd, name: &str) -> bool {
    let tag = || read_small(parent, &format!("{name}/{TAG}"), TAGGED.len() as u64);
    name == LAYERS && tag().is_ok_and(|text| text == TAGGED.as_bytes())
}
