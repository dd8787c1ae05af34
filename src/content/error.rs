//! The one error of sources and targets: what each room's own error becomes on its way through `copy`.

use std::error::Error as StdError;
use std::fmt;

/// What kind of failure it is: what a caller can act on, and what decides the exit code of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is nothing of that name.
    NotFound,
    /// Who asks is not known, or may not do this.
    Denied,
    /// Content is not what it should be, or not safe.
    Content,
    /// The network or the registry failed.
    Remote,
    /// Something else is there already.
    Conflict,
    /// A file, a directory or the disk of this machine failed.
    Local,
}

/// Why a source or a target failed.
pub struct Error {
    kind: ErrorKind,
    source: Box<dyn StdError + Send + Sync>,
    hint: Option<String>,
    is_lacking: bool,
}

impl Error {
    /// An error of this kind; `source` says what happened, naming the object.
    pub fn new(kind: ErrorKind, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { kind, source: source.into(), hint: None, is_lacking: false }
    }

    /// [`ErrorKind::NotFound`], in these words.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message.into())
    }

    /// [`ErrorKind::Local`]: what was tried (`read config.json`), and why it failed.
    pub fn local(what: impl fmt::Display, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Local, LocalError { what: what.to_string(), source })
    }

    /// Adds what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that a manifest was refused, perhaps because something that it names is not there.
    #[must_use]
    pub fn lacking(mut self) -> Self {
        self.is_lacking = true;
        self
    }

    /// Whether a manifest was refused, perhaps because something that it names is not there.
    #[must_use]
    pub fn is_lacking(&self) -> bool {
        self.is_lacking
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What the user can do.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
struct LocalError {
    what: String,
    source: std::io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.source)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.source()
    }
}
