//! The media types of the OCI image specification and of Docker's image manifest, version 2, schema 2.

/// An OCI image manifest.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image index.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI image configuration.
pub const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// An OCI layer: a plain tar archive.
pub const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// An OCI layer: a tar archive in gzip.
pub const OCI_LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
/// An OCI layer: a tar archive in zstd.
pub const OCI_LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
/// The config of a manifest that has none: the two bytes `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// Docker's image manifest, schema 2.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Docker's image manifest, schema 1.
pub const DOCKER_MANIFEST_1: &str = "application/vnd.docker.distribution.manifest.v1+json";
/// The same with signatures, which are not part of what its digest is made of.
pub const DOCKER_MANIFEST_SIGNED: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";
/// Docker's manifest list.
pub const DOCKER_MANIFEST_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
/// Docker's image configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Docker's layer: a tar archive in gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Bytes of which nothing is known.
pub const OCTET_STREAM: &str = "application/octet-stream";

/// Every media type of a manifest that this program reads, the preferred first: for `Accept` headers.
pub const MANIFESTS: [&str; 4] = [OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_MANIFEST_LIST];

/// Whether this follows the grammar of media types, without parameters (RFC 6838, section 4.2).
#[must_use]
pub fn is_valid(media_type: &str) -> bool {
    let is_name = |name: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        (1..=127).contains(&name.len()) && name.bytes().all(is_allowed) && name.as_bytes()[0].is_ascii_alphanumeric()
    };
    media_type.split_once('/').is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
}

/// Whether this is the media type of a manifest for one platform.
#[must_use]
pub fn is_image(media_type: &str) -> bool {
    matches!(media_type, OCI_MANIFEST | DOCKER_MANIFEST)
}

/// Whether this is the media type of an image's configuration, and not of an artifact's.
#[must_use]
pub fn is_image_config(media_type: &str) -> bool {
    matches!(media_type, OCI_CONFIG | DOCKER_CONFIG)
}

/// Whether this is the media type of an image index or a manifest list.
#[must_use]
pub fn is_index(media_type: &str) -> bool {
    matches!(media_type, OCI_INDEX | DOCKER_MANIFEST_LIST)
}

/// Whether this is the media type of a layer that is not to be distributed, and is had from its URLs (image-spec v1.1.1,
/// "Non-Distributable Layers"; Docker's "foreign" ones).
#[must_use]
pub fn is_foreign_layer(media_type: &str) -> bool {
    media_type.starts_with("application/vnd.oci.image.layer.nondistributable.")
        || media_type == "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
}

/// Whether content of this media type is a manifest, and not a blob.
#[must_use]
pub fn is_manifest(media_type: &str) -> bool {
    is_image(media_type) || is_index(media_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_media_type_has_two_names() {
        let long = format!("a/{}", "b".repeat(127));
        for media_type in MANIFESTS.into_iter().chain([OCI_LAYER_ZSTD, OCTET_STREAM, "a/b", "1/2.!#$&-^_+", &long]) {
            assert!(is_valid(media_type), "{media_type}");
        }
        for media_type in ["", "a", "/", "a/", "/b", "a/b/c", "a/b; c=d", "a /b", ".a/b", "a/b\n", "a/é", &(long + "b")]
        {
            assert!(!is_valid(media_type), "{media_type}");
        }
    }
}
