//! Collections beside pushes over HTTP, with no grace at all.

use bndlr::server::Registry;
use embedded::Embedded;
use futures::future::join_all;
use pusher::Pusher;
use random::seed;
use tokio::sync::Semaphore;

use super::*;

const PUSHERS: u64 = 4;
const PUSHES: usize = 60;
/// How many collections run at the same time.
const COLLECTORS: usize = 2;

/// Collects once for each turn, until there are none any more.
async fn collect_often(storage: Arc<dyn Storage>, turns: Arc<Semaphore>) -> (Freed, u64) {
    let (mut freed, mut rounds) = (Freed::default(), 0);
    while let Ok(turn) = turns.acquire().await {
        turn.forget();
        freed += collect(&*storage, &at_once()).await.unwrap().freed;
        rounds += 1;
    }
    (freed, rounds)
}

async fn lose_nothing(storage: Arc<dyn Storage>) {
    let seed = seed("BNDLR_COLLECT_SEED");
    let registry = Embedded::of(Registry::over(Repositories::new(Arc::clone(&storage)))).await;
    // Collections begin in the middle of pushes, and not so often that no push ever gets through.
    let turns = Arc::new(Semaphore::new(0));
    let collectors: Vec<_> =
        (0..COLLECTORS).map(|_| tokio::spawn(collect_often(Arc::clone(&storage), Arc::clone(&turns)))).collect();
    let pushers = (0..PUSHERS).map(|number| Pusher::new(seed, number, &registry.address()).give_turns(&turns));
    let mut pushers: Vec<_> = pushers.collect();
    join_all(pushers.iter_mut().map(async |pusher| {
        for _ in 0..PUSHES {
            pusher.push().await;
        }
    }))
    .await;
    turns.close();
    let (mut freed, mut rounds) = (Freed::default(), 0);
    for collector in collectors {
        let (more, times) = collector.await.unwrap();
        freed += more;
        rounds += times;
    }
    let acknowledged: u64 = pushers.iter().map(|pusher| pusher.acknowledged).sum();
    let refused: u64 = pushers.iter().map(|pusher| pusher.refused).sum();
    println!("{acknowledged} manifests acknowledged, {refused} refused, {rounds} collections, {freed:?}");
    assert!(acknowledged > 0 && freed.manifests > 0 && freed.blobs > 0, "they met");
    registry.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_manifest_lacks_a_blob_in_memory() {
    lose_nothing(Arc::new(Memory::new())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_manifest_lacks_a_blob_in_a_directory() {
    let root = tempfile::tempdir().unwrap();
    lose_nothing(Arc::new(Filesystem::open(root.path()).unwrap())).await;
}
