//! Credentials: who somebody is to which registry, and where that is written.
//!
//! They are looked up when a registry asks for them and not before. Each belongs to one registry, or to a part of it;
//! `auth` decides where they may be sent. How they are written is in `docker_config`, how they are changed in `stored`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::HeaderValue;
use reqwest::StatusCode;
use tokio::sync::OnceCell;

use crate::reference::{Name, ParseError, Registry};

use super::credential_program::Program;
use super::docker_config::DockerConfig;
use super::{Error, Secret};

/// The user that stands for an identity token where there is a password otherwise, as credential helpers have it.
const TOKEN_USER: &str = "<token>";
/// How long a program that keeps credentials may take: it may ask its user for a passphrase.
const PATIENCE: Duration = Duration::from_mins(1);

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user; `<token>` says that the password is an identity token.
    pub username: String,
    /// The password, or a token that stands for one.
    pub password: Secret,
}

impl Login {
    /// An identity token: what a token service gives for a password, and takes instead of it (OAuth2's refresh token).
    #[must_use]
    pub fn of_identity_token(token: Secret) -> Self {
        Self { username: TOKEN_USER.to_owned(), password: token }
    }

    /// Whether the password is an identity token, which is for the token service alone.
    #[must_use]
    pub fn is_identity_token(&self) -> bool {
        self.username == TOKEN_USER
    }

    /// `Basic …` (RFC 7617).
    pub(super) fn to_basic(&self) -> HeaderValue {
        let pair = BASE64_STANDARD.encode(format!("{}:{}", self.username, self.password.expose()));
        let value = HeaderValue::try_from(format!("Basic {pair}"));
        let mut value = value.expect("Base64 has no character that a header cannot have");
        value.set_sensitive(true);
        value
    }
}

/// A registry, or the part of it below a path, that somebody has credentials for: `host[:port][/path]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Account {
    /// The registry.
    pub registry: Registry,
    /// The part of it, if it is not the whole.
    pub path: Option<Name>,
}

impl From<Registry> for Account {
    fn from(registry: Registry) -> Self {
        Self { registry, path: None }
    }
}

impl FromStr for Account {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match text.split_once('/') {
            None => Ok(text.parse::<Registry>()?.into()),
            Some((registry, path)) => Ok(Self { registry: registry.parse()?, path: Some(path.parse()?) }),
        }
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.path {
            None => self.registry.fmt(f),
            Some(path) => write!(f, "{}/{path}", self.registry),
        }
    }
}

/// Where to look for credentials: those that were given for a registry, then files in the form of Docker's
/// `config.json`, one after the other.
///
/// ```no_run
/// use bndlr::remote::{Account, Client, ClientOptions, Credentials, Login, Secret};
///
/// # async fn log_in() -> Result<(), Box<dyn std::error::Error>> {
/// let account: Account = "ghcr.io/team".parse()?;
/// let login = Login { username: "alice".into(), password: Secret::new("correct-horse") };
/// let taken = Client::new(ClientOptions::default())?.log_in(&account.registry, login).await?;
/// let place = Credentials::from_environment().store(&account, &taken.keep).await?;
/// println!("logged in to {account}: see {place}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Credentials {
    given: BTreeMap<Registry, Login>,
    pub(super) files: Vec<PathBuf>,
    pub(super) patience: Duration,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { given: BTreeMap::new(), files: Vec::new(), patience: PATIENCE }
    }
}

impl Credentials {
    /// None at all: everything is asked for anonymously.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of the files that Docker and Podman keep them in: the one that `REGISTRY_AUTH_FILE` names, `config.json` in
    /// the folder that `DOCKER_CONFIG` names or else in `~/.docker`, and `containers/auth.json` in the folders that
    /// `XDG_RUNTIME_DIR` (or else `/run/containers/<uid>`) and `XDG_CONFIG_HOME` (or else `~/.config`) name. What is
    /// stored goes to the first. That there is no such file is no error.
    #[must_use]
    pub fn from_environment() -> Self {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let user = rustix::process::getuid().as_raw();
        Self { files: places(variable, std::env::home_dir().as_deref(), user), ..Self::default() }
    }

    /// Those of a file in the form of Docker's `config.json`, and of no other.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { files: vec![path.into()], ..Self::default() }
    }

    /// These, before all others, for this registry.
    #[must_use]
    pub fn with_login(mut self, registry: Registry, login: Login) -> Self {
        self.given.insert(registry, login);
        self
    }

    /// How long a program that keeps credentials may take to answer, which is a minute otherwise.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// What is known about `registry`.
    ///
    /// # Errors
    /// When there is a file and it cannot be read.
    pub(super) async fn about(&self, registry: &Registry) -> Result<Known, Error> {
        let mut known = Known { given: self.given.get(registry).cloned(), entries: Vec::new() };
        if known.given.is_none() {
            for path in &self.files {
                if let Some(config) = DockerConfig::read(path).await? {
                    known.entries.extend(config.entries(registry, path, self.patience)?);
                }
            }
        }
        Ok(known)
    }
}

