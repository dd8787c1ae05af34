//! The image of this program, run by Docker: it serves itself again and again, and it does the rest of its work where
//! there is nothing but the program.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, DnValue, IsCa, KeyPair};
use tempfile::TempDir;

use crate::authority::Authority;
use crate::build::pull;
use crate::docker::{Engine, signal};
use crate::registries::Serve;
use crate::run::{arg, bndlr, command, run, text};
use crate::table::{Program, proved};
use crate::{peer, tree};

/// How often the image is pulled from itself and run.
const GENERATIONS: usize = 4;
/// A name that nothing but the hosts file of a container knows.
const HOST: &str = "registry.test";

/// Something that serves the image until the test ends.
struct Served {
    process: Child,
    address: String,
}

impl Served {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.is_empty(), "it does not start: {command:?}");
        Self { process, address: address.trim().to_owned() }
    }

    fn reference(&self) -> String {
        format!("{}/quinistry", self.address)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Docker's client passes it on to the program, and ends when that does.
        signal("TERM", &self.process.id().to_string());
        let _ = self.process.wait();
    }
}

fn digest_in(said: &str) -> String {
    said.lines()
        .find_map(|line| line.strip_prefix("Digest: "))
        .unwrap_or_else(|| panic!("no digest: {said}"))
        .to_owned()
}

/// Pulls the image from `served`, and says its digest.
fn pull_into(engine: &Engine, served: &Served) -> String {
    digest_in(&engine.run(&["pull", &served.reference()]))
}

#[test]
fn every_generation_serves_the_digest_of_the_first() {
    let (Some(program), Some(engine)) = (peer::require_static(), Engine::shared()) else { return };
    let mut first = command(&program, &["quine", "--listen", "127.0.0.1:0"]);
    first.current_dir("/");
    let mut served = vec![Served::start(first)];
    let mut digests = Vec::new();
    for generation in 1..=GENERATIONS {
        let before = served.last().unwrap();
        digests.push(pull_into(&engine, before));
        // Ports are the host's, so that each generation has one of its own; and it can be on any address.
        let name = format!("generation-{generation}");
        let run = ["run", "--rm", "--network=host", "--name", &name, &before.reference()];
        let listen = ["quine", "--listen", if generation % 2 == 0 { "0.0.0.0:0" } else { "127.0.0.1:0" }];
        let mut next = Served::start(engine.docker(&[&run[..], &listen].concat()));
        next.address = next.address.replace("0.0.0.0", "127.0.0.1");
        served.push(next);
    }
    let last = served.last().unwrap();
    digests.push(pull_into(&engine, last));
    assert!(digests.iter().all(|digest| *digest == digests[0]), "{digests:?}");
    proved(Program::Docker, "runs the image of bndlr, which serves itself, through four generations: one digest");

    let (home, original) = (TempDir::new().unwrap(), fs::read(&program).unwrap());
    let container = format!("generation-{GENERATIONS}:/bndlr");
    engine.run(&["cp", "-q", &container, arg(&home.path().join("copied"))]);
    assert!(fs::read(home.path().join("copied")).unwrap() == original, "in the last container");
    let pulled = pull(&last.reference(), home.path());
    assert!(fs::read(pulled.join("bndlr")).unwrap() == original, "pulled by bndlr");
    pull_by_skopeo(last, home.path(), &digests[0], &original);
}

fn pull_by_skopeo(served: &Served, home: &Path, digest: &str, original: &[u8]) {
    let Some(skopeo) = peer::require("skopeo") else { return };
    let (url, layout) = (format!("docker://{}", served.reference()), format!("oci:{}:v1", arg(&home.join("layout"))));
    let copy = ["--insecure-policy", "copy", "-q", "--src-tls-verify=false", &url, &layout];
    run(&mut command(&skopeo, &copy));
    assert_eq!(text(&mut bndlr(&["resolve", &layout])), digest);
    let unpacked = home.join("by-skopeo");
    run(&mut bndlr(&["pull", &layout, "-o", arg(&unpacked)]));
    assert!(fs::read(unpacked.join("bndlr")).unwrap() == original, "pulled by skopeo");
    proved(Program::Skopeo, "copies the image that the last generation serves: the same digest, the same program");
}

