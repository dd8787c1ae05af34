//! Blobs that are so large that they come in segments, over several connections at once, where one is slow.

use bndlr::content::{Error, ErrorKind, Target};
use bndlr::manifest::Descriptor;
use bndlr::remote::ClientOptions;
use bytes::Bytes;

use crate::embedded::Embedded;
use crate::proxy::Fault::{self, Answer, Down, DripWithout, LoseAnswer, Reset, Says, Without};
use crate::proxy::{Harm, Proxy, Rule, on};
use crate::sample::{blob, read};
use crate::scene::{MB, assert_kind, impatient, noise, options, repository};

/// How many bytes the blobs have.
const SIZE: u64 = 25 * MB;
const SEGMENT: u64 = 4 * MB;

/// A registry that has some blobs.
struct Scene {
    registry: Embedded,
    blobs: Vec<Descriptor>,
}

impl Scene {
    async fn new(count: u64) -> Self {
        let registry = Embedded::in_memory().await;
        let mut blobs = Vec::new();
        for seed in 0..count {
            let (descriptor, content) = blob(&noise(seed, SIZE));
            repository(&registry.address(), options()).push(&descriptor, &content).await.unwrap();
            blobs.push(descriptor);
        }
        Self { registry, blobs }
    }

    async fn behind(&self, rules: impl IntoIterator<Item = Rule>) -> Proxy {
        Proxy::start(self.registry.address().parse().unwrap(), rules.into_iter().collect()).await
    }

    /// Reads the first blob through `proxy`. The reader sees to it that it is what it should be.
    async fn read(&self, proxy: &Proxy, options: ClientOptions) -> Result<Bytes, Error> {
        read(&repository(&proxy.address.to_string(), options), &self.blobs[0]).await
    }

    /// Reads it over a network with these faults, and returns what was asked for.
    async fn arrives(&self, rules: impl IntoIterator<Item = Rule>, options: ClientOptions) -> Vec<Asked> {
        let proxy = self.behind(rules).await;
        let read = self.read(&proxy, options).await.unwrap_or_else(|error| panic!("{error}: {:?}", proxy.asked()));
        assert_eq!(read.len() as u64, SIZE);
        ranges(&proxy)
    }
}

/// What was asked for: all, or the bytes from the first to before the second number.
type Asked = Option<(u64, u64)>;

fn ranges(proxy: &Proxy) -> Vec<Asked> {
    let range = |line: &String| {
        let (first, last) = line.split_once("[bytes=")?.1.split_once(']')?.0.split_once('-')?;
        Some((first.parse().unwrap(), last.parse::<u64>().unwrap() + 1))
    };
    proxy.asked().iter().map(range).collect()
}

/// What happens to the first request for a blob that nothing has happened to.
fn get(fault: Fault) -> Rule {
    on("GET", "/blobs/", fault)
}

/// The connection that is slow: some bytes of it come late.
fn slow() -> Rule {
    get(Down(MB, Harm::Drip))
}

/// So many requests to which nothing happens.
fn unharmed(count: usize) -> Rule {
    get(Says("Age", "1")).times(count)
}

#[tokio::test]
async fn a_large_blob_goes_on_over_several_connections_where_one_is_slow() {
    let scene = Scene::new(1).await;
    let asked = scene.arrives([slow()], options()).await;
    assert_eq!(asked[0], None, "whether it is slow is seen first: {asked:?}");
    let mut segments: Vec<_> = asked[1..].iter().copied().map(Option::unwrap).collect();
    segments.sort_unstable();
    assert!((SEGMENT + MB..SEGMENT + 2 * MB).contains(&segments[0].0), "one goes on meanwhile: {asked:?}");
    assert!(segments.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].1 - pair[0].0 == SEGMENT), "{asked:?}");
    assert_eq!(segments.last().unwrap().1, SIZE);
}

