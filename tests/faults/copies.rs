//! Copies from one registry to another, with a bad network before each; and the program itself.

use bndlr::content::{CopyOptions, ErrorKind, copy};
use bndlr::reference::Tag;

use crate::docker_registry::DockerRegistry;
use crate::proxy::Fault::{Answer, Down, LoseAnswer, Up};
use crate::proxy::{Harm, Proxy, Rule, on};
use crate::scene::{MB, Scene, assert_has_bundle, assert_kind, bundle, impatient, layer, options, push, repository};

/// What a registry answers that is busy.
const BUSY: &str = "503 Service Unavailable";

fn v1() -> Tag {
    "v1".parse().unwrap()
}

/// A request that carries a large part of the layer.
fn carrying(method: &'static str, fault: crate::proxy::Fault) -> Rule {
    on(method, "/blobs/uploads/", fault).with_at_least(2 * MB)
}

/// Copies the bundle from a registry behind one network to one behind another.
async fn copied(
    from: impl IntoIterator<Item = Rule>,
    to: impl IntoIterator<Item = Rule>,
) -> (Scene, Result<(), bndlr::content::Error>) {
    let (source, target) = (Scene::with_bundle(from).await, Scene::new(to).await);
    let (from, to) = (source.repository(options()), target.repository(options()));
    let outcome = copy(&from, &v1().into(), &to, &[v1()], &CopyOptions::default()).await;
    (target, outcome.map(|_| ()))
}

#[tokio::test]
async fn a_copy_survives_bad_networks_on_both_sides() {
    let slow_down = "429 Too Many Requests\r\nRetry-After: 0";
    for (from, to) in [
        (on("GET", layer(), Down(3 * MB, Harm::Reset)), carrying("PUT", Up(2 * MB, Harm::Reset))),
        (on("GET", layer(), Down(3 * MB, Harm::End)).times(3), carrying("PUT", LoseAnswer)),
        (on("GET", layer(), Answer(slow_down)).times(2), carrying("PUT", Answer(slow_down)).times(2)),
        (on("GET", layer(), Down(5 * MB, Harm::Reset)).always(), carrying("PUT", Up(5 * MB, Harm::Flip))),
        (on("GET", layer(), Down(MB, Harm::EndUnmeasured)), carrying("PUT", Up(4 * MB, Harm::Repeat))),
        (on("GET", layer(), Down(2 * MB, Harm::Drip)), carrying("PUT", Up(2 * MB, Harm::Drip))),
        (on("GET", layer(), Answer(BUSY)).times(3), carrying("PUT", Answer(BUSY)).times(3)),
        (on("GET", "/manifests/v1", Answer(BUSY)).times(3), on("PUT", "/manifests/v1", Answer(BUSY)).times(3)),
        (on("GET", "/manifests/v1", Down(20, Harm::Reset)), on("PUT", "/manifests/v1", LoseAnswer)),
    ] {
        let (target, outcome) = copied([from], [to]).await;
        outcome.unwrap_or_else(|error| panic!("{error}: {:#?}", target.proxy.asked()));
        assert_has_bundle(&target.direct()).await;
    }
}

#[tokio::test]
async fn a_copy_does_not_wait_for_what_stands_still_on_either_side() {
    let (source, target) = (
        Scene::with_bundle([on("GET", layer(), Down(2 * MB, Harm::Stall))]).await,
        Scene::new([carrying("PUT", Up(8 * MB, Harm::Stall))]).await,
    );
    let (from, to) = (source.repository(impatient()), target.repository(impatient()));
    copy(&from, &v1().into(), &to, &[v1()], &CopyOptions::default()).await.unwrap();
    assert_has_bundle(&target.direct()).await;
}

#[tokio::test]
async fn a_copy_gives_up_where_nothing_gets_on() {
    let nothing = || on("GET", "/nothing", LoseAnswer);
    for (from, to) in [
        (on("GET", layer(), Answer(BUSY)).always(), nothing()),
        (on("GET", layer(), Down(10_000, Harm::Reset)).always(), nothing()),
        (nothing(), carrying("PUT", Answer(BUSY)).always()),
        (nothing(), on("PUT", "/manifests/", LoseAnswer).always()),
    ] {
        let (target, outcome) = copied([from], [to]).await;
        assert_kind(outcome, ErrorKind::Remote, "nothing gets on");
        // An answer that nobody got does not undo what it was about.
        if let Ok(found) = bndlr::content::Source::resolve(&target.direct(), &v1().into()).await {
            assert_eq!(found.digest, bundle().raw_manifest().digest());
            assert_has_bundle(&target.direct()).await;
        }
    }
}

#[tokio::test]
async fn a_copy_passes_no_wrong_bytes_on() {
    for harm in [Harm::Flip, Harm::Repeat, Harm::Skip] {
        let (target, outcome) = copied([on("GET", layer(), Down(5 * MB, harm)).always()], []).await;
        assert_kind(outcome, ErrorKind::Content, &format!("{harm:?}"));
        let found = bndlr::content::Source::resolve(&target.direct(), &v1().into()).await;
        assert_kind(found, ErrorKind::NotFound, "a tag was set");
    }
}

#[tokio::test]
async fn the_registry_that_most_others_are_made_of_goes_on_with_uploads_and_downloads() {
    let Some(registry) = DockerRegistry::start("") else { return };
    let too_large = |method| on(method, "/blobs/", Answer("413 Payload Too Large")).with_at_least(5 * MB).always();
    for (number, rules) in [
        vec![carrying("PUT", Up(3 * MB, Harm::Reset)), carrying("PATCH", Up(3 * MB, Harm::Reset))],
        vec![carrying("PUT", Up(3 * MB, Harm::End)), carrying("PATCH", LoseAnswer)],
        vec![too_large("PUT"), too_large("PATCH"), on("PATCH", "/blobs/", Up(MB, Harm::Reset)).with_at_least(4 * MB)],
        vec![carrying("PUT", LoseAnswer)],
    ]
    .into_iter()
    .enumerate()
    {
        // A repository for each, so that each has to send it all.
        let at = |proxy: &Proxy| repository(&format!("{}/{number}", proxy.address), options());
        let to = Proxy::start(registry.address, rules).await;
        push(&at(&to)).await.unwrap_or_else(|error| panic!("{number}: {error}: {:#?}", to.asked()));
        let from = Proxy::start(registry.address, vec![on("GET", layer(), Down(4 * MB, Harm::End)).times(3)]).await;
        assert_has_bundle(&at(&from)).await;
        assert!(from.asked().iter().any(|line| line.contains("[bytes=")), "{:#?}", from.asked());
    }
}
