//! Uploads of blobs (distribution-spec v1.1.1, "Pushing a blob monolithically" and "in chunks").
//!
//! A blob goes up in one request, if it can. What breaks off goes on from where the registry says that it stands, in a
//! session of its own from the beginning where it does not say, and in smaller and smaller chunks where nothing arrives.

use std::ops::Range;
use std::time::Duration;

use http::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use reqwest::{Method, StatusCode, Url};
use tokio::runtime::{Builder, Handle};

use crate::content::{ErrorKind, Open};
use crate::manifest::{Descriptor, media_type};
use crate::protocol::{ChunkRange, Endpoint, ErrorCode, header};

use super::Error;
use super::answer::Answer;
use super::manifests::STORED;
use super::parts::Parts;
use super::payload::Payload;
use super::redirect;
use super::repository::RemoteRepository;
use super::retry::{Repeat, is_progress};
use super::transport::Call;
use crate::text::bytes;

/// How many bytes a chunk has, unless the registry wants more, or takes fewer.
const CHUNK: u64 = 16 * 1024 * 1024;
/// The fewest bytes that a registry is offered in one request: it is of no use if it takes no more.
const SMALLEST_CHUNK: u64 = 256 * 1024;
/// How long a registry may take to hear that an upload is given up. Whoever waits for the error waits as long.
const FAREWELL: Duration = Duration::from_secs(2);
/// How often it is told, if nothing is heard of it: the connections of a program that is ending end under it.
const FAREWELLS: usize = 3;
/// What registries answer when an upload may begin or go on: that the request is accepted, or something that means the
/// same.
const GOES_ON: [StatusCode; 4] = [StatusCode::ACCEPTED, StatusCode::CREATED, StatusCode::OK, StatusCode::NO_CONTENT];

impl RemoteRepository {
    /// Uploads what `from` opens: asks where to (end-4a), and sends it there, without holding it in memory.
    pub(super) async fn upload(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<(), Error> {
        let accepted = self.begin_upload().await?;
        self.go_on_uploading(&accepted, descriptor, from).await
    }

    /// Sends what `from` opens to where `accepted` says, which is an answer to a POST. If that comes to nothing, the
    /// registry learns that it need not keep what it has got.
    pub(super) async fn go_on_uploading(
        &self,
        accepted: &Answer,
        descriptor: &Descriptor,
        from: &dyn Open,
    ) -> Result<(), Error> {
        let preferred = minimum_chunk(accepted).map_or(u64::MAX, |minimum| minimum.max(CHUNK));
        let mut upload = Upload {
            repository: self,
            descriptor,
            parts: Parts::new(descriptor, from),
            location: location(accepted)?
                .ok_or_else(|| Error::answer(accepted.request(), "does not say where to upload to (no location)"))?,
            stored: 0,
            chunk: preferred,
            smallest: minimum_chunk(accepted).unwrap_or(0).max(SMALLEST_CHUNK),
            is_open: true,
        };
        let outcome = upload.run().await;
        if outcome.is_err() {
            self.cancel_upload(upload.location.clone()).await;
        }
        upload.is_open = false;
        outcome
    }

    /// Begins an upload session.
    async fn begin_upload(&self) -> Result<Answer, Error> {
        // A session that nobody goes on with ends by itself.
        let start = Call::new(Method::POST, self.session.url(&Endpoint::Uploads(self.repository.name.clone())))
            .repeat(Repeat::Freely);
        let answer = self.session.send(&start, &self.push()).await?.expect_one_of(&GOES_ON).await?;
        answer.reject_web_page()?;
        Ok(answer)
    }

    /// Ends an upload session with nothing stored, if the registry does that and does it soon. On another host, where a
    /// location may lead, nobody knows what a DELETE removes.
    async fn cancel_upload(&self, location: Url) {
        if location.origin() != self.session.url(&Endpoint::Base).origin() {
            return;
        }
        let cancel = Call::new(Method::DELETE, location).repeat(Repeat::Never);
        let say = async {
            for _ in 0..FAREWELLS {
                match self.session.send(&cancel, &self.push()).await {
                    Err(error) if error.is_transient() => {}
                    _ => return,
                }
            }
        };
        let _ = tokio::time::timeout(FAREWELL, say).await;
    }
}

/// An upload that is under way.
struct Upload<'a> {
    repository: &'a RemoteRepository,
    descriptor: &'a Descriptor,
    parts: Parts<'a>,
    /// Where the registry wants the next bytes.
    location: Url,
    /// How many bytes it has.
    stored: u64,
    /// How many bytes it gets in one request, at most.
    chunk: u64,
    /// How few bytes it may be offered.
    smallest: u64,
    /// Whether the registry keeps a session for it.
    is_open: bool,
}

