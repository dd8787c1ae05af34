//! `login` and `logout`, at our own registry, which gives tokens, over plain HTTP on this machine and over TLS.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::program::Desk;
use crate::{ALICE, assert_keeps_quiet, desk, json, peer, registry, run, run_in};

const CONFIG: &str = ".docker/config.json";

#[test]
fn a_password_is_checked_before_it_is_stored_and_used_from_then_on() {
    for (flags, ca) in [("", ""), ("--tls-cert leaf.pem --tls-key leaf.key", "--ca-file ca.pem")] {
        let desk = desk();
        let registry = registry(&desk, flags);
        let (host, app) = (&registry.address, registry.reference("team/app:v1"));

        let wrong = run(&desk, &format!("login {host} -u alice -p mistaken {ca}"));
        assert_eq!((wrong.code, wrong.stdout.as_str()), (Some(4), ""), "{wrong:?}");
        assert!(wrong.stderr.contains(&format!("hint: the credentials that were given for {host} were refused")));
        assert!(!desk.path(".docker").exists() && !wrong.stderr.contains("mistaken"), "{wrong:?}");
        assert_eq!(run(&desk, &format!("push tree {app} {ca}")).code, Some(4));

        let right = run(&desk, &format!("login {host} {ALICE} {ca}"));
        assert!(right.stderr.contains(&format!("Logged in to {host} as alice; the password is in ")), "{right:?}");
        assert_eq!(right.ok(), "");
        assert_eq!(desk.path(CONFIG).metadata().unwrap().permissions().mode() & 0o777, 0o600);
        run(&desk, &format!("push tree {app} {ca}")).ok();
        run(&desk, &format!("pull {app} -o pulled {ca}")).ok();

        let out = run(&desk, &format!("logout {host}"));
        assert!(out.stderr.contains(&format!("Logged out of {host}")), "{out:?}");
        assert!(!desk.read(CONFIG).contains(host));
        assert_eq!(run(&desk, &format!("resolve {app} {ca}")).code, Some(4));
        let again = run(&desk, &format!("logout {host}"));
        assert!(again.stderr.contains("Not logged in") && again.code == Some(0), "{again:?}");
        assert_keeps_quiet(&registry.end());
    }
}

#[test]
fn a_password_comes_from_standard_input_and_results_are_json_if_wanted() {
    let desk = desk();
    let registry = registry(&desk, "");
    let mut program = desk.bndlr();
    let arguments = ["login", &registry.address, "-u", "alice", "--password-stdin", "--format", "json"];
    let mut child = program.args(arguments).stdin(Stdio::piped()).start();
    child.stdin.take().unwrap().write_all(b"correct-horse\r\n").unwrap();
    let ran = crate::program::wait(child);
    assert_eq!(
        ran.json(),
        serde_json::json!({"registry": registry.address, "username": "alice", "checked": true,
            "file": desk.path(CONFIG), "program": null})
    );
    let out = run(&desk, &format!("logout {} --format json", registry.address));
    assert_eq!(out.json()["loggedOut"], true);
    let unsaid = run(&desk, &format!("login {}", registry.address));
    assert_eq!(unsaid.code, Some(2));
    assert!(unsaid.stderr.contains("--password-stdin"), "{unsaid:?}");
}

#[test]
fn a_terminal_is_asked_for_what_is_not_said_and_does_not_show_the_password() {
    let Some(script) = peer::require("script") else { return };
    let desk = desk();
    let registry = registry(&desk, "");
    let mut command = desk.process(script);
    command.args(["-qec", &format!("bndlr login {}", registry.address), "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).start();
    let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut shown = String::new();
    for (prompt, answer) in [("Username: ", "alice\n"), ("Password: ", "correct-horse\n")] {
        while !shown.ends_with(prompt) {
            let mut byte = [0];
            stdout.read_exact(&mut byte).unwrap();
            shown.push(char::from(byte[0]));
        }
        stdin.write_all(answer.as_bytes()).unwrap();
    }
    stdout.read_to_string(&mut shown).unwrap();
    assert!(child.wait().code == Some(0) && shown.contains("Logged in to"), "{shown}");
    assert_keeps_quiet(&shown);
}

#[test]
fn a_part_of_a_registry_may_have_a_user_of_its_own() {
    let desk = desk();
    let registry = registry(&desk, "");
    let host = &registry.address;
    run(&desk, &format!("login {host}/team {ALICE}")).ok();
    run(&desk, &format!("login {host} -u bob -p bob-password")).ok();
    let users = json(&desk, CONFIG)["auths"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(users, [host.clone(), format!("{host}/team")]);

    run(&desk, &format!("push tree {host}/team/app:v1")).ok();
    let other = run(&desk, &format!("push tree {host}/other/app:v1"));
    assert_eq!(other.code, Some(4), "bob may not push: {other:?}");
    run(&desk, &format!("logout {host}/team")).ok();
    assert_eq!(run(&desk, &format!("push tree {host}/team/app:v2")).code, Some(4));
    run(&desk, &format!("resolve {host}/team/app:v1")).ok();
}

#[test]
fn files_are_looked_into_in_order_and_the_first_is_written() {
    let desk = desk();
    let registry = registry(&desk, "");
    let (host, app) = (&registry.address, registry.reference("team/app:v1"));
    let named = [("REGISTRY_AUTH_FILE", "auth/named.json"), ("DOCKER_CONFIG", "docker")];
    run_in(&desk, &format!("login {host} {ALICE}"), &named).ok();
    assert!(desk.path("auth/named.json").exists() && !desk.path("docker").exists() && !desk.path(CONFIG).exists());
    run_in(&desk, &format!("push tree {app}"), &named).ok();
    assert_eq!(run(&desk, &format!("resolve {app}")).code, Some(4), "nobody has named that file");
    run(&desk, &format!("resolve {app} --registry-config auth/named.json")).ok();

    // Podman's place is looked into after Docker's.
    desk.write(".config/containers/auth.json", &desk.read("auth/named.json"));
    run(&desk, &format!("resolve {app}")).ok();
    run(&desk, &format!("login {host} -u bob -p bob-password")).ok();
    assert_eq!(run(&desk, &format!("push tree {host}/team/app:v2")).code, Some(4), "bob may not");
    // A file that is named is the only one.
    desk.write("empty.json", "");
    assert_eq!(run(&desk, &format!("resolve {app} --registry-config empty.json")).code, Some(4));
    let missing = run(&desk, &format!("resolve {app} --registry-config none.json"));
    assert!(missing.code == Some(8) && missing.stderr.contains("cannot use the credentials in none.json: No such"));

    let out = run(&desk, &format!("logout {host}"));
    assert!(out.stderr.contains("warning: there are still credentials for") && out.stderr.contains("auth.json"));
    assert_eq!(run(&desk, &format!("login {host} {ALICE} --registry-config /dev/null/x")).code, Some(8));
}

#[test]
fn an_address_that_is_no_registry_is_a_usage_error() {
    let desk = Desk::new();
    for arguments in ["login https://ghcr.io", "login ghcr.io/Team", "logout a_b", "token https://ghcr.io", "login"] {
        assert_eq!(run(&desk, arguments).code, Some(2), "{arguments}");
    }
    assert_eq!(run(&desk, "login 127.0.0.1:1 -u alice -p correct-horse").code, Some(6));
    assert_eq!(desk.names(), Vec::<String>::new());
}
