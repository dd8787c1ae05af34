//! The program's command line when all goes well: what it prints where, and what its flags do.

mod embedded;
mod peer;
mod program;

use std::fs;
use std::io::{BufRead, BufReader, Read};

use embedded::Embedded;
use program::{Desk, finish, make_tree, signal, wait};
use serde_json::{Value, json};

/// The digest of the sample tree.
fn digest(desk: &Desk) -> String {
    desk.run("build tree -o archive:digest.tar -q").ok().trim_end().to_owned()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

/// What a build with these flags lists.
fn packed(desk: &Desk, flags: &str) -> Vec<String> {
    desk.run(&format!("build tree -o archive:packed.tar {flags}")).ok();
    desk.run("ls archive:packed.tar").ok().lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_tells_what_it_does_and_prints_the_reference_with_the_digest() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let (place, digest) = (format!("{}/team/app", registry.address()), digest(&desk));
    let first = desk.run(&format!("push ./tree {place}:v1"));
    assert_eq!((first.code, &*first.stdout), (Some(0), &*format!("{place}@{digest}\n")));
    let inspected = desk.run(&format!("inspect {place}:v1 --format json")).json();
    let short = |part: &Value| part["digest"].as_str().unwrap()[7..19].to_owned();
    let (layer, config) = (short(&inspected["layers"][0]), short(&inspected["config"]));
    let config_size = &inspected["config"]["size"];
    let mut lines: Vec<_> = first.stderr.lines().collect();
    // The two are under way at once.
    lines[2..4].sort_by_key(|line| line.contains("config"));
    let uploading = lines[2].strip_suffix(" kB").expect("a size in kB");
    assert!(uploading.starts_with(&format!("Uploading {layer} layer ")), "{uploading}");
    assert_eq!(lines[0], "Packing ./tree (3 files, 20 kB)");
    assert_eq!(lines[1], format!("Pushing to {place}:v1"));
    assert_eq!(lines[3], format!("Uploading {config} config {config_size} B"));
    assert_eq!(lines[4..], [format!("Pushed {place}:v1 with digest {digest}")]);
    let second = desk.run(&format!("push ./tree {place}:v1"));
    assert_eq!(second.stdout, first.stdout);
    assert!(second.stderr.contains(&format!("\nExists {config} config {config_size} B\n")), "{second:?}");
    assert!(second.stderr.ends_with(&format!("\nUnchanged {place}:v1 with digest {digest}\n")), "{second:?}");
    assert!(!second.stderr.contains("Uploading"), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_but_results_is_shown_when_quiet_and_nothing_steers_a_terminal_that_is_none() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let place = format!("{}/team/app", registry.address());
    let quiet = desk.run(&format!("push tree {place}:v1 -q"));
    assert_eq!((quiet.code, &*quiet.stderr), (Some(0), ""));
    let pulled = desk.run(&format!("-q pull {place}:v1"));
    assert_eq!((&*pulled.stdout, &*pulled.stderr), ("./app\n", ""));
    let commands = ["push tree PLACE:v2", "pull PLACE:v2 -o again", "pull PLACE:v2", "push --bogus", "--help", "ls -h"];
    for command in commands {
        let ran = desk.run(&command.replace("PLACE", &place));
        let text = ran.stdout + &ran.stderr;
        assert!(!text.is_empty() && !text.contains(['\u{1b}', '\r']), "{command}: {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_the_keys_that_scripts_read() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let (host, digest) = (registry.address(), digest(&desk));
    let push = desk.run(&format!("push tree {host}/a:v1 {host}/b:v1 {host}/a:v2 -t x,v1 --format json")).json();
    let expected = "bytesUploaded check destinations digest layers mediaType reference references result size tags";
    assert_eq!(keys(&push).join(" "), expected);
    assert_eq!(keys(&push["destinations"][0]), ["digest", "reference", "result", "tags"]);
    assert_eq!(keys(&push["layers"][0]), ["digest", "result", "size"]);
    assert_eq!(push["digest"], digest);
    assert_eq!(push["reference"], push["references"][0]);
    assert_eq!(push["references"], json!([format!("{host}/a@{digest}"), format!("{host}/b@{digest}")]));
    assert_eq!(push["tags"], json!(["v1", "x", "v2"]));
    assert_eq!((&push["result"], &push["layers"][0]["result"]), (&json!("pushed"), &json!("uploaded")));
    let again = desk.run(&format!("push tree {host}/a:v1 --format json")).json();
    assert_eq!((&again["result"], &again["bytesUploaded"]), (&json!("unchanged"), &json!(0)));
    assert_eq!(again["layers"][0]["result"], "exists");

    let pull = desk.run(&format!("pull {host}/a:v1 -o out --format json")).json();
    assert_eq!(keys(&pull), ["bytes", "bytesFetched", "digest", "directory", "files", "reference", "result"]);
    assert_eq!((&pull["directory"], &pull["files"], &pull["result"]), (&json!("out"), &json!(3), &json!("pulled")));
    assert_eq!(pull["bytes"], 20_016);
    let resolved = desk.run(&format!("resolve {host}/a:x --format json")).json();
    assert_eq!(keys(&resolved), ["digest", "mediaType", "reference", "size"]);
    let listed = desk.run(&format!("ls {host}/a:v1 --format json")).json();
    assert_eq!(listed[0], json!({"path": "a.txt", "type": "file", "mode": "0644", "size": 6}));
    assert_eq!(listed[2], json!({"path": "link", "type": "symlink", "mode": "0777", "target": "a.txt"}));
    let built = desk.run("build tree -o oci:layout:v1 -t v2 --format json").json();
    assert_eq!(built, json!({"digest": digest, "outputs": ["oci:layout:v1", "oci:layout:v2"]}));
    assert_eq!(keys(&desk.run("version --format json").json()), ["format", "version"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tag_in_every_repository_points_to_the_same_digest() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let (host, digest) = (registry.address(), digest(&desk));
    let pushed = desk.run(&format!("push tree {host}/a:v1 {host}/b -t v2,v3 --digest-file digest.txt"));
    assert_eq!(desk.read("digest.txt"), format!("{digest}\n"));
    assert!(pushed.stderr.contains(&format!("\nPushed {host}/b:v3 with digest {digest}\n")), "{pushed:?}");
    assert_eq!(pushed.ok(), format!("{host}/a@{digest}\n{host}/b@{digest}\n"));
    for name in ["a:v1", "a:v2", "a:v3", "b:latest", "b:v2", "b:v3"] {
        assert_eq!(desk.run(&format!("resolve {host}/{name}")).ok(), format!("{digest}\n"), "{name}");
    }
    assert_eq!(desk.run(&format!("resolve {host}/b:v1")).code, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_to_several_repositories_is_packed_once_and_sent_to_each_registry_once() {
    let (one, other, desk) = (Embedded::in_memory().await, Embedded::in_memory().await, Desk::with_tree());
    let places = [format!("{}/a", one.address()), format!("{}/b", other.address()), format!("{}/c", one.address())];
    let pushed = desk.run(&format!("push tree {} -v --format json", places.join(" ")));
    let count = |part: &str| pushed.stderr.matches(part).count();
    assert_eq!((count("Packing "), count("\nUploading "), count("\nMounted ")), (1, 4, 2), "{pushed:?}");
    assert_eq!(count(&format!("PUT http://{}/v2/c/blobs/", one.address())), 0, "{pushed:?}");
    let json = pushed.json();
    assert_eq!(json["layers"][0]["result"], "uploaded");
    let image = desk.run(&format!("inspect {} --raw", places[2])).json();
    let size = |part: &Value| part["size"].as_u64().unwrap();
    assert_eq!(json["bytesUploaded"], 2 * (size(&image["config"]) + size(&image["layers"][0])));

    let again = desk.run(&format!("push tree {} {}/d --format json", places[0], one.address())).json();
    assert_eq!((&again["layers"][0]["result"], &again["bytesUploaded"]), (&json!("mounted"), &json!(0)));
}

#[test]
fn an_image_says_what_it_was_told_to_say() {
    let desk = Desk::with_tree();
    desk.run("build tree -o oci:a:v1 -a k=v=w -l color=blue --platform linux/arm64/v8").ok();
    let oci = desk.run("inspect oci:a:v1 --format json").json();
    assert_eq!(oci["annotations"]["k"], "v=w");
    assert_eq!((&oci["labels"]["color"], &oci["platform"]), (&json!("blue"), &json!("linux/arm64/v8")));
    assert_eq!(oci["created"], Value::Null);
    desk.run("build tree -o oci:a:v2 --image-format docker").ok();
    let docker = desk.run("inspect oci:a:v2 --format json").json();
    assert_eq!(docker["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");
    let text = desk.run("inspect oci:a:v1").ok();
    assert!(text.contains("\nPlatform:      linux/arm64/v8\n") && text.contains("k=v=w\n"), "{text}");
    assert!(desk.run("inspect oci:a:v1 --raw").ok().starts_with(r#"{"annotations":{"k":"v=w"}"#));
}

#[test]
fn what_goes_in_is_what_the_flags_and_the_ignore_file_let_in() {
    let desk = Desk::with_tree();
    let all = ["a.txt", "empty", "link", "sub", "sub/noise", "sub/run.sh"];
    assert_eq!(packed(&desk, ""), all);
    assert_eq!(packed(&desk, "--exclude *.txt --exclude link --exclude noise"), ["empty", "sub", "sub/run.sh"]);
    desk.write("tree/.git/config", "token");
    assert_eq!(packed(&desk, ""), all);
    assert_eq!(packed(&desk, "--include-vcs")[..2], [".git", ".git/config"]);
    desk.write("tree/.bndlrignore", "sub/*\n!sub/run.sh\n");
    assert_eq!(packed(&desk, ""), ["a.txt", "empty", "link", "sub", "sub/run.sh"]);
    let long = |flags| {
        desk.run(&format!("build tree -o archive:long.tar {flags}")).ok();
        desk.run("ls -l archive:long.tar").ok()
    };
    assert!(long("").contains("lrwxrwxrwx            0 link -> a.txt\n"));
    let followed = long("--symlinks follow");
    assert!(followed.contains("-rw-r--r--            6 link\n"), "{followed}");
    assert!(followed.contains("-rwxr-xr-x           10 sub/run.sh\n"), "{followed}");
}

#[test]
fn a_single_file_is_a_bundle_of_one() {
    let desk = Desk::with_tree();
    desk.run("push tree/sub/run.sh oci:one:v1").ok();
    assert_eq!(desk.run("ls -l oci:one").ok(), "-rwxr-xr-x           10 run.sh\n");
}

#[test]
fn an_image_is_as_old_as_source_date_epoch_says() {
    let desk = Desk::with_tree();
    let build = |epoch| desk.run_with(&["build", "tree", "-o", "oci:a:v1"], &[("SOURCE_DATE_EPOCH", epoch)]);
    assert_ne!(build("1700000000").ok().trim_end(), digest(&desk));
    assert_eq!(desk.run("inspect oci:a:v1 --format json").json()["created"], "2023-11-14T22:13:20Z");
    assert_eq!(build("").ok().trim_end(), digest(&desk));
    for wrong in ["yesterday", "-1", "1.5"] {
        let ran = build(wrong);
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.starts_with(&format!("error: SOURCE_DATE_EPOCH is \"{wrong}\"")), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_makes_the_directory_or_fills_an_empty_one() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let place = format!("{}/team/app:v1", registry.address());
    desk.run(&format!("push tree {place}")).ok();
    let pulled = desk.run(&format!("pull {place}"));
    assert!(pulled.stderr.contains("\nPulled 3 files (20 kB) into ./app\n"), "{pulled:?}");
    assert_eq!(pulled.ok(), "./app\n");
    fs::create_dir(desk.path("empty")).unwrap();
    for target in ["empty", "new/deep/dir"] {
        assert_eq!(desk.run(&format!("pull {place} -o {target}")).ok(), format!("{target}\n"));
    }
    for copy in ["app", "empty", "new/deep/dir"] {
        assert_eq!(desk.read(&format!("{copy}/a.txt")), "alpha\n");
        assert_eq!(fs::read_link(desk.path(&format!("{copy}/link"))).unwrap().to_str(), Some("a.txt"));
        let again = desk.run(&format!("build {copy} -o archive:again.tar")).ok();
        assert_eq!(again.trim_end(), digest(&desk), "{copy}");
    }
    assert_eq!(desk.names(), ["again.tar", "app", "digest.tar", "empty", "new", "tree"]);
}

#[test]
fn layouts_and_archives_stand_where_references_do() {
    let desk = Desk::with_tree();
    let digest = digest(&desk);
    assert_eq!(desk.run("push tree oci:layout:v1").ok(), format!("oci:layout@{digest}\n"));
    let built = desk.run("build tree -o oci:layout:v2 -o archive:image.tar:v1");
    assert!(built.stderr.contains(&format!("\nWrote archive:image.tar:v1 with digest {digest}\n")), "{built:?}");
    assert!(!built.stderr.contains("Push") && !built.stderr.contains("Upload"), "{built:?}");
    assert_eq!(built.ok(), format!("{digest}\n"));
    let by_digest = format!("oci:layout@{digest}");
    for place in ["oci:layout", "oci:layout:v2", "archive:image.tar", "archive:image.tar:v1", &by_digest] {
        assert_eq!(desk.run(&format!("resolve {place}")).ok(), format!("{digest}\n"), "{place}");
        assert_eq!(desk.run(&format!("ls {place}")).ok().lines().count(), 6, "{place}");
        assert!(desk.run(&format!("inspect {place}")).ok().contains(&digest), "{place}");
        let target = format!("out/{}", place.replace([':', '.', '@'], "-"));
        desk.run(&format!("pull {place} -o {target}")).ok();
        assert_eq!(desk.read(&format!("{target}/a.txt")), "alpha\n", "{place}");
    }
    assert_eq!(desk.run("pull archive:image.tar").ok(), "./image\n");
}

#[test]
fn a_registry_prints_its_address_keeps_what_it_gets_and_ends_well_when_told_to() {
    let desk = Desk::with_tree();
    for (name, command) in [("INT", "push tree ADDRESS/a:v1"), ("TERM", "resolve ADDRESS/a:v1")] {
        let mut child = desk.start("serve --listen 127.0.0.1:0 --root kept");
        let mut address = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut address).unwrap();
        let ran = desk.run(&command.replace("ADDRESS", address.trim_end()));
        signal(&child, name);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let ended = wait(child);
        assert_eq!((ended.code, &*rest, &*ended.stderr), (Some(0), "", ""), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_a_line_with_the_time_for_each_request_and_answer() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let host = registry.address();
    desk.run(&format!("push tree {host}/a:v1")).ok();
    let traced = desk.run_with(&["-v", "resolve", &format!("{host}/a:v1")], &[("TZ", "UTC")]);
    let mut lines = traced.stderr.lines();
    for expected in [format!(" > HEAD http://{host}/v2/a/manifests/v1 HTTP/1.1"), " < HTTP/1.1 200 OK".to_owned()] {
        let (time, rest) = lines.next().unwrap().split_at("2026/11/21 08:00:00".len());
        assert_eq!(rest, expected);
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000/00/00 00:00:00");
    }
    assert_eq!(lines.next(), None);
}

#[test]
fn nobody_reading_on_is_no_error() {
    let desk = Desk::new();
    for number in 0..5000 {
        desk.write(&format!("tree/directory-{}/file-{number}-with-a-long-name", number % 10), "");
    }
    desk.run("build tree -o archive:many.tar").ok();
    for command in ["ls archive:many.tar", "--help"] {
        let mut command = command.split(' ').fold(desk.bndlr(), |mut all, argument| {
            all.arg(argument);
            all
        });
        let mut child = command.start();
        drop(child.stdout.take());
        let ended = wait(child);
        assert_eq!((ended.code, &*ended.stderr), (Some(0), ""), "{command:?}");
    }
}

/// The digest of `tree` on this desk, packed by a shell that does `before` first.
fn digest_after(desk: &Desk, before: &str) -> String {
    let mut shell = desk.process("sh");
    shell.args(["-ec", &format!("{before}\nexec bndlr build tree -o archive:shell.tar -q")]);
    finish(shell).ok()
}

#[test]
fn the_same_tree_has_the_same_digest_wherever_and_however_it_is_packed() {
    let desk = Desk::with_tree();
    let expected = digest_after(&desk, "");
    let surroundings = [
        "umask 077",
        "export TZ=Asia/Tokyo",
        "export LC_ALL=C",
        "export LC_ALL=C.UTF-8 TZ=UTC",
        "touch -d 2001-01-01 tree/a.txt tree/sub tree",
        "cp -r tree copy; rm -r tree; mv copy tree",
        "chmod 600 tree/a.txt; chmod 700 tree/sub/run.sh tree/sub",
    ];
    for before in surroundings {
        assert_eq!(digest_after(&desk, before), expected, "{before}");
    }
    if let Ok(shared_memory) = tempfile::tempdir_in("/dev/shm") {
        let elsewhere = Desk::over(shared_memory);
        make_tree(&elsewhere.path("tree"));
        assert_eq!(digest_after(&elsewhere, ""), expected);
    }
    let beside = Desk::over(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
    make_tree(&beside.path("tree"));
    assert_eq!(digest_after(&beside, ""), expected);
    let mut seen = vec![expected];
    for before in ["printf alphb >tree/a.txt", "chmod -x tree/sub/run.sh", "mv tree/empty tree/void", "rm tree/link"] {
        let changed = digest_after(&desk, before);
        assert!(!seen.contains(&changed), "{before}");
        seen.push(changed);
    }
}

#[test]
fn one_processor_packs_what_all_do() {
    let desk = Desk::with_tree();
    fs::write(desk.path("tree/large"), vec![7; 3 << 20]).unwrap();
    let Some(taskset) = peer::require("taskset") else { return };
    let mut pinned = desk.process(taskset);
    pinned.args(["-c", "0", "bndlr", "build", "tree", "-o", "archive:one.tar", "-q"]);
    assert_eq!(finish(pinned).ok().trim_end(), digest(&desk));
}

#[test]
fn help_fits_on_a_terminal_and_shows_how_each_command_is_used() {
    let desk = Desk::new();
    let registry = ["inspect", "resolve", "login", "logout", "token", "copy", "attach", "referrers"];
    for command in ["", "push", "pull", "build", "ls", "serve", "gc", "version"].into_iter().chain(registry) {
        for flag in ["-h", "--help"] {
            let help = desk.run(&format!("{command} {flag}")).ok();
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{command} {flag}: {help}");
            let examples = help.split_once("\nExample").map_or("", |(_, examples)| examples);
            let mut examples = examples.lines().skip(1).peekable();
            assert!(command == "version" || examples.peek().is_some(), "{command} {flag} has no example");
            // Whoever copies a line has all of it.
            assert!(examples.all(|line| line.starts_with("  bndlr ") && line.len() <= 80), "{command} {flag}: {help}");
        }
    }
    assert_eq!(desk.run("").code, Some(2));
    assert_eq!(desk.run("version").ok(), format!("bndlr {}, bundle format 1\n", env!("CARGO_PKG_VERSION")));
}
