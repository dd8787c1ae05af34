//! `bndlr cache`, and where the cache is.

use std::env;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use super::error::{Error, Exit};
use super::home::{base_directory, variable};
use super::output::{Output, count, size};
use crate::pack::{Cache, CacheContents, DEFAULT_CACHE_SIZE};
use crate::text::parse_size;

/// Look at the cache of packed layers, or clear it
///
/// What has been packed before is not compressed again. Layers are kept in $BNDLR_CACHE_DIR, else in bndlr in
/// $XDG_CACHE_HOME or ~/.cache; about $BNDLR_CACHE_SIZE of them at most (1GiB; 0 for none), those used last. The cache
/// decides what is pushed: restore it only from where you would take the program from.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr cache info
  BNDLR_CACHE_DIR=.cache/bndlr bndlr push ./manifests localhost:5000/demo:v1
  bndlr cache clear")]
pub(super) struct CacheCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Say where it is, how much it holds, and how much it may hold
    #[command(after_help = "Example:\n  bndlr cache info --format json")]
    Info,
    /// Remove all of it
    #[command(after_help = "Example:\n  bndlr cache clear")]
    Clear,
}

impl CacheCommand {
    pub(super) fn run(self, output: &Output) -> Result<(), Error> {
        let (directory, limit) = (directory().ok_or_else(nowhere)?, limit()?);
        let fail = |error| Error::new(Exit::Local, unusable(&directory, &error));
        let exists = directory.exists();
        let cache = if exists { Some(Cache::open_to_read(&directory, limit).map_err(fail)?) } else { None };
        let contents = |cache: &Cache| match self.what {
            What::Info => cache.contents(),
            What::Clear => cache.clear(),
        };
        let CacheContents { layers, bytes } =
            cache.as_ref().map(contents).transpose().map_err(fail)?.unwrap_or_default();
        let what = format!("{}, {}", count(layers as usize, "layer"), size(bytes));
        let shown = directory.display();
        let text = match self.what {
            What::Info => format!("{shown}: {what}, of {} at most", size(limit)),
            What::Clear => format!("Removed {what}, from {shown}"),
        };
        output.result(&text, || json!({"directory": directory, "layers": layers, "bytes": bytes, "limit": limit}))
    }
}

/// What a command does with the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheUse {
    /// It looks for what has been packed before.
    Read,
    /// And keeps what it packs itself.
    ReadAndKeep,
}

/// The cache that the environment names, or nothing if there is to be none, or none that can be trusted.
pub(super) fn open(what_for: CacheUse, output: &Output) -> Result<Option<Cache>, Error> {
    let limit = limit()?;
    let is_read = what_for == CacheUse::Read;
    // One that is only read need not be there.
    let Some(directory) = directory().filter(|path| limit > 0 && (!is_read || path.join("layers").exists())) else {
        return Ok(None);
    };
    match if is_read { Cache::open_to_read(&directory, limit) } else { Cache::open(&directory, limit) } {
        Ok(cache) => Ok(Some(cache)),
        Err(error) => {
            // Where there is no home to write to, nobody has asked for a cache.
            if is_named() || error.kind() == std::io::ErrorKind::Other {
                output.warn(unusable(&directory, &error));
            }
            Ok(None)
        }
    }
}

fn unusable(directory: &Path, error: &std::io::Error) -> String {
    format!("the cache in {} is not used: {error}", directory.display())
}

fn nowhere() -> Error {
    Error::new(Exit::Local, "there is no cache: neither HOME nor BNDLR_CACHE_DIR is set")
}

fn is_named() -> bool {
    variable("BNDLR_CACHE_DIR").is_some()
}

fn directory() -> Option<PathBuf> {
    variable("BNDLR_CACHE_DIR").or_else(|| base_directory("XDG_CACHE_HOME", &[".cache"]))
}

fn limit() -> Result<u64, Error> {
    let Some(value) = env::var_os("BNDLR_CACHE_SIZE").filter(|value| !value.is_empty()) else {
        return Ok(DEFAULT_CACHE_SIZE);
    };
    let size = value.to_str().and_then(parse_size);
    size.ok_or_else(|| {
        Error::usage(format!("BNDLR_CACHE_SIZE is {:?}, and not a number of bytes", value.to_string_lossy()))
            .hint("write it as 500MB, 2GiB, or 0 for no cache")
    })
}
