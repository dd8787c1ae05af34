//! Manifests as they came: bytes kept verbatim, checked once.

use std::str::Utf8Error;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::descriptor::Descriptor;
use super::image::Manifest;
use super::media_type;
use crate::digest::Digest;

/// The largest manifest that is read or accepted, in bytes (distribution-spec v1.1.1, "Pushing Manifests", asks of
/// registries at least this much).
pub const MAX_MANIFEST_SIZE: u64 = 4 * 1024 * 1024;

/// Why some bytes are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum Invalid {
    /// There are too many bytes.
    #[error("manifest has {0} bytes, more than the {MAX_MANIFEST_SIZE} that are allowed")]
    TooLarge(u64),
    /// The bytes are not UTF-8, as JSON between systems is (RFC 8259, section 8.1).
    #[error("manifest {digest} is not valid: {source}")]
    Encoding {
        /// The digest of the bytes.
        digest: Digest,
        /// Where they stop being UTF-8.
        source: Utf8Error,
    },
    /// The bytes are not JSON, or a field is missing or wrong.
    #[error("manifest {digest} is not valid: {source}")]
    Json {
        /// The digest of the bytes.
        digest: Digest,
        /// What is wrong with them.
        source: serde_json::Error,
    },
    /// This kind of manifest is not known here.
    #[error("media type {0:?} is not one of an image manifest or an image index")]
    MediaType(String),
    /// The manifest says that it is something else than what it was announced as.
    #[error("manifest says that its media type is {found:?}, but it was sent as {expected:?}")]
    Mismatch {
        /// What it was announced as.
        expected: String,
        /// What it says.
        found: String,
    },
    /// The manifest has the fields of an image and of an index, so that two readers could see two things in it.
    #[error("manifest {0} has the fields of an image manifest and those of an image index")]
    Ambiguous(Digest),
    /// The version of the schema is not 2.
    #[error("manifest has schema version {0}, expected 2")]
    SchemaVersion(u32),
}

/// A manifest's bytes, verbatim, with their media type and digest. The content has been read and is valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawManifest {
    media_type: String,
    bytes: Bytes,
    digest: Digest,
    manifest: Manifest,
}

/// The fields that tell what a manifest is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    schema_version: u32,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

impl RawManifest {
    /// Reads `bytes` as a manifest that was announced with `media_type`, which may be empty or
    /// `application/octet-stream` where nothing was said; then its own word decides, and after that its fields.
    ///
    /// # Errors
    /// When the bytes are too many, not JSON, of another kind than announced, or of two kinds at once.
    pub fn parse(media_type: &str, bytes: Bytes) -> Result<Self, Invalid> {
        if bytes.len() as u64 > MAX_MANIFEST_SIZE {
            return Err(Invalid::TooLarge(bytes.len() as u64));
        }
        let digest = Digest::sha256(&bytes);
        let json = |source| Invalid::Json { digest, source };
        // Of a field that is not known here, serde_json only looks for the end.
        let text = str::from_utf8(&bytes).map_err(|source| Invalid::Encoding { digest, source })?;
        let kind: Kind = serde_json::from_str(text).map_err(json)?;
        let media_type = kind.media_type(media_type, digest)?;
        if kind.schema_version != 2 {
            return Err(Invalid::SchemaVersion(kind.schema_version));
        }
        let manifest = if media_type::is_index(&media_type) {
            Manifest::Index(serde_json::from_str(text).map_err(json)?)
        } else {
            Manifest::Image(serde_json::from_str(text).map_err(json)?)
        };
        Ok(Self { media_type, bytes, digest, manifest })
    }

    /// The media type.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The bytes, as they came.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The SHA-256 digest of the bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What stands in it.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The descriptor of this manifest.
    #[must_use]
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(&self.media_type, self.digest, self.bytes.len() as u64)
    }

    /// The descriptor of this manifest as a list of referrers has it: with its annotations, and with its artifact type, for
    /// which the media type of the config stands where an image names none (distribution-spec v1.1.1, "Listing
    /// Referrers").
    #[must_use]
    pub fn referrer(&self) -> Descriptor {
        let (artifact_type, config, annotations) = match &self.manifest {
            Manifest::Image(image) => (&image.artifact_type, Some(&image.config.media_type), &image.annotations),
            Manifest::Index(index) => (&index.artifact_type, None, &index.annotations),
        };
        let artifact_type = artifact_type.as_ref().filter(|kind| !kind.is_empty()).or(config);
        Descriptor { artifact_type: artifact_type.cloned(), annotations: annotations.clone(), ..self.descriptor() }
    }
}

