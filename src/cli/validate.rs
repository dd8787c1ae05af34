//! `bndlr validate`: an image, and all images of an image index, held against what they say of themselves.

use std::collections::HashSet;
use std::fmt::{self, Display};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use futures::TryStreamExt;
use futures::future::{BoxFuture, FutureExt};
use serde_json::json;

use super::connect::{Images, RegistryArgs, open};
use super::error::{Error, Exit};
use super::location::Location;
use super::options::LimitArgs;
use super::output::{Format, Output, count, write_stdout};
use crate::content::{self, ErrorKind, read_config, read_manifest};
use crate::digest::Digest;
use crate::manifest::{Descriptor, ImageManifest, Manifest, Platform, RawManifest, media_type};
use crate::text::printable;
use crate::unpack::{UnpackOptions, list};

/// How deep image indexes may be nested.
const MAX_DEPTH: usize = 8;
/// How many things that are wrong are told.
const MAX_PROBLEMS: usize = 100;

/// Check an image against what it says of itself: sizes, digests, diff IDs, media types
///
/// Everything is read; nothing is written. Of an image index, every image is checked. Of a bundle, its index is held
/// against its layer. Prints `ok`, or what is wrong, one line each, and then the exit code is 5.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr validate localhost:5000/demo:v1
  bndlr validate oci:layout:v1
  bndlr validate archive:image.tar")]
pub(super) struct Validate {
    /// What to check
    #[arg(value_name = "REFERENCE")]
    reference: String,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Validate {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let location = Location::parse(&self.reference)?;
        let connection = self.registry.connect(std::slice::from_ref(&location))?;
        let opened = open(&location, &connection).await?;
        let manifest = opened.manifest().await?;
        let options = UnpackOptions { limits: self.limits.limits(), ..UnpackOptions::default() };
        let mut check = Check { images: &*opened.images, options, seen: HashSet::new(), problems: Vec::new() };
        check.manifest(&manifest, None, 0).await?;
        let Check { seen, problems, .. } = check;
        if problems.is_empty() {
            let reference = location.to_string();
            return output.result("ok", || {
                json!({"reference": reference, "digest": manifest.digest(), "manifests": seen.len(), "result": "ok"})
            });
        }
        if output.format == Format::Json {
            return Err(Error::new(Exit::Content, format!("{location} is not valid: {}", problems.join("; "))));
        }
        write_stdout(&printable_lines(&problems))?;
        Err(Error::new(Exit::Content, format!("{location} is not valid: {}", count(problems.len(), "problem"))))
    }
}

fn printable_lines(lines: &[String]) -> String {
    lines.iter().map(|line| printable(line) + "\n").collect()
}

/// A check of everything that a manifest needs.
struct Check<'a> {
    images: &'a dyn Images,
    options: UnpackOptions,
    /// The manifests that have been checked.
    seen: HashSet<Digest>,
    /// What is wrong, in words.
    problems: Vec<String>,
}

