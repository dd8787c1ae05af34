//! What a content consists of: parts that are objects of their own, and what comes after the last of them.
//!
//! A part is written once, under a key that no other has, and is read where it was written. What is too little to be a
//! part is kept in the record itself, so that a small content costs one object and one request.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::super::session::random_name;
use super::super::{Blob, BoxError, Error, RemoteBlob, SessionId};
use super::objects::Objects;
use super::paths;

/// How many bytes are at most kept in the record.
pub(super) const MAX_TAIL: usize = 64 * 1024;
/// How many parts are asked for at once when they are read one after the other.
const READ_AHEAD: usize = 2;
/// How many parts are deleted at once.
const CONCURRENT_DELETES: usize = 16;

/// A part: how many bytes it has, and its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part(u64, String);

/// What a content or an upload session consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Content {
    /// Below which name the parts are. It is that of the session that wrote them.
    pub(super) data: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parts: Vec<Part>,
    /// What comes after the last part.
    #[serde(skip)]
    pub(super) tail: Bytes,
}

impl Content {
    /// An empty one.
    pub(super) fn new(session: &SessionId) -> Self {
        Self { data: session.to_string(), parts: Vec::new(), tail: Bytes::new() }
    }

    pub(super) fn size(&self) -> u64 {
        self.parts.iter().map(|Part(size, _)| size).sum::<u64>() + self.tail.len() as u64
    }

    pub(super) fn has_parts(&self) -> bool {
        !self.parts.is_empty()
    }

    /// The same with `bytes` instead of the tail. If they are many, they become a part.
    pub(super) async fn with_end(mut self, objects: &Objects, bytes: Bytes) -> Result<Self, Error> {
        if bytes.len() <= MAX_TAIL {
            self.tail = bytes;
            return Ok(self);
        }
        let random = random_name().map_err(Error::io("name a part"))?;
        let part = Part(bytes.len() as u64, format!("{:06}-{}", self.parts.len(), &random[..16]));
        objects.put(&self.path(&part), bytes).await?;
        self.parts.push(part);
        self.tail = Bytes::new();
        Ok(self)
    }

    /// Takes back the part that came last.
    pub(super) async fn delete_last_part(&self, objects: &Objects) -> Result<(), Error> {
        match self.parts.last() {
            Some(part) if self.tail.is_empty() => objects.delete(&self.path(part)).await,
            _ => Ok(()),
        }
    }

    /// The value of a content's record.
    pub(super) fn encode(&self) -> Result<Bytes, Error> {
        encode(self, &self.tail)
    }

    /// What the value of a content's record says; `None` when it is damaged.
    pub(super) fn decode(value: &Bytes) -> Option<Self> {
        let (content, tail) = decode::<Self>(value)?;
        Some(Self { tail, ..content })
    }

    pub(super) fn open(self, objects: Objects) -> Blob {
        if self.has_parts() {
            Blob::of_remote(self.size(), Arc::new(Remote { content: self, objects }))
        } else {
            Blob::of_bytes(self.tail)
        }
    }

