//! Arguments that several commands share.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::annotations::AnnotationArgs;
use super::cache::{self, CacheUse};
use super::connect::RegistryArgs;
use super::error::{Error, Exit};
use super::location::Location;
use super::output::{Output, count, size};
use super::place::Place;
use super::progress;
use super::selected;
use crate::manifest::{self, Descriptor, Platform};
use crate::pack::{self, Bundle, ImageFormat, ImageOptions, PackOptions, Selection, Split, Symlinks, Tree};
use crate::reference::Tag;
use crate::text::parse_size;
use crate::unpack::{Limits, UnpackOptions};

/// How much an image may be, unpacked.
#[derive(Args, Debug)]
pub(super) struct LimitArgs {
    /// How many bytes the files may have together, so that a small archive cannot fill the disk
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().bytes)]
    max_bytes: u64,
    /// How many entries the layers may have together
    #[arg(long, value_name = "N", default_value_t = Limits::default().entries)]
    max_entries: u64,
}

impl LimitArgs {
    pub(super) fn limits(&self) -> Limits {
        Limits { entries: self.max_entries, bytes: self.max_bytes }
    }
}

/// Which image is read, and how much it may be.
#[derive(Args, Debug)]
pub(super) struct ImageArgs {
    /// Which image of an image index to take; otherwise the one for this machine's processor
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    #[command(flatten)]
    limits: LimitArgs,
}

impl ImageArgs {
    pub(super) fn platform(&self) -> Option<&Platform> {
        self.platform.as_ref()
    }

    /// How it is unpacked, or read as if it were.
    pub(super) fn unpack_options(&self) -> UnpackOptions {
        UnpackOptions { limits: self.limits.limits(), ..UnpackOptions::default() }
    }
}

/// What is compared, and how it is reached.
#[derive(Args, Debug)]
pub(super) struct SidesArgs {
    #[command(flatten)]
    pub(super) selection: SelectionArgs,
    #[command(flatten)]
    pub(super) image: ImageArgs,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

impl SidesArgs {
    /// Both sides. What is said of what goes into a bundle is for a directory.
    pub(super) fn places(&self, old: &str, new: &str) -> Result<[Place; 2], Error> {
        let places = [Place::parse(old)?, Place::parse(new)?];
        if !places.iter().any(|place| matches!(place, Place::Directory(_))) {
            self.selection.expect_none(&format!("neither {old} nor {new}"))?;
        }
        Ok(places)
    }
}

/// What of a directory goes into a bundle.
#[derive(Args, Debug)]
pub(super) struct SelectionArgs {
    /// Leave out what matches, in git's syntax, relative to the directory (can be repeated)
    #[arg(long, value_name = "PATTERN", help_heading = "What goes in")]
    exclude: Vec<String>,
    /// Pack .git, .hg and .svn, too: they can hold tokens
    #[arg(long, help_heading = "What goes in")]
    include_vcs: bool,
    /// What becomes of symbolic links
    #[arg(long, value_enum, default_value_t, value_name = "MODE", help_heading = "What goes in")]
    symlinks: SymlinksArg,
}

impl SelectionArgs {
    /// Fails if anything is said of what goes in, for what is said not to be a directory.
    fn expect_none(&self, what: &str) -> Result<(), Error> {
        let flags = [
            (!self.exclude.is_empty(), "--exclude"),
            (self.include_vcs, "--include-vcs"),
            (self.symlinks != SymlinksArg::default(), "--symlinks"),
        ];
        match flags.into_iter().find(|(is_set, _)| *is_set) {
            None => Ok(()),
            Some((_, flag)) => Err(Error::usage(format!("{flag} is for directories, and {what} is one"))
                .hint("./x, ../x, /x and dir:x are directories, and everything else is a reference")),
        }
    }

