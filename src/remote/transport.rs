//! One request and its answer: sent, traced, watched for stalls, tried again, and followed to where it is redirected.
//!
//! Who asks is decided by `auth`, one floor up; that an answer to this goes nowhere but to the origin it is meant for
//! is decided here.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};

use super::answer::Answer;
use super::client::ClientOptions;
use super::connections::Connections;
use super::network::Network;
use super::payload::{Payload, Watch};
use super::retry::{Hosts, Policy, Repeat, Tries};
use super::{Error, redirect, trace};
use crate::manifest::MAX_MANIFEST_SIZE;

/// A request that can be made as often as need be.
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) payload: Payload<'a>,
    /// Whether it is for the origin that it is made to, and for no other.
    confined: bool,
    repeat: Repeat,
    is_streamed: bool,
}

impl<'a> Call<'a> {
    /// A request without a body.
    pub(super) fn new(method: Method, url: Url) -> Self {
        let repeat = Repeat::of(&method);
        let (headers, payload) = (HeaderMap::new(), Payload::Empty);
        Self { method, url, headers, payload, confined: false, repeat, is_streamed: false }
    }

    /// The same, with what its maker knows about making it again.
    pub(super) fn repeat(mut self, repeat: Repeat) -> Self {
        self.repeat = repeat;
        self
    }

    /// The same, with an answer whose body is read as it comes, and gone on with by its reader where it breaks off.
    /// Other answers are read to their end, unless they are large, before a request counts as answered.
    pub(super) fn streamed(mut self) -> Self {
        self.is_streamed = true;
        self
    }

    pub(super) fn with_header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(super) fn with_payload(mut self, payload: Payload<'a>) -> Self {
        self.payload = payload;
        self
    }

    /// The same for this origin alone: what it says is nobody else's to know.
    pub(super) fn confined(mut self) -> Self {
        self.confined = true;
        self
    }

    /// The request as it goes to `url`.
    async fn to_request(
        &self,
        url: &Url,
        authorization: Option<&HeaderValue>,
        watch: &Arc<Watch>,
    ) -> Result<reqwest::Request, Error> {
        let mut request = reqwest::Request::new(self.method.clone(), url.clone());
        *request.headers_mut() = self.headers.clone();
        // Content is named by the digest of its bytes as they are stored, so nobody is to compress them on their way.
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(length) = self.payload.length(&self.method) {
            request.headers_mut().insert(CONTENT_LENGTH, length.into());
        }
        *request.body_mut() = self.payload.body(watch).await?;
        Ok(request)
    }
}

/// Connections to a registry, and to wherever it leads.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    connections: Connections,
    stall: Duration,
    policy: Policy,
    hosts: Arc<Hosts>,
}

impl Transport {
    /// `hosts` is the same for all registries of a client: what one host asks for holds whoever leads there.
    pub(super) fn new(options: &ClientOptions, connections: Connections, hosts: Arc<Hosts>) -> Self {
        let policy = Policy { times: options.retry_times, first_delay: options.retry_delay };
        Self { connections, stall: options.stall_timeout, policy, hosts }
    }

    /// Makes the request and follows redirects. `authorization` goes to the origin of the request only, and not there
    /// either once another origin has had its hand in it.
    pub(super) async fn send(&self, call: &Call<'_>, authorization: Option<&HeaderValue>) -> Result<Answer, Error> {
        let mut url = call.url.clone();
        let mut foreign = false;
        for _ in 0..=redirect::MAX_REDIRECTS {
            let authorization = authorization.filter(|_| !foreign);
            let answer = self.persist(call, &url, authorization, foreign).await?;
            if !redirect::is_redirect(&call.method, answer.status()) {
                return Ok(answer);
            }
            let Some(location) = answer.header(LOCATION.as_str()) else { return Ok(answer) };
            let next = redirect::target(&url, location)
                .map_err(|what| Error::answer(answer.request(), format!("redirects to {what}")))?;
            foreign |= next.origin() != call.url.origin();
            if foreign && call.confined {
                let what = format!("redirects what is for it alone to {}", next.origin().ascii_serialization());
                return Err(Error::answer(answer.request(), what));
            }
            url = next;
        }
        let what = format!("redirects more than {} times", redirect::MAX_REDIRECTS);
        Err(Error::answer(&name(&call.method, &call.url), what))
    }

    /// The tries that something has which consists of several requests.
    pub(super) fn tries(&self) -> Tries {
        self.policy.tries()
    }

    /// Makes one request, as often as it may be and has to be.
    async fn persist(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
        foreign: bool,
    ) -> Result<Answer, Error> {
        let mut tries = self.tries();
        loop {
            self.hosts.admit(url).await;
            let outcome = self.exchange(call, url, authorization, foreign).await;
            if let Ok(answer) = &outcome {
                self.hosts.heed(url, answer, self.policy);
            }
            if !tries.wait_after(&outcome, call.repeat).await {
                return outcome;
            }
        }
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
        foreign: bool,
    ) -> Result<Answer, Error> {
        let (request, watch) = (name(&call.method, url), Watch::new());
        let (proxy, http) = (self.connections.proxy(url), call.to_request(url, authorization, &watch).await?);
        trace::request(&http);
        let patience = self.stall + call.payload.time_to_store();
        let answered = tokio::select! {
            biased;
            answered = self.connections.to(url).execute(http) => answered,
            () = watch.stalled(patience) => {
                let hint = proxy.map(|proxy| proxy.hint(url));
                return Err(Error::Stalled { request, after: patience, hint });
            }
        };
        if let Some(error) = watch.source_failure() {
            return Err(error.into());
        }
        let network = |network| Error::Network { request: request.clone(), network };
        let response = answered.map_err(|error| network(Network::new(url, proxy, error)))?;
        trace::answer(&response);
        if let Some(proxy) = proxy.filter(|_| response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
            return Err(network(Network::unwelcome(proxy)));
        }
        let answer = Answer::new(request, response, foreign, self.stall);
        let is_whole = call.method == Method::GET && answer.status().is_success() && !call.is_streamed;
        if is_whole { answer.read_ahead(MAX_MANIFEST_SIZE).await } else { Ok(answer) }
    }
}

/// `GET localhost:5000/v2/`
fn name(method: &Method, url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{method} {}{port}{}", url.host_str().unwrap_or_default(), url.path())
}

/// Whether a URL leads to this machine.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host.parse::<crate::reference::Registry>().is_ok_and(|registry| registry.is_loopback())
}
