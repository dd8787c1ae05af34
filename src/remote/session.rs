//! A conversation with one registry: its requests, each with what it wants to know about who asks.

use std::sync::Arc;

use reqwest::{Method, StatusCode, Url};
use tokio::sync::Semaphore;

use crate::protocol::{Endpoint, Scope};

use super::answer::Answer;
use super::auth::Authenticator;
use super::retry::Tries;
use super::transport::{Call, Transport};
use super::wanted::Wanted;
use super::{Error, Secret, segments};

/// What is kept between requests to a registry. All repositories of it share one.
pub(super) struct Session {
    transport: Transport,
    base: Url,
    authenticator: Authenticator,
    /// For segments of blobs that come before their turn.
    pub(super) room: Arc<Semaphore>,
}

impl Session {
    pub(super) fn new(transport: Transport, base: Url, authenticator: Authenticator) -> Self {
        Self { transport, base, authenticator, room: segments::room() }
    }

    /// The tries that something has which consists of several requests.
    pub(super) fn tries(&self) -> Tries {
        self.transport.tries()
    }

    /// The URL of an endpoint of this registry.
    pub(super) fn url(&self, endpoint: &Endpoint) -> Url {
        let mut url = self.base.clone();
        url.set_path(&endpoint.to_string());
        url
    }

    /// Makes a request, and again if the registry wants to know first who asks: with a token for `wanted`, if it wants
    /// tokens, and if that is not enough, with one for what it says itself. A request to another origin, where an upload
    /// may lead, is made once and says nothing about that.
    ///
    /// # Errors
    /// When the registry does not allow it, beside all that can go wrong on the way. Every other status is the
    /// caller's to judge.
    pub(super) async fn send(&self, call: &Call<'_>, wanted: impl Into<Wanted>) -> Result<Answer, Error> {
        if call.url.origin() != self.base.origin() {
            return Ok(self.transport.send(call, None).await?.foreign());
        }
        let (wanted, mut asked) = (wanted.into(), 0);
        let mut authorization = self.authenticator.authorization(&self.transport, &wanted).await?;
        loop {
            let answer = self.transport.send(call, authorization.as_ref()).await?;
            if answer.status() != StatusCode::UNAUTHORIZED || answer.is_foreign() {
                return self.allowed(answer, &wanted).await;
            }
            let challenges = answer.challenges();
            // Reading it to its end lets the connection be used again.
            let refusal = answer.into_refusal().await;
            asked += 1;
            let refused = authorization.take();
            let may_go_on = match asked {
                1 => true,
                2 => self.authenticator.asks_for_more(&challenges, &wanted, refused.as_ref()).await,
                _ => false,
            };
            if may_go_on {
                authorization =
                    self.authenticator.take_up(&self.transport, &challenges, &wanted, refused.as_ref()).await?;
            }
            if authorization.is_none() {
                let hint = self.authenticator.hint(&wanted, StatusCode::UNAUTHORIZED).await;
                return Err(refusal.with_hint(hint).into());
            }
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
        self.authenticator.take_up(&self.transport, &challenges, &Wanted::from(scope), None).await?;
        Ok(())
    }

    async fn allowed(&self, answer: Answer, wanted: &Wanted) -> Result<Answer, Error> {
        if answer.status() != StatusCode::FORBIDDEN || answer.is_foreign() {
            return Ok(answer);
        }
        let hint = self.authenticator.hint(wanted, StatusCode::FORBIDDEN).await;
        Err(answer.into_refusal().await.with_hint(hint).into())
    }

    /// Asks the registry whether it knows who asks (distribution-spec v1.1.1, end-1), and says whether it asked.
    ///
    /// # Errors
    /// When it does not, or is no registry.
    pub(super) async fn check(&self) -> Result<bool, Error> {
        let answer = self.send(&self.base_call(), Wanted::nothing()).await?.expect(StatusCode::OK).await?;
        answer.reject_web_page()?;
        Ok(self.authenticator.was_asked())
    }

    /// What the token service gave to be shown instead of a password, when it was asked who is there.
    pub(super) async fn identity(&self) -> Option<Secret> {
        self.authenticator.identity(&Wanted::nothing()).await
    }

    /// A token for these scopes, which are given in words.
    ///
    /// # Errors
    /// When the registry asks for none, beside all that can go wrong on the way.
    pub(super) async fn token(&self, scopes: Vec<String>) -> Result<Secret, Error> {
        let answer = self.transport.send(&self.base_call(), None).await?;
        let request = answer.request().to_owned();
        if answer.status() != StatusCode::UNAUTHORIZED || answer.is_foreign() {
            let answer = answer.expect(StatusCode::OK).await?;
            return Err(Error::answer(answer.request(), "asks for no token"));
        }
        let wanted = Wanted::in_words(scopes);
        let header = self.authenticator.take_up(&self.transport, &answer.challenges(), &wanted, None).await?;
        let header = header.as_ref().and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        token.map(Secret::new).ok_or_else(|| Error::answer(&request, "asks for a password, and not for a token"))
    }

    fn base_call(&self) -> Call<'static> {
        Call::new(Method::GET, self.url(&Endpoint::Base))
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::any;
    use wiremock::{Mock, MockServer, Request, ResponseTemplate};

    use super::*;
    use crate::protocol::Scope;
    use crate::remote::connections::Connections;
    use crate::remote::tls::Trust;
    use crate::remote::{ClientOptions, Credentials};

    /// A session with a registry that wants tokens and gives them, where nobody is known.
    async fn session(server: &MockServer) -> Session {
        let answer = |request: &Request| match request.url.path() {
            "/token" => ResponseTemplate::new(200).set_body_string(r#"{"token":"t"}"#),
            _ if request.headers.contains_key("authorization") => ResponseTemplate::new(202),
            _ => {
                let realm = format!("http://{}/token", request.headers["host"].to_str().unwrap());
                let challenge = format!("Bearer realm=\"{realm}\"");
                ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str())
            }
        };
        Mock::given(any()).respond_with(answer).mount(server).await;
        let (options, base) = (ClientOptions::default(), Url::parse(&server.uri()).unwrap());
        let trust = Trust::new(&options).unwrap();
        let connections = Connections::new(&base, &trust, &options).unwrap();
        let registry = server.address().to_string().parse().unwrap();
        let authenticator = Authenticator::new(registry, base.clone(), Credentials::none(), false);
        Session::new(Transport::new(&options, connections, Arc::default()), base, authenticator)
    }

    #[tokio::test]
    async fn a_mount_is_asked_for_with_one_token_for_both_repositories() {
        let server = MockServer::start().await;
        let session = session(&server).await;
        let (to, from) = ("to".parse().unwrap(), "from".parse().unwrap());
        let url = session.url(&Endpoint::Uploads("to".parse().unwrap()));
        let call = Call::new(Method::POST, url);
        session.send(&call, [Scope::push(&to), Scope::pull(&from)]).await.unwrap();
        session.send(&call, [Scope::push(&to), Scope::pull(&from)]).await.unwrap();
        session.send(&call, &Scope::delete(&to)).await.unwrap();
        let asked = server.received_requests().await.unwrap();
        let asked: Vec<_> = asked.iter().filter_map(|request| request.url.query()).collect();
        assert_eq!(
            asked,
            [
                "scope=repository%3Ato%3Apull%2Cpush&scope=repository%3Afrom%3Apull",
                "scope=repository%3Ato%3Apull%2Cdelete"
            ]
        );
    }
}
