//! Blobs of which nothing is known but the digest: how large they are, their bytes, a part of them, and removing them
//! (distribution-spec v1.1.1, "Pulling blobs", "Deleting Blobs").

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use http::{HeaderValue, header};
use reqwest::{Method, StatusCode};

use crate::content::{self, Reader};
use crate::digest::Digest;
use crate::manifest::{Descriptor, media_type};
use crate::protocol::{ByteRange, ContentRange, Endpoint, Scope};
use crate::reference::Identifier;

use super::Error;
use super::answer::Answer;
use super::repository::RemoteRepository;
use super::transport::Call;
use crate::text::bytes;

impl RemoteRepository {
    /// How many bytes a blob has (end-2). Its media type is not known to the registry: that of the descriptor is
    /// [`media_type::OCTET_STREAM`].
    ///
    /// # Errors
    /// [`content::ErrorKind::NotFound`] when the repository has no such blob.
    pub async fn resolve_blob(&self, digest: Digest) -> Result<Descriptor, Error> {
        let unknown = unsized_blob(digest);
        let answer = self.look_at_blob(&unknown, &self.pull()).await?;
        if let Some(size) = answer.content_length() {
            return Ok(Descriptor { size, ..unknown });
        }
        self.get_blob(&unknown).await.map(|(_, descriptor)| descriptor)
    }

    /// A blob's bytes (end-2), verified as they are read.
    ///
    /// # Errors
    /// [`content::ErrorKind::NotFound`] when the repository has no such blob, [`content::ErrorKind::Remote`] when the
    /// registry does not say how many bytes it has.
    pub async fn open_blob(&self, digest: Digest) -> Result<Reader, Error> {
        let (answer, descriptor) = self.get_blob(&unsized_blob(digest)).await?;
        self.go_on_with(answer, &descriptor).await
    }

    /// A part of a blob (RFC 9110, section 14).
    ///
    /// **Nothing vouches for it**: a part cannot be held against the digest of the whole. Only from a registry that does
    /// not know ranges comes the whole, which is verified as it is read; what is not in the part is left out.
    ///
    /// # Errors
    /// [`content::ErrorKind::NotFound`] when there is no such blob, or no such part of it.
    pub async fn open_blob_range_unverified(
        &self,
        digest: Digest,
        range: ByteRange,
    ) -> Result<BoxStream<'static, Result<Bytes, content::Error>>, content::Error> {
        let url = self.session.url(&Endpoint::Blob(self.repository.name.clone(), digest));
        // Digits and a dash are good for a header.
        let value = HeaderValue::from_str(&format!("bytes={range}"));
        let value = value.map_err(|error| content::Error::new(content::ErrorKind::Local, error))?;
        let call = Call::new(Method::GET, url).with_header(header::RANGE, value).streamed();
        let answer = self.session.send(&call, &self.pull()).await?;
        match answer.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => {
                Err(content::Error::not_found(format!("of {digest}, there are no bytes in the range {range}")))
            }
            StatusCode::OK => {
                let (answer, descriptor) = sized(answer, &unsized_blob(digest))?;
                Ok(self.go_on_with(answer, &descriptor).await?.only(range)?.boxed())
            }
            _ => {
                let answer = answer.expect(StatusCode::PARTIAL_CONTENT).await?;
                let length = answer.part_length(range)?;
                Ok(exactly(answer, length).map_err(content::Error::from).boxed())
            }
        }
    }

    /// Removes a blob from the repository (end-10).
    ///
    /// # Errors
    /// [`content::ErrorKind::NotFound`] when the repository has no such blob. Many registries remove no blobs on request.
    pub async fn delete_blob(&self, digest: Digest) -> Result<(), Error> {
        let hint = "this registry removes blobs only by itself, once no manifest needs them";
        self.remove(&Endpoint::Blob(self.repository.name.clone(), digest), hint).await
    }

    /// Removes what `endpoint` names. `hint` says what to do where the registry does not.
    pub(super) async fn remove(&self, endpoint: &Endpoint, hint: &str) -> Result<(), Error> {
        const REMOVED: [StatusCode; 3] = [StatusCode::ACCEPTED, StatusCode::OK, StatusCode::NO_CONTENT];
        let call = Call::new(Method::DELETE, self.session.url(endpoint));
        let answer = self.session.send(&call, &self.delete()).await?;
        let is_tag = matches!(endpoint, Endpoint::Manifest(_, Identifier::Tag(_)));
        let is_undone = match answer.status() {
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => true,
            // Docker's registry takes the tag for a digest.
            StatusCode::BAD_REQUEST => is_tag,
            _ => false,
        };
        if is_undone {
            let what = format!("the registry does not do this ({})", answer.status());
            return Err(Error::Answer { request: answer.request().to_owned(), what, hint: Some(hint.to_owned()) });
        }
        answer.expect_one_of(&REMOVED).await?.reject_web_page()
    }

    /// The answer to a HEAD of a blob that is there (end-2); or to a GET, whose body nobody reads, from a registry that
    /// does not know HEAD.
    pub(super) async fn look_at_blob(&self, descriptor: &Descriptor, scope: &Scope) -> Result<Answer, Error> {
        let mut answer = self.request_blob(Method::HEAD, descriptor, scope).await?;
        if answer.knows_no_head() {
            answer = self.request_blob(Method::GET, descriptor, scope).await?;
        }
        let answer = answer.expect(StatusCode::OK).await?;
        answer.reject_web_page()?;
        Ok(answer)
    }

    /// The answer to a GET of a blob, and the blob's descriptor with the size that the answer says.
    async fn get_blob(&self, unknown: &Descriptor) -> Result<(Answer, Descriptor), Error> {
        let answer = self.request_blob(Method::GET, unknown, &self.pull()).await?.expect(StatusCode::OK).await?;
        sized(answer, unknown)
    }
}

fn unsized_blob(digest: Digest) -> Descriptor {
    Descriptor::new(media_type::OCTET_STREAM, digest, 0)
}

fn sized(answer: Answer, unknown: &Descriptor) -> Result<(Answer, Descriptor), Error> {
    answer.reject_web_page()?;
    let size = answer.content_length();
    let size = size.ok_or_else(|| Error::answer(answer.request(), "does not say how many bytes it has"))?;
    Ok((answer, Descriptor { size, ..unknown.clone() }))
}

impl Answer {
    /// Whether the registry does not answer to HEAD; GET may do.
    pub(super) fn knows_no_head(&self) -> bool {
        matches!(self.status(), StatusCode::BAD_REQUEST | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
    }

    /// How many bytes the part has that came, which has to be the one that was asked for.
    fn part_length(&self, asked: ByteRange) -> Result<u64, Error> {
        let found = self.header(header::CONTENT_RANGE.as_str()).and_then(|value| value.parse::<ContentRange>().ok());
        match found {
            Some(found) if found.answers(asked) => Ok(found.length()),
            _ => Err(Error::content(self.request(), format!("another range than bytes={asked}"))),
        }
    }
}

/// The body, which has to have so many bytes, neither more nor less.
fn exactly(answer: Answer, length: u64) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
    let request = answer.request().to_owned();
    stream::try_unfold((answer.into_stream().boxed(), 0, request), move |(mut body, received, request)| async move {
        let chunk = body.try_next().await?;
        let received = received + chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        let is_wrong = if chunk.is_some() { received > length } else { received != length };
        if is_wrong {
            return Err(Error::content(&request, format!("{}, expected {length}", bytes(received))));
        }
        Ok(chunk.map(|chunk| (chunk, (body, received, request))))
    })
}
