//! What the tests have proved, for the table in `docs/interop.md`, which `.ci/interop-table` writes from it.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::process::Command;

/// A program of others, or a library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    Docker,
    Containerd,
    Skopeo,
    Umoci,
    Buildah,
    Podman,
    DockerRegistry,
    OrasPython,
    OciClient,
    GnuTar,
    Gzip,
    BusyBox,
    Pigz,
    Bsdtar,
    Zstd,
    Python,
}

impl Program {
    /// Asks the program for its version.
    fn version(self) -> String {
        let oras = std::env::var("BNDLR_ORAS_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let ask = ["-c", "import importlib.metadata as packages; print(packages.version('oras'))"];
        let said = match self {
            Self::OciClient => {
                let lock = include_str!("../../Cargo.lock");
                lock.split_once("name = \"oci-client\"\nversion = \"").map(|(_, rest)| rest.to_owned()).unwrap()
            }
            Self::OrasPython => said_by(&oras, &ask),
            Self::Docker => said_by("dockerd", &["--version"]),
            Self::Containerd => said_by("ctr", &["--version"]),
            Self::BusyBox => said_by("busybox", &[]),
            Self::GnuTar => said_by("tar", &["--version"]),
            Self::Python => said_by("python3", &["--version"]),
            other => said_by(&other.to_string().to_lowercase(), &["--version"]),
        };
        version_in(&said).unwrap_or_else(|| panic!("{self} says no version: {said}"))
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Docker => "Docker",
            Self::Containerd => "containerd",
            Self::Skopeo => "Skopeo",
            Self::Umoci => "Umoci",
            Self::Buildah => "Buildah",
            Self::Podman => "Podman",
            Self::DockerRegistry => "docker-registry",
            Self::OrasPython => "ORAS for Python",
            Self::OciClient => "oci-client",
            Self::GnuTar => "GNU tar",
            Self::Gzip => "gzip",
            Self::BusyBox => "BusyBox",
            Self::Pigz => "pigz",
            Self::Bsdtar => "bsdtar",
            Self::Zstd => "zstd",
            Self::Python => "Python",
        })
    }
}

fn said_by(program: &str, arguments: &[&str]) -> String {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let output = Command::new(program).args(arguments).env("PATH", path).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// The first word that is a version: `1.2`, `v1.2.3`, with anything after that.
fn version_in(said: &str) -> Option<String> {
    let words = said.split(|c: char| c.is_whitespace() || matches!(c, ',' | '"' | '(' | ')'));
    let mut versions = words.map(|word| word.trim_start_matches('v')).filter(|word| {
        word.starts_with(|c: char| c.is_ascii_digit()) && word.split_once('.').is_some_and(|(major, _)| major.len() < 4)
    });
    // What a distribution has added to it is no version of the program's.
    versions.next().map(|version| version.split(['+', '~']).next().unwrap_or(version).to_owned())
}

/// Notes what a test has proved of a program, at its end. `BNDLR_INTEROP_RESULTS` names the file for it, if it is wanted.
pub fn proved(program: Program, what: &str) {
    let Some(file) = std::env::var_os("BNDLR_INTEROP_RESULTS") else { return };
    let line = format!("{:02}\t{program}\t{}\t{what}\n", program as usize, program.version());
    // A line is written at once, so that those of other tests do not come between.
    let mut file = OpenOptions::new().create(true).append(true).open(file).unwrap();
    file.write_all(line.as_bytes()).unwrap();
}

#[test]
fn versions_are_found_in_what_programs_say_of_themselves() {
    for (said, expected) in [
        ("Docker version 20.10.24+dfsg1, build 5d6db84", "20.10.24"),
        ("docker-registry github.com/docker/distribution 2.8.2+ds1", "2.8.2"),
        ("ctr github.com/containerd/containerd 1.6.20~ds1", "1.6.20"),
        ("buildah version 1.28.2 (image-spec 1.1.0-rc2, runtime-spec 1.0.2-dev)", "1.28.2"),
        ("BusyBox v1.35.0 (Debian 1:1.35.0-4+deb12u1+b1) multi-call binary.", "1.35.0"),
        ("*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***", "1.5.4"),
        ("0.18.0\"\nsource", "0.18.0"),
    ] {
        assert_eq!(version_in(said).as_deref(), Some(expected), "{said}");
    }
}