impl Check<'_> {
    /// Notes what is wrong with `about`.
    fn wrong(&mut self, about: Digest, what: impl Display) {
        if self.problems.len() < MAX_PROBLEMS {
            self.problems.push(format!("{about}: {what}"));
        }
    }

    /// What came, unless something is wrong with it, which is noted. Failures on the way to it are failures of the check.
    fn judge<T>(&mut self, about: Digest, result: Result<T, content::Error>) -> Result<Option<T>, Error> {
        match result {
            Ok(found) => Ok(Some(found)),
            Err(error) if matches!(error.kind(), ErrorKind::Content | ErrorKind::NotFound) => {
                self.wrong(about, error);
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Checks a manifest, of which an image index may have said for which platform it is.
    fn manifest<'a>(
        &'a mut self,
        manifest: &'a RawManifest,
        platform: Option<&'a Platform>,
        depth: usize,
    ) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let digest = manifest.digest();
            if !self.seen.insert(digest) {
                return Ok(());
            }
            for descriptor in manifest.manifest().successors().chain(manifest.manifest().subject()) {
                self.descriptor(digest, descriptor);
            }
            match manifest.manifest() {
                Manifest::Image(image) if media_type::is_image_config(&image.config.media_type) => {
                    self.image(manifest, image, platform).await
                }
                Manifest::Image(_) => self.blobs(manifest).await,
                Manifest::Index(index) if depth == MAX_DEPTH && !index.manifests.is_empty() => {
                    self.wrong(digest, format!("image indexes are nested more than {MAX_DEPTH} deep"));
                    Ok(())
                }
                Manifest::Index(index) => {
                    for descriptor in &index.manifests {
                        self.child(digest, descriptor, depth + 1).await?;
                    }
                    Ok(())
                }
            }
        }
        .boxed()
    }

    /// Checks what an image index names: a manifest, or something else.
    async fn child(&mut self, index: Digest, descriptor: &Descriptor, depth: usize) -> Result<(), Error> {
        if !media_type::is_manifest(&descriptor.media_type) {
            let read = self.read(descriptor).await;
            return self.judge(index, read).map(|_| ());
        }
        if self.seen.contains(&descriptor.digest) {
            return Ok(());
        }
        let found = read_manifest(self.images, descriptor).await;
        match self.judge(index, found)? {
            Some(manifest) => self.manifest(&manifest, descriptor.platform.as_ref(), depth).await,
            None => Ok(()),
        }
    }

    /// Checks what a descriptor says that can be checked without its content.
    fn descriptor(&mut self, manifest: Digest, descriptor: &Descriptor) {
        let Descriptor { media_type, digest, size, data, .. } = descriptor;
        if !media_type::is_valid(media_type) {
            self.wrong(manifest, format!("the media type of {digest} is none: {media_type:?}"));
        }
        let Some(data) = data else { return };
        let is_right = BASE64_STANDARD
            .decode(data)
            .is_ok_and(|data| data.len() as u64 == *size && digest.algorithm().digest(&data) == *digest);
        if !is_right {
            self.wrong(manifest, format!("the data in the descriptor of {digest} is not its content"));
        }
    }

    /// Checks an image: its configuration, and what its layers are when they are unpacked.
    async fn image(
        &mut self,
        manifest: &RawManifest,
        image: &ImageManifest,
        platform: Option<&Platform>,
    ) -> Result<(), Error> {
        let digest = manifest.digest();
        let config = read_config(self.images, image).await;
        let Some(config) = self.judge(digest, config)? else { return Ok(()) };
        if config.rootfs.kind != "layers" {
            self.wrong(
                digest,
                format!("the type of the root file system is {:?}, expected \"layers\"", config.rootfs.kind),
            );
        }
        let found = &config.platform;
        if let Some(said) = platform.filter(|said| said.os != found.os || said.architecture != found.architecture) {
            self.wrong(digest, format!("the configuration is for {found}, and the image index says {said}"));
        }
        for layer in &image.layers {
            self.compression(digest, layer).await;
        }
        let listed = list(self.images, manifest, &self.options).await.map_err(content::Error::from);
        self.judge(digest, listed).map(|_| ())
    }

    /// Checks that a layer is compressed as its media type says. What cannot be read shows when all of it is.
    async fn compression(&mut self, manifest: Digest, layer: &Descriptor) {
        let Some(said) = Compression::said(&layer.media_type) else { return };
        let front = self.images.read_range_unverified(layer, 0, layer.size.min(4)).await;
        if let Some(found) = front.ok().map(|front| Compression::of(&front)).filter(|found| *found != said) {
            self.wrong(manifest, format!("layer {} is {found}, and its media type says {said}", layer.digest));
        }
    }

    /// Checks the blobs of an artifact, which may be anything.
    async fn blobs(&mut self, manifest: &RawManifest) -> Result<(), Error> {
        for descriptor in manifest.manifest().successors() {
            let read = self.read(descriptor).await;
            self.judge(manifest.digest(), read)?;
        }
        Ok(())
    }

    /// Reads all of some content, which verifies it.
    async fn read(&self, descriptor: &Descriptor) -> Result<(), content::Error> {
        self.images.open(descriptor).await?.try_for_each(|_| async { Ok(()) }).await
    }
}

/// What a layer is compressed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// How the media types of layers end.
    const SUFFIXES: [(&str, Self); 5] = [
        (".tar", Self::None),
        (".tar+gzip", Self::Gzip),
        (".tar.gzip", Self::Gzip),
        (".tar+zstd", Self::Zstd),
        (".tar.zstd", Self::Zstd),
    ];

    /// What a media type says.
    fn said(media_type: &str) -> Option<Self> {
        Self::SUFFIXES.into_iter().find(|(suffix, _)| media_type.ends_with(suffix)).map(|(_, said)| said)
    }

    /// What the first bytes of a layer show.
    fn of(front: &[u8]) -> Self {
        match front {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd] => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
}
