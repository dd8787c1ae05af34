//! Docker's configuration file, as far as it says who somebody is.
//!
//! Programs that keep credentials are named and not asked; identity tokens are not read.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::reference::Registry;

use super::credentials::{Found, Login};
use super::{Error, Secret};

/// Docker writes padding; others do not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The names under which credentials for Docker Hub are kept.
const DOCKER_HUB_HOSTS: [&str; 3] = ["index.docker.io", "docker.io", "registry-1.docker.io"];

#[derive(Deserialize)]
pub(super) struct DockerConfig {
    auths: Option<BTreeMap<String, Option<Entry>>>,
    /// Programs that keep the credentials of one registry each.
    #[serde(rename = "credHelpers")]
    programs: Option<BTreeMap<String, String>>,
    /// The program that keeps all others.
    #[serde(rename = "credsStore")]
    program: Option<String>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<Secret>,
    username: Option<String>,
    password: Option<Secret>,
}

impl DockerConfig {
    /// Reads the file; nothing, if there is none.
    pub(super) async fn read(path: &Path) -> Result<Option<Self>, Error> {
        let failed = |why: String| Error::Credentials { path: path.to_owned(), why };
        let json = match tokio::fs::read(path).await {
            Ok(json) => json,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        // serde's own message quotes what it did not expect, and that may be a password.
        let parsed = serde_json::from_slice(&json);
        parsed.map(Some).map_err(|error| {
            let what = if error.is_data() { "not what Docker writes" } else { "not valid JSON" };
            failed(format!("{what} in line {}, column {}", error.line(), error.column()))
        })
    }

    /// What it says about `registry`. An entry that is spelled like the registry comes before one that means it.
    pub(super) fn find(&self, registry: &Registry, path: &Path) -> Result<Found, Error> {
        let auths = self.auths.iter().flatten().filter(|(key, _)| names(key, registry));
        let mut entries: Vec<_> = auths.filter_map(|(key, entry)| Some((key, entry.as_ref()?))).collect();
        entries.sort_by_key(|(key, _)| key.as_str() != registry.as_str());
        let mut login = None;
        for (key, entry) in entries {
            login = entry.login().map_err(|why| Error::Credentials {
                path: path.to_owned(),
                why: format!("the entry for {key:?} {why}"),
            })?;
            if login.is_some() {
                break;
            }
        }
        let named = self.programs.iter().flatten().find(|(key, _)| names(key, registry));
        let program = named.map(|(_, program)| program).or(self.program.as_ref()).filter(|program| !program.is_empty());
        let file = (login.is_some() || program.is_some()).then(|| path.to_owned());
        Ok(Found { login, file, program: program.cloned() })
    }
}

impl Entry {
    fn login(&self) -> Result<Option<Login>, &'static str> {
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

/// Whether a key of the file means this registry: `host[:port]`, perhaps as a URL with the path of an API. A key with
/// any other path is about a part of a registry, and not about the whole.
fn names(key: &str, registry: &Registry) -> bool {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    if !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
        return false;
    }
    host.eq_ignore_ascii_case(registry.as_str())
        || registry.is_docker_hub() && DOCKER_HUB_HOSTS.iter().any(|hub| host.eq_ignore_ascii_case(hub))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(config: &str, registry: &str) -> Result<Found, Error> {
        let config: DockerConfig = serde_json::from_str(config).unwrap();
        config.find(&registry.parse().unwrap(), Path::new("config.json"))
    }

    fn user(config: &str, registry: &str) -> Option<String> {
        let login = find(config, registry).unwrap().login?;
        Some(format!("{}:{}", login.username, login.password.expose()))
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
    fn programs_that_keep_credentials_are_named() {
        let config = r#"{"credHelpers":{"a.io":"ecr"},"credsStore":"desktop"}"#;
        let found = find(config, "a.io").unwrap();
        assert!(
            found
                .hint(&"a.io".parse().unwrap(), reqwest::StatusCode::UNAUTHORIZED)
                .contains("config.json leaves the credentials for a.io to docker-credential-ecr")
        );
        assert_eq!(find(config, "b.io").unwrap().program.as_deref(), Some("desktop"));
    }

    #[tokio::test]
    async fn errors_name_the_file_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        assert!(DockerConfig::read(&path).await.unwrap().is_none());
        for json in
            [r#"{"auths":{"a.io":"hunter2"}}"#, r#"{"auths":{"a.io":{"auth":"hunter2"#, r#"{"auths":"hunter2"}"#]
        {
            std::fs::write(&path, json).unwrap();
            let error = DockerConfig::read(&path).await.err().unwrap().to_string();
            assert!(error.contains("config.json") && error.contains("line 1") && !error.contains("hunter2"), "{error}");
        }
        let error = find(r#"{"auths":{"a.io":{"auth":"!!hunter2"}}}"#, "a.io").unwrap_err().to_string();
        assert!(error.contains("config.json") && error.contains("a.io") && !error.contains("hunter2"), "{error}");
    }
}
