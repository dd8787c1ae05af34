//! An update ends as a fresh pull would, and touches nothing that stays the same.

use std::os::unix::fs::PermissionsExt;

use bndlr::unpack::{Outcome, UpdateOptions};

use crate::archives::{Image, Tar};
use crate::model::{Item, Site, Tree, Whose, fresh, names, without_top};
use crate::random::{Random, seed};

/// Updates, and fails if anything is other than after a fresh pull, or has been touched without need.
async fn assert_updates(site: &Site, image: &mut Image, how: UpdateOptions, what: &str) -> Outcome {
    let (before, stats) = site.look();
    let updated = site.update_so(image, how).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    let (after, touched) = site.look();
    assert_eq!(without_top(after.clone()), fresh(image).await, "{what}");
    for (path, stat) in stats.iter().filter(|(path, _)| after.get(*path) == before.get(*path)) {
        assert_eq!(stat, &touched[path], "{what}: {path} was touched");
    }
    assert_eq!(updated.outcome == Outcome::Unchanged, before == after, "{what}: {updated:?}");
    updated.outcome
}

async fn random_updates(whose: Whose, runs: u64) {
    let seed = seed("BNDLR_UPDATE_SEED");
    for run in 0..runs {
        let mut random = Random(seed.wrapping_add(run));
        let (site, mut tree) = (Site::new(), whose.tree(&mut random));
        let first = tree.clone();
        tree.insert("one".to_owned(), Item::File(b"one".to_vec(), 0o644));
        site.pull(&mut whose.image(&tree)).await;
        for step in 0..4 {
            whose.edit(&mut tree, &mut random);
            tree.entry("one".to_owned()).or_insert(Item::Link("a".to_owned()));
            let how = UpdateOptions { verify: random.below(3) == 0, force: false };
            let mut image = whose.image(&tree);
            let what = format!("{whose:?}, run {run} of seed {seed}, step {step}");
            assert_updates(&site, &mut image, how, &what).await;
            let again = assert_updates(&site, &mut image, UpdateOptions::default(), &what).await;
            assert_eq!(again, Outcome::Unchanged, "{what}");
        }
        // Back to where it began, which may be nothing at all.
        assert_updates(&site, &mut whose.image(&first), UpdateOptions::default(), "back").await;
    }
}

#[tokio::test]
async fn random_edits_of_bundles_end_as_a_fresh_pull() {
    random_updates(Whose::Ours, 25).await;
}

#[tokio::test]
async fn random_edits_of_foreign_images_end_as_a_fresh_pull() {
    random_updates(Whose::Foreign, 25).await;
}

#[tokio::test]
async fn a_bundle_takes_the_place_of_a_foreign_image_and_back() {
    let (mut random, site) = (Random(7), Site::new());
    let (ours, foreign) = (Whose::Ours.tree(&mut random), Whose::Foreign.tree(&mut random));
    site.pull(&mut Whose::Foreign.image(&foreign)).await;
    for _ in 0..2 {
        assert_updates(&site, &mut Whose::Ours.image(&ours), UpdateOptions::default(), "to ours").await;
        assert_updates(&site, &mut Whose::Foreign.image(&foreign), UpdateOptions::default(), "to theirs").await;
    }
}

/// Names that one file has get another mode, or none, by themselves.
#[tokio::test]
async fn a_mode_changes_and_not_that_of_other_names_of_the_file() {
    let tar = |tar: Tar, mode| tar.entry("b", b'0', mode, "", b"same");
    let mut linked = Image::of(Tar::new().file("a", "same").hard_link("b", "a"));
    let mut apart = Image::of(tar(Tar::new().file("a", "same"), 0o755));
    let site = Site::new();
    site.pull(&mut linked).await;
    assert_updates(&site, &mut apart, UpdateOptions::default(), "one of two").await;

    for whose in [Whose::Ours, Whose::Foreign] {
        let tree = |mode| Tree::from([("run".to_owned(), Item::File(b"same".to_vec(), mode))]);
        let site = Site::new();
        site.pull(&mut whose.image(&tree(0o644))).await;
        let backup = site.target().with_file_name("backup");
        std::fs::hard_link(site.target().join("run"), &backup).unwrap();
        assert_updates(&site, &mut whose.image(&tree(0o755)), UpdateOptions::default(), "another name elsewhere").await;
        let mode = std::fs::metadata(&backup).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "the other name is not in the directory");
    }
}

