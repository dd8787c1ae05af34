//! `bndlr serve` with passwords, rules and TLS, and the other commands as its clients.

mod program;
mod serve;

use std::io::{Read, Write};
use std::net::TcpStream;

use program::{Desk, Ran};
use serve::Serve;

fn desk() -> Desk {
    let desk = Desk::with_tree();
    let [alice, bob] = ["alice-secret", "bob-secret"].map(|password| bcrypt::hash(password, 4).unwrap());
    desk.write("users", &format!("alice:{alice}\nbob:{bob}\n"));
    desk.write("rules", "alice push team/**\nbob pull team/app\nanonymous pull team/public\n");
    for name in ["ca.pem", "leaf.pem", "leaf.key"] {
        let content = std::fs::read_to_string(format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        desk.write(name, &content);
    }
    desk
}

fn push(desk: &Desk, reference: &str, login: &str) -> Ran {
    desk.run(&format!("push tree {reference} --no-tty {login}"))
}

#[test]
fn users_push_and_pull_what_they_may() {
    let desk = desk();
    for tls in [false, true] {
        let (flags, ca) = if tls { ("--tls-cert leaf.pem --tls-key leaf.key", "--ca-file ca.pem") } else { ("", "") };
        let registry = Serve::start(&desk, &format!("-v --htpasswd users --access rules {flags}"));
        let app = registry.reference("team/app:v1");
        let [alice, bob] = ["alice", "bob"].map(|user| format!("-u {user} -p {user}-secret {ca}"));
        push(&desk, &app, &alice).ok();
        push(&desk, &registry.reference("team/public:v1"), &alice).ok();
        desk.run(&format!("pull {app} -o pulled-{tls} {bob}")).ok();
        desk.run(&format!("resolve {} {ca}", registry.reference("team/public:v1"))).ok();

        for (arguments, code) in [
            (format!("push tree {} {bob}", registry.reference("team/app:v2")), 4),
            (format!("push tree {app} {ca}"), 4),
            (format!("push tree {app} -u alice -p wrong {ca}"), 4),
            (format!("resolve {} {bob}", registry.reference("team/public2:v1")), 3),
            (format!("resolve {app} {ca}"), 4),
        ] {
            let ran = desk.run(&arguments);
            assert_eq!(ran.code, Some(code), "{arguments}: {ran:?}");
        }
        let log = registry.end();
        assert!(log.contains("path=\"/token\"") && !log.contains("secret") && !log.contains("wrong"), "{log}");
    }
}

#[test]
fn files_that_cannot_be_used_stop_it_and_say_what_to_do() {
    let desk = desk();
    desk.write("md5", "bob:$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/\n");
    desk.write("broken", "* pull **\nbob reads team/app\n");
    desk.write("short", "key");
    for (arguments, expected, hint) in [
        ("--htpasswd md5", "md5:1: the password of \"bob\" is MD5", "htpasswd -B FILE bob"),
        ("--htpasswd nowhere", "nowhere: No such file", ""),
        ("--htpasswd users --access broken", "broken:2: \"reads\" is no action", ""),
        ("--htpasswd users --token-key short", "short: a key has at least 32 bytes", "openssl rand"),
        ("--tls-cert leaf.pem --tls-key ca.pem", "ca.pem: there is no private key", ""),
    ] {
        let ran = desk.run(&format!("serve --memory --listen 127.0.0.1:0 {arguments}"));
        assert_eq!(ran.code, Some(8), "{arguments}: {ran:?}");
        assert!(ran.stderr.contains(expected) && ran.stderr.contains(hint), "{arguments}: {}", ran.stderr);
        assert!(!ran.stderr.contains("apr1$"), "{}", ran.stderr);
    }
}

#[test]
fn flags_that_do_not_go_together_are_usage_errors() {
    let desk = desk();
    for arguments in [
        "--access rules",
        "--anonymous-pull",
        "--htpasswd users --anonymous",
        "--htpasswd users --anonymous-pull --access rules",
        "--htpasswd users --public-url registry.test",
        "--tls-cert leaf.pem",
        "--tls-key leaf.key",
        "--tls-client-ca ca.pem",
        "--listen 0.0.0.0:0",
        "--listen 0.0.0.0:0 --tls-cert leaf.pem --tls-key leaf.key",
    ] {
        let ran = desk.run(&format!("serve --memory {arguments}"));
        assert_eq!(ran.code, Some(2), "{arguments}: {ran:?}");
    }
}

#[test]
fn an_address_that_others_reach_is_taken_with_passwords() {
    let desk = desk();
    let registry = Serve::start(&desk, "--htpasswd users --listen 0.0.0.0:0");
    assert!(registry.address.starts_with("0.0.0.0:"), "{}", registry.address);
    let port = registry.address.rsplit(':').next().unwrap();
    let reference = format!("127.0.0.1:{port}/any:v1");
    assert_eq!(push(&desk, &reference, "").code, Some(4));
    push(&desk, &reference, "-u bob -p bob-secret").ok();
}

#[test]
fn a_browser_is_shown_a_page_unless_there_is_to_be_none() {
    let desk = desk();
    for (flag, expected) in [("", "HTTP/1.1 200 "), ("--no-ui", "HTTP/1.1 404 ")] {
        let registry = Serve::start(&desk, flag);
        let mut stream = TcpStream::connect(&registry.address).unwrap();
        let request = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nConnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(expected), "{flag}: {answer}");
    }
}

#[test]
fn a_client_certificate_is_all_that_some_registries_ask_for() {
    let desk = desk();
    let registry = Serve::start(&desk, "--tls-cert leaf.pem --tls-key leaf.key --tls-client-ca ca.pem");
    let ran = push(&desk, &registry.reference("any:v1"), "--ca-file ca.pem");
    assert_eq!(ran.code, Some(6), "{ran:?}");
}
