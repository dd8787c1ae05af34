//! Credential helpers: programs that keep credentials, of which this is a small one that writes down what it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::program::{Desk, Ran};
use crate::serve::Serve;
use crate::{ALICE, assert_keeps_quiet, desk, json, registry, run_in};

/// Answers `get` with what was stored, and notes each action with what it was told.
const HELPER: &str = r#"#!/bin/sh
told=$(cat)
echo "$1 $told" >>"$HOME/helper.log"
case "$1" in
store) printf %s "$told" >"$HOME/helper.stored" ;;
get) cat "$HOME/helper.stored" 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) rm "$HOME/helper.stored" ;;
esac
"#;

fn install(desk: &Desk, name: &str, script: &str) {
    desk.write(&format!("bin/docker-credential-{name}"), script);
    let path = desk.path(&format!("bin/docker-credential-{name}"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Runs with the helpers that are installed on the desk.
#[track_caller]
fn run(desk: &Desk, arguments: &str) -> Ran {
    let path = format!("{}:{}", desk.path("bin").display(), std::env::var("PATH").unwrap());
    run_in(desk, arguments, &[("PATH", &path)])
}

/// A desk and a registry, with a helper, which is named by what the configuration says with `HOST` for the registry.
fn with_helper(config: &str, script: &str) -> (Desk, Serve) {
    let desk = desk();
    let registry = registry(&desk, "");
    install(&desk, "fake", script);
    desk.write(".docker/config.json", &config.replace("HOST", &registry.address));
    (desk, registry)
}

#[test]
fn a_helper_keeps_what_a_log_in_stores_and_the_file_has_no_password() {
    for config in [r#"{"credsStore":"fake"}"#, r#"{"credHelpers":{"HOST":"fake"},"credsStore":"other"}"#] {
        let (desk, registry) = with_helper(config, HELPER);
        let (host, app) = (&registry.address, registry.reference("team/app:v1"));
        let ran = run(&desk, &format!("login {host} {ALICE}"));
        assert!(ran.stderr.contains("the password is in docker-credential-fake, which "), "{ran:?}");
        ran.ok();
        assert_keeps_quiet(&desk.read(".docker/config.json"));
        let stored = json(&desk, "helper.stored");
        let expected = serde_json::json!({"ServerURL": host, "Username": "alice", "Secret": "correct-horse"});
        assert_eq!(stored, expected);

        run(&desk, &format!("push tree {app}")).ok();
        run(&desk, &format!("logout {host}")).ok();
        assert!(!desk.path("helper.stored").exists());
        let denied = run(&desk, &format!("resolve {app}"));
        assert_eq!(denied.code, Some(4));
        assert!(denied.stderr.contains(&format!("hint: log in to {host}: run bndlr login {host}")), "{denied:?}");
    }
}

#[test]
fn a_helper_is_asked_once_and_for_its_registry_alone() {
    let (desk, registry) = with_helper(r#"{"credHelpers":{"HOST":"fake"}}"#, HELPER);
    let (guarded, open) = (crate::registry(&desk, ""), Serve::start(&desk, ""));
    desk.write("helper.stored", r#"{"ServerURL":"x","Username":"alice","Secret":"correct-horse"}"#);
    let references = [&registry, &guarded, &open].map(|registry| registry.reference("team/app:v1"));
    run(&desk, &format!("push tree {}", references[0])).ok();
    assert_eq!(desk.read("helper.log"), format!("get {}\n", registry.address));
    assert_eq!(run(&desk, &format!("push tree {}", references[1])).code, Some(4));
    run(&desk, &format!("push tree {}", references[2])).ok();
    assert_eq!(desk.read("helper.log").lines().count(), 1, "others have nothing to do with it");
}

#[test]
fn what_a_helper_does_not_know_the_file_may() {
    let config = r#"{"auths":{"HOST":{"auth":"YWxpY2U6Y29ycmVjdC1ob3JzZQ=="}},"credsStore":"fake"}"#;
    let (desk, registry) = with_helper(config, HELPER);
    run(&desk, &format!("push tree {}", registry.reference("team/app:v1"))).ok();
    assert_eq!(desk.read("helper.log"), format!("get {}\n", registry.address));
}

#[test]
fn a_helper_that_fails_is_named_and_its_secret_is_not() {
    for (script, expected) in [
        ("#!/bin/sh\necho 'the keychain is locked'; exit 1", "docker-credential-fake failed: the keychain is locked"),
        ("#!/bin/sh\necho '{\"Secret\":\"correct-horse\"}'; exit 3", "docker-credential-fake failed: exit status: 3"),
        ("#!/bin/sh\necho correct-horse", "docker-credential-fake does not say a user and a secret"),
        ("#!/bin/sh\necho '{\"Username\":\"correct-horse\"'", "does not say a user and a secret"),
        ("#!/bin/sh\nyes correct-horse", "says more than"),
        ("#!/no/such/shell\n", "docker-credential-fake cannot be run"),
    ] {
        let (desk, registry) = with_helper(r#"{"credsStore":"fake"}"#, script);
        let ran = run(&desk, &format!("resolve {}", registry.reference("team/app:v1")));
        assert_eq!(ran.code, Some(8), "{ran:?}");
        assert!(ran.stderr.contains(expected), "{expected}: {}", ran.stderr);
    }
    let (desk, registry) = with_helper(r#"{"credsStore":"../bin/docker-credential-fake"}"#, HELPER);
    let ran = run(&desk, &format!("resolve {}", registry.reference("team/app:v1")));
    assert!(ran.code == Some(8) && ran.stderr.contains("is no name of a program"), "{ran:?}");
}
