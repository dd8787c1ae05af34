//! Settings from the environment and from a file: what counts more, what is refused, and what is never read.

mod embedded;
mod program;

use embedded::Embedded;
use program::Desk;

/// What goes in when `tree` is packed with these variables and flags.
fn packed(desk: &Desk, variables: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
    let ran = desk.run_with(&[&["build", "tree", "--list", "-q"], flags].concat(), variables);
    let listed = ran.ok();
    listed.lines().filter_map(|line| line.strip_prefix("+ ")).map(str::to_owned).collect()
}

#[test]
fn a_flag_counts_more_than_a_variable_and_that_more_than_the_file() {
    let desk = Desk::with_tree();
    desk.write(".config/bndlr/bndlr.toml", "[build]\nexclude = ['a.txt', 'link', 'empty']\n");
    let variable = [("BNDLR_BUILD_EXCLUDE", "sub\nempty")];
    assert_eq!(packed(&desk, &[], &[]), ["sub/", "sub/noise", "sub/run.sh"]);
    assert_eq!(packed(&desk, &variable, &[]), ["a.txt", "link -> a.txt"]);
    assert_eq!(packed(&desk, &variable, &["--exclude", "[ls]*"]), ["a.txt", "empty/"]);
    assert_eq!(
        packed(&desk, &[("BNDLR_BUILD_EXCLUDE", "")], &[]),
        ["sub/", "sub/noise", "sub/run.sh"],
        "empty is unset"
    );
    assert_eq!(packed(&desk, &[("BNDLR_PUSH_EXCLUDE", "sub")], &[]), ["sub/", "sub/noise", "sub/run.sh"], "of push");
}

#[test]
fn what_cannot_stand_beside_a_flag_gives_way_to_it() {
    let desk = Desk::new();
    // One of --root and --memory is needed, and no more than one may be.
    let server =
        desk.bndlr().args(["serve", "--memory", "--listen", "127.0.0.1:0"]).env("BNDLR_SERVE_ROOT", "kept").start();
    program::signal(&server, "TERM");
    program::wait(server);
    assert!(!desk.path("kept").exists());
    let ran = desk.run_with(&["gc", "--dry-run"], &[("BNDLR_GC_ROOT", "kept")]);
    assert!(ran.stderr.contains("kept"), "{ran:?}");
    assert_eq!(ran.code, Some(3), "{ran:?}");
}

#[test]
fn what_is_wrong_says_where_it_was_said() {
    let desk = Desk::with_tree();
    let ran = desk.run_with(&["pull", "127.0.0.1:1/a"], &[("BNDLR_TIMEOUT", "never")]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.starts_with("error: invalid value 'never' for '--timeout <SECONDS>'"), "{ran:?}");
    assert!(ran.stderr.ends_with("\nhint: --timeout is set by BNDLR_TIMEOUT\n"), "{ran:?}");
    desk.write("my.toml", "timeout = -1\n");
    let ran = desk.run_with(&["pull", "127.0.0.1:1/a"], &[("BNDLR_CONFIG", "my.toml")]);
    assert!(ran.stderr.ends_with("\nhint: --timeout is set by my.toml line 1\n"), "{ran:?}");
    let ran = desk.run_with(&["pull", "127.0.0.1:1/a"], &[("BNDLR_QUIET", "maybe"), ("BNDLR_FORMAT", "json")]);
    assert_eq!((ran.code, &*ran.stdout), (Some(2), ""));
    assert!(ran.stderr.starts_with("error: BNDLR_QUIET is \"maybe\": expected true or false"), "{ran:?}");
    let json = desk.run_with(&["pull", "Foo"], &[("BNDLR_FORMAT", "json")]).json();
    assert_eq!(json["error"]["code"], "usage");
    desk.write("my.toml", "[push]\nexclud = 'x'\n");
    let ran = desk.run("push tree 127.0.0.1:1/a --config my.toml");
    assert_eq!(
        (ran.code, &*ran.stderr),
        (Some(2), "error: my.toml line 2: \"exclud\" is no flag of bndlr push\nhint: did you mean \"exclude\"?\n")
    );
    assert_eq!(desk.run("push tree 127.0.0.1:1/a --config none.toml").code, Some(8), "what is named has to be there");
    let help = desk.run_with(&["push", "--help"], &[("BNDLR_CONFIG", "my.toml")]);
    assert!(help.ok().contains("Usage: bndlr push"), "help is there whatever a file says");
}

