//! The command, as far as any build of the program has it.

use crate::program::Desk;

#[test]
fn a_dynamic_program_says_how_to_build_the_other_one() {
    if peer_is_static() {
        return eprintln!("skipped: the program of the tests is static itself");
    }
    let desk = Desk::new();
    for arguments in ["quine --listen 127.0.0.1:0", "quine --export oci:out", "push --self localhost:1/a"] {
        let ran = desk.run(arguments);
        assert_eq!(ran.code, Some(8), "{ran:?}");
        assert!(ran.stderr.contains("error: this program is not static"), "{ran:?}");
        assert!(ran.stderr.contains("cargo build-static"), "{ran:?}");
        assert_eq!((ran.stdout.as_str(), desk.names()), ("", Vec::new()));
    }
}

fn peer_is_static() -> bool {
    cfg!(target_feature = "crt-static")
}

#[test]
fn the_way_to_build_the_static_program_is_there() {
    let config = include_str!("../../.cargo/config.toml");
    assert!(config.contains("\nbuild-static = ["), "the error names it");
}

#[test]
fn what_would_give_the_image_another_digest_is_refused() {
    let desk = Desk::new();
    for flag in ["-l a=b", "-a a=b", "--platform linux/arm64", "--exclude x", "--include-vcs", "--symlinks keep"] {
        let ran = desk.run(&format!("push --self localhost:1/a {flag}"));
        assert_eq!(ran.code, Some(2), "{ran:?}");
    }
    let ran = desk.run("quine --export localhost:5000/a");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("push --self localhost:5000/a"), "{ran:?}");
    assert_eq!(desk.run("quine --export oci:a --name b").code, Some(2));
    assert_eq!(desk.run("push --self").code, Some(2));
}
