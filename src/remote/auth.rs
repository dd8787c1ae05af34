//! Who asks: what a registry wants to know before it answers, and what it may be told.
//!
//! Nothing is sent that was not asked for. Credentials go to the registry that they belong to, and to the token service
//! that this registry itself names; how they are kept from other origins on redirects is `transport`'s to see to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::HeaderValue;
use reqwest::{StatusCode, Url};
use tokio::sync::OnceCell;

use crate::protocol::{Action, Actions, Challenge, Scope};
use crate::reference::Registry;

use super::Error;
use super::credentials::{Credentials, Found, Login};
use super::token::{Token, TokenService};
use super::transport::{Transport, is_loopback};

/// How a registry wants to be told.
#[derive(Clone)]
enum Scheme {
    Basic,
    Bearer(TokenService),
}

/// A token, once there is one. Who needs it while it is fetched waits for it.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

/// What one registry has asked for, and what it was told.
pub(super) struct Authenticator {
    registry: Registry,
    base: Url,
    credentials: Credentials,
    /// Whether the user has said that plain HTTP will do.
    plain_http: bool,
    found: OnceCell<Found>,
    scheme: Mutex<Option<Scheme>>,
    tokens: Mutex<HashMap<Scope, Slot>>,
}

impl Authenticator {
    pub(super) fn new(registry: Registry, base: Url, credentials: Credentials, plain_http: bool) -> Self {
        Self {
            registry,
            base,
            credentials,
            plain_http,
            found: OnceCell::new(),
            scheme: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// What to send with a request, as far as the registry has ever asked for anything.
    pub(super) async fn authorization(
        &self,
        transport: &Transport,
        scope: &Scope,
    ) -> Result<Option<HeaderValue>, Error> {
        self.answer(transport, scope, None).await
    }

    /// What to send after the registry has refused a request that came with `refused`: none, if there is nothing else.
    pub(super) async fn take_up(
        &self,
        transport: &Transport,
        challenges: &[Challenge],
        scope: &Scope,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let Some(scheme) = self.choose(challenges)? else { return Ok(None) };
        *lock(&self.scheme) = Some(scheme);
        let authorization = self.answer(transport, scope, refused).await?;
        Ok(authorization.filter(|authorization| Some(authorization) != refused))
    }

    /// What the user can do about `status`.
    pub(super) async fn hint(&self, status: StatusCode) -> Option<String> {
        Some(self.found().await.ok()?.hint(&self.registry, status))
    }

    async fn found(&self) -> Result<&Found, Error> {
        self.found.get_or_try_init(|| self.credentials.find(&self.registry)).await
    }

    /// The challenge to take up: a token says less than a password does.
    fn choose(&self, challenges: &[Challenge]) -> Result<Option<Scheme>, Error> {
        let bearer = challenges.iter().find(|challenge| challenge.scheme == "bearer");
        if let Some(challenge) = bearer {
            let service = TokenService::named_by(challenge).map_err(|what| self.error(what, None))?;
            return Ok(Some(Scheme::Bearer(service)));
        }
        if challenges.iter().any(|challenge| challenge.scheme == "basic") {
            return Ok(Some(Scheme::Basic));
        }
        match challenges.first() {
            Some(unknown) => {
                let what = format!("wants to know who asks in a way that is not known here ({})", unknown.scheme);
                Err(self.error(what, None))
            }
            None => Ok(None),
        }
    }

    async fn answer(
        &self,
        transport: &Transport,
        scope: &Scope,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let scheme = lock(&self.scheme).clone();
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => self.found().await?.login.as_ref().map(|login| self.basic(login)).transpose(),
            Some(Scheme::Bearer(service)) => self.token(transport, &service, scope, refused).await.map(Some),
        }
    }

    fn basic(&self, login: &Login) -> Result<HeaderValue, Error> {
        let pair = format!("{}:{}", login.username, login.password.expose());
        let value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)));
        let mut value = value.map_err(|_| self.error("cannot be told who asks".to_owned(), None))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// The token for `scope`: the one there is, unless it is old or the one refused, else a new one.
    async fn token(
        &self,
        transport: &Transport,
        service: &TokenService,
        scope: &Scope,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Error> {
        let (scope, slot) = self.slot(scope);
        let mut token = slot.lock().await;
        if let Some(token) = token.as_ref().filter(|token| token.is_fresh() && Some(token.header()) != refused) {
            return Ok(token.header().clone());
        }
        let login = self.found().await?.login.as_ref();
        let authorization = match login {
            Some(_) if !self.may_tell(service.realm()) => {
                let realm = service.realm().origin().ascii_serialization();
                let what = format!("sends its users to a token service on plain HTTP ({realm})");
                return Err(self.error(what, Some("credentials are not sent there".to_owned())));
            }
            login => login.map(|login| self.basic(login)).transpose()?,
        };
        let fetched = service.fetch(transport, &scope, authorization.as_ref()).await;
        let fetched = match fetched {
            Err(Error::Refused(refusal))
                if matches!(refusal.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                let hint = self.hint(StatusCode::UNAUTHORIZED).await;
                return Err(refusal.with_hint(hint).into());
            }
            fetched => fetched?,
        };
        Ok(token.insert(fetched).header().clone())
    }

    /// Where the token for `scope` is kept. A token for pushing, if one is there or under way, does for pulling, too.
    fn slot(&self, scope: &Scope) -> (Scope, Slot) {
        let mut tokens = lock(&self.tokens);
        let scope = Some(wider(scope)).filter(|wider| tokens.contains_key(wider)).unwrap_or_else(|| scope.clone());
        let slot = Arc::clone(tokens.entry(scope.clone()).or_default());
        (scope, slot)
    }

    /// Whether the token service may be told the credentials: over TLS, or as openly as the registry itself is talked
    /// to, because that is on this machine or because the user said so.
    fn may_tell(&self, realm: &Url) -> bool {
        realm.scheme() == "https" || self.base.scheme() == "http" && (self.plain_http || is_loopback(realm))
    }

    fn error(&self, what: String, hint: Option<String>) -> Error {
        Error::Challenge { registry: self.registry.to_string(), what, hint }
    }
}

