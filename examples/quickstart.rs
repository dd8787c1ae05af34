//! The main job on an embedded registry: push a directory, push it again, pull it elsewhere, compare.
//!
//! `cargo run --release --example quickstart [DIRECTORY]`

use std::path::{Path, PathBuf};

use bndlr::content::{Copied, CopyOptions, Outcome, Source, copy};
use bndlr::pack::{Bundle, PackOptions, Selection, scan};
use bndlr::reference::Reference;
use bndlr::remote::{Client, ClientOptions};
use bndlr::server::{Registry, Server, storage::Memory};
use bndlr::unpack::{UnpackOptions, unpack};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let directory = match std::env::args_os().nth(1) {
        Some(directory) => PathBuf::from(directory),
        None => manifests(scratch.path())?,
    };
    println!("1. Start a registry in this process, on a free port of this machine.");
    let registry = Server::bind("127.0.0.1:0".parse()?, Registry::new(Memory::new())).await?.spawn();
    let reference: Reference = format!("{}/quickstart:v1", registry.address()).parse()?;
    println!("   It listens on {}.", registry.address());

    println!("2. Pack {} and push it.", directory.display());
    let bundle = pack(&directory)?;
    show(&push(&bundle, &reference).await?);

    println!("3. Pack and push it again: the same digest, and nothing to upload.");
    let again = push(&pack(&directory)?, &reference).await?;
    show(&again);

    println!("4. Pull it into a new directory.");
    let target = scratch.path().join("pulled");
    let repository = Client::new(ClientOptions::default())?.repository(&reference.repository)?;
    let manifest = repository.manifest(&reference.identifier()).await?;
    let unpacked = unpack(&repository, &manifest, &target, &UnpackOptions::default()).await?;
    println!("   {} files, {} bytes, in {}", unpacked.files, unpacked.bytes, target.display());

    println!("5. Compare: contents, modes, links and empty directories all count for the digest.");
    let (pushed, pulled) = (bundle.raw_manifest().digest(), pack(&target)?.raw_manifest().digest());
    println!("   pushed {pushed}\n   pulled {pulled}");
    registry.stop().await;
    if pushed != pulled || again.changed || again.bytes_uploaded() > 0 {
        return Err("they are not equal".into());
    }
    println!("   They are equal.");
    Ok(())
}

fn pack(directory: &Path) -> Result<Bundle> {
    Ok(scan(directory, &Selection::default())?.pack(&PackOptions::default(), &|_| ())?)
}

async fn push(bundle: &Bundle, to: &Reference) -> Result<Copied> {
    let repository = Client::new(ClientOptions::default())?.repository(&to.repository)?;
    let tags: Vec<_> = to.tag().cloned().into_iter().collect();
    Ok(copy(bundle, &bundle.raw_manifest().digest().into(), &repository, &tags, &CopyOptions::default()).await?)
}

fn show(copied: &Copied) {
    for (blob, outcome) in &copied.blobs {
        let what = if *outcome == Outcome::Uploaded { "uploaded" } else { "exists" };
        println!("   {} {what}, {} bytes", blob.digest.short(), blob.size);
    }
    println!("   {} is {}", copied.manifest.digest(), if copied.changed { "tagged v1" } else { "what v1 is already" });
}

/// The manifests of `testdata/`, and an empty directory, which git cannot hold.
fn manifests(scratch: &Path) -> Result<PathBuf> {
    let directory = scratch.join("manifests");
    let copied = std::process::Command::new("cp")
        .args(["-a", concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/manifests")])
        .arg(&directory)
        .status()?;
    if !copied.success() {
        return Err("cannot copy testdata/manifests".into());
    }
    std::fs::create_dir(directory.join("empty"))?;
    Ok(directory)
}
