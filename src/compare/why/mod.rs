//! Why two digests differ: from the manifest down to the field of a header, or the first byte.
//!
//! What follows from something else is not named: that the digest of a layer is another says nothing that a file in it
//! does not say better. What differs in the files comes from [`compare`](super::compare), which fetches of bundles only what
//! differs; what is below that, as times in tar headers, only layers have that are no bundle's, and those are read whole.
//! How a reason is said, and what can be done about it, is left to `cli`.

mod archive;
mod documents;
mod entry;
mod gzip;
mod image;
mod image_index;
mod kept;
mod reason;
mod tape;

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

pub use reason::{Group, Level, Reason, What};

use self::archive::{Blob, Pair};
use self::image::{Image, Known};
use self::kept::Kept;
use self::reason::Reasons;
use super::{Contents, Depth, Difference, Error, Side, Sides, compare};
use crate::bundle::Index;
use crate::content::{self, ErrorKind, OpenRange, apart};
use crate::manifest::{Descriptor, RawManifest};
use crate::unpack::{ListedKind, UnpackOptions, has_archive};

/// How many bytes an entry may have in an archive beside its contents, on average.
const HEAD_PER_ENTRY: u64 = 4096;

/// One of the two.
pub struct Subject {
    /// Where it is.
    pub source: Box<dyn OpenRange>,
    /// The manifest that was asked for: an image index, perhaps.
    pub root: RawManifest,
    /// The image that was found through it; or the same.
    pub manifest: RawManifest,
}

/// How to look.
#[derive(Clone)]
pub struct WhyOptions {
    /// How images that are no bundles are read.
    pub unpack: UnpackOptions,
    /// How many reasons of one kind are kept. All are counted.
    pub kept: usize,
}

impl Default for WhyOptions {
    fn default() -> Self {
        Self { unpack: UnpackOptions::default(), kept: 10 }
    }
}

/// Says why two digests differ, the most important first: nothing, if they are the same.
///
/// # Errors
/// When one of them cannot be read, or is not what it should be.
pub async fn explain(a: Subject, b: Subject, options: &WhyOptions) -> Result<Vec<Group>, Error> {
    let mut reasons = Reasons::new(options.kept);
    if a.root.digest() == b.root.digest() {
        return Ok(Vec::new());
    }
    image_index::explain(&a.root, &b.root, &mut reasons);
    if a.manifest.digest() != b.manifest.digest() {
        let sources = [Kept::new(a.source), Kept::new(b.source)];
        let image_a = Image::read(&sources[0], &a.manifest).await?;
        let image_b = Image::read(&sources[1], &b.manifest).await?;
        let known = Known::of(&image_a, &image_b);
        known.explain(&mut reasons);
        if !known.same_files {
            Layers { known: &known, sources: &sources, options }.explain(&mut reasons).await?;
        }
    }
    if reasons.count() == 0 {
        documents::fields(&a.root, &b.root, &mut reasons);
    }
    if reasons.count() == 0 {
        let [a, b] = [&a.root, &b.root].map(|root| root.digest().to_string());
        reasons.add(Level::Manifest, What::Bytes, Reason::of(a, b));
    }
    Ok(reasons.finish())
}

/// Layers that differ.
struct Layers<'a> {
    known: &'a Known<'a>,
    sources: &'a [Kept; 2],
    options: &'a WhyOptions,
}

