//! Who may use the registry: the arguments of `bndlr serve` about passwords, rules, tokens and TLS.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::super::error::{Error, Exit};
use crate::server::{Auth, FileError, Rules, Tls, TokenKey};

/// Who may do what, and how they are told apart.
#[derive(Args, Debug)]
#[command(next_help_heading = "Access")]
pub(super) struct AccessArgs {
    /// Let anybody push and pull, from wherever the address can be reached
    #[arg(long, conflicts_with = "htpasswd")]
    anonymous: bool,
    /// Let only these users in: a file with their passwords, as "htpasswd -B" writes it
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,
    /// Let everybody pull, and only users push
    #[arg(long, requires = "htpasswd", conflicts_with = "access")]
    anonymous_pull: bool,
    /// Let users do only what these rules say: a file with lines such as "alice pull,push team/**"
    #[arg(long, value_name = "FILE", requires = "htpasswd")]
    access: Option<PathBuf>,
    /// Sign tokens with this key of 32 bytes or more, so that several replicas take each other's
    #[arg(long, value_name = "FILE", requires = "htpasswd")]
    token_key: Option<PathBuf>,
    /// How clients reach the registry, if that is through a proxy: it tells them where tokens are
    #[arg(long, value_name = "URL", requires = "htpasswd")]
    public_url: Option<String>,

    /// Speak TLS with this certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "TLS")]
    tls_cert: Option<PathBuf>,
    /// The key of the certificate, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_key: Option<PathBuf>,
    /// Let only clients in that have a certificate from one of these authorities, in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "TLS")]
    tls_client_ca: Option<PathBuf>,
}

impl AccessArgs {
    /// Refuses to let strangers write without having been told to.
    pub(super) fn check_address(&self, address: SocketAddr, is_read_only: bool) -> Result<(), Error> {
        let is_guarded = self.anonymous || is_read_only || self.htpasswd.is_some();
        if address.ip().is_loopback() || is_guarded {
            return Ok(());
        }
        let message = format!("{address} can be reached from other machines, and anybody could push there");
        Err(Error::usage(message).hint("--htpasswd FILE lets only users in; add --anonymous if anybody may push"))
    }

    pub(super) fn auth(&self) -> Result<Option<Auth>, Error> {
        let Some(htpasswd) = &self.htpasswd else { return Ok(None) };
        let mut auth = Auth::htpasswd(htpasswd)?;
        if self.anonymous_pull {
            auth = auth.rules(Rules::for_users_and_anonymous_pull());
        }
        if let Some(access) = &self.access {
            auth = auth.rules_in(access)?;
        }
        if let Some(key) = &self.token_key {
            auth = auth.token_key(TokenKey::read(key)?);
        }
        if let Some(url) = &self.public_url {
            auth = auth.public_url(url).map_err(|error| Error::usage(format!("--public-url: {error}")))?;
        }
        Ok(Some(auth))
    }

    pub(super) fn tls(&self) -> Result<Option<Tls>, Error> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(Tls::new(certificate, key, self.tls_client_ca.clone())?)),
            _ => Ok(None),
        }
    }
}

impl From<FileError> for Error {
    fn from(error: FileError) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self { hint, ..Self::new(Exit::Local, error) }
    }
}
