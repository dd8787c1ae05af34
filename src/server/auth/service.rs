//! `/token`: who has a password gets a token (the token authentication of CNCF Distribution; "OAuth2" there is POST).

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Method, StatusCode};
use serde_json::json;

use super::caller::basic_challenge;
use super::checks::Login;
use super::rules::Rules;
use super::tokens::{Grant, LIFE};
use super::{Auth, Authorization, authorization};
use crate::protocol::{ErrorCode, Scope, Secret};
use crate::server::answer::{self, Problem, Result};
use crate::server::request::{self, Request};

/// The largest form that is read, in bytes.
const MAX_FORM: u64 = 64 * 1024;
/// How many scopes a token has at most: it has to fit into a header.
const MAX_SCOPES: usize = 32;

/// What is asked for: who, and what for.
struct Wish {
    login: Option<Login>,
    service: Option<String>,
    scopes: Vec<Scope>,
}

impl Auth {
    /// Answers a request for a token. Who may do only a part of what a token is asked for gets one for that part.
    pub(in crate::server) async fn give_token(
        &self,
        method: &Method,
        request: &Request,
        body: &mut request::Body,
    ) -> Result {
        let wish = match *method {
            Method::GET | Method::HEAD => Wish::of_query(request)?,
            Method::POST => Wish::of_form(request, body).await?,
            _ => return Err(Problem::method_not_allowed(method, "GET, HEAD, POST")),
        };
        if let Some(other) = wish.service.filter(|service| *service != self.tokens.service) {
            return Err(invalid(format!("there are no tokens for {other:?} here, only for {:?}", self.tokens.service)));
        }
        let user = match wish.login {
            Some(login) if !self.is_right(&login).await? => {
                return Err(refuse("the user name or the password is wrong"));
            }
            login => login.map(|login| login.user),
        };
        let scopes = grant(&self.rules.current(), user.as_deref(), wish.scopes);
        if user.is_none() && scopes.is_empty() {
            return Err(refuse("log in first"));
        }
        let now = (self.clock)();
        Ok(token(&self.tokens.issue(&Grant { user, scopes: scopes.clone() }, now), &scopes, now))
    }
}

impl Wish {
    /// GET: who asks is in a header.
    fn of_query(request: &Request) -> Result<Self> {
        let login = match authorization(&request.headers) {
            Authorization::Missing => None,
            Authorization::Basic(login) => Some(login),
            Authorization::Bearer(_) | Authorization::Other => {
                return Err(refuse("a user name and a password are needed"));
            }
        };
        let scopes = scopes(request.parameters("scope"))?;
        Ok(Self { login, service: request.parameter("service"), scopes })
    }

    /// POST: who asks is in a form (RFC 6749, section 4.3).
    async fn of_form(request: &Request, body: &mut request::Body) -> Result<Self> {
        let is_form = request.header(&CONTENT_TYPE).is_some_and(|found| {
            found.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
        });
        if !is_form {
            return Err(invalid("a token is asked for with a form (application/x-www-form-urlencoded)"));
        }
        let body = body.read_all(MAX_FORM).await?;
        let mut form: HashMap<String, String> = form_urlencoded::parse(&body).into_owned().collect();
        match form.get("grant_type").map(String::as_str) {
            Some("password") => {}
            other => {
                return Err(invalid(format!("grant_type is {:?}, expected \"password\"", other.unwrap_or_default())));
            }
        }
        let (Some(user), Some(password)) = (form.remove("username"), form.remove("password")) else {
            return Err(invalid("username and password are needed"));
        };
        let scopes = scopes(form.remove("scope").into_iter())?;
        let login = Login { user, password: Secret::new(password) };
        Ok(Self { login: Some(login), service: form.remove("service"), scopes })
    }
}

/// The scopes that are asked for and known; each text may have several, with spaces between them.
fn scopes(texts: impl Iterator<Item = String>) -> Result<Vec<Scope>> {
    let mut scopes: Vec<Scope> = Vec::new();
    for text in texts {
        for scope in text.split(' ').filter_map(Scope::parse) {
            if !scopes.contains(&scope) {
                scopes.push(scope);
            }
            if scopes.len() > MAX_SCOPES {
                return Err(invalid(format!("a token is for {MAX_SCOPES} scopes at most")));
            }
        }
    }
    Ok(scopes)
}

/// What of `wanted` the rules allow.
fn grant(rules: &Rules, user: Option<&str>, wanted: Vec<Scope>) -> Vec<Scope> {
    let allowed = |scope: Scope| match scope {
        Scope::Repository(name, actions) => {
            let actions = actions & rules.allow(user, &name);
            (!actions.are_none()).then_some(Scope::Repository(name, actions))
        }
        Scope::Catalog => (user.is_some() || rules.allow_anonymous()).then_some(Scope::Catalog),
    };
    wanted.into_iter().filter_map(allowed).collect()
}

fn token(token: &str, scopes: &[Scope], now: SystemTime) -> http::Response<answer::Body> {
    let issued = jiff::Timestamp::try_from(now).unwrap_or_default();
    let issued = jiff::Timestamp::from_second(issued.as_second()).unwrap_or_default();
    let scope = scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let body = json!({
        "token": token, "access_token": token, "token_type": "Bearer", "scope": scope,
        "expires_in": LIFE.as_secs(), "issued_at": issued.to_string(),
    });
    let mut response = answer::full(StatusCode::OK, "application/json", Bytes::from(body.to_string()));
    answer::set(&mut response, CACHE_CONTROL, "no-store");
    response
}

fn refuse(message: &str) -> Problem {
    Problem::new(ErrorCode::Unauthorized, message).with_header(WWW_AUTHENTICATE, basic_challenge())
}

fn invalid(message: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::Unsupported, message).with_status(StatusCode::BAD_REQUEST)
}
