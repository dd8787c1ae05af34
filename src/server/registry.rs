//! From a request to whoever answers it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::EXPECT;
use http::{Method, Response, StatusCode, Uri};
use http_body_util::BodyExt;

use super::access::{Access, Peer};
use super::answer::{self, Body, Problem, Result};
use super::auth::{Auth, Caller, TOKEN_PATH};
use super::hosts::{self, Hosts};
use super::limits::Limits;
use super::metrics;
use super::only::Only;
use super::operations::Operations;
use super::page::{self, Pages};
use super::repositories::Repositories;
use super::request::{self, Request};
use super::storage::{BoxError, Memory, Storage};
use super::{blobs, catalog, manifests, referrers, tags, uploads};
use crate::digest::Digest;
use crate::protocol::{Endpoint, ErrorCode, InvalidPath};
use crate::reference::Name;

/// A registry over a storage: requests in, answers out. Cloning it gives another hold of the same one.
#[derive(Clone)]
pub struct Registry {
    repositories: Repositories,
    operations: Arc<Operations>,
    auth: Option<Arc<Auth>>,
    read_only: bool,
    only: Arc<Only>,
    pages: Option<Arc<Pages>>,
}

impl Registry {
    /// A registry that keeps everything in `storage`.
    #[must_use]
    pub fn new(storage: impl Storage) -> Self {
        Self::over(Repositories::new(Arc::new(storage)))
    }

