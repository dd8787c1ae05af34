//! A registry inside a test of yours: start it, push to it, pull from it, stop it.
//!
//! `cargo run --example embed`

use bndlr::content::{CopyOptions, Source, copy};
use bndlr::pack::pack;
use bndlr::reference::Reference;
use bndlr::remote::{Client, ClientOptions};
use bndlr::server::Registry;
use bndlr::unpack::{UnpackOptions, unpack};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let scratch = tempfile::tempdir()?;
    let (source, target) = (scratch.path().join("source"), scratch.path().join("target"));
    std::fs::create_dir(&source)?;
    std::fs::write(source.join("hello.txt"), "hello\n")?;

    // In memory, on a free port of this machine. There can be as many as you like.
    let registry = Registry::in_memory().start().await?;
    let reference: Reference = format!("{}/demo:v1", registry.address()).parse()?;
    let repository = Client::new(ClientOptions::default())?.repository(&reference.repository)?;

    let bundle = pack(&source)?;
    let digest = bundle.raw_manifest().digest();
    copy(&bundle, &digest.into(), &repository, &["v1".parse()?], &CopyOptions::default()).await?;

    let manifest = repository.manifest(&reference.identifier()).await?;
    unpack(&repository, &manifest, &target, &UnpackOptions::default()).await?;
    registry.stop().await;

    let pulled = std::fs::read_to_string(target.join("hello.txt"))?;
    println!("{reference} is {digest}, and hello.txt says {pulled:?}");
    if pulled == "hello\n" { Ok(()) } else { Err("that is not what was pushed".into()) }
}
