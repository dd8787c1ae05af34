//! The library from end to end: push a directory to a registry, push it again, pull it elsewhere, compare.
//!
//! `cargo run --release --example quickstart [DIRECTORY]`

use std::path::{Path, PathBuf};

use bndlr::content::{Copied, CopyOptions, Source, copy};
use bndlr::pack::{Bundle, PackOptions, Selection, scan};
use bndlr::reference::Tag;
use bndlr::remote::{Client, ClientOptions, RemoteRepository};
use bndlr::server::{Registry, Server, storage::Memory};
use bndlr::unpack::{UnpackOptions, unpack};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = match std::env::args_os().nth(1) {
        Some(directory) => PathBuf::from(directory),
        None => sample(&scratch.path().join("manifests")).await?,
    };

    println!("1. Start a registry in this process, on a free port of this machine.");
    let registry = Server::bind("127.0.0.1:0".parse()?, Registry::new(Memory::new())).await?.spawn();
    println!("   It listens on {}.", registry.address());
    let client = Client::new(ClientOptions::default())?;
    let repository = client.repository(&format!("{}/quickstart", registry.address()).parse()?)?;
    let v1: Tag = "v1".parse()?;

    println!("2. Pack {} and push it.", directory.display());
    push(&directory, &repository, &v1).await?;

    println!("3. Pack and push it again: the same digest, and nothing to upload.");
    let again = push(&directory, &repository, &v1).await?;
    anyhow::ensure!(!again.changed && again.bytes_uploaded() == 0, "something was uploaded");

    println!("4. Pull it into a new directory.");
    let manifest = repository.manifest(&v1.into()).await?;
    let target = scratch.path().join("pulled");
    let unpacked = unpack(&repository, &manifest, &target, &UnpackOptions::default()).await?;
    println!("   {} files, {} bytes, in {}", unpacked.files, unpacked.bytes, target.display());

    println!("5. Compare: contents, modes, links and empty directories all count for the digest.");
    let (pushed, pulled) = (manifest.digest(), pack(&target)?.raw_manifest().digest());
    println!("   pushed {pushed}\n   pulled {pulled}");
    anyhow::ensure!(pushed == pulled, "they are not equal");
    println!("   They are equal.");
    registry.stop().await;
    Ok(())
}

fn pack(directory: &Path) -> anyhow::Result<Bundle> {
    Ok(scan(directory, &Selection::default())?.pack(&PackOptions::default(), &|_| ())?)
}

async fn push(directory: &Path, to: &RemoteRepository, tag: &Tag) -> anyhow::Result<Copied> {
    let copied =
        copy(&pack(directory)?, &tag.clone().into(), to, std::slice::from_ref(tag), &CopyOptions::default()).await?;
    for (blob, outcome) in &copied.blobs {
        println!("   {} {outcome}, {} bytes", blob.digest.short(), blob.size);
    }
    println!("   {} is {}", copied.manifest.digest(), if copied.changed { "tagged v1" } else { "what v1 is already" });
    Ok(copied)
}

/// The manifests of `testdata/`, copied by packing and unpacking them, and an empty directory, which git cannot hold.
async fn sample(directory: &Path) -> anyhow::Result<PathBuf> {
    let manifests = pack(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/manifests")))?;
    unpack(&manifests, manifests.raw_manifest(), directory, &UnpackOptions::default()).await?;
    std::fs::create_dir(directory.join("empty"))?;
    Ok(directory.to_owned())
}
