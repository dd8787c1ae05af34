//! Pulls.

use bndlr::content::{ErrorKind, OpenRange};
use bndlr::remote::ClientOptions;

use crate::proxy::Fault::{Answer, Down, LoseAnswer, Reset, Says, Without};
use crate::proxy::{Harm, Rule, on};
use crate::scene::{MB, Scene, assert_has_bundle, assert_kind, bundle, impatient, layer, options, pull};

/// Pulls through a network with these faults. Returns what was asked.
async fn arrives(rules: impl IntoIterator<Item = Rule>) -> Vec<String> {
    let scene = Scene::with_bundle(rules).await;
    let pulled = pull(&scene.repository(options())).await;
    assert_has_bundle(&pulled.unwrap_or_else(|error| panic!("{error}: {:?}", scene.proxy.asked()))).await;
    scene.proxy.asked()
}

/// The requests for the layer.
fn of_layer(asked: &[String]) -> Vec<&str> {
    let layer = layer();
    asked.iter().filter_map(|line| line.split_once(&layer)).map(|(_, range)| range.trim()).collect()
}

#[tokio::test]
async fn a_pull_goes_on_where_the_connection_broke() {
    for harm in [Harm::Reset, Harm::End, Harm::EndUnmeasured] {
        let asked = arrives([on("GET", layer(), Down(3 * MB, harm))]).await;
        let [first, second] = of_layer(&asked)[..] else { panic!("{harm:?}: {asked:?}") };
        assert!(first.is_empty() && second.starts_with("[bytes=") && !second.starts_with("[bytes=0-"), "{asked:?}");
        assert!(second.ends_with("if the same"), "the registry has said which version it is: {second}");
    }
}

#[tokio::test]
async fn a_pull_survives_a_connection_that_breaks_again_and_again() {
    let asked = arrives([on("GET", layer(), Down(300_000, Harm::Reset)).always()]).await;
    assert!(of_layer(&asked).len() > 20, "what gets on is not counted: {asked:?}");
}

#[tokio::test]
async fn a_part_goes_on_where_the_connection_broke() {
    let layer_of_it = &bundle().layers()[0];
    let part = async |rules: Vec<Rule>| {
        let scene = Scene::with_bundle(rules).await;
        let part = scene.repository(options()).read_range_unverified(layer_of_it, MB, 6 * MB).await;
        (part, scene.proxy.asked())
    };
    let expected = part(vec![]).await.0.unwrap();
    for harm in [Harm::Reset, Harm::End, Harm::EndUnmeasured] {
        let (found, asked) = part(vec![on("GET", layer(), Down(2 * MB, harm))]).await;
        assert!(found.unwrap() == expected);
        let [_, second] = of_layer(&asked)[..] else { panic!("{harm:?}: {asked:?}") };
        assert!(second.ends_with(&format!("-{}]", 7 * MB - 1)), "{asked:?}");
        assert!(!second.contains(&format!("bytes={MB}-")), "{asked:?}");
    }
    // Another server may have another name for the version, or know no ranges: each part has a digest of its own.
    for odd in [Says("ETag", "\"another\""), Without("range")] {
        let (found, asked) = part(vec![on("GET", layer(), Down(MB, Harm::Reset)), on("GET", layer(), odd)]).await;
        assert!(found.unwrap() == expected, "{odd:?}: {asked:?}");
    }
    // What the registry says in the end is what is told.
    for (answer, kind) in [("503 Service Unavailable", ErrorKind::Remote), ("404 Not Found", ErrorKind::NotFound)] {
        let (found, _) =
            part(vec![on("GET", layer(), Down(MB, Harm::Reset)), on("GET", layer(), Answer(answer)).always()]).await;
        assert_kind(found, kind, answer);
    }
    let (found, asked) = part(vec![on("GET", layer(), Down(300_000, Harm::Reset)).always()]).await;
    assert!(found.unwrap() == expected && of_layer(&asked).len() > 15, "what gets on is not counted: {asked:?}");
    let (found, asked) = part(vec![on("GET", layer(), Down(10, Harm::Reset)).always()]).await;
    assert!(found.is_err() && of_layer(&asked).len() < 10, "{asked:?}");
}

