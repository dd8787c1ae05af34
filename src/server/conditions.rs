//! Conditional requests (RFC 9110, section 13): whether what a client has, or expects, is what is there.

use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{Response, StatusCode};

use super::answer::{self, Body, Problem, Result};
use super::request::Request;
use crate::digest::Digest;
use crate::protocol::ErrorCode;

/// What a header such as `If-None-Match` lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    /// `*`: whatever there is.
    Any,
    /// The entity tags, without their quotes; here, digests.
    These(Vec<String>),
}

impl Tags {
    /// What the header says, if it is there.
    pub(super) fn of(request: &Request, name: &HeaderName) -> Option<Self> {
        let mut values = request.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).peekable();
        values.peek()?;
        let elements: Vec<&str> = values.flat_map(|value| value.split(',')).map(str::trim).collect();
        if elements.contains(&"*") {
            return Some(Self::Any);
        }
        // The tags are those of bytes, so one that says that it is weak is as good as another.
        let unquoted = elements.into_iter().map(|tag| tag.strip_prefix("W/").unwrap_or(tag).trim_matches('"'));
        Some(Self::These(unquoted.map(str::to_owned).collect()))
    }

    fn contain(&self, digest: Digest) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.contains(&digest.to_string()),
        }
    }
}

/// The answer to a GET or HEAD whose conditions `digest` does not meet: 304 when the client has it already.
pub(super) fn check(request: &Request, digest: Digest) -> Result<Option<Response<Body>>> {
    if Tags::of(request, &IF_MATCH).is_some_and(|tags| !tags.contain(digest)) {
        return Err(failed(format!("what is here is {digest}")));
    }
    let has_it = Tags::of(request, &IF_NONE_MATCH).is_some_and(|tags| tags.contain(digest));
    Ok(has_it.then(|| answer::empty(StatusCode::NOT_MODIFIED)))
}

/// The answer to a request that came with a condition that does not hold.
pub(super) fn failed(message: impl Into<String>) -> Problem {
    // The specification has no code for it. This is Harbor's; one of those that are listed would say that the manifest
    // is wrong, or that its caller is.
    Problem::new(ErrorCode::Other("PRECONDITION".to_owned()), message).with_status(StatusCode::PRECONDITION_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;
    use proptest::prelude::*;

    fn tags(values: &[&str]) -> Option<Tags> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(IF_NONE_MATCH, value.parse().unwrap());
        }
        Tags::of(&Request::new(headers, ""), &IF_NONE_MATCH)
    }

    #[test]
    fn entity_tags_are_read_as_clients_write_them() {
        let digest = Digest::sha256(b"content");
        assert_eq!(tags(&[]), None);
        for value in ["*", "\"x\", *", &format!("\"{digest}\""), &format!("W/\"{digest}\""), &digest.to_string()] {
            assert!(tags(&[value]).unwrap().contain(digest), "{value}");
        }
        assert!(tags(&["\"x\"", &format!("\"y\",\"{digest}\"")]).unwrap().contain(digest));
        for value in ["", "\"\"", "\"x\"", "sha256", &format!("\"{digest}x\"")] {
            assert!(!tags(&[value]).unwrap().contain(digest), "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_header_is_too_strange(value in "[ -~]{0,80}") {
            let _ = tags(&[&value]);
        }
    }
}
