//! How many round trips a push and a pull wait for, one after the other, in a network where each takes 50 ms.
//!
//! Those that are under way together count once: a request comes one after all that were answered before it was made.

use std::time::Duration;

use bndlr::content::{CopyOptions, Source, copy};
use bndlr::pack::{Bundle, pack};
use bndlr::reference::Tag;
use bndlr::remote::{ClientOptions, Credentials, Login, RemoteRepository, Secret};
use bndlr::server::storage::Memory;
use bndlr::server::{Auth, Passwords, Registry};
use bndlr::unpack::{UnpackOptions, unpack};

use crate::embedded::Embedded;
use crate::proxy::Proxy;
use crate::scene::{options, repository};

const ROUND_TRIP: Duration = Duration::from_millis(50);

fn v1() -> Tag {
    "v1".parse().unwrap()
}

/// A bundle of one small layer.
fn bundle() -> Bundle {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.yaml"), "kind: ConfigMap\n").unwrap();
    pack(directory.path()).unwrap()
}

async fn push(to: &RemoteRepository) {
    let bundle = bundle();
    copy(&bundle, &bundle.raw_manifest().digest().into(), to, &[v1()], &CopyOptions::default()).await.unwrap();
}

async fn pull(from: &RemoteRepository) {
    let directory = tempfile::tempdir().unwrap();
    let manifest = from.manifest(&v1().into()).await.unwrap();
    unpack(from, &manifest, &directory.path().join("pulled"), &UnpackOptions::default()).await.unwrap();
}

/// What was asked in each round trip, by a client that knows nothing yet.
async fn round_trips(registry: &Embedded, work: impl AsyncFnOnce(&RemoteRepository)) -> Vec<Vec<String>> {
    let proxy = Proxy::slow(registry.address().parse().unwrap(), ROUND_TRIP).await;
    let login = Login { username: "alice".into(), password: Secret::new("ecila") };
    let credentials = Credentials::none().with_login(proxy.address.to_string().parse().unwrap(), login);
    work(&repository(&proxy.address.to_string(), ClientOptions { credentials, ..options() })).await;
    proxy.round_trips()
}

fn assert_at_most(limit: usize, round_trips: &[Vec<String>]) {
    assert!(!round_trips.is_empty() && round_trips.len() <= limit, "more than {limit}: {round_trips:#?}");
}

#[tokio::test]
async fn a_push_and_a_pull_wait_for_few_round_trips() {
    let registry = Embedded::of(Registry::new(Memory::new())).await;
    let first = round_trips(&registry, push).await;
    // GET of the manifest and HEAD of both blobs, POST of both, PUT of both, PUT of the manifest.
    assert_at_most(4, &first);
    assert_eq!((first[0].len(), first[1].len(), first[2].len()), (3, 2, 2), "blobs go up together: {first:#?}");
    // GET of the manifest and HEAD of both blobs.
    assert_at_most(1, &round_trips(&registry, push).await);
    // The manifest; the config and the layer.
    let pulled = round_trips(&registry, pull).await;
    assert_at_most(2, &pulled);
    assert_eq!((pulled[0].len(), pulled[1].len()), (1, 2), "{pulled:#?}");
}

#[tokio::test]
async fn to_log_in_costs_two_round_trips_more() {
    let passwords = Passwords::parse(&format!("alice:{}", bcrypt::hash("ecila", 4).unwrap())).unwrap();
    let registry = Embedded::of(Registry::new(Memory::new()).auth(Auth::new(passwords).unwrap())).await;
    // A refusal that says where tokens are, and the token.
    assert_at_most(6, &round_trips(&registry, push).await);
    assert_at_most(3, &round_trips(&registry, push).await);
    assert_at_most(4, &round_trips(&registry, pull).await);
}
