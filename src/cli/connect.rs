//! From locations to sources and targets.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use clap::Args;
use clap::builder::BoolishValueParser;

use super::ask;
use super::error::{Error, Exit};
use super::location::Location;
use super::network::NetworkArgs;
use super::{settings, tags};
use crate::content::{self, OpenRange, Source};
use crate::layout::{Archive, Directory};
use crate::manifest::{Descriptor, ImageIndex, Manifest, Platform, RawManifest, media_type};
use crate::reference::{Identifier, Registry, Repository};
use crate::remote::{
    Client, ClientCertificate, ClientOptions, Credentials, Login, RemoteRepository, Secret, certificate_folders,
};

/// The longest password that is read, in bytes.
const MAX_PASSWORD: u64 = 64 * 1024;

/// How to talk to a registry.
#[derive(Args, Debug)]
#[command(next_help_heading = "Registry")]
pub(super) struct RegistryArgs {
    /// Speak HTTP without TLS; the default for localhost and loopback addresses, and there only, unless this is false
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    plain_http: Option<bool>,
    /// Speak TLS with a registry whose certificate nobody vouches for
    #[arg(long)]
    insecure: bool,
    /// Believe the certificates in this file (PEM), too
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Show registries that ask for it this certificate (PEM); it is not shown to others that they lead to
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// The key that belongs to --cert-file (PEM)
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Reach the registry through this Unix socket, and not over the network
    #[arg(long, value_name = "FILE")]
    unix_socket: Option<PathBuf>,
    /// Where credentials are, in the form of Docker's config.json; otherwise where Docker and Podman keep them
    #[arg(long, value_name = "FILE", alias = "config-json")]
    registry_config: Option<PathBuf>,
    /// Who you are to the registry; otherwise what bndlr login, docker login or podman login stored says it
    #[arg(short, long, value_name = "USER", alias = "user")]
    username: Option<String>,
    /// The password of that user; --password-stdin keeps it out of the list of processes
    #[arg(short, long, value_name = "PASSWORD", requires = "username")]
    password: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username", conflicts_with = "password")]
    password_stdin: bool,
    /// Read the password from this file
    #[arg(long, value_name = "FILE", requires = "username", conflicts_with_all = ["password", "password_stdin"])]
    password_file: Option<PathBuf>,
    #[command(flatten)]
    network: NetworkArgs,
}

impl RegistryArgs {
    /// A connection to the registries of these locations, if any is in one.
    pub(super) fn connect(&self, locations: &[Location]) -> Result<Connection, Error> {
        let is_needed = locations.iter().any(|location| matches!(location, Location::Registry(_)));
        let mut credentials = if is_needed { self.credentials()? } else { Credentials::none() };
        if let Some(login) = self.login()? {
            credentials = credentials.with_login(the_only_registry("--username", locations)?, login);
        }
        if self.unix_socket.is_some() {
            the_only_registry("--unix-socket", locations)?;
        }
        let connection =
            Connection(Some(Arc::new(Clients { options: self.options(credentials), made: Mutex::default() })));
        for location in locations {
            if let Location::Registry(reference) = location {
                // What is wrong with the options is said before anything is done.
                connection.client(&reference.repository)?;
            }
        }
        Ok(if is_needed { connection } else { Connection::none() })
    }

    /// A client for this registry that knows these credentials.
    pub(super) fn client(&self, registry: &Registry, credentials: Credentials) -> Result<Client, Error> {
        client(registry, self.options(credentials))
    }

    /// What the flags say.
    fn options(&self, credentials: Credentials) -> ClientOptions {
        let files = self.cert_file.clone().zip(self.key_file.clone());
        ClientOptions {
            plain_http: self.plain_http,
            insecure: self.insecure,
            ca_file: self.ca_file.clone(),
            unix_socket: self.unix_socket.clone(),
            client_certificate: files.map(|(certificate, key)| ClientCertificate { certificate, key }),
            certificate_folders: certificate_folders(),
            credentials,
            ..self.network.options()
        }
    }

    /// The credentials that are stored. A file that is named has to be there.
    pub(super) fn credentials(&self) -> Result<Credentials, Error> {
        if let Some(path) = &self.registry_config {
            path.metadata().map_err(|error| {
                let message = format!("cannot use the credentials in {}: {error}", path.display());
                Error::new(Exit::Local, message).hint("bndlr login makes such a file")
            })?;
        }
        Ok(self.keeper())
    }

    /// Where credentials are stored, or will be.
    pub(super) fn keeper(&self) -> Credentials {
        self.registry_config.as_ref().map_or_else(Credentials::from_environment, Credentials::from_file)
    }

