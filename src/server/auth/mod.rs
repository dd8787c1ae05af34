//! Who may do what: passwords, rules, tokens.
//!
//! Someone logs in with a user name and a password, either with each request or once at [`TOKEN_PATH`], for a token that
//! is good for a few minutes. Rules say what each user, and everybody, may do where. The rest of the server asks the
//! [`Caller`] of a request, and knows nothing of all this.

mod caller;
mod checks;
mod passwords;
mod rules;
mod service;
mod tokens;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, Uri};

use super::answer::{self, Problem};
use super::hosts;
use super::watched::{self, FileError, Watched};
use crate::protocol::{ErrorCode, Secret};
use crate::reference::Registry;

pub(super) use caller::{Caller, basic_challenge};
use caller::{Door, Identity, Proof};
use checks::{Busy, Checks, Login};
pub use passwords::Passwords;
pub use rules::Rules;
pub use tokens::TokenKey;
use tokens::{Clock, Tokens};

/// Where tokens are.
pub(super) const TOKEN_PATH: &str = "/token";
/// What a registry is called in tokens, unless it has a URL of its own.
const SERVICE: &str = "bndlr";

/// Who may do what in a registry. All users may do everything, unless there are [rules](Self::rules).
///
/// ```
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use bndlr::server::{Auth, Passwords, Registry, Rules, Server, storage::Memory};
///
/// let passwords = Passwords::parse("alice:$2y$04$U8Qe0GX6VZc3r5YTtP.5ieHvc5gHVGCm5Zq1fEKjniKWk5A3bEbh.")?;
/// let rules = Rules::parse("alice pull,push team/**\nanonymous pull public/**")?;
/// let registry = Registry::new(Memory::new()).auth(Auth::new(passwords)?.rules(rules));
/// let running = Server::bind("127.0.0.1:0".parse()?, registry).await?.spawn();
/// # Ok(())
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
/// ```
pub struct Auth {
    passwords: Watched<Passwords>,
    rules: Watched<Rules>,
    checks: Checks,
    tokens: Tokens,
    public_url: Option<String>,
    clock: Clock,
}

/// Why a text is no URL of a registry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the URL of a registry: expected https://host[:port] or http://host[:port], and no path")]
pub struct InvalidUrl(String);

impl Auth {
    /// With these users.
    ///
    /// # Errors
    /// When the operating system has no random numbers.
    pub fn new(passwords: Passwords) -> std::io::Result<Self> {
        Self::over(Watched::fixed(passwords))
    }

    /// With the users in a file that `htpasswd -B` wrote. It is read again when it changes; if it cannot be used then,
    /// the log says so, and the users stay who they were.
    ///
    /// # Errors
    /// When the file cannot be used, or the operating system has no random numbers.
    pub fn htpasswd(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = path.into();
        let file = path.clone();
        let parse =
            move || Passwords::parse(&watched::read_text(&file)?).map_err(|error| FileError::line(&file, error));
        let passwords = Watched::new(vec![path.clone()], parse)?;
        Self::over(passwords).map_err(|error| FileError::new(&path, error))
    }

    fn over(passwords: Watched<Passwords>) -> std::io::Result<Self> {
        Ok(Self {
            passwords,
            rules: Watched::fixed(Rules::for_users()),
            checks: Checks::new()?,
            tokens: Tokens { key: TokenKey::random()?, service: SERVICE.to_owned() },
            public_url: None,
            clock: Arc::new(SystemTime::now),
        })
    }

    /// With these rules instead of any others.
    #[must_use]
    pub fn rules(self, rules: Rules) -> Self {
        Self { rules: Watched::fixed(rules), ..self }
    }

    /// With the rules in a file instead of any others. It is read again when it changes, as the users are.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn rules_in(self, path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = path.into();
        let file = path.clone();
        let parse = move || Rules::parse(&watched::read_text(&file)?).map_err(|error| FileError::line(&file, error));
        Ok(Self { rules: Watched::new(vec![path], parse)?, ..self })
    }

    /// Signs tokens with this key instead of one of its own, so that replicas take each other's.
    #[must_use]
    pub fn token_key(mut self, key: TokenKey) -> Self {
        self.tokens.key = key;
        self
    }

    /// Says how clients reach this registry, for one behind a proxy: `https://host[:port]`. Without it, `Host` and
    /// whether the connection has TLS say where tokens are. Tokens are good for this URL only.
    ///
    /// # Errors
    /// When it is no such URL.
    pub fn public_url(mut self, url: &str) -> Result<Self, InvalidUrl> {
        let text = url.strip_suffix('/').unwrap_or(url);
        let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = host.and_then(|host| host.parse::<Registry>().ok()).ok_or_else(|| InvalidUrl(url.to_owned()))?;
        host.as_str().clone_into(&mut self.tokens.service);
        self.public_url = Some(text.to_owned());
        Ok(self)
    }

    /// Asks `clock` for the time instead of the system: for tests of what happens when tokens end.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Who sent a request with this target and these headers, on a connection that has TLS or not.
    pub(super) async fn caller(&self, uri: &Uri, headers: &HeaderMap, is_secure: bool) -> answer::Result<Caller> {
        let door = Door { realm: self.realm(uri, headers, is_secure), service: self.tokens.service.clone() };
        let (user, proof) = match authorization(headers) {
            Authorization::Missing => (None, Proof::Nothing),
            Authorization::Basic(login) => {
                if !self.is_right(&login).await? {
                    return Err(door.wrong());
                }
                (Some(login.user), Proof::Password)
            }
            Authorization::Bearer(token) => {
                let grant = self.tokens.read(token, (self.clock)()).map_err(|_| door.renew())?;
                // Who is no user any more has no token any more.
                if grant.user.as_ref().is_some_and(|user| !self.passwords.current().has(user)) {
                    return Err(door.renew());
                }
                (grant.user, Proof::Token(grant.scopes))
            }
            Authorization::Other => return Err(door.wrong()),
        };
        Ok(Caller::known(Identity { user, proof, rules: self.rules.current(), door }))
    }

    async fn is_right(&self, login: &Login) -> answer::Result<bool> {
        let passwords = self.passwords.current();
        self.checks.check(&passwords, login, (self.clock)()).await.map_err(|Busy| {
            let message = "too many are logging in at once: try again later";
            Problem::new(ErrorCode::TooManyRequests, message).with_header(RETRY_AFTER, 1)
        })
    }

    /// What clients call this registry, if that was said.
    pub(super) fn public_host(&self) -> Option<&str> {
        self.public_url.as_ref().map(|_| &*self.tokens.service)
    }

    /// The URL of [`TOKEN_PATH`] as the client can reach it.
    fn realm(&self, uri: &Uri, headers: &HeaderMap, is_secure: bool) -> Option<String> {
        if let Some(url) = &self.public_url {
            return Some(format!("{url}{TOKEN_PATH}"));
        }
        let host = hosts::named(uri, headers)?;
        let scheme = if is_secure { "https" } else { "http" };
        Some(format!("{scheme}://{host}{TOKEN_PATH}"))
    }
}