    pub(super) fn selection(&self) -> Selection {
        let symlinks = match self.symlinks {
            SymlinksArg::Keep => Symlinks::Keep,
            SymlinksArg::Follow => Symlinks::Follow,
            SymlinksArg::Error => Symlinks::Error,
        };
        Selection { exclude: self.exclude.clone(), include: Vec::new(), include_vcs: self.include_vcs, symlinks }
    }
}

/// What goes into a bundle, and what its image says of itself.
#[derive(Args, Debug)]
pub(super) struct PackArgs {
    /// The directory to pack, or a single file
    pub(super) directory: PathBuf,

    #[command(flatten)]
    selection: SelectionArgs,
    /// Pack only what matches, in git's syntax, in the directories that it is in (can be repeated)
    #[arg(long, value_name = "PATTERN", help_heading = "What goes in")]
    include: Vec<String>,
    /// Only show what would go in, and why the rest would not: nothing is packed or sent
    #[arg(long, help_heading = "What goes in", conflicts_with = "digest_file")]
    list: bool,
    /// Pack without the cache: compress everything, and keep nothing for the next time
    #[arg(long, help_heading = "What goes in")]
    no_cache: bool,

    /// Add a tag (can be repeated, or several with commas)
    #[arg(short, long = "tag", value_name = "TAG", value_delimiter = ',', help_heading = "Image")]
    pub(super) tags: Vec<Tag>,
    #[command(flatten)]
    annotations: AnnotationArgs,
    /// Label the image
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair, help_heading = "Image")]
    labels: Vec<(String, String)>,
    /// What the image says that it runs on
    #[arg(long, default_value = "linux/amd64", value_name = "OS/ARCH[/VARIANT]", help_heading = "Image")]
    platform: Platform,
    /// What kind of artifact it is, as a media type
    #[arg(long, value_name = "TYPE", value_parser = media_type, help_heading = "Image")]
    artifact_type: Option<String>,
    /// What it refers to, as a signature does to an image: it is then listed among the referrers of that
    #[arg(long, value_name = "REFERENCE", help_heading = "Image")]
    subject: Option<String>,
    /// Which manifest the image has: OCI's, or Docker's schema 2
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT", help_heading = "Image")]
    image_format: ImageFormatArg,
    /// Make several layers, so that a small change uploads one of them; of about SIZE bytes each, if it is named
    ///
    /// For bndlr and container runtimes: Flux takes the first layer for all there is, and Argo CD refuses several. There are
    /// 64 layers at most, and no file is cut.
    #[arg(long, value_name = "SIZE", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = split, help_heading = "Image")]
    split: Option<Split>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum SymlinksArg {
    /// Pack them as they are; one that leads out of the directory is an error
    #[default]
    Keep,
    /// Pack what they point to, which has to be inside the directory
    Follow,
    /// Let them be an error
    Error,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum ImageFormatArg {
    /// OCI image manifest 1.1
    #[default]
    Oci,
    /// Docker image manifest, version 2, schema 2
    Docker,
}

/// `KEY=VALUE`, split at the first `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// `type/subtype` (RFC 6838, section 4.2).
pub(super) fn media_type(text: &str) -> Result<String, String> {
    if manifest::media_type::is_valid(text) {
        Ok(text.to_owned())
    } else {
        Err("expected a media type, such as application/vnd.example.report+json".to_owned())
    }
}

/// A size, or nothing.
fn split(text: &str) -> Result<Split, String> {
    match text {
        "" => Ok(Split::Auto),
        size => match parse_size(size) {
            Some(size) if size > 0 => Ok(Split::Every(size)),
            _ => Err("expected a number of bytes, such as 500kB, 4MiB or 100MB".to_owned()),
        },
    }
}

impl PackArgs {
    /// Where the subject is, if there is one.
    pub(super) fn subject(&self) -> Result<Option<Location>, Error> {
        self.subject.as_deref().map(Location::parse).transpose()
    }

    /// Which manifest the image has.
    pub(super) fn format(&self) -> ImageFormat {
        match self.image_format {
            ImageFormatArg::Oci => ImageFormat::Oci,
            ImageFormatArg::Docker => ImageFormat::Docker,
        }
    }

    /// Whether only what goes in is to be shown.
    pub(super) fn is_list(&self) -> bool {
        self.list
    }

    /// Shows what goes in, and why the rest does not.
    pub(super) async fn list(&self, output: &Output) -> Result<(), Error> {
        let (directory, selection) = (self.directory.clone(), self.selection());
        let tree = aside(move || scan(&directory, &selection)).await?;
        selected::show(&self.directory, &tree, output)
    }

    fn selection(&self) -> Selection {
        Selection { include: self.include.clone(), ..self.selection.selection() }
    }

    /// Finds, says and packs what goes in, about `subject`.
    pub(super) async fn pack(
        &self,
        subject: Option<Descriptor>,
        cache: CacheUse,
        output: &Output,
    ) -> Result<Bundle, Error> {
        if self.image_format == ImageFormatArg::Docker && self.annotations.is_any() {
            return Err(Error::usage("an OCI manifest is annotated, and schema 2 has no annotations")
                .hint("use -l for labels, or leave out --image-format docker"));
        }
        let (selection, mut options) = (self.selection(), self.options(subject)?);
        options.image.annotations = self.annotations.all(&self.directory, output).await?;
        options.cache = if self.no_cache { None } else { cache::open(cache, output)? };
        let (directory, output) = (self.directory.clone(), output.clone());
        aside(move || pack(&directory, &selection, &options, &output)).await
    }

    fn options(&self, subject: Option<Descriptor>) -> Result<PackOptions, Error> {
        let image = ImageOptions {
            format: self.format(),
            platform: self.platform.clone(),
            artifact_type: self.artifact_type.clone(),
            subject,
            labels: self.labels.iter().cloned().collect(),
            created: source_date_epoch()?,
            ..ImageOptions::default()
        };
        Ok(PackOptions { image, split: self.split.unwrap_or_default(), ..PackOptions::default() })
    }
}

/// Does this on a thread of its own. It is not one of the runtime's: those are waited for after an interruption, and there
/// is nothing here that would have to be cleaned up.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.await.map_err(|_| Error::new(Exit::Local, "packing stopped"))?
}

