//! The library from end to end: push a directory to a registry, push it again, pull it elsewhere, compare:
//! `cargo run --example quickstart [DIRECTORY]`

use std::path::{Path, PathBuf};

use bndlr::content::{Copied, CopyOptions, Source, copy};
use bndlr::pack::pack;
use bndlr::remote::{Client, ClientOptions, RemoteRepository};
use bndlr::server::Registry;
use bndlr::unpack::{UnpackOptions, unpack};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = std::env::args_os().nth(1).map_or(sample(scratch.path().join("manifests")).await?, PathBuf::from);

    let registry = Registry::in_memory().start().await?;
    println!("1. A registry in this process listens on {}, a free port of this machine.", registry.address());
    let client = Client::new(ClientOptions::default())?;
    let repository = client.repository(&format!("{}/quickstart", registry.address()).parse()?)?;

    println!("2. Pack {} and push it.", directory.display());
    push(&directory, &repository).await?;

    println!("3. Pack and push it again: the same digest, and nothing to upload.");
    anyhow::ensure!(push(&directory, &repository).await?.bytes_uploaded() == 0, "something was uploaded");

    println!("4. Pull it into a new directory.");
    let manifest = repository.manifest(&"v1".parse()?).await?;
    let target = scratch.path().join("pulled");
    let unpacked = unpack(&repository, &manifest, &target, &UnpackOptions::default()).await?;
    println!("   {} files, {} bytes, in {}", unpacked.files, unpacked.bytes, target.display());

    println!("5. Compare: contents, modes, links and empty directories all count for the digest.");
    let (pushed, pulled) = (manifest.digest(), pack(&target)?.raw_manifest().digest());
    anyhow::ensure!(pushed == pulled, "they are not equal: {pushed} was pushed, and {pulled} pulled");
    println!("   pushed {pushed}\n   pulled {pulled}\n   They are equal.");
    registry.stop().await;
    Ok(())
}

async fn push(directory: &Path, to: &RemoteRepository) -> anyhow::Result<Copied> {
    let (bundle, v1) = (pack(directory)?, "v1".parse()?);
    let copied = copy(&bundle, &bundle.raw_manifest().digest().into(), to, &[v1], &CopyOptions::default()).await?;
    copied
        .blobs
        .iter()
        .for_each(|(blob, outcome)| println!("   {} {outcome}, {} bytes", blob.digest.short(), blob.size));
    println!("   {} is {}", copied.manifest.digest(), if copied.changed { "tagged v1" } else { "what v1 is already" });
    Ok(copied)
}

/// The manifests of `testdata/`, and an empty directory, which git cannot hold.
async fn sample(directory: PathBuf) -> anyhow::Result<PathBuf> {
    let manifests = pack(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/manifests")))?;
    unpack(&manifests, manifests.raw_manifest(), &directory, &UnpackOptions::default()).await?;
    std::fs::create_dir(directory.join("empty"))?;
    Ok(directory)
}
