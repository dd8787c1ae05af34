//! `bndlr blob`: blobs as a registry has them.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt};
use serde_json::json;

use super::connect::RegistryArgs;
use super::error::{Error, Exit};
use super::location::Location;
use super::manifest::show;
use super::output::{Output, write_stream};
use super::save::save_stream;
use crate::content::{self, Open, Outcome, Reader, Target, read_file};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::layout::{Archive, Directory};
use crate::manifest::{Descriptor, media_type};
use crate::protocol::ByteRange;
use crate::reference::Reference;
use crate::remote::RemoteRepository;

/// Get, look at, put or delete a blob, as the registry has it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr blob get localhost:5000/demo@sha256:… >layer.tar.gz
  bndlr blob get localhost:5000/demo sha256:… --range 0-1023 | file -
  tar c dir | gzip | bndlr blob put localhost:5000/demo -
  bndlr blob delete localhost:5000/demo@sha256:…")]
pub(super) struct Blob {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Get(Get),
    Head(Head),
    Put(Put),
    Delete(Delete),
}

impl Blob {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        match self.action {
            Action::Get(get) => get.run(output).await,
            Action::Head(head) => head.run(output).await,
            Action::Put(put) => put.run(output).await,
            Action::Delete(delete) => delete.run(output).await,
        }
    }
}

/// Which blob, in which repository.
#[derive(clap::Args, Debug)]
pub(super) struct BlobArgs {
    /// The repository, perhaps with the digest: REPOSITORY@DIGEST
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// The digest of the blob
    #[arg(value_name = "DIGEST")]
    digest: Option<Digest>,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

impl BlobArgs {
    /// Where the blob is, open, and its digest.
    async fn open(&self) -> Result<(Blobs, Digest), Error> {
        let location = Location::parse(&self.repository)?;
        let digest = self.digest(&location)?;
        let blobs = match &location {
            Location::Registry(reference) => {
                let connection = self.registry.connect(std::slice::from_ref(&location))?;
                Blobs::Registry(connection.repository(&reference.repository)?)
            }
            Location::Layout(path, _) => Blobs::Layout(Directory::at(path).await?),
            Location::Archive(path, _) => Blobs::Archive(Archive::at(path).await?),
        };
        Ok((blobs, digest))
    }

    fn digest(&self, location: &Location) -> Result<Digest, Error> {
        match (location.digest(), self.digest) {
            (Some(digest), None) | (None, Some(digest)) => Ok(digest),
            (None, None) => Err(Error::usage("no digest is named").hint("write REPOSITORY@DIGEST")),
            (Some(_), Some(_)) => Err(Error::usage("two digests are named: one of them is enough")),
        }
    }
}

/// What blobs are read from.
enum Blobs {
    Registry(RemoteRepository),
    Layout(Directory),
    Archive(Archive),
}

impl Blobs {
    async fn resolve(&self, digest: Digest) -> Result<Descriptor, content::Error> {
        match self {
            Self::Registry(repository) => Ok(repository.resolve_blob(digest).await?),
            Self::Layout(layout) => layout.resolve_blob(digest).await,
            Self::Archive(archive) => archive.resolve_blob(digest),
        }
    }

    /// A blob, or a part of it, which cannot be verified if it comes from a registry.
    async fn read(
        &self,
        digest: Digest,
        range: Option<ByteRange>,
    ) -> Result<BoxStream<'static, Result<Bytes, content::Error>>, Error> {
        let layout: &dyn Open = match (self, range) {
            (Self::Registry(repository), Some(range)) => {
                return Ok(repository.open_blob_range_unverified(digest, range).await?);
            }
            (Self::Registry(repository), None) => {
                return Ok(repository.open_blob(digest).await.map_err(content::Error::from)?.boxed());
            }
            (Self::Layout(layout), _) => layout,
            (Self::Archive(archive), _) => archive,
        };
        let reader = layout.open(&self.resolve(digest).await?).await?;
        Ok(match range {
            Some(range) => reader.only(range)?.boxed(),
            None => reader.boxed(),
        })
    }
}

/// Write a blob to standard output, or to a file
///
/// It is verified as it goes: if it is wrong, the last bytes are not written, and the exit code is 5; a file is then not
/// there at all. A part cannot be verified.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr blob get localhost:5000/demo@sha256:… | tar tz
  bndlr blob get localhost:5000/demo@sha256:… -o layer.tar.gz
  bndlr blob get localhost:5000/demo@sha256:… --range -1024 | xxd")]
struct Get {
    /// Only these bytes: FIRST-LAST, FIRST- or -N for the last N; the first byte is 0
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    range: Option<ByteRange>,
    /// Write it to this file, which gets its name once all of it is there and right
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    blob: BlobArgs,
}

impl Get {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let (blobs, digest) = self.blob.open().await?;
        let bytes = blobs.read(digest, self.range).await?;
        let Some(path) = self.output else { return write_stream(bytes).await };
        let size = save_stream(bytes, &path).await?;
        output.result(&path.display().to_string(), || json!({"file": path, "digest": digest, "size": size}))
    }
}

/// Writes a blob of a registry to standard output.
pub(super) async fn get(repository: RemoteRepository, digest: Digest) -> Result<(), Error> {
    write_stream(Blobs::Registry(repository).read(digest, None).await?).await
}

/// Show the digest and the size of a blob without fetching it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr blob head localhost:5000/demo@sha256:…
  sha256:… 541300 application/octet-stream")]
struct Head {
    #[command(flatten)]
    blob: BlobArgs,
}