/// As when a variable for one job is set for all of them.
#[test]
fn what_is_missing_or_too_much_because_of_a_variable_says_which() {
    let desk = Desk::new();
    for (command, variables, message, hint) in [
        (
            "resolve oci:x",
            &[("BNDLR_PASSWORD", "env-secret")][..],
            "--username <USER>",
            "--password is set by BNDLR_PASSW",
        ),
        ("resolve oci:x", &[("BNDLR_TIMEOUT", "5"), ("BNDLR_CERT_FILE", "x")], "--key-file", "BNDLR_CERT_FILE"),
        ("pull oci:x", &[("BNDLR_PULL_FORCE", "1")], "--update", "--force is set by BNDLR_PULL_FORCE"),
        ("gc", &[("BNDLR_GC_ROOT", "x"), ("BNDLR_GC_STORAGE", "y")], "cannot be used with", "BNDLR_GC_ROOT"),
        ("pull", &[("BNDLR_TIMEOUT", "5")], "<REFERENCE>", "--help says more"),
    ] {
        let ran = desk.run_with(&command.split(' ').collect::<Vec<_>>(), variables);
        let hinted = ran.stderr.lines().last().unwrap_or_default();
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(message) && hinted.starts_with("hint: ") && hinted.contains(hint), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_can_be_set_in_words_and_by_any_of_its_names() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let place = format!("{}/a:v1", registry.address());
    let push = |variable, value| desk.run_with(&["push", "tree", &place, "--retry-times", "0"], &[(variable, value)]);
    for (value, check) in [("1", Some(1)), ("true", Some(1)), ("YES", Some(1)), ("0", Some(0)), ("off", Some(0))] {
        desk.run(&format!("manifest delete {place}"));
        for variable in ["BNDLR_PUSH_CHECK", "BNDLR_PUSH_DRY_RUN"] {
            assert_eq!(push(variable, value).code, check, "{variable}={value}");
        }
    }
    for (value, code) in [("1", Some(0)), ("on", Some(0)), ("TRUE", Some(0)), ("0", Some(6)), ("No", Some(6))] {
        assert_eq!(push("BNDLR_PLAIN_HTTP", value).code, code, "{value}");
    }
    for value in ["", "no", "false", "yes", "1", "1MB"] {
        assert_eq!(push("BNDLR_PUSH_SPLIT", value).code, Some(0), "{value:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_the_directory_at_hand_is_never_read() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    for name in ["bndlr.toml", "tree/bndlr.toml", ".bndlr.toml"] {
        desk.write(name, "this is no setting");
    }
    desk.run(&format!("push tree {}/a:v1", registry.address())).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alias_stands_for_a_repository_wherever_a_reference_does() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::with_tree());
    let host = registry.address();
    let aliases = format!("[aliases]\nprod = '{host}/team/app'\nlocal = 'oci:layout'\nteam = '{host}/team'\n");
    desk.write("xdg/bndlr/bndlr.toml", &aliases);
    let home = desk.path("xdg");
    let run = |arguments: &str| {
        let arguments: Vec<_> = arguments.split(' ').collect();
        desk.run_with(&arguments, &[("XDG_CONFIG_HOME", home.to_str().unwrap())])
    };
    let pushed = run("push tree prod:v1").ok();
    let (place, digest) = pushed.trim_end().split_once('@').unwrap();
    assert_eq!(place, format!("{host}/team/app"));
    assert_eq!(run(&format!("resolve prod@{digest}")).ok().trim_end(), digest);
    assert_eq!(run("resolve team/app:v1").ok().trim_end(), digest);
    assert_eq!(run("tags prod").ok(), "v1\n");
    run("copy prod:v1 local:v2").ok();
    assert_eq!(run("resolve local:v2").ok().trim_end(), digest);
    // What has a port is a host.
    let ran = run("resolve prod:1/app --retry-times 0");
    assert!(ran.stderr.contains("prod:1/"), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_is_talked_to_as_the_file_says_and_a_flag_says_otherwise() {
    let (one, other, desk) = (Embedded::in_memory().await, Embedded::in_memory().await, Desk::with_tree());
    desk.write("my.toml", &format!("retry-times = 0\n[registries.'{}']\nplain-http = false\n", one.address()));
    let variables = [("BNDLR_CONFIG", "my.toml")];
    let push = |host: &str, flags: &[&str]| {
        let place = format!("{host}/a:v1");
        desk.run_with(&[&["push", "tree", &place], flags].concat(), &variables)
    };
    let (one, other) = (one.address().clone(), other.address().clone());
    assert_eq!(push(&one, &[]).code, Some(6), "it speaks no TLS");
    assert_eq!(push(&other, &[]).code, Some(0));
    assert_eq!(push(&one, &["--plain-http"]).code, Some(0));
    // Each as is said of it, in one command.
    let ran = desk.run_with(&["copy", &format!("{other}/a:v1"), &format!("{one}/b:v1")], &variables);
    assert_eq!(ran.code, Some(6), "{ran:?}");
}

#[test]
fn a_password_from_the_environment_is_used_and_not_shown() {
    let desk = Desk::new();
    let variables = [("BNDLR_USERNAME", "alice"), ("BNDLR_PASSWORD", "environment-secret"), ("BNDLR_RETRY_TIMES", "0")];
    let asked = program::Wire::start(|_| {
        let headers = "WWW-Authenticate: Basic realm=\"x\"\r\n";
        (program::answer("401 Unauthorized", headers, 0, b""), program::Then::Close)
    });
    let ran = desk.run_with(&["resolve", &format!("{}/a:v1", asked.address), "--debug"], &variables);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.stderr.to_lowercase().contains("authorization:[basic ***]"), "it was sent: {ran:?}");
    // Help does not show what variables are set to.
    assert!(!desk.run_with(&["push", "--help"], &variables).ok().contains("alice"));
}
