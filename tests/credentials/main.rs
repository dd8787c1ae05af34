//! Who the user is: how registries and helpers are told, where it is kept, and that nobody else ever learns of it.

#[path = "../authority/mod.rs"]
mod authority;
#[path = "../docker_registry/mod.rs"]
mod docker_registry;
#[path = "../embedded/mod.rs"]
mod embedded;
#[path = "../fake/mod.rs"]
mod fake;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../program/mod.rs"]
mod program;
#[path = "../serve/mod.rs"]
mod serve;

mod helpers;
mod log_in;
mod peers;
mod proxies;
mod tls;
mod tokens;

use program::{Desk, Ran};
use serve::Serve;

/// What alice knows, in the clear and as a header has it, and what is made of it.
const SECRETS: [&str; 6] = [
    "correct-horse",
    "YWxpY2U6Y29ycmVjdC1ob3JzZQ",
    "identity-secret",
    "bearer-secret",
    "proxy-secret",
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9",
];

/// Flags with alice's password.
const ALICE: &str = "-u alice -p correct-horse";

/// Runs `bndlr -v`, and fails if anything that it says has a secret in it.
#[track_caller]
fn run(desk: &Desk, arguments: &str) -> Ran {
    run_in(desk, arguments, &[])
}

/// The same with these variables.
#[track_caller]
fn run_in(desk: &Desk, arguments: &str, variables: &[(&str, &str)]) -> Ran {
    let arguments: Vec<_> = ["-v"].into_iter().chain(arguments.split_whitespace()).collect();
    let ran = desk.run_with(&arguments, variables);
    assert_keeps_quiet(&format!("{}\n{}", ran.stdout, ran.stderr));
    ran
}

#[track_caller]
fn assert_keeps_quiet(text: &str) {
    for secret in SECRETS {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
}

/// A desk with a tree to push, and what a registry with users needs: alice may do everything, bob may pull.
fn desk() -> Desk {
    let desk = Desk::with_tree();
    let [alice, bob] = ["correct-horse", "bob-password"].map(|password| bcrypt::hash(password, 4).unwrap());
    desk.write("users", &format!("alice:{alice}\nbob:{bob}\n"));
    desk.write("rules", "alice push,delete **\nbob pull **\n");
    for name in ["ca.pem", "leaf.pem", "leaf.key"] {
        let content = std::fs::read_to_string(format!("{}/tests/tls/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        desk.write(name, &content);
    }
    desk
}

/// A registry of ours that gives tokens.
fn registry(desk: &Desk, flags: &str) -> Serve {
    Serve::start(desk, &format!("--htpasswd users --access rules {flags}"))
}

/// What is in a file, as JSON.
fn json(desk: &Desk, name: &str) -> serde_json::Value {
    serde_json::from_str(&desk.read(name)).unwrap()
}
