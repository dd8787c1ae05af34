//! Tokens: fetched from the service that a registry names (the token authentication of CNCF Distribution; POST is its
//! "OAuth2").
//!
//! A password goes into a header of a GET, which every service understands; an identity token into the form of a POST,
//! which is where it belongs, and only where that is unknown into a header, too. Whether the service may be told who asks is decided in `auth`.

use std::time::{Duration, Instant};

use http::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::Value;

use crate::protocol::Challenge;

use super::answer::Answer;
use super::credentials::Login;
use super::payload::Payload;
use super::transport::{Call, Transport};
use super::wanted::Wanted;
use super::{Error, Secret};

/// The largest answer of a token service that is read, in bytes.
const MAX_ANSWER_SIZE: u64 = 256 * 1024;
/// How long a token lives if the service does not say, in seconds.
const DEFAULT_LIFE: f64 = 60.0;
/// How much earlier a token is taken for old, in seconds: it has to live until the registry has looked at it.
const MARGIN: f64 = 5.0;
/// What this program is called where a token service wants to know.
const CLIENT: &str = "bndlr";

/// Where tokens for a registry come from.
#[derive(Clone, Debug)]
pub(super) struct TokenService {
    realm: Url,
    service: Option<String>,
}

/// What the registry is shown.
pub(super) struct Token {
    header: HeaderValue,
    expires: Option<Instant>,
    /// What gets another one without the password, if that was asked for.
    identity: Option<Secret>,
}

/// What is asked of a token service.
pub(super) struct Ask<'a> {
    pub(super) wanted: &'a Wanted,
    pub(super) login: Option<&'a Login>,
    /// Whether an identity token would be welcome, too.
    pub(super) offline: bool,
}

#[derive(Deserialize)]
struct Body {
    token: Option<Secret>,
    access_token: Option<Secret>,
    expires_in: Option<Value>,
    refresh_token: Option<Secret>,
}

impl TokenService {
    /// The service that a challenge names.
    ///
    /// # Errors
    /// What is wrong with it, to be said of the registry.
    pub(super) fn named_by(challenge: &Challenge) -> Result<Self, String> {
        let realm = challenge.parameter("realm").ok_or("wants a token and does not say from where")?;
        let mut realm = Url::parse(realm).map_err(|error| format!("names a token service by no URL: {error}"))?;
        if !matches!(realm.scheme(), "http" | "https") {
            return Err(format!("names a token service that is neither http nor https ({}:)", realm.scheme()));
        }
        // Who asks is not the registry's to say. For http and https, neither of these fails.
        let _ = realm.set_username("");
        let _ = realm.set_password(None);
        realm.set_fragment(None);
        Ok(Self { realm, service: challenge.parameter("service").map(str::to_owned) })
    }

    pub(super) fn realm(&self) -> &Url {
        &self.realm
    }

    /// Fetches a token.
    pub(super) async fn fetch(&self, transport: &Transport, ask: &Ask<'_>) -> Result<Token, Error> {
        if let Some(login) = ask.login.filter(|login| login.is_identity_token()) {
            let answer = self.post(transport, ask.wanted, login).await?;
            if !matches!(answer.status(), StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
                return read(answer).await;
            }
        }
        read(self.get(transport, ask).await?).await
    }

    async fn get(&self, transport: &Transport, ask: &Ask<'_>) -> Result<Answer, Error> {
        let mut url = self.realm.clone();
        for scope in ask.wanted.texts() {
            url.query_pairs_mut().append_pair("scope", &scope);
        }
        if let Some(service) = &self.service {
            url.query_pairs_mut().append_pair("service", service);
        }
        if ask.offline {
            url.query_pairs_mut().append_pair("offline_token", "true").append_pair("client_id", CLIENT);
        }
        let authorization = ask.login.map(Login::to_basic);
        transport.send(&Call::new(Method::GET, url), authorization.as_ref()).await
    }

    /// The form goes to the service itself, and to no other host that it might send it on to.
    async fn post(&self, transport: &Transport, wanted: &Wanted, login: &Login) -> Result<Answer, Error> {
        let call = Call::new(Method::POST, self.realm.clone())
            .with_header(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"))
            .with_payload(Payload::Bytes(self.form(wanted, login).into()))
            .confined();
        transport.send(&call, None).await
    }

    fn form(&self, wanted: &Wanted, login: &Login) -> String {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("grant_type", "refresh_token").append_pair("refresh_token", login.password.expose());
        form.append_pair("client_id", CLIENT).append_pair("service", self.service.as_deref().unwrap_or_default());
        let scope = wanted.to_string();
        if !scope.is_empty() {
            form.append_pair("scope", &scope);
        }
        form.finish()
    }
}

/// The token in an answer.
async fn read(answer: Answer) -> Result<Token, Error> {
    let answer = answer.expect(StatusCode::OK).await?;
    answer.reject_web_page()?;
    let request = answer.request().to_owned();
    let body = answer.read(MAX_ANSWER_SIZE).await?;
    // Neither what it says nor serde's message is repeated: a token may be in it.
    let body: Body = serde_json::from_slice(&body)
        .map_err(|_| Error::answer(&request, "the token service's answer is not what it should be"))?;
    body.token().ok_or_else(|| Error::answer(&request, "there is no token in the token service's answer"))
}

impl Body {
    fn token(self) -> Option<Token> {
        let token = [self.token, self.access_token].into_iter().flatten().find(|token| !token.expose().is_empty())?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose())).ok()?;
        header.set_sensitive(true);
        let life = self.expires_in.as_ref().and_then(Value::as_f64).unwrap_or(DEFAULT_LIFE) - MARGIN;
        // A life that no clock can measure has no end.
        let expires = Duration::try_from_secs_f64(life.max(0.0)).ok().and_then(|life| Instant::now().checked_add(life));
        Some(Token { header, expires, identity: self.refresh_token.filter(|token| !token.expose().is_empty()) })
    }
}

impl Token {
    pub(super) fn header(&self) -> &HeaderValue {
        &self.header
    }

    pub(super) fn identity(&self) -> Option<&Secret> {
        self.identity.as_ref()
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(json: &str) -> Option<Token> {
        serde_json::from_str::<Body>(json).unwrap().token()
    }

    #[test]
    fn a_token_has_one_of_two_names_and_an_end() {
        for json in
            [r#"{"token":"t"}"#, r#"{"access_token":"t"}"#, r#"{"token":"","access_token":"t","expires_in":300}"#]
        {
            let token = token(json).unwrap();
            assert!(token.header() == "Bearer t" && token.is_fresh(), "{json}");
        }
        assert!(!token(r#"{"token":"t","expires_in":1}"#).unwrap().is_fresh());
        assert!(!token(r#"{"token":"t","expires_in":-1}"#).unwrap().is_fresh());
        assert!(token(r#"{"token":"t","expires_in":1e300}"#).unwrap().is_fresh());
        assert!(token("{}").is_none());
        assert!(token(r#"{"token":"a\nb"}"#).is_none());
    }
}
