//! What somebody has changed in a directory is not overwritten, nor is a directory of which nothing is known.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bndlr::content::{self, ErrorKind};
use bndlr::unpack::{Doing, Error, LocalChange, Outcome, UpdateOptions};
use serde_json::Value;

use crate::archives::Image;
use crate::archives::ours::{Layer, Row, dir, file, link, program};
use crate::archives::snapshot;
use crate::model::{Site, Whose, fresh, names, without_top};
use crate::program::{Desk, Ran, finish, noise};
use crate::random::Random;

const FORCE: UpdateOptions = UpdateOptions { force: true, verify: false };
const VERIFY: UpdateOptions = UpdateOptions { force: false, verify: true };

fn rows(what: &str) -> Vec<Row> {
    vec![
        dir("a"),
        file("a/one", format!("{what} one")),
        file("a/two", "two"),
        dir("b"),
        dir("b/empty"),
        link("c", "a/one"),
        program("d", format!("{what} d")),
    ]
}

fn image(what: &str) -> Image {
    Layer::of(&rows(what)).image()
}

fn foreign(what: &str) -> Image {
    let tree = rows(what).into_iter().map(|(entry, contents)| {
        use crate::model::Item;
        let item = match entry.kind() {
            bndlr::bundle::Kind::Directory => Item::Directory(0o755),
            bndlr::bundle::Kind::File { .. } => Item::File(contents, entry.mode()),
            bndlr::bundle::Kind::Symlink { target } => Item::Link(target.clone()),
        };
        (entry.path().to_owned(), item)
    });
    Whose::Foreign.image(&tree.collect())
}

/// A change that keeps size and time.
fn change_unseen(path: &Path) {
    let times = FileTimes::new().set_modified(fs::metadata(path).unwrap().modified().unwrap());
    let mut contents = fs::read(path).unwrap();
    contents[0] ^= 1;
    fs::write(path, contents).unwrap();
    File::options().write(true).open(path).unwrap().set_times(times).unwrap();
}

/// Makes a file older than anything that is racy.
fn age(path: &Path) {
    let long_ago = SystemTime::now() - Duration::from_hours(1);
    File::options().write(true).open(path).unwrap().set_times(FileTimes::new().set_modified(long_ago)).unwrap();
}

