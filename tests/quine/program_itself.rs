//! The static program, as it is released.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::peer;
use crate::program::{Desk, Ran, Running, finish, signal, wait};
use crate::serve::Serve;

/// How large the program may be, in bytes. It has come to 11.8 MB.
const MAX_SIZE: u64 = 12_000_000;

/// A copy of the program on a desk, as `program`.
fn desk() -> Option<Desk> {
    let program = peer::require_static()?;
    let desk = Desk::new();
    fs::copy(program, desk.path("program")).unwrap();
    Some(desk)
}

fn run(desk: &Desk, program: &str, arguments: &str) -> Ran {
    let mut command = desk.process(desk.path(program).to_str().unwrap());
    command.args(arguments.split_whitespace());
    finish(command)
}

/// Starts one that serves, and waits until it does.
fn serve(desk: &Desk, program: &str, arguments: &str) -> (Running, String) {
    let mut child = desk.process(desk.path(program)).arg("quine").args(arguments.split_whitespace()).start();
    let mut address = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    (child, address.trim().to_owned())
}

#[test]
fn what_serves_the_image_does_not_show_in_its_digest() {
    let Some(desk) = desk() else { return };
    let digest = run(&desk, "program", "quine --export oci:layout").ok();
    fs::create_dir(desk.path("elsewhere")).unwrap();
    fs::copy(desk.path("program"), desk.path("elsewhere/another-name")).unwrap();
    let mut served = Vec::new();
    for (program, arguments) in [
        ("program", "--listen 127.0.0.1:0"),
        ("elsewhere/another-name", "--listen 0.0.0.0:0 --name a/b --tag v1"),
        ("elsewhere/another-name", "--listen [::1]:0 -q"),
    ] {
        let (child, address) = serve(&desk, program, arguments);
        let (_, port) = address.rsplit_once(':').unwrap();
        let host = if address.starts_with('[') { "[::1]" } else { "127.0.0.1" };
        let name = if arguments.contains("--name") { "a/b:v1" } else { "quinistry" };
        served.push(run(&desk, "program", &format!("resolve {host}:{port}/{name}")).ok());
        signal(&child, "TERM");
        assert_eq!(wait(child).code, Some(0));
    }
    for resolved in served {
        assert_eq!(resolved, digest);
    }
}

#[test]
fn a_program_that_was_deleted_or_replaced_is_still_itself() {
    let Some(desk) = desk() else { return };
    let digest = run(&desk, "program", "quine --export oci:layout").ok();
    for after in ["rm copy", "rm copy; echo other > copy"] {
        let script = format!("cp program copy; exec 3< copy; {after}; exec /proc/self/fd/3 quine --export oci:other");
        let mut command = desk.process("sh");
        command.args(["-c", &script]);
        assert_eq!(finish(command).ok(), digest, "{after}");
    }
}

#[test]
fn what_is_pulled_is_the_program_and_serves_the_same_again() {
    let Some(desk) = desk() else { return };
    let original = fs::read(desk.path("program")).unwrap();
    let mut digests = Vec::new();
    let mut program = "program".to_owned();
    for generation in 1..=4 {
        let (child, address) = serve(&desk, &program, "--listen 127.0.0.1:0");
        let pulled =
            run(&desk, &program, &format!("pull {address}/quinistry -o generation-{generation} --format json"));
        digests.push(pulled.json()["digest"].clone());
        signal(&child, "TERM");
        let log = wait(child).stderr;
        for line in ["Serving the manifest: ", "Serving the layer: GET /v2/quinistry/blobs/sha256:"] {
            assert!(log.contains(line), "{line}: {log}");
        }
        program = format!("generation-{generation}/bndlr");
        assert!(fs::read(desk.path(&program)).unwrap() == original, "generation {generation}");
    }
    assert!(digests.iter().all(|digest| digest == &digests[0]), "{digests:?}");
}

#[test]
fn it_is_pushed_and_exported_and_looked_into_like_any_bundle() {
    let Some(desk) = desk() else { return };
    let digest = run(&desk, "program", "quine --export archive:image.tar:v1").ok();
    assert_eq!(run(&desk, "program", "resolve archive:image.tar:v1").ok(), digest);
    let mode = run(&desk, "program", "ls -l archive:image.tar:v1").ok();
    assert!(mode.starts_with("-rwxr-xr-x ") && mode.trim().ends_with(" bndlr"), "{mode}");
    assert_eq!(run(&desk, "program", "validate archive:image.tar:v1").ok(), "ok\n");

    let registry = Serve::start(&desk, "");
    let pushed =
        run(&desk, "program", &format!("push --self {} {}", registry.reference("a:v1"), registry.reference("b")));
    let expected = ["a", "b"].map(|name| format!("{}@{digest}", registry.reference(name)));
    assert_eq!(pushed.ok(), expected.concat());
    let docker = run(&desk, "program", &format!("push --self {} --image-format docker", registry.reference("c")));
    let (_, docker) = docker.stdout.trim().rsplit_once('@').unwrap();
    let (child, address) = serve(&desk, "program", "--listen 127.0.0.1:0 --format json");
    let said: serde_json::Value = serde_json::from_str(&address).unwrap();
    assert_eq!((&said["digest"], &said["schema2"]), (&digest.trim().into(), &docker.into()));
    signal(&child, "INT");
    assert_eq!(wait(child).code, Some(0));
}

/// The most memory that a process has had, in kB.
fn peak(child: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn it_is_small_starts_at_once_and_holds_itself_in_memory_a_few_times_at_most() {
    let Some(desk) = desk() else { return };
    let size = fs::metadata(desk.path("program")).unwrap().len();
    assert!(size <= MAX_SIZE, "{size} bytes");

    // The fastest of many runs: other tests run beside. A shell that does nothing takes about a millisecond.
    let fastest = |program: &std::path::Path, arguments: &[&str]| {
        let run = |_| {
            let begun = Instant::now();
            assert!(Command::new(program).args(arguments).stdout(Stdio::null()).status().unwrap().success());
            begun.elapsed()
        };
        (0..30).map(run).min().unwrap()
    };
    let (version, shell) = (fastest(&desk.path("program"), &["--version"]), fastest("sh".as_ref(), &["-c", ":"]));
    assert!(version < shell * 5, "{version:?}, where a shell takes {shell:?}");

    let (child, address) = serve(&desk, "program", "--listen 127.0.0.1:0");
    run(&desk, "program", &format!("pull {address}/quinistry -o pulled")).ok();
    let peak = peak(&child);
    signal(&child, "TERM");
    wait(child);
    assert!(peak <= 64 * 1024, "{peak} kB");
}

#[test]
fn it_needs_no_directory_for_temporary_files_and_no_home() {
    let Some(desk) = desk() else { return };
    let mut command = desk.process(desk.path("program"));
    command.env("TMPDIR", "/no/such/directory").env_remove("HOME").args(["quine", "--export", "oci:layout"]);
    finish(command).ok();
}
