//! Who sent a request, and what they may do.

use std::sync::Arc;

use http::Method;
use http::header::WWW_AUTHENTICATE;

use crate::protocol::{Action, Challenge, Endpoint, ErrorCode, Scope};
use crate::reference::Name;
use crate::server::answer::{Problem, Result};

use super::rules::Rules;

/// The caller of one request.
pub(in crate::server) struct Caller(Option<Identity>);

/// What is known of a caller where it matters.
pub(super) struct Identity {
    pub(super) user: Option<String>,
    pub(super) proof: Proof,
    pub(super) rules: Arc<Rules>,
    pub(super) door: Door,
}

/// What came with the request.
pub(super) enum Proof {
    Nothing,
    Password,
    Token(Vec<Scope>),
}

/// What somebody is told who has to say more about themselves.
pub(super) struct Door {
    /// Where tokens are, if the request says how this registry is reached.
    pub(super) realm: Option<String>,
    pub(super) service: String,
}

/// What an endpoint asks of its caller.
enum Needed<'a> {
    /// To have logged in, or to have tried.
    Something(Option<Scope>),
    /// To do this in a repository; and what to ask a token for, which may be more.
    In(&'a Name, Action, Action),
}

impl Caller {
    /// Of a registry that asks nobody who they are.
    pub(in crate::server) fn anybody() -> Self {
        Self(None)
    }

    pub(super) fn known(identity: Identity) -> Self {
        Self(Some(identity))
    }

    /// Whether the caller may learn that a repository exists, and what is in it.
    pub(in crate::server) fn sees(&self, name: &Name) -> bool {
        self.0.as_ref().is_none_or(|identity| identity.may(Action::Pull, name))
    }

    /// The same for a repository that the request names beside its own: a token has to be for that, too.
    pub(in crate::server) fn may_pull(&self, name: &Name) -> bool {
        self.0.as_ref().is_none_or(|identity| identity.may(Action::Pull, name) && identity.proves(Action::Pull, name))
    }

    /// Whether nobody has said who the caller is, and somebody could.
    pub(in crate::server) fn may_log_in(&self) -> bool {
        self.0.as_ref().is_some_and(|identity| matches!(identity.proof, Proof::Nothing))
    }

    /// Whether there can be anything at all that the caller sees.
    pub(in crate::server) fn sees_something(&self) -> bool {
        self.0.as_ref().is_none_or(|identity| identity.user.is_some() || identity.rules.allow_anonymous())
    }

    /// Whether the caller may do at `endpoint` what `method` does there.
    ///
    /// # Errors
    /// 401 for those who can say more about themselves; else 404 where they may not even look, and 403 where they may.
    pub(in crate::server) fn check(&self, endpoint: &Endpoint, method: &Method) -> Result<()> {
        let Some(identity) = &self.0 else { return Ok(()) };
        match needed(endpoint, method) {
            Needed::Something(scope) => identity.check_known(scope.as_ref()),
            Needed::In(name, action, wish) => identity.check_may(action, wish, name),
        }
    }
}

fn needed<'a>(endpoint: &'a Endpoint, method: &Method) -> Needed<'a> {
    match endpoint {
        Endpoint::Base => Needed::Something(None),
        Endpoint::Catalog => Needed::Something(Some(Scope::Catalog)),
        Endpoint::Uploads(name) | Endpoint::Upload(name, _) => Needed::In(name, Action::Push, Action::Push),
        // Who looks whether a blob is there is about to push it. ORAS's client for Python does not ask for another token
        // when the one that it got for this does not let it go on.
        Endpoint::Blob(name, _) if method == Method::HEAD => Needed::In(name, Action::Pull, Action::Push),
        Endpoint::Blob(name, _) | Endpoint::Manifest(name, _) | Endpoint::Tags(name) | Endpoint::Referrers(name, _) => {
            let action = match *method {
                Method::GET | Method::HEAD | Method::OPTIONS => Action::Pull,
                Method::DELETE => Action::Delete,
                _ => Action::Push,
            };
            Needed::In(name, action, action)
        }
    }
}

impl Identity {
    fn may(&self, action: Action, name: &Name) -> bool {
        self.rules.allow(self.user.as_deref(), name).contain(action)
    }

    /// Whether what came with the request is good for this.
    fn proves(&self, action: Action, name: &Name) -> bool {
        match &self.proof {
            Proof::Nothing | Proof::Password => true,
            Proof::Token(scopes) => scopes
                .iter()
                .any(|scope| matches!(scope, Scope::Repository(of, actions) if of == name && actions.contain(action))),
        }
    }

    /// Who says nothing is asked, even if the answer were the same: so clients notice that they can log in.
    fn check_known(&self, scope: Option<&Scope>) -> Result<()> {
        match (&self.proof, scope) {
            (Proof::Nothing, _) => Err(self.door.log_in(scope)),
            (Proof::Token(scopes), Some(needed)) if !scopes.contains(needed) => Err(self.door.more(needed)),
            _ => Ok(()),
        }
    }

    fn check_may(&self, action: Action, wish: Action, name: &Name) -> Result<()> {
        let scope = || Scope::Repository(name.clone(), wish.into());
        if !self.may(action, name) {
            return Err(match &self.user {
                None => self.door.log_in(Some(&scope())),
                Some(_) if !self.may(Action::Pull, name) => {
                    Problem::new(ErrorCode::NameUnknown, format!("there is no repository {name}"))
                }
                Some(user) => Problem::new(ErrorCode::Denied, format!("{user} may not {action} in {name}")),
            });
        }
        if !self.proves(action, name) {
            return Err(self.door.more(&scope()));
        }
        Ok(())
    }
}

impl Door {
    /// The caller has not said who they are.
    fn log_in(&self, scope: Option<&Scope>) -> Problem {
        self.refuse("log in first", scope, None)
    }

    /// The caller's token is for something else.
    fn more(&self, scope: &Scope) -> Problem {
        self.refuse("the token is for something else", Some(scope), Some("insufficient_scope"))
    }

    /// The caller's token is none, or too old.
    pub(super) fn renew(&self) -> Problem {
        self.refuse("the token is not valid, or not any more", None, Some("invalid_token"))
    }

    /// The caller is not who they say.
    pub(super) fn wrong(&self) -> Problem {
        self.refuse("the user name or the password is wrong", None, None)
    }

    fn refuse(&self, message: &str, scope: Option<&Scope>, error: Option<&str>) -> Problem {
        Problem::new(ErrorCode::Unauthorized, message).with_header(WWW_AUTHENTICATE, self.challenge(scope, error))
    }

    /// Tokens alone are named, although a password will do as well: Docker's engine, offered both, does not get as far
    /// as to ask for a token without a password.
    fn challenge(&self, scope: Option<&Scope>, error: Option<&str>) -> String {
        let Some(realm) = &self.realm else { return basic_challenge() };
        let mut parameters = vec![("realm".to_owned(), realm.clone()), ("service".to_owned(), self.service.clone())];
        parameters.extend(scope.map(|scope| ("scope".to_owned(), scope.to_string())));
        parameters.extend(error.map(|error| ("error".to_owned(), error.to_owned())));
        Challenge { scheme: "Bearer".to_owned(), token68: None, parameters }.to_string()
    }
}

/// The challenge for a user name and a password.
pub(in crate::server) fn basic_challenge() -> String {
    "Basic realm=\"bndlr\", charset=\"UTF-8\"".to_owned()
}
