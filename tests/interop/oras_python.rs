//! ORAS's client for Python pushes to our registry and pulls from it.
//!
//! It is the package `oras`, for which `BNDLR_ORAS_PYTHON` names the Python that has it; without that, `python3`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::access::{assert_asked_with_a_token, login, pull as pull_guarded, push};
use crate::build::pull;
use crate::containers::copy_tree;
use crate::registries::{PASSWORD, Registry, Serve, USER, tls_file};
use crate::run::{arg, bndlr, command, json, run};
use crate::table::{Program, proved};
use crate::writers::{Large, large_digest};
use crate::{peer, shapes, tree};

/// What each script begins with: `client` for the registry `host`, with TLS if there is a file with an authority.
const CLIENT: &str = "
import json, sys, time
import oras.client
# It tries again whatever was refused, and waits longer each time.
time.sleep = lambda seconds: None
host, authority = sys.argv[1:3]
arguments = sys.argv[3:]
client = oras.client.OrasClient(hostname=host, insecure=not authority, tls_verify=authority or True)
";

struct Oras {
    python: PathBuf,
    home: TempDir,
}

impl Oras {
    fn find() -> Option<Self> {
        let python = match std::env::var_os("BNDLR_ORAS_PYTHON") {
            Some(python) => python.into(),
            None => peer::require("python3")?,
        };
        let has_it = command(&python, &["-c", "import oras.client"]).stderr(Stdio::null()).status();
        if !has_it.is_ok_and(|status| status.success()) {
            assert!(!peer::are_required(), "{} has no package oras, and BNDLR_REQUIRE_PEERS=1", python.display());
            eprintln!("skipped: {} has no package oras", python.display());
            return None;
        }
        Some(Self { python, home: TempDir::new().unwrap() })
    }

    /// A script that goes on where [`CLIENT`] ends.
    fn script(&self, script: &str, host: &str, authority: &str, arguments: &[&str]) -> Command {
        let mut python = command(&self.python, &["-c", &format!("{CLIENT}{script}"), host, authority]);
        python.args(arguments).current_dir(self.home.path());
        // It writes passwords where Docker's client has them, if it is asked to.
        python.env("HOME", self.home.path()).env_remove("DOCKER_CONFIG");
        python
    }

    fn run(&self, script: &str, registry: &Registry, arguments: &[&str]) -> Value {
        let host = registry.reference("");
        let printed = run(&mut self.script(script, host.trim_end_matches('/'), "", arguments));
        serde_json::from_slice(&printed).unwrap()
    }
}

/// Pulls what arguments 1 names to 2. What is called `.`, it unpacks beside the directory that it was told, not into it.
const PULL: &str = "
target, directory = arguments
print(json.dumps(client.pull(target=target, outdir=directory)))
";

/// Where [`PULL`] has to be sent for the files to end up in `directory`.
fn below(directory: &Path) -> PathBuf {
    directory.join("below")
}

#[test]
fn oras_for_python_pulls_what_was_pushed() {
    let Some(oras) = Oras::find() else { return };
    for registry in Registry::each() {
        let (tree, home, reference) = (tree::sample(), TempDir::new().unwrap(), registry.reference("team/app:v1"));
        json(&["push", arg(tree.path()), &reference]);
        oras.run(PULL, &registry, &[&reference, arg(&below(home.path()))]);
        tree::assert_same(tree.path(), home.path());
    }
}

/// Pushes the directory `tree` whole and in chunks, pulls it, and removes one of the tags.
const JOURNEY: &str = "
repository, out = arguments
whole, chunked = repository + ':whole', repository + ':chunked'
client.push(target=whole, files=['tree'], manifest_annotations={'team': 'größe'})
client.push(target=chunked, files=['tree', 'big'], do_chunked=True, chunk_size=65536)
before = sorted(client.get_tags(repository))
pulled = client.pull(target=chunked, outdir=out)
manifest = client.get_manifest(whole)
client.delete_tags(repository, 'chunked')
print(json.dumps({'before': before, 'after': client.get_tags(repository), 'pulled': pulled, 'manifest': manifest}))
";

#[test]
fn what_oras_for_python_pushes_is_pulled() {
    let Some(oras) = Oras::find() else { return };
    let tree = tree::sample();
    copy_tree(tree.path(), &oras.home.path().join("tree"));
    // In chunks, and not compressed by it.
    let big = tree::noise(1024 * 1024);
    std::fs::write(oras.home.path().join("big"), &big).unwrap();
    for registry in Registry::each() {
        let home = TempDir::new().unwrap();
        let (repository, out) = (registry.reference("python/app"), home.path().join("out"));
        let did = oras.run(JOURNEY, &registry, &[&repository, arg(&out)]);
        assert_eq!(did["before"], serde_json::json!(["chunked", "whole"]));
        assert_eq!(did["after"], serde_json::json!(["whole"]));
        assert_eq!(did["manifest"]["annotations"]["team"], "größe");
        tree::assert_same(tree.path(), &out.join("tree"));
        assert_eq!(std::fs::read(out.join("big")).unwrap(), big);
        let pulled = pull(&format!("{repository}:whole"), home.path());
        tree::assert_same(tree.path(), &pulled.join("tree"));
    }
}