    /// Who the user says that they are.
    pub(super) fn login(&self) -> Result<Option<Login>, Error> {
        let Some(username) = &self.username else { return Ok(None) };
        Ok(Some(Login { username: username.clone(), password: self.password()? }))
    }

    /// How many blobs are under way at once.
    pub(super) fn concurrency(&self) -> usize {
        self.network.concurrency
    }

    /// Whether standard input is the password.
    pub(super) fn reads_stdin(&self) -> bool {
        self.password_stdin
    }

    fn password(&self) -> Result<Secret, Error> {
        if let Some(password) = &self.password {
            return Ok(Secret::new(password.clone()));
        }
        if let Some(path) = &self.password_file {
            let file = File::open(path).and_then(|file| read_password(&file));
            return file.map_err(|error| {
                Error::new(Exit::Local, format!("cannot read the password from {}: {error}", path.display()))
            });
        }
        if !self.password_stdin {
            if io::stdin().is_terminal() {
                return ask::password("Password: ");
            }
            return Err(
                Error::usage("--username needs a password").hint("pass it with --password-stdin or --password-file")
            );
        }
        read_password(io::stdin())
            .map_err(|error| Error::new(Exit::Local, format!("cannot read the password from standard input: {error}")))
    }
}

/// Reads a password, which may have the end of a line after it.
fn read_password(from: impl Read) -> io::Result<Secret> {
    let mut password = String::new();
    from.take(MAX_PASSWORD).read_to_string(&mut password)?;
    Ok(Secret::new(password.trim_end_matches(['\r', '\n'])))
}

/// The registry that a flag is for.
fn the_only_registry(flag: &str, locations: &[Location]) -> Result<Registry, Error> {
    let mut registries = locations.iter().filter_map(|location| match location {
        Location::Registry(reference) => Some(&reference.repository.registry),
        _ => None,
    });
    let Some(first) = registries.next() else {
        return Err(Error::usage(format!("{flag} is for a registry, and none is named")));
    };
    match registries.find(|other| *other != first) {
        None => Ok(first.clone()),
        Some(other) => Err(Error::usage(format!("{flag} is for one registry, and {first} and {other} are named"))
            .hint("log in to each with bndlr login, or push to one after the other")),
    }
}

/// A client for this registry: `options`, and what the settings say of it where these are silent.
fn client(registry: &Registry, mut options: ClientOptions) -> Result<Client, Error> {
    if let Some(settings) = settings::of_registry(registry) {
        options.plain_http = options.plain_http.or(settings.plain_http);
        options.insecure |= settings.insecure;
        options.ca_file = options.ca_file.or_else(|| settings.ca_file.clone());
        let pair = settings.certificate.clone();
        let certificate = pair.map(|(certificate, key)| ClientCertificate { certificate, key });
        options.client_certificate = options.client_certificate.or(certificate);
    }
    Ok(Client::new(options).map_err(content::Error::from)?)
}

/// What reaches registries; nothing does where all is on this machine.
#[derive(Clone)]
pub(super) struct Connection(Option<Arc<Clients>>);

/// A client for each registry, since each may be talked to in another way.
struct Clients {
    options: ClientOptions,
    made: Mutex<HashMap<Registry, Arc<Client>>>,
}

impl Connection {
    pub(super) fn none() -> Self {
        Self(None)
    }

    pub(super) fn repository(&self, repository: &Repository) -> Result<RemoteRepository, Error> {
        Ok(self.client(repository)?.repository(repository).map_err(content::Error::from)?)
    }

    /// The client for the registry of `repository`.
    fn client(&self, repository: &Repository) -> Result<Arc<Client>, Error> {
        let Some(clients) = &self.0 else {
            let message = format!("{repository} is in a registry: expected oci:DIR[:tag] or archive:FILE[:tag]");
            return Err(Error::usage(message).hint("bndlr push takes it to a registry"));
        };
        let registry = &repository.registry;
        let mut made = clients.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = made.get(registry) {
            return Ok(Arc::clone(client));
        }
        let new = Arc::new(client(registry, clients.options.clone())?);
        made.insert(registry.clone(), Arc::clone(&new));
        Ok(new)
    }
}

/// What images are read from.
#[async_trait]
pub(super) trait Images: Source + OpenRange {}

impl<T: Source + OpenRange> Images for T {}

/// A location, open for reading.
pub(super) struct Opened {
    pub(super) images: Box<dyn Images>,
    location: Location,
    identifier: Identifier,
    connection: Connection,
}

