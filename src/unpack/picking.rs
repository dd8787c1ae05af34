//! The sink that passes on what is wanted, and the directories that it is in, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Fault;
use super::item::{Contents, Sink};
use super::place::Place;
use super::staging::is_closed;

/// The mode of directories that no entry speaks of.
const DIRECTORY_MODE: u32 = 0o755;

/// What decides: the place, and whether a directory is there.
pub(super) type Wanted<'a> = &'a dyn Fn(&Place, bool) -> bool;

/// Passes on what is wanted.
///
/// Whether a file will be wanted under another name, by a hard link, shows only when that comes. Then it is noted as
/// missing, and all has to be read once more.
pub(super) struct Picking<'a> {
    sink: &'a mut dyn Sink,
    wanted: Wanted<'a>,
    /// What is passed on, too, until the end: hard links lead there.
    originals: &'a BTreeSet<Place>,
    /// The modes of all directories that there are. A mode that keeps the owner out is passed on at the end: until then,
    /// something may have to go from the directory.
    modes: BTreeMap<Place, u32>,
    /// Where hard links that were not passed on lead to, and those that were there before them and are gone.
    links: BTreeMap<Place, BTreeSet<Place>>,
    /// What has been passed on.
    made: BTreeSet<Place>,
    missing: BTreeSet<Place>,
}

/// What has come of it.
pub(super) enum Picked {
    /// All that is wanted, and where it is.
    All(BTreeSet<Place>),
    /// These would have been needed, too.
    Missing(BTreeSet<Place>),
}

impl<'a> Picking<'a> {
    pub(super) fn new(sink: &'a mut dyn Sink, wanted: Wanted<'a>, originals: &'a BTreeSet<Place>) -> Self {
        let (modes, links) = (BTreeMap::new(), BTreeMap::new());
        Self { sink, wanted, originals, modes, links, made: BTreeSet::new(), missing: BTreeSet::new() }
    }

    /// Removes what was passed on for the sake of something else, or of what has gone since, and closes directories.
    pub(super) fn finish(self) -> Result<Picked, Fault> {
        if !self.missing.is_empty() {
            return Ok(Picked::Missing(self.all_missing()));
        }
        let mut needed = BTreeSet::new();
        // What is in a directory comes after it, so this begins with the deepest.
        for place in self.made.iter().rev() {
            let is_directory = self.modes.contains_key(place);
            if needed.contains(place) || (self.wanted)(place, is_directory) {
                needed.extend(place.upwards());
            } else {
                self.sink.remove(place, is_directory)?;
            }
        }
        // The deepest first: once a directory has its mode, what is in it may be out of reach.
        for place in needed.iter().rev() {
            if let Some(&mode) = self.modes.get(place).filter(|&&mode| is_closed(mode)) {
                self.sink.set_mode(place, mode)?;
            }
        }
        Ok(Picked::All(needed))
    }

    /// What has to be there the next time: what was missing, and what hard links there led to in turn, at any time.
    fn all_missing(mut self) -> BTreeSet<Place> {
        let mut ahead: Vec<_> = self.missing.iter().cloned().collect();
        while let Some(place) = ahead.pop() {
            for original in self.links.remove(&place).unwrap_or_default() {
                if self.missing.insert(original.clone()) {
                    ahead.push(original);
                }
            }
        }
        self.missing
    }

    fn picks(&self, place: &Place) -> bool {
        (self.wanted)(place, false) || self.originals.contains(place)
    }

    /// Makes a directory and those that it is in, unless they are there.
    fn make(&mut self, place: &Place) -> Result<(), Fault> {
        let missing: Vec<_> = place.upwards().take_while(|above| !self.made.contains(above)).collect();
        for above in missing.into_iter().rev() {
            self.sink.directory(&above, *self.modes.get(&above).unwrap_or(&DIRECTORY_MODE))?;
            self.made.insert(above);
        }
        Ok(())
    }
}

