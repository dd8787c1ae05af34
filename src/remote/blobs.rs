//! Blobs, as they are asked for (distribution-spec v1.1.1, "Pulling blobs", "Checking if content exists in the
//! registry"). How they get there is in `uploads`.

use futures::TryStreamExt;
use reqwest::{Method, StatusCode};

use crate::content::{self, Reader};
use crate::manifest::Descriptor;
use crate::protocol::Endpoint;

use super::Error;
use super::answer::Answer;
use super::auth::Scope;
use super::repository::RemoteRepository;
use super::transport::Call;

impl RemoteRepository {
    /// The registry's answer to a request for a blob (end-2).
    pub(super) async fn request_blob(
        &self,
        method: Method,
        descriptor: &Descriptor,
        scope: &Scope,
    ) -> Result<Answer, Error> {
        let url = self.session.url(&Endpoint::Blob(self.repository.name.clone(), descriptor.digest));
        self.session.send(&Call::new(method, url), scope).await
    }

    /// Returns if the blob is there.
    pub(super) async fn head_blob(&self, descriptor: &Descriptor) -> Result<(), Error> {
        let answer = self.request_blob(Method::HEAD, descriptor, &self.push()).await?.expect(StatusCode::OK).await?;
        answer.reject_web_page()
    }
}

/// Reads content from the answer to a GET of it.
pub(super) async fn reader(answer: Answer, descriptor: &Descriptor) -> Result<Reader, Error> {
    let answer = answer.expect(StatusCode::OK).await?;
    if let Some(found) = answer.content_length().filter(|found| *found != descriptor.size) {
        // A web page instead of content is no wrong content, but no registry.
        answer.reject_web_page()?;
        return Err(Error::content(answer.request(), format!("{found} bytes, expected {}", descriptor.size)));
    }
    Ok(Reader::new(descriptor, answer.into_stream().map_err(content::Error::from)))
}