type Change = (&'static str, fn(&Path), Doing);

const CHANGES: &[Change] = &[
    ("a/one", |path| fs::write(path, "mine").unwrap(), Doing::Modified),
    ("a/two", |path| fs::write(path, "owt").unwrap(), Doing::Modified),
    ("d", |path| fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap(), Doing::Modified),
    ("b", |path| fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap(), Doing::Modified),
    ("a/one", |path| fs::remove_file(path).unwrap(), Doing::Removed),
    ("b/empty", |path| fs::remove_dir(path).unwrap(), Doing::Removed),
    ("c", |path| fs::remove_file(path).unwrap(), Doing::Removed),
    ("a/new", |path| fs::write(path, "").unwrap(), Doing::Added),
    ("new", |path| fs::create_dir(path).unwrap(), Doing::Added),
    ("c", |path| replace(path, |path| std::os::unix::fs::symlink("d", path).unwrap()), Doing::Modified),
    ("d", |path| replace(path, |path| std::os::unix::fs::symlink("a/one", path).unwrap()), Doing::Modified),
    ("b/empty", |path| replace(path, |path| fs::write(path, "").unwrap()), Doing::Modified),
];

fn replace(path: &Path, make: fn(&Path)) {
    fs::remove_file(path).or_else(|_| fs::remove_dir(path)).unwrap();
    make(path);
}

#[tokio::test]
async fn a_local_change_of_any_kind_stops_an_update_unless_it_is_to_go() {
    for (old, new) in [(image("old"), image("new")), (foreign("old"), foreign("new")), (image("same"), image("same"))] {
        for (path, change, doing) in CHANGES {
            let (site, mut old, mut new) = (Site::new(), old.clone(), new.clone());
            site.pull(&mut old).await;
            change(&site.target().join(path));
            let before = site.look();
            let error = site.update(&mut new).await.unwrap_err();
            let Error::Changed { changes, .. } = &error else { panic!("{path}: {error}") };
            let expected = LocalChange { path: path.into(), doing: *doing };
            assert_eq!(changes, std::slice::from_ref(&expected), "{path}");
            assert_eq!(content::Error::from(error).kind(), ErrorKind::Conflict);
            assert_eq!(site.look(), before, "{path}: something was touched");

            let updated = site.update_so(&mut new, FORCE).await.unwrap();
            assert_eq!((updated.outcome, updated.discarded), (Outcome::Updated, vec![expected]), "{path}");
            assert_eq!(without_top(site.look().0), fresh(&mut new).await, "{path}");
            assert_eq!(site.update(&mut new).await.unwrap().outcome, Outcome::Unchanged, "{path}");
        }
    }
}

#[tokio::test]
async fn a_pipe_is_not_waited_for() {
    let (site, mut image) = (Site::new(), image("old"));
    site.pull(&mut image).await;
    for name in ["pipe", "a/two"] {
        let path = site.target().join(name);
        let _ = fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(site.update_so(&mut image, VERIFY).await.unwrap_err().to_string().contains(name));
    }
    assert_eq!(site.update_so(&mut image, FORCE).await.unwrap().discarded.len(), 2);
    assert_eq!(without_top(site.look().0), fresh(&mut image).await);
}

#[tokio::test]
async fn what_is_as_the_new_image_has_it_is_no_change() {
    for (mut old, mut new) in [(image("old"), image("new")), (foreign("old"), foreign("new"))] {
        let site = Site::new();
        site.pull(&mut old).await;
        fs::write(site.target().join("a/one"), "new one").unwrap();
        fs::write(site.target().join("d"), "new d").unwrap();
        let updated = site.update(&mut new).await.unwrap();
        assert_eq!((updated.outcome, updated.discarded), (Outcome::Unchanged, vec![]));
        assert_eq!(without_top(site.look().0), fresh(&mut new).await);
    }
}

/// What is changed where its neighbours change as well shows only when they have been fetched.
#[tokio::test]
async fn what_is_as_the_new_image_has_it_is_no_change_beside_what_is_not() {
    for (mut old, mut new) in [(image("old"), image("new")), (foreign("old"), foreign("new"))] {
        let site = Site::new();
        site.pull(&mut old).await;
        fs::write(site.target().join("a/one"), "new one").unwrap();
        let before = site.look().1;
        let updated = site.update(&mut new).await.unwrap();
        assert_eq!((updated.outcome, updated.discarded), (Outcome::Updated, vec![]));
        assert_eq!(without_top(site.look().0), fresh(&mut new).await);
        assert_eq!(site.look().1["a/one"], before["a/one"]);

        // What only looks as if it were is protected all the same, and named alone when it goes.
        fs::write(site.target().join("a/one"), "old one").unwrap();
        fs::write(site.target().join("d"), "own d").unwrap();
        let before = site.look();
        let error = site.update(&mut old).await.unwrap_err();
        assert!(error.to_string().ends_with("has 1 local change: d (modified)"), "{error}");
        assert_eq!(site.look(), before);
        let discarded = site.update_so(&mut old, FORCE).await.unwrap().discarded;
        assert_eq!(discarded, [LocalChange { path: "d".into(), doing: Doing::Modified }]);
    }
}

#[tokio::test]
async fn a_file_that_was_only_touched_has_not_changed() {
    for (mut old, mut new) in [(image("old"), image("new")), (foreign("old"), foreign("new"))] {
        let site = Site::new();
        site.pull(&mut old).await;
        for name in ["a/one", "a/two", "d"] {
            age(&site.target().join(name));
        }
        let (_, before) = site.look();
        assert_eq!(site.update(&mut old).await.unwrap().outcome, Outcome::Unchanged);
        assert_eq!(site.update(&mut new).await.unwrap().outcome, Outcome::Updated);
        assert_eq!(site.look().1["a/two"], before["a/two"]);
    }
}

/// Pulls an image, and changes a file there in a way that only reading it shows.
async fn pull_and_change_unseen(site: &Site, image: &mut Image, path: &str) -> PathBuf {
    site.pull(image).await;
    let path = site.target().join(path);
    age(&path);
    // It is read, and known by its new time from then on.
    assert_eq!(site.update(image).await.unwrap().outcome, Outcome::Unchanged);
    change_unseen(&path);
    path
}

#[tokio::test]
async fn who_distrusts_sizes_and_times_finds_what_they_hide() {
    for mut image in [image("old"), foreign("old")] {
        let site = Site::new();
        let path = pull_and_change_unseen(&site, &mut image, "a/two").await;
        assert_eq!(site.update(&mut image).await.unwrap().outcome, Outcome::Unchanged, "this is what it costs");
        let error = site.update_so(&mut image, VERIFY).await.unwrap_err();
        assert!(error.to_string().contains("a/two (modified)"), "{error}");
        let updated = site.update_so(&mut image, UpdateOptions { force: true, verify: true }).await.unwrap();
        assert_eq!(updated.discarded.len(), 1);
        assert_eq!(fs::read(path).unwrap(), b"two");
    }
}

#[tokio::test]
async fn what_sizes_and_times_hide_in_a_large_file_does_not_get_into_the_next_version() {
    let mut contents = noise(3_000_000);
    let mut old = Layer::of(&[file("large", contents.clone())]).image();
    contents[2_999_999] ^= 1;
    let mut new = Layer::of(&[file("large", contents.clone())]).image();
    let site = Site::new();
    let path = pull_and_change_unseen(&site, &mut old, "large").await;
    let before = site.look();
    let error = site.update(&mut new).await.unwrap_err();
    assert!(error.to_string().ends_with("1 local change: large (modified)"), "{error}");
    assert_eq!(site.look(), before);
    let updated = site.update_so(&mut new, FORCE).await.unwrap();
    assert_eq!((updated.outcome, updated.discarded.len()), (Outcome::Updated, 1));
    assert!(fs::read(path).unwrap() == contents);
}

/// A file that is written right after another one may have the same time.
#[tokio::test]
async fn a_change_right_after_a_pull_is_seen() {
    for round in 0..20_u8 {
        let site = Site::new();
        let mut rows = vec![file("a", "a")];
        rows.extend((0..50).map(|n| file(&format!("f{n:02}"), "old")));
        let mut image = Layer::of(&rows).image();
        site.pull(&mut image).await;
        let path = site.target().join("f49");
        fs::write(&path, "mew").unwrap();
        let error = site.update(&mut image).await.expect_err(&format!("round {round}"));
        assert!(error.to_string().ends_with("1 local change: f49 (modified)"), "{error}");
    }
}

type Spoil = fn(&Site, &Path);

#[tokio::test]
async fn a_directory_of_which_nothing_is_known_is_left_alone_unless_it_is_to_go() {
    let spoil: &[(&str, Spoil)] = &[
        ("no state", |_, state| fs::remove_file(state).unwrap()),
        ("an empty one", |_, state| fs::write(state, "").unwrap()),
        ("one that was cut short", |_, state| {
            let bytes = fs::read(state).unwrap();
            fs::write(state, &bytes[..bytes.len() - 1]).unwrap();
        }),
        ("one that was changed", |_, state| {
            let text = fs::read_to_string(state).unwrap();
            fs::write(state, text.replacen("true", "false", 1)).unwrap();
        }),
        ("of another version", |_, state| {
            let text = fs::read_to_string(state)
                .unwrap()
                .split_once('\n')
                .unwrap()
                .1
                .replace("\"version\":1", "\"version\":2");
            let digest = bndlr::digest::Digest::sha256(text.as_bytes());
            fs::write(state, format!("{digest}\n{text}")).unwrap();
        }),
        ("one that others can write to", |_, state| fs::set_permissions(state, Permissions::from_mode(0o620)).unwrap()),
        ("a link to one", |site, state| {
            fs::rename(state, site.state().join("elsewhere")).unwrap();
            std::os::unix::fs::symlink(site.state().join("elsewhere"), state).unwrap();
        }),
        ("a directory", |_, state| {
            fs::remove_file(state).unwrap();
            fs::create_dir(state).unwrap();
        }),
        ("that of another directory", |site, _| {
            fs::rename(site.target(), site.state().join("old")).unwrap();
            fs::create_dir(site.target()).unwrap();
            fs::write(site.target().join("mine"), "").unwrap();
        }),
    ];
    for (what, spoil) in spoil {
        let (site, mut new) = (Site::new(), image("new"));
        site.pull(&mut image("old")).await;
        fs::write(site.target().join("a/mine"), "mine").unwrap();
        let states = site.state().join("directories");
        let state = names(&states).into_iter().find(|name| !name.contains('.')).unwrap();
        spoil(&site, &states.join(state));
        let before = site.look();
        let error = site.update(&mut new).await.unwrap_err();
        assert!(matches!(error, Error::Unknown(_) | Error::Changed { .. }), "{what}: {error}");
        assert_eq!(content::Error::from(error).kind(), ErrorKind::Conflict, "{what}");
        assert_eq!(site.look(), before, "{what}: something was touched");
        if *what == "a directory" {
            continue;
        }
        let updated = site.update_so(&mut new, FORCE).await.unwrap();
        assert!(updated.discarded.iter().any(|change| change.path.ends_with("mine")), "{what}: {updated:?}");
        assert_eq!(without_top(site.look().0), fresh(&mut new).await, "{what}");
        assert_eq!(site.update(&mut new).await.unwrap().outcome, Outcome::Unchanged, "{what}");
    }
}

/// As when a container begins again with the volume that it had, and with nothing else.
#[tokio::test]
async fn a_directory_that_is_just_what_a_bundle_has_is_known_from_then_on() {
    let (site, mut image) = (Site::new(), image("new"));
    site.pull(&mut image).await;
    for what in ["a file", "a directory", "a mode", "nothing"] {
        fs::remove_dir_all(site.state()).unwrap();
        let added = site.target().join("added");
        match what {
            "a file" => fs::write(&added, "").unwrap(),
            "a directory" => fs::create_dir(&added).unwrap(),
            "a mode" => fs::set_permissions(site.target().join("a/one"), Permissions::from_mode(0o600)).unwrap(),
            _ => {
                fs::set_permissions(site.target().join("a/one"), Permissions::from_mode(0o644)).unwrap();
                let before = site.look();
                assert_eq!(site.update(&mut image).await.unwrap().outcome, Outcome::Unchanged);
                assert_eq!(site.look(), before);
                continue;
            }
        }
        let error = site.update(&mut image).await.unwrap_err();
        assert!(matches!(error, Error::Unknown(_)), "{what}: {error}");
        let _ = fs::remove_file(&added).or_else(|_| fs::remove_dir(&added));
    }
    // Of a part of it, nobody knows what has become of the rest.
    fs::write(site.target().join("a/one"), "mine").unwrap();
    let error = site.update(&mut image).await.unwrap_err();
    assert!(error.to_string().ends_with("a/one (modified)"), "{error}");
    fs::remove_dir_all(site.state()).unwrap();
    fs::remove_file(site.target().join("a/one")).unwrap();
    assert!(matches!(site.update(&mut image).await.unwrap_err(), Error::Unknown(_)));
}

#[tokio::test]
async fn what_the_directory_has_of_a_bundle_is_not_made_anew_by_force() {
    let (mut random, site) = (Random(5), Site::new());
    let mut image = Whose::Ours.image(&Whose::Ours.tree(&mut random));
    site.pull(&mut image).await;
    fs::remove_dir_all(site.state()).unwrap();
    let before = site.look();
    let updated = site.update_so(&mut image, FORCE).await.unwrap();
    assert_eq!((site.look(), updated.discarded, updated.outcome), (before, vec![], Outcome::Unchanged));
}

#[track_caller]
fn assert_failed(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!((ran.code, &*ran.stdout), (Some(code), ""), "{ran:?}");
    assert!(words.iter().all(|word| ran.stderr.contains(word)), "{ran:?}");
}

/// A desk with the sample tree as `v1`, and with another as `v2`.
pub fn desk() -> Desk {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:layout:v1 -q").ok();
    desk.write("tree/a.txt", "beta\n");
    desk.write("tree/new/file", "new\n");
    desk.run("build tree -o oci:layout:v2 -q").ok();
    desk
}

#[test]
fn the_program_says_what_has_become_of_a_directory() {
    let desk = desk();
    let result = |arguments: &str| -> Value { desk.run(arguments).json()["result"].clone() };
    assert_eq!(result("pull oci:layout:v1 -o out --update --format json"), "pulled");
    assert_eq!(result("pull oci:layout:v1 -o out --update --format json"), "unchanged");
    let ran = desk.run("pull oci:layout:v2 -o ./out/ --update");
    assert!(ran.stderr.contains("Updated ./out/, which has 4 files"), "{ran:?}");
    assert_eq!(ran.ok(), "./out/\n");
    assert_eq!(snapshot(&desk.path("out")), snapshot(&desk.path("tree")));
    assert_eq!(desk.names(), ["layout", "out", "tree"]);

    desk.write("out/mine", "");
    desk.write("out/a.txt", "mine");
    let words = ["\"out\" has 2 local changes: a.txt (modified), mine (added)", "--force"];
    assert_failed(&desk.run("pull oci:layout:v1 -o out --update"), 7, &words);
    let ran = desk.run("pull oci:layout:v1 -o out --update --force -q");
    assert_eq!(ran.stderr, "warning: discarded a.txt (modified)\nwarning: discarded mine (added)\n");
    assert_eq!(desk.read("out/a.txt"), "alpha\n");

    fs::create_dir(desk.path("other")).unwrap();
    desk.write("other/file", "");
    assert_failed(&desk.run("pull oci:layout:v1 -o other --update"), 7, &["nothing is known", "--force"]);
    assert_failed(&desk.run("pull oci:layout:v1 -o other"), 8, &["not an empty directory", "--update"]);
    assert_failed(&desk.run("pull oci:layout:v1 -o out --update --include a.txt"), 2, &["--update", "--include"]);
    assert_failed(&desk.run("pull oci:layout:v1 -o out --force"), 2, &["--update"]);
}

#[test]
fn a_part_of_an_image_is_not_taken_for_all_of_it() {
    let desk = desk();
    desk.run("pull oci:layout:v1 -o out").ok();
    fs::remove_dir_all(desk.path("out")).unwrap();
    desk.run("pull oci:layout:v1 -o out --include a.txt").ok();
    assert_failed(&desk.run("pull oci:layout:v1 -o out --update"), 7, &["nothing is known"]);
}

#[test]
fn without_a_home_there_is_pulling_and_no_updating() {
    let desk = desk();
    let run = |arguments: &str| {
        let mut program = desk.bndlr();
        program.args(arguments.split_whitespace()).env_remove("HOME");
        finish(program)
    };
    let ran = run("pull oci:layout:v1 -o out -v");
    assert!(ran.stderr.contains("cannot be updated later"), "{ran:?}");
    ran.ok();
    assert_failed(&run("pull oci:layout:v1 -o out --update"), 7, &["no place", "XDG_STATE_HOME"]);
    run("pull oci:layout:v1 -o new --update").ok();
    let ran = desk.run_with(&["pull", "oci:layout:v1", "-o", "third"], &[("XDG_STATE_HOME", "/proc/nowhere")]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(desk.names(), ["layout", "new", "out", "third", "tree"]);
}

#[test]
fn where_nothing_can_be_kept_there_is_pulling_and_no_updating() {
    let desk = desk();
    desk.run("pull oci:layout:v1 -o out").ok();
    let states = desk.path(".local/state/bndlr/directories");
    let lock = names(&states).into_iter().find(|name| name.contains('.')).unwrap();
    fs::remove_dir_all(desk.path("out")).unwrap();
    fs::remove_file(states.join(&lock)).unwrap();
    fs::create_dir(states.join(&lock)).unwrap();
    let ran = desk.run("pull oci:layout:v2 -o out -v");
    assert!(ran.stderr.contains("cannot be updated later"), "{ran:?}");
    ran.ok();
    assert_eq!(snapshot(&desk.path("out")), snapshot(&desk.path("tree")));
    let words = ["cannot keep what is known of \"out\"", "/bndlr/directories: Is a directory"];
    assert_failed(&desk.run("pull oci:layout:v1 -o out --update"), 8, &words);
    fs::remove_dir_all(desk.path("out")).unwrap();
    desk.run("pull oci:layout:v1 -o out --update").ok();
    fs::remove_dir_all(desk.path("out")).unwrap();
    desk.run("pull oci:layout:v1 -o out --include a.txt").ok();
}

/// Jobs pull to directories that are gone after them.
#[test]
fn what_is_known_of_directories_that_are_gone_goes_after_a_while() {
    let desk = desk();
    for out in ["gone", "young", "there", "busy"] {
        desk.run(&format!("pull oci:layout:v1 -o {out}")).ok();
    }
    let states = desk.path(".local/state/bndlr/directories");
    let state = |out: &str| {
        let path = fs::canonicalize(desk.path("")).unwrap().join(out);
        states.join(bndlr::digest::Digest::sha256(path.to_str().unwrap().as_bytes()).hex())
    };
    let week = Duration::from_hours(24 * 7) + Duration::from_mins(1);
    for out in ["gone", "there", "busy"] {
        let file = File::options().write(true).open(state(out)).unwrap();
        file.set_times(FileTimes::new().set_modified(SystemTime::now() - week)).unwrap();
    }
    for out in ["gone", "young", "busy"] {
        fs::remove_dir_all(desk.path(out)).unwrap();
    }
    let busy = File::open(state("busy").with_extension("lock")).unwrap();
    busy.lock().unwrap();
    desk.run("pull oci:layout:v1 -o other").ok();
    assert_eq!(["gone", "young", "there", "busy"].map(|out| state(out).exists()), [false, true, true, true]);
    assert!(!state("gone").with_extension("lock").exists());
    assert!(desk.run("pull oci:layout:v1 -o there --update").stderr.contains("Unchanged"));
    desk.run("pull oci:layout:v1 -o gone").ok();
    busy.unlock().unwrap();
}

/// What is known of a directory is never kept in it: it would be something that the image does not have.
#[test]
fn a_home_is_pulled_to_like_any_other_directory() {
    let desk = desk();
    for (home, exists) in [("home", true), ("new", false), ("above/home", true)] {
        let target = home.split('/').next().unwrap();
        if exists {
            fs::create_dir(desk.path(target)).unwrap();
        }
        let home = desk.path(home).display().to_string();
        let run = |arguments: &str| {
            let arguments: Vec<&str> = arguments.split_whitespace().chain([target]).collect();
            desk.run_with(&arguments, &[("HOME", &home)])
        };
        let ran = run("pull oci:layout:v2 -o");
        assert!(ran.stderr.contains("set XDG_STATE_HOME"), "{ran:?}");
        ran.ok();
        assert_eq!(without_top(snapshot(&desk.path(target))), without_top(snapshot(&desk.path("tree"))));
        assert_failed(&run("pull oci:layout:v1 --update -o"), 7, &["no place", "XDG_STATE_HOME"]);
    }
}
