//! `/v2/<name>/referrers/<digest>` (distribution-spec v1.1.1, "Listing Referrers").

use http::StatusCode;
use http::header::{HeaderName, LINK};
use serde::Serialize;

use super::answer::{self, Result};
use super::repositories::Repositories;
use super::request::Request;
use crate::digest::Digest;
use crate::manifest::{Descriptor, media_type};
use crate::protocol::header::OCI_FILTERS_APPLIED;
use crate::protocol::{Endpoint, ErrorCode};
use crate::reference::Name;

/// How many referrers are read at once. Few, because the annotations of each may have 4 MiB.
const PAGE: usize = 8;
/// How many bytes of descriptors one answer looks at, unless a single one has more. Clients take image indexes of up to
/// 4 MiB.
const ENOUGH: usize = 2 * 1024 * 1024;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u32,
    media_type: &'static str,
    manifests: Vec<Descriptor>,
}

/// GET: an image index of the manifests that have `subject` as their subject, whether that is there or not; those of one
/// artifact type, if that is asked for. A list that is too long for one answer goes on where `Link` says. (end-12)
pub(super) async fn list(repositories: &Repositories, request: &Request, name: &Name, subject: Digest) -> Result {
    let wanted = request.parameter("artifactType");
    let after = request.parsed("last", &ErrorCode::DigestInvalid)?;
    let (manifests, next) = read(repositories, name, subject, wanted.as_deref(), after).await?;
    let index = Index { schema_version: 2, media_type: media_type::OCI_INDEX, manifests };
    // What was read from JSON can be written as JSON.
    let body = serde_json::to_vec(&index).unwrap_or_default();
    let mut response = answer::full(StatusCode::OK, media_type::OCI_INDEX, body.into());
    if wanted.is_some() {
        answer::set(&mut response, HeaderName::from_static(OCI_FILTERS_APPLIED), "artifactType");
    }
    if let Some(last) = next {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(wanted.map(|wanted| ("artifactType", wanted)));
        let query = query.append_pair("last", &last.to_string()).finish();
        let path = Endpoint::Referrers(name.clone(), subject);
        answer::set(&mut response, LINK, format_args!("<{path}?{query}>; rel=\"next\""));
    }
    Ok(response)
}

/// The referrers that one answer has, and the last one that was looked at, if there may be more after that.
async fn read(
    repositories: &Repositories,
    name: &Name,
    subject: Digest,
    wanted: Option<&str>,
    mut after: Option<Digest>,
) -> Result<(Vec<Descriptor>, Option<Digest>)> {
    let (mut manifests, mut read) = (Vec::new(), 0);
    loop {
        let page = repositories.referrers(name, subject, after, PAGE).await?;
        if page.is_empty() {
            return Ok((manifests, None));
        }
        for descriptor in page {
            let length = serde_json::to_vec(&descriptor).map_or(0, |json| json.len());
            if read > 0 && read + length > ENOUGH {
                return Ok((manifests, after));
            }
            read += length;
            after = Some(descriptor.digest);
            if descriptor.has_artifact_type(wanted) {
                manifests.push(descriptor);
            }
        }
    }
}
