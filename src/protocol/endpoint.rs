//! Endpoints and their paths (distribution-spec v1.1.1, "Endpoints").

use std::fmt;

use crate::digest::Digest;
use crate::reference::{Identifier, Name};

use super::ErrorCode;

/// What a path names. [`fmt::Display`] writes the path, [`Endpoint::parse`] reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/v2/`: does the server speak this API, and who is asking? (end-1)
    Base,
    /// `/v2/<name>/blobs/<digest>` (end-2, end-10)
    Blob(Name, Digest),
    /// `/v2/<name>/manifests/<reference>` (end-3, end-7, end-9)
    Manifest(Name, Identifier),
    /// `/v2/<name>/blobs/uploads/`: where uploads begin. (end-4, end-11)
    Uploads(Name),
    /// `/v2/<name>/blobs/uploads/<session>`: an upload session. (end-5, end-6, end-13, end-14)
    Upload(Name, String),
    /// `/v2/<name>/tags/list` (end-8)
    Tags(Name),
    /// `/v2/<name>/referrers/<digest>` (end-12)
    Referrers(Name, Digest),
    /// `/v2/_catalog`: the repositories, as Docker's registry lists them.
    Catalog,
}

/// Why a path names nothing, with the code that a server answers with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct InvalidPath {
    /// The code.
    pub code: ErrorCode,
    /// What is wrong, naming the part.
    pub message: String,
}

