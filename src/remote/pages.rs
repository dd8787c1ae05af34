//! Lists that come in pages (distribution-spec v1.1.1, "Listing Tags"): asked for one after the other, and only as far as
//! somebody reads. No more than one page is in memory.

use std::fmt;
use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::header::LINK;
use reqwest::{Method, StatusCode, Url};
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::protocol::{Endpoint, Scope, next_page};
use crate::text::excerpt;

use super::Error;
use super::answer::Answer;
use super::redirect;
use super::session::Session;
use super::transport::Call;

/// How many entries to ask for at once. Some registries refuse to be asked for more.
const PAGE: &str = "1000";
/// How large a page may be, in bytes. There are registries that have but one, and those that say more than was asked.
const MAX_PAGE_SIZE: u64 = 32 * 1024 * 1024;
/// How many entries a page may have: short ones take many times more memory than they have bytes.
const MAX_ENTRIES: usize = 500_000;
/// How many pages a list may have.
const MAX_PAGES: usize = 5_000;

/// The entries of a list that begins at `endpoint`. `entries` finds those of a page, of which it may complain in words.
pub(super) fn list<P, T>(
    session: &Arc<Session>,
    endpoint: &Endpoint,
    scope: Scope,
    entries: impl Fn(P) -> Result<Vec<T>, String> + Send + Sync + 'static,
) -> BoxStream<'static, Result<T, Error>>
where
    P: DeserializeOwned + Send,
    T: Send + 'static,
{
    let mut first = session.url(endpoint);
    first.query_pairs_mut().append_pair("n", PAGE);
    let pages = Pages { session: Arc::clone(session), scope, next: Some(first), read: 0 };
    let entries = Arc::new(entries);
    stream::try_unfold(pages, move |mut pages| {
        let entries = Arc::clone(&entries);
        async move {
            let Some((request, page)) = pages.read::<P>().await? else { return Ok::<_, Error>(None) };
            let entries = entries(page).map_err(|what| Error::answer(&request, what))?;
            Ok(Some((stream::iter(entries.into_iter().map(Ok::<T, Error>)), pages)))
        }
    })
    .try_flatten()
    .boxed()
}

/// The names in a page. There is none where registries written in Go have `null`.
#[derive(Default)]
pub(super) struct Names(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_option(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MAX_ENTRIES} names")
    }

    fn visit_none<E: de::Error>(self) -> Result<Names, E> {
        Ok(Names::default())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Names, D::Error> {
        deserializer.deserialize_seq(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Names, A::Error> {
        let mut all = Vec::new();
        while let Some(name) = names.next_element()? {
            if all.len() == MAX_ENTRIES {
                return Err(de::Error::invalid_length(MAX_ENTRIES + 1, &self));
            }
            all.push(name);
        }
        Ok(Names(all))
    }
}

/// Where a list is being read.
struct Pages {
    session: Arc<Session>,
    scope: Scope,
    next: Option<Url>,
    read: usize,
}

impl Pages {
    /// The next page, and the request for it.
    async fn read<P: DeserializeOwned>(&mut self) -> Result<Option<(String, P)>, Error> {
        let Some(url) = self.next.take() else { return Ok(None) };
        let call = Call::new(Method::GET, url);
        let answer = self.session.send(&call, &self.scope).await?.expect(StatusCode::OK).await?;
        answer.reject_web_page()?;
        self.read += 1;
        self.next = self.following(&call.url, &answer)?;
        let request = answer.request().to_owned();
        let body = answer.read(MAX_PAGE_SIZE).await?;
        let page = serde_json::from_slice(&body)
            .map_err(|error| Error::answer(&request, format!("is no list: {}", excerpt(&error.to_string()))))?;
        Ok(Some((request, page)))
    }

    /// Where the list goes on after the page at `url`. There it has to be on the same registry, and to end some time.
    fn following(&self, url: &Url, answer: &Answer) -> Result<Option<Url>, Error> {
        let next = next_url(answer, url)?;
        let wrong = |what: String| Err(Error::answer(answer.request(), what));
        match &next {
            Some(next) if next == url => wrong("goes on at the same page again".to_owned()),
            Some(_) if self.read >= MAX_PAGES => wrong(format!("goes on after {MAX_PAGES} pages")),
            _ => Ok(next),
        }
    }
}

/// Where a list goes on that `answer` is a page of, which is nowhere but at the origin of `registry`.
pub(super) fn next_url(answer: &Answer, registry: &Url) -> Result<Option<Url>, Error> {
    let wrong = |what: String| Error::answer(answer.request(), what);
    let Some(link) = answer.headers(LINK.as_str()).find_map(next_page) else { return Ok(None) };
    let next = redirect::target(answer.url(), link).map_err(|what| wrong(format!("goes on at {what}")))?;
    if next.origin() != registry.origin() {
        return Err(wrong(format!("goes on at another registry ({})", next.origin().ascii_serialization())));
    }
    Ok(Some(next))
}
