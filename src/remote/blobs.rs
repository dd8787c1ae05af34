//! Blobs, as they are asked for (distribution-spec v1.1.1, "Pulling blobs", "Checking if content exists in the
//! registry"). How a whole one comes over a bad network is in `downloads`, and how it gets there in `uploads`.

use std::ops::Range;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use http::{HeaderValue, header};
use reqwest::{Method, StatusCode};

use crate::content::{self, read_file_range};
use crate::manifest::Descriptor;
use crate::protocol::{Endpoint, Scope};

use super::Error;
use super::answer::Answer;
use super::downloads::Download;
use super::repository::RemoteRepository;
use super::transport::Call;
use crate::text;

impl RemoteRepository {
    /// The registry's answer to a request for a blob (end-2).
    pub(super) async fn request_blob(
        &self,
        method: Method,
        descriptor: &Descriptor,
        scope: &Scope,
    ) -> Result<Answer, Error> {
        let url = self.session.url(&Endpoint::Blob(self.repository.name.clone(), descriptor.digest));
        self.session.send(&Call::new(method, url).streamed(), scope).await
    }

    /// A part of a blob: `length` bytes from `offset` on, at least one (RFC 9110, 14). Where it breaks off, the rest is asked
    /// for. From a registry that does not know ranges comes the whole, which is kept for the next part.
    pub(super) async fn blob_range(
        &self,
        descriptor: &Descriptor,
        offset: u64,
        length: u64,
    ) -> Result<Bytes, content::Error> {
        if let Some(whole) = self.wholes.get(descriptor).await {
            return read_file_range(whole, offset, length).await;
        }
        let part = offset..offset + length;
        let answer = self.request_part(descriptor, part.clone(), None).await?;
        if answer.status() != StatusCode::PARTIAL_CONTENT {
            let whole = self.wholes.keep(descriptor, self.go_on_with(answer, descriptor).await?).await?;
            return read_file_range(whole, offset, length).await;
        }
        let request = answer.request().to_owned();
        if !answer.is_part(part.clone(), descriptor.size) {
            let last = part.end - 1;
            return Err(Error::content(&request, format!("another range than bytes={offset}-{last}")).into());
        }
        let mut bytes = BytesMut::new();
        let mut chunks = pin!(Download::part(self, descriptor, part, answer).into_stream());
        while let Some(chunk) = chunks.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() as u64 != length {
            return Err(
                Error::content(&request, format!("{}, expected {length}", text::bytes(bytes.len() as u64))).into()
            );
        }
        Ok(bytes.freeze())
    }

    /// The registry's answer to a request for a part of a blob, which is to be of the version `etag`, if it is known: that
    /// part, or all of it (RFC 9110, sections 14.2 and 13.1.5).
    pub(super) async fn request_part(
        &self,
        descriptor: &Descriptor,
        part: Range<u64>,
        etag: Option<&HeaderValue>,
    ) -> Result<Answer, Error> {
        let url = self.session.url(&Endpoint::Blob(self.repository.name.clone(), descriptor.digest));
        let mut call = Call::new(Method::GET, url).streamed().with_part(&part);
        if let Some(etag) = etag {
            call = call.with_header(header::IF_RANGE, etag.clone());
        }
        self.session.send(&call, &self.pull()).await
    }

    /// Returns if the blob is there.
    pub(super) async fn head_blob(&self, descriptor: &Descriptor) -> Result<(), Error> {
        self.look_at_blob(descriptor, &self.push()).await.map(|_| ())
    }
}

impl Call<'_> {
    /// This request for a part of something, of at least one byte. Who does not know ranges sends all of it.
    fn with_part(self, part: &Range<u64>) -> Self {
        match HeaderValue::from_str(&format!("bytes={}-{}", part.start, part.end.saturating_sub(1))) {
            Ok(range) => self.with_header(header::RANGE, range),
            // Digits and a dash are good for a header.
            Err(_) => self,
        }
    }
}

impl Answer {
    /// Whether it brings these bytes of content that has `size` of them.
    pub(super) fn is_part(&self, range: Range<u64>, size: u64) -> bool {
        let expected = format!("bytes {}-{}", range.start, range.end.saturating_sub(1));
        let found = self.header(header::CONTENT_RANGE.as_str()).and_then(|found| found.split_once('/'));
        self.status() == StatusCode::PARTIAL_CONTENT
            && found.is_some_and(|(range, of)| range.trim() == expected && (of == "*" || of.parse() == Ok(size)))
    }

    /// This answer, if it is to a GET of the whole content that `descriptor` names, as far as its head says.
    pub(super) async fn expect_whole(self, descriptor: &Descriptor) -> Result<Self, Error> {
        let answer = self.expect(StatusCode::OK).await?;
        if let Some(found) = answer.content_length().filter(|found| *found != descriptor.size) {
            // A web page instead of content is no wrong content, but no registry.
            answer.reject_web_page()?;
            return Err(Error::content(
                answer.request(),
                format!("{}, expected {}", text::bytes(found), descriptor.size),
            ));
        }
        Ok(answer)
    }
}
