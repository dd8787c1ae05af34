//! Uploads of blobs (distribution-spec v1.1.1, "Pushing a blob monolithically": POST then PUT).

use http::header::{CONTENT_TYPE, HeaderValue, LOCATION};
use reqwest::{Method, StatusCode, Url};

use crate::content::Open;
use crate::manifest::Descriptor;
use crate::protocol::Endpoint;

use super::Error;
use super::answer::Answer;
use super::payload::Payload;
use super::redirect;
use super::repository::RemoteRepository;
use super::transport::Call;

impl RemoteRepository {
    /// Uploads what `from` opens: asks where to (end-4a), then sends it there at once (end-6), with its length, and
    /// without holding it in memory.
    pub(super) async fn upload(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<(), Error> {
        let start = Call::new(Method::POST, self.session.url(&Endpoint::Uploads(self.repository.name.clone())));
        let accepted = self.session.send(&start, &self.push()).await?.expect(StatusCode::ACCEPTED).await?;
        self.go_on_uploading(&accepted, descriptor, from).await
    }

    /// Sends what `from` opens to where `accepted` says, which is an answer to a POST.
    pub(super) async fn go_on_uploading(
        &self,
        accepted: &Answer,
        descriptor: &Descriptor,
        from: &dyn Open,
    ) -> Result<(), Error> {
        let put = Call::new(Method::PUT, destination(accepted, descriptor)?)
            .with_header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
            .with_payload(Payload::Content(descriptor, from));
        let done = self.session.send(&put, &self.push()).await?.expect(StatusCode::CREATED).await?;
        done.confirm(descriptor.digest)
    }
}

/// Where the registry wants the blob: what its `Location` says, with the digest after what is in its query already.
fn destination(accepted: &Answer, descriptor: &Descriptor) -> Result<Url, Error> {
    let location = accepted
        .header(LOCATION.as_str())
        .ok_or_else(|| Error::answer(accepted.request(), "does not say where to upload to (no location)"))?;
    let mut url = redirect::target(accepted.url(), location)
        .map_err(|what| Error::answer(accepted.request(), format!("names {what} to upload to")))?;
    url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
    Ok(url)
}
