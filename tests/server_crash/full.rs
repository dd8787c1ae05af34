//! A disk that is full is an answer, and no damage.

use std::path::Path;
use std::process::Command;

use bndlr::digest::Digest;
use bndlr::manifest::media_type::OCI_MANIFEST;
use tempfile::TempDir;

use super::embedded::{Embedded, assert_refused, header, image_manifest};
use super::{blob_path, manifest_path, peer};
use reqwest::Method;

/// A small file system in memory, mounted as long as this is there.
struct Disk(TempDir);

impl Disk {
    /// Nothing where that is not allowed; it has been said that the test is skipped.
    fn mount(size: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(directory.path()).output();
        if mount.is_ok_and(|mount| mount.status.success()) {
            return Some(Self(directory));
        }
        assert!(!peer::are_required(), "a tmpfs cannot be mounted, which takes root, and BNDLR_REQUIRE_PEERS=1");
        eprintln!("skipped: a tmpfs cannot be mounted, which takes root");
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves no room for anything.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.path().join("filler")).unwrap();
        while std::io::Write::write(&mut file, &[0; 4096]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

#[tokio::test]
async fn a_blob_for_which_there_is_no_room_is_507_and_leaves_the_room_to_others() {
    let Some(disk) = Disk::mount("4m") else { return };
    let registry = Embedded::in_directory(&disk.path().join("registry")).await;
    let image = registry.push_image("a", "v1", b"layer").await;
    let large = vec![1; 6 * 1024 * 1024];
    let digest = Digest::sha256(&large);
    for _ in 0..2 {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        let answer = registry.request(Method::POST, &path).body(large.clone()).send().await.unwrap();
        assert_refused(answer, 507, "UNKNOWN").await;
        assert_eq!(registry.head(&blob_path("a", digest)).await.status(), 404);
        // What had been received is gone.
        registry.push_blob("a", &vec![2; 1_000_000]).await;
    }

    let session = registry.begin_upload("a").await;
    let answer = registry.request(Method::PATCH, &session).body(large).send().await.unwrap();
    assert_refused(answer, 507, "UNKNOWN").await;
    let pulled = registry.get(&manifest_path("a", "v1")).await;
    assert_eq!(header(&pulled, "docker-content-digest"), image.to_string(), "nothing else is harmed");
    assert_eq!(registry.request(Method::DELETE, &session).send().await.unwrap().status(), 204);
    registry.push_image("a", "v2", &vec![3; 1_000_000]).await;
}

#[tokio::test]
async fn without_any_room_everything_is_served_and_nothing_is_half_written() {
    let Some(disk) = Disk::mount("4m") else { return };
    let registry = Embedded::in_directory(&disk.path().join("registry")).await;
    let first = registry.push_image("a", "v1", b"layer").await;
    registry.push_blob("a", b"another layer").await;
    let manifest = image_manifest(b"another layer");
    let digest = Digest::sha256(manifest.as_bytes());

    disk.fill();
    let path = manifest_path("a", "v1");
    assert_refused(registry.put(&path, OCI_MANIFEST, manifest.clone()).await, 507, "UNKNOWN").await;
    let blob = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(b"blob"));
    assert_refused(registry.request(Method::POST, &blob).body("blob").send().await.unwrap(), 507, "UNKNOWN").await;
    let pulled = registry.get(&path).await;
    assert_eq!(header(&pulled, "docker-content-digest"), first.to_string(), "the tag has not moved");
    assert_eq!(registry.get(&blob_path("a", Digest::sha256(b"layer"))).await.text().await.unwrap(), "layer");
    assert_eq!(registry.head(&manifest_path("a", digest)).await.status(), 404);

    disk.empty();
    assert_eq!(registry.put(&path, OCI_MANIFEST, manifest).await.status(), 201);
    assert_eq!(header(&registry.get(&path).await, "docker-content-digest"), digest.to_string());
    registry.push_image("a", "v2", b"blob").await;
}
