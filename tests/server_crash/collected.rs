//! `bndlr gc` in a process of its own, over the directory of a registry that takes pushes.

use std::path::Path;
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bndlr::server::storage::{Filesystem, Storage};
use futures::future::join_all;
use serde_json::Value;

use super::Process;
use super::program::Program;
use super::pusher::Pusher;
use super::random::{Random, seed};

const PUSHERS: u64 = 3;
const PUSHES: usize = 40;
/// How long a collection may run before it is killed, in milliseconds.
const LONGEST: u64 = 60;

fn gc(root: &Path) -> Program {
    let mut program = Program::bndlr();
    program.args(["gc", "--grace", "0s", "--format", "json", "--root"]).arg(root);
    program
}

fn freed(output: &Output) -> u64 {
    assert!(output.status.success(), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    json["blobs"].as_u64().unwrap()
}

/// Pushes until all have pushed enough, while `collect` is called again and again.
async fn push_while(process: &Process, seed: u64, collect: impl Fn() + Send + 'static) {
    let address = &process.server.address;
    let mut pushers: Vec<_> = (0..PUSHERS).map(|number| Pusher::new(seed, number, address)).collect();
    let ended = std::sync::Arc::new(AtomicBool::new(false));
    let collector = {
        let ended = std::sync::Arc::clone(&ended);
        tokio::task::spawn_blocking(move || {
            while !ended.load(Ordering::SeqCst) {
                collect();
            }
        })
    };
    join_all(pushers.iter_mut().map(async |pusher| {
        for _ in 0..PUSHES {
            pusher.push().await;
        }
    }))
    .await;
    ended.store(true, Ordering::SeqCst);
    collector.await.unwrap();
    let acknowledged: u64 = pushers.iter().map(|pusher| pusher.acknowledged).sum();
    let refused: u64 = pushers.iter().map(|pusher| pusher.refused).sum();
    println!("{acknowledged} manifests acknowledged, {refused} refused");
    assert!(acknowledged > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_in_another_process_takes_nothing_from_a_running_registry() {
    let root = tempfile::tempdir().unwrap();
    let process = Process::start(root.path());
    let seed = seed("BNDLR_COLLECT_SEED");
    let directory = root.path().to_owned();
    let blobs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&blobs);
    let collect = move || {
        counted.fetch_add(freed(&gc(&directory).output()), Ordering::SeqCst);
    };
    push_while(&process, seed, collect).await;
    println!("{blobs:?} blobs freed");
    assert!(blobs.load(Ordering::SeqCst) > 0, "they met");
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_that_are_killed_at_any_moment_take_nothing_and_leave_nothing() {
    let root = tempfile::tempdir().unwrap();
    let process = Process::start(root.path());
    let seed = seed("BNDLR_COLLECT_SEED");
    let (directory, random) = (root.path().to_owned(), std::sync::Mutex::new(Random(seed)));
    let collect = move || {
        let mut child = gc(&directory).start();
        // The moment is the test's own choice: nothing is waited for.
        std::thread::sleep(Duration::from_millis(random.lock().unwrap().below(LONGEST)));
        child.kill();
    };
    push_while(&process, seed, collect).await;
    freed(&gc(root.path()).output());
    let storage = Filesystem::open(root.path()).unwrap();
    assert_eq!(storage.aside(usize::MAX).await.unwrap(), [], "what they left aside is decided");
}
