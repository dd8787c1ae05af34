//! What processes that were killed have left: upload sessions that nobody goes on with, and files without a name.

use std::fs::{self, DirEntry, Metadata};
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use super::super::progress::Hashers;
use super::super::{Error, Leftovers, SessionId, Sweep};
use super::found;
use super::paths::Paths;
use super::upload::Upload;

pub(super) fn find(paths: &Paths, hashers: &Arc<Hashers>, since: SystemTime, sweep: Sweep) -> Result<Leftovers, Error> {
    let mut leftovers = Leftovers::default();
    let io = || Error::io("look for leftovers");
    for entry in fs::read_dir(paths.uploads()).map_err(io())? {
        let entry = entry.map_err(io())?;
        if let Some(metadata) = abandoned(&entry, since).map_err(io())?
            && (sweep == Sweep::Count || cancel(&entry, hashers, since)?)
        {
            leftovers.uploads += 1;
            leftovers.bytes += metadata.len();
        }
    }
    for entry in fs::read_dir(paths.temporary()).map_err(io())? {
        let entry = entry.map_err(io())?;
        if let Some(metadata) = abandoned(&entry, since).map_err(io())? {
            leftovers.bytes += metadata.len();
            if sweep == Sweep::Remove {
                found(fs::remove_file(entry.path())).map_err(io())?;
            }
        }
    }
    Ok(leftovers)
}

/// About a file that nobody has written to since then.
fn abandoned(entry: &DirEntry, since: SystemTime) -> io::Result<Option<Metadata>> {
    let Some(metadata) = found(entry.metadata())? else { return Ok(None) };
    Ok((metadata.modified()? < since).then_some(metadata))
}

/// Ends a session, unless somebody has come back to it.
fn cancel(entry: &DirEntry, hashers: &Arc<Hashers>, since: SystemTime) -> Result<bool, Error> {
    let name = entry.file_name();
    let session = name.to_str().and_then(|name| name.rsplit_once('-')?.0.parse::<SessionId>().ok());
    let Some(session) = session else { return Ok(false) };
    let upload = match Upload::open(Arc::clone(hashers), session, entry.path()) {
        Err(Error::UploadBusy(_) | Error::UploadUnknown(_)) => return Ok(false),
        opened => opened?,
    };
    let is_abandoned = abandoned(entry, since).map_err(Error::io("look for leftovers"))?.is_some();
    if is_abandoned {
        upload.cancel()?;
    }
    Ok(is_abandoned)
}
