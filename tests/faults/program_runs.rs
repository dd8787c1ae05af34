//! The program itself: what a user sees of a bad network.

use std::sync::Arc;

use serde_json::Value;

use crate::program::{Desk, Ran};
use crate::proxy::Fault::{Answer, Down, Up};
use crate::proxy::{Harm, on};
use crate::scene::{MB, Scene, assert_has_bundle, layer, write_tree};

/// Runs `bndlr` while the network does what it does.
async fn run(desk: &Arc<Desk>, arguments: String) -> Ran {
    let desk = Arc::clone(desk);
    tokio::task::spawn_blocking(move || desk.run(&arguments)).await.unwrap()
}

#[tokio::test]
async fn a_user_pushes_and_pulls_over_a_network_that_breaks() {
    let desk = Arc::new(Desk::new());
    write_tree(&desk.path("tree"));
    let scene = Scene::new([
        on("PUT", "/blobs/", Up(3 * MB, Harm::Reset)).with_at_least(4 * MB),
        on("GET", layer(), Down(3 * MB, Harm::End)).times(3),
    ])
    .await;
    let place = format!("{}/team/app:v1", scene.proxy.address);
    let pushed = run(&desk, format!("push tree {place} --format json")).await;
    let pushed: Value = serde_json::from_str(&pushed.ok()).unwrap();
    assert_eq!(pushed["layers"][0]["result"], "uploaded");
    assert_has_bundle(&scene.direct()).await;
    run(&desk, format!("pull {place} -o pulled")).await.ok();
    for number in 0..4 {
        let read = |folder| std::fs::read(desk.path(&format!("{folder}/{number}"))).unwrap();
        assert!(read("tree") == read("pulled"));
    }
}

#[tokio::test]
async fn a_user_gets_no_wrong_bytes_and_learns_why() {
    for (fault, code, message) in [
        (Down(5 * MB, Harm::Flip), 5, "digest"),
        (Down(5 * MB, Harm::EndMeasured), 5, "bytes, expected"),
        (Answer("503 Service Unavailable"), 6, "503 Service Unavailable"),
        (Down(10, Harm::Stall), 6, "nothing came for 1.5 seconds"),
    ] {
        let (desk, scene) = (Arc::new(Desk::new()), Scene::with_bundle([on("GET", layer(), fault).always()]).await);
        let place = format!("{}/team/app:v1", scene.proxy.address);
        // Long enough for a busy machine, where it is not waited for.
        let timeout = if message.contains("nothing came") { 1.5 } else { 30.0 };
        let ran = run(&desk, format!("pull {place} -o pulled --retry-times 1 --timeout {timeout}")).await;
        assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{fault:?}: {ran:?}");
        assert!(ran.stderr.contains(message), "{fault:?}: {ran:?}");
        assert_eq!(desk.names(), [""; 0], "nothing is left behind");
        let asked = scene.proxy.asked().iter().filter(|line| line.contains(&layer())).count();
        assert_eq!(asked, if code == 5 { 1 } else { 2 }, "{fault:?}");
    }
}
