//! Many who push to one tag at the same moment.

use std::sync::Arc;

use bndlr::content::{Alike, Fate, Publication, Source};
use bndlr::digest::Digest;
use bndlr::pack::{Bundle, ImageOptions, pack};
use bndlr::reference::Tag;
use bndlr::remote::{Client, ClientOptions, RemoteRepository};
use tokio::sync::Barrier;

use crate::embedded::Embedded;
use crate::program::Desk;
use crate::sample::copy_all;

const PUSHERS: usize = 16;
const ROUNDS: usize = 100;

/// A bundle with this content, and this label.
fn bundle(content: usize, label: usize) -> Bundle {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.txt"), format!("{content}\n")).unwrap();
    let labels = [("revision".to_owned(), label.to_string())].into();
    let image = ImageOptions { labels, ..ImageOptions::default() };
    pack(directory.path()).unwrap().with_image(&image).unwrap()
}

fn repository(registry: &Embedded) -> RemoteRepository {
    let client = Client::new(ClientOptions::default()).unwrap();
    client.repository(&format!("{}/team/app", registry.address()).parse().unwrap()).unwrap()
}

/// What `bndlr push` does with one tag of an image that is there: a look, and the move.
async fn push(bundle: &Bundle, to: &RemoteRepository, tag: &Tag, (immutable, if_changed): (bool, bool)) -> Fate {
    let alike = if_changed.then_some(bundle as &dyn Alike);
    let publication = Publication { manifest: bundle.raw_manifest(), alike, immutable };
    let fate = publication.look(to, tag).await.unwrap();
    if !matches!(fate, Fate::Moves(_)) {
        return fate;
    }
    publication.tag(to, tag).await.unwrap()
}

/// Lets each push its bundle to one tag, all at the same moment, once for each round; and hands what came of it to `judge`.
async fn race(
    registry: &Embedded,
    bundles: Vec<Bundle>,
    flags: (bool, bool),
    judge: impl Fn(Digest, &[(Digest, Fate)]),
) {
    let (bundles, barrier): (Vec<_>, _) =
        (bundles.into_iter().map(Arc::new).collect(), Arc::new(Barrier::new(PUSHERS)));
    let repositories: Vec<_> = bundles.iter().map(|_| repository(registry)).collect();
    for (bundle, repository) in bundles.iter().zip(&repositories) {
        copy_all(&**bundle, bundle.raw_manifest(), repository, &[]).await;
    }
    for round in 0..ROUNDS {
        let tag: Tag = format!("r{round}").parse().unwrap();
        let pushes = bundles.iter().zip(&repositories).map(|(bundle, repository)| {
            let (bundle, repository) = (Arc::clone(bundle), repository.clone());
            let (barrier, tag) = (Arc::clone(&barrier), tag.clone());
            tokio::spawn(async move {
                barrier.wait().await;
                (bundle.raw_manifest().digest(), push(&bundle, &repository, &tag, flags).await)
            })
        });
        let pushes: Vec<_> = pushes.collect();
        let mut fates = Vec::new();
        for push in pushes {
            fates.push(push.await.unwrap());
        }
        let winner = repositories[0].resolve(&tag.into()).await.unwrap().digest;
        judge(winner, &fates);
    }
}

/// Two push each content.
async fn one_content_wins(registry: &Embedded) {
    let bundles = (0..PUSHERS).map(|number| bundle(number / 2, 0)).collect();
    race(registry, bundles, (true, false), |winner, fates| {
        for (pushed, fate) in fates {
            match fate {
                Fate::Moves(_) => assert_eq!(*pushed, winner),
                Fate::Stays(found) => assert_eq!((*pushed, found.digest), (winner, winner)),
                Fate::Refused(found) => assert!(*pushed != winner && *found == winner),
            }
        }
        assert_eq!(fates.iter().filter(|(_, fate)| matches!(fate, Fate::Refused(_))).count(), PUSHERS - 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_push_an_immutable_tag_one_content_wins_and_all_others_are_told() {
    one_content_wins(&Embedded::in_memory().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_push_an_immutable_tag_one_content_wins_on_disk_too() {
    // In memory, what is written is at once as safe as it gets.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    one_content_wins(&Embedded::in_directory(root.path()).await).await;
}

/// Each labels it in its own way.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_push_the_same_content_if_it_changed_one_moves_the_tag_and_all_others_leave_it() {
    let registry = Embedded::in_memory().await;
    let bundles = (0..PUSHERS).map(|number| bundle(0, number)).collect();
    race(&registry, bundles, (false, true), |winner, fates| {
        let moved: Vec<_> = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Moves(_))).collect();
        assert!(moved.len() == 1 && moved[0].0 == winner, "{fates:?}");
        let left = fates.iter().filter(|(_, fate)| matches!(fate, Fate::Stays(found) if found.digest == winner));
        assert_eq!(left.count(), PUSHERS - 1, "{fates:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_processes_that_push_an_immutable_tag_one_ends_well_and_all_others_with_7() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let place = format!("{}/team/app:v1", registry.address());
    for number in 0..PUSHERS {
        desk.write(&format!("tree{number}/a.txt"), &number.to_string());
    }
    let start = |number| desk.start(&format!("push tree{number} {place} --immutable --no-cache"));
    let running: Vec<_> = (0..PUSHERS).map(start).collect();
    let ended: Vec<_> = running.into_iter().map(crate::program::wait).collect();
    let won: Vec<_> = ended.iter().filter(|ran| ran.code == Some(0)).collect();
    assert_eq!(won.len(), 1, "{ended:?}");
    assert_eq!(ended.iter().filter(|ran| ran.code == Some(7)).count(), PUSHERS - 1, "{ended:?}");
    let digest = desk.run(&format!("resolve {place}")).ok();
    assert!(won[0].stdout.ends_with(&format!("@{digest}")), "{won:?}");
    assert!(ended.iter().filter(|ran| ran.code == Some(7)).all(|ran| ran.stderr.contains(digest.trim_end())));
}

/// The lock of a layout is as good as a registry's conditions.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_processes_that_write_an_immutable_tag_of_a_layout_one_ends_well() {
    let desk = Desk::new();
    for number in 0..PUSHERS {
        desk.write(&format!("tree{number}/a.txt"), &number.to_string());
    }
    let start = |number| desk.start(&format!("push tree{number} oci:layout:v1 --immutable --no-cache"));
    let running: Vec<_> = (0..PUSHERS).map(start).collect();
    let ended: Vec<_> = running.into_iter().map(crate::program::wait).collect();
    assert_eq!(ended.iter().filter(|ran| ran.code == Some(0)).count(), 1, "{ended:?}");
    assert_eq!(ended.iter().filter(|ran| ran.code == Some(7)).count(), PUSHERS - 1, "{ended:?}");
}
