//! A disk that is full is an answer, and no damage.

use std::path::Path;
use std::process::Command;

use bndlr::digest::Digest;
use reqwest::Method;
use tempfile::TempDir;

use super::embedded::{assert_refused, header, image_manifest};
use super::{Process, blob_path, manifest_path, peer};

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
    let process = Process::start(&disk.path().join("registry"));
    let server = &process.server;
    let image = server.push_image("v1", b"layer").await;
    let large = vec![1; 6 * 1024 * 1024];
    let digest = Digest::sha256(&large);
    for _ in 0..2 {
        let path = format!("/v2/a/blobs/uploads/?digest={digest}");
        assert_refused(server.send(Method::POST, &path, large.clone()).await.unwrap(), 507, "UNKNOWN").await;
        assert!(server.get(&blob_path("a", digest)).await.is_none());
        // What had been received is gone.
        server.push_blob(&vec![2; 1_000_000]).await;
    }

    let begun = server.send(Method::POST, "/v2/a/blobs/uploads/", Vec::new()).await.unwrap();
    let session = header(&begun, "location");
    assert_refused(server.send(Method::PATCH, session, large).await.unwrap(), 507, "UNKNOWN").await;
    let pulled = server.get(&manifest_path("a", "v1")).await.unwrap();
    assert_eq!(Digest::sha256(&pulled), image, "nothing else is harmed");
    assert_eq!(server.send(Method::DELETE, session, Vec::new()).await.unwrap().status(), 204);
    server.push_image("v2", &vec![3; 1_000_000]).await;
}

#[tokio::test]
async fn without_any_room_everything_is_served_and_nothing_is_half_written() {
    let Some(disk) = Disk::mount("4m") else { return };
    let process = Process::start(&disk.path().join("registry"));
    let server = &process.server;
    let first = server.push_image("v1", b"layer").await;
    server.push_blob(b"another layer").await;
    let manifest = image_manifest(b"another layer").into_bytes();
    let digest = Digest::sha256(&manifest);

    disk.fill();
    let tag = manifest_path("a", "v1");
    assert_refused(server.send(Method::PUT, &tag, manifest.clone()).await.unwrap(), 507, "UNKNOWN").await;
    let blob = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(b"blob"));
    assert_refused(server.send(Method::POST, &blob, b"blob".into()).await.unwrap(), 507, "UNKNOWN").await;
    let pulled = server.get(&tag).await.unwrap();
    assert_eq!(Digest::sha256(&pulled), first, "the tag has not moved");
    assert_eq!(server.get(&blob_path("a", Digest::sha256(b"layer"))).await.unwrap(), b"layer");
    assert!(server.get(&manifest_path("a", digest)).await.is_none());

    disk.empty();
    server.create(Method::PUT, &tag, manifest).await;
    assert_eq!(Digest::sha256(&server.get(&tag).await.unwrap()), digest);
    server.push_image("v2", b"blob").await;
}
