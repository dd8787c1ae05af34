//! What unfinished work left, and the data of contents that were discarded.
//!
//! Data belong to the session that they are named after while that is open, and then to the content that consists of
//! them. What else there is has an object below `uploads/`, which says to which content the data belonged, if to any:
//! written before a content is discarded, and there still when a process was killed while it finished or cancelled an
//! upload. Data are deleted here when that content, there or aside, does not consist of them; a while later, so that who
//! has opened the content can read it to its end, and who is just finishing an upload can do so.

use std::time::{Duration, SystemTime};

use super::super::{Error, Item, Leftovers, SessionId, Sweep};
use super::content::{self, Content};
use super::object::{Object, Value};
use super::objects::{Entry, Found, Objects, written};
use super::paths;
use super::uploads::{FINISH_LIMIT, Session, State, Uploads};
use crate::digest::Digest;

/// How long data stay that may be nobody's.
const KEPT: Duration = Duration::from_mins(10);
const _: () = assert!(KEPT.as_secs() > 2 * FINISH_LIMIT.as_secs());
/// How many sessions are listed at once.
const PAGE: usize = 1000;

/// Says that what a content consists of may soon be nobody's.
pub(super) async fn announce(objects: &Objects, item: &Item, value: &Value) -> Result<(), Error> {
    let Item::Content(digest) = item else { return Ok(()) };
    let content = Content::decode(&value.bytes).ok_or_else(|| Error::Damaged(item.to_string()))?;
    let Some(session) = content.has_parts().then(|| content.data.parse::<SessionId>().ok()).flatten() else {
        return Ok(());
    };
    let ended = Session { state: State::Content(*digest), content };
    let value = content::encode(&ended, &bytes::Bytes::new())?;
    let announced = move |_| (Some(Object::of(value.clone())), ());
    objects.change(&paths::upload(&session), true, announced).await
}

pub(super) async fn find(
    uploads: &Uploads,
    objects: &Objects,
    since: SystemTime,
    sweep: Sweep,
) -> Result<Leftovers, Error> {
    let (mut leftovers, mut after) = (Leftovers::default(), None::<SessionId>);
    loop {
        let pick = |name: &str, entry: Entry<'_>| match entry {
            Entry::Object(meta) => Some((name.parse::<SessionId>().ok()?, written(meta))),
            Entry::Folder => None,
        };
        let offset = after.as_ref().map(ToString::to_string);
        let page = objects.list(paths::UPLOADS, false, offset.as_deref(), PAGE, pick).await?;
        for (name, modified) in &page {
            if *modified < since {
                look(uploads, objects, name, since, sweep, &mut leftovers).await?;
            }
        }
        match page.into_iter().next_back() {
            Some((last, _)) => after = Some(last),
            None => return Ok(leftovers),
        }
    }
}

async fn look(
    uploads: &Uploads,
    objects: &Objects,
    name: &SessionId,
    since: SystemTime,
    sweep: Sweep,
    leftovers: &mut Leftovers,
) -> Result<(), Error> {
    let Some(found) = objects.get(&paths::upload(name)).await? else { return Ok(()) };
    let Some(session) = Session::decode(&found) else { return Ok(()) };
    let modified = found.object.live.as_ref().and_then(|value| value.modified);
    let is_older = |moment| modified.is_some_and(|modified| modified < moment);
    match &session.state {
        State::Open(_) if is_older(since) => {
            let size = session.content.size();
            if cancel(uploads, name, found, session, sweep).await? {
                leftovers.uploads += 1;
                leftovers.bytes += size;
            }
        }
        State::Content(digest) if sweep == Sweep::Remove && is_older(since.min(SystemTime::now() - KEPT)) => {
            if !consists_of(objects, *digest, name).await? {
                Content::delete_data(name, objects).await?;
            }
            objects.delete(&paths::upload(name)).await?;
        }
        State::Cancelled if sweep == Sweep::Remove && is_older(since.min(SystemTime::now() - KEPT)) => {
            Content::delete_data(name, objects).await?;
            objects.delete(&paths::upload(name)).await?;
        }
        State::Open(_) | State::Content(_) | State::Cancelled => {}
    }
    Ok(())
}

/// Ends a session, or would do so; `false` when somebody is writing to it.
async fn cancel(
    uploads: &Uploads,
    name: &SessionId,
    found: Found,
    session: Session,
    sweep: Sweep,
) -> Result<bool, Error> {
    let Some(upload) = uploads.take(name, found, session) else { return Ok(false) };
    if sweep == Sweep::Count {
        return Ok(true);
    }
    match upload.cancel().await {
        Err(Error::UploadBusy(_) | Error::UploadUnknown(_)) => Ok(false),
        cancelled => cancelled.map(|()| true),
    }
}

/// Whether the content, or what is aside of it, has its data there.
async fn consists_of(objects: &Objects, digest: Digest, name: &SessionId) -> Result<bool, Error> {
    let Some(found) = objects.get(&paths::content(digest)).await? else { return Ok(false) };
    let Object { live, aside } = found.object;
    for value in live.iter().chain(aside.iter().map(|(_, value)| value)) {
        let content = Content::decode(&value.bytes).ok_or_else(|| Error::Damaged(format!("content {digest}")))?;
        if content.data == name.to_string() {
            return Ok(true);
        }
    }
    Ok(false)
}
