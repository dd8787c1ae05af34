//! Error codes and the body that carries them (distribution-spec v1.1.1, "Error Codes").

use std::fmt;
use std::str::FromStr;

use http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $status:ident, $message:literal;)+) => {
        /// Why a registry refused a request. Registries have codes of their own, which are kept.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)+
            /// A code that the specification does not list.
            Other(String),
        }

        impl ErrorCode {
            /// The code as it stands in a body.
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $code,)+
                    Self::Other(code) => code,
                }
            }

            /// The status that a server answers with.
            #[must_use]
            pub fn status(&self) -> StatusCode {
                match self {
                    $(Self::$variant => StatusCode::$status,)+
                    Self::Other(_) => StatusCode::INTERNAL_SERVER_ERROR,
                }
            }

            /// What the code means, for people.
            #[must_use]
            pub fn message(&self) -> &str {
                match self {
                    $(Self::$variant => $message,)+
                    Self::Other(_) => "the registry has no words for it",
                }
            }
        }

        impl FromStr for ErrorCode {
            type Err = std::convert::Infallible;

            fn from_str(code: &str) -> Result<Self, Self::Err> {
                Ok(match code {
                    $($code => Self::$variant,)+
                    other => Self::Other(other.to_owned()),
                })
            }
        }
    };
}

error_codes! {
    /// A blob is not known to the registry.
    BlobUnknown = "BLOB_UNKNOWN", NOT_FOUND, "blob unknown to registry";
    /// An upload has failed.
    BlobUploadInvalid = "BLOB_UPLOAD_INVALID", BAD_REQUEST, "blob upload invalid";
    /// An upload session is not known.
    BlobUploadUnknown = "BLOB_UPLOAD_UNKNOWN", NOT_FOUND, "blob upload unknown to registry";
    /// The content does not have the digest that it should have.
    DigestInvalid = "DIGEST_INVALID", BAD_REQUEST, "provided digest did not match uploaded content";
    /// A manifest refers to a manifest or blob that is not there.
    ManifestBlobUnknown = "MANIFEST_BLOB_UNKNOWN", NOT_FOUND, "manifest references a manifest or blob unknown to registry";
    /// A manifest is not valid.
    ManifestInvalid = "MANIFEST_INVALID", BAD_REQUEST, "manifest invalid";
    /// A manifest is not known to the registry.
    ManifestUnknown = "MANIFEST_UNKNOWN", NOT_FOUND, "manifest unknown to registry";
    /// The name of a repository is not valid.
    NameInvalid = "NAME_INVALID", BAD_REQUEST, "invalid repository name";
    /// A repository is not known to the registry.
    NameUnknown = "NAME_UNKNOWN", NOT_FOUND, "repository name not known to registry";
    /// The size of some content is not what it should be.
    SizeInvalid = "SIZE_INVALID", BAD_REQUEST, "provided length did not match content length";
    /// Nobody is logged in.
    Unauthorized = "UNAUTHORIZED", UNAUTHORIZED, "authentication required";
    /// Who is logged in may not do this.
    Denied = "DENIED", FORBIDDEN, "requested access to the resource is denied";
    /// The registry does not do this.
    Unsupported = "UNSUPPORTED", METHOD_NOT_ALLOWED, "the operation is unsupported";
    /// There were too many requests.
    TooManyRequests = "TOOMANYREQUESTS", TOO_MANY_REQUESTS, "too many requests";
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ErrorCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Ok(code) = String::deserialize(deserializer)?.parse();
        Ok(code)
    }
}

/// One error of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorEntry {
    /// Why.
    pub code: ErrorCode,
    /// Why, for people.
    #[serde(default)]
    pub message: String,
    /// What is known beside it, in any form.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub detail: Value,
}

/// The body of an answer that says no.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong, at least one.
    pub errors: Vec<ErrorEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_that_nobody_listed_survive() {
        let body: ErrorBody = serde_json::from_str(
            r#"{"errors":[{"code":"QUOTA_EXCEEDED"},{"code":"DENIED","message":"no","detail":{"a":1}}]}"#,
        )
        .unwrap();
        assert_eq!(body.errors[0].code, ErrorCode::Other("QUOTA_EXCEEDED".into()));
        assert_eq!(body.errors[1].code, ErrorCode::Denied);
        assert_eq!(
            serde_json::to_string(&body).unwrap(),
            r#"{"errors":[{"code":"QUOTA_EXCEEDED","message":""},{"code":"DENIED","message":"no","detail":{"a":1}}]}"#
        );
    }
}
