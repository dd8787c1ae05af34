//! Pushes that are killed, answers that get lost, and rivals that come between the look and the move.

use std::sync::Mutex;

use async_trait::async_trait;
use bndlr::content::{Alike, Error, ErrorKind, Fate, Memory, Open, Outcome, Publication, Reader};
use bndlr::content::{Source, TagCondition, Target};
use bndlr::manifest::{Descriptor, RawManifest};
use bndlr::pack::{Bundle, ImageOptions, pack};
use bndlr::reference::{Identifier, Tag};
use bndlr::remote::{Client, ClientOptions};

use crate::docker_registry::DockerRegistry;
use crate::embedded::Embedded;
use crate::program::{Desk, LONG};
use crate::proxy::Fault::{Answer, LoseAnswer, Up};
use crate::proxy::{Harm, Proxy, Rule, on};
use crate::sample::{copy_all, tag};

async fn before(registry: &Embedded, rules: Vec<Rule>) -> Proxy {
    Proxy::start(registry.address().parse().unwrap(), rules).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_that_is_killed_leaves_the_tags_as_they_were_and_can_be_repeated() {
    let moments = [("/blobs/uploads/", 0), ("/manifests/sha256:", 1), ("/manifests/v1", 1), ("/manifests/new", 1)];
    for (flags, path, sent) in moments
        .map(|(path, sent)| ("--if-changed", path, sent))
        .into_iter()
        .chain([("--immutable -t new2", "/manifests/new2", 1), ("--immutable", "/manifests/new", 1)])
    {
        let (registry, desk) = (Embedded::in_memory().await, Desk::new());
        let direct = format!("{}/team/app", registry.address());
        desk.write("tree/a.txt", "old\n");
        let old = desk.run(&format!("push tree {direct}:v1 -q")).ok();
        desk.write("tree/a.txt", "new\n");
        let stuck = before(&registry, vec![on("PUT", path, Up(sent, Harm::Stall)).always()]).await;
        let tags = if flags.contains("immutable") { "new" } else { "v1 -t new" };
        let mut child = desk.start(&format!("push tree {}/team/app:{tags} {flags}", stuck.address));
        let waited = tokio::time::timeout(LONG, stuck.until(1, "PUT", path)).await;
        child.kill();
        waited.unwrap_or_else(|_| panic!("{path}: {}: {:#?}", child.log(), stuck.asked()));
        let digest = |tag: &str| desk.run(&format!("resolve {direct}:{tag}"));
        let is_moved = path == "/manifests/new" && flags == "--if-changed";
        assert_eq!(digest("v1").ok().trim_end() != &old.trim_end()[direct.len() + 1..], is_moved, "{path}");
        let first_of_two = path == "/manifests/new2";
        assert_eq!(digest("new").code, Some(if first_of_two { 0 } else { 3 }), "{path}");
        desk.run(&format!("push tree {direct}:{tags} {flags}")).ok();
        assert_eq!(digest("new").code, Some(0), "{path}");
    }
}

/// The registry has the tag by then, and would refuse it a second time.
#[tokio::test(flavor = "multi_thread")]
async fn a_push_whose_answer_is_lost_knows_its_own_tag_again() {
    for flags in ["--immutable", "--if-changed", "--immutable --if-changed"] {
        let (registry, desk) = (Embedded::in_memory().await, Desk::new());
        desk.write("tree/a.txt", "alpha\n");
        let lossy = before(&registry, vec![on("PUT", "/manifests/v1", LoseAnswer)]).await;
        let ran = desk.run(&format!("push tree {}/team/app:v1 {flags} --format json", lossy.address));
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert_eq!(ran.json()["result"], "pushed");
        let asked = lossy.asked();
        let puts: Vec<_> = asked.iter().filter(|line| line.starts_with("PUT") && line.contains("/v1")).collect();
        assert_eq!(puts.len(), 2, "the second is refused: {asked:#?}");
    }
}

/// As some registries do it with repositories that are not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_that_is_denied_stops_what_must_not_overwrite_anything_and_nothing_else() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    desk.write("tree/a.txt", "alpha\n");
    let denying = before(&registry, vec![on("HEAD", "/manifests/v1", Answer("403 Forbidden")).always()]).await;
    let push = |flags| desk.run(&format!("push tree {}/team/app:v1 {flags}", denying.address));
    let refused = push("--immutable");
    assert_eq!(refused.code, Some(4), "{refused:?}");
    assert!(denying.asked().iter().all(|line| line.starts_with("HEAD")), "{:#?}", denying.asked());
    push("--if-changed").ok();
    assert_eq!(desk.run(&format!("resolve {}/team/app:v1", registry.address())).code, Some(0));
}

