//! Layers that come while the configuration is still on its way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bndlr::content::{Error, Open, Reader};
use bndlr::manifest::{Descriptor, media_type};
use bndlr::unpack::unpack;
use futures::TryStreamExt;
use tokio::sync::Notify;

use super::archives::{Image, Tar};

/// How many chunks of a layer may wait until somebody reads them, and those in the hands of who brings them.
const WAITING: usize = 16 + 2;

/// An image of which the configuration comes only once a layer has come as far as it may.
struct Slow {
    image: Image,
    /// How many chunks of the layer have been taken.
    taken: Arc<AtomicUsize>,
    full: Arc<Notify>,
}

#[async_trait]
impl Open for Slow {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        if descriptor.media_type == media_type::OCI_CONFIG {
            self.full.notified().await;
            // Whoever wants more of the layer has many a chance to take it.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            let taken = self.taken.load(Ordering::SeqCst);
            assert!(taken <= WAITING, "{taken} chunks are kept, and nobody knows yet what for");
            return self.image.open(descriptor).await;
        }
        let (taken, full) = (Arc::clone(&self.taken), Arc::clone(&self.full));
        let chunks = self.image.open(descriptor).await?.inspect_ok(move |_| {
            if taken.fetch_add(1, Ordering::SeqCst) + 1 == WAITING - 2 {
                full.notify_one();
            }
        });
        Ok(Reader::new(descriptor, chunks))
    }
}

#[tokio::test]
async fn a_layer_comes_while_the_configuration_is_read_and_no_more_of_it_than_a_little() {
    let noise: String =
        (0..200_000_u32).map(|n| char::from(b'a' + (n.wrapping_mul(2_654_435_761) >> 28) as u8)).collect();
    let mut image = Image::of(Tar::new().file("a", &noise));
    image.chunk = 50;
    let manifest = image.manifest();
    let chunks = image.layers[0].size as usize / image.chunk;
    assert!(chunks > 3 * WAITING, "{chunks}");
    let source = Slow { image, taken: Arc::default(), full: Arc::default() };
    let parent = tempfile::tempdir().unwrap();
    let (target, options) = (parent.path().join("target"), source.image.options());
    let unpacking = unpack(&source, &manifest, &target, &options);
    let unpacked = tokio::time::timeout(Duration::from_mins(1), unpacking).await.expect("the layer waits");
    assert_eq!(unpacked.unwrap().bytes_fetched, source.image.layers[0].size + config_size(&manifest));
    assert!(std::fs::read_to_string(target.join("a")).unwrap() == noise);
}

#[tokio::test]
async fn a_configuration_that_is_wrong_is_the_error_although_the_layer_waits_for_it() {
    let mut image = Image::of(Tar::new().file("a", "x"));
    image.diff_ids.clear();
    let parent = tempfile::tempdir().unwrap();
    let error = image.unpack(&parent.path().join("target")).await.unwrap_err();
    assert!(error.to_string().contains("diff ID"), "{error}");
    assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
}

fn config_size(manifest: &bndlr::manifest::RawManifest) -> u64 {
    manifest.manifest().successors().find(|blob| blob.media_type == media_type::OCI_CONFIG).unwrap().size
}
