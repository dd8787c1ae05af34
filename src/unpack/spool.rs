//! Reading an image whole to keep the contents of its files: in one temporary file without a name, whatever their modes.

use std::collections::{BTreeMap, BTreeSet};
use std::env::temp_dir;
use std::fs::File;
use std::io::{self, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};

use super::error::{Error, Fault};
use super::item::{Contents, Sink};
use super::part::pick;
use super::picking::Picked;
use super::place::{Place, names};
use super::writer::write;
use super::{Listed, ListedKind, UnpackOptions, listed, run};
use crate::content::{self, Open, read_file};
use crate::manifest::RawManifest;

/// What is in an image, and the contents of its files, or of one.
#[derive(Debug)]
pub struct Spooled {
    files: Vec<Listed>,
    /// Where the contents of each begin.
    offsets: Vec<Option<u64>>,
    file: Arc<File>,
}

impl Spooled {
    /// What is in the image, in order.
    #[must_use]
    pub fn files(&self) -> &[Listed] {
        &self.files
    }

    /// Whether the contents of the file with this number have been kept.
    #[must_use]
    pub fn has(&self, number: usize) -> bool {
        self.offsets[number].is_some()
    }

    /// The contents of the file with this number; an error, if they have not been kept.
    #[must_use]
    pub fn contents(&self, number: usize) -> BoxStream<'static, Result<Bytes, content::Error>> {
        let file = &self.files[number];
        if let (Some(start), ListedKind::File { size }) = (self.offsets[number], &file.kind) {
            return read_file(Arc::clone(&self.file), start, *size).boxed();
        }
        let message = format!("the contents of {} have not been kept", file.path.display());
        stream::once(async { Err(content::Error::not_found(message)) }).boxed()
    }
}

/// Reads all of an image as [`list`](super::list) does, and keeps the contents of the file at `only`, which no link is on
/// the way to, or of all files.
///
/// # Errors
/// Those of [`list`](super::list).
pub async fn spool(
    source: &dyn Open,
    manifest: &RawManifest,
    only: Option<&Path>,
    options: &UnpackOptions,
) -> Result<Spooled, Error> {
    let only = only.map(place).transpose()?;
    let mut originals = BTreeSet::new();
    loop {
        let only = only.clone();
        let spooled = run(source, manifest, options, move |image, limits, feed| {
            let file = tempfile::tempfile().map_err(failed)?;
            let mut spool = Spool { file: cap_std::fs::File::from_std(file), offsets: BTreeMap::new() };
            let wanted = |place: &Place, _| only.as_ref().is_none_or(|only| only == place);
            let (nodes, picked) = pick(image, limits, feed, &mut spool, &wanted, &originals)?;
            if let Picked::Missing(missing) = picked {
                return Ok(Err(missing));
            }
            let Spool { file, offsets } = spool;
            let offsets = nodes.keys().map(|place| offsets.get(place).copied()).collect();
            let files = nodes.into_iter().map(|(place, node)| listed(&place, node)).collect();
            Ok(Ok(Spooled { files, offsets, file: Arc::new(file.into_std()) }))
        });
        match spooled.await? {
            Ok(spooled) => return Ok(spooled),
            Err(missing) => originals = missing,
        }
    }
}

fn place(path: &Path) -> Result<Place, Fault> {
    let mut place = Place::top();
    names(path.as_os_str().as_bytes())?.into_iter().for_each(|name| place.push(name));
    Ok(place)
}

fn failed(source: io::Error) -> Fault {
    Fault::Local { what: "write to a temporary file in", path: temp_dir().display().to_string(), source }
}

/// The sink that appends the contents of files to one.
struct Spool {
    file: cap_std::fs::File,
    offsets: BTreeMap<Place, u64>,
}

impl Sink for Spool {
    fn directory(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }

    fn file(&mut self, place: &Place, _: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
        let start = self.file.stream_position().map_err(failed)?;
        write(&mut self.file, place, contents)?;
        self.offsets.insert(place.clone(), start);
        Ok(())
    }

    fn symlink(&mut self, _: &Place, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn hard_link(&mut self, place: &Place, original: &Place) -> Result<(), Fault> {
        if let Some(&start) = self.offsets.get(original) {
            self.offsets.insert(place.clone(), start);
        }
        Ok(())
    }

    fn remove(&mut self, place: &Place, _: bool) -> Result<(), Fault> {
        self.offsets.remove(place);
        Ok(())
    }

    fn set_mode(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }
}
