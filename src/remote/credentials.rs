//! Credentials: who somebody is to which registry, and where that is written.
//!
//! They are looked up when a registry asks for them and not before. Each belongs to one registry; `auth` decides where
//! they may be sent.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::StatusCode;

use crate::reference::Registry;

use super::docker_config::DockerConfig;
use super::{Error, Secret};

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub username: String,
    /// The password, or a token that stands for one.
    pub password: Secret,
}

/// Where to look for credentials: those that were given for a registry, then Docker's configuration.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    given: BTreeMap<Registry, Login>,
    file: Option<PathBuf>,
}

impl Credentials {
    /// None at all: everything is asked for anonymously.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of Docker's `config.json`: in the folder that `DOCKER_CONFIG` names, else in `~/.docker`. That there is
    /// no such file is no error.
    #[must_use]
    pub fn from_environment() -> Self {
        let folder = std::env::var_os("DOCKER_CONFIG")
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
            .or_else(|| std::env::home_dir().map(|home| home.join(".docker")));
        Self { given: BTreeMap::new(), file: folder.map(|folder| folder.join("config.json")) }
    }

    /// Those of a file in the form of Docker's `config.json`.
    pub fn from_file(path: impl Into<PathBuf>) -> Self {
        Self { given: BTreeMap::new(), file: Some(path.into()) }
    }

    /// These, before all others, for this registry.
    #[must_use]
    pub fn with_login(mut self, registry: Registry, login: Login) -> Self {
        self.given.insert(registry, login);
        self
    }

    /// Those for `registry`.
    ///
    /// # Errors
    /// When there is a file and it cannot be read.
    pub(super) async fn find(&self, registry: &Registry) -> Result<Found, Error> {
        if let Some(login) = self.given.get(registry) {
            return Ok(Found { login: Some(login.clone()), ..Found::default() });
        }
        let Some(path) = &self.file else { return Ok(Found::default()) };
        match DockerConfig::read(path).await? {
            Some(config) => config.find(registry, path),
            None => Ok(Found::default()),
        }
    }
}

/// What there is for a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) login: Option<Login>,
    /// The file that was looked into and had something to say; none where the user named the credentials.
    pub(super) file: Option<PathBuf>,
    /// The program that has the credentials, as the file says.
    pub(super) program: Option<String>,
}

impl Found {
    /// What to do when `registry` says no to them, or to their absence.
    pub(super) fn hint(&self, registry: &Registry, status: StatusCode) -> String {
        let file = self.file.as_deref().map(Path::display);
        let failed = if status == StatusCode::FORBIDDEN { "do not suffice" } else { "were refused" };
        match (&self.login, &self.program, file) {
            (Some(_), _, Some(file)) => format!("the credentials for {registry} from {file} {failed}"),
            (Some(_), _, None) => format!("the credentials that were given for {registry} {failed}"),
            (None, Some(program), Some(file)) => format!(
                "{file} leaves the credentials for {registry} to docker-credential-{program}, which bndlr does not \
                 ask: pass --username and --password-stdin"
            ),
            _ => {
                format!("log in to {registry}: pass --username and --password-stdin, or run docker login {registry}")
            }
        }
    }
}
