//! References: where content is, as people write it: `host[:port]/repository[:tag][@digest]`.
//!
//! The grammar is that of the field's `distribution/reference`, with Docker's rules for short names. What is parsed
//! here is valid ever after; nothing else in the program splits such strings. `oci:` and `archive:` locations are the
//! command line's.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::digest::{self, Digest};

/// The host that short names are on.
const DOCKER_HUB: &str = "index.docker.io";
/// The longest name of a repository, in bytes.
const MAX_NAME: usize = 255;
/// The longest tag, in bytes.
const MAX_TAG: usize = 128;

/// Why a string is no reference. `{0}` is always the offending part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Nothing was given.
    #[error("a reference is empty: expected host[:port]/repository[:tag][@digest]")]
    Empty,
    /// The host does not follow the grammar.
    #[error("registry {0:?} is not a host name, an IPv4 address or an IPv6 address in brackets, with an optional port")]
    Registry(String),
    /// The repository has capital letters.
    #[error("repository {0:?} has capital letters, which are not allowed")]
    Capitals(String),
    /// The repository has white space.
    #[error("reference {0:?} has white space in it")]
    WhiteSpace(String),
    /// The repository does not follow the grammar.
    #[error(
        "repository {0:?} is not valid: expected components of a-z and 0-9, joined by one '.', one or two '_' or \
         any '-', and separated by '/'"
    )]
    Name(String),
    /// The repository is too long.
    #[error("repository {0:?} is longer than {MAX_NAME} bytes")]
    NameLength(String),
    /// The tag does not follow the grammar.
    #[error("tag {0:?} is not valid: expected up to {MAX_TAG} of A-Z a-z 0-9 _ . - with no '.' or '-' in front")]
    Tag(String),
    /// The digest is not valid.
    #[error(transparent)]
    Digest(#[from] digest::ParseError),
}

/// The host, and perhaps the port, of a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registry(String);

impl Registry {
    /// `host[:port]`, as it goes into a URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host without the port; an IPv6 address keeps its brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        split_port(&self.0).0
    }

    /// Whether the host is this machine: `localhost`, 127.0.0.0/8 or `[::1]`.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host();
        let address = host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether this is Docker Hub, whose credentials are filed under a name of their own.
    #[must_use]
    pub fn is_docker_hub(&self) -> bool {
        self.0 == DOCKER_HUB
    }
}

impl fmt::Display for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Registry {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let (host, port) = split_port(text);
        let port_is_valid =
            port.is_none_or(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
        if !port_is_valid || !is_host(host) {
            return Err(ParseError::Registry(text.to_owned()));
        }
        Ok(Self(if text == "docker.io" { DOCKER_HUB.to_owned() } else { text.to_owned() }))
    }
}

/// Splits `host:port`, leaving the colons inside of brackets alone.
fn split_port(text: &str) -> (&str, Option<&str>) {
    match text.rfind(':') {
        Some(colon) if !text[colon..].contains(']') => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    }
}

fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    host.split('.').all(|label| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    })
}

/// The name of a repository within a registry (distribution-spec v1.1.1, `<name>`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as it stands in a path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where Docker Hub keeps what has a name of one component.
    fn on_docker_hub(self) -> Result<Self, ParseError> {
        if self.0.contains('/') { Ok(self) } else { format!("library/{}", self.0).parse() }
    }

    /// The part after the last slash.
    #[must_use]
    pub fn last_component(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.len() > MAX_NAME {
            return Err(ParseError::NameLength(text.to_owned()));
        }
        if text.split('/').all(is_name_component) {
            return Ok(Self(text.to_owned()));
        }
        let why = if text.contains(char::is_whitespace) {
            ParseError::WhiteSpace
        } else if text.bytes().any(|b| b.is_ascii_uppercase()) {
            ParseError::Capitals
        } else {
            ParseError::Name
        };
        Err(why(text.to_owned()))
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_name_component(component: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (component.bytes().next(), component.bytes().last()) else { return false };
    is_word(first)
        && is_word(last)
        && component
            .split(|c: char| c.is_ascii() && is_word(c as u8))
            .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

/// A tag: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// The tag that is meant where none is named.
    #[must_use]
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// The tag under which clients list the referrers of `subject` where the registry does not (distribution-spec v1.1.1,
    /// "Referrers Tag Schema").
    #[must_use]
    pub fn of_referrers(subject: Digest) -> Self {
        let mut hex = subject.hex();
        hex.truncate(64);
        Self(format!("{}-{hex}", subject.algorithm()))
    }

    /// The tag as it stands in a path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let valid = text.len() <= MAX_TAG
            && text.bytes().next().is_some_and(is_word)
            && text.bytes().all(|b| is_word(b) || b == b'.' || b == b'-');
        if valid { Ok(Self(text.to_owned())) } else { Err(ParseError::Tag(text.to_owned())) }
    }
}