/// The image in the engine, to run anything in it.
struct Empty {
    engine: Arc<Engine>,
    image: String,
}

impl Empty {
    fn find() -> Option<Self> {
        let (program, engine) = (peer::require_static()?, Engine::shared()?);
        let served = Served::start(command(&program, &["quine", "--listen", "127.0.0.1:0", "--name", "empty"]));
        let image = format!("{}/empty", served.address);
        engine.run(&["pull", "-q", &image]);
        Some(Self { engine, image })
    }

    /// A container that is to run bndlr with these arguments, and knows the host.
    fn container(&self, arguments: &[&str]) -> String {
        let host = format!("--add-host={HOST}:127.0.0.1");
        let create = ["create", "--network=host", &host, &self.image];
        self.engine.run(&[&create[..], arguments].concat())
    }

    /// Runs it to its end.
    fn start(&self, container: &str) -> std::process::Output {
        self.engine.docker(&["start", "--attach", container]).output().unwrap()
    }
}

/// A certificate for [`HOST`] and this machine from an authority, and its key, in files.
fn certificate(home: &Path, issuer: &CertifiedIssuer<'static, KeyPair>) -> [PathBuf; 2] {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![HOST.to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let files = ["host.pem", "host.key"].map(|name| home.join(name));
    fs::write(&files[0], params.signed_by(&key, issuer).unwrap().pem()).unwrap();
    fs::write(&files[1], key.serialize_pem()).unwrap();
    files
}

/// Where a registry is to a container.
fn known_as(registry: &Serve, path: &str) -> String {
    format!("{HOST}:{}/{path}", registry.address().rsplit_once(':').unwrap().1)
}

#[test]
fn in_an_empty_container_names_are_resolved_and_certificates_checked() {
    let Some(empty) = Empty::find() else { return };
    let (authority, tree, home) = (Authority::new(), tree::sample(), TempDir::new().unwrap());
    let [pem, key] = certificate(home.path(), &authority.issuer);
    let registry = Serve::with_certificate(HOST, &pem, &key);
    let (here, there) = (format!("{}/team/app:v1", registry.address()), known_as(&registry, "team/app:v1"));
    let ca = authority.file("ca.pem");
    run(&mut bndlr(&["push", arg(tree.path()), &here, "--ca-file", arg(&ca)]));

    let container = empty.container(&["pull", &there, "--ca-file", "/ca.pem", "-o", "/pulled"]);
    empty.engine.run(&["cp", "-q", arg(&ca), &format!("{container}:/ca.pem")]);
    let pulled = empty.start(&container);
    assert!(pulled.status.success(), "{}", String::from_utf8_lossy(&pulled.stderr));
    empty.engine.run(&["cp", "-q", &format!("{container}:/pulled"), arg(&home.path().join("pulled"))]);
    tree::assert_same(tree.path(), &home.path().join("pulled"));

    // Nobody there knows that authority.
    let refused = empty.start(&empty.container(&["resolve", &there]));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(6) && said.contains("UnknownIssuer"), "{said}");
    proved(Program::Docker, "runs it in an empty container, where it resolves a name and pulls over TLS");
}

#[test]
fn in_an_empty_container_public_authorities_are_known() {
    let Some(empty) = Empty::find() else { return };
    // Who is taken for an authority that is known, but did not sign as that, is told from one that is not known.
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in [
        (DnType::CountryName, "US"),
        (DnType::OrganizationName, "Internet Security Research Group"),
        (DnType::CommonName, "ISRG Root X2"),
    ] {
        params.distinguished_name.push(kind, DnValue::PrintableString(value.try_into().unwrap()));
    }
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let forged = CertifiedIssuer::self_signed(params, key).unwrap();
    let home = TempDir::new().unwrap();
    let [pem, key] = certificate(home.path(), &forged);
    let registry = Serve::with_certificate(HOST, &pem, &key);
    let refused = empty.start(&empty.container(&["resolve", &known_as(&registry, "team/app:v1")]));
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(6) && said.contains("BadSignature"), "{said}");
}
