//! Who asks: what a registry wants to know before it answers, and what it may be told.
//!
//! Nothing is sent that was not asked for. Credentials go to the registry that they belong to, and to the token service
//! that this registry itself names; how they are kept from other origins on redirects is `transport`'s to see to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::header::HeaderValue;
use reqwest::{StatusCode, Url};
use tokio::sync::OnceCell;

use crate::protocol::Challenge;
use crate::reference::Registry;

use super::credentials::{Credentials, Found, Known, Login};
use super::token::{Ask, Token, TokenService};
use super::transport::{Transport, is_loopback};
use super::wanted::Wanted;
use super::{Error, Secret};

/// How many scopes a registry may ask for beside those that are known to be needed.
const MAX_BESIDE: usize = 8;

/// How a registry wants to be told.
#[derive(Clone)]
enum Scheme {
    Basic,
    Bearer(TokenService),
}

/// A token, once there is one. Who needs it while it is fetched waits for it.
type Slot = Arc<tokio::sync::Mutex<Held>>;

#[derive(Default)]
struct Held {
    token: Option<Token>,
    /// What the registry asks for beside what is known to be needed.
    beside: Vec<String>,
    /// How many of these the token was asked for.
    asked: usize,
}

/// What one registry has asked for, and what it was told.
pub(super) struct Authenticator {
    registry: Registry,
    base: Url,
    credentials: Credentials,
    /// Whether the user has said that plain HTTP will do.
    plain_http: bool,
    /// Whether an identity token is asked for, too.
    offline: bool,
    known: OnceCell<Known>,
    scheme: Mutex<Option<Scheme>>,
    tokens: Mutex<HashMap<Wanted, Slot>>,
}