/// The files that credentials are in, as [`Credentials::from_environment`] says.
fn places(variable: impl Fn(&str) -> Option<PathBuf>, home: Option<&Path>, user: u32) -> Vec<PathBuf> {
    let below_home = |folder: &str| home.map(|home| home.join(folder));
    let docker = variable("DOCKER_CONFIG").or_else(|| below_home(".docker"));
    let runtime = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers"));
    let runtime = runtime.unwrap_or_else(|| format!("/run/containers/{user}").into());
    let config = variable("XDG_CONFIG_HOME").or_else(|| below_home(".config"));
    let places = [
        variable("REGISTRY_AUTH_FILE"),
        docker.map(|folder| folder.join("config.json")),
        Some(runtime.join("auth.json")),
        config.map(|folder| folder.join("containers/auth.json")),
    ];
    places.into_iter().flatten().collect()
}

/// What is known about one registry, in the order in which it counts.
#[derive(Debug)]
pub(super) struct Known {
    given: Option<Login>,
    entries: Vec<Entry>,
}

impl Known {
    /// Who somebody is to a repository of the registry, or to the registry itself. Programs are asked when nothing before
    /// them knows, and once.
    pub(super) async fn find(&self, repository: Option<&Name>) -> Result<Found, Error> {
        if let Some(login) = &self.given {
            return Ok(Found { login: Some(login.clone()), place: None });
        }
        for entry in self.entries.iter().filter(|entry| entry.covers(repository)) {
            if let Some(login) = entry.holder.login().await? {
                return Ok(Found { login: Some(login), place: Some(entry.place()) });
            }
        }
        Ok(Found::default())
    }
}

/// Something in a file that may know who somebody is.
#[derive(Debug)]
pub(super) struct Entry {
    /// The part of the registry that it is about; empty, if it is all of it.
    pub(super) path: String,
    pub(super) file: PathBuf,
    pub(super) holder: Holder,
}

impl Entry {
    fn covers(&self, repository: Option<&Name>) -> bool {
        let rest = repository.and_then(|name| name.as_str().strip_prefix(&self.path));
        self.path.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn place(&self) -> Place {
        let program = match &self.holder {
            Holder::File(_) => None,
            Holder::Program(held) => Some(held.program.to_string()),
        };
        Place { file: self.file.clone(), program }
    }
}

/// Who has a secret.
#[derive(Debug)]
pub(super) enum Holder {
    /// The file itself.
    File(Login),
    /// A program that the file names.
    Program(Held),
}

/// What a program keeps for one registry, once it was asked.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) program: Program,
    pub(super) registry: Registry,
    pub(super) said: OnceCell<Option<Login>>,
}

impl Holder {
    async fn login(&self) -> Result<Option<Login>, Error> {
        match self {
            Self::File(login) => Ok(Some(login.clone())),
            Self::Program(held) => {
                let said = held.said.get_or_try_init(|| held.program.get(&held.registry)).await?;
                Ok(said.clone())
            }
        }
    }
}

/// Where credentials are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// The program that the file leaves them to.
    pub program: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.program {
            None => self.file.display().fmt(f),
            Some(program) => write!(f, "{program}, which {} names", self.file.display()),
        }
    }
}

/// What there is for a registry or a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) login: Option<Login>,
    /// Where it was found; nowhere where the user named it.
    pub(super) place: Option<Place>,
}

impl Found {
    /// What to do when `registry` says no to it, or to its absence.
    pub(super) fn hint(&self, registry: &Registry, status: StatusCode) -> String {
        let failed = if status == StatusCode::FORBIDDEN { "do not suffice" } else { "were refused" };
        match (&self.login, &self.place) {
            (Some(_), Some(place)) => format!("the credentials for {registry} from {place} {failed}"),
            (Some(_), None) => format!("the credentials that were given for {registry} {failed}"),
            (None, _) => {
                format!("log in to {registry}: run bndlr login {registry}, or pass --username and --password-stdin")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_looked_for_where_docker_and_podman_keep_them() {
        let places = |set: &[(&str, &str)]| {
            let variable = |name: &str| set.iter().find(|(found, _)| *found == name).map(|(_, value)| value.into());
            let found = places(variable, Some(Path::new("/home/a")), 7);
            found.into_iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(
            places(&[]),
            ["/home/a/.docker/config.json", "/run/containers/7/auth.json", "/home/a/.config/containers/auth.json"]
        );
        let set = [
            ("DOCKER_CONFIG", "/d"),
            ("REGISTRY_AUTH_FILE", "/r.json"),
            ("XDG_RUNTIME_DIR", "/x"),
            ("XDG_CONFIG_HOME", "/c"),
        ];
        assert_eq!(places(&set), ["/r.json", "/d/config.json", "/x/containers/auth.json", "/c/containers/auth.json"]);
    }

    #[test]
    fn an_account_is_a_registry_or_a_part_of_one() {
        for (text, expected) in [
            ("ghcr.io", "ghcr.io"),
            ("localhost:5000/team/app", "localhost:5000/team/app"),
            ("docker.io", "index.docker.io"),
        ] {
            assert_eq!(text.parse::<Account>().unwrap().to_string(), expected);
        }
        for wrong in ["", "https://ghcr.io", "ghcr.io/", "ghcr.io/Team", "a b"] {
            assert!(wrong.parse::<Account>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_password_prints_as_stars_and_only_a_token_is_one() {
        let login = Login { username: "alice".into(), password: Secret::new("correct-horse") };
        assert_eq!(login.to_basic(), "Basic YWxpY2U6Y29ycmVjdC1ob3JzZQ==");
        assert!(!format!("{login:?} {:?}", login.to_basic()).contains("horse") && login.to_basic().is_sensitive());
        assert!(!login.is_identity_token() && Login::of_identity_token(Secret::new("t")).is_identity_token());
    }
}