/// What picks a manifest within a repository: a tag or a digest (distribution-spec v1.1.1, `<reference>`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// What the tag points to now.
    Tag(Tag),
    /// Exactly this content.
    Digest(Digest),
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

impl FromStr for Identifier {
    type Err = ParseError;

    /// Whatever has a colon is meant as a digest, because a tag cannot have one.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.contains(':') { Ok(Self::Digest(text.parse()?)) } else { Ok(Self::Tag(text.parse()?)) }
    }
}

impl From<Digest> for Identifier {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

impl From<Tag> for Identifier {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

/// A repository: a registry and a name within it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    /// Where it is.
    pub registry: Registry,
    /// What it is called there.
    pub name: Name,
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.name)
    }
}

impl FromStr for Repository {
    type Err = ParseError;

    /// Parses `[host[:port]/]name` with Docker's rules: what stands before the first slash is a host if it has a dot or
    /// a colon in it or is `localhost`; anything else is on Docker Hub, where a name of one component is in `library/`.
    ///
    /// Docker takes a first component with capitals for a host, too; here it is a repository with capitals, which is
    /// an error, because that is what people who write one have in mind.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Empty);
        }
        if let Some((host, name)) = text.split_once('/')
            && (host == "localhost" || host.contains(['.', ':']))
        {
            let (registry, name): (Registry, Name) = (host.parse()?, name.parse()?);
            let name = if registry.is_docker_hub() { name.on_docker_hub()? } else { name };
            return Ok(Self { registry, name });
        }
        let is_bare_digest = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if is_bare_digest {
            return Err(ParseError::Name(text.to_owned()));
        }
        let name: Name = text.parse()?;
        Ok(Self { registry: Registry(DOCKER_HUB.to_owned()), name: name.on_docker_hub()? })
    }
}

/// A repository and what is meant in it. Without a tag and without a digest, the tag `latest` is meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Where it is.
    pub repository: Repository,
    tag: Option<Tag>,
    digest: Option<Digest>,
}

impl Reference {
    /// The reference to what `identifier` picks in `repository`.
    #[must_use]
    pub fn new(repository: Repository, identifier: Identifier) -> Self {
        match identifier {
            Identifier::Tag(tag) => Self { repository, tag: Some(tag), digest: None },
            Identifier::Digest(digest) => Self { repository, tag: None, digest: Some(digest) },
        }
    }

    /// The tag, if there is one.
    #[must_use]
    pub fn tag(&self) -> Option<&Tag> {
        self.tag.as_ref()
    }

