//! Which manifests of a layout refer to another one. A layout has no list of them (image-spec v1.1.1, "OCI Image Layout
//! Specification"), so that each manifest that `index.json` leads to is looked at: once, however many are asked about.

use std::collections::{HashMap, HashSet};

use tokio::sync::Mutex;

use super::error::Error;
use crate::content::{self, ErrorKind, Open, read_manifest};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, media_type};

/// How many bytes the manifests that refer to others may have together: what they say of themselves is kept.
const MAX_SIZE: u64 = 64 * 1024 * 1024;

/// What refers to what, as far as `index.json` leads, once somebody has asked.
#[derive(Debug, Default)]
pub(super) struct Referrers(Mutex<Option<Found>>);

#[derive(Debug)]
struct Found {
    /// The `index.json` that led there.
    index: Vec<u8>,
    by_subject: HashMap<Digest, Vec<Descriptor>>,
}

impl Referrers {
    /// The manifests, among those that are `listed` in `index.json` or named by image indexes there, that have `subject` as
    /// their subject, in the order of their digests. Nothing is read as long as `index`, the bytes of `index.json`, are those
    /// of the last time.
    pub(super) async fn of(
        &self,
        subject: Digest,
        artifact_type: Option<&str>,
        index: &[u8],
        listed: impl FnOnce() -> Result<Vec<Descriptor>, Error>,
        blobs: &dyn Open,
    ) -> Result<Vec<Descriptor>, content::Error> {
        // Who asks meanwhile waits, and need not look as well.
        let mut kept = self.0.lock().await;
        let found = match kept.take().filter(|found| found.index == index) {
            Some(found) => found,
            None => Found { index: index.to_vec(), by_subject: search(listed()?, blobs, MAX_SIZE).await? },
        };
        let referrers = found.by_subject.get(&subject).into_iter().flatten();
        let referrers = referrers.filter(|referrer| referrer.has_artifact_type(artifact_type)).cloned().collect();
        *kept = Some(found);
        Ok(referrers)
    }

    /// Says that there may be more now.
    pub(super) async fn forget(&self) {
        *self.0.lock().await = None;
    }
}

/// Looks at all manifests that these lead to. Those that refer to others may have `limit` bytes together.
async fn search(
    mut left: Vec<Descriptor>,
    blobs: &dyn Open,
    limit: u64,
) -> Result<HashMap<Digest, Vec<Descriptor>>, content::Error> {
    let mut found = HashMap::<Digest, Vec<Descriptor>>::new();
    let (mut seen, mut size) = (HashSet::new(), 0);
    while let Some(descriptor) = left.pop() {
        if !media_type::is_manifest(&descriptor.media_type) || !seen.insert(descriptor.digest) {
            continue;
        }
        let manifest = match read_manifest(blobs, &descriptor).await {
            // What an image index names may have been left out of the layout.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            manifest => manifest?,
        };
        if let Some(subject) = manifest.manifest().subject() {
            size += descriptor.size;
            if size > limit {
                let message = format!("the manifests that refer to others have more than {limit} bytes together");
                return Err(content::Error::new(ErrorKind::Content, message));
            }
            let referrer = Descriptor { digest: descriptor.digest, ..manifest.referrer() };
            found.entry(subject.digest).or_default().push(referrer);
        }
        if let Manifest::Index(index) = manifest.manifest() {
            left.extend(index.manifests.iter().filter(|named| !seen.contains(&named.digest)).cloned());
        }
    }
    for referrers in found.values_mut() {
        referrers.sort_unstable_by_key(|referrer| referrer.digest);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use serde_json::json;

    use super::*;
    use crate::content::{Memory, Reader, Source, Target};
    use crate::manifest::RawManifest;

    /// Contents, and how often something was opened.
    struct Counted(Memory, AtomicUsize);

    #[async_trait]
    impl Open for Counted {
        async fn open(&self, descriptor: &Descriptor) -> Result<Reader, content::Error> {
            self.1.fetch_add(1, Ordering::SeqCst);
            self.0.open(descriptor).await
        }
    }

    fn about(subject: &RawManifest, words: &str) -> RawManifest {
        let json = json!({
            "schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": [], "artifactType": "a/b",
            "subject": subject.descriptor(), "annotations": {"words": words},
        });
        RawManifest::parse("", json.to_string().into()).unwrap()
    }

    #[tokio::test]
    async fn each_manifest_is_read_once_however_long_a_chain_of_referrers_is_followed() {
        let memory = Memory::new();
        let empty = json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": []});
        let mut chain = vec![RawManifest::parse("", empty.to_string().into()).unwrap()];
        for number in 0..50 {
            chain.push(about(chain.last().unwrap(), &number.to_string()));
        }
        for manifest in &chain {
            memory.push(&manifest.descriptor(), manifest).await.unwrap();
        }
        let listed: Vec<_> = chain.iter().map(RawManifest::descriptor).collect();
        let (counted, referrers) = (Counted(memory, AtomicUsize::new(0)), Referrers::default());
        for pair in chain.windows(2) {
            let of = referrers.of(pair[0].digest(), Some("a/b"), b"1", || Ok(listed.clone()), &counted);
            assert_eq!(of.await.unwrap(), [pair[1].referrer()]);
        }
        assert_eq!(counted.1.load(Ordering::SeqCst), chain.len());

        // Another index.json may lead elsewhere.
        let of = referrers.of(chain[0].digest(), None, b"2", || Ok(Vec::new()), &counted);
        assert_eq!(of.await.unwrap(), []);
        assert!(counted.0.referrers(chain[0].digest(), None).await.unwrap().len() == 1);
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded() {
        let memory = Memory::new();
        let subject = RawManifest::parse("", r#"{"schemaVersion":2,"manifests":[]}"#.into()).unwrap();
        let mut listed = Vec::new();
        for words in ["one", "two", "six"] {
            let referrer = about(&subject, words);
            memory.push(&referrer.descriptor(), &referrer).await.unwrap();
            listed.push(referrer.descriptor());
        }
        let size = listed.iter().map(|referrer| referrer.size).sum();
        assert_eq!(search(listed.clone(), &memory, size).await.unwrap()[&subject.digest()].len(), 3);
        assert_eq!(search(listed, &memory, size - 1).await.unwrap_err().kind(), ErrorKind::Content);
    }
}