impl Authenticator {
    pub(super) fn new(registry: Registry, base: Url, credentials: Credentials, plain_http: bool) -> Self {
        Self {
            registry,
            base,
            credentials,
            plain_http,
            offline: false,
            known: OnceCell::new(),
            scheme: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// The same, asking for an identity token with each token.
    pub(super) fn offline(self) -> Self {
        Self { offline: true, ..self }
    }

    /// What to send with a request, as far as the registry has ever asked for anything.
    pub(super) async fn authorization(
        &self,
        transport: &Transport,
        wanted: &Wanted,
    ) -> Result<Option<HeaderValue>, Error> {
        self.answer(transport, wanted, None).await
    }

    /// What to send after the registry has refused a request that came with `refused`: none, if there is nothing else.
    pub(super) async fn take_up(
        &self,
        transport: &Transport,
        challenges: &[Challenge],
        wanted: &Wanted,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let Some(scheme) = self.choose(challenges)? else { return Ok(None) };
        *lock(&self.scheme) = Some(scheme);
        let authorization = self.answer(transport, wanted, refused).await?;
        Ok(authorization.filter(|authorization| Some(authorization) != refused))
    }

    /// Whether another token for `wanted` may do although the registry has refused `refused`, which is a new one: because
    /// the registry asks for something beside that, as one does that stands before another and knows the repository by
    /// another name. The next token is asked for it, too.
    pub(super) async fn asks_for_more(
        &self,
        challenges: &[Challenge],
        wanted: &Wanted,
        refused: Option<&HeaderValue>,
    ) -> bool {
        let bearer = challenges.iter().find(|challenge| challenge.scheme == "bearer");
        let Some(scopes) = bearer.and_then(|challenge| challenge.parameter("scope")) else { return false };
        let (wanted, slot) = self.slot(wanted);
        let mut held = slot.lock().await;
        let known = wanted.and(&held.beside);
        let new = scopes.split(' ').filter(|scope| !scope.is_empty() && !known.covers(scope));
        let room = MAX_BESIDE.saturating_sub(held.beside.len());
        let new: Vec<_> = new.take(room).map(str::to_owned).collect();
        held.beside.extend(new);
        // Of requests at the same time, the first has said it for all, and may have a token by now.
        held.beside.len() > held.asked || held.token.as_ref().map(Token::header) != refused
    }

    /// What the user can do about `status`.
    pub(super) async fn hint(&self, wanted: &Wanted, status: StatusCode) -> Option<String> {
        Some(self.found(wanted).await.ok()?.hint(&self.registry, status))
    }

    /// Whether the registry has asked who is there.
    pub(super) fn was_asked(&self) -> bool {
        lock(&self.scheme).is_some()
    }

    /// The identity token that came with the token for `wanted`.
    pub(super) async fn identity(&self, wanted: &Wanted) -> Option<Secret> {
        let (_, slot) = self.slot(wanted);
        slot.lock().await.token.as_ref()?.identity().cloned()
    }

    async fn found(&self, wanted: &Wanted) -> Result<Found, Error> {
        let known = self.known.get_or_try_init(|| self.credentials.about(&self.registry)).await?;
        known.find(wanted.repository()).await
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
        wanted: &Wanted,
        refused: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let scheme = lock(&self.scheme).clone();
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => self.basic(wanted).await,
            Some(Scheme::Bearer(service)) => self.token(transport, &service, wanted, refused).await.map(Some),
        }
    }

    async fn basic(&self, wanted: &Wanted) -> Result<Option<HeaderValue>, Error> {
        match self.found(wanted).await?.login {
            Some(login) if login.is_identity_token() => {
                let what = "asks for a password, and what there is for it is an identity token".to_owned();
                Err(self.error(what, Some(format!("log in again: bndlr login {}", self.registry))))
            }
            login => Ok(login.as_ref().map(Login::to_basic)),
        }
    }

    /// The token for `wanted`: the one there is, unless it is old or the one refused, else a new one.
    async fn token(
        &self,
        transport: &Transport,
        service: &TokenService,
        wanted: &Wanted,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Error> {
        let (wanted, slot) = self.slot(wanted);
        let mut held = slot.lock().await;
        if let Some(token) = held.token.as_ref().filter(|token| token.is_fresh() && Some(token.header()) != refused) {
            return Ok(token.header().clone());
        }
        let found = self.found(&wanted).await?;
        if found.login.is_some() {
            self.check_may_tell(service.realm())?;
        }
        let more = wanted.clone().and(&held.beside);
        let ask = Ask { wanted: &more, login: found.login.as_ref(), offline: self.offline };
        let fetched = match service.fetch(transport, &ask).await {
            Err(Error::Refused(refusal))
                if matches!(refusal.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
            {
                let hint = self.hint(&wanted, StatusCode::UNAUTHORIZED).await;
                return Err(refusal.with_hint(hint).into());
            }
            fetched => fetched?,
        };
        held.asked = held.beside.len();
        Ok(held.token.insert(fetched).header().clone())
    }

    /// Where the token for `wanted` is kept. A token for pushing, if one is there or under way, does for pulling, too.
    fn slot(&self, wanted: &Wanted) -> (Wanted, Slot) {
        let mut tokens = lock(&self.tokens);
        let wider = wanted.with_push().filter(|wider| tokens.contains_key(wider));
        let wanted = wider.unwrap_or_else(|| wanted.clone());
        let slot = Arc::clone(tokens.entry(wanted.clone()).or_default());
        (wanted, slot)
    }

    /// Fails if the token service may not be told credentials: if it is not reached over TLS like the registry that names
    /// it, or on this machine like that one, or as openly as the user said that the registry is to be talked to.
    fn check_may_tell(&self, realm: &Url) -> Result<(), Error> {
        let is_tls = |url: &Url| url.scheme() == "https";
        let is_here = !is_tls(&self.base) && is_loopback(&self.base) && is_loopback(realm);
        if is_tls(&self.base) && is_tls(realm) || is_here || !is_tls(&self.base) && self.plain_http {
            return Ok(());
        }
        let service = realm.origin().ascii_serialization();
        let (what, hint) = if is_tls(realm) {
            let what =
                format!("is not talked to over TLS, and sends its users to a token service elsewhere ({service})");
            (what, "credentials are not sent there; --plain-http says that this is meant")
        } else {
            (format!("sends its users to a token service on plain HTTP ({service})"), "credentials are not sent there")
        };
        Err(self.error(what, Some(hint.to_owned())))
    }

    fn error(&self, what: String, hint: Option<String>) -> Error {
        Error::Challenge { registry: self.registry.to_string(), what, hint }
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
        authenticator.check_may_tell(&Url::parse(realm).unwrap()).is_ok()
    }

    #[test]
    fn a_token_service_is_told_credentials_only_where_nobody_can_listen() {
        assert!(may_tell("https://h.io/", false, "https://auth.example/token"));
        assert!(may_tell("http://localhost:5000/", false, "http://127.0.0.1:5001/token"));
        assert!(may_tell("http://localhost:5000/", false, "http://[::1]:5001/token"));
        assert!(may_tell("http://h.io/", true, "http://auth.h.io/token"));
        assert!(may_tell("http://h.io/", true, "https://auth.h.io/token"));
        assert!(may_tell("https://localhost/", false, "https://auth.example/token"));
        // Whoever has the port on this machine could name a service elsewhere.
        assert!(!may_tell("http://localhost:5000/", false, "https://auth.example/token"));
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
