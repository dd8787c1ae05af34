//! The ways to publish a directory and to get it back, as what a person would type.
//!
//! Each is used as its own documentation says. The lines are for a shell, and these variables are theirs:
//!
//! | variable | is |
//! |---|---|
//! | `TREE` | the directory, which lies in the working directory and is called `tree` |
//! | `REGISTRY`, `REPOSITORY`, `TAG` | where it is published; `REF` is all three |
//! | `OUT` | where it is to appear |
//! | `FILE` | the path in it of one file |
//! | `TMPDIR` | a directory for what the work needs, which is kept from one line to the next |

use std::process::Command;

use super::process;

/// A way to publish a directory, and to get it back.
pub struct Tool {
    pub name: &'static str,
    /// What it consists of, each with the argument that makes it say its version.
    programs: &'static [(&'static str, &'static str)],
    /// Before it is measured.
    pub prepare: &'static str,
    pub push: &'static str,
    pub pull: &'static str,
    /// Writes a file to standard output without leaving the others behind, if there is a way.
    pub cat: Option<&'static str>,
    /// Brings what `pull` wrote up to date, if there is a way.
    pub update: Option<&'static str>,
}

const TAR: (&str, &str) = ("tar", "--version");
const CURL: (&str, &str) = ("curl", "--version");

const BNDLR: Tool = Tool {
    name: "bndlr",
    programs: &[("bndlr", "--version")],
    prepare: "",
    push: r#"exec bndlr push -q "$TREE" "$REF""#,
    pull: r#"exec bndlr pull -q "$REF" -o "$OUT""#,
    cat: Some(r#"exec bndlr cat -q "$REF" "$FILE""#),
    update: Some(r#"exec bndlr pull -q --update "$REF" -o "$OUT""#),
};

/// All that are known, ours first.
const ALL: [Tool; 8] = [
    BNDLR,
    Tool { name: "bndlr --split", push: r#"exec bndlr push -q --split "$TREE" "$REF""#, ..BNDLR },
    Tool {
        name: "oras",
        programs: &[("oras", "version")],
        prepare: "",
        push: r#"exec oras push --plain-http "$REF" tree"#,
        pull: r#"exec oras pull --plain-http -o "$OUT" "$REF""#,
        cat: None,
        update: None,
    },
    Tool {
        name: "imgpkg",
        programs: &[("imgpkg", "--version")],
        prepare: "",
        push: r#"exec imgpkg push -i "$REF" -f "$TREE""#,
        pull: r#"exec imgpkg pull -i "$REF" -o "$OUT""#,
        cat: None,
        update: None,
    },
    Tool {
        name: "crane + tar",
        programs: &[("crane", "version"), TAR, ("bash", "--version")],
        prepare: "",
        push: r#"exec bash -c 'crane append -f <(tar -f - -c -C "$TREE" .) -t "$REF"'"#,
        pull: r#"mkdir "$OUT"; crane export "$REF" - | tar -C "$OUT" -xf -"#,
        cat: Some(r#"crane export "$REF" - | tar -xOf - "$FILE""#),
        update: None,
    },
    Tool {
        name: "umoci + skopeo",
        programs: &[("umoci", "--version"), ("skopeo", "--version")],
        // What is added to a layout stays there, so each push is from a new one.
        prepare: r#"rm -rf "$TMPDIR/layout""#,
        push: r#"umoci init --layout "$TMPDIR/layout"
            umoci new --image "$TMPDIR/layout:$TAG"
            umoci insert --rootless --image "$TMPDIR/layout:$TAG" "$TREE" /
            skopeo --insecure-policy copy --dest-tls-verify=false "oci:$TMPDIR/layout:$TAG" "docker://$REF""#,
        pull: r#"skopeo --insecure-policy copy --src-tls-verify=false "docker://$REF" "oci:$TMPDIR/layout:$TAG"
            umoci raw unpack --rootless --image "$TMPDIR/layout:$TAG" "$OUT""#,
        cat: None,
        update: None,
    },
    Tool {
        name: "tar + gzip + curl",
        programs: &[TAR, ("gzip", "--version"), CURL],
        prepare: "",
        push: concat!("compress='gzip -n'\n", include_str!("push.sh")),
        pull: concat!(include_str!("fetch.sh"), r#"mkdir "$OUT"; fetch | tar -C "$OUT" -xzf -"#),
        cat: Some(concat!(include_str!("fetch.sh"), r#"fetch | tar -xzOf - "./$FILE""#)),
        update: None,
    },
    Tool {
        name: "tar + pigz + curl",
        programs: &[TAR, ("pigz", "--version"), CURL],
        prepare: "",
        push: concat!("compress='pigz -n'\n", include_str!("push.sh")),
        pull: concat!(include_str!("fetch.sh"), r#"mkdir "$OUT"; fetch | tar -C "$OUT" -I pigz -xf -"#),
        cat: Some(concat!(include_str!("fetch.sh"), r#"fetch | tar -I pigz -xOf - "./$FILE""#)),
        update: None,
    },
];

impl Tool {
    /// Those of these names, all of them if there are none, that can be used on this machine. The others are named.
    pub fn find(names: &[String]) -> Vec<Self> {
        let mut tools = Vec::from(ALL);
        tools.retain(|tool| names.is_empty() || names.iter().any(|name| name == tool.name));
        tools.retain(|tool| {
            let missing =
                tool.programs.iter().find(|(program, _)| *program != "bndlr" && process::find(program).is_none());
            if let Some((program, _)) = missing {
                eprintln!("left out: {}, for {program} is not on PATH", tool.name);
            }
            missing.is_none()
        });
        if !output(super::BNDLR, &["pull", "--help"]).contains("--update") {
            for tool in &mut tools {
                tool.update = None;
            }
        }
        tools
    }

    /// Each program with its version.
    pub fn versions(&self) -> impl Iterator<Item = String> {
        self.programs.iter().map(|(program, argument)| {
            let path = if *program == "bndlr" { super::BNDLR } else { program };
            format!("{program} {}", version(&output(path, &[argument])))
        })
    }
}

/// The version of `docker-registry`.
pub fn registry() -> String {
    format!("docker-registry {}", version(&output("docker-registry", &["--version"])))
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The first word that looks like one.
fn version(text: &str) -> &str {
    let words = text.split([' ', '\n', '\t', ',', '(']).map(|word| word.trim_start_matches('v'));
    let mut versions =
        words.filter(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()));
    versions.next().unwrap_or("?")
}
