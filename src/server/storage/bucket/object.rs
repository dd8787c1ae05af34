//! What an object of the bucket has in it: a line of JSON that says what follows, and the values.
//!
//! An object is changed only by a conditional put, which compares entity tags. Those may be digests, so each object
//! that is written begins with an ID that no other has: what is written again is never taken for what was there before.
//!
//! A value that is set aside stays in its object, which says so. So setting aside, restoring and discarding are each one
//! conditional put, and nothing is ever copied. A list of a bucket says no more of an object than its size, so the size
//! says what kind of object it is: the line is filled up with spaces until the remainder of the size by three does.

use std::io;
use std::time::{Duration, SystemTime};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::super::Round;
use super::super::session::random_name;

/// What the size of an object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has a value.
    Live,
    /// All it has is set aside.
    Aside,
    /// It has nothing, and is about to be deleted.
    Gone,
}

impl Kind {
    pub(super) fn of_size(size: u64) -> Self {
        match size % 3 {
            0 => Self::Live,
            1 => Self::Aside,
            _ => Self::Gone,
        }
    }

    fn remainder(self) -> usize {
        match self {
            Self::Live => 0,
            Self::Aside => 1,
            Self::Gone => 2,
        }
    }
}

/// What is under a key: a value, or some that were set aside, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Object {
    pub(super) live: Option<Value>,
    pub(super) aside: Vec<(Round, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) bytes: Bytes,
    /// When it was written or renewed; `None` for one that is yet to be written.
    pub(super) modified: Option<SystemTime>,
}

impl Value {
    /// One that is young when it is written.
    pub(super) fn new(bytes: Bytes) -> Self {
        Self { bytes, modified: None }
    }
}

/// The first line of an object.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    live: Option<Place>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    aside: Vec<Place>,
}

/// A value that follows. They come in this order, one after the other.
#[derive(Debug, Serialize, Deserialize)]
struct Place {
    size: usize,
    /// In seconds since 1970. One without it is as old as the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    modified: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    round: Option<String>,
}

impl Place {
    fn of(value: &Value, round: Option<&Round>) -> Self {
        let since = value.modified.and_then(|modified| modified.duration_since(SystemTime::UNIX_EPOCH).ok());
        let round = round.map(ToString::to_string);
        Self { size: value.bytes.len(), modified: since.map(|since| since.as_secs()), round }
    }

    fn modified(&self, written: SystemTime) -> SystemTime {
        let since = self.modified.map(Duration::from_secs);
        since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since)).unwrap_or(written)
    }

    /// Takes the value off the front of `rest`.
    fn take(&self, rest: &mut Bytes, written: SystemTime) -> Option<Value> {
        let bytes = (self.size <= rest.len()).then(|| rest.split_to(self.size))?;
        Some(Value { bytes, modified: Some(self.modified(written)) })
    }
}

impl Object {
    /// One that has this value and nothing aside.
    pub(super) fn of(bytes: Bytes) -> Self {
        Self { live: Some(Value::new(bytes)), aside: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.is_none() && self.aside.is_empty()
    }

    fn kind(&self) -> Kind {
        match (&self.live, self.is_empty()) {
            (Some(_), _) => Kind::Live,
            (None, false) => Kind::Aside,
            (None, true) => Kind::Gone,
        }
    }

    /// The bytes of the object, and the ID that tells it from all others.
    pub(super) fn encode(&self) -> io::Result<(String, Bytes)> {
        let header = Header {
            id: random_name()?,
            live: self.live.as_ref().map(|value| Place::of(value, None)),
            aside: self.aside.iter().map(|(round, value)| Place::of(value, Some(round))).collect(),
        };
        let line = serde_json::to_vec(&header)?;
        let values = || self.live.iter().chain(self.aside.iter().map(|(_, value)| value));
        let least = line.len() + 1 + values().map(|value| value.bytes.len()).sum::<usize>();
        let spaces = (self.kind().remainder() + 3 - least % 3) % 3;
        let mut bytes = BytesMut::with_capacity(least + spaces);
        bytes.put_slice(&line);
        bytes.put_bytes(b' ', spaces);
        bytes.put_u8(b'\n');
        for value in values() {
            bytes.put_slice(&value.bytes);
        }
        Ok((header.id, bytes.freeze()))
    }

    /// The ID and the object that was `written` then; `None` when it is damaged.
    pub(super) fn decode(bytes: &Bytes, written: SystemTime) -> Option<(String, Self)> {
        let (header, mut rest) = header(bytes)?;
        let live = match &header.live {
            Some(place) => Some(place.take(&mut rest, written)?),
            None => None,
        };
        let aside = header.aside.iter().map(|place| {
            let round = place.round.as_ref()?.parse().ok()?;
            Some((round, place.take(&mut rest, written)?))
        });
        let object = Self { live, aside: aside.collect::<Option<_>>()? };
        rest.is_empty().then_some((header.id, object))
    }
}

/// The first bytes of an object are too few to say what was asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooFew;

/// When the value was written or renewed of an object that begins with these bytes, if it has one.
pub(super) fn modified(start: &Bytes, written: SystemTime) -> Result<Option<SystemTime>, TooFew> {
    let (header, _) = header(start).ok_or(TooFew)?;
    Ok(header.live.map(|place| place.modified(written)))
}

fn header(bytes: &Bytes) -> Option<(Header, Bytes)> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let header = serde_json::from_slice(&bytes[..end]).ok()?;
    Some((header, bytes.slice(end + 1..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn an_object_comes_back_as_it_was_and_its_size_says_what_it_is() {
        let value = |text: &'static str, modified| Value { bytes: Bytes::from_static(text.as_bytes()), modified };
        let round = Round::random().unwrap();
        for length in 0..7 {
            let text = &"abcdefg"[..length];
            let aside =
                vec![(round.clone(), value(text, Some(seconds(7)))), (round.clone(), value("x\n", Some(seconds(8))))];
            for (object, kind) in [
                (Object { live: Some(value(text, Some(seconds(5)))), aside: vec![] }, Kind::Live),
                (Object { live: Some(value(text, Some(seconds(5)))), aside: aside.clone() }, Kind::Live),
                (Object { live: None, aside }, Kind::Aside),
                (Object::default(), Kind::Gone),
            ] {
                let (id, bytes) = object.encode().unwrap();
                assert_eq!(Kind::of_size(bytes.len() as u64), kind);
                assert_eq!(Object::decode(&bytes, seconds(9)), Some((id, object.clone())));
                assert_ne!(object.encode().unwrap().1, bytes, "no two objects are the same");
                assert_eq!(modified(&bytes, seconds(9)), Ok(object.live.and_then(|value| value.modified)));
                assert_eq!(Object::decode(&bytes.slice(1..), seconds(9)), None, "damaged");
            }
        }
        let (_, young) = Object::of(Bytes::from_static(b"young")).encode().unwrap();
        assert_eq!(modified(&young, seconds(9)), Ok(Some(seconds(9))));
        assert_eq!(modified(&young.slice(..9), seconds(9)), Err(TooFew));
        assert_eq!(Object::decode(&young.slice(..young.len() - 1), seconds(9)), None, "damaged");
    }
}
