//! Who the user is: how registries and helpers are told, where it is kept, and that nobody else ever learns of it.

#[path = "../authority/mod.rs"]
mod authority;
#[path = "../between/mod.rs"]
mod between;
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
mod traces;

use program::secrets::MARKS;
use program::{Desk, Ran};
use serve::Serve;

/// Flags with alice's password.
const ALICE: &str = "-u alice -p correct-horse";

/// Runs `bndlr --debug`, which says as much as there is to say.
#[track_caller]
fn run(desk: &Desk, arguments: &str) -> Ran {
    run_in(desk, arguments, &[])
}

/// The same with these variables.
#[track_caller]
fn run_in(desk: &Desk, arguments: &str, variables: &[(&str, &str)]) -> Ran {
    let arguments: Vec<_> = ["--debug"].into_iter().chain(arguments.split_whitespace()).collect();
    desk.run_with(&arguments, variables)
}

/// That there is no secret in what was written to a file.
#[track_caller]
fn assert_keeps_quiet(text: &str) {
    for secret in MARKS {
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
