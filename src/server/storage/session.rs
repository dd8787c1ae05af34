//! The names of upload sessions.

use std::fmt;
use std::io;
use std::str::FromStr;

/// The name of an upload session: a random UUID (RFC 9562, version 4), as distribution-spec v1.1.1, "Pushing blobs",
/// suggests. 122 of its bits are random, so that nobody guesses somebody else's.
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
        let bits = random_bits()? & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
        let digits = format!("{bits:032x}");
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Ok(Self(parts.join("-")))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for SessionId {
    type Err = InvalidSession;

    /// Strict, because the name becomes that of a file: nothing but what [`random`](Self::random) makes.
    fn from_str(text: &str) -> Result<Self, InvalidSession> {
        let is_right = |(at, byte): (usize, u8)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            14 => byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        let is_session = text.len() == 36 && text.bytes().enumerate().all(is_right);
        if is_session { Ok(Self(text.to_owned())) } else { Err(InvalidSession(text.to_owned())) }
    }
}

/// 128 random bits in hexadecimal.
pub(super) fn random_name() -> io::Result<String> {
    Ok(format!("{:032x}", random_bits()?))
}

fn random_bits() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(u128::from_be_bytes(bytes))
}

/// Whether this could have come from [`random_name`].
pub(super) fn is_random_name(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_have_been_made_here_is_a_session() {
        for _ in 0..100 {
            let session = SessionId::random().unwrap();
            assert_eq!(session.to_string().parse(), Ok(session));
        }
        assert!("01234567-89ab-4def-8123-456789abcdef".parse::<SessionId>().is_ok());
        for bad in [
            "",
            "0123456789abcdef0123456789abcdef",
            "01234567-89ab-1def-8123-456789abcdef",
            "01234567-89ab-4def-c123-456789abcdef",
            "01234567-89AB-4DEF-8123-456789ABCDEF",
            "01234567-89ab-4def-8123-456789abcdeg",
            "012345678-9ab-4def-8123-456789abcdef",
            "01234567-89ab-4def-8123-456789abcdef0",
            "../../../../../../../4../8../../../..",
            "01234567-89ab-4def-8123-456789abcdé",
        ] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad}");
        }
    }
}