impl Head {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let (blobs, digest) = self.blob.open().await?;
        let place = Location::parse(&self.blob.repository)?.place();
        show(output, &format!("{place}@{digest}"), &blobs.resolve(digest).await?)
    }
}

/// Store a file as a blob, unless it is there, and print its digest
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr blob put localhost:5000/demo layer.tar.gz
  echo -n '{}' | bndlr blob put localhost:5000/demo -")]
struct Put {
    /// In which repository
    #[arg(value_name = "REPOSITORY")]
    repository: String,
    /// Store it only if it has this digest
    #[arg(long, value_name = "DIGEST")]
    digest: Option<Digest>,
    #[command(flatten)]
    input: InputArgs,
}

impl Put {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let (location, Reference { repository, .. }) = Location::in_registry(&self.repository)?;
        let input = self.input.open().await?;
        let connection = self.input.registry.connect(std::slice::from_ref(&location))?;
        let remote = connection.repository(&repository)?;
        let (descriptor, outcome) = put(&remote, &input, self.digest).await?;
        output.result(&descriptor.digest.to_string(), || {
            json!({
                "repository": repository.to_string(),
                "digest": descriptor.digest,
                "size": descriptor.size,
                "result": outcome.to_string(),
            })
        })
    }
}

/// Stores what is in a file, which has to have the digest that is expected.
pub(super) async fn put(
    repository: &RemoteRepository,
    input: &Input,
    expected: Option<Digest>,
) -> Result<(Descriptor, Outcome), Error> {
    let descriptor = input.describe(expected.map_or(Algorithm::Sha256, |digest| digest.algorithm())).await?;
    if let Some(expected) = expected.filter(|expected| *expected != descriptor.digest) {
        let message = format!("{} has digest {}, expected {expected}", input.name, descriptor.digest);
        return Err(Error::new(Exit::Conflict, message));
    }
    if repository.exists(&descriptor).await? {
        return Ok((descriptor, Outcome::Exists));
    }
    repository.push(&descriptor, input).await?;
    Ok((descriptor, Outcome::Uploaded))
}

/// Delete a blob from a repository
///
/// Most registries remove blobs by themselves, once no manifest needs them, and many do so in no other way.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  bndlr blob delete localhost:5000/demo@sha256:…")]
struct Delete {
    #[command(flatten)]
    blob: BlobArgs,
}

impl Delete {
    async fn run(self, output: &Output) -> Result<(), Error> {
        let (location, reference) = Location::in_registry(&self.blob.repository)?;
        let digest = self.blob.digest(&location)?;
        let connection = self.blob.registry.connect(std::slice::from_ref(&location))?;
        connection.repository(&reference.repository)?.delete_blob(digest).await.map_err(content::Error::from)?;
        let reference = format!("{}@{digest}", location.place());
        output.result(&reference, || json!({"reference": reference, "result": "deleted"}))
    }
}

/// What is to be stored.
#[derive(clap::Args, Debug)]
pub(super) struct InputArgs {
    /// The file; - is standard input
    #[arg(value_name = "FILE")]
    file: String,
    #[command(flatten)]
    pub(super) registry: RegistryArgs,
}

impl InputArgs {
    /// The file, or what comes on standard input, in a temporary file that nobody else sees.
    pub(super) async fn open(&self) -> Result<Input, Error> {
        if self.file == "-" && self.registry.reads_stdin() {
            return Err(Error::usage("standard input is the file, and the password as well")
                .hint("name a file, or log in first"));
        }
        input(&self.file).await
    }
}

/// A file that can be read as often as need be.
#[derive(Clone)]
pub(super) struct Input {
    pub(super) name: String,
    file: Arc<File>,
    size: u64,
}

async fn input(name: &str) -> Result<Input, Error> {
    let name = name.to_owned();
    let opened = blocking(move || {
        let file = if name == "-" { spool(&mut io::stdin().lock()) } else { File::open(&name) };
        let failed = |error| Error::new(Exit::Local, format!("cannot read {name}: {error}"));
        let mut file = file.map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            // A pipe, as of a shell's <(…), can be read but once.
            file = spool(&mut file).map_err(failed)?;
        }
        let size = file.metadata().map_err(failed)?.len();
        Ok(Input { name, file: Arc::new(file), size })
    });
    opened.await
}

fn spool(from: &mut dyn Read) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    io::copy(from, &mut file)?;
    file.rewind()?;
    Ok(file)
}

impl Input {
    /// All bytes, of which there may be this many.
    pub(super) async fn read_up_to(&self, limit: u64) -> Result<Bytes, Error> {
        if self.size > limit {
            let message = format!("{} has {} bytes, more than the {limit} that are allowed", self.name, self.size);
            return Err(Error::new(Exit::Content, message));
        }
        Ok(content::read_file_range(Arc::clone(&self.file), 0, self.size).await?)
    }

    /// The descriptor of what is in it.
    async fn describe(&self, algorithm: Algorithm) -> Result<Descriptor, Error> {
        let mut hasher = Hasher::new(algorithm);
        let mut bytes = std::pin::pin!(read_file(Arc::clone(&self.file), 0, self.size));
        while let Some(chunk) = bytes.next().await {
            hasher.update(&chunk?);
        }
        Ok(Descriptor::new(media_type::OCTET_STREAM, hasher.finish(), self.size))
    }
}

#[async_trait]
impl Open for Input {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
        Ok(Reader::new(descriptor, read_file(Arc::clone(&self.file), 0, self.size)))
    }
}

/// Runs what may wait for a disk, or for somebody to type, on a thread that nobody waits for in the end.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || sender.send(work()));
    receiver.await.map_err(|_| Error::new(Exit::Local, "reading stopped"))?
}
