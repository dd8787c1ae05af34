//! An answer of a registry: status and headers, and a body that is read within limits of size and time.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream, TryStreamExt};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::StatusCode;

use crate::digest::Digest;
use crate::protocol::{Challenge, header};

use super::Error;
use super::network::Network;
use super::refusal::{Refusal, not_an_answer};
use crate::text::bytes;

/// How many bytes of an answer that says no are read.
const MAX_REFUSAL_SIZE: u64 = 16 * 1024;

/// An answer.
pub(super) struct Answer {
    request: String,
    response: reqwest::Response,
    foreign: bool,
    stall: Duration,
    /// The beginning of the body, as far as it has been read.
    ahead: Bytes,
}

impl Answer {
    /// The answer to `request`. `foreign` says that it did not come from the origin that was asked first; `stall` is how
    /// long to wait for each part of the body.
    pub(super) fn new(request: String, response: reqwest::Response, foreign: bool, stall: Duration) -> Self {
        Self { request, response, foreign, stall, ahead: Bytes::new() }
    }

    /// This answer, known not to be the registry's.
    pub(super) fn foreign(self) -> Self {
        Self { foreign: true, ..self }
    }

    /// The request, for messages.
    pub(super) fn request(&self) -> &str {
        &self.request
    }

    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Whether the answer came from where a redirect or a location led, and not from the registry.
    pub(super) fn is_foreign(&self) -> bool {
        self.foreign
    }

    /// The URL that gave the answer.
    pub(super) fn url(&self) -> &reqwest::Url {
        self.response.url()
    }

    /// The value of a header, if it is there and is text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// All values of a header that are text, each of which may be a list.
    pub(super) fn headers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.response.headers().get_all(name).iter().filter_map(|value| value.to_str().ok())
    }

    /// The media type without its parameters; empty when there is none.
    pub(super) fn media_type(&self) -> &str {
        let value = self.header(CONTENT_TYPE.as_str()).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    /// How many bytes of content there are, as the header says: to a HEAD, too.
    pub(super) fn content_length(&self) -> Option<u64> {
        self.header(CONTENT_LENGTH.as_str())?.parse().ok()
    }

    /// What `Docker-Content-Digest` says. A digest that is not understood cannot be checked and is none.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.header(header::DOCKER_CONTENT_DIGEST)?.parse().ok()
    }

    /// What the registry wants to know before it answers.
    pub(super) fn challenges(&self) -> Vec<Challenge> {
        let headers = self.response.headers().get_all(WWW_AUTHENTICATE);
        headers.iter().flat_map(|value| Challenge::parse_all(&String::from_utf8_lossy(value.as_bytes()))).collect()
    }

    /// This answer, if it has the status that means success.
    pub(super) async fn expect(self, status: StatusCode) -> Result<Self, Error> {
        self.expect_one_of(&[status]).await
    }

    /// This answer, if it has one of these statuses: there are registries that say another one than the specification
    /// has, and mean the same.
    pub(super) async fn expect_one_of(self, statuses: &[StatusCode]) -> Result<Self, Error> {
        if statuses.contains(&self.status()) { Ok(self) } else { Err(self.into_refusal().await.into()) }
    }

    /// Fails if the body is a web page: no registry sends one, and whoever does would say yes to anything.
    pub(super) fn reject_web_page(&self) -> Result<(), Error> {
        if self.media_type().eq_ignore_ascii_case("text/html") {
            return Err(not_an_answer(&self.request, self.media_type()));
        }
        Ok(())
    }

    /// What it says, as an answer that says no.
    pub(super) async fn into_refusal(self) -> Refusal {
        let (request, status, foreign) = (self.request.clone(), self.status(), self.foreign);
        let media_type =
            Some(self.media_type()).filter(|found| !found.is_empty()).unwrap_or("no media type").to_owned();
        // The status counts, whatever becomes of the words.
        let body = self.read_up_to(MAX_REFUSAL_SIZE).await.unwrap_or_default();
        Refusal::new(&request, status, &media_type, &body, foreign)
    }

    /// The whole body.
    ///
    /// # Errors
    /// [`Error::Content`] when it has more than `limit` bytes, of which no more are read.
    pub(super) async fn read(self, limit: u64) -> Result<Bytes, Error> {
        let request = self.request.clone();
        let too_large = || Error::content(&request, format!("more than {}, which is the limit", bytes(limit)));
        if self.content_length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        let body = self.read_up_to(limit.saturating_add(1)).await?;
        if body.len() as u64 > limit { Err(too_large()) } else { Ok(body) }
    }

    /// The first bytes of the body.
    async fn read_up_to(self, limit: u64) -> Result<Bytes, Error> {
        let mut body = BytesMut::new();
        let mut stream = std::pin::pin!(self.into_stream());
        while let Some(chunk) = stream.try_next().await? {
            let wanted = limit - body.len() as u64;
            if chunk.len() as u64 >= wanted {
                body.extend_from_slice(&chunk[..wanted as usize]);
                break;
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    /// This answer, with the first `limit` bytes of its body in memory, or all of it. A body that says that it has
    /// more is left alone: whoever does not want so much need not wait for it.
    pub(super) async fn read_ahead(mut self, limit: u64) -> Result<Self, Error> {
        if self.content_length().is_some_and(|length| length > limit) {
            return Ok(self);
        }
        let mut ahead = BytesMut::new();
        while (ahead.len() as u64) < limit {
            let Some(chunk) = self.chunk(ahead.len() as u64).await? else { break };
            ahead.extend_from_slice(&chunk);
        }
        self.ahead = ahead.freeze();
        Ok(self)
    }

    /// The next bytes of the body, after `received` of them.
    async fn chunk(&mut self, received: u64) -> Result<Option<Bytes>, Error> {
        if !self.ahead.is_empty() {
            return Ok(Some(std::mem::take(&mut self.ahead)));
        }
        match tokio::time::timeout(self.stall, self.response.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => Err(Network::broken_off(&self.request, received, error)),
            Err(_) => Err(Error::Stalled { request: self.request.clone(), after: self.stall, hint: None }),
        }
    }

    /// The body as it comes. Whoever reads it may take all the time in the world; the registry may not.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        stream::try_unfold((self, 0), |(mut answer, received)| async move {
            Ok(answer.chunk(received).await?.map(|chunk| {
                let received = received + chunk.len() as u64;
                (chunk, (answer, received))
            }))
        })
    }
}
