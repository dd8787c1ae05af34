//! Downloads of blobs: where one breaks off, the rest is asked for, or all of it from a registry that knows no ranges.
//!
//! What was passed on cannot be taken back. It need not be: the [`Reader`] holds all that was passed on, from wherever it
//! came, against the digest of the whole.

use std::ops::Range;

use bytes::{Buf, Bytes};
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use http::header::{ACCEPT_RANGES, ETAG, HeaderValue};
use reqwest::{Method, StatusCode};

use super::Error;
use super::answer::Answer;
use super::repository::RemoteRepository;
use super::retry::Tries;
use super::segments::Segments;
use crate::content::{self, Reader};
use crate::manifest::Descriptor;

impl RemoteRepository {
    /// Reads the blob whose download begins with `answer`, however often it breaks off, as long as it gets on.
    pub(super) async fn go_on_with(&self, answer: Answer, descriptor: &Descriptor) -> Result<Reader, Error> {
        let answer = answer.expect_whole(descriptor).await?;
        let knows_ranges = answer.header(ACCEPT_RANGES.as_str()) == Some("bytes");
        let whole = Download::begun(self, descriptor, answer);
        Ok(if knows_ranges && Segments::suit(descriptor) {
            reader(descriptor, Segments::of(whole, self, descriptor))
        } else {
            reader(descriptor, whole.into_stream())
        })
    }
}

fn reader(descriptor: &Descriptor, chunks: impl Stream<Item = Result<Bytes, Error>> + Send + 'static) -> Reader {
    Reader::new(descriptor, chunks.map_err(content::Error::from))
}

/// A blob, or a part of it, that is on its way.
pub(super) struct Download {
    repository: RemoteRepository,
    descriptor: Descriptor,
    /// What comes, unless it has to be asked for.
    body: Option<BoxStream<'static, Result<Bytes, Error>>>,
    /// Which version of the blob comes, if it has a name that stands for every byte.
    etag: Option<HeaderValue>,
    /// What is wanted and has not been passed on. What comes after the end of the blob is passed on, too: it is wrong, and
    /// that is for the reader to see.
    range: Range<u64>,
    /// Whether no more than that is passed on.
    is_segment: bool,
    /// Whether a segment may come with all of the blob, and of any version: whoever reads it holds it against its own digest.
    is_alone: bool,
    /// How many bytes of the body come before it, and are not passed on.
    known: u64,
    tries: Tries,
}

impl Download {
    /// All of a blob, which begins to come with `answer`.
    fn begun(repository: &RemoteRepository, descriptor: &Descriptor, answer: Answer) -> Self {
        let mut download = Self::rest(repository, descriptor, 0);
        download.come(answer);
        download
    }

    /// What of a blob comes after its first `start` bytes. Nobody has asked for it yet.
    pub(super) fn rest(repository: &RemoteRepository, descriptor: &Descriptor, start: u64) -> Self {
        Self {
            repository: repository.clone(),
            descriptor: descriptor.clone(),
            body: None,
            etag: None,
            range: start..descriptor.size,
            is_segment: false,
            is_alone: false,
            known: 0,
            tries: repository.session.tries(),
        }
    }

    /// A part of a blob, from a registry that knows ranges. Nobody has asked for it yet.
    pub(super) fn segment(repository: &RemoteRepository, descriptor: &Descriptor, range: Range<u64>) -> Self {
        Self { range, is_segment: true, ..Self::rest(repository, descriptor, 0) }
    }

    /// A part of a blob that is wanted for itself, and begins to come with `answer`.
    pub(super) fn part(
        repository: &RemoteRepository,
        descriptor: &Descriptor,
        range: Range<u64>,
        answer: Answer,
    ) -> Self {
        let mut download = Self { is_alone: true, ..Self::segment(repository, descriptor, range) };
        download.come(answer);
        download
    }

    /// The bytes in order.
    pub(super) fn into_stream(self) -> impl Stream<Item = Result<Bytes, Error>> + Send + 'static {
        stream::try_unfold(self, |mut download| async move {
            let chunk = download.next().await?;
            Ok(chunk.map(|chunk| (chunk, download)))
        })
    }

    /// The next bytes, from wherever they may be had. An end that comes too early, for good, is for the reader to see.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while !self.is_segment || !self.range.is_empty() {
            let Some(body) = &mut self.body else {
                self.ask().await?;
                continue;
            };
            match body.try_next().await {
                Ok(Some(chunk)) => {
                    let chunk = self.wanted(chunk);
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
                    }
                }
                Ok(None) if self.range.is_empty() => return Ok(None),
                Err(error) if !error.is_transient() => return Err(error),
                failed => {
                    self.tries.reach(self.range.start);
                    if !self.tries.wait().await {
                        return failed;
                    }
                    self.body = None;
                }
            }
        }
        Ok(None)
    }

    /// What of a chunk of the body is to be passed on.
    fn wanted(&mut self, mut chunk: Bytes) -> Bytes {
        let known = self.known.min(chunk.len() as u64);
        chunk.advance(known as usize);
        self.known -= known;
        if self.is_segment {
            chunk.truncate(usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX));
        }
        self.range.start += chunk.len() as u64;
        chunk
    }

    /// Asks for what is missing. Only the part that was asked for, of the same version of the blob, is one; else it all
    /// comes again.
    async fn ask(&mut self) -> Result<(), Error> {
        let (missing, size) = (self.range.clone(), self.descriptor.size);
        if missing != (0..size) {
            let etag = self.etag.as_ref().filter(|_| !self.is_alone);
            let answer = self.repository.request_part(&self.descriptor, missing.clone(), etag).await?;
            let is_same = etag.is_none() || strong_etag(&answer).as_ref() == etag;
            if is_same && answer.is_part(missing, size) {
                self.known = 0;
                self.come(answer);
                return Ok(());
            }
            if answer.status() == StatusCode::OK && (!self.is_segment || self.is_alone) {
                return self.begin_anew(answer).await;
            }
            if self.is_segment {
                let answer = answer.expect_one_of(&[StatusCode::PARTIAL_CONTENT, StatusCode::OK]).await?;
                return Err(Error::content(
                    answer.request(),
                    "another range than the one that was asked for".to_owned(),
                ));
            }
        }
        let whole = self.repository.request_blob(Method::GET, &self.descriptor, &self.repository.pull()).await?;
        self.begin_anew(whole).await
    }

    async fn begin_anew(&mut self, answer: Answer) -> Result<(), Error> {
        let answer = answer.expect_whole(&self.descriptor).await?;
        self.known = self.range.start;
        self.come(answer);
        Ok(())
    }

    fn come(&mut self, answer: Answer) {
        self.etag = strong_etag(&answer);
        self.body = Some(answer.into_stream().boxed());
    }
}

/// The name of the version that an answer brings, unless it stands for what means the same only (RFC 9110, section
/// 8.8.1).
fn strong_etag(answer: &Answer) -> Option<HeaderValue> {
    let etag = answer.header(ETAG.as_str())?.trim();
    if etag.starts_with('"') { HeaderValue::from_str(etag).ok() } else { None }
}
