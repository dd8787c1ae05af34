//! Docker's configuration file, as far as it says who somebody is, and Podman's, which has the same form.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::reference::Registry;

use super::credential_program::Program;
use super::credentials::{Entry, Held, Holder, Login};
use super::{Error, Secret};

/// Docker writes padding; others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The names under which credentials for Docker Hub are kept.
const DOCKER_HUB_HOSTS: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];
/// The one under which Docker keeps them.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize)]
pub(super) struct DockerConfig {
    auths: Option<BTreeMap<String, Option<Account>>>,
    /// Programs that keep the credentials of one registry each.
    #[serde(rename = "credHelpers")]
    programs: Option<BTreeMap<String, String>>,
    /// The program that keeps all others.
    #[serde(rename = "credsStore")]
    program: Option<String>,
}

/// What is written about one registry, or a part of it.
#[derive(Deserialize)]
struct Account {
    /// User and password, in Base64.
    auth: Option<Secret>,
    #[serde(rename = "identitytoken")]
    identity_token: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
}

impl DockerConfig {
    /// Reads the file; nothing, if there is none, or nothing in it.
    pub(super) async fn read(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |why: String| Error::Credentials { path: path.to_owned(), why };
        match tokio::fs::read(path).await {
            Ok(json) => Self::parse(&json).map_err(failed),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// What the file says; nothing, if nothing is in it.
    ///
    /// # Errors
    /// Why it cannot be understood, without a word of it: serde's own message quotes what it did not expect, and that
    /// may be a password.
    pub(super) fn parse(json: &[u8]) -> Result<Option<Self>, String> {
        if json.trim_ascii().is_empty() {
            return Ok(None);
        }
        serde_json::from_slice(json).map(Some).map_err(|error| {
            let what = if error.is_data() { "not what Docker writes" } else { "not valid JSON" };
            format!("{what} in line {}, column {}", error.line(), error.column())
        })
    }

    /// What may know who somebody is to `registry`: what is about a part of it, the longest path first; then the program
    /// that keeps its credentials; then the file itself, where an entry that is spelled like the registry comes before
    /// one that means it.
    pub(super) fn entries(&self, registry: &Registry, file: &Path, patience: Duration) -> Result<Vec<Entry>, Error> {
        let entry = |path: &str, holder| Entry { path: path.to_owned(), file: file.to_owned(), holder };
        let mut auths = Vec::new();
        for (key, auth) in self.auths.iter().flatten() {
            let (Some(path), Some(auth)) = (path_in(key, registry), auth) else { continue };
            let failed =
                |why| Error::Credentials { path: file.to_owned(), why: format!("the entry for {key:?} {why}") };
            if let Some(login) = auth.login().map_err(failed)? {
                auths.push((key != registry.as_str(), entry(path, Holder::File(login))));
            }
        }
        auths.sort_by_key(|(differs, entry)| (std::cmp::Reverse(entry.path.len()), *differs));
        let mut entries: Vec<Entry> = auths.into_iter().map(|(_, entry)| entry).collect();
        if let Some(program) = self.program(registry, patience) {
            let held = Held { program, registry: registry.clone(), said: OnceCell::new() };
            let general = entries.iter().position(|entry| entry.path.is_empty()).unwrap_or(entries.len());
            entries.insert(general, entry("", Holder::Program(held)));
        }
        Ok(entries)
    }

    /// The program that keeps the credentials of `registry`.
    pub(super) fn program(&self, registry: &Registry, patience: Duration) -> Option<Program> {
        let named = self.programs.iter().flatten().find(|(key, _)| path_in(key, registry) == Some(""));
        let name = named.map(|(_, program)| program).or(self.program.as_ref()).filter(|program| !program.is_empty())?;
        Some(Program::new(name, patience))
    }
}

impl Account {
    fn login(&self) -> Result<Option<Login>, &'static str> {
        if let Some(token) = self.identity_token.as_ref().filter(|token| !token.expose().is_empty()) {
            return Ok(Some(Login::of_identity_token(token.clone())));
        }
        if let (Some(username), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Login { username: username.clone(), password: password.clone() }));
        }
        let Some(auth) = self.auth.as_ref().map(Secret::expose).filter(|auth| !auth.is_empty()) else {
            return Ok(None);
        };
        let decoded = BASE64.decode(auth.trim()).map_err(|_| "is not valid Base64")?;
        let decoded = String::from_utf8(decoded).map_err(|_| "is not valid UTF-8")?;
        let (username, password) = decoded.split_once(':').ok_or("has no colon between user and password")?;
        // Old versions of Docker filled passwords up with these.
        let password = password.trim_end_matches('\0');
        Ok(Some(Login { username: username.to_owned(), password: Secret::new(password) }))
    }
}

/// The part of `registry` that a key of the file means, which is empty if it is the whole; nothing, if it means another
/// registry. A key is `host[:port][/path]`, perhaps as a URL with the path of an API, which is no part of it.
pub(super) fn path_in<'a>(key: &'a str, registry: &Registry) -> Option<&'a str> {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = Some(path.trim_end_matches('/')).filter(|path| !matches!(*path, "v1" | "v2")).unwrap_or_default();
    let is_hub = || registry.is_docker_hub() && DOCKER_HUB_HOSTS.iter().any(|hub| host.eq_ignore_ascii_case(hub));
    (host.eq_ignore_ascii_case(registry.as_str()) || is_hub()).then_some(path)
}