/// What the docs say of it, so that nobody relies on more.
#[tokio::test]
async fn debians_registry_heeds_no_condition() {
    let Some(registry) = DockerRegistry::start("") else { return };
    let client = Client::new(ClientOptions::default()).unwrap();
    let repository = client.repository(&format!("{}/team/app", registry.address).parse().unwrap()).unwrap();
    let ([ours, _], [theirs, _]) = (bundle("ours"), bundle("theirs"));
    copy_all(&theirs, theirs.raw_manifest(), &repository, &["v1"]).await;
    copy_all(&ours, ours.raw_manifest(), &repository, &[]).await;
    let digest = ours.raw_manifest().digest();
    for condition in [TagCondition::Absent, TagCondition::Is(digest)] {
        repository.tag(theirs.raw_manifest(), &tag("v1")).await.unwrap();
        repository.tag_if(ours.raw_manifest(), &tag("v1"), condition).await.unwrap();
        assert_eq!(repository.tagged(&tag("v1")).await.unwrap().unwrap().digest, digest, "{condition:?}");
    }
}

/// A target where others move tags at the moment when one is to be moved.
struct Busy<'a> {
    memory: &'a Memory,
    /// Who comes, one at each time, the last one first.
    rivals: Mutex<Vec<RawManifest>>,
    /// Which conditions it heeds.
    heeds: fn(TagCondition) -> Heed,
    asked: Mutex<usize>,
}

enum Heed {
    Yes,
    No,
    Refuses,
}

impl<'a> Busy<'a> {
    fn new(memory: &'a Memory, rivals: impl IntoIterator<Item = &'a Bundle>, heeds: fn(TagCondition) -> Heed) -> Self {
        let rivals = rivals.into_iter().map(|bundle| bundle.raw_manifest().clone()).collect();
        Self { memory, rivals: Mutex::new(rivals), heeds, asked: Mutex::default() }
    }
}

#[async_trait]
impl Open for Busy<'_> {
    async fn open(&self, descriptor: &Descriptor) -> Result<Reader, Error> {
        self.memory.open(descriptor).await
    }
}

#[async_trait]
impl Source for Busy<'_> {
    async fn resolve(&self, identifier: &Identifier) -> Result<Descriptor, Error> {
        self.memory.resolve(identifier).await
    }
}

#[async_trait]
impl Target for Busy<'_> {
    async fn exists(&self, descriptor: &Descriptor) -> Result<bool, Error> {
        self.memory.exists(descriptor).await
    }

    async fn push(&self, descriptor: &Descriptor, from: &dyn Open) -> Result<Outcome, Error> {
        self.memory.push(descriptor, from).await
    }

    async fn tag_if(&self, manifest: &RawManifest, tag: &Tag, condition: TagCondition) -> Result<(), Error> {
        *self.asked.lock().unwrap() += 1;
        let rival = self.rivals.lock().unwrap().pop();
        if let Some(rival) = rival {
            self.memory.tag(&rival, tag).await?;
        }
        match (self.heeds)(condition) {
            Heed::Yes => self.memory.tag_if(manifest, tag, condition).await,
            Heed::No => self.memory.tag(manifest, tag).await,
            Heed::Refuses => Err(Error::new(ErrorKind::Conflict, "as the registry says")),
        }
    }
}

/// A bundle of one file, and another image of the same content.
fn bundle(content: &str) -> [Bundle; 2] {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.txt"), content).unwrap();
    let bundle = pack(directory.path()).unwrap();
    let labels = [("revision".to_owned(), "2".to_owned())].into();
    let labelled = bundle.with_image(&ImageOptions { labels, ..ImageOptions::default() }).unwrap();
    [bundle, labelled]
}

/// How a bundle was published as `v1` while others came between.
struct Ended {
    fate: Result<Fate, Error>,
    /// What the tag points to.
    found: Option<Descriptor>,
    /// How often it was to be moved.
    asked: usize,
}

impl Ended {
    /// Fails unless the tag was moved to this, or was left there.
    #[track_caller]
    fn assert_at(&self, bundle: &Bundle) {
        assert_eq!(self.found.as_ref().map(|found| found.digest), Some(bundle.raw_manifest().digest()));
    }
}

const IMMUTABLE: (bool, bool) = (true, false);
const IF_CHANGED: (bool, bool) = (false, true);

/// Publishes `ours` where the tag points to `at_first`, if it is there. Of `rivals`, the last one comes first.
async fn publish(
    ours: &Bundle,
    (immutable, if_changed): (bool, bool),
    at_first: Option<&Bundle>,
    rivals: &[&Bundle],
    heeds: fn(TagCondition) -> Heed,
) -> Ended {
    let memory = Memory::new();
    for bundle in [ours].into_iter().chain(at_first).chain(rivals.iter().copied()) {
        copy_all(bundle, bundle.raw_manifest(), &memory, &[]).await;
    }
    if let Some(bundle) = at_first {
        memory.tag(bundle.raw_manifest(), &tag("v1")).await.unwrap();
    }
    let alike = if_changed.then_some(ours as &dyn Alike);
    let publication = Publication { manifest: ours.raw_manifest(), alike, immutable };
    let busy = Busy::new(&memory, rivals.iter().copied(), heeds);
    let fate = publication.tag(&busy, &tag("v1")).await;
    let asked = *busy.asked.lock().unwrap();
    Ended { fate, found: memory.tagged(&tag("v1")).await.unwrap(), asked }
}

