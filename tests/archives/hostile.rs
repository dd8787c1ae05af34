//! Runs archives that were made to do harm, each in a directory of its own beside something that must not be touched.

use std::fs;

use super::{Image, snapshot};

/// What has to come of an archive.
pub enum Expected {
    /// An error of wrong content in which all of these occur.
    Error(&'static [&'static str]),
    /// Exactly these paths, each with the front of what `snapshot` says of it.
    Safe(&'static [(&'static str, &'static str)]),
}
pub use Expected::{Error, Safe};

pub type Case = (&'static str, Image, Expected);

/// Runs one archive in a directory of its own, beside a canary.
pub async fn run((name, mut image, expected): Case) {
    let parent = tempfile::tempdir().unwrap();
    let canary = parent.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "untouched").unwrap();
    let before = snapshot(parent.path());
    let target = parent.path().join("target");
    let result = image.unpack(&target).await;
    let listed = image.list().await;
    match (expected, result) {
        (Error(words), Err(error)) => {
            let message = error.to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{name}: {message}");
            assert_eq!(error.kind(), bndlr::content::ErrorKind::Content, "{name}: {message}");
            assert_eq!(snapshot(parent.path()), before, "{name}: something has changed");
            assert_eq!(listed.unwrap_err().to_string(), message, "{name}: a list finds something else");
        }
        (Safe(paths), Ok(_)) => {
            let mut found = snapshot(&target);
            found.remove("");
            let is_same = |((path, what), (expected, front)): ((String, String), &(&str, &str))| {
                path == *expected && what.starts_with(front)
            };
            let count = found.len();
            assert!(count == paths.len() && found.clone().into_iter().zip(paths).all(is_same), "{name}: {found:?}");
            assert_eq!(listed.unwrap().len(), count, "{name}: a list has something else");
            fs::remove_dir_all(&target).unwrap();
            assert_eq!(snapshot(parent.path()), before, "{name}: something outside has changed");
        }
        (Error(_), Ok(_)) => panic!("{name}: {:?} was unpacked", snapshot(&target)),
        (Safe(_), Err(error)) => panic!("{name}: {error}"),
    }
}

pub async fn run_all(cases: Vec<Case>, least: usize) {
    assert!(cases.len() >= least, "only {} cases", cases.len());
    for case in cases {
        run(case).await;
    }
}
