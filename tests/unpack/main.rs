//! Unpacking of images as they should be: bundles, and those that other tools make.

#[path = "../archives/mod.rs"]
mod archives;

mod at_once;
mod bundles;
mod entries;
mod layers;
mod parts;
mod target;

use std::collections::BTreeMap;
use std::fs;

use archives::{Image, snapshot};
use bndlr::unpack::Error;

/// Unpacks into a new directory, and returns what is in it. What a list shows has to be the same.
async fn unpacked(mut image: Image) -> Result<BTreeMap<String, String>, Error> {
    let parent = tempfile::tempdir().unwrap();
    let target = parent.path().join("target");
    let result = image.unpack(&target).await;
    let left = fs::read_dir(parent.path()).unwrap().count();
    assert_eq!(left, usize::from(result.is_ok()), "something is left beside the target");
    let listed = image.list().await;
    assert_eq!(listed.is_ok(), result.is_ok());
    result?;
    let mut found = snapshot(&target);
    let listed: Vec<_> = listed.unwrap().into_iter().map(|item| item.path.to_string_lossy().into_owned()).collect();
    assert_eq!(found.remove("").unwrap(), "directory 755");
    let mut sorted = listed.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, found.keys().cloned().collect::<Vec<_>>());
    Ok(found)
}

/// What there is, in short: paths, a slash behind those of directories.
async fn names(image: Image) -> Vec<String> {
    let slash = |(path, what): (String, String)| if what.starts_with("dir") { path + "/" } else { path };
    unpacked(image).await.unwrap().into_iter().map(slash).collect()
}
