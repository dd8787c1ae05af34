//! What is said, word for word.

use crate::embedded::Embedded;
use crate::program::{Desk, Ran};

/// What a run said, with names for the digests and the registry in it.
fn said(ran: &Ran, names: &[(&str, &str)]) -> String {
    let shorten = |text: String, (long, short): &(&str, &str)| text.replace(long, short);
    names.iter().fold(ran.stderr.clone(), shorten)
}

/// `Exists LAYER` for a line about a layer.
fn shortened(line: &str) -> String {
    let words: Vec<_> = line.split(' ').collect();
    match words.iter().position(|word| matches!(*word, "layer" | "config")) {
        Some(at) => format!("{} {}", words[..at - 1].join(" "), words[at].to_uppercase()),
        None => line.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_is_there_and_what_can_be_done() {
    let (registry, desk) = (Embedded::in_memory().await, Desk::new());
    let host = registry.address();
    let resolve = |tag: &str| desk.run(&format!("resolve {host}/app:{tag}")).ok().trim_end().to_owned();
    for (content, tag) in [("beta\n", "new"), ("alpha\n", "old")] {
        desk.write("tree/a.txt", content);
        desk.run(&format!("push tree {host}/app:{tag} oci:layout:{tag}")).ok();
    }
    desk.write("tree/a.txt", "beta\n");
    let (new, old) = (resolve("new"), resolve("old"));
    let names = [(&*host, "HOST"), (&*new, "NEW"), (&*old, "OLD")];
    for (flags, code, expected) in [
        (
            "HOST/app:old --immutable",
            7,
            "error: HOST/app:old has digest OLD, and an immutable tag is not moved to NEW\n\
             hint: nothing was sent: push it under another tag, or without --immutable to move this one\n",
        ),
        (
            "oci:layout:old HOST/app:old HOST/app:new --immutable",
            7,
            "error: 2 of 2 failed: oci:layout: oci:layout:old has digest OLD, and an immutable tag is not moved to NEW; \
             HOST/app: HOST/app:old has digest OLD, and an immutable tag is not moved to NEW\n\
             hint: nothing was sent: push it under another tag, or without --immutable to move this one\n",
        ),
        (
            "HOST/app:old --expect-digest OLD",
            7,
            "error: the image has digest NEW, expected OLD\n\
             hint: files, modes, annotations, labels, the platform and SOURCE_DATE_EPOCH decide it; nothing was sent\n",
        ),
        (
            "HOST/app:new --check",
            0,
            "Checking HOST/app:new\nExists LAYER\nExists CONFIG\nUnchanged HOST/app:new with digest NEW\n",
        ),
        (
            "HOST/app:old HOST/app:other --check",
            1,
            "Checking HOST/app:old\nExists LAYER\nExists CONFIG\nWould move HOST/app:old from OLD to NEW\n\
             Would push HOST/app:other with digest NEW\n",
        ),
        (
            "HOST/another:v1 oci:fresh --check",
            1,
            "Checking HOST/another:v1\nWould upload LAYER\nWould upload CONFIG\nWould push HOST/another:v1 with digest NEW\n\
             Checking oci:fresh:latest\nWould upload LAYER\nWould upload CONFIG\nWould push oci:fresh:latest with digest NEW\n",
        ),
    ] {
        let flags = flags.replace("HOST", &host).replace("OLD", &old);
        let ran = desk.run(&format!("push tree {flags}"));
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let said = said(&ran, &names).replace("Packing tree (1 file, 5 B)\n", "");
        let mut lines: Vec<_> = said.lines().map(shortened).collect();
        // The two come in the order of the manifest.
        for pair in 1..lines.len() {
            if lines[pair].ends_with("LAYER") && lines[pair - 1].ends_with("CONFIG") {
                lines.swap(pair - 1, pair);
            }
        }
        assert_eq!(lines.join("\n") + "\n", expected, "{flags}");
    }
}

#[test]
fn flags_that_make_no_sense_together_are_named_before_anything_is_packed() {
    let desk = Desk::new();
    desk.write("tree/a.txt", "alpha\n");
    let digest = format!("sha256:{}", "0".repeat(64));
    for (flags, message, hint) in [
        (
            "archive:a.tar --immutable",
            "--immutable is for what is added to, and archive:a.tar is replaced as a whole",
            "oci:DIR",
        ),
        ("archive:a.tar --if-changed", "--if-changed is for what is added to", "oci:DIR"),
        ("oci:layout archive:a.tar --check", "--check is for what is added to", "oci:DIR"),
        (
            "127.0.0.1:1/a@DIGEST --immutable",
            "--immutable is about tags, and for 127.0.0.1:1/a none is named",
            "with -t",
        ),
        ("oci:layout@DIGEST --if-changed", "--if-changed is about tags, and for oci:layout none is named", "with -t"),
        ("oci:layout --check --digest-file d.txt", "'--check' cannot be used with '--digest-file <FILE>'", "--help"),
        ("oci:layout --expect-digest sha256:12", "--expect-digest", "--help"),
    ] {
        let ran = desk.run(&format!("push tree {flags}").replace("DIGEST", &digest));
        assert_eq!((ran.code, &*ran.stdout), (Some(2), ""), "{ran:?}");
        assert!(ran.stderr.contains(message) && !ran.stderr.contains("Packing"), "{ran:?}");
        let hinted = ran.stderr.lines().find_map(|line| line.strip_prefix("hint: ")).unwrap_or_default();
        assert!(hinted.contains(hint), "{ran:?}");
    }
    assert_eq!(desk.names(), ["tree"]);
}
