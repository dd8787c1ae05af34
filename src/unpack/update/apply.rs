//! Making a directory what an image has: which steps that takes, and taking them.
//!
//! Before the first step, it is kept what was known of the directory and what it is to become. So whatever ends this in
//! the middle, it can be done again.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::fs::{DirBuilder, DirBuilderExt, Permissions, PermissionsExt};

use super::known::{Known, Note, Row, RowKind, Stamp, Tree};
use super::local::{Found, Handles, split};
use super::scene::{Doing, LocalChange, Scene, Standing};
use super::stage::Staged;
use super::state::Image;
use crate::bundle::{Indexed, compare_paths};
use crate::digest::Digest;
use crate::unpack::error::{Error, Fault, shown};
use crate::unpack::place::path_of;
use crate::unpack::staging::{is_closed, move_to_free, open_directory};

/// How many images are kept that a directory was made of when work was broken off: those that most of it is from. What is only
/// in others counts as changed.
const MAX_BEFORE: usize = 3;

/// What has to be done. Numbers of what is in the directory, and of rows of the tree; each list in order.
#[derive(Debug, Default)]
struct Plan {
    /// What is in the way of something else.
    in_the_way: Vec<usize>,
    /// Directories to make.
    directories: Vec<usize>,
    /// What gets its name from the hidden directory, where something has it that is no directory.
    replaced: Vec<usize>,
    /// The same, where nothing has it, or nothing has any more.
    added: Vec<usize>,
    /// What the image does not have.
    gone: Vec<usize>,
    /// Directories that get another mode, those that are made among them.
    modes: Vec<usize>,
    /// Directories that do not let their owner change what is in them.
    closed: Vec<usize>,
}

impl Plan {
    fn new(scene: &Scene, tree: &Tree, staged: &BTreeMap<usize, Note>) -> Self {
        let mut plan = Self::default();
        for (number, row) in tree.rows().enumerate() {
            let found = scene.find(row.path).map(|found| &scene.found[found]);
            match row.kind {
                RowKind::Directory if found.is_none_or(|found| !found.is_directory()) => {
                    plan.directories.push(number);
                    plan.modes.push(number);
                }
                _ if staged.contains_key(&number) => match found {
                    Some(found) if !found.is_directory() => plan.replaced.push(number),
                    _ => plan.added.push(number),
                },
                RowKind::Directory if found.is_some_and(|found| found.mode != row.mode) => plan.modes.push(number),
                RowKind::Directory | RowKind::File { .. } | RowKind::Symlink { .. } => {}
            }
        }
        plan.remove(scene, tree);
        plan
    }

    fn remove(&mut self, scene: &Scene, tree: &Tree) {
        // A directory that a file takes the place of, in which everything is in the way.
        let mut replaced: Option<&[u8]> = None;
        for (number, found) in scene.found.iter().enumerate() {
            let is_in = |above: &[u8]| found.path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"/"));
            let row = tree.find(&found.path).map(|row| tree.row(row));
            match row {
                _ if replaced.is_some_and(is_in) => self.in_the_way.push(number),
                None => self.gone.push(number),
                Some(row) => match (found.is_directory(), row.kind) {
                    (true, RowKind::File { .. } | RowKind::Symlink { .. }) => {
                        replaced = Some(&found.path);
                        self.in_the_way.push(number);
                    }
                    (false, RowKind::Directory) => self.in_the_way.push(number),
                    (true, RowKind::Directory) | (false, RowKind::File { .. } | RowKind::Symlink { .. }) => {}
                },
            }
            if found.is_directory() && is_closed(found.mode) {
                self.closed.push(number);
            }
        }
    }

    fn is_empty(&self) -> bool {
        let Self { in_the_way, directories, replaced, added, gone, modes, closed: _ } = self;
        let steps = [in_the_way, directories, replaced, added, gone, modes];
        steps.iter().all(|steps| steps.is_empty())
    }
}

/// Makes the directory what `tree` has, of which what is `staged` is at hand and the rest is there. Returns whether there
/// was anything to do.
pub(super) fn apply(mut scene: Scene, digest: Digest, tree: Tree, mut staged: Staged) -> Result<bool, Error> {
    let (stamps, checksums) = notes(&mut scene, &tree, &staged.rows);
    let new = Known { digest, tree, stamps, checksums };
    let plan = Plan::new(&scene, &new.tree, &staged.rows);
    let path = scene.held.directory().to_owned();
    if !plan.is_empty() {
        scene.handles.forget();
        look_again(&mut scene, &new.tree, &plan)?;
        // What is known of them is not needed any more, and takes most of the memory that there is.
        let mut images = before(&mut scene, new.digest);
        images.push(Image::from(&new));
        scene.held.save(&images, false, true).map_err(Error::local("keep what is known of", &path))?;
        drop(images);
        let Scene { handles, found, .. } = &mut scene;
        Steps { directory: &path, handles, staged: &mut staged.handles, found, tree: &new.tree }.take(&plan)?;
    }
    drop(staged);
    scene.held.save(&[Image::from(&new)], true, false).map_err(Error::local("keep what is known of", &path))?;
    Ok(!plan.is_empty())
}