/// The scope that allows to push, as well.
fn wider(scope: &Scope) -> Scope {
    match scope {
        Scope::Repository(name, actions) => Scope::Repository(name.clone(), *actions | Actions::from(Action::Push)),
        Scope::Catalog => Scope::Catalog,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each holder does a single assignment or look-up, so that a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may_tell(base: &str, plain_http: bool, realm: &str) -> bool {
        let base = Url::parse(base).unwrap();
        let authenticator = Authenticator::new("h.io".parse().unwrap(), base, Credentials::none(), plain_http);
        authenticator.may_tell(&Url::parse(realm).unwrap())
    }

    #[test]
    fn a_token_service_is_told_credentials_only_where_nobody_can_listen() {
        assert!(may_tell("https://h.io/", false, "https://auth.example/token"));
        assert!(may_tell("http://localhost:5000/", false, "http://127.0.0.1:5001/token"));
        assert!(may_tell("http://localhost:5000/", false, "http://[::1]:5001/token"));
        assert!(may_tell("http://h.io/", true, "http://auth.h.io/token"));
        assert!(!may_tell("https://h.io/", false, "http://auth.h.io/token"));
        assert!(!may_tell("https://localhost/", false, "http://localhost/token"));
        assert!(!may_tell("http://localhost:5000/", false, "http://auth.example/token"));
        assert!(!may_tell("http://localhost:5000/", false, "http://localhost.example/token"));
    }

    #[test]
    fn a_token_is_asked_for_before_a_password_is_told() {
        let authenticator = Authenticator::new(
            "h.io".parse().unwrap(),
            Url::parse("https://h.io").unwrap(),
            Credentials::none(),
            false,
        );
        let choose = |header: &str| authenticator.choose(&Challenge::parse_all(header));
        let both = choose(r#"Basic realm="x", Bearer realm="https://a.io/token",service="s""#);
        assert!(matches!(both, Ok(Some(Scheme::Bearer(_)))));
        assert!(matches!(choose("Negotiate, Basic"), Ok(Some(Scheme::Basic))));
        assert!(matches!(choose(""), Ok(None)));
        assert!(choose("Negotiate abc").is_err_and(|error| error.to_string().contains("(negotiate)")));
        for bearer in
            ["Bearer", "Bearer realm=token", r#"Bearer realm="file:///etc/passwd""#, r#"Bearer realm="/token""#]
        {
            assert!(choose(bearer).is_err(), "{bearer}");
        }
    }
}
