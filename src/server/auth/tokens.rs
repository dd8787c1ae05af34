//! Tokens: what somebody may do for a few minutes, signed, so that nothing needs to be kept about it.
//!
//! They are JSON Web Tokens (RFC 7519) with HMAC-SHA256, as the field's are. Only this registry reads them, and it takes
//! none but its own: their header is compared as a whole, so that there is no algorithm to choose, and nothing is parsed
//! that is not signed.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use ring::hmac;
use serde::{Deserialize, Serialize};

use crate::protocol::Scope;
use crate::server::watched::{self, FileError};

/// How long a token is good. A client that is busy for longer gets another.
pub(super) const LIFE: Duration = Duration::from_mins(5);
/// How many bytes a key has at least.
const MIN_KEY: usize = 32;
/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

/// What says the time.
pub(super) type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// A key that tokens are signed with.
#[derive(Clone)]
pub struct TokenKey(hmac::Key);

impl TokenKey {
    /// A key of this process alone.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0; MIN_KEY];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, &bytes)))
    }

    /// The key in a file, which several replicas share: at least 32 bytes of any kind, without white space around them.
    ///
    /// # Errors
    /// When it cannot be read, or is shorter.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let path = path.as_ref();
        let content = watched::read(path)?;
        let key = content.trim_ascii();
        if key.len() < MIN_KEY {
            return Err(FileError::new(
                path,
                format!("a key has at least {MIN_KEY} bytes, and this has {}", key.len()),
            )
            .with_hint("openssl rand -base64 32 makes one"));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, key)))
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    /// Whose it is; nobody's in particular, if there is no name.
    pub(super) user: Option<String>,
    pub(super) scopes: Vec<Scope>,
}

/// The same as it is signed (RFC 7519, section 4.1; `scope` is that of RFC 8693).
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    aud: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    scope: String,
    iat: u64,
    exp: u64,
}

/// Why a token is not taken. Clients hear no more than that, and ask for another.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct InvalidToken;

/// Makes tokens, and reads those it made.
pub(super) struct Tokens {
    pub(super) key: TokenKey,
    /// The registry that they are for.
    pub(super) service: String,
}

impl Tokens {
    /// A token for this grant, made at `now`.
    pub(super) fn issue(&self, grant: &Grant, now: SystemTime) -> String {
        let scopes: Vec<_> = grant.scopes.iter().map(ToString::to_string).collect();
        let claims = Claims {
            aud: self.service.clone(),
            sub: grant.user.clone(),
            scope: scopes.join(" "),
            iat: seconds(now),
            exp: seconds(now + LIFE),
        };
        // Claims are always JSON.
        let claims = serde_json::to_vec(&claims).unwrap_or_default();
        let signed = format!("{HEADER}.{}", BASE64.encode(claims));
        let signature = hmac::sign(&self.key.0, signed.as_bytes());
        format!("{signed}.{}", BASE64.encode(signature))
    }

    /// What a token says, if it is from here and not over at `now`.
    pub(super) fn read(&self, token: &str, now: SystemTime) -> Result<Grant, InvalidToken> {
        let (signed, signature) = token.rsplit_once('.').ok_or(InvalidToken)?;
        let claims = signed.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('.')).ok_or(InvalidToken)?;
        let signature = BASE64.decode(signature).map_err(|_| InvalidToken)?;
        hmac::verify(&self.key.0, signed.as_bytes(), &signature).map_err(|_| InvalidToken)?;
        let claims = BASE64.decode(claims).map_err(|_| InvalidToken)?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| InvalidToken)?;
        if claims.aud != self.service || seconds(now) >= claims.exp {
            return Err(InvalidToken);
        }
        Ok(Grant { user: claims.sub, scopes: claims.scope.split(' ').filter_map(Scope::parse).collect() })
    }
}

/// Since 1970; a time before that is none that a token could have.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Duration = Duration::from_hours(500_000);

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + NOW
    }

    fn tokens(service: &str) -> Tokens {
        let key = TokenKey(hmac::Key::new(hmac::HMAC_SHA256, &[7; 32]));
        Tokens { key, service: service.to_owned() }
    }

    fn grant() -> Grant {
        let scopes = ["repository:team/app:pull,push", "registry:catalog:*"];
        Grant { user: Some("alice".into()), scopes: scopes.into_iter().filter_map(Scope::parse).collect() }
    }

    #[test]
    fn a_token_says_what_it_was_made_for_until_it_is_over() {
        let tokens = tokens("here");
        for grant in [grant(), Grant { user: None, scopes: vec![] }] {
            let token = tokens.issue(&grant, now());
            assert_eq!(tokens.read(&token, now()), Ok(grant.clone()));
            assert_eq!(tokens.read(&token, now() + LIFE - Duration::from_secs(1)), Ok(grant));
            assert_eq!(tokens.read(&token, now() + LIFE), Err(InvalidToken));
        }
    }

    #[test]
    fn tokens_of_others_are_none() {
        let token = tokens("here").issue(&grant(), now());
        assert_eq!(tokens("there").read(&token, now()), Err(InvalidToken), "for another registry");
        let stranger = Tokens { key: TokenKey::random().unwrap(), ..tokens("here") };
        assert_eq!(stranger.read(&token, now()), Err(InvalidToken), "of another key");
    }

    #[test]
    fn the_header_is_ours_or_nobodys() {
        let tokens = tokens("here");
        let claims = tokens.issue(&grant(), now()).split('.').nth(1).unwrap().to_owned();
        assert_eq!(BASE64.decode(HEADER).unwrap(), br#"{"alg":"HS256","typ":"JWT"}"#);
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"HS512","typ":"JWT"}"#, r#"{"typ":"JWT","alg":"HS256"}"#, ""] {
            let signed = format!("{}.{claims}", BASE64.encode(header));
            let signature = BASE64.encode(hmac::sign(&tokens.key.0, signed.as_bytes()));
            for token in [format!("{signed}.{signature}"), format!("{signed}."), signed] {
                assert_eq!(tokens.read(&token, now()), Err(InvalidToken), "{token}");
            }
        }
    }

    #[test]
    fn short_keys_are_refused_and_white_space_around_them_is_none() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("key");
        std::fs::write(&path, "x".repeat(31) + "\n").unwrap();
        let error = TokenKey::read(&path).unwrap_err();
        assert!(error.to_string().contains("and this has 31") && error.hint().is_some(), "{error}");
        let [one, two] = ["", "\n"].map(|end| {
            std::fs::write(&path, "x".repeat(32) + end).unwrap();
            Tokens { key: TokenKey::read(&path).unwrap(), service: String::new() }
        });
        assert_eq!(two.read(&one.issue(&grant(), now()), now()), Ok(grant()));
        assert_eq!(format!("{:?}", one.key), "***");
    }

    proptest! {
        #[test]
        fn no_token_with_one_other_character_is_taken(at in 0_usize..200, to in "[A-Za-z0-9._=-]") {
            let tokens = tokens("here");
            let token = tokens.issue(&grant(), now());
            let at = at % token.len();
            prop_assume!(token[at..=at] != to);
            let tampered = format!("{}{to}{}", &token[..at], &token[at + 1..]);
            prop_assert_eq!(tokens.read(&tampered, now()), Err(InvalidToken));
        }

        #[test]
        fn no_token_is_too_strange(text in "([A-Za-z0-9_-]{0,10}\\.){0,4}.{0,10}") {
            prop_assert_eq!(tokens("here").read(&text, now()), Err(InvalidToken));
            prop_assert_eq!(tokens("here").read(&format!("{HEADER}.{text}"), now()), Err(InvalidToken));
        }
    }
}