    /// A registry that keeps everything in memory, and loses it when it ends: for tests and demos.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Memory::new())
    }

    /// A registry of these repositories.
    #[must_use]
    pub fn over(repositories: Repositories) -> Self {
        Self {
            repositories,
            operations: Arc::new(Operations::new(Limits::default())),
            auth: None,
            read_only: false,
            only: Arc::default(),
            pages: Some(Arc::new(Pages::new())),
        }
    }

    /// Lets clients take no more than `limits` say.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { operations: Arc::new(Operations::new(limits)), ..self }
    }

    /// Asks who is there, and lets them do what `auth` says. Without this, everybody may do everything.
    #[must_use]
    pub fn auth(self, auth: Auth) -> Self {
        Self { auth: Some(Arc::new(auth)), ..self }
    }

    /// Takes nothing and removes nothing: every request that would is refused with 405 and `UNSUPPORTED`.
    #[must_use]
    pub fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = read_only;
        self
    }

    /// Serves this repository and no other: whatever may be in another, it is unknown (404 and `NAME_UNKNOWN`).
    #[must_use]
    pub fn only(mut self, repository: Name) -> Self {
        Arc::make_mut(&mut self.only).repository = Some(repository);
        self
    }

    /// Answers those who ask for a tag of `manifest` with `other`, if they would rather have the media type of that
    /// (RFC 9110, section 12.5.1), as clients that know no OCI manifests would.
    #[must_use]
    pub fn alternative(mut self, manifest: Digest, other: Digest) -> Self {
        Arc::make_mut(&mut self.only).alternatives.insert(manifest, other);
        self
    }

    /// Whether browsers are shown what is here: at `/`, to who asks for HTML and may pull. They are, unless this says
    /// otherwise.
    #[must_use]
    pub fn page(self, shown: bool) -> Self {
        Self { pages: shown.then(|| Arc::new(Pages::new())), ..self }
    }

    /// Takes manifests though what they refer to is not there, as mirrors of a part of something need it
    /// (distribution-spec v1.1.1, "Push": a registry may do either).
    #[must_use]
    pub fn allow_missing_blobs(mut self, allow: bool) -> Self {
        self.repositories = self.repositories.allow_missing_blobs(allow);
        self
    }

    pub(super) fn repositories(&self) -> &Repositories {
        &self.repositories
    }

    pub(super) fn operations(&self) -> &Operations {
        &self.operations
    }

    /// Answers a request (distribution-spec v1.1.1, "Endpoints"). Whatever goes wrong is an answer, too.
    pub async fn answer<B>(&self, request: http::Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        self.answer_for(&Hosts::any(), Peer::default(), request.map(|body| body.map_err(Into::into).boxed_unsync()))
            .await
    }

    /// The same, when `hosts` has nothing against it.
    pub(super) async fn answer_for(&self, hosts: &Hosts, peer: Peer, request: http::Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let named = Endpoint::parse(parts.uri.path());
        let endpoint = metrics::endpoint_label(parts.uri.path(), named.as_ref().ok());
        let access = Access::begin(&parts, peer, endpoint, &self.operations);
        let checked = hosts.check(&parts.uri, &parts.headers);
        let checked = checked.and_then(|()| hosts::check_origin(&parts.method, &parts.uri, &parts.headers));
        let checked = checked.and_then(|()| access.check_place(&self.operations));
        let request = Request::new(parts.headers, parts.uri.query().unwrap_or_default());
        let mut body = request::Body::new(body, &self.operations);
        let result = match checked {
            Ok(()) => {
                self.admit(&parts.method, &parts.uri, peer.is_secure, (endpoint, named), &request, &mut body).await
            }
            Err(problem) => Err(problem),
        };
        let mut response = result.unwrap_or_else(Problem::into_response);
        if self.pages.is_some() && page::has(parts.uri.path()) {
            page::vary(&mut response);
        }
        // Who waits for a word before sending the body gets the answer instead.
        if !request.headers.contains_key(EXPECT) {
            body.drain().await;
        }
        access.log(answer::complete(&parts.method, response))
    }

    /// Finds out who is there, and lets them in when it is their turn.
    async fn admit(
        &self,
        method: &Method,
        uri: &Uri,
        is_secure: bool,
        (endpoint, named): (&str, std::result::Result<Endpoint, InvalidPath>),
        request: &Request,
        body: &mut request::Body,
    ) -> Result {
        if let Some(answer) = self.operations.answer(&self.repositories, self.read_only, method, endpoint).await {
            return answer;
        }
        if let Some(pages) = &self.pages
            && page::is_wanted(method, uri.path(), &request.headers)
        {
            return Ok(pages.answer(&self.repositories, self.auth.as_deref(), uri, is_secure, request).await);
        }
        let caller = match &self.auth {
            None => Caller::anybody(),
            Some(auth) if uri.path() == TOKEN_PATH => return auth.give_token(method, request, body).await,
            Some(auth) => auth.caller(uri, &request.headers, is_secure).await?,
        };
        let named = named.map_err(|invalid| invalid_path(method, invalid.into()))?;
        // Whoever may not go on takes no turn from those who may.
        caller.check(&named, method)?;
        self.only.check(&named)?;
        let _turn = self.operations.admit(method, endpoint).await?;
        self.dispatch(&caller, method, &named, request, body).await
    }

    async fn dispatch(
        &self,
        caller: &Caller,
        method: &Method,
        endpoint: &Endpoint,
        request: &Request,
        body: &mut request::Body,
    ) -> Result {
        let repositories = &self.repositories;
        if self.read_only && !is_read(endpoint, method) {
            return Err(Problem::method_not_allowed(method, "GET, HEAD"));
        }
        match (endpoint, method) {
            (Endpoint::Base, &Method::GET | &Method::HEAD) => {
                Ok(answer::full(StatusCode::OK, "application/json", Bytes::from_static(b"{}")))
            }
            (Endpoint::Blob(name, digest), &Method::HEAD) => blobs::head(repositories, request, name, *digest).await,
            (Endpoint::Blob(name, digest), &Method::GET) => blobs::get(repositories, request, name, *digest).await,
            (Endpoint::Blob(name, digest), &Method::DELETE) => blobs::delete(repositories, name, *digest).await,
            (Endpoint::Uploads(name), &Method::POST) => uploads::begin(repositories, caller, request, body, name).await,
            (Endpoint::Upload(name, session), &Method::PATCH) => {
                uploads::patch(repositories, request, body, name, session).await
            }
            (Endpoint::Upload(name, session), &Method::PUT) => {
                uploads::finish(repositories, request, body, name, session).await
            }
            (Endpoint::Upload(name, session), &Method::GET | &Method::HEAD) => {
                uploads::status(repositories, name, session).await
            }
            (Endpoint::Upload(name, session), &Method::DELETE) => uploads::cancel(repositories, name, session).await,
            (Endpoint::Manifest(name, identifier), &Method::GET | &Method::HEAD) => {
                manifests::get(repositories, &self.only, request, name, identifier).await
            }
            (Endpoint::Manifest(name, identifier), &Method::PUT) => {
                manifests::put(repositories, request, body, name, identifier).await
            }
            (Endpoint::Manifest(name, identifier), &Method::DELETE) => {
                manifests::delete(repositories, name, identifier).await
            }
            (Endpoint::Referrers(name, subject), &Method::GET | &Method::HEAD) => {
                referrers::list(repositories, request, name, *subject).await
            }
            (Endpoint::Catalog, &Method::GET | &Method::HEAD) => catalog::list(repositories, caller, request).await,
            (Endpoint::Tags(name), &Method::GET | &Method::HEAD) => tags::list(repositories, request, name).await,
            (endpoint, method) => Err(unsupported(endpoint, method)),
        }
    }
}

/// Whether the request only reads. An upload session is for those who write, also when they only ask about it.
fn is_read(endpoint: &Endpoint, method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD) && !matches!(endpoint, Endpoint::Uploads(_) | Endpoint::Upload(..))
}

/// A tag that is not valid is no manifest's to a reader, and the writer's mistake.
fn invalid_path(method: &Method, problem: Problem) -> Problem {
    if method == Method::PUT && *problem.code() == ErrorCode::ManifestUnknown {
        return problem.with_code(ErrorCode::ManifestInvalid);
    }
    problem
}

fn unsupported(endpoint: &Endpoint, method: &Method) -> Problem {
    let allowed = match endpoint {
        Endpoint::Base | Endpoint::Tags(_) | Endpoint::Referrers(..) | Endpoint::Catalog => "GET, HEAD",
        Endpoint::Blob(..) => "GET, HEAD, DELETE",
        Endpoint::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Endpoint::Uploads(_) => "POST",
        Endpoint::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
    };
    Problem::method_not_allowed(method, allowed)
}
