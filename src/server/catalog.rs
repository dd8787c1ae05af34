//! `/v2/_catalog`: the repositories, as Docker's registry lists them.

use http::StatusCode;
use http::header::LINK;
use serde::Serialize;

use super::answer::{self, Result};
use super::auth::Caller;
use super::repositories::Repositories;
use super::request::Request;
use crate::protocol::Endpoint;
use crate::reference::Name;

/// How many repositories an answer lists at most, and when nothing is said.
const PAGE: usize = 1000;

#[derive(Serialize)]
struct Catalog<'a> {
    repositories: Vec<&'a str>,
}

/// GET: the repositories that the caller may read, in byte order, at most `n`, after `last`; where there are more, `Link`
/// says how to go on.
pub(super) async fn list(repositories: &Repositories, caller: &Caller, request: &Request) -> Result {
    let limit = request.page_size()?.map_or(PAGE, |n| n.min(PAGE));
    let (names, has_more) = find(repositories, caller, request.parameter("last").as_deref(), limit).await?;
    let content = Catalog { repositories: names.iter().map(Name::as_str).collect() };
    // Strings are always JSON.
    let body = serde_json::to_vec(&content).unwrap_or_default();
    let mut response = answer::full(StatusCode::OK, "application/json", body.into());
    if let (true, Some(last)) = (has_more, names.last()) {
        let path = Endpoint::Catalog;
        answer::set(&mut response, LINK, format_args!("<{path}?n={limit}&last={last}>; rel=\"next\""));
    }
    Ok(response)
}

/// The repositories that the caller may read, in byte order, at most `limit` after `after`; and whether there are more.
pub(super) async fn find(
    repositories: &Repositories,
    caller: &Caller,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Name>, bool)> {
    let mut after = after.map(str::to_owned);
    let mut names: Vec<Name> = Vec::new();
    // One more than is asked for says whether there are more.
    while limit > 0 && names.len() <= limit {
        let page = repositories.repositories(after.as_deref(), PAGE).await?;
        let is_last = page.len() < PAGE;
        after = page.last().map(|name| name.as_str().to_owned());
        names.extend(page.into_iter().filter(|name| caller.sees(name)));
        if is_last {
            break;
        }
    }
    let has_more = names.len() > limit;
    names.truncate(limit);
    Ok((names, has_more))
}