/// What a registry is called where credentials are kept.
pub(super) fn server_name(registry: &Registry) -> &str {
    if registry.is_docker_hub() { DOCKER_HUB } else { registry.as_str() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(config: &str, registry: &str) -> Result<Vec<Entry>, Error> {
        let config = DockerConfig::parse(config.as_bytes()).unwrap().unwrap();
        config.entries(&registry.parse().unwrap(), Path::new("config.json"), Duration::ZERO)
    }

    /// Who may be meant, in order: `path=user:password` or `=program`.
    fn order(config: &str, registry: &str) -> Vec<String> {
        let name = |entry: &Entry| match &entry.holder {
            Holder::File(login) => format!("{}={}:{}", entry.path, login.username, login.password.expose()),
            Holder::Program(held) => format!("{}={}", entry.path, held.program),
        };
        entries(config, registry).unwrap().iter().map(name).collect()
    }

    /// The first that is meant for the whole registry.
    fn user(config: &str, registry: &str) -> Option<String> {
        order(config, registry).iter().find_map(|entry| entry.strip_prefix('=')).map(str::to_owned)
    }

    #[test]
    fn a_registry_is_found_however_it_is_spelled() {
        for (key, registry) in [
            ("ghcr.io", "ghcr.io"),
            ("https://ghcr.io", "ghcr.io"),
            ("https://ghcr.io/v2/", "ghcr.io"),
            ("GHCR.io", "ghcr.io"),
            ("localhost:5000", "localhost:5000"),
            ("http://localhost:5000/", "localhost:5000"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "index.docker.io"),
        ] {
            let config = format!(r#"{{"auths":{{"{key}":{{"auth":"dXNlcjpwYTpzcw=="}}}}}}"#);
            assert_eq!(user(&config, registry).as_deref(), Some("user:pa:ss"), "{key} for {registry}");
        }
    }

    #[test]
    fn credentials_of_another_registry_are_not_taken() {
        for (key, registry) in [
            ("ghcr.io", "ghcr.io:443"),
            ("localhost", "localhost:5000"),
            ("ghcr.io/team", "ghcr.io"),
            ("https://evil.example/ghcr.io", "ghcr.io"),
            ("ghcr.io.evil.example", "ghcr.io"),
            ("https://index.docker.io/v1/", "registry-1.docker.io"),
            ("io", "ghcr.io"),
        ] {
            let config = format!(r#"{{"auths":{{"{key}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#);
            assert_eq!(user(&config, registry), None, "{key} for {registry}");
        }
    }

    #[test]
    fn entries_have_many_forms() {
        let config = r#"{"auths":{"a.io":{"username":"u","password":"p"},"b.io":{},"c.io":null,"d.io":{"auth":""},
            "e.io":{"auth":"dTpwAAA"},"https://f.io":{"auth":"dTpvbGQ="},"f.io":{"auth":"dTpuZXc="}},"other":[1]}"#;
        assert_eq!(user(config, "a.io").as_deref(), Some("u:p"));
        for registry in ["b.io", "c.io", "d.io", "x.io"] {
            assert_eq!(user(config, registry), None);
        }
        assert_eq!(user(config, "e.io").as_deref(), Some("u:p"));
        assert_eq!(user(config, "f.io").as_deref(), Some("u:new"));
        assert_eq!(user(r#"{"auths":null}"#, "a.io"), None);
    }

    #[test]
    fn what_is_about_a_part_comes_first_and_then_the_program() {
        let config = r#"{"auths":{"a.io":{"auth":"dTpw"},"a.io/team":{"auth":"dDpw"},"a.io/team/app":{"auth":"eDpw"},
            "b.io":{"identitytoken":"i","auth":"dTo="}},"credHelpers":{"a.io":"ecr"},"credsStore":"desktop"}"#;
        assert_eq!(order(config, "a.io"), ["team/app=x:p", "team=t:p", "=docker-credential-ecr", "=u:p"]);
        assert_eq!(order(config, "b.io"), ["=docker-credential-desktop", "=<token>:i"]);
        assert_eq!(order(r#"{"auths":{"a.io":{"auth":"dTpw"}},"credsStore":""}"#, "a.io"), ["=u:p"]);
    }

    #[tokio::test]
    async fn a_part_of_a_registry_is_what_is_below_a_path() {
        let config =
            r#"{"auths":{"a.io":{"auth":"dTpw"},"a.io/team":{"auth":"dDpw"},"a.io/team/app":{"auth":"eDpw"}}}"#;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, config).unwrap();
        let known = super::super::Credentials::from_file(&path).about(&"a.io".parse().unwrap()).await.unwrap();
        for (name, user) in [
            ("team/app", "x"),
            ("team/app/sub", "x"),
            ("team/app2", "t"),
            ("team", "t"),
            ("teams/app", "u"),
            ("app", "u"),
        ] {
            let found = known.find(Some(&name.parse().unwrap())).await.unwrap();
            assert_eq!(found.login.unwrap().username, user, "{name}");
        }
        assert_eq!(known.find(None).await.unwrap().login.unwrap().username, "u");
    }

    #[tokio::test]
    async fn errors_name_the_file_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert!(DockerConfig::read(&path).await.unwrap().is_none());
        std::fs::write(&path, "\n").unwrap();
        assert!(DockerConfig::read(&path).await.unwrap().is_none());
        for json in
            [r#"{"auths":{"a.io":"hunter2"}}"#, r#"{"auths":{"a.io":{"auth":"hunter2"#, r#"{"auths":"hunter2"}"#]
        {
            std::fs::write(&path, json).unwrap();
            let error = DockerConfig::read(&path).await.err().unwrap().to_string();
            assert!(error.contains("config.json") && error.contains("line 1") && !error.contains("hunter2"), "{error}");
        }
        let error = entries(r#"{"auths":{"a.io":{"auth":"!!hunter2"}}}"#, "a.io").unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("a.io") && !error.contains("hunter2"), "{error}");
    }
}
