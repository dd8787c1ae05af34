//! Headers that the distribution API adds to HTTP's own.

/// The digest of the content in a body, or of what was made from a request (distribution-spec v1.1.1, "Pull").
pub const DOCKER_CONTENT_DIGEST: &str = "docker-content-digest";
/// Which API a server speaks; its value is always `registry/2.0`.
pub const DOCKER_DISTRIBUTION_API_VERSION: &str = "docker-distribution-api-version";
/// The name of an upload session, as Docker's engine reads it.
pub const DOCKER_UPLOAD_UUID: &str = "docker-upload-uuid";
/// The tags that were set with a manifest that was pushed by its digest (the draft after distribution-spec v1.1.1,
/// "Pushing Manifests").
pub const OCI_TAG: &str = "oci-tag";
/// The subject of the manifest that was pushed: the registry lists its referrers (distribution-spec v1.1.1, "Pushing
/// Manifests with Subject").
pub const OCI_SUBJECT: &str = "oci-subject";
/// The fewest bytes that a chunk of an upload may have, unless it is the last one (distribution-spec v1.1.1, "Pushing a
/// blob in chunks").
pub const OCI_CHUNK_MIN_LENGTH: &str = "oci-chunk-min-length";
/// Which filters a list of referrers went through (distribution-spec v1.1.1, "Listing Referrers").
pub const OCI_FILTERS_APPLIED: &str = "oci-filters-applied";