    /// The digest, if there is one.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// What picks the manifest: the digest if there is one, else the tag.
    #[must_use]
    pub fn identifier(&self) -> Identifier {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => Identifier::Digest(*digest),
            (None, Some(tag)) => Identifier::Tag(tag.clone()),
            (None, None) => Identifier::Tag(Tag::latest()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(f)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Reference {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        if text.is_empty() {
            return Err(ParseError::Empty);
        }
        if text.contains(char::is_whitespace) {
            return Err(ParseError::WhiteSpace(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        let (repository, tag) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => (&rest[..colon], Some(rest[colon + 1..].parse()?)),
            _ => (rest, None),
        };
        let tag = if tag.is_none() && digest.is_none() { Some(Tag::latest()) } else { tag };
        Ok(Self { repository: repository.parse()?, tag, digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn printed(text: &str) -> String {
        text.parse::<Reference>().unwrap().to_string()
    }

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn short_names_are_on_docker_hub() {
        for (text, expected) in [
            ("ubuntu", "index.docker.io/library/ubuntu:latest"),
            ("ubuntu:24.04", "index.docker.io/library/ubuntu:24.04"),
            ("docker.io/ubuntu", "index.docker.io/library/ubuntu:latest"),
            ("docker.io/library/ubuntu", "index.docker.io/library/ubuntu:latest"),
            ("index.docker.io/ubuntu", "index.docker.io/library/ubuntu:latest"),
            ("team/app", "index.docker.io/team/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("ghcr.io/team/app", "ghcr.io/team/app:latest"),
        ] {
            assert_eq!(printed(text), expected, "{text}");
        }
    }

    #[test]
    fn ports_tags_and_digests_are_told_apart() {
        assert_eq!(printed("localhost:5000/a"), "localhost:5000/a:latest");
        assert_eq!(printed("[::1]:5000/a/b:v1"), "[::1]:5000/a/b:v1");
        assert_eq!(printed("[2001:db8::1]/a:v1"), "[2001:db8::1]/a:v1");
        assert_eq!(printed(&format!("h.io/a@{DIGEST}")), format!("h.io/a@{DIGEST}"));
        let both: Reference = format!("h.io/a:v1@{DIGEST}").parse().unwrap();
        assert_eq!(both.to_string(), format!("h.io/a:v1@{DIGEST}"));
        assert_eq!(both.identifier(), Identifier::Digest(DIGEST.parse().unwrap()));
        assert_eq!(both.tag().unwrap().as_str(), "v1");
    }

    #[test]
    fn bad_references_say_which_part_is_wrong() {
        let long_name = format!("h.io/{}", "a".repeat(256));
        let long_short_name = "a".repeat(250);
        let long_tag = format!("h.io/a:{}", "t".repeat(129));
        for (text, expected) in [
            ("", "empty"),
            ("h.io/Demo", "capital"),
            ("Foo/bar:v1", "capital"),
            ("my repo", "white space"),
            ("h.io/a b:v1", "white space"),
            ("h.io/a//b", "repository"),
            ("h.io/a/", "repository"),
            ("h.io/../etc", "repository"),
            ("h.io/a..b", "repository"),
            ("h.io/a___b", "repository"),
            ("h.io/a._b", "repository"),
            ("h.io/-a", "repository"),
            ("h.io/a:", "tag"),
            ("h.io/a:.v", "tag"),
            ("h.io/a:v/1", "repository"),
            ("h.io:99999/a", "registry"),
            ("h.io:/a", "registry"),
            ("h..io/a", "registry"),
            ("-h.io/a", "registry"),
            ("[::g]/a", "registry"),
            ("https://h.io/a", "registry"),
            ("h.io/a@sha256:12", "digest"),
            ("h.io/a@", "digest"),
            (long_name.as_str(), "longer"),
            (long_short_name.as_str(), "longer"),
            (long_tag.as_str(), "tag"),
        ] {
            let error = text.parse::<Reference>().expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".parse::<Reference>().is_err());
    }

    #[test]
    fn separators_follow_the_grammar() {
        for name in ["a.b", "a_b", "a__b", "a-b", "a----b", "a0/b.c_d__e-f", "0"] {
            name.parse::<Name>().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }

    #[test]
    fn loopback_is_this_machine_and_nothing_that_looks_like_it() {
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:5000", "127.9.9.9", "[::1]:5000", "[::1]"] {
            assert!(host.parse::<Registry>().unwrap().is_loopback(), "{host}");
        }
        for host in ["localhost.example.com", "127.0.0.1.nip.io", "10.0.0.1", "[::2]", "0.0.0.0"] {
            assert!(!host.parse::<Registry>().unwrap().is_loopback(), "{host}");
        }
    }

    proptest! {
        #[test]
        fn parse_and_print_are_inverse(
            host in "([a-z][a-z0-9-]{0,5}[a-z0-9]\\.[a-z]{2,3}|localhost|127\\.0\\.0\\.1|\\[::1\\])(:[1-9][0-9]{0,3})?",
            name in "[a-z0-9]{1,5}((\\.|_|__|-{1,3})[a-z0-9]{1,5}){0,2}(/[a-z0-9]{1,5}){0,3}",
            tag in proptest::option::of("[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"),
            digest in proptest::option::of("sha256:[0-9a-f]{64}"),
        ) {
            let tag = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
            let text = format!("{host}/{name}{tag}{digest}");
            let reference: Reference = text.parse().unwrap();
            let latest = if tag.is_empty() && digest.is_empty() { ":latest" } else { "" };
            prop_assert_eq!(reference.to_string(), format!("{text}{latest}"));
            prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
        }

        #[test]
        fn whatever_parses_prints_as_something_that_parses_to_the_same(text in "[a-zA-Z0-9.:/@_\\[\\] -]{0,80}") {
            if let Ok(reference) = text.parse::<Reference>() {
                prop_assert_eq!(reference.to_string().parse::<Reference>().unwrap(), reference);
            }
        }
    }
}