#[tokio::test]
async fn a_large_blob_comes_over_one_connection_from_a_registry_that_knows_no_ranges() {
    let scene = Scene::new(1).await;
    assert_eq!(scene.arrives([get(DripWithout("Accept-Ranges"))], options()).await, [None]);
    // It says that it does, and sends all.
    let asked = scene.arrives([slow(), get(Without("range")).always()], options()).await;
    assert!(asked.len() > 2 && asked.len() <= 1 + 3 + 1, "once is enough: {asked:?}");
    assert!(asked.last().unwrap().is_some_and(|(_, end)| end == SIZE), "the rest was wanted: {asked:?}");
}

#[tokio::test]
async fn a_segment_goes_on_where_its_connection_broke() {
    let scene = Scene::new(1).await;
    for harm in [Harm::Reset, Harm::End, Harm::EndUnmeasured] {
        let asked = scene.arrives([slow(), unharmed(1), get(Down(MB, harm))], options()).await;
        let ends: Vec<_> = asked.iter().flatten().map(|(_, end)| end).collect();
        let again = ends.iter().enumerate().filter(|(place, end)| ends[..*place].contains(end)).count();
        assert_eq!((again, asked.len()), (1, 7), "{harm:?}: {asked:?}");
    }
    scene.arrives([slow(), get(Down(100_000, Harm::Reset)).always()], options()).await;
    scene.arrives([slow(), get(Down(MB, Harm::Stall))], impatient()).await;
    scene.arrives([slow(), get(Down(MB, Harm::Drip)).always()], options()).await;
}

#[tokio::test]
async fn the_rest_comes_over_one_connection_where_a_segment_does_not() {
    let scene = Scene::new(1).await;
    for fault in [
        Reset,
        LoseAnswer,
        Answer("404 Not Found"),
        Answer("416 Range Not Satisfiable"),
        Answer("503 Service Unavailable"),
        Says("Content-Range", "bytes 17-99/100"),
        Says("Content-Length", "100"),
        Without("range"),
    ] {
        let once = || ClientOptions { retry_times: 0, ..options() };
        scene.arrives([slow(), get(fault).times(3)], once()).await;
        scene.arrives([slow(), unharmed(4), get(fault)], once()).await;
    }
}

#[tokio::test]
async fn no_segment_brings_wrong_bytes() {
    let scene = Scene::new(1).await;
    for before in [0, 4] {
        for harm in [Harm::Flip, Harm::Repeat, Harm::Skip] {
            let proxy = scene.behind([slow(), unharmed(before), get(Down(MB / 2, harm))]).await;
            assert_kind(scene.read(&proxy, options()).await, ErrorKind::Content, &format!("{before}: {harm:?}"));
        }
    }
}

#[tokio::test]
async fn a_large_blob_that_does_not_get_on_is_given_up() {
    let scene = Scene::new(1).await;
    for (fault, expected) in [
        (Reset, ErrorKind::Remote),
        (Answer("503 Service Unavailable"), ErrorKind::Remote),
        (Down(10_000, Harm::Reset), ErrorKind::Remote),
        (Answer("404 Not Found"), ErrorKind::NotFound),
    ] {
        let proxy = scene.behind([slow(), get(fault).always()]).await;
        assert_kind(scene.read(&proxy, options()).await, expected, &format!("{fault:?}"));
        assert!(proxy.asked().len() < 60, "{fault:?}: {:?}", proxy.asked());
    }
}

#[tokio::test]
async fn only_a_few_segments_of_all_blobs_wait_in_memory() {
    let scene = Scene::new(3).await;
    // Each is slow, and stands still before it comes to where its segments begin.
    let proxy = scene.behind([get(Down(MB, Harm::DripThenStall)).times(3)]).await;
    let repository = repository(&proxy.address.to_string(), impatient());
    for read in futures::future::join_all(scene.blobs.iter().map(|blob| read(&repository, blob))).await {
        read.unwrap();
    }
    let asked = proxy.asked();
    let before = asked.iter().take_while(|line| !line.ends_with("if the same")).count();
    assert_eq!(before, 3 + 3, "the three that stand still, and three segments: {asked:?}");
}
