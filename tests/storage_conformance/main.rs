//! The contract of `server::storage::Storage`, held against every implementation of it.

mod aside;
#[cfg(feature = "object-store")]
mod bucket;
mod filesystem;
mod lists;
mod records;
#[cfg(feature = "object-store")]
#[path = "../s3/mod.rs"]
mod s3;
mod uploads;

use std::time::{Duration, SystemTime};

use bndlr::digest::{Algorithm, Digest};
use bndlr::reference::{Name, Tag};
use bndlr::server::storage::{
    BoxError, Chunks, Condition, Digests, Error, Filesystem, Item, Key, Leftovers, Memory, OpenError, Round, SessionId,
    Storage, Sweep,
};
use bytes::Bytes;
use futures::channel::mpsc::{self, UnboundedSender};
use futures::channel::oneshot;
use futures::stream::{self, StreamExt, TryStreamExt};

const ALL: usize = usize::MAX;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

fn tag_key(repository: &str, text: &str) -> Key {
    Key::Tag(name(repository), tag(text))
}

fn chunks(parts: &[&[u8]]) -> Chunks<'static> {
    let parts: Vec<_> = parts.iter().map(|part| Ok(Bytes::copy_from_slice(part))).collect();
    stream::iter(parts).boxed()
}

/// Chunks that break off, as when a client is cut from the network.
fn cut(part: &[u8]) -> Chunks<'static> {
    let parts = [Ok(Bytes::copy_from_slice(part)), Err(BoxError::from("cut off"))];
    stream::iter(parts).boxed()
}

fn is(value: &str) -> Condition {
    Condition::Is(Bytes::copy_from_slice(value.as_bytes()))
}

/// Chunks that come when they are sent, and word that the first has been taken.
fn slow_chunks() -> (UnboundedSender<Result<Bytes, BoxError>>, Chunks<'static>, oneshot::Receiver<()>) {
    let (sender, receiver) = mpsc::unbounded();
    let (started, has_started) = oneshot::channel();
    let mut started = Some(started);
    let slow = receiver.inspect(move |_| {
        if let Some(started) = started.take() {
            started.send(()).unwrap();
        }
    });
    (sender, slow.boxed(), has_started)
}

async fn upload(storage: &dyn Storage, repository: &Name, content: &[u8]) -> Digest {
    let session = storage.begin_upload(repository, Algorithm::Sha256).await.unwrap();
    storage.append(repository, &session, Some(0), chunks(&[content])).await.unwrap();
    let digest = Digest::sha256(content);
    storage.finish_upload(repository, &session, digest).await.unwrap();
    digest
}

async fn content(storage: &dyn Storage, digest: Digest) -> Option<Vec<u8>> {
    let blob = storage.open(digest).await.unwrap()?;
    let parts: Vec<Bytes> = blob.read(0..blob.size()).try_collect().await.unwrap();
    Some(parts.concat())
}

async fn write(storage: &dyn Storage, key: &Key, value: &str, condition: Condition) -> bool {
    storage.write(key, Bytes::copy_from_slice(value.as_bytes()), condition).await.unwrap()
}

/// Of many writers in two processes, whose condition only one of them can meet.
async fn one_writer_wins(one: &dyn Storage, two: &dyn Storage) {
    let key = tag_key("shared", "v1");
    let wins = stream::iter(0..32_u32)
        .map(async |i| write(if i % 2 == 0 { one } else { two }, &key, &i.to_string(), Condition::Absent).await)
        .buffer_unordered(16);
    assert_eq!(wins.filter(|won| futures::future::ready(*won)).count().await, 1);
}

async fn put(storage: &dyn Storage, key: &Key, value: &str) {
    assert!(write(storage, key, value, Condition::Any).await);
}

async fn value(storage: &dyn Storage, key: &Key) -> Option<String> {
    let value = storage.read(key).await.unwrap()?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

async fn is_there(storage: &dyn Storage, item: &Item) -> bool {
    storage.find(item).await.unwrap().is_some()
}

/// A record of each kind in this repository.
fn keys(repository: &str) -> [Key; 4] {
    let (name, one, two) = (name(repository), Digest::sha256(b"1"), Algorithm::Sha512.digest(b"2"));
    [
        Key::Blob(name.clone(), one),
        Key::Manifest(name.clone(), one),
        Key::Tag(name.clone(), tag("v1")),
        Key::Referrer(name, two, one),
    ]
}

/// What every storage does. It is given one with nothing in it.
async fn conformance(storage: &dyn Storage) {
    records::records_are_written_read_and_removed(storage).await;
    records::records_are_kept_apart(storage).await;
    records::conditions_hold_or_nothing_changes(storage).await;
    uploads::contents_are_there_when_finished(storage).await;
    uploads::a_content_is_opened_by_its_link(storage).await;
    uploads::a_content_may_be_linked_when_it_is_finished(storage).await;
    records::renewing_makes_young(storage).await;
    uploads::sessions_grow_in_order_and_end(storage).await;
    uploads::sessions_survive_a_cut_and_refuse_wrong_content(storage).await;
    uploads::one_writer_at_a_time(storage).await;
    uploads::large_and_empty_contents(storage).await;
    lists::tags_are_listed_in_byte_order(storage).await;
    lists::digests_are_listed_page_by_page(storage).await;
    lists::repositories_are_listed_in_byte_order(storage).await;
    aside::what_is_set_aside_is_restored_or_discarded(storage).await;
    aside::what_is_written_meanwhile_outlives_a_restore(storage).await;
    aside::a_round_discards_only_its_own(storage).await;
    uploads::leftovers_are_counted_and_removed(storage).await;
    records::many_writers_lose_nothing(storage).await;
    records::of_many_writers_with_a_condition_one_wins(storage).await;
    aside::items_that_come_and_go_are_never_half_there(storage).await;
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    let storage = Memory::new();
    conformance(&storage).await;
    aside::of_a_restore_and_a_discard_at_once_one_finds_the_item(&storage).await;
}

#[tokio::test]
async fn filesystem_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let storage = Filesystem::open(root.path()).unwrap();
    conformance(&storage).await;
    aside::of_a_restore_and_a_discard_at_once_one_finds_the_item(&storage).await;
    for directory in ["uploads", "temporary", "aside"] {
        let left: Vec<_> = std::fs::read_dir(root.path().join(directory)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
    }
    assert!(!root.path().join("repositories/come").exists(), "empty directories do not pile up");
}
