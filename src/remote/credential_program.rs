//! Programs that keep credentials (the protocol of Docker's credential helpers): `docker-credential-NAME` is run with
//! `get`, `store` or `erase`, reads from its standard input and answers on its standard output.
//!
//! It is told the name of one registry, and asked for nothing but what it has for that one. What it says is read up to a
//! bound and waited for up to a bound; what it writes to standard error is for its user, and stays there.

use std::fmt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::reference::Registry;
use crate::text::seconds;

use super::credentials::Login;
use super::docker_config::server_name;
use super::{Error, Secret};

/// How much of an answer is read, in bytes.
const MAX_ANSWER: u64 = 256 * 1024;
/// How many characters of what a program says about its failure are repeated.
const MAX_CHARACTERS: usize = 300;
/// What a program says when it has nothing.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// A program that keeps credentials.
#[derive(Clone, Debug)]
pub(super) struct Program {
    name: String,
    command: PathBuf,
    patience: Duration,
}

/// What it says to `get`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: Secret,
}

impl Program {
    /// `docker-credential-<name>`, which may take as long as `patience`.
    pub(super) fn new(name: &str, patience: Duration) -> Self {
        Self { name: name.to_owned(), command: format!("docker-credential-{name}").into(), patience }
    }

    /// What it has for `registry`.
    pub(super) async fn get(&self, registry: &Registry) -> Result<Option<Login>, Error> {
        let server = server_name(registry);
        let Some(said) = self.ask("get", server.as_bytes()).await? else { return Ok(None) };
        // Neither what it says nor serde's message is repeated: a secret is in it.
        let answer: Answer =
            serde_json::from_slice(&said).map_err(|_| self.error("does not say a user and a secret".to_owned()))?;
        let found = Login { username: answer.username, password: answer.secret };
        Ok(Some(found).filter(|login| !login.password.expose().is_empty()))
    }

    /// Lets it keep this.
    pub(super) async fn store(&self, registry: &Registry, login: &Login) -> Result<(), Error> {
        let secret = login.password.expose();
        let message = json!({"ServerURL": server_name(registry), "Username": login.username, "Secret": secret});
        self.ask("store", message.to_string().as_bytes()).await.map(|_| ())
    }

    /// Lets it forget what it has, and says whether it had anything.
    pub(super) async fn erase(&self, registry: &Registry) -> Result<bool, Error> {
        // Some do not say whether there was anything to forget.
        let had = self.get(registry).await?.is_some();
        Ok(self.ask("erase", server_name(registry).as_bytes()).await?.is_some() && had)
    }

    /// What it says to this; nothing, if it says that it has nothing.
    async fn ask(&self, action: &str, input: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !self.name.chars().all(is_name) {
            return Err(self.error("is no name of a program".to_owned()));
        }
        let started = Command::new(&self.command)
            .arg(action)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn();
        let child = started.map_err(|error| self.error(format!("cannot be run: {error}")))?;
        let ended = tokio::time::timeout(self.patience, converse(child, input)).await;
        let (status, said) = ended
            .map_err(|_| self.error(format!("says nothing for {}", seconds(self.patience))))?
            .map_err(|error| self.error(format!("cannot be talked to: {error}")))?;
        if said.len() as u64 > MAX_ANSWER {
            return Err(self.error(format!("says more than {MAX_ANSWER} bytes")));
        }
        if status.success() {
            return Ok(Some(said));
        }
        let said = String::from_utf8_lossy(&said);
        if said.trim() == NOT_FOUND { Ok(None) } else { Err(self.error(format!("failed: {}", reason(&said, status)))) }
    }

    fn error(&self, what: String) -> Error {
        Error::Program { program: self.to_string(), what }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "docker-credential-{}", self.name)
    }
}

/// Says `input`, and reads a little more than may be said.
async fn converse(mut child: Child, input: &[u8]) -> std::io::Result<(ExitStatus, Vec<u8>)> {
    let mut said = Vec::new();
    if let Some(mut stdin) = child.stdin.take() {
        // It may know what to answer without reading to the end.
        let _ = stdin.write_all(input).await;
    }
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_ANSWER + 1).read_to_end(&mut said).await?;
    }
    Ok((child.wait().await?, said))
}

/// Why it failed, in its own words if they cannot be the secret.
fn reason(said: &str, status: ExitStatus) -> String {
    let line = said.trim().lines().next().unwrap_or_default();
    if line.is_empty() || line.starts_with('{') {
        return status.to_string();
    }
    line.chars().take(MAX_CHARACTERS).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_program_that_hangs_is_not_waited_for_forever() {
        let folder = tempfile::tempdir().unwrap();
        let command = folder.path().join("hangs");
        std::fs::write(&command, "#!/bin/sh\necho '{'\nexec sleep 60\n").unwrap();
        std::fs::set_permissions(&command, std::fs::Permissions::from_mode(0o755)).unwrap();
        let program = Program { name: "x".into(), command, patience: Duration::from_millis(50) };
        let error = program.get(&"a.io".parse().unwrap()).await.unwrap_err();
        assert_eq!(error.to_string(), "docker-credential-x says nothing for 0.05 seconds");
    }
}