impl Drop for Upload<'_> {
    /// Nobody waits any more, because the program was interrupted or something else has failed.
    fn drop(&mut self) {
        if self.is_open {
            self.abandon();
        }
    }
}

/// Why a request did not help, and what may.
struct Setback {
    error: Error,
    remedy: Remedy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    /// There is none.
    None,
    /// To ask how far the upload has come, and to go on from there.
    Resume,
    /// To begin again, because the session is of no use any more.
    BeginAnew,
    /// To send fewer bytes at once than these.
    SendLess(u64),
}

impl From<Error> for Setback {
    fn from(error: Error) -> Self {
        let remedy = if error.is_transient() { Remedy::Resume } else { Remedy::None };
        Self { error, remedy }
    }
}

impl Upload<'_> {
    /// Sends what is missing, until nothing is, or until there have been too many setbacks with nothing between them.
    async fn run(&mut self) -> Result<(), Error> {
        let mut tries = self.repository.session.tries();
        loop {
            let setback = match self.advance().await {
                Ok(true) => return Ok(()),
                Ok(false) => continue,
                Err(setback) => setback,
            };
            tries.reach(self.stored);
            let may_go_on = match setback.remedy {
                Remedy::None => false,
                // That is no bad luck, and can be repeated only so often.
                Remedy::SendLess(length) => self.send_less(length),
                Remedy::Resume | Remedy::BeginAnew => tries.wait().await,
            };
            if !may_go_on {
                return Err(setback.error);
            }
            // A session may be taken by a request whose end the registry has not seen yet.
            let begins_anew = setback.remedy == Remedy::BeginAnew || tries.is_last();
            if self.recover(&setback.error, begins_anew).await? {
                return Ok(());
            }
        }
    }

    /// Finds out where to go on, and says whether all is done already.
    async fn recover(&mut self, error: &Error, begins_anew: bool) -> Result<bool, Error> {
        let before = self.stored;
        if !begins_anew && self.ask().await? {
            // Nobody answered, and next to nothing arrived: perhaps because it was too much.
            if !matches!(error, Error::Refused(_)) && !is_progress(before, self.stored) {
                self.send_less(self.chunk.min(self.parts.size() - before));
            }
            return Ok(false);
        }
        // The answer that it is done may be what was lost.
        if self.repository.head_blob(self.descriptor).await.is_ok() {
            return Ok(true);
        }
        self.abandon();
        let accepted = self.repository.begin_upload().await?;
        self.stored = 0;
        self.move_to(&accepted)?;
        Ok(false)
    }

    /// Ends the session, for which nobody waits: on a thread, because a runtime that is shut down waits for its threads, and
    /// not for its tasks.
    fn abandon(&self) {
        let Ok(runtime) = Handle::try_current() else { return };
        let (repository, location) = (self.repository.clone(), self.location.clone());
        runtime.spawn_blocking(move || {
            if let Ok(runtime) = Builder::new_current_thread().enable_all().build() {
                runtime.block_on(repository.cancel_upload(location));
            }
        });
    }

    /// Makes one request, and says whether it was the last one.
    async fn advance(&mut self) -> Result<bool, Setback> {
        let (stored, size) = (self.stored, self.parts.size());
        if stored == 0 && size <= self.chunk || stored == size {
            self.finish().await?;
            return Ok(true);
        }
        self.append(size.min(stored.saturating_add(self.chunk))).await?;
        Ok(false)
    }

    /// Sends everything, or nothing if it is there already, and says that this is all (end-6).
    async fn finish(&self) -> Result<(), Setback> {
        let mut url = self.location.clone();
        url.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
        let range = self.stored..self.parts.size();
        let length = range.end - range.start;
        let answer = self.send(Call::new(Method::PUT, url), range).await?;
        if !STORED.contains(&answer.status()) {
            return Err(setback(answer, length).await);
        }
        answer.reject_web_page()?;
        Ok(answer.confirm(self.descriptor.digest)?)
    }

    /// Sends a chunk, or all the rest (end-5).
    async fn append(&mut self, end: u64) -> Result<(), Setback> {
        let chunk = ChunkRange { first: self.stored, last: end - 1 };
        let call = Call::new(Method::PATCH, self.location.clone());
        let call = match HeaderValue::from_str(&chunk.to_string()) {
            Ok(range) => call.with_header(CONTENT_RANGE, range),
            // Digits always are one.
            Err(_) => call,
        };
        let answer = self.send(call, self.stored..end).await?;
        if !GOES_ON.contains(&answer.status()) {
            return Err(setback(answer, chunk.length()).await);
        }
        answer.reject_web_page()?;
        let stored = received(&answer).unwrap_or(end);
        if stored <= self.stored || stored > end {
            let what = format!("took {} of an upload of which {} to {end} were sent", bytes(stored), self.stored);
            return Err(Setback { error: Error::answer(answer.request(), what), remedy: Remedy::BeginAnew });
        }
        self.stored = stored;
        self.move_to(&answer)?;
        Ok(())
    }

    async fn send(&self, call: Call<'_>, range: Range<u64>) -> Result<Answer, Error> {
        let call = call
            .with_header(CONTENT_TYPE, HeaderValue::from_static(media_type::OCTET_STREAM))
            .with_payload(Payload::Part(&self.parts, range))
            .repeat(Repeat::Never);
        self.repository.session.send(&call, &self.repository.push()).await
    }

    /// Asks how far the upload has come (end-13), and says whether that is known now.
    async fn ask(&mut self) -> Result<bool, Error> {
        let call = Call::new(Method::GET, self.location.clone());
        // Whoever is not asked well is asked no more: there is another way.
        let Ok(answer) = self.repository.session.send(&call, &self.repository.push()).await else { return Ok(false) };
        let stored = received(&answer).filter(|stored| answer.status().is_success() && *stored <= self.parts.size());
        let Some(stored) = stored else { return Ok(false) };
        self.stored = stored;
        self.move_to(&answer)?;
        Ok(true)
    }

    /// Heeds where an answer wants the next request, if it says so.
    fn move_to(&mut self, answer: &Answer) -> Result<(), Error> {
        if let Some(location) = location(answer)? {
            self.location = location;
        }
        Ok(())
    }

    /// From now on, sends fewer bytes at once than `length`. Returns whether that is enough to be of use.
    fn send_less(&mut self, length: u64) -> bool {
        let mut chunk = self.chunk.min(CHUNK.max(self.smallest));
        while chunk >= length && chunk >= self.smallest {
            chunk /= 4;
        }
        let is_enough = chunk >= self.smallest;
        if is_enough {
            self.chunk = chunk;
        }
        is_enough
    }
}