/// Logs in, if there is a password, and pulls; then pushes what came, with another client: one keeps its first token.
const GUARDED: &str = "
user, password, pulled, pushed = arguments
if password:
    client.login(username=user, password=password, hostname=host, config_path='config.json')
client.pull(target=pulled, outdir='tree/below', config_path='config.json')
client = oras.client.OrasClient(hostname=host, tls_verify=authority)
client.push(target=pushed, files=['tree'], config_path='config.json')
";

#[test]
fn oras_for_python_logs_in_pulls_and_pushes_over_tls() {
    let Some(oras) = Oras::find() else { return };
    let registry = Serve::guarded();
    let (tree, reference) = push(&registry, "team/app:v1");
    let pushed = format!("{}/other/name:v2", registry.address());
    let guarded = |password: &str| {
        std::fs::write(oras.home.path().join("config.json"), r#"{"auths":{}}"#).unwrap();
        oras.script(GUARDED, registry.address(), arg(&tls_file("ca.pem")), &[USER, password, &reference, &pushed])
    };
    for wrong in ["", "wrong"] {
        let refused = guarded(wrong).output().unwrap();
        let errors = String::from_utf8_lossy(&refused.stderr);
        assert!(!refused.status.success() && errors.contains("authentication"), "password {wrong:?}: {errors}");
    }
    run(&mut guarded(PASSWORD));
    let home = TempDir::new().unwrap();
    let pulled = pull_guarded(&pushed, home.path());
    tree::assert_same(tree.path(), &pulled.join("tree"));
    assert_asked_with_a_token(&registry);
}

#[test]
fn oras_for_python_unpacks_bundles_of_every_shape() {
    let Some(oras) = Oras::find() else { return };
    shapes::pushed_in_one_layer("oci", |reference, _, tree| {
        let (home, host) = (TempDir::new().unwrap(), reference.split_once('/').unwrap().0);
        run(&mut oras.script(PULL, host, "", &[reference, arg(&below(home.path()))]));
        tree::assert_same(tree, home.path());
    });
    proved(Program::OrasPython, "pulls and unpacks bundles of every shape that have one layer");
}

/// Pushes several artifacts at once that share a directory, one with many tags, one twice, and a large one.
const IN_EVERY_WAY: &str = "
from concurrent.futures import ThreadPoolExecutor
user, password = arguments
if password:
    client.login(username=user, password=password, hostname=host, config_path='config.json')
def push(target, *files):
    client = oras.client.OrasClient(hostname=host, insecure=not authority, tls_verify=authority or True)
    client.push(target=f'{host}/{target}', files=list(files), config_path='config.json')
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda number: push(f'shared/app:{number}', 'tree', f'own-{number}'), range(4)))
for number in range(12):
    push(f'many/app:tag-{number:02}', 'tree')
push('many/app:tag-00', 'tree')
# It compresses slowly.
if not password:
    push('large/app:v1', 'large')
";

#[test]
fn oras_for_python_pushes_in_every_way() {
    let Some(oras) = Oras::find() else { return };
    let (tree, large) = (tree::sample(), Large::shared());
    let aside = |name: &str| oras.home.path().join(name);
    copy_tree(tree.path(), &aside("tree"));
    for number in 0..4 {
        std::fs::create_dir(aside(&format!("own-{number}"))).unwrap();
        std::fs::write(aside(&format!("own-{number}/number")), number.to_string()).unwrap();
    }
    let layout = format!("oci:{}:v1", arg(&large.built.layout()));
    run(&mut bndlr(&["pull", &layout, "-o", arg(&aside("large"))]));
    for guarded in [false, true] {
        std::fs::write(aside("config.json"), r#"{"auths":{}}"#).unwrap();
        let registry = if guarded { Serve::guarded() } else { Serve::in_directory() };
        let (authority, password) = if guarded { (tls_file("ca.pem"), PASSWORD) } else { (PathBuf::new(), "") };
        run(&mut oras.script(IN_EVERY_WAY, registry.address(), arg(&authority), &[USER, password]));
        let home = TempDir::new().unwrap();
        let pulled = |path: &str| {
            let directory = home.path().join(path.replace(['/', ':'], "-"));
            let reference = format!("{}/{path}", registry.address());
            let mut pull = bndlr(&["pull", &reference, "-o", arg(&directory)]);
            run(if guarded { pull.args(login()) } else { &mut pull });
            directory
        };
        for number in 0..4 {
            let pulled = pulled(&format!("shared/app:{number}"));
            tree::assert_same(tree.path(), &pulled.join("tree"));
            let own = pulled.join(format!("own-{number}/number"));
            assert_eq!(std::fs::read_to_string(own).unwrap(), number.to_string());
        }
        for tag in ["tag-00", "tag-11"] {
            tree::assert_same(tree.path(), &pulled(&format!("many/app:{tag}")).join("tree"));
        }
        if !guarded {
            assert_eq!(large_digest(&pulled("large/app:v1").join("large")), large.digest);
        }
    }
    proved(
        Program::OrasPython,
        "pushes directories: many tags, several artifacts at once, 200 MB; without TLS, and with TLS and a password",
    );
}
