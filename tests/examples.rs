//! What `examples/` has beside programs does what it says.

mod peer;
mod program;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use program::{Desk, signal, wait};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The arguments of `bndlr serve` in a manifest for Kubernetes, with these paths in place of those of the pod.
fn arguments(yaml: &str, paths: &[(&str, &str)]) -> Vec<String> {
    let arguments =
        yaml.lines().filter_map(|line| line.trim().strip_prefix("- ")).filter(|item| item.starts_with("--"));
    arguments
        .map(|argument| paths.iter().fold(argument.to_owned(), |line, (from, to)| line.replace(from, to)))
        .collect()
}

/// That a pod may do no more than it has to.
fn assert_may_do_little(yaml: &str) {
    for setting in [
        "runAsNonRoot: true",
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "capabilities: { drop: [ALL] }",
        "seccompProfile: { type: RuntimeDefault }",
        "automountServiceAccountToken: false",
    ] {
        assert!(yaml.contains(setting), "{setting}");
    }
}

#[test]
fn the_registry_in_kubernetes_lets_everybody_pull_and_only_users_push() {
    let yaml = fs::read_to_string(Path::new(ROOT).join("examples/kubernetes/serve.yaml")).unwrap();
    assert_may_do_little(&yaml);
    let desk = Desk::with_tree();
    desk.write("users", &format!("alice:{}\n", bcrypt::hash("secret", 4).unwrap()));
    let [certificate, key, ca] = ["leaf.pem", "leaf.key", "ca.pem"].map(|name| format!("{ROOT}/tests/tls/{name}"));
    let arguments = arguments(
        &yaml,
        &[
            ("0.0.0.0:5000", "127.0.0.1:0"),
            ("/data/", ""),
            ("/run/secrets/users/", ""),
            ("/run/secrets/tls/tls.crt", &certificate),
            ("/run/secrets/tls/tls.key", &key),
            // The port is known only later, and its clients are told where tokens are by the name they use.
            ("--public-url=https://registry.example", ""),
        ],
    );
    let mut child = desk.start(&format!("serve {}", arguments.join(" ")));
    let mut address = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let reference = format!("{}/team/app:v1", address.trim());
    let push = format!("push tree {reference} --ca-file {ca}");
    assert_eq!(desk.run(&push).code, Some(4), "nobody pushes without a password");
    desk.run(&format!("{push} -u alice -p secret")).ok();
    desk.run(&format!("pull {reference} -o pulled --ca-file {ca}")).ok();
    assert_eq!(desk.read("pulled/a.txt"), desk.read("tree/a.txt"));
    signal(&child, "TERM");
    assert_eq!(wait(child).code, Some(0));
}

#[test]
fn the_image_of_this_program_in_kubernetes_is_served_to_every_pod() {
    let yaml = fs::read_to_string(Path::new(ROOT).join("examples/kubernetes/quine.yaml")).unwrap();
    assert_may_do_little(&yaml);
    let desk = Desk::new();
    let arguments = arguments(&yaml, &[("0.0.0.0:8080", "0.0.0.0:0")]);
    assert_eq!(arguments, ["--listen=0.0.0.0:0"]);
    let Some(program) = peer::require_static() else { return };
    let mut child = desk.process(&program).arg("quine").args(&arguments).start();
    let mut address = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let (_, port) = address.trim().rsplit_once(':').unwrap();
    desk.run(&format!("pull localhost:{port}/quinistry -o pulled")).ok();
    assert!(fs::read(desk.path("pulled/bndlr")).unwrap() == fs::read(program).unwrap());
    signal(&child, "TERM");
    assert_eq!(wait(child).code, Some(0));
}
