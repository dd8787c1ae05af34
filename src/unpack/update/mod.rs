//! Bringing a directory up to date: it becomes what an image has, and nothing else in it is touched.
//!
//! `state` keeps what is `known` of a directory; `local` says what is in it; `scene` puts the two beside each other, and
//! finds what somebody has changed; `stage` makes what is missing, in a hidden directory; `apply` puts that in its place.

mod apply;
mod known;
mod local;
mod scene;
mod stage;
mod state;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use self::apply::{adopt, apply};
use self::known::Tree;
pub(super) use self::known::{Note, Stamp};
pub use self::scene::{Doing, LocalChange};
use self::scene::{Looked, Scene};
use self::stage::{Made, Stage};
pub(super) use self::state::Held;
use self::state::Image;
pub use self::state::{States, are_within};
use super::error::{Error, Fault};
use super::part::{WAITING, send};
use super::staging::Staging;
use super::view::Node;
use super::writer::Writer;
use super::{Contents, UnpackOptions, Unpacked, listed, open_bundle, read, run, unpack};
use crate::bundle::{Indexed, MemberNumber};
use crate::content::{self, ErrorKind, OpenRange};
use crate::digest::Digest;
use crate::manifest::RawManifest;

/// How to update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    /// Whether what somebody has changed is to go, and whatever is in a directory of which nothing is known.
    pub force: bool,
    /// Whether to read every file that is there, and not to go by size, time and inode.
    pub verify: bool,
}

/// What has come of an update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was there, and all has been unpacked.
    Pulled,
    /// Something was there, and now it is what the image has.
    Updated,
    /// It was that already.
    Unchanged,
}

/// What has been updated.
#[derive(Clone, Debug)]
pub struct Updated {
    /// What is there now.
    pub unpacked: Unpacked,
    /// What has come of it.
    pub outcome: Outcome,
    /// What somebody had changed, and is gone.
    pub discarded: Vec<LocalChange>,
}

/// Makes the directory at `target` what the image has that `manifest` describes. If nothing is there, this is [`unpack`].
///
/// Of a bundle, only members are fetched that the directory does not have already; of any other image, everything. Files
/// that are as they should be are not touched. What is to change is made and verified in a hidden directory first; then
/// each file is replaced at once. Broken off at any moment, and done again, it ends right.
///
/// What was unpacked there before has to be known to the [`States`] of `options`.
///
/// # Errors
/// Those of [`unpack`]; [`Error::Changed`] when somebody has changed something there that is not as in the image anyway,
/// and [`Error::Unknown`] when nothing is known of what is there and it is not just what the bundle has, unless that is to go;
/// [`Error::Busy`].
pub async fn update(
    source: &dyn OpenRange,
    manifest: &RawManifest,
    target: &Path,
    how: UpdateOptions,
    options: &UnpackOptions,
) -> Result<Updated, Error> {
    match update_as(source, manifest, target, how, options).await {
        // Size, time and inode have said what is not so: now everything is read.
        Err(Error::Finish(fault @ Fault::OtherContents(_))) if !how.verify => {
            tracing::debug!("* {fault}: all files are read");
            update_as(source, manifest, target, UpdateOptions { verify: true, ..how }, options).await
        }
        done => done,
    }
}

async fn update_as(
    source: &dyn OpenRange,
    manifest: &RawManifest,
    target: &Path,
    how: UpdateOptions,
    options: &UnpackOptions,
) -> Result<Updated, Error> {
    let (path, states) = (target.to_owned(), options.states.clone());
    let Some(held) = blocking(move || take(&path, states.as_ref())).await? else {
        let unpacked = unpack(source, manifest, target, options).await?;
        return Ok(Updated { unpacked, outcome: Outcome::Pulled, discarded: Vec::new() });
    };
    let job = Job { manifest: manifest.digest(), how, target: target.to_owned() };
    let directory = held.directory().to_owned();
    let looking = async { Ok::<_, Error>(blocking(move || Looked::at(&directory)).await) };
    // Meanwhile, what is known of it is read, and then the index, unless the one may show that the other is not needed.
    let reading = async {
        let (known, held) = blocking(move || Ok((held.load().unwrap_or_default(), held))).await?;
        let is_there = known.is_all_of(job.manifest);
        let bundle = if is_there { None } else { open_bundle(source, manifest, options.limits).await? };
        Ok::<_, Error>((held, known, is_there, bundle))
    };
    let (looked, (held, known, is_there, mut bundle)) = futures::try_join!(looking, reading)?;
    let is_unknown = known.images.is_empty() && !how.force;
    // What is not known of it counts before what cannot be looked at.
    let looked = looked.map_err(|error| if is_unknown { Error::Unknown(target.to_owned()) } else { error })?;
    let mut scene = blocking(move || Ok(Scene::new(held, known, looked, how.verify))).await?;
    if is_unknown {
        let unknown = || Error::Unknown(target.to_owned());
        let (bundle, digest) = (bundle.ok_or_else(unknown)?, job.manifest);
        let fetched = bundle.fetched();
        let totals = blocking(move || adopt(scene, digest, Arc::new(bundle))).await?.ok_or_else(unknown)?;
        return Ok(job.done(totals, false, fetched, Vec::new()));
    }
    if is_there {
        let (totals, looked_at) = blocking(move || Ok((if_unchanged(&mut scene, how)?, scene))).await?;
        if let Some(totals) = totals {
            return Ok(job.done(totals, false, 0, Vec::new()));
        }
        (scene, bundle) = (looked_at, open_bundle(source, manifest, options.limits).await?);
    }
    match bundle {
        Some(bundle) => job.fetch_members(source, scene, Arc::new(bundle)).await,
        None => job.fetch_all(source, manifest, scene, options).await,
    }
}