/// What describes the manifest at `location`, if there is one: with nothing more than names it, as a subject has it.
pub(super) async fn subject(location: Option<&Location>, connection: &Connection) -> Result<Option<Descriptor>, Error> {
    let Some(location) = location else { return Ok(None) };
    let found = open(location, connection).await?.resolve().await?;
    Ok(Some(Descriptor::new(found.media_type, found.digest, found.size)))
}

/// Opens a location for reading.
pub(super) async fn open(location: &Location, connection: &Connection) -> Result<Opened, Error> {
    // Who has to be asked for a password has been. From here on an interruption is heard, also if every answer comes at once.
    tokio::task::yield_now().await;
    let identifier = location.identifier();
    let (images, identifier): (Box<dyn Images>, _) = match location {
        Location::Registry(reference) => {
            (Box::new(connection.repository(&reference.repository)?), reference.identifier())
        }
        Location::Layout(path, _) => {
            let layout = Directory::at(path).await?;
            let identifier = match identifier {
                Some(identifier) => identifier,
                None => layout.sole().await?.digest.into(),
            };
            (Box::new(layout), identifier)
        }
        Location::Archive(path, _) => {
            let archive = Archive::at(path).await?;
            let identifier = match identifier {
                Some(identifier) => identifier,
                None => archive.sole()?.digest.into(),
            };
            (Box::new(archive), identifier)
        }
    };
    Ok(Opened { images, location: location.clone(), identifier, connection: connection.clone() })
}

impl Opened {
    /// The manifest that was asked for.
    pub(super) async fn manifest(&self) -> Result<RawManifest, Error> {
        match self.images.manifest(&self.identifier).await {
            Ok(manifest) => Ok(manifest),
            Err(error) => Err(self.missing(error.into()).await),
        }
    }

    /// What describes the manifest that was asked for.
    pub(super) async fn resolve(&self) -> Result<Descriptor, Error> {
        match self.images.resolve(&self.identifier).await {
            Ok(descriptor) => Ok(descriptor),
            Err(error) => Err(self.missing(error.into()).await),
        }
    }

    /// The same error, with the tag that may have been meant, or what is here under that name.
    async fn missing(&self, error: Error) -> Error {
        if let (Exit::NotFound, Identifier::Tag(tag)) = (error.exit, &self.identifier)
            && let Some(near) = tags::near(&self.location, tag, &self.connection).await
        {
            return error.hint(format!("did you mean {}:{near}?", self.location.place()));
        }
        error.about(&self.location)
    }

    /// The manifest that was asked for, or what it has for this platform if it is an image index.
    pub(super) async fn image(&self, platform: Option<&Platform>) -> Result<RawManifest, Error> {
        self.image_of(self.manifest().await?, platform).await
    }

    /// A manifest from here, or what it has for this platform if it is an image index.
    pub(super) async fn image_of(
        &self,
        manifest: RawManifest,
        platform: Option<&Platform>,
    ) -> Result<RawManifest, Error> {
        let Manifest::Index(index) = manifest.manifest() else { return Ok(manifest) };
        let digest = pick(index, platform).map_err(|error| error.in_index(&manifest))?;
        Ok(self.images.manifest(&digest).await?)
    }
}

/// Nothing in an image index is what is wanted; these platforms are in it.
struct NotInIndex {
    wanted: Platform,
    found: Vec<String>,
}

impl NotInIndex {
    fn in_index(self, manifest: &RawManifest) -> Error {
        let message = format!("image index {} has nothing for {}", manifest.digest(), self.wanted);
        let found = if self.found.is_empty() { "no platform at all".to_owned() } else { self.found.join(", ") };
        Error::new(Exit::NotFound, message).hint(format!("it has {found}: pick one with --platform"))
    }
}

/// The image for `platform`, or for this machine's processor under Linux; if there is but one image, that.
fn pick(index: &ImageIndex, platform: Option<&Platform>) -> Result<Identifier, NotInIndex> {
    let images: Vec<_> = index.manifests.iter().filter(|image| media_type::is_manifest(&image.media_type)).collect();
    if let ([only], None) = (&images[..], platform) {
        return Ok(only.digest.into());
    }
    let wanted = platform.cloned().unwrap_or_else(this_machine);
    let fits = |found: &Platform| {
        found.os == wanted.os
            && found.architecture == wanted.architecture
            && (wanted.variant.is_none() || found.variant == wanted.variant)
    };
    if let Some(image) = images.iter().find(|image| image.platform.as_ref().is_some_and(fits)) {
        return Ok(image.digest.into());
    }
    let found = images.iter().filter_map(|image| Some(image.platform.as_ref()?.to_string())).collect();
    Err(NotInIndex { wanted, found })
}

fn this_machine() -> Platform {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    };
    Platform { os: "linux".into(), architecture: architecture.into(), os_version: None, variant: None }
}
