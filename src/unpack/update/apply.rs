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
use super::scene::{Doing, LocalChange, Scene};
use super::stage::Staged;
use super::state::Image;
use crate::bundle::{Indexed, compare_paths};
use crate::digest::Digest;
use crate::unpack::error::{Error, Fault, shown};
use crate::unpack::place::path_of;
use crate::unpack::staging::open_directory;

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
    /// What gets its name from the hidden directory.
    moved: Vec<usize>,
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
                _ if staged.contains_key(&number) => plan.moved.push(number),
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
            if found.is_directory() && found.mode & 0o700 != 0o700 {
                self.closed.push(number);
            }
        }
    }

    fn is_empty(&self) -> bool {
        let steps = [&self.in_the_way, &self.directories, &self.moved, &self.gone, &self.modes];
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
        Steps { handles: &mut scene.handles, staged: &mut staged.handles, found: &scene.found, tree: &new.tree }
            .take(&plan)?;
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
        let least = (0..images.len()).min_by_key(|&number| images[number].0);
        least.map(|number| images.remove(number));
    }
    images.into_iter().map(|(_, image)| image.into()).collect()
}

/// Keeps what is known from now on of a directory of which nothing was known, if it is all that a bundle has and nothing else.
/// Returns how many files and bytes there are.
pub(super) fn adopt(mut scene: Scene, digest: Digest, bundle: Arc<Indexed>) -> Result<Option<(u64, u64)>, Error> {
    scene.read_for(Some(&bundle));
    let tree = Tree::Bundle(bundle);
    if scene.found.len() != tree.len() || !tree.rows().all(|row| scene.is_there(&row)) {
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
    let mut look = |path: &[u8]| handles.look(path).map_err(local("look at", path));
    let changed = |path: &[u8]| {
        let changes = vec![LocalChange { path: path_of(path), doing: Doing::Modified }];
        Error::Changed { directory: held.directory().to_owned(), changes }
    };
    for &number in plan.in_the_way.iter().chain(&plan.gone) {
        if look(&found[number].path)?.as_ref() != Some(&found[number]) {
            return Err(changed(&found[number].path));
        }
    }
    for &number in plan.directories.iter().chain(&plan.moved) {
        let path = tree.row(number).path;
        let before = found.binary_search_by(|found| compare_paths(&found.path, path)).ok();
        match (look(path)?, before) {
            (None, _) => {}
            (Some(_), None) => return Err(Fault::Collision(shown(path)).into()),
            (Some(now), Some(before)) if now == found[before] => {}
            (Some(_), Some(_)) => return Err(changed(path)),
        }
    }
    Ok(())
}

fn local(what: &'static str, path: &[u8]) -> impl FnOnce(io::Error) -> Error {
    let path = shown(path);
    move |source| Fault::Local { what, path, source }.into()
}

/// Takes the steps of a plan.
struct Steps<'a> {
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
            self.make_directory(path).map_err(local("make directory", path))?;
        }
        for &number in &plan.moved {
            let path = tree.row(number).path;
            self.move_up(path).map_err(local("replace", path))?;
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

    fn move_up(&mut self, path: &[u8]) -> io::Result<()> {
        let (parent, name) = split(path);
        let (from, to) = (self.staged.directory(parent)?, self.handles.directory(parent)?);
        from.rename(name, &to, name)
    }

    /// Sets the mode of a directory, and of nothing that a link leads to.
    fn set_mode(&mut self, path: &[u8], mode: u32) -> io::Result<()> {
        let (parent, name) = split(path);
        let dir = self.handles.directory(parent)?;
        open_directory(&dir, Path::new(name))?.set_permissions(Permissions::from_mode(mode))
    }
}
