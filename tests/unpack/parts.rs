//! A part of an image that has no index: all of it is read, and only what is wanted is there in the end.

use std::time::Duration;

use bndlr::content::ErrorKind;
use bndlr::unpack::{Error, Include, Unpacked, spool, unpack_part};
use futures::TryStreamExt;

use crate::archives::{Image, Tar, snapshot};

async fn pull(image: &mut Image, patterns: &[&str]) -> (Result<Unpacked, Error>, Vec<(String, String)>) {
    let (parent, manifest) = (tempfile::tempdir().unwrap(), image.manifest());
    let target = parent.path().join("target");
    let include = Include::new(patterns.iter().copied()).unwrap();
    let unpacked = unpack_part(image, &manifest, &target, &include, &image.options()).await;
    let mut found = snapshot(parent.path());
    found.remove("");
    let short = |(path, what): (String, String)| {
        let path = path.strip_prefix("target").unwrap().trim_start_matches('/').to_owned();
        let what =
            what.rsplit_once(' ').filter(|_| what.starts_with("file")).map_or(&*what, |(front, _)| front).to_owned();
        (path, what)
    };
    (unpacked, found.into_iter().map(short).filter(|(path, _)| !path.is_empty()).collect())
}

#[track_caller]
fn assert_found((unpacked, found): (Result<Unpacked, Error>, Vec<(String, String)>), expected: &[(&str, &str)]) {
    let unpacked = unpacked.unwrap();
    let expected: Vec<_> = expected.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect();
    assert_eq!(found, expected);
    assert_eq!(unpacked.files, expected.iter().filter(|(_, what)| what.starts_with("file")).count() as u64);
}

fn image() -> Image {
    let lower = Tar::new().entry("etc/", b'5', 0o700, "", b"").file("etc/a", "a").file("etc/b", "b");
    let lower = lower.dir("var/").file("var/x", "x").file("first", "1").hard_link("second", "first");
    let lower = lower.hard_link("third", "second").symlink("lib", "var").file("gone/x", "");
    let upper = Tar::new().file("etc/.wh.a", "").file("lib/y", "y").file("first", "2").file(".wh.gone", "");
    Image::of(lower).gzip(upper)
}

#[tokio::test]
async fn what_matches_is_there_with_the_directories_that_it_is_in() {
    let mut image = image();
    assert_found(pull(&mut image, &["b"]).await, &[("etc", "directory 700"), ("etc/b", "file 644 1 b")]);
    assert_found(
        pull(&mut image, &["/var"]).await,
        &[("var", "directory 755"), ("var/x", "file 644 1 x"), ("var/y", "file 644 1 y")],
    );
    assert_found(pull(&mut image, &["lib"]).await, &[("lib", "-> var")]);
}

#[tokio::test]
async fn a_hard_link_has_its_contents_whether_or_not_its_original_is_wanted() {
    let mut image = image();
    assert_found(pull(&mut image, &["third"]).await, &[("third", "file 644 1 1")]);
    assert_found(pull(&mut image, &["first", "third"]).await, &[("first", "file 644 1 2"), ("third", "file 644 1 1")]);
}

#[tokio::test]
async fn the_original_of_a_hard_link_may_have_been_another_one_before() {
    // What `w1` needs shows only when `w2` has what it needs, and the other way round.
    let lower = Tar::new().file("y", "y").hard_link("x", "y").hard_link("w1", "x");
    let upper = Tar::new().file("z", "z").file(".wh.x", "").hard_link("x", "z").hard_link("w2", "x");
    let third = Tar::new().hard_link("z", "w1").hard_link("x", "z").hard_link("w3", "x");
    let expected = [("w1", "file 644 1 y"), ("w2", "file 644 1 z"), ("w3", "file 644 1 y")];
    let two = Image::of(lower).gzip(upper);
    for (mut image, links) in [(two.clone(), 2), (two.gzip(third), 3)] {
        let once = pull(&mut image, &["y"]).await.0.unwrap().bytes_fetched;
        let pulled = tokio::time::timeout(Duration::from_mins(1), pull(&mut image, &["w*"])).await.unwrap();
        assert_eq!(pulled.0.as_ref().unwrap().bytes_fetched, 2 * once);
        assert_found(pulled, &expected[..links]);
    }
}

#[tokio::test]
async fn nothing_is_made_where_nothing_matches() {
    let mut image = image();
    for pattern in ["nothing", "a", "gone"] {
        let (unpacked, found) = pull(&mut image, &[pattern]).await;
        assert_eq!(unpacked.unwrap_err().kind(), ErrorKind::NotFound, "{pattern}");
        assert!(found.is_empty(), "{pattern}: {found:?}");
    }
    assert!(matches!(Include::new(["[a"]), Err(Error::Pattern { .. })));
}

#[tokio::test]
async fn contents_are_kept_as_they_are_in_the_end() {
    let mut image = image();
    let manifest = image.manifest();
    let all = spool(&image, &manifest, None, &image.options()).await.unwrap();
    let files = all.list().await.unwrap();
    let mut found = Vec::new();
    for number in (0..all.count()).filter(|&number| all.has(number)) {
        let contents: Vec<_> = all.contents(number).try_collect().await.unwrap();
        found.push(format!("{}={}", files[number].path.display(), String::from_utf8(contents.concat()).unwrap()));
    }
    assert_eq!(found, ["etc/b=b", "first=2", "second=1", "third=1", "var/x=x", "var/y=y"]);
    assert_eq!(all.listed(2..5).await.unwrap(), files[2..5]);
    let one = spool(&image, &manifest, Some("third".as_ref()), &image.options()).await.unwrap();
    assert_eq!(one.list().await.unwrap(), files);
    // These are the same file. What was at `first` when they were made is gone.
    let kept: Vec<_> = (0..one.count()).filter(|&number| one.has(number)).collect();
    let paths: Vec<_> = kept.iter().map(|&number| files[number].path.to_str().unwrap()).collect();
    assert_eq!(paths, ["second", "third"]);
    let contents: Vec<_> = one.contents(kept[1]).try_collect().await.unwrap();
    assert_eq!(contents.concat(), b"1");
}