fn scan(directory: &Path, selection: &Selection) -> Result<Tree, Error> {
    pack::scan(directory, selection).map_err(|error| swapped(directory, error.into()))
}

fn pack(directory: &Path, selection: &Selection, options: &PackOptions, output: &Output) -> Result<Bundle, Error> {
    let tree = scan(directory, selection)?;
    for warning in tree.warnings() {
        output.warn(warning);
    }
    let what = format!("{} ({}, {})", directory.display(), count(tree.files(), "file"), size(tree.bytes()));
    output.say(format!("Packing {what}"));
    let total = tree.entries().map(crate::bundle::Entry::tar_size).sum();
    let bar = progress::bar(output, total, "Packing".to_owned());
    let bundle = Tree::pack(&tree, options, &|done| bar.set_position(done))?;
    bar.finish_and_clear();
    Ok(bundle)
}

/// The same error, unless it is about a reference that stands where the directory should be.
fn swapped(directory: &Path, error: Error) -> Error {
    let reference = directory.to_str().filter(|text| text.contains(':') && !directory.exists());
    match reference.map(Location::parse) {
        Some(Ok(_)) => error.hint("the directory comes first, and then the reference"),
        _ => error,
    }
}

/// When the image says that it was made: nothing, unless the environment says so (reproducible-builds.org).
pub(super) fn source_date_epoch() -> Result<Option<String>, Error> {
    let Some(value) = std::env::var_os("SOURCE_DATE_EPOCH").filter(|value| !value.is_empty()) else { return Ok(None) };
    let seconds = value.to_str().and_then(|value| value.parse::<u32>().ok().map(i64::from));
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    let time = time.ok_or_else(|| {
        Error::usage(format!(
            "SOURCE_DATE_EPOCH is {:?}, and not a number of seconds since 1970",
            value.to_string_lossy()
        ))
    })?;
    Ok(Some(time.to_string()))
}
