//! Downloads of blobs: where one breaks off, the rest is asked for, or all of it from a registry that knows no ranges.
//!
//! What was passed on cannot be taken back. It need not be: the [`Reader`] holds all that was passed on, from wherever it
//! came, against the digest of the whole.

use bytes::{Buf, Bytes};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::header::{ETAG, HeaderValue};
use reqwest::{Method, StatusCode};

use super::Error;
use super::answer::Answer;
use super::repository::RemoteRepository;
use super::retry::Tries;
use crate::content::{self, Reader};
use crate::manifest::Descriptor;

/// A blob that is on its way.
struct Download {
    repository: RemoteRepository,
    descriptor: Descriptor,
    body: BoxStream<'static, Result<Bytes, Error>>,
    /// Which version of the blob comes, if it has a name that stands for every byte.
    etag: Option<HeaderValue>,
    /// How many bytes have been passed on.
    received: u64,
    /// How many bytes of the body have been passed on before, and are not once more.
    known: u64,
    tries: Tries,
}

impl RemoteRepository {
    /// Reads the blob whose download begins with `answer`, however often it breaks off, as long as it gets on.
    pub(super) async fn go_on_with(&self, answer: Answer, descriptor: &Descriptor) -> Result<Reader, Error> {
        let answer = answer.expect_whole(descriptor).await?;
        let download = Download {
            repository: self.clone(),
            descriptor: descriptor.clone(),
            etag: strong_etag(&answer),
            body: answer.into_stream().boxed(),
            received: 0,
            known: 0,
            tries: self.session.tries(),
        };
        let chunks = stream::try_unfold(download, |mut download| async move {
            let chunk = download.next().await.map_err(content::Error::from)?;
            Ok(chunk.map(|chunk| (chunk, download)))
        });
        Ok(Reader::new(descriptor, chunks))
    }
}

impl Download {
    /// The next bytes, from wherever they may be had. An end that comes too early, for good, is for the reader to see.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            match self.body.try_next().await {
                Ok(Some(chunk)) => {
                    let chunk = self.unknown(chunk);
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
                    }
                }
                Ok(None) if self.received >= self.descriptor.size => return Ok(None),
                Err(error) if !error.is_transient() => return Err(error),
                failed => {
                    self.tries.reach(self.received);
                    if !self.tries.wait().await {
                        return failed;
                    }
                    self.resume().await?;
                }
            }
        }
    }

    /// What of a chunk of the body has not been passed on.
    fn unknown(&mut self, mut chunk: Bytes) -> Bytes {
        let known = self.known.min(chunk.len() as u64);
        chunk.advance(known as usize);
        self.known -= known;
        self.received += chunk.len() as u64;
        chunk
    }

    /// Asks for what is missing. Only the part that was asked for, of the same version of the blob, is one; else it all
    /// comes again.
    async fn resume(&mut self) -> Result<(), Error> {
        let (from, size) = (self.received, self.descriptor.size);
        if from > 0 {
            let rest = self.repository.request_rest(&self.descriptor, from, self.etag.as_ref()).await?;
            if rest.is_part(from..size, size) && strong_etag(&rest) == self.etag {
                self.known = 0;
                self.body = rest.into_stream().boxed();
                return Ok(());
            }
            if rest.status() == StatusCode::OK {
                return self.begin_anew(rest).await;
            }
        }
        let pull = self.repository.pull();
        let whole = self.repository.request_blob(Method::GET, &self.descriptor, &pull).await?;
        self.begin_anew(whole).await
    }

    async fn begin_anew(&mut self, answer: Answer) -> Result<(), Error> {
        let answer = answer.expect_whole(&self.descriptor).await?;
        self.etag = strong_etag(&answer);
        self.known = self.received;
        self.body = answer.into_stream().boxed();
        Ok(())
    }
}

/// The name of the version that an answer brings, unless it stands for what means the same only (RFC 9110, section
/// 8.8.1).
fn strong_etag(answer: &Answer) -> Option<HeaderValue> {
    let etag = answer.header(ETAG.as_str())?.trim();
    if etag.starts_with('"') { HeaderValue::from_str(etag).ok() } else { None }
}