/// What a request says about its caller.
enum Authorization<'a> {
    Missing,
    Basic(Login),
    Bearer(&'a str),
    /// What is not understood.
    Other,
}

fn authorization(headers: &HeaderMap) -> Authorization<'_> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let Some(header) = all.next() else { return Authorization::Missing };
    let words = header.to_str().ok().and_then(|header| header.trim().split_once(' '));
    match (words, all.next()) {
        (Some((scheme, rest)), None) if scheme.eq_ignore_ascii_case("bearer") => Authorization::Bearer(rest.trim()),
        (Some((scheme, rest)), None) if scheme.eq_ignore_ascii_case("basic") => {
            basic(rest.trim()).map_or(Authorization::Other, Authorization::Basic)
        }
        _ => Authorization::Other,
    }
}

/// `user:password` in base64 (RFC 7617).
fn basic(encoded: &str) -> Option<Login> {
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded).ok()?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some(Login { user: user.to_owned(), password: Secret::new(password) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::HOST;
    use proptest::prelude::*;

    fn auth() -> Auth {
        Auth::new(Passwords::default()).unwrap()
    }

    fn realm(auth: &Auth, target: &str, host: Option<&str>, is_secure: bool) -> Option<String> {
        let headers = host.into_iter().map(|host| (HOST, host.parse().unwrap())).collect();
        auth.realm(&target.parse().unwrap(), &headers, is_secure)
    }

    #[test]
    fn tokens_are_where_the_client_reached_the_registry_or_where_it_is_said_to_be() {
        let own = auth();
        for (target, host, is_secure, expected) in [
            ("/v2/", Some("localhost:5000"), false, Some("http://localhost:5000/token")),
            ("/v2/", Some("registry.test"), true, Some("https://registry.test/token")),
            ("http://registry.test:1/v2/", None, true, Some("https://registry.test:1/token")),
            ("/v2/", Some("[::1]:5000"), false, Some("http://[::1]:5000/token")),
            ("/v2/", Some("a\"b"), false, None),
            ("/v2/", Some("user@evil"), false, None),
            ("/v2/", None, false, None),
        ] {
            assert_eq!(realm(&own, target, host, is_secure).as_deref(), expected, "{target} {host:?}");
        }
        let public = auth().public_url("https://registry.test/").unwrap();
        let found = realm(&public, "/v2/", Some("10.0.0.1:5000"), false);
        assert_eq!(found.as_deref(), Some("https://registry.test/token"));
        assert_eq!(public.tokens.service, "registry.test");
        for bad in ["registry.test", "ftp://registry.test", "https://", "https://a/b", "https://u:p@a", "https://a?b"] {
            assert!(auth().public_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_one_authorization_that_is_understood_counts() {
        let read = |values: &[&str]| {
            let headers = values.iter().map(|value| (AUTHORIZATION, value.parse().unwrap())).collect();
            match authorization(&headers) {
                Authorization::Missing => "missing".to_owned(),
                Authorization::Basic(login) => format!("{}/{}", login.user, login.password.expose()),
                Authorization::Bearer(token) => token.to_owned(),
                Authorization::Other => "other".to_owned(),
            }
        };
        // alice:se:cret
        for (values, expected) in [
            (&[][..], "missing"),
            (&["Basic YWxpY2U6c2U6Y3JldA=="], "alice/se:cret"),
            (&["basic  YWxpY2U6c2U6Y3JldA=="], "alice/se:cret"),
            (&["Bearer a.b.c"], "a.b.c"),
            (&["Bearer a", "Bearer a"], "other"),
            (&["Basic YWxpY2U="], "other"),
            (&["Basic !"], "other"),
            (&["Negotiate x"], "other"),
            (&["Basic"], "other"),
        ] {
            assert_eq!(read(values), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn no_authorization_is_too_strange(value in "(Basic |Bearer )?[ -~]{0,40}") {
            let headers = [(AUTHORIZATION, value.parse().unwrap())].into_iter().collect();
            let _ = authorization(&headers);
        }
    }
}
