//! Blobs that are so large that they come in segments, over several connections at once.

use std::time::Duration;

use bndlr::content::{Error, ErrorKind, Target};
use bndlr::manifest::Descriptor;
use bndlr::remote::ClientOptions;
use bytes::Bytes;

use crate::embedded::Embedded;
use crate::proxy::Fault::{Answer, Down, LoseAnswer, Reset, Says, Without};
use crate::proxy::{Harm, Proxy, Rule, on};
use crate::sample::{blob, read};
use crate::scene::{MB, assert_kind, impatient, noise, options, repository};

/// What is asked for of a blob of 25 MiB.
const RANGES: [&str; 7] = [
    "[bytes=0-4194303]",
    "[bytes=4194304-8388607]",
    "[bytes=8388608-12582911]",
    "[bytes=12582912-16777215]",
    "[bytes=16777216-20971519]",
    "[bytes=20971520-25165823]",
    "[bytes=25165824-26214399]",
];

/// How the requests for a segment in the middle and for the last one begin.
const SECOND: &str = "bytes=4194304-";
const LAST: &str = "bytes=25165824-";

/// A registry that has some blobs of seven segments, the last of them a short one.
struct Scene {
    registry: Embedded,
    blobs: Vec<Descriptor>,
}

impl Scene {
    async fn new(count: u64) -> Self {
        let registry = Embedded::in_memory().await;
        let mut blobs = Vec::new();
        for seed in 0..count {
            let (descriptor, content) = blob(&noise(seed, 25 * MB));
            repository(&registry.address(), options()).push(&descriptor, &content).await.unwrap();
            blobs.push(descriptor);
        }
        Self { registry, blobs }
    }

    async fn behind(&self, rules: impl IntoIterator<Item = Rule>) -> Proxy {
        Proxy::start(self.registry.address().parse().unwrap(), rules.into_iter().collect()).await
    }

    /// Reads the first blob through `proxy`.
    async fn read(&self, proxy: &Proxy, options: ClientOptions) -> Result<Bytes, Error> {
        read(&repository(&proxy.address.to_string(), options), &self.blobs[0]).await
    }

    /// Reads it through a network with this fault, and returns what was asked for. It arrives as it is: the reader sees to
    /// that.
    async fn arrives(&self, rule: Rule, options: ClientOptions) -> Vec<String> {
        let proxy = self.behind([rule]).await;
        let read = self.read(&proxy, options).await.unwrap_or_else(|error| panic!("{error}: {:?}", proxy.asked()));
        assert_eq!(read.len() as u64, self.blobs[0].size);
        ranges(&proxy.asked())
    }
}

/// What was asked for, with its conditions.
fn ranges(asked: &[String]) -> Vec<String> {
    asked.iter().map(|line| line.splitn(3, ' ').nth(2).unwrap_or_default().to_owned()).collect()
}

fn get(fault: crate::proxy::Fault) -> Rule {
    on("GET", "/blobs/", fault)
}

#[tokio::test]
async fn a_large_blob_comes_over_several_connections_at_once() {
    let scene = Scene::new(1).await;
    let proxy = Proxy::slow(scene.registry.address().parse().unwrap(), Duration::from_millis(50)).await;
    scene.read(&proxy, options()).await.unwrap();
    let round_trips: Vec<_> = proxy.round_trips().iter().map(|asked| ranges(asked)).collect();
    assert_eq!(round_trips.concat(), RANGES);
    assert_eq!(round_trips[0].len(), 1, "whether there are ranges is seen first");
    assert_eq!(round_trips[1][..3], RANGES[1..4], "{round_trips:?}");
}

#[tokio::test]
async fn each_segment_goes_on_where_its_connection_broke() {
    let scene = Scene::new(1).await;
    for harm in [Harm::Reset, Harm::End, Harm::EndUnmeasured] {
        let asked = scene.arrives(get(Down(MB, harm)).of_part(SECOND), options()).await;
        let again: Vec<_> = asked.iter().filter(|range| !RANGES.contains(&range.as_str())).collect();
        let [again] = again[..] else { panic!("{harm:?}: {asked:?}") };
        assert!(again.ends_with("-8388607] if the same"), "{harm:?}: {asked:?}");
    }
    scene.arrives(get(Down(100_000, Harm::Reset)).always(), options()).await;
    scene.arrives(get(Down(MB, Harm::Stall)).of_part(LAST), impatient()).await;
    scene.arrives(get(Down(MB, Harm::Drip)).of_part(SECOND), options()).await;
}

#[tokio::test]
async fn segments_bear_answers_that_do_not_come_or_are_others() {
    let scene = Scene::new(1).await;
    for fault in [
        Reset,
        LoseAnswer,
        Answer("429 Too Many Requests\r\nRetry-After: 0"),
        Answer("416 Range Not Satisfiable"),
        Without("range"),
        Says("Content-Range", "bytes 17-99/100"),
        Says("ETag", "\"another\""),
    ] {
        for part in ["bytes=0-", SECOND, LAST] {
            scene.arrives(get(fault).of_part(part), options()).await;
        }
    }
}

#[tokio::test]
async fn a_large_blob_comes_whole_from_a_registry_that_knows_no_ranges() {
    let scene = Scene::new(1).await;
    assert_eq!(scene.arrives(get(Without("range")).always(), options()).await, RANGES[..1]);
    for fault in [Answer("416 Range Not Satisfiable"), Says("Content-Range", "bytes 0-1/2")] {
        assert_eq!(scene.arrives(get(fault).of_part("bytes="), options()).await, [RANGES[0], ""], "{fault:?}");
    }
}

#[tokio::test]
async fn no_segment_brings_wrong_bytes() {
    let scene = Scene::new(1).await;
    for part in ["bytes=0-", SECOND, LAST] {
        for harm in [Harm::Flip, Harm::Repeat, Harm::Skip] {
            let proxy = scene.behind([get(Down(MB / 2, harm)).of_part(part)]).await;
            assert_kind(scene.read(&proxy, options()).await, ErrorKind::Content, &format!("{part}: {harm:?}"));
        }
    }
}

#[tokio::test]
async fn a_segment_that_does_not_get_on_ends_all() {
    let scene = Scene::new(1).await;
    for fault in [Reset, LoseAnswer] {
        let proxy = scene.behind([get(fault).of_part(SECOND).always()]).await;
        assert_kind(scene.read(&proxy, options()).await, ErrorKind::Remote, &format!("{fault:?}"));
    }
    let first = get(Says("Age", "1")).of_part("bytes=0-");
    let proxy = scene.behind([first, get(Answer("404 Not Found")).always()]).await;
    assert_kind(scene.read(&proxy, options()).await, ErrorKind::NotFound, "gone meanwhile");
}

#[tokio::test]
async fn only_a_few_segments_of_all_blobs_wait_in_memory() {
    let scene = Scene::new(3).await;
    // The first segments stand still, until they are asked for again.
    let proxy = scene.behind([get(Down(MB, Harm::Stall)).of_part("bytes=0-").times(3)]).await;
    let repository = repository(&proxy.address.to_string(), impatient());
    for read in futures::future::join_all(scene.blobs.iter().map(|blob| read(&repository, blob))).await {
        read.unwrap();
    }
    let asked = ranges(&proxy.asked());
    let before = asked.iter().take_while(|range| !range.ends_with("if the same")).count();
    assert_eq!(before, 3 + 3, "the three that stand still, and three that wait: {asked:?}");
    assert!(asked.len() >= 3 * 7 + 3, "{asked:?}");
}