/// What is to be kept of the images that the directory is made of, but for the new one.
fn before(scene: &mut Scene, new: Digest) -> Vec<Image<'static>> {
    let numbered = scene.uses().into_iter().zip(scene.known.images.drain(..));
    let mut images: Vec<(usize, Known)> = numbered.filter(|(_, image)| image.digest != new).collect();
    while images.len() > MAX_BEFORE {
        let least = (0..images.len()).min_by_key(|&number| images[number].0).unwrap_or_default();
        images.remove(least);
    }
    images.into_iter().map(|(_, image)| image.into()).collect()
}

/// Keeps what is known from now on of a directory of which nothing was known, if it is all that a bundle has and nothing else.
/// Returns how many files and bytes there are.
pub(super) fn adopt(mut scene: Scene, digest: Digest, bundle: Arc<Indexed>) -> Result<Option<(u64, u64)>, Error> {
    let tree = Tree::Bundle(bundle);
    // Nothing is read if that shows already that it is something else.
    if scene.found.len() != tree.len() || !tree.rows().all(|row| scene.seems_to_have(&row)) {
        return Ok(None);
    }
    scene.read_for(tree.bundle());
    if scene.standings.iter().any(|standing| !matches!(standing, Standing::New | Standing::Plain)) {
        return Ok(None);
    }
    let (stamps, checksums) = notes(&mut scene, &tree, &BTreeMap::new());
    let new = Known { digest, tree, stamps, checksums };
    let local = Error::local("keep what is known of", scene.held.directory());
    scene.held.save(&[Image::from(&new)], true, false).map_err(local)?;
    Ok(Some(new.tree.totals()))
}

/// What each file is to be known by.
fn notes(scene: &mut Scene, tree: &Tree, staged: &BTreeMap<usize, Note>) -> (Vec<Option<Stamp>>, Vec<u32>) {
    let nothing = Note { stamp: None, checksum: 0 };
    let note = |(number, row): (usize, Row<'_>)| match (row.kind, staged.get(&number)) {
        (RowKind::Directory | RowKind::Symlink { .. }, _) => nothing,
        (RowKind::File { .. }, Some(note)) => *note,
        (RowKind::File { .. }, None) => scene.find(row.path).map_or(nothing, |found| scene.note(found)),
    };
    tree.rows().enumerate().map(note).map(|note| (note.stamp, note.checksum)).unzip()
}

/// Sees that nothing that is going to be replaced or removed has changed since it was looked at, and that the file system
/// does not take a new name for another.
fn look_again(scene: &mut Scene, tree: &Tree, plan: &Plan) -> Result<(), Error> {
    let Scene { handles, found, held, .. } = scene;
    let directory = held.directory();
    for &number in plan.in_the_way.iter().chain(&plan.gone) {
        let path = &found[number].path;
        match handles.look(path).map_err(local("look at", path))? {
            Some(now) if now == found[number] => {}
            Some(_) => return Err(changed(directory, path, Doing::Modified)),
            None => return Err(changed(directory, path, Doing::Removed)),
        }
    }
    for &number in plan.directories.iter().chain(&plan.replaced).chain(&plan.added) {
        let path = tree.row(number).path;
        let before = found.binary_search_by(|found| compare_paths(&found.path, path)).ok();
        match (handles.look(path).map_err(local("look at", path))?, before) {
            (None, _) => {}
            (Some(now), Some(before)) if now == found[before] => {}
            (Some(_), Some(_)) => return Err(changed(directory, path, Doing::Modified)),
            (Some(_), None) if handles.has_name(path).map_err(local("look at", path))? => {
                return Err(changed(directory, path, Doing::Added));
            }
            (Some(_), None) => return Err(Fault::Collision(shown(path)).into()),
        }
    }
    Ok(())
}

/// Somebody has just done something.
fn changed(directory: &Path, path: &[u8], doing: Doing) -> Error {
    Error::Changed { directory: directory.to_owned(), changes: vec![LocalChange { path: path_of(path), doing }] }
}

fn local(what: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Error {
    let path = shown(path);
    move |source| Fault::Local { what, path, source }.into()
}

/// Takes the steps of a plan.
struct Steps<'a> {
    directory: &'a Path,
    handles: &'a mut Handles,
    staged: &'a mut Handles,
    found: &'a [Found],
    tree: &'a Tree,
}

