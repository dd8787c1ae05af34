//! A conversation with one registry: its requests, each with what it wants to know about who asks.

use std::sync::Arc;

use reqwest::{Method, StatusCode, Url};

use crate::protocol::{Endpoint, Scope};

use super::Error;
use super::answer::Answer;
use super::auth::Authenticator;
use super::transport::{Call, Transport};

/// What is kept between requests to a registry. All repositories of it share one.
pub(super) struct Session {
    transport: Arc<Transport>,
    base: Url,
    authenticator: Authenticator,
}

impl Session {
    pub(super) fn new(transport: Arc<Transport>, base: Url, authenticator: Authenticator) -> Self {
        Self { transport, base, authenticator }
    }

    /// The URL of an endpoint of this registry.
    pub(super) fn url(&self, endpoint: &Endpoint) -> Url {
        let mut url = self.base.clone();
        url.set_path(&endpoint.to_string());
        url
    }

    /// Makes a request, and again if the registry wants to know first who asks. A request to another origin, where an
    /// upload may lead, is made once and says nothing about that.
    ///
    /// # Errors
    /// When the registry does not allow it, beside all that can go wrong on the way. Every other status is the
    /// caller's to judge.
    pub(super) async fn send(&self, call: &Call<'_>, scope: &Scope) -> Result<Answer, Error> {
        if call.url.origin() != self.base.origin() {
            return Ok(self.transport.send(call, None).await?.foreign());
        }
        let authorization = self.authenticator.authorization(&self.transport, scope).await?;
        let answer = self.transport.send(call, authorization.as_ref()).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || answer.is_foreign() {
            return self.allowed(answer).await;
        }
        let challenges = answer.challenges();
        // Reading it to its end lets the connection be used again.
        let refusal = answer.into_refusal().await;
        let authorization =
            self.authenticator.take_up(&self.transport, &challenges, scope, authorization.as_ref()).await?;
        match authorization {
            Some(authorization) => self.allowed(self.transport.send(call, Some(&authorization)).await?).await,
            None => Err(refusal.with_hint(self.authenticator.hint(StatusCode::UNAUTHORIZED).await).into()),
        }
    }

    /// Asks the registry whether it wants to know who asks (distribution-spec v1.1.1, end-1), and gets what to say then:
    /// with it comes the next request. That it knows who asks is not found out.
    ///
    /// # Errors
    /// When it asks in a way that cannot or must not be followed, beside all that can go wrong on the way.
    pub(super) async fn introduce(&self, scope: &Scope) -> Result<(), Error> {
        let base = Call::new(Method::GET, self.url(&Endpoint::Base));
        let answer = self.transport.send(&base, None).await?;
        if answer.status() != StatusCode::UNAUTHORIZED || answer.is_foreign() {
            return Ok(());
        }
        let challenges = answer.challenges();
        // Reading it to its end lets the connection be used again.
        answer.into_refusal().await;
        self.authenticator.take_up(&self.transport, &challenges, scope, None).await?;
        Ok(())
    }

    async fn allowed(&self, answer: Answer) -> Result<Answer, Error> {
        let status = answer.status();
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || answer.is_foreign() {
            return Ok(answer);
        }
        let hint = self.authenticator.hint(status).await;
        Err(answer.into_refusal().await.with_hint(hint).into())
    }
}