/// Takes a target for itself that is to be made, if it can be known what is in it. If it cannot, it will not be updated.
pub(super) fn hold_if_possible(states: Option<&States>, target: &Path) -> Result<Option<Held>, Error> {
    match states.map(|states| states.hold(target)).transpose() {
        Err(error @ Error::Local { .. }) => {
            tracing::debug!("* this cannot be updated later: {error}");
            Ok(None)
        }
        held => held,
    }
}

/// Publishes what has been unpacked, and keeps what is known of it: before, so that this is known whenever the rest is.
pub(super) fn publish(
    staging: Staging,
    held: &Held,
    digest: Digest,
    all: Contents,
    writer: Writer,
) -> Result<(), Error> {
    let moves_up = staging.moves_up();
    let keep = |image: &Image<'_>, is_complete| {
        if let Err(error) = held.save(std::slice::from_ref(image), is_complete, false) {
            tracing::debug!("* what is unpacked will not be known: {error}");
        }
    };
    let notes = writer.notes().map_err(Error::local("look at what is in", held.directory()))?;
    let image = Image::new(digest, all, &notes);
    keep(&image, !moves_up);
    staging.publish()?;
    if moves_up {
        keep(&image, true);
    }
    Ok(())
}

/// Takes a target for itself that something is in; nothing, if all is to be unpacked.
fn take(target: &Path, states: Option<&States>) -> Result<Option<Held>, Error> {
    let held = states.map(|states| states.hold(target)).transpose();
    // What was left there is gone: only then does it show what else is there.
    let is_empty = match fs::read_dir(target) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => fs::symlink_metadata(target).is_err(),
        Err(error) => return Err(Error::local("read", target)(error)),
    };
    match held {
        Err(error @ Error::Busy(_)) => return Err(error),
        _ if is_empty => return Ok(None),
        held => held?,
    }
    .map(Some)
    .ok_or_else(|| Error::NoStates(target.to_owned()))
}

/// How many files and bytes there are, if the directory is as the one image has it that was unpacked there.
fn if_unchanged(scene: &mut Scene, how: UpdateOptions) -> Result<Option<(u64, u64)>, Error> {
    scene.read_for(None);
    if (how.verify && !scene.is_sure()) || !scene.changes(None).is_empty() {
        return Ok(None);
    }
    let Some(known) = scene.known.images.last() else { return Ok(None) };
    // Those that are known count as well, as long as it is known that they are.
    let stamps =
        scene.has_learned().then(|| known.tree.rows().map(|row| scene.stamp_of(scene.find(row.path)?)).collect());
    let Some(mut known) = scene.known.images.pop() else { return Ok(None) };
    if let Some(stamps) = stamps {
        known.stamps = stamps;
        let local = Error::local("keep what is known of", scene.held.directory());
        scene.held.save(&[Image::from(&known)], true, false).map_err(local)?;
    }
    Ok(Some(known.tree.totals()))
}

/// Runs `work` on a thread that may take its time.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| content::Error::new(ErrorKind::Local, error))?
}

/// What is to be done, and where.
#[derive(Clone)]
struct Job {
    manifest: Digest,
    how: UpdateOptions,
    target: PathBuf,
}

/// What a directory lacks of a bundle.
struct Needs {
    /// The numbers of the entries.
    wanted: Vec<usize>,
    /// Members with parts of these that the directory has.
    is_here: BTreeSet<MemberNumber>,
    /// Whether somebody has changed something, or may have.
    has_changes: bool,
}

impl Job {
    fn done(&self, totals: (u64, u64), is_changed: bool, bytes_fetched: u64, discarded: Vec<LocalChange>) -> Updated {
        let (files, bytes) = totals;
        let unpacked = Unpacked { directory: self.target.clone(), files, bytes, bytes_fetched };
        let outcome = if is_changed { Outcome::Updated } else { Outcome::Unchanged };
        Updated { unpacked, outcome, discarded }
    }

