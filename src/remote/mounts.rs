//! Mounts (distribution-spec v1.1.1, "Mounting a blob from another repository"): using what the registry has in another
//! repository, without sending it.

use reqwest::{Method, StatusCode};

use crate::content::{Open, Outcome};
use crate::manifest::Descriptor;
use crate::protocol::{Endpoint, Scope};
use crate::reference::Name;

use super::Error;
use super::answer::Answer;
use super::repository::RemoteRepository;
use super::retry::Repeat;
use super::transport::Call;

impl RemoteRepository {
    /// Mounts a blob, if `from` is another repository of this registry and the registry lets it; else uploads it.
    pub(super) async fn mount_or_upload(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, Error> {
        if let Some(origin) = from.origin().filter(|origin| origin.registry == self.repository.registry)
            && origin.name != self.repository.name
            && let Some(answer) = self.request_mount(descriptor, &origin.name).await?
        {
            if answer.status() == StatusCode::CREATED {
                answer.confirm(descriptor.digest)?;
                return Ok(Outcome::Mounted);
            }
            // What it will not mount it takes as an upload, which has begun with this.
            self.go_on_uploading(&answer, descriptor, from).await?;
        } else {
            self.upload(descriptor, from).await?;
        }
        Ok(Outcome::Uploaded)
    }

    /// The registry's answer to a request to mount a blob (end-11), if it is one of the two that it may give. Who may not
    /// read there may still write here, so that a refusal is no answer.
    async fn request_mount(&self, descriptor: &Descriptor, from: &Name) -> Result<Option<Answer>, Error> {
        let mut url = self.session.url(&Endpoint::Uploads(self.repository.name.clone()));
        url.query_pairs_mut().append_pair("mount", &descriptor.digest.to_string()).append_pair("from", from.as_str());
        // Mounted twice is mounted once, and a session that nobody goes on with ends by itself.
        let mount = Call::new(Method::POST, url).repeat(Repeat::Freely);
        match self.session.send(&mount, [self.push(), Scope::pull(from)]).await {
            Ok(answer) => {
                let is_heeded = matches!(answer.status(), StatusCode::CREATED | StatusCode::ACCEPTED);
                Ok(Some(answer).filter(|_| is_heeded))
            }
            Err(Error::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