impl Endpoint {
    /// Reads a path, without its query. Nothing in a path of this API needs percent-encoding, so nothing is decoded: an
    /// encoded slash or dot is an invalid name and never another path.
    ///
    /// # Errors
    /// When the path is none of this API, or a name, tag, digest or session in it is not valid.
    pub fn parse(path: &str) -> Result<Self, InvalidPath> {
        let invalid = |code: ErrorCode| move |message: String| InvalidPath { code, message };
        let unknown = || invalid(ErrorCode::Unsupported)(format!("no endpoint has the path {path:?}"));
        if path == "/v2" || path == "/v2/" {
            return Ok(Self::Base);
        }
        let rest = path.strip_prefix("/v2/").ok_or_else(unknown)?;
        if rest == "_catalog" {
            return Ok(Self::Catalog);
        }
        let name =
            |text: &str| text.parse::<Name>().map_err(|error| invalid(ErrorCode::NameInvalid)(error.to_string()));
        let digest =
            |text: &str| text.parse::<Digest>().map_err(|error| invalid(ErrorCode::DigestInvalid)(error.to_string()));

        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return Ok(Self::Tags(name(repository)?));
        }
        if let Some(repository) = rest.strip_suffix("/blobs/uploads").or_else(|| rest.strip_suffix("/blobs/uploads/")) {
            return Ok(Self::Uploads(name(repository)?));
        }
        let (head, last) = rest.rsplit_once('/').ok_or_else(unknown)?;
        let (repository, kind) = head.rsplit_once('/').ok_or_else(unknown)?;
        match kind {
            "blobs" => Ok(Self::Blob(name(repository)?, digest(last)?)),
            "referrers" => Ok(Self::Referrers(name(repository)?, digest(last)?)),
            "manifests" => {
                let code = if last.contains(':') { ErrorCode::DigestInvalid } else { ErrorCode::ManifestUnknown };
                let identifier = last.parse().map_err(|error| invalid(code)(format!("{error}")))?;
                Ok(Self::Manifest(name(repository)?, identifier))
            }
            "uploads" => {
                let repository = repository.strip_suffix("/blobs").ok_or_else(unknown)?;
                let is_session = last.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'='));
                if last.is_empty() || !is_session {
                    return Err(invalid(ErrorCode::BlobUploadUnknown)(format!("no upload session is called {last:?}")));
                }
                Ok(Self::Upload(name(repository)?, last.to_owned()))
            }
            _ => Err(unknown()),
        }
    }

    /// The repository that the path is about, if it is about one.
    #[must_use]
    pub fn name(&self) -> Option<&Name> {
        match self {
            Self::Base | Self::Catalog => None,
            Self::Blob(name, _)
            | Self::Manifest(name, _)
            | Self::Uploads(name)
            | Self::Upload(name, _)
            | Self::Tags(name)
            | Self::Referrers(name, _) => Some(name),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Base => f.write_str("/v2/"),
            Self::Blob(name, digest) => write!(f, "/v2/{name}/blobs/{digest}"),
            Self::Manifest(name, identifier) => write!(f, "/v2/{name}/manifests/{identifier}"),
            Self::Uploads(name) => write!(f, "/v2/{name}/blobs/uploads/"),
            Self::Upload(name, session) => write!(f, "/v2/{name}/blobs/uploads/{session}"),
            Self::Tags(name) => write!(f, "/v2/{name}/tags/list"),
            Self::Referrers(name, digest) => write!(f, "/v2/{name}/referrers/{digest}"),
            Self::Catalog => f.write_str("/v2/_catalog"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn every_endpoint_is_read_as_it_is_written() {
        for path in [
            "/v2/".to_owned(),
            "/v2/_catalog".to_owned(),
            format!("/v2/a/b/blobs/{DIGEST}"),
            "/v2/a/manifests/v1".to_owned(),
            format!("/v2/a/manifests/{DIGEST}"),
            "/v2/blobs/blobs/uploads/".to_owned(),
            "/v2/a/blobs/uploads/0190-a_b=".to_owned(),
            "/v2/manifests/tags/list".to_owned(),
            format!("/v2/a/referrers/{DIGEST}"),
        ] {
            assert_eq!(Endpoint::parse(&path).unwrap_or_else(|error| panic!("{path}: {error}")).to_string(), path);
        }
    }

    #[test]
    fn what_is_wrong_has_its_code() {
        for (path, code) in [
            ("/v2/A/manifests/v1", ErrorCode::NameInvalid),
            ("/v2/../etc/manifests/v1", ErrorCode::NameInvalid),
            ("/v2/a%2fb/manifests/v1", ErrorCode::NameInvalid),
            ("/v2/a/blobs/sha256:12", ErrorCode::DigestInvalid),
            ("/v2/a/manifests/sha256:12", ErrorCode::DigestInvalid),
            ("/v2/a/manifests/.v1", ErrorCode::ManifestUnknown),
            ("/v2/a/blobs/uploads/../x", ErrorCode::Unsupported),
            ("/v2/a/blobs/uploads/..", ErrorCode::BlobUploadUnknown),
            ("/v2/a", ErrorCode::Unsupported),
            ("/v1/a/manifests/v1", ErrorCode::Unsupported),
            ("/", ErrorCode::Unsupported),
        ] {
            assert_eq!(Endpoint::parse(path).expect_err(path).code, code, "{path}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn parsing_never_panics_and_what_parses_prints_the_same(path in "/v2/[a-zA-Z0-9/:._%-]{0,80}") {
            if let Ok(endpoint) = Endpoint::parse(&path) {
                prop_assert_eq!(Endpoint::parse(&endpoint.to_string()).unwrap(), endpoint);
            }
        }

        #[test]
        fn no_path_is_too_strange(path in ".{0,100}") {
            let _ = Endpoint::parse(&path);
        }

        #[test]
        fn no_part_of_a_path_leads_out_of_a_repository(
            name in "[a-z./%]{0,12}", last in "[a-z0-9./%_:-]{0,12}",
            kind in prop::sample::select(vec!["blobs", "manifests", "referrers", "blobs/uploads", "tags"]),
        ) {
            if let Ok(endpoint) = Endpoint::parse(&format!("/v2/{name}/{kind}/{last}")) {
                let path = endpoint.to_string();
                prop_assert!(!path.contains('%'), "{}", path);
                prop_assert!(path.split('/').all(|part| part != "." && part != ".."), "{}", path);
            }
        }
    }
}
