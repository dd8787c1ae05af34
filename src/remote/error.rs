//! What goes wrong with a registry, in words that name the request, and what the user can do about it.

use std::path::PathBuf;
use std::time::Duration;

use crate::content::{self, ErrorKind};
use crate::digest::Digest;
use crate::manifest::Invalid;
use crate::reference::Tag;
use crate::text::seconds;

use super::network::Network;
use super::refusal::Refusal;

/// Why something that concerns a registry failed. A request is named as `GET host/path`, without its query.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The registry answered, and said no.
    #[error(transparent)]
    Refused(Box<Refusal>),
    /// No answer came, or not the whole of it.
    #[error("{request}: {network}")]
    Network {
        /// The request.
        request: String,
        /// Why.
        network: Network,
    },
    /// Nothing moved for too long.
    #[error("{request}: nothing came for {}", seconds(*after))]
    Stalled {
        /// The request.
        request: String,
        /// How long.
        after: Duration,
        /// What the user can do.
        hint: Option<String>,
    },
    /// An answer is not what the specification makes it.
    #[error("{request}: {what}")]
    Answer {
        /// The request.
        request: String,
        /// What is wrong with it.
        what: String,
        /// What the user can do.
        hint: Option<String>,
    },
    /// What came is not what was asked for.
    #[error("{request}: {what}")]
    Content {
        /// The request.
        request: String,
        /// How they differ.
        what: String,
    },
    /// What came is no manifest.
    #[error("{request}: {source}")]
    Manifest {
        /// The request.
        request: String,
        /// Why not.
        source: Invalid,
    },
    /// A manifest is gone, and the list of referrers that clients keep has it still.
    #[error("{digest} is deleted, but still listed as a referrer under {tag}: {source}")]
    StillListed {
        /// The manifest.
        digest: Digest,
        /// The tag of the list.
        tag: Tag,
        /// Why the list could not be changed.
        source: Box<Error>,
    },
    /// What was to be uploaded could not be read.
    #[error(transparent)]
    Source(#[from] content::Error),
    /// The registry asks for a log-in in a way that cannot or must not be followed.
    #[error("{registry} {what}")]
    Challenge {
        /// The registry.
        registry: String,
        /// What it asks for.
        what: String,
        /// What the user can do.
        hint: Option<String>,
    },
    /// The file with the credentials cannot be used.
    #[error("cannot use the credentials in {path}: {why}")]
    Credentials {
        /// The file.
        path: PathBuf,
        /// Why not; never with a part of its contents.
        why: String,
    },
    /// A program that keeps credentials does not do what it is there for.
    #[error("{program} {what}")]
    Program {
        /// The program.
        program: String,
        /// What it does instead; never a secret that it keeps.
        what: String,
    },
    /// There is no file to store credentials in.
    #[error("there is no place to store credentials in")]
    NoPlace,
    /// A file with certificates or a key cannot be used.
    #[error("cannot read certificates from {path}: {why}")]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// A variable of the environment, by its name, does not say which proxy to use.
    #[error("{0} does not name a proxy")]
    Proxy(String),
    /// No HTTP client could be made.
    #[error("cannot set up HTTP and TLS: {0}")]
    Tls(String),
    /// The registry's name is good for a reference, and not for a URL.
    #[error("registry {0:?} is not a host that a URL can name")]
    Registry(String),
}

impl Error {
    pub(super) fn answer(request: &str, what: impl Into<String>) -> Self {
        Self::Answer { request: request.to_owned(), what: what.into(), hint: None }
    }

    pub(super) fn content(request: &str, what: impl Into<String>) -> Self {
        Self::Content { request: request.to_owned(), what: what.into() }
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Network { .. } | Self::Stalled { .. } | Self::Answer { .. } => ErrorKind::Remote,
            Self::Content { .. } | Self::Manifest { .. } => ErrorKind::Content,
            Self::StillListed { source, .. } => source.kind(),
            Self::Source(error) => error.kind(),
            Self::Challenge { .. } => ErrorKind::Denied,
            Self::Credentials { .. }
            | Self::Program { .. }
            | Self::NoPlace
            | Self::CaFile { .. }
            | Self::Proxy(_)
            | Self::Tls(_)
            | Self::Registry(_) => ErrorKind::Local,
        }
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) => refusal.hint(),
            Self::Network { network, .. } => network.hint(),
            Self::Stalled { hint, .. } | Self::Answer { hint, .. } | Self::Challenge { hint, .. } => hint.as_deref(),
            Self::StillListed { source, .. } => source.hint(),
            Self::Source(error) => error.hint(),
            Self::Program { .. } => Some("the configuration file names it: is it installed, and does it work?"),
            Self::Proxy(_) => {
                Some("it has to be a URL: http://, https://, socks5:// or socks5h://, and a host with its port")
            }
            Self::NoPlace => Some("set HOME or DOCKER_CONFIG, or name a file with --registry-config"),
            _ => None,
        }
    }

    /// Whether the same request may well succeed a moment later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Network { network, .. } => network.is_transient(),
            Self::Stalled { .. } => true,
            _ => false,
        }
    }

    /// Whether nobody can have got the request.
    pub(super) fn was_never_sent(&self) -> bool {
        matches!(self, Self::Network { network, .. } if network.was_never_sent())
    }
}

impl From<Error> for content::Error {
    fn from(error: Error) -> Self {
        if let Error::Source(error) = error {
            return error;
        }
        let hint = error.hint().map(str::to_owned);
        let is_lacking = matches!(&error, Error::Refused(refusal) if refusal.is_lacking());
        let error = Self::new(error.kind(), error);
        let error = if is_lacking { error.lacking() } else { error };
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}