impl Steps<'_> {
    fn take(&mut self, plan: &Plan) -> Result<(), Error> {
        let (found, tree) = (self.found, self.tree);
        for &number in &plan.closed {
            let Found { path, mode, .. } = &found[number];
            self.set_mode(path, mode | 0o700).map_err(local("set the mode of", path))?;
        }
        for &number in plan.in_the_way.iter().rev() {
            self.remove(&found[number])?;
        }
        self.handles.forget();
        for &number in &plan.directories {
            let path = tree.row(number).path;
            self.make_directory(path).map_err(|error| self.in_between("make directory", path, error))?;
        }
        for &number in &plan.replaced {
            let path = tree.row(number).path;
            self.replace(path).map_err(local("replace", path))?;
        }
        for &number in &plan.added {
            let path = tree.row(number).path;
            self.add(path).map_err(|error| self.in_between("make", path, error))?;
        }
        for &number in plan.gone.iter().rev() {
            self.remove(&found[number])?;
        }
        self.handles.forget();
        self.set_modes(plan)
    }

    /// The deepest first: then it does not matter what a mode allows.
    fn set_modes(&mut self, plan: &Plan) -> Result<(), Error> {
        let tree = self.tree;
        let mut rows = plan.modes.clone();
        rows.extend(plan.closed.iter().filter_map(|&number| tree.find(&self.found[number].path)));
        rows.sort_unstable();
        rows.dedup();
        for number in rows.into_iter().rev() {
            let row = tree.row(number);
            if row.kind == RowKind::Directory {
                self.set_mode(row.path, row.mode).map_err(local("set the mode of", row.path))?;
            }
        }
        Ok(())
    }

    fn remove(&mut self, found: &Found) -> Result<(), Error> {
        let (parent, name) = split(&found.path);
        let dir = self.handles.directory(parent).map_err(local("open", parent))?;
        let removed = if found.is_directory() { dir.remove_dir(name) } else { dir.remove_file(name) };
        removed.map_err(local("remove", &found.path))
    }

    fn make_directory(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        self.handles.directory(parent)?.create_dir_with(name, DirBuilder::new().mode(0o700))
    }

    fn replace(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let (from, to) = (self.staged.directory(parent)?, self.handles.directory(parent)?);
        from.rename(name, &to, name)
    }

    fn add(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let (from, to) = (self.staged.directory(parent)?, self.handles.directory(parent)?);
        move_to_free(&from, &to, name)
    }

    /// Where nothing was, something may have come in between.
    fn in_between(&self, what: &'static str, path: &[u8], error: io::Error) -> Error {
        if error.kind() == io::ErrorKind::AlreadyExists {
            return changed(self.directory, path, Doing::Added);
        }
        local(what, path)(error)
    }

    /// Sets the mode of a directory, and of nothing that a link leads to.
    fn set_mode(&mut self, path: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = split(path);
        let dir = self.handles.directory(parent)?;
        open_directory(&dir, Path::new(name))?.set_permissions(Permissions::from_mode(mode))
    }
}

#[cfg(test)]
mod tests {
    use cap_std::ambient_authority;
    use cap_std::fs::Dir;

    use super::*;
    use crate::unpack::{Listed, ListedKind};

    /// What comes to a directory after it has been looked at for the last time.
    #[test]
    fn what_comes_where_nothing_was_is_not_replaced() {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let handles =
            |place: &tempfile::TempDir| Handles::new(Dir::open_ambient_dir(place.path(), ambient_authority()).unwrap());
        let listed = |path: &str, kind| Listed { path: path.into(), mode: 0o755, kind };
        let tree = Tree::Other(vec![listed("d", ListedKind::Directory), listed("f", ListedKind::File { size: 3 })]);
        std::fs::write(there.path().join("f"), "new").unwrap();
        std::fs::write(here.path().join("f"), "mine").unwrap();
        std::fs::write(here.path().join("d"), "mine").unwrap();
        for plan in [Plan { directories: vec![0], ..Plan::default() }, Plan { added: vec![1], ..Plan::default() }] {
            let (mut handles, mut staged) = (handles(&here), handles(&there));
            let mut steps =
                Steps { directory: here.path(), handles: &mut handles, staged: &mut staged, found: &[], tree: &tree };
            let error = steps.take(&plan).unwrap_err();
            let Error::Changed { changes, .. } = &error else { panic!("{error}") };
            assert_eq!(changes[0].doing, Doing::Added);
        }
        assert_eq!(std::fs::read(here.path().join("f")).unwrap(), b"mine");
    }
}