/// What an answer that is none of success means for an upload of which it refuses `length` bytes.
async fn setback(answer: Answer, length: u64) -> Setback {
    let (status, is_transient) = (answer.status(), answer.is_transient());
    let has_words = answer.content_length().is_some_and(|length| length > 0);
    let refusal = answer.into_refusal().await;
    let is_wrong = refusal.kind() == ErrorKind::Content;
    let codes = [ErrorCode::BlobUploadInvalid, ErrorCode::SizeInvalid];
    let is_cut_short = refusal.entries().iter().any(|entry| codes.contains(&entry.code));
    // Where the connection broke before the words were through, they may have said just that.
    let is_cut_short = is_cut_short || status == StatusCode::BAD_REQUEST && has_words && refusal.is_silent();
    let remedy = match status {
        // What was read here is what it should be, so that the bytes have changed on their way.
        _ if is_wrong => Remedy::BeginAnew,
        StatusCode::NOT_FOUND => Remedy::BeginAnew,
        StatusCode::PAYLOAD_TOO_LARGE => Remedy::SendLess(length),
        // The chunk does not belong there, or an earlier request is still being read.
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::CONFLICT => Remedy::Resume,
        // Less arrived than was sent, as far as a proxy let the registry see.
        _ if is_transient || is_cut_short => Remedy::Resume,
        _ => Remedy::None,
    };
    Setback { error: refusal.into(), remedy }
}

/// Where an answer says that the next request goes, with the query that it has.
fn location(answer: &Answer) -> Result<Option<Url>, Error> {
    let Some(location) = answer.header(LOCATION.as_str()) else { return Ok(None) };
    let target = redirect::target(answer.url(), location);
    target.map(Some).map_err(|what| Error::answer(answer.request(), format!("names {what} to upload to")))
}

/// How many bytes the registry says that it has. There is no way to write that it has none, so that reads like one byte.
fn received(answer: &Answer) -> Option<u64> {
    let range = answer.header(RANGE.as_str())?.trim();
    let range: ChunkRange = range.strip_prefix("bytes=").unwrap_or(range).parse().ok()?;
    (range.first == 0).then_some(if range.last == 0 { 0 } else { range.last.saturating_add(1) })
}

/// The fewest bytes that the registry wants in a chunk. One that says so wants chunks.
fn minimum_chunk(answer: &Answer) -> Option<u64> {
    answer.header(header::OCI_CHUNK_MIN_LENGTH)?.trim().parse().ok()
}