#[tokio::test]
async fn a_pull_survives_answers_that_do_not_come() {
    arrives([on("GET", layer(), Reset), on("GET", layer(), LoseAnswer), on("GET", layer(), Down(0, Harm::Reset))])
        .await;
    arrives([
        on("GET", "/manifests/v1", Reset),
        on("GET", "/manifests/v1", Down(10, Harm::Reset)),
        on("GET", "/manifests/v1", Down(10, Harm::End)),
        on("GET", "/manifests/v1", Down(100, Harm::Skip)),
    ])
    .await;
}

#[tokio::test]
async fn a_pull_waits_for_a_busy_registry() {
    for answer in ["429 Too Many Requests\r\nRetry-After: 0", "503 Service Unavailable", "500 Oops", "502 Bad Gateway"]
    {
        arrives([on("GET", layer(), Answer(answer)).times(3), on("GET", "/manifests/", Answer(answer)).times(3)]).await;
        arrives([on("GET", layer(), Down(MB, Harm::Reset)), on("GET", layer(), Answer(answer)).times(3)]).await;
    }
}

#[tokio::test]
async fn a_pull_begins_anew_where_the_rest_cannot_be_had() {
    let broken = || on("GET", layer(), Down(3 * MB, Harm::Reset));
    for (odd, expected) in [
        (Without("range"), 2),
        (Answer("416 Range Not Satisfiable"), 3),
        (Says("Content-Range", "bytes 17-99/100"), 3),
        (Says("ETag", "\"another\""), 3),
    ] {
        let asked = arrives([broken(), on("GET", layer(), odd)]).await;
        assert_eq!(of_layer(&asked).len(), expected, "{odd:?}: {asked:?}");
    }
}

#[tokio::test]
async fn a_pull_does_not_wait_for_what_stands_still() {
    let scene = Scene::with_bundle([
        on("GET", layer(), Down(2 * MB, Harm::Stall)),
        on("GET", "/manifests/", Down(0, Harm::Stall)),
    ])
    .await;
    assert_has_bundle(&pull(&scene.repository(impatient())).await.unwrap()).await;
    assert!(of_layer(&scene.proxy.asked()).len() >= 2);
}

#[tokio::test]
async fn a_pull_bears_what_is_slow() {
    assert_eq!(of_layer(&arrives([on("GET", layer(), Down(2 * MB, Harm::Drip))]).await).len(), 1);
}

#[tokio::test]
async fn a_pull_takes_no_wrong_bytes() {
    for harm in [Harm::Flip, Harm::Repeat, Harm::Skip, Harm::EndMeasured] {
        let scene = Scene::with_bundle([on("GET", layer(), Down(5 * MB, harm))]).await;
        assert_kind(pull(&scene.repository(options())).await, ErrorKind::Content, &format!("{harm:?}"));
    }
    // The rest is right, and what came before was not.
    let flipped =
        Scene::with_bundle([on("GET", layer(), Down(MB, Harm::Repeat)), on("GET", layer(), Down(3 * MB, Harm::Reset))])
            .await;
    assert_kind(pull(&flipped.repository(options())).await, ErrorKind::Content, "repeated, then broken");
    for harm in [Harm::Flip, Harm::EndMeasured] {
        let scene = Scene::with_bundle([on("GET", "/manifests/v1", Down(100, harm))]).await;
        assert_kind(pull(&scene.repository(options())).await, ErrorKind::Content, &format!("manifest: {harm:?}"));
    }
}

#[tokio::test]
async fn a_pull_gives_up_where_nothing_gets_on() {
    for fault in [
        Reset,
        LoseAnswer,
        Answer("503 Service Unavailable"),
        Answer("429 Too Many Requests"),
        Down(10_000, Harm::Reset),
    ] {
        let scene = Scene::with_bundle([on("GET", layer(), fault).always()]).await;
        assert_kind(pull(&scene.repository(options())).await, ErrorKind::Remote, &format!("{fault:?}"));
        assert!(of_layer(&scene.proxy.asked()).len() < 40, "{fault:?}: {:?}", scene.proxy.asked());
    }
    let scene = Scene::with_bundle([on("GET", layer(), Down(10, Harm::Stall)).always()]).await;
    let options = ClientOptions { retry_times: 1, ..impatient() };
    let error = assert_kind(pull(&scene.repository(options)).await, ErrorKind::Remote, "stands still");
    assert!(error.to_string().contains("nothing came for 1.5 seconds"), "{error}");
}
