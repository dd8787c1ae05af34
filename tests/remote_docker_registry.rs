//! The registry that most others are made of, as others wrote it: what goes there comes back, and goes there once.

mod docker_registry;
mod fake;
mod peer;
mod sample;

use bndlr::content::{CopyOptions, ErrorKind, Memory, Outcome, Source, Target, copy};
use bndlr::manifest::RawManifest;
use bndlr::reference::Identifier;
use docker_registry::DockerRegistry;
use fake::{Traces, logged_in, repository, repository_with};
use sample::{blob, copy_all, image_index, kind, push_blobs, read, tag};

fn v1() -> Identifier {
    tag("v1").into()
}

/// An image in memory: a config, an empty layer, a small and a large one.
async fn image(memory: &Memory) -> RawManifest {
    let manifest = push_blobs(memory, &[b"", b"small", &sample::large()]).await;
    memory.push(&manifest.descriptor(), &manifest).await.unwrap();
    manifest
}

#[tokio::test]
async fn what_is_pushed_comes_back_and_is_not_pushed_again() {
    let Some(registry) = DockerRegistry::start("") else { return };
    let (memory, remote) = (Memory::new(), repository(&registry.address));
    let manifest = image(&memory).await;

    let copied = copy_all(&memory, &manifest, &remote, &["v1", "v2"]).await;
    assert!(copied.changed && copied.blobs.iter().all(|(_, outcome)| *outcome == Outcome::Uploaded));
    let back = Memory::new();
    let pulled = copy(&remote, &v1(), &back, &[tag("v1")], &CopyOptions::default()).await.unwrap();
    assert_eq!(pulled.manifest, manifest);
    for (descriptor, _) in &pulled.blobs {
        assert_eq!(read(&back, descriptor).await.unwrap(), read(&memory, descriptor).await.unwrap());
    }

    let before = registry.asked().len();
    let again = copy_all(&memory, &manifest, &remote, &["v1", "v2"]).await;
    assert!(!again.changed && again.bytes_uploaded() == 0);
    let asked = registry.asked().split_off(before);
    let is_look = |line: &String| line.starts_with(if line.contains("/blobs/") { "HEAD " } else { "GET " });
    assert!(!asked.is_empty() && asked.iter().all(is_look), "{asked:?}");
}

#[tokio::test]
async fn an_image_index_is_pushed_under_its_digest() {
    let Some(registry) = DockerRegistry::start("") else { return };
    let (memory, remote) = (Memory::new(), repository(&registry.address));
    let index = image_index(&[&image(&memory).await]);
    memory.push(&index.descriptor(), &index).await.unwrap();
    copy_all(&memory, &index, &remote, &[]).await;
    assert_eq!(remote.manifest(&index.digest().into()).await.unwrap(), index);
    assert!(remote.exists(&index.descriptor()).await.unwrap());
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let Some(registry) = DockerRegistry::start("") else { return };
    let remote = repository(&registry.address);
    assert_eq!(kind(remote.resolve(&v1()).await), ErrorKind::NotFound);
    let error = remote.manifest(&v1()).await.unwrap_err();
    assert!(error.to_string().contains("404 Not Found: MANIFEST_UNKNOWN: manifest unknown"), "{error}");
    assert_eq!(kind(read(&remote, &blob(b"x").0).await), ErrorKind::NotFound);
    assert!(!remote.exists(&blob(b"x").0).await.unwrap());
}

#[tokio::test]
async fn a_password_opens_what_is_closed_to_others() {
    // alice:correct-horse
    let users = "alice:$2y$05$abcdefghijklmnopqrstuuZ0Fx87Pb/Aqb0E90lfvCwzXnaFKUHpS\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("users"), users).unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: tests, path: {}}}}}", folder.path().join("users").display());
    let Some(registry) = DockerRegistry::start(&auth) else { return };
    let memory = Memory::new();
    let manifest = image(&memory).await;

    let stranger = repository(&registry.address).manifest(&v1()).await.unwrap_err();
    assert_eq!(stranger.kind(), ErrorKind::Denied);
    assert!(stranger.to_string().contains("401 Unauthorized: UNAUTHORIZED"), "{stranger}");

    let (traces, _guard) = Traces::collect();
    let remote = repository_with(&registry.address, logged_in(&registry.address));
    copy_all(&memory, &manifest, &remote, &["v1"]).await;
    assert_eq!(remote.manifest(&v1()).await.unwrap(), manifest);
    assert!(!traces.text().contains(fake::PASSWORD) && !traces.text().contains(&fake::basic()[6..]));
}
