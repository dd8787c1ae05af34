//! `bndlr login`

use std::io::{IsTerminal, stdin};

use serde_json::json;

use super::ask;
use super::connect::RegistryArgs;
use super::error::Error;
use super::output::Output;
use crate::content;
use crate::remote::{self, Account, Credentials};

/// Check a user and a password against a registry, and store them
///
/// They are stored where --registry-config or REGISTRY_AUTH_FILE says, else in Docker's config.json, or in the credential
/// helper that such a file names for the registry. Docker, Podman and others find them there, too. If the registry gives
/// an identity token for the password, that is stored instead.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  bndlr login localhost:5000
  bndlr login ghcr.io -u alice --password-stdin < token.txt
  bndlr login ghcr.io/team -u robot --password-stdin < token.txt")]
pub(super) struct Login {
    /// The registry, or the part of it that the password is for: host[:port][/path]
    #[arg(value_name = "REGISTRY")]
    account: Account,
    #[command(flatten)]
    registry: RegistryArgs,
}

impl Login {
    pub(super) async fn run(self, output: &Output) -> Result<(), Error> {
        let Self { account, registry } = self;
        let login = match registry.login()? {
            Some(login) => login,
            None => ask_for_login(&account)?,
        };
        let username = login.username.clone();
        let client = registry.client(&account.registry, Credentials::none())?;
        let taken = client.log_in(&account.registry, login).await.map_err(content::Error::from)?;
        let place = registry.keeper().store(&account, &taken.keep).await.map_err(content::Error::from)?;
        if !taken.checked {
            output.warn(format!("{} asks nobody who they are, so nothing was checked", account.registry));
        }
        let what = if taken.keep.is_identity_token() { "an identity token" } else { "the password" };
        output.say(format!("Logged in to {account} as {username}; {what} is in {place}"));
        output.result("", || {
            json!({
                "registry": account.to_string(),
                "username": username,
                "checked": taken.checked,
                "file": place.file,
                "program": place.program,
            })
        })
    }
}

fn ask_for_login(account: &Account) -> Result<remote::Login, Error> {
    if !stdin().is_terminal() {
        return Err(Error::usage(format!("who are you to {account}?")).hint("pass --username and --password-stdin"));
    }
    let username = ask::line("Username: ")?;
    if username.is_empty() {
        return Err(Error::usage("a user has a name"));
    }
    Ok(remote::Login { username, password: ask::password("Password: ")? })
}