impl Kind {
    /// The media type that both sides agree on.
    fn media_type(&self, announced: &str, digest: Digest) -> Result<String, Invalid> {
        let announced = announced.split(';').next().unwrap_or_default().trim();
        let is_image = self.config.is_some() || self.layers.is_some() || self.fs_layers.is_some();
        if is_image && self.manifests.is_some() {
            return Err(Invalid::Ambiguous(digest));
        }
        let vague = matches!(announced, "" | media_type::OCTET_STREAM | "application/json" | "text/plain");
        let media_type = match &self.media_type {
            Some(found) if !vague && found != announced => {
                return Err(Invalid::Mismatch { expected: announced.to_owned(), found: found.clone() });
            }
            Some(found) => found.as_str(),
            None if !vague => announced,
            None if self.manifests.is_some() => media_type::OCI_INDEX,
            None => media_type::OCI_MANIFEST,
        };
        if media_type::is_manifest(media_type) {
            Ok(media_type.to_owned())
        } else {
            Err(Invalid::MediaType(media_type.to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EMPTY: &str = r#"{"mediaType":"application/vnd.oci.empty.v1+json","digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2}"#;

    /// Fields of manifests, right and wrong.
    const FIELDS: [&str; 14] = [
        r#""schemaVersion":2"#,
        r#""schemaVersion":1"#,
        r#""schemaVersion":"2""#,
        r#""mediaType":"x""#,
        r#""mediaType":"application/vnd.oci.image.manifest.v1+json""#,
        r#""config":EMPTY"#,
        r#""config":null"#,
        r#""layers":[]"#,
        r#""layers":[EMPTY,EMPTY]"#,
        r#""layers":{}"#,
        r#""manifests":[EMPTY]"#,
        r#""subject":EMPTY"#,
        r#""annotations":{"a":"b"}"#,
        r#""annotations":{"a":1}"#,
    ];

    fn parse(media_type: &str, json: &str) -> Result<RawManifest, Invalid> {
        RawManifest::parse(media_type, Bytes::copy_from_slice(json.as_bytes()))
    }

    #[test]
    fn bytes_are_kept_and_not_written_again() {
        let json = format!("{{ \"schemaVersion\": 2,\n \"layers\": [], \"unknown\": 1, \"config\": {EMPTY} }}\n");
        let raw = parse(media_type::OCI_MANIFEST, &json).unwrap();
        assert_eq!(raw.bytes(), json.as_bytes());
        assert_eq!(raw.digest(), Digest::sha256(json.as_bytes()));
        assert_eq!(raw.manifest().successors().count(), 1);
    }

    #[test]
    fn a_manifest_that_two_readers_could_read_differently_is_refused() {
        let both = format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[],"manifests":[]}}"#);
        assert!(matches!(parse(media_type::OCI_MANIFEST, &both), Err(Invalid::Ambiguous(_))));
        let image =
            format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{EMPTY},"layers":[]}}"#, media_type::OCI_MANIFEST);
        assert!(matches!(parse(media_type::DOCKER_MANIFEST, &image), Err(Invalid::Mismatch { .. })));
        let twice = format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[],"layers":[{EMPTY}]}}"#);
        assert!(matches!(parse("", &twice), Err(Invalid::Json { .. })));
    }

    #[test]
    fn what_is_not_utf_8_is_refused_in_a_field_that_nobody_reads_too() {
        let mut bytes = format!(r#"{{"schemaVersion":2,"config":{EMPTY},"layers":[],"unknown":"?"}}"#).into_bytes();
        let place = bytes.len() - 3;
        bytes[place] = 0xff;
        let refused = RawManifest::parse("", Bytes::from(bytes)).unwrap_err();
        assert!(matches!(refused, Invalid::Encoding { .. }), "{refused}");
    }

    #[test]
    fn the_media_type_comes_from_whoever_names_it() {
        let index = r#"{"schemaVersion":2,"manifests":[]}"#;
        assert_eq!(parse("", index).unwrap().media_type(), media_type::OCI_INDEX);
        assert_eq!(parse("application/json; charset=utf-8", index).unwrap().media_type(), media_type::OCI_INDEX);
        assert!(matches!(parse("text/html", index), Err(Invalid::MediaType(_))));
        assert!(matches!(parse("", "<html>"), Err(Invalid::Json { .. })));
        assert!(matches!(parse("", r#"{"schemaVersion":1,"fsLayers":[]}"#), Err(Invalid::SchemaVersion(1))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn no_bytes_are_too_strange(media_type in "[ -~]{0,40}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = RawManifest::parse(&media_type, Bytes::from(bytes));
        }

        #[test]
        fn no_json_is_too_strange_and_what_is_valid_keeps_its_bytes(
            fields in prop::collection::vec(prop::sample::select(FIELDS.to_vec()), 0..8),
            media_type in prop::sample::select(vec!["", "x", media_type::OCI_MANIFEST, media_type::OCI_INDEX]),
        ) {
            let json = format!("{{{}}}", fields.join(",").replace("EMPTY", EMPTY));
            if let Ok(raw) = parse(media_type, &json) {
                prop_assert_eq!(raw.bytes(), json.as_bytes());
                prop_assert!(media_type::is_manifest(raw.media_type()));
                prop_assert_eq!(media_type::is_index(raw.media_type()), matches!(raw.manifest(), Manifest::Index(_)));
            }
        }
    }
}
