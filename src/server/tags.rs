//! `/v2/<name>/tags/list` (distribution-spec v1.1.1, "Listing Tags").

use http::StatusCode;
use http::header::LINK;
use serde::Serialize;

use super::answer::{self, Problem, Result};
use super::repositories::Repositories;
use super::request::Request;
use crate::protocol::{Endpoint, ErrorCode};
use crate::reference::{Name, Tag};

/// How many tags an answer lists at most.
const PAGE: usize = 10_000;

#[derive(Serialize)]
struct TagList<'a> {
    name: &'a str,
    tags: Vec<&'a str>,
}

/// GET: the tags in byte order, at most `n`, after `last`; where there are more, `Link` says how to go on. (end-8)
pub(super) async fn list(repositories: &Repositories, request: &Request, name: &Name) -> Result {
    let limit = request.page_size()?.map_or(PAGE, |n| n.min(PAGE));
    let last = request.parameter("last");
    // One more than is asked for says whether there are more.
    let mut tags = repositories
        .tags(name, last.as_deref(), limit + 1)
        .await?
        .ok_or_else(|| Problem::new(ErrorCode::NameUnknown, format!("there is no repository {name}")))?;
    let has_more = tags.len() > limit;
    tags.truncate(limit);

    let content = TagList { name: name.as_str(), tags: tags.iter().map(Tag::as_str).collect() };
    // Strings are always JSON.
    let body = serde_json::to_vec(&content).unwrap_or_default();
    let mut response = answer::full(StatusCode::OK, "application/json", body.into());
    if let (true, Some(last)) = (has_more, tags.last()) {
        let path = Endpoint::Tags(name.clone());
        answer::set(&mut response, LINK, format_args!("<{path}?n={limit}&last={last}>; rel=\"next\""));
    }
    Ok(response)
}