    /// What somebody has changed, and is to go.
    fn discards(&self, scene: &Scene, new: &Tree) -> Result<Vec<LocalChange>, Error> {
        let changes = scene.changes(Some(new));
        if changes.is_empty() || self.how.force { Ok(changes) } else { Err(self.changed(changes)) }
    }

    /// Whether somebody has changed something, or may have. Fails if it is not as `new` has it, whatever may be in files that
    /// are to be fetched.
    fn check(&self, scene: &Scene, new: &Tree) -> Result<bool, Error> {
        let mut changes = scene.changes(Some(new));
        let has_changes = !changes.is_empty();
        changes.retain(|change| !scene.may_have(new, change.path.as_os_str().as_bytes()));
        if changes.is_empty() || self.how.force { Ok(has_changes) } else { Err(self.changed(changes)) }
    }

    fn changed(&self, changes: Vec<LocalChange>) -> Error {
        Error::Changed { directory: self.target.clone(), changes }
    }

    /// Fetches those members of a bundle that the directory does not have.
    async fn fetch_members(
        self,
        source: &dyn OpenRange,
        mut scene: Scene,
        bundle: Arc<Indexed>,
    ) -> Result<Updated, Error> {
        let (job, new) = (self.clone(), Arc::clone(&bundle));
        let (mut scene, needs, job) = blocking(move || {
            let needs = job.needs(&mut scene, &new)?;
            Ok((scene, needs, job))
        })
        .await?;
        let (sender, pieces) = mpsc::channel(WAITING);
        let is_here = needs.is_here.clone();
        let contents = bundle.contents_without(source, &needs.wanted, move |member| is_here.contains(&member));
        let new = Arc::clone(&bundle);
        let worker = tokio::task::spawn_blocking(move || {
            let mut stage = Stage::new(&mut scene)?;
            let made = stage.fill(&mut scene, &new, &needs.wanted, &needs.is_here, pieces)?;
            let tree = Tree::Bundle(new);
            let (totals, staged) = (tree.totals(), stage.finish(&mut scene, &tree, &made)?);
            let discarded = if needs.has_changes { job.discards(&scene, &tree)? } else { Vec::new() };
            let is_changed = apply(scene, job.manifest, tree, staged)?;
            Ok::<_, Error>((totals, is_changed, discarded))
        });
        let sent = send(contents, sender).await;
        let done = worker.await.map_err(|error| content::Error::new(ErrorKind::Local, error));
        sent?;
        let (totals, is_changed, discarded) = done??;
        Ok(self.done(totals, is_changed, bundle.fetched(), discarded))
    }

    /// What the directory lacks, if nothing is in the way.
    fn needs(&self, scene: &mut Scene, bundle: &Arc<Indexed>) -> Result<Needs, Error> {
        scene.read_for(Some(bundle));
        let has_changes = self.check(scene, &Tree::Bundle(Arc::clone(bundle)))?;
        let wanted: Vec<usize> = (0..bundle.entries().len()).filter(|&entry| !scene.has(bundle, entry)).collect();
        let mut is_here = BTreeSet::new();
        for &entry in &wanted {
            // Of a large file, the directory may have parts.
            if bundle.members_with(entry).len() > 1 {
                let members = bundle.members_with(entry).enumerate();
                is_here
                    .extend(members.filter(|&(nth, _)| scene.has_part(bundle, entry, nth)).map(|(_, member)| member));
            }
        }
        Ok(Needs { wanted, is_here, has_changes })
    }

    /// Fetches all of an image.
    async fn fetch_all(
        self,
        source: &dyn OpenRange,
        manifest: &RawManifest,
        mut scene: Scene,
        options: &UnpackOptions,
    ) -> Result<Updated, Error> {
        run(source, manifest, options, move |image, limits, feed| {
            let mut stage = Stage::new(&mut scene)?;
            let all = read(image, limits, feed, &mut stage.sink())?;
            feed.check().map_err(Error::local("finish", &self.target))?;
            let made: Vec<Made> = all.nodes.values().map(Node::file_number).enumerate().collect();
            let tree = Tree::Other(all.nodes.into_iter().map(|(place, node)| listed(&place, node)).collect());
            scene.read_for(None);
            let staged = stage.finish(&mut scene, &tree, &made)?;
            let (totals, discarded) = (tree.totals(), self.discards(&scene, &tree)?);
            let is_changed = apply(scene, self.manifest, tree, staged)?;
            Ok(self.done(totals, is_changed, image.size(), discarded))
        })
        .await
    }
}
