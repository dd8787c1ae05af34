//! The names of upload sessions.

use std::fmt;
use std::io;
use std::str::FromStr;

/// The name of an upload session: 128 random bits, so that nobody guesses somebody else's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(String);

/// A string that is no name of an upload session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no upload session is called {0:?}")]
pub struct InvalidSession(String);

impl SessionId {
    /// A name that no session has.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn random() -> io::Result<Self> {
        random_name().map(Self)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionId {
    type Err = InvalidSession;

    /// Strict, because the name becomes that of a file.
    fn from_str(text: &str) -> Result<Self, InvalidSession> {
        if is_random_name(text) { Ok(Self(text.to_owned())) } else { Err(InvalidSession(text.to_owned())) }
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

/// Whether this could have come from [`random_name`].
pub(super) fn is_random_name(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}
