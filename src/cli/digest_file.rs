//! The file that gets the digest of what was pushed.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::{Error, Exit};
use crate::digest::Digest;

#[derive(Args, Debug)]
pub(super) struct DigestFile {
    /// Write the digest to this file, once all is done: if anything fails, it is not there
    #[arg(long = "digest-file", value_name = "FILE")]
    digest_file: Option<PathBuf>,
}

impl DigestFile {
    /// Removes the file of an earlier run, so that nobody takes its digest for that of one that failed. That nothing can be
    /// written there is found out now, and not when everything has been sent.
    pub(super) fn clear(&self) -> Result<(), Error> {
        self.digest_file.iter().try_for_each(|path| clear(path).map_err(|error| cannot_write(path, &error)))
    }

    pub(super) fn write(&self, digest: Digest) -> Result<(), Error> {
        self.digest_file.iter().try_for_each(|path| {
            fs::write(path, format!("{digest}\n")).map_err(|error| {
                // A part of a digest is none. What is wrong has been found out.
                let _ = clear(path);
                cannot_write(path, &error)
            })
        })
    }
}

fn clear(path: &Path) -> io::Result<()> {
    // A pipe or a device can only be written to, and there is nothing of an earlier run in it.
    if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return Ok(());
    }
    OpenOptions::new().append(true).create(true).open(path)?;
    // A link stays, and what it leads to goes.
    fs::remove_file(path.canonicalize()?)
}

fn cannot_write(path: &Path, error: &io::Error) -> Error {
    Error::new(Exit::Local, format!("cannot write {}: {error}", path.display()))
}
