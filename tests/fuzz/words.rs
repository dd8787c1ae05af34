//! Headers of challenges, scopes, and the files of who may do what.

use bndlr::protocol::{Action, Challenge, Scope};
use bndlr::server::{Passwords, Rules};

use crate::random::Random;
use crate::run::fuzz;

fn strange(random: &mut Random, valid: &[&str], parts: &[&str]) -> String {
    match random.below(4) {
        0 => random.text(40),
        1 => random.parts(parts, 10),
        _ => {
            let text = *random.pick(valid);
            random.mutated(text)
        }
    }
}

#[test]
fn challenges_print_what_they_were_read_from() {
    let valid = [
        r#"Bearer realm="https://example.com/token",service="s",scope="repository:a/b:pull,push""#,
        r#"Negotiate YWJj==, Digest nonce=1, qop="a,b", Basic realm="x\"y""#,
    ];
    let parts = ["Basic", "Bearer", " ", ",", "=", "realm", "\"", "\\", "scope=x", "YQ==", "\t", "\u{e9}", ";"];
    fuzz(|random| {
        let text = strange(random, &valid, &parts);
        let challenges = Challenge::parse_all(&text);
        let printed = challenges.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        assert_eq!(Challenge::parse_all(&printed), challenges, "{text:?} prints as {printed:?}");
    });
}

#[test]
fn scopes_print_what_they_were_read_from() {
    let valid = ["repository:a/b:pull,push", "repository:a:*", "registry:catalog:*", "repository:a:delete"];
    let parts = ["repository", ":", "a", "/", "pull", ",", "push", "*", "registry", "catalog", "delete", "A"];
    fuzz(|random| {
        let text = strange(random, &valid, &parts);
        let Some(scope) = Scope::parse(&text) else { return };
        assert_eq!(Scope::parse(&scope.to_string()), Some(scope), "{text:?}");
    });
}

#[test]
fn files_of_users_and_rules_are_read_or_refused() {
    let valid = [
        "alice:$2y$04$U8Qe0GX6VZc3r5YTtP.5ieHvc5gHVGCm5Zq1fEKjniKWk5A3bEbh.\n# nobody\nbob:$2b$10$uk5yWnFd7ytcPyxv8Kmw..WX8.Qt6RsMoCTtT5kirwflb6/bNa8Um",
        "alice pull,push team/**\n* pull ** # all\nanonymous pull public/*",
    ];
    let parts = [
        "alice",
        ":",
        "$2y$04$",
        "\n",
        " ",
        "pull",
        ",",
        "*",
        "**",
        "/",
        "team",
        "#",
        "anonymous",
        "[",
        "{a,b}",
        "\u{e9}",
    ];
    fuzz(|random| {
        let text = strange(random, &valid, &parts);
        // No password is checked here, but nobody may be known who does not stand there.
        if let Ok(passwords) = Passwords::parse(&text) {
            assert!(!passwords.has("mallory") && (text.contains("alice") || !passwords.has("alice")), "{text:?}");
        }
        let Ok(rules) = Rules::parse(&text) else { return };
        for name in ["team/a", "public/a", "a"] {
            let name = name.parse().unwrap();
            let (nobody, mallory) = (rules.allow(None, &name), rules.allow(Some("mallory"), &name));
            assert!(nobody & mallory == nobody, "who has a name may do what everybody may: {text:?}");
            assert!(nobody.are_none() || rules.allow_anonymous(), "{text:?}");
            let is_said = text.contains('*') || text.contains("anonymous") || text.contains("mallory");
            assert!(is_said || !mallory.contain(Action::Pull), "{text:?}");
        }
    });
}
