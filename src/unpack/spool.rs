//! The sink that keeps the contents of files in temporary files, whatever their modes, and nothing else.

use std::collections::BTreeMap;
use std::env::temp_dir;
use std::fs::File;
use std::io::{self, Seek};

use super::error::Fault;
use super::item::{Contents, Sink};
use super::place::Place;
use super::writer::write;

/// Files without names.
#[derive(Default)]
pub(super) struct Spool(BTreeMap<Place, File>);

impl Spool {
    /// The file at `place`, if one is there, to be read from its front.
    pub(super) fn rewound(mut self, place: &Place) -> Result<Option<File>, Fault> {
        let Some(mut file) = self.0.remove(place) else { return Ok(None) };
        file.rewind().map_err(failed)?;
        Ok(Some(file))
    }
}

fn failed(source: io::Error) -> Fault {
    Fault::Local { what: "make a temporary file in", path: temp_dir().display().to_string(), source }
}

impl Sink for Spool {
    fn directory(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }

    fn file(&mut self, place: &Place, _: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
        let mut file = cap_std::fs::File::from_std(tempfile::tempfile().map_err(failed)?);
        write(&mut file, place, contents)?;
        self.0.insert(place.clone(), file.into_std());
        Ok(())
    }

    fn symlink(&mut self, _: &Place, _: &[u8]) -> Result<(), Fault> {
        Ok(())
    }

    fn hard_link(&mut self, place: &Place, original: &Place) -> Result<(), Fault> {
        if let Some(file) = self.0.get(original) {
            let file = file.try_clone().map_err(failed)?;
            self.0.insert(place.clone(), file);
        }
        Ok(())
    }

    fn remove(&mut self, place: &Place, _: bool) -> Result<(), Fault> {
        self.0.remove(place);
        Ok(())
    }

    fn set_mode(&mut self, _: &Place, _: u32) -> Result<(), Fault> {
        Ok(())
    }
}