impl Sink for Picking<'_> {
    fn directory(&mut self, place: &Place, mode: u32) -> Result<(), Fault> {
        self.modes.insert(place.clone(), mode);
        if (self.wanted)(place, true) { self.make(place) } else { Ok(()) }
    }

    fn file(&mut self, place: &Place, mode: u32, number: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
        if !self.picks(place) {
            return contents.skip();
        }
        self.make(&place.parent())?;
        self.made.insert(place.clone());
        self.sink.file(place, mode, number, contents)
    }

    fn symlink(&mut self, place: &Place, target: &[u8]) -> Result<(), Fault> {
        if !self.picks(place) {
            return Ok(());
        }
        self.make(&place.parent())?;
        self.made.insert(place.clone());
        self.sink.symlink(place, target)
    }

    fn hard_link(&mut self, place: &Place, original: &Place) -> Result<(), Fault> {
        if !self.picks(place) {
            self.links.entry(place.clone()).or_default().insert(original.clone());
            return Ok(());
        }
        if !self.made.contains(original) {
            self.missing.insert(original.clone());
            return Ok(());
        }
        self.make(&place.parent())?;
        self.made.insert(place.clone());
        self.sink.hard_link(place, original)
    }

    fn remove(&mut self, place: &Place, is_directory: bool) -> Result<(), Fault> {
        self.modes.remove(place);
        if self.made.remove(place) { self.sink.remove(place, is_directory) } else { Ok(()) }
    }

    fn set_mode(&mut self, place: &Place, mode: u32) -> Result<(), Fault> {
        self.modes.insert(place.clone(), mode);
        if self.made.contains(place) && !is_closed(mode) { self.sink.set_mode(place, mode) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::item::{Nowhere, Piece};
    use super::*;

    /// Makes directories and files nowhere, and says what is removed and closed.
    struct Said(Vec<String>);

    impl Sink for Said {
        fn directory(&mut self, _: &Place, mode: u32) -> Result<(), Fault> {
            assert!(!is_closed(mode));
            Ok(())
        }

        fn file(&mut self, place: &Place, mode: u32, number: u32, contents: &mut dyn Contents) -> Result<(), Fault> {
            Nowhere.file(place, mode, number, contents)
        }

        fn symlink(&mut self, _: &Place, _: &[u8]) -> Result<(), Fault> {
            Ok(())
        }

        fn hard_link(&mut self, _: &Place, _: &Place) -> Result<(), Fault> {
            Ok(())
        }

        fn remove(&mut self, place: &Place, _: bool) -> Result<(), Fault> {
            self.0.push(format!("remove {place}"));
            Ok(())
        }

        fn set_mode(&mut self, place: &Place, mode: u32) -> Result<(), Fault> {
            self.0.push(format!("{mode:o} {place}"));
            Ok(())
        }
    }

    struct Empty;

    impl Contents for Empty {
        fn next(&mut self) -> Result<Piece, Fault> {
            Ok(Piece::End)
        }
    }

    #[test]
    fn directories_are_closed_once_nothing_has_to_go_from_them_any_more() {
        let place = |path: &str| {
            let mut place = Place::top();
            path.split('/').for_each(|name| place.push(name.as_bytes()));
            place
        };
        let (mut sink, originals) = (Said(Vec::new()), BTreeSet::from([place("a/b/original")]));
        let wanted = |wanted: &Place, _: bool| *wanted == place("a/link");
        let mut picking = Picking::new(&mut sink, &wanted, &originals);
        for path in ["a", "a/b"] {
            picking.directory(&place(path), 0o755).unwrap();
        }
        picking.file(&place("a/b/original"), 0o644, 0, &mut Empty).unwrap();
        picking.hard_link(&place("a/link"), &place("a/b/original")).unwrap();
        for path in ["a/b", "a"] {
            picking.set_mode(&place(path), 0o555).unwrap();
        }
        assert!(matches!(picking.finish().unwrap(), Picked::All(made) if made.len() == 2));
        assert_eq!(sink.0, ["remove a/b/original", "remove a/b", "555 a"]);
    }
}