#[tokio::test]
async fn what_somebody_else_publishes_between_the_look_and_the_move_is_not_overwritten_when_immutable() {
    let ([ours, labelled], [theirs, _]) = (bundle("ours"), bundle("theirs"));
    let heeds = |_| Heed::Yes;
    let ended = publish(&ours, IMMUTABLE, None, &[&theirs], heeds).await;
    ended.assert_at(&theirs);
    assert_eq!(ended.fate.unwrap(), Fate::Refused(theirs.raw_manifest().digest()));

    let ended = publish(&ours, IMMUTABLE, None, &[&ours], heeds).await;
    assert_eq!(ended.fate.unwrap(), Fate::Moves(None), "the same content is no conflict");

    let ended = publish(&ours, (true, true), None, &[&labelled], heeds).await;
    ended.assert_at(&labelled);
    assert!(matches!(ended.fate.unwrap(), Fate::Stays(_)), "nor is what is said of it, if that does not count");
}

#[tokio::test]
async fn a_tag_that_somebody_else_moves_to_the_same_content_is_left_alone_if_nothing_changed() {
    let ([ours, labelled], [theirs, _], [other, _]) = (bundle("ours"), bundle("theirs"), bundle("other"));
    let heeds = |_| Heed::Yes;
    for at_first in [None, Some(&theirs)] {
        let ended = publish(&ours, IF_CHANGED, at_first, &[&labelled], heeds).await;
        ended.assert_at(&labelled);
        assert_eq!((ended.asked, matches!(ended.fate.unwrap(), Fate::Stays(_))), (1, true));

        let ended = publish(&ours, IF_CHANGED, at_first, &[&theirs, &other], heeds).await;
        ended.assert_at(&ours);
        assert_eq!(ended.asked, 3, "each time, it is looked at again");
    }
    let others: Vec<_> = [&theirs, &other].into_iter().cycle().take(1000).collect();
    let ended = publish(&ours, IF_CHANGED, None, &others, heeds).await;
    let error = ended.fate.unwrap_err();
    assert_eq!((error.kind(), ended.asked), (ErrorKind::Conflict, 100), "{error}");
}

/// This is what the docs say that a race can do.
#[tokio::test]
async fn a_registry_that_heeds_no_condition_lets_the_last_one_win() {
    let ([ours, _], [theirs, _]) = (bundle("ours"), bundle("theirs"));
    let ended = publish(&ours, IMMUTABLE, None, &[&theirs], |_| Heed::No).await;
    ended.assert_at(&ours);
    // Who came before the last look is not overwritten even there.
    let ended = publish(&ours, IMMUTABLE, Some(&theirs), &[], |_| Heed::No).await;
    ended.assert_at(&theirs);
    assert_eq!((ended.fate.unwrap(), ended.asked), (Fate::Refused(theirs.raw_manifest().digest()), 0));
}

#[tokio::test]
async fn a_registry_that_refuses_for_a_reason_of_its_own_is_quoted() {
    let ([ours, _], [theirs, _]) = (bundle("ours"), bundle("theirs"));
    for (contract, at_first, limit) in [(IMMUTABLE, None, 1), (IF_CHANGED, None, 1), (IF_CHANGED, Some(&theirs), 2)] {
        let ended = publish(&ours, contract, at_first, &[], |_| Heed::Refuses).await;
        assert_eq!(ended.fate.unwrap_err().to_string(), "as the registry says");
        assert_eq!(ended.asked, limit);
    }
}

/// Its names for what it has may not be digests.
#[tokio::test]
async fn a_registry_that_misunderstands_a_condition_gets_the_same_without_it_unless_immutable() {
    let ([ours, _], [theirs, _]) = (bundle("ours"), bundle("theirs"));
    let misunderstands = |condition| if condition == TagCondition::Any { Heed::No } else { Heed::Refuses };
    let ended = publish(&ours, IF_CHANGED, Some(&theirs), &[], misunderstands).await;
    ended.assert_at(&ours);
    assert!(matches!(ended.fate.unwrap(), Fate::Moves(Some(_))));
    let ended = publish(&ours, IMMUTABLE, None, &[], misunderstands).await;
    assert_eq!((ended.fate.unwrap_err().kind(), ended.found), (ErrorKind::Conflict, None));
}
