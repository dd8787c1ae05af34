//! Pushes.

use bndlr::content::ErrorKind;
use bndlr::remote::ClientOptions;

use crate::proxy::Fault::{Answer, LoseAnswer, Reset, Up};
use crate::proxy::{Harm, Rule, on};
use crate::scene::{MB, Scene, assert_has_bundle, assert_kind, impatient, options, push};

/// A request that carries the layer, or a large part of it.
fn carrying(method: &'static str, fault: crate::proxy::Fault) -> Rule {
    on(method, "/blobs/uploads/", fault).with_at_least(2 * MB)
}

/// Pushes through a network with these faults. Returns what was asked.
async fn arrives(rules: impl IntoIterator<Item = Rule>) -> Vec<String> {
    arrives_with(options(), rules).await
}

async fn arrives_with(options: ClientOptions, rules: impl IntoIterator<Item = Rule>) -> Vec<String> {
    let scene = Scene::new(rules).await;
    let pushed = push(&scene.repository(options)).await;
    pushed.unwrap_or_else(|error| panic!("{error}: {:#?}", scene.proxy.asked()));
    assert_has_bundle(&scene.direct()).await;
    scene.proxy.asked()
}

/// How many requests in upload sessions have this method.
fn carried(asked: &[String], method: &str) -> usize {
    asked.iter().filter(|line| line.starts_with(method) && line.contains("/blobs/uploads/")).count()
}

#[tokio::test]
async fn a_push_goes_on_where_the_connection_broke() {
    for harm in [Harm::Reset, Harm::End] {
        let asked = arrives([carrying("PUT", Up(3 * MB, harm))]).await;
        let rest = asked.iter().find(|line| line.starts_with("PATCH")).unwrap_or_else(|| panic!("{asked:#?}"));
        assert!(!rest.contains("[0-"), "{rest}");
        assert_eq!(carried(&asked, "POST"), 2, "one for each blob: {asked:#?}");
    }
}

#[tokio::test]
async fn a_push_survives_a_connection_that_breaks_again_and_again() {
    let broken = |method| carrying(method, Up(2 * MB, Harm::Reset)).always();
    let asked = arrives([broken("PUT"), broken("PATCH")]).await;
    assert!(carried(&asked, "PATCH") > 5, "what gets on is not counted: {asked:#?}");
}

#[tokio::test]
async fn a_push_survives_answers_that_do_not_come() {
    arrives([on("POST", "/blobs/uploads/", Reset), on("POST", "/blobs/uploads/", LoseAnswer)]).await;
    arrives([on("HEAD", "/blobs/", Reset).times(2), on("GET", "/manifests/", LoseAnswer).times(2)]).await;
    arrives([on("PUT", "/manifests/", Reset), on("PUT", "/manifests/", LoseAnswer)]).await;
    arrives([carrying("PUT", Reset), on("GET", "/blobs/uploads/", LoseAnswer)]).await;
}

#[tokio::test]
async fn a_push_whose_last_answer_is_lost_finds_out_that_it_is_done() {
    let asked = arrives([carrying("PUT", LoseAnswer)]).await;
    assert_eq!(carried(&asked, "PUT") + carried(&asked, "PATCH"), 2, "nothing is sent twice: {asked:#?}");
}

#[tokio::test]
async fn a_push_waits_for_a_busy_registry() {
    for answer in ["429 Too Many Requests\r\nRetry-After: 0", "503 Service Unavailable", "500 Oops"] {
        arrives([
            on("GET", "/manifests/", Answer(answer)),
            on("POST", "/blobs/", Answer(answer)).times(2),
            carrying("PUT", Answer(answer)).times(3),
            on("PUT", "/manifests/", Answer(answer)).times(3),
        ])
        .await;
    }
}

#[tokio::test]
async fn a_push_is_done_in_chunks_where_one_request_is_too_large() {
    // Once with an answer that says so, which is no reason to try anything again, once with none.
    let too_large = |method| on(method, "/blobs/", Answer("413 Payload Too Large")).with_at_least(5 * MB).always();
    let once = ClientOptions { retry_times: 0, ..options() };
    let asked = arrives_with(once, [too_large("PUT"), too_large("PATCH")]).await;
    assert_eq!(carried(&asked, "PATCH"), 1 + 6, "one of 16 MB, and then of 4 MB: {asked:#?}");
    let cut = |method| on(method, "/blobs/", Up(0, Harm::Reset)).with_at_least(5 * MB).always();
    assert_eq!(carried(&arrives([cut("PUT"), cut("PATCH")]).await, "PATCH"), 1 + 6);
}

