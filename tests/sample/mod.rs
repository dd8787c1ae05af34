//! Small contents for tests: blobs, images, image indexes.

// Each test program uses a part of this.
#![allow(dead_code)]

use bndlr::content::{Copied, CopyOptions, Error, ErrorKind, Open, Reader, Source, Target, copy};
use bndlr::manifest::{Descriptor, RawManifest, media_type};
use bndlr::reference::Tag;
use bytes::Bytes;

/// Content in memory, which claims to be whatever it is asked for.
pub struct Content(pub Bytes);

#[async_trait::async_trait]
impl Open for Content {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        Ok(Reader::of_bytes(descriptor, self.0.clone()))
    }
}

/// A layer that consists of these bytes.
pub fn blob(content: &[u8]) -> (Descriptor, Content) {
    (Descriptor::of(media_type::OCI_LAYER, content), Content(Bytes::copy_from_slice(content)))
}

/// Five MiB that do not repeat.
pub fn large() -> Bytes {
    (0..5 * 1024 * 1024_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

pub fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

/// Reads the whole content of `descriptor`.
pub async fn read(source: &(impl Open + ?Sized), descriptor: &Descriptor) -> Result<Bytes, Error> {
    source.open(descriptor).await?.read_all().await
}

/// The kind of an error that has to be there.
pub fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    result.map(|_| ()).expect_err("expected an error").kind()
}

/// Pushes the config and the layers of an image, and returns its manifest: JSON that nobody would write twice.
pub async fn push_blobs(target: &dyn Target, layers: &[&[u8]]) -> RawManifest {
    let describe = |kind: &str, blob: &Descriptor| {
        format!("{{\n \"size\" : {}, \"digest\":\"{}\",\t\"mediaType\":\"{kind}\"}}", blob.size, blob.digest)
    };
    let (config, content) = blob(b"{}");
    target.push(&config, &content).await.unwrap();
    let mut described = Vec::new();
    for layer in layers {
        let (layer, content) = blob(layer);
        target.push(&layer, &content).await.unwrap();
        described.push(describe(media_type::OCI_LAYER, &layer));
    }
    let json = format!(
        "{{ \"schemaVersion\": 2, \"mediaType\": \"{}\",\n\n \"x-unknown\": [1.50],\r\n \"config\": {},\n \"layers\": [ {} ] }}\n",
        media_type::OCI_MANIFEST,
        describe(media_type::OCI_CONFIG, &config),
        described.join(" , ")
    );
    RawManifest::parse(media_type::OCI_MANIFEST, json.into()).unwrap()
}

/// A manifest about `subject`, with an empty config, which has to be there, and these words as an annotation.
pub fn referrer_of(subject: &RawManifest, artifact_type: &str, words: &str) -> RawManifest {
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_MANIFEST, "artifactType": artifact_type,
        "config": Descriptor::of(media_type::OCI_EMPTY, b"{}"), "layers": [],
        "subject": subject.descriptor(), "annotations": {"words": words},
    });
    RawManifest::parse(media_type::OCI_MANIFEST, json.to_string().into()).unwrap()
}

/// An image index of these manifests.
pub fn image_index(manifests: &[&RawManifest]) -> RawManifest {
    let manifests: Vec<_> = manifests.iter().map(|manifest| manifest.descriptor()).collect();
    let json = serde_json::json!({
        "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests,
    });
    RawManifest::parse(media_type::OCI_INDEX, json.to_string().into()).unwrap()
}

/// Copies `manifest` and all that it needs.
pub async fn copy_all(source: &dyn Source, manifest: &RawManifest, target: &dyn Target, tags: &[&str]) -> Copied {
    let tags: Vec<Tag> = tags.iter().map(|text| tag(text)).collect();
    copy(source, &manifest.digest().into(), target, &tags, &CopyOptions::default()).await.unwrap()
}
