//! How much memory the program takes for very many files: of a directory, of a bundle, and of an image that another program
//! has made.
#![cfg(target_os = "linux")]

mod archives;
mod program;

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use archives::{Image, Tar};
use bndlr::manifest::Descriptor;
use program::{Desk, Ran, wait};
use serde_json::json;

/// How many files there are, and how many bytes may be held: with the 12 MiB that the code of what is released takes, 64 MiB.
/// How much the code takes here says nothing of that.
const FILES: usize = 100_000;
const LIMIT: usize = 52 * 1024 * 1024;
/// The same for what does several such things one after the other: it depends on the threads whether what one has freed
/// serves the next.
const LIMIT_OF_ALL: usize = 60 * 1024 * 1024;

/// Twenty files in each directory.
fn files() -> impl Iterator<Item = (String, String)> {
    let directory = |number: usize| format!("service-{:03}/component-{:02}", number / 1000, number / 20 % 50);
    (0..FILES)
        .map(move |number| (format!("{}/manifest-{number:06}.yaml", directory(number)), format!("id: {number}\n")))
}

fn make_tree(root: &Path) {
    for (number, (path, contents)) in files().enumerate() {
        let path = root.join(path);
        if number % 20 == 0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(path, contents).unwrap();
    }
}

/// A layout with an image of the same files, which is no bundle.
fn make_layout(root: &Path) {
    let mut image = Image::of(files().fold(Tar::new(), |tar, (path, contents)| tar.file(&path, &contents)));
    let manifest = image.manifest();
    let mut descriptor = Descriptor::of(manifest.media_type(), manifest.bytes());
    descriptor.annotations.insert("org.opencontainers.image.ref.name".into(), "v1".into());
    let blobs = root.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    image.blobs.insert(manifest.digest(), manifest.bytes().clone());
    image.blobs.iter().for_each(|(digest, blob)| fs::write(blobs.join(digest.hex()), blob).unwrap());
    fs::write(root.join("index.json"), json!({"schemaVersion": 2, "manifests": [descriptor]}).to_string()).unwrap();
    fs::write(root.join("oci-layout"), r#"{"imageLayoutVersion": "1.0.0"}"#).unwrap();
}

/// How many bytes a process had in memory at most so far, but for what it has of files; nothing, once it has ended.
fn most(process: u32) -> Option<usize> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let number = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key))?;
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<usize>().ok()
    };
    Some((number("VmHWM")?.saturating_sub(number("RssFile")? + number("RssShmem")?)) * 1024)
}

/// Runs the program, and sees that it takes little memory.
fn bounded(desk: &Desk, limit: usize, arguments: &str) -> Ran {
    let running = desk.start(arguments);
    let mut taken = 0;
    // The kernel keeps the peak, and forgets it with the process: it is asked again and again as long as there is one.
    while let Some(most) = most(running.id()) {
        taken = most.max(taken);
        sleep(Duration::from_millis(1));
    }
    println!("{arguments}: {} KiB", taken / 1024);
    assert!(taken <= limit, "{arguments} took {taken} bytes");
    wait(running)
}

#[test]
fn a_hundred_thousand_files_take_little_memory() {
    let in_memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let desk = Desk::over(in_memory.unwrap());
    make_tree(&desk.path("tree"));
    make_layout(&desk.path("other"));
    desk.run("build tree -o oci:bundle:v1").ok();
    bounded(&desk, LIMIT, "pull oci:other:v1 -o copy").ok();
    bounded(&desk, LIMIT, "pull oci:bundle:v1 -o updated").ok();
    let (changed, _) = files().nth(FILES / 2).unwrap();
    fs::write(desk.path("tree").join(&changed), "id: changed\n").unwrap();
    bounded(&desk, LIMIT, "build tree -o oci:bundle:v2").ok();
    bounded(&desk, LIMIT, "pull --update oci:bundle:v2 -o updated").ok();
    assert_eq!(fs::read(desk.path("updated").join(&changed)).unwrap(), b"id: changed\n");
    bounded(&desk, LIMIT, "verify tree oci:bundle:v2").ok();
    fs::write(desk.path("tree").join(&changed), format!("id: {}\n", FILES / 2)).unwrap();
    bounded(&desk, LIMIT, "verify tree oci:other:v1").ok();
    let why = bounded(&desk, LIMIT_OF_ALL, "why oci:other:v1 ./tree");
    assert_eq!(why.code, Some(1), "{why:?}");
}