#[tokio::test]
async fn a_push_begins_anew_where_its_session_is_gone() {
    let broken = || carrying("PUT", Up(3 * MB, Harm::Reset));
    let gone = "404 Not Found";
    assert_eq!(carried(&arrives([broken(), on("GET", "/blobs/uploads/", Answer(gone))]).await, "POST"), 3);
    assert_eq!(carried(&arrives([broken(), on("PATCH", "/blobs/uploads/", Answer(gone))]).await, "POST"), 3);
    // A registry that does not say where an upload stands.
    assert_eq!(carried(&arrives([broken(), on("GET", "/blobs/", Answer("405 Not Allowed"))]).await, "POST"), 3);
}

#[tokio::test]
async fn a_push_asks_once_more_where_a_chunk_does_not_belong() {
    let elsewhere = on("PATCH", "/blobs/", Answer("416 Range Not Satisfiable"));
    let asked = arrives([carrying("PUT", Up(3 * MB, Harm::Reset)), elsewhere]).await;
    assert_eq!((carried(&asked, "GET"), carried(&asked, "POST")), (2, 2), "{asked:#?}");
}

#[tokio::test]
async fn a_push_of_which_bytes_changed_on_their_way_is_made_once_more() {
    for harm in [Harm::Flip, Harm::Repeat] {
        let asked = arrives([carrying("PUT", Up(5 * MB, harm))]).await;
        assert_eq!(carried(&asked, "POST"), 3, "{harm:?}: {asked:#?}");
    }
}

#[tokio::test]
async fn a_push_does_not_wait_for_what_stands_still() {
    let scene = Scene::new([carrying("PUT", Up(2 * MB, Harm::Stall)), on("POST", "/blobs/", Up(0, Harm::Stall))]).await;
    push(&scene.repository(impatient())).await.unwrap();
    assert_has_bundle(&scene.direct()).await;
}

#[tokio::test]
async fn a_push_bears_what_is_slow() {
    assert_eq!(carried(&arrives([carrying("PUT", Up(2 * MB, Harm::Drip))]).await, "PUT"), 2);
}

/// Fails unless nothing of a push that came to nothing can be seen.
async fn assert_left_nothing(scene: &Scene) {
    let v1: bndlr::reference::Tag = "v1".parse().unwrap();
    let found = bndlr::content::Source::resolve(&scene.direct(), &v1.into()).await;
    assert_kind(found, ErrorKind::NotFound, "a tag was set");
}

#[tokio::test]
async fn a_push_gives_up_where_nothing_gets_on() {
    for fault in [Reset, Answer("503 Service Unavailable"), Up(10_000, Harm::Reset)] {
        let large = |method| on(method, "/blobs/uploads/", fault).with_at_least(20_000).always();
        let scene = Scene::new([large("PUT"), large("PATCH")]).await;
        assert_kind(push(&scene.repository(options())).await, ErrorKind::Remote, &format!("{fault:?}"));
        assert!(scene.proxy.asked().len() < 60, "{fault:?}: {:#?}", scene.proxy.asked());
        assert_left_nothing(&scene).await;
    }
}

#[tokio::test]
async fn a_push_that_nobody_takes_says_that_it_is_too_large() {
    let too_large = |method| on(method, "/blobs/", Answer("413 Payload Too Large")).with_at_least(20_000).always();
    let scene = Scene::new([too_large("PUT"), too_large("PATCH")]).await;
    let error = assert_kind(push(&scene.repository(options())).await, ErrorKind::Remote, "too large");
    assert!(error.hint().unwrap().contains("limits the size"), "{error}: {:?}", error.hint());
}

#[tokio::test]
async fn a_push_whose_bytes_always_change_fails() {
    let scene = Scene::new([carrying("PUT", Up(5 * MB, Harm::Flip)).always()]).await;
    assert_kind(push(&scene.repository(options())).await, ErrorKind::Content, "flipped");
    assert_left_nothing(&scene).await;
}