#[tokio::test]
async fn kinds_change_in_all_ways() {
    let kinds = [
        vec![("x", Item::File(b"file".to_vec(), 0o644))],
        vec![("x", Item::File(Vec::new(), 0o644))],
        vec![("x", Item::Link("y".into()))],
        vec![("x", Item::Directory(0o755))],
        vec![("x", Item::Directory(0o755)), ("x/y", Item::Directory(0o755)), ("x/y/z", Item::File(vec![1], 0o755))],
        vec![],
    ];
    let tree = |kind: &[(&str, Item)]| -> Tree {
        let other = ("other".to_owned(), Item::File(b"other".to_vec(), 0o644));
        kind.iter().map(|(path, item)| ((*path).to_owned(), item.clone())).chain([other]).collect()
    };
    for whose in [Whose::Ours, Whose::Foreign] {
        for (from, to) in (0..kinds.len()).flat_map(|from| (0..kinds.len()).map(move |to| (from, to))) {
            let site = Site::new();
            site.pull(&mut whose.image(&tree(&kinds[from]))).await;
            let mut image = whose.image(&tree(&kinds[to]));
            assert_updates(&site, &mut image, UpdateOptions::default(), &format!("{from} to {to}")).await;
        }
    }
}

#[tokio::test]
async fn directories_that_nobody_may_write_to_are_updated_and_stay_so() {
    let tree = |mode, contents: &[u8]| -> Tree {
        [
            ("d", Item::Directory(mode)),
            ("d/e", Item::Directory(0o555)),
            ("d/e/f", Item::File(contents.to_vec(), 0o444)),
            ("d/g", Item::File(contents.to_vec(), 0o444)),
        ]
        .map(|(path, item)| (path.to_owned(), item))
        .into()
    };
    let site = Site::new();
    site.pull(&mut Whose::Foreign.image(&tree(0o555, b"old"))).await;
    for (mode, contents) in [(0o555, b"new"), (0o500, b"new"), (0o555, b"old")] {
        let mut image = Whose::Foreign.image(&tree(mode, contents));
        assert_updates(&site, &mut image, UpdateOptions::default(), &format!("{mode:o}")).await;
    }
}

#[tokio::test]
async fn an_empty_directory_and_none_are_pulled_to() {
    let mut image = Whose::Ours.image(&Whose::Ours.tree(&mut Random(3)));
    let site = Site::new();
    assert_eq!(site.update(&mut image).await.unwrap().outcome, Outcome::Pulled);
    assert_eq!(site.update(&mut image).await.unwrap().outcome, Outcome::Unchanged);
    std::fs::remove_dir_all(site.target()).unwrap();
    std::fs::create_dir(site.target()).unwrap();
    assert_eq!(site.update(&mut image).await.unwrap().outcome, Outcome::Pulled);
    assert_eq!(without_top(site.look().0), fresh(&mut image).await);
    assert_eq!(site.update(&mut image).await.unwrap().outcome, Outcome::Unchanged);
}

#[tokio::test]
async fn names_as_long_as_they_get_are_updated() {
    let long = "é".repeat(127);
    let deep = vec![long.as_str(); 15].join("/");
    let tree = |contents: &str| -> Tree {
        let directories = deep.match_indices('/').map(|(at, _)| (deep[..at].to_owned(), Item::Directory(0o755)));
        directories.chain([(deep.clone(), Item::File(contents.into(), 0o644))]).collect()
    };
    let site = Site::new();
    site.pull(&mut Whose::Ours.image(&tree("old"))).await;
    assert_updates(&site, &mut Whose::Ours.image(&tree("new")), UpdateOptions::default(), "long").await;
    assert_eq!(names(&site.target()), [long]);
}
