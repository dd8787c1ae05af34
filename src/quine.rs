//! This program as an image that serves this program.
//!
//! The image is a bundle with one file in it, the program that runs, and says to run that as a registry of the same
//! image. Nothing in it varies: not the time, the machine, the path or the arguments of the program. So what is pulled
//! from such a registry and run serves an image with the same digest, however often that is done. What a bundle is is
//! `pack`'s, and what a registry is, `server`'s; the command is left to `cli`.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};

use crate::content::{self, Open};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, Platform, Run};
use crate::pack::{self, Bundle, ImageFormat, ImageOptions, PackOptions, Tree};
use crate::reference::{Name, Tag};
use crate::server::Registry;
use crate::server::repositories::{Push, PutError, Repositories, TagCondition};
use crate::server::storage::{self, Memory};

/// The file that runs. It can be opened also after another one has taken its place, or none.
const THIS_PROGRAM: &str = "/proc/self/exe";
/// What the file is called in the image, at the top.
const NAME: &str = "bndlr";
/// The port that it listens on there.
const PORT: u16 = 8080;

/// Why there is no such image or registry.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The program cannot find itself.
    #[error("this program cannot make an image of itself on {0}, only on linux")]
    System(&'static str),
    /// The program cannot read itself.
    #[error("cannot read {THIS_PROGRAM}: {0}")]
    Read(#[from] io::Error),
    /// The program is none that a container runs.
    #[error("{THIS_PROGRAM} is no 64-bit ELF file")]
    Format,
    /// The program needs files of the system that it was built on, which would not be in the image.
    #[error("this program is not static: it needs libraries that would not be in an image of it alone")]
    Dynamic,
    /// No image says that it is for this processor.
    #[error("there is no word in images for the processor {0}")]
    Processor(&'static str),
    /// The program cannot be packed.
    #[error(transparent)]
    Pack(#[from] pack::Error),
    /// The image cannot be read again.
    #[error(transparent)]
    Content(#[from] content::Error),
    /// The registry does not take the image.
    #[error(transparent)]
    Put(#[from] PutError),
    /// The registry does not take a part of the image.
    #[error(transparent)]
    Storage(#[from] storage::Error),
}

impl Error {
    /// What the user can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        matches!(self, Self::Dynamic).then_some("build one that is, in its sources: cargo build-static")
    }
}

/// A part of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The config, of either form.
    Config,
    /// The layer, which both forms share.
    Layer,
}

/// The image, in both of its forms. Its layer is in memory, once.
#[derive(Debug)]
pub struct Quine {
    oci: Bundle,
    docker: Bundle,
}

impl Quine {
    /// Packs the program that runs, which has to be `bndlr` for the image to be of use.
    ///
    /// # Errors
    /// When it cannot be read, or would not run where there is nothing else.
    pub fn of_this_program() -> Result<Self, Error> {
        if !cfg!(target_os = "linux") {
            return Err(Error::System(std::env::consts::OS));
        }
        let program = File::open(THIS_PROGRAM)?;
        if needs_interpreter(&program)? {
            return Err(Error::Dynamic);
        }
        Self::of(program, &platform()?)
    }

    /// Packs a program that runs on `platform`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(program: File, platform: &Platform) -> Result<Self, Error> {
        let image = |format| ImageOptions { format, platform: platform.clone(), run: run(), ..ImageOptions::default() };
        let options = PackOptions { in_memory: true, image: image(ImageFormat::Oci), ..PackOptions::default() };
        let oci = Tree::of_file(program, Path::new(THIS_PROGRAM), NAME, true)?.pack(&options, &|_| ())?;
        let docker = oci.with_image(&image(ImageFormat::Docker))?;
        Ok(Self { oci, docker })
    }

    /// The image in one of its forms.
    #[must_use]
    pub fn image(&self, format: ImageFormat) -> &Bundle {
        match format {
            ImageFormat::Oci => &self.oci,
            ImageFormat::Docker => &self.docker,
        }
    }

    /// The same, to keep.
    #[must_use]
    pub fn into_image(self, format: ImageFormat) -> Bundle {
        match format {
            ImageFormat::Oci => self.oci,
            ImageFormat::Docker => self.docker,
        }
    }

    /// The digests of the parts.
    #[must_use]
    pub fn parts(&self) -> Vec<(Digest, Part)> {
        let mut parts = Vec::new();
        for bundle in [&self.oci, &self.docker] {
            if let Manifest::Image(image) = bundle.raw_manifest().manifest() {
                parts.push((image.config.digest, Part::Config));
                parts.extend(image.layers.iter().map(|layer| (layer.digest, Part::Layer)));
            }
        }
        parts
    }

    /// A registry in memory that has the image at `tag` of `repository`, and nothing else, and takes nothing. It gives
    /// the OCI form to all but those who would rather have schema 2.
    ///
    /// # Errors
    /// None that its storage, which is memory, would cause.
    pub async fn into_registry(self, repository: Name, tag: Tag) -> Result<Registry, Error> {
        let repositories = Repositories::new(Arc::new(Memory::new()));
        // The last one that is put has the tag.
        for bundle in [&self.docker, &self.oci] {
            let manifest = bundle.raw_manifest();
            for blob in manifest.manifest().successors() {
                store(&repositories, &repository, blob, bundle).await?;
            }
            let (digest, tags) = (manifest.digest(), std::slice::from_ref(&tag));
            let push = Push { manifest, digest, tags, condition: TagCondition::Any };
            repositories.put_manifest(&repository, &push).await?;
        }
        let [oci, docker] = [&self.oci, &self.docker].map(|bundle| bundle.raw_manifest().digest());
        Ok(Registry::over(repositories).read_only(true).only(repository).alternative(oci, docker))
    }
}

/// Stores a blob, unless it is there.
async fn store(repositories: &Repositories, name: &Name, blob: &Descriptor, from: &dyn Open) -> Result<(), Error> {
    if repositories.blob_size(name, blob.digest).await?.is_some() {
        return Ok(());
    }
    let session = repositories.begin_upload(name, blob.digest.algorithm()).await?;
    let chunks = from.open(blob).await?.map_err(Into::into).boxed();
    repositories.append(name, &session, Some(0), chunks).await?;
    Ok(repositories.finish_upload(name, &session, blob.digest).await?)
}

/// What a container of the image does: serve the image. Its user may give other arguments.
fn run() -> Run {
    Run {
        entrypoint: vec![format!("/{NAME}")],
        cmd: vec!["quine".into(), "--listen".into(), format!("0.0.0.0:{PORT}")],
        env: vec!["PATH=/".into()],
        exposed_ports: BTreeSet::from([format!("{PORT}/tcp")]),
    }
}

/// What this program was built for, in Go's words.
fn platform() -> Result<Platform, Error> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
        "loongarch64" => "loong64",
        same @ ("riscv64" | "s390x") => same,
        other => return Err(Error::Processor(other)),
    };
    Ok(Platform { os: "linux".into(), architecture: architecture.into(), os_version: None, variant: None })
}

/// Whether a program is started by another one, which finds its libraries (elf(5), `PT_INTERP`).
fn needs_interpreter(program: &File) -> Result<bool, Error> {
    const CLASS_64: u8 = 2;
    const PT_INTERP: u32 = 3;
    let mut header = [0; 64];
    program.read_exact_at(&mut header, 0)?;
    let (magic, class) = (&header[..4], header[4]);
    if magic != b"\x7fELF" || class != CLASS_64 {
        return Err(Error::Format);
    }
    let table = u64::from_ne_bytes([32, 33, 34, 35, 36, 37, 38, 39].map(|at| header[at]));
    let [size, count] = [54, 56].map(|at| u16::from_ne_bytes([header[at], header[at + 1]]));
    for number in 0..u64::from(count) {
        let mut kind = [0; 4];
        program.read_exact_at(&mut kind, table + number * u64::from(size))?;
        if u32::from_ne_bytes(kind) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}