    /// All of its bytes, in order.
    pub(super) fn read(self, objects: &Objects) -> BoxStream<'static, Result<Bytes, BoxError>> {
        let blob = self.open(objects.clone());
        blob.read(0..blob.size())
    }

    /// Deletes all data of the session, also what never became a part.
    pub(super) async fn delete_data(session: &SessionId, objects: &Objects) -> Result<(), Error> {
        let place = paths::data(session);
        loop {
            let names = objects.list(&place, false, None, 1000, |name, _| Some(name.to_owned())).await?;
            if names.is_empty() {
                return Ok(());
            }
            let deletes: Vec<_> = names.iter().map(|name| delete(objects, format!("{place}{name}"))).collect();
            stream::iter(deletes).buffer_unordered(CONCURRENT_DELETES).try_collect::<()>().await?;
        }
    }

    fn path(&self, Part(_, name): &Part) -> String {
        format!("data/{}/{name}", self.data)
    }

    /// The parts of which bytes are in `range`, and which bytes of them.
    fn parts_in(&self, range: &Range<u64>) -> Vec<(String, Range<u64>)> {
        let mut start = 0;
        let mut found = Vec::new();
        for part in &self.parts {
            let (size, begin) = (part.0, start);
            start += size;
            let within = range.start.clamp(begin, start) - begin..range.end.clamp(begin, start) - begin;
            if !within.is_empty() {
                found.push((self.path(part), within));
            }
        }
        found
    }

    /// The bytes of the tail that are in `range`.
    fn tail_in(&self, range: &Range<u64>) -> Bytes {
        let begin = self.size() - self.tail.len() as u64;
        let (start, end) = (range.start.saturating_sub(begin), range.end.saturating_sub(begin));
        // Both are at most the tail's length then.
        let limit = self.tail.len() as u64;
        self.tail.slice(start.min(limit) as usize..end.min(limit).max(start.min(limit)) as usize)
    }
}

async fn delete(objects: &Objects, path: String) -> Result<(), Error> {
    objects.delete(&path).await
}

/// A content that is read when somebody wants it.
#[derive(Debug)]
struct Remote {
    content: Content,
    objects: Objects,
}

impl RemoteBlob for Remote {
    fn read(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes, BoxError>> {
        let objects = self.objects.clone();
        let parts = stream::iter(self.content.parts_in(&range)).map(move |(path, range)| {
            let objects = objects.clone();
            async move { objects.stream(&path, range).await }
        });
        let tail = self.content.tail_in(&range);
        let end = stream::iter((!tail.is_empty()).then_some(Ok(tail)));
        parts.buffered(READ_AHEAD).try_flatten().chain(end).boxed()
    }
}

/// A line of JSON, and bytes after it.
pub(super) fn encode(value: &impl Serialize, tail: &Bytes) -> Result<Bytes, Error> {
    let line = serde_json::to_vec(value).map_err(|error| Error::io("write a record")(error.into()))?;
    let mut bytes = BytesMut::with_capacity(line.len() + 1 + tail.len());
    bytes.put_slice(&line);
    bytes.put_u8(b'\n');
    bytes.put_slice(tail);
    Ok(bytes.freeze())
}

/// The opposite of [`encode`].
pub(super) fn decode<T: DeserializeOwned>(bytes: &Bytes) -> Option<(T, Bytes)> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    Some((serde_json::from_slice(&bytes[..end]).ok()?, bytes.slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_out_of_parts_and_tail() {
        let part = |size, name: &str| Part(size, name.to_owned());
        let content = Content {
            data: "d".to_owned(),
            parts: vec![part(10, "a"), part(5, "b"), part(7, "c")],
            tail: Bytes::from_static(b"0123"),
        };
        assert_eq!(content.size(), 26);
        assert_eq!(Content::decode(&content.encode().unwrap()), Some(content.clone()));
        let (a, b, c) = ("data/d/a".to_owned(), "data/d/b".to_owned(), "data/d/c".to_owned());
        for (range, parts, tail) in [
            (0..26, vec![(a.clone(), 0..10), (b.clone(), 0..5), (c.clone(), 0..7)], "0123"),
            (0..10, vec![(a.clone(), 0..10)], ""),
            (9..11, vec![(a, 9..10), (b.clone(), 0..1)], ""),
            (11..12, vec![(b, 1..2)], ""),
            (21..23, vec![(c, 6..7)], "0"),
            (22..26, vec![], "0123"),
            (24..25, vec![], "2"),
            (26..26, vec![], ""),
            (7..7, vec![], ""),
        ] {
            assert_eq!(content.parts_in(&range), parts, "{range:?}");
            assert_eq!(content.tail_in(&range), tail, "{range:?}");
        }
    }
}