impl Layers<'_> {
    async fn explain(&self, reasons: &mut Reasons) -> Result<(), Error> {
        let [a, b] = [&self.known.a, &self.known.b].map(|image| &image.manifest.layers);
        let differing = Arc::new(self.files(reasons).await?);
        if !self.known.same_layers && in_another_order(a, b) {
            reasons.add(Level::Manifest, What::LayerOrder, Reason::default());
            return Ok(());
        }
        if !self.known.as_many {
            return Ok(());
        }
        let are_bundles = self.are_bundles();
        if are_bundles && a.len() > 1 && differing.is_empty() {
            reasons.add(Level::Manifest, What::Division, Reason::default());
            return Ok(());
        }
        for (number, (a, b)) in a.iter().zip(b).enumerate().filter(|(_, (a, b))| a.digest != b.digest) {
            if are_bundles {
                if differing.is_empty() {
                    self.bytes_of_bundles(number, a, b, reasons).await?;
                }
            } else if has_archive(a) && has_archive(b) {
                self.archives(number, a, b, &differing, reasons).await?;
            }
        }
        Ok(())
    }

    /// One of the two images. Unless both are bundles, the layers are needed whole, and all that is in them is verified.
    async fn side(&self, number: usize, sides: &Sides) -> Result<Side, Error> {
        let (source, image) = (self.sources[number].clone(), [self.known.a, self.known.b][number]);
        if self.are_bundles() {
            sides.image(Box::new(source), image.raw).await
        } else {
            sides.whole(&source, image.raw).await
        }
    }

    fn are_bundles(&self) -> bool {
        self.known.a.is_bundle && self.known.b.is_bundle
    }

    /// Says how the files differ, and returns where.
    async fn files(&self, reasons: &mut Reasons) -> Result<BTreeSet<Vec<u8>>, Error> {
        let sides = Sides::new(self.options.unpack.clone());
        let (a, b) = futures::try_join!(self.side(0, &sides), self.side(1, &sides))?;
        let mut differing = BTreeSet::new();
        let visit = |difference: Difference| {
            if let Some(file) = difference.file() {
                differing.insert(file.path.as_os_str().as_bytes().to_vec());
            }
            difference.explain(reasons);
            Ok::<(), Error>(())
        };
        compare(&a, &b, Depth::First, visit).await?;
        Ok(differing)
    }

    /// Says how two layers of bundles differ that have the same in them.
    async fn bytes_of_bundles(
        &self,
        number: usize,
        a: &Descriptor,
        b: &Descriptor,
        reasons: &mut Reasons,
    ) -> Result<(), Error> {
        let files = (self.sources[0].file(a).await?, self.sources[1].file(b).await?);
        let sizes = (a.size, b.size);
        let first = blocking(move || archive::first_byte((&files.0, 0, sizes.0), (&files.1, 0, sizes.1))).await?;
        let Some(offset) = first else { return Ok(()) };
        // Of schema 2, the labels say it; that the members differ is more likely than that the index does.
        let index = Index::of_layer(&a.annotations, a.size).ok().flatten();
        let is_in_index = index.is_some_and(|index| offset >= index.entries.offset);
        let what = if is_in_index { What::Index } else { What::Compressor };
        let first = Some(super::First { offset, line: None });
        reasons.add(Level::Layer, what, Reason { first, ..Reason::default() }.about(number.to_string()));
        Ok(())
    }

    /// Says how two archives differ, below what is in their files.
    async fn archives(
        &self,
        number: usize,
        a: &Descriptor,
        b: &Descriptor,
        differing: &Arc<BTreeSet<Vec<u8>>>,
        reasons: &mut Reasons,
    ) -> Result<(), Error> {
        let limits = self.options.unpack.limits;
        let blobs = [
            Blob { file: self.sources[0].file(a).await?, size: a.size },
            Blob { file: self.sources[1].file(b).await?, size: b.size },
        ];
        let pair = Pair {
            blobs,
            number,
            differing: Arc::clone(differing),
            limit: limits.bytes.saturating_add(limits.entries.saturating_mul(HEAD_PER_ENTRY)),
        };
        let mut found = std::mem::replace(reasons, Reasons::new(0));
        let kept = blocking(move || apart(|| archive::explain(&pair, &mut found)).map(|()| found)).await?;
        *reasons = kept;
        let [left, right] = [a, b].map(|layer| &layer.media_type);
        if left != right && !reasons.has(What::Compression) && image::uncompressed(left) == image::uncompressed(right) {
            reasons.add(Level::Manifest, What::LayerType, Reason::of(left, right).about(number.to_string()));
        }
        Ok(())
    }
}

/// Whether these are the same layers, in another order.
fn in_another_order(a: &[Descriptor], b: &[Descriptor]) -> bool {
    let sorted = |layers: &[Descriptor]| {
        let mut digests: Vec<_> = layers.iter().map(|layer| layer.digest.to_string()).collect();
        digests.sort_unstable();
        digests
    };
    sorted(a) == sorted(b)
}

impl Difference {
    /// Names what differs at a path.
    fn explain(&self, reasons: &mut Reasons) {
        let path = |path: &std::path::Path| crate::text::excerpt(&path.to_string_lossy());
        let (a, b) = match (&self.old, &self.new) {
            (Some(a), Some(b)) => (a, b),
            (Some(a), None) => return reasons.add(Level::Entry, What::Removed, Reason::default().about(path(&a.path))),
            (None, Some(b)) => return reasons.add(Level::Entry, What::Added, Reason::default().about(path(&b.path))),
            (None, None) => return,
        };
        let name = path(&a.path);
        let word = |kind: &ListedKind| match kind {
            ListedKind::Directory => "a directory".to_owned(),
            ListedKind::File { .. } => "a file".to_owned(),
            ListedKind::Symlink { target } => format!("a link to {}", path(target)),
        };
        match (&a.kind, &b.kind) {
            (ListedKind::File { size: old }, ListedKind::File { size: new }) => {
                if self.contents != Contents::Same {
                    let first = if let Contents::From(first) = self.contents { Some(first) } else { None };
                    let reason = Reason { first, ..Reason::of(old.to_string(), new.to_string()) };
                    reasons.add(Level::Entry, What::Contents, reason.about(&name));
                }
            }
            (ListedKind::Symlink { target: old }, ListedKind::Symlink { target: new }) => {
                if old != new {
                    reasons.add(Level::Entry, What::Target, Reason::of(path(old), path(new)).about(&name));
                }
            }
            (ListedKind::Directory, ListedKind::Directory) => {}
            (old, new) => {
                reasons.add(Level::Entry, What::Type, Reason::of(word(old), word(new)).about(&name));
                return;
            }
        }
        if a.mode != b.mode {
            let [a, b] = [a, b].map(|file| format!("{:04o}", file.mode));
            reasons.add(Level::Entry, What::Mode, Reason::of(a, b).about(name));
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, content::Error> + Send + 'static,
) -> Result<T, content::Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| content::Error::new(ErrorKind::Local, error))?
}
