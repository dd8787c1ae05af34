//! The action and the examples for CI do what they say: their scripts run here, with what those systems would give them.

mod peer;
mod program;
mod serve;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use program::{Desk, Ran, Then, Wire, answer, finish};
use serde_json::Value;
use serve::Serve;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PASSWORD: &str = "push-secret";

fn yaml(path: &str) -> Value {
    let text = fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The `.yml` and `.yaml` files of these folders, relative to the top.
fn files(folders: &[&str]) -> Vec<String> {
    let list = |folder: &&str| fs::read_dir(Path::new(ROOT).join(folder)).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.iter().flat_map(list).filter(|path| path.extension().is_some_and(|kind| kind.len() < 5));
    files.map(|path| path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned()).collect()
}

/// A desk with a directory to push, and a registry that lets `ci` alone in.
fn scene() -> (Desk, Serve, String) {
    let desk = Desk::with_tree();
    desk.write("users", &format!("ci:{}\n", bcrypt::hash(PASSWORD, 4).unwrap()));
    let registry = Serve::start(&desk, "--htpasswd users");
    let address = registry.address.clone();
    (desk, registry, address)
}

/// Runs a script as the runners do, with these folders before those of the path.
fn bash(desk: &Desk, script: &str, variables: &[(&str, &str)], folders: &[PathBuf]) -> Ran {
    let folders = folders.iter().map(|folder| format!("PATH={}:$PATH\n", folder.display()));
    let script = folders.chain([script.to_owned()]).collect::<String>();
    let mut shell = desk.process("bash");
    shell.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &script]).envs(variables.iter().copied());
    finish(shell)
}

/// What the runner of GitHub does with a composite action, as far as ours goes.
struct Action<'a> {
    desk: &'a Desk,
    inputs: BTreeMap<String, String>,
    releases: String,
}

impl<'a> Action<'a> {
    fn new(desk: &'a Desk, releases: &str, given: &[(&str, &str)]) -> Self {
        let action = yaml("action.yml");
        let mut inputs: BTreeMap<_, _> = action["inputs"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(name, input)| (name.clone(), input["default"].as_str().unwrap_or_default().to_owned()))
            .collect();
        inputs.insert("username".to_owned(), "ci".to_owned());
        inputs.insert("version".to_owned(), "v0.1.0".to_owned());
        for (name, value) in given {
            assert!(inputs.insert((*name).to_owned(), (*value).to_owned()).is_some(), "{name} is no input");
        }
        for name in ["output", "path"] {
            desk.write(name, "");
        }
        Self { desk, inputs, releases: releases.to_owned() }
    }

    /// The value of an expression that stands in `env` or `if`.
    fn evaluate(&self, text: &str) -> String {
        let mut value = text.to_owned();
        for (name, input) in &self.inputs {
            value = value.replace(&format!("${{{{ inputs.{name} }}}}"), input);
        }
        value = value.replace(
            "${{ github.server_url }}/${{ github.action_repository }}/releases/download",
            &format!("http://{}", self.releases),
        );
        value = value.replace("${{ runner.temp }}", self.desk.path(".").to_str().unwrap());
        assert!(!value.contains("${{"), "not known here: {value}");
        value
    }

    fn is_wanted(&self, condition: &Value) -> bool {
        let Some(condition) = condition.as_str() else { return true };
        let words: Vec<&str> = condition.split(' ').collect();
        let [input, operator, value] = words[..] else { panic!("not known here: {condition}") };
        let input = &self.inputs[input.strip_prefix("inputs.").unwrap()];
        (input == value.trim_matches('\'')) == (operator == "==")
    }

    /// Runs the steps, the last of which is the one that counts.
    fn run(&self) -> Ran {
        let (output, path) = (self.desk.path("output"), self.desk.path("path"));
        let mut last = None;
        for step in yaml("action.yml")["runs"]["steps"].as_array().unwrap() {
            let Some(script) = step["run"].as_str().filter(|_| self.is_wanted(&step["if"])) else { continue };
            let env = step["env"].as_object().unwrap().iter();
            let mut variables: Vec<(&str, String)> =
                env.map(|(name, value)| (&**name, self.evaluate(value.as_str().unwrap()))).collect();
            variables.push(("GITHUB_OUTPUT", output.to_str().unwrap().to_owned()));
            variables.push(("GITHUB_PATH", path.to_str().unwrap().to_owned()));
            variables.push(("RUNNER_TEMP", self.desk.path(".").to_str().unwrap().to_owned()));
            let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
            let folders: Vec<PathBuf> = self.desk.read("path").lines().map(PathBuf::from).collect();
            let ran = bash(self.desk, script, &variables, &folders);
            if ran.code != Some(0) {
                return ran;
            }
            last = Some(ran);
        }
        last.unwrap()
    }

    fn output(&self, name: &str) -> String {
        let outputs = self.desk.read("output");
        let found = outputs.lines().rev().find_map(|line| line.strip_prefix(&format!("{name}=")));
        found.unwrap_or_else(|| panic!("{name} is not in {outputs:?}")).to_owned()
    }
}

#[test]
fn the_action_logs_in_pushes_and_says_what_became_of_it() {
    let Some(_) = peer::require("jq") else { return };
    let (desk, _registry, address) = scene();
    let reference = format!("{address}/team/app:main");
    let given = [("directory", "tree"), ("reference", &*reference), ("password", PASSWORD), ("version", "none")];
    let action = Action::new(&desk, "", &given);
    let ran = action.run();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let digest = action.output("digest");
    assert_eq!(action.output("result"), "pushed");
    assert_eq!(action.output("reference"), format!("{address}/team/app@{digest}"));
    assert_eq!(desk.run(&format!("resolve {reference}")).ok().trim().rsplit('@').next().unwrap(), digest);
    action.run();
    assert_eq!((action.output("result"), action.output("digest")), ("unchanged".to_owned(), digest));
    assert!(desk.path("bndlr-cache").is_dir(), "what was packed is kept for the next run");
}

#[test]
fn nothing_that_an_input_of_the_action_says_is_run() {
    let Some(_) = peer::require("jq") else { return };
    let (desk, _registry, address) = scene();
    let reference = format!("{address}/team/app:main");
    for hostile in ["$(touch run)", "`touch run`", "; touch run", "\"; touch run; \""] {
        let given = [("directory", hostile), ("reference", &reference), ("password", PASSWORD), ("version", "none")];
        assert_ne!(Action::new(&desk, "", &given).run().code, Some(0));
        let given = [("directory", "tree"), ("reference", hostile), ("version", "none")];
        assert_ne!(Action::new(&desk, "", &given).run().code, Some(0));
        let given = [("directory", "tree"), ("reference", &reference), ("flags", hostile), ("version", "none")];
        assert_ne!(Action::new(&desk, "", &given).run().code, Some(0));
        assert!(!desk.path("run").exists(), "{hostile}");
    }
    for path in files(&[".github/workflows"]).into_iter().chain(["action.yml".to_owned()]) {
        let file = yaml(&path);
        let jobs = file["jobs"].as_object().into_iter().flat_map(|jobs| jobs.values());
        for step in jobs.chain([&file["runs"]]).filter_map(|job| job["steps"].as_array()).flatten() {
            let script = step["run"].as_str().unwrap_or_default();
            assert!(!script.contains("${{"), "{path}: what an expression says would be run: {script}");
        }
    }
}

#[test]
fn the_action_installs_only_what_has_the_digest_that_the_release_names() {
    let Some(_) = ["curl", "jq"].into_iter().map(peer::require).collect::<Option<Vec<_>>>() else { return };
    let (desk, _registry, address) = scene();
    let archive = "bndlr-$(uname -m)-linux.tar.gz";
    fs::create_dir(desk.path("bndlr-here")).unwrap();
    desk.install("bndlr-here/bndlr");
    let pack =
        format!("tar -c bndlr-here | gzip -1 > {archive} && sha256sum {archive} > SHA256SUMS && mv {archive} archive");
    assert_eq!(bash(&desk, &pack, &[], &[]).code, Some(0));
    let (archive, sums) = (fs::read(desk.path("archive")).unwrap(), fs::read(desk.path("SHA256SUMS")).unwrap());
    for (broken, code) in [(false, 0), (true, 1)] {
        let (mut archive, sums) = (archive.clone(), sums.clone());
        if broken {
            archive.extend_from_slice(b"more");
        }
        let releases = Wire::start(move |line| {
            let path = line.split(' ').nth(1).unwrap();
            let body = if path.ends_with("SHA256SUMS") { &sums } else { &archive };
            assert!(path.starts_with("/v0.1.0/"), "{path}");
            (answer("200 OK", "", body.len(), body), Then::Close)
        });
        let reference = format!("{address}/team/app:main");
        let given = [("directory", "tree"), ("reference", &*reference), ("password", PASSWORD)];
        let action = Action::new(&desk, &releases.address.to_string(), &given);
        let ran = action.run();
        assert_eq!(ran.code, Some(code), "{ran:?}");
        let folders = desk.read("path");
        assert_eq!(folders.is_empty(), broken, "{folders}");
        for folder in folders.lines() {
            assert!(Path::new(folder).join("bndlr").exists());
            fs::remove_dir_all(folder).unwrap();
        }
    }
}

#[test]
fn the_job_for_gitlab_publishes_branches_when_they_change_and_tags_once() {
    let Some(_) = peer::require("git") else { return };
    let (desk, _registry, address) = scene();
    fs::rename(desk.path("tree"), desk.path("manifests")).unwrap();
    let commit = "git init -q && git add manifests && git -c user.name=ci -c user.email=ci@localhost commit -qm first";
    assert_eq!(bash(&desk, commit, &[], &[]).code, Some(0));
    let job = yaml("examples/ci/gitlab-ci.yml")["publish"].clone();
    let script: Vec<&str> = job["script"].as_array().unwrap().iter().map(|line| line.as_str().unwrap()).collect();
    let image = format!("{address}/team/app");
    let run = |slug: &str, tag: &str| {
        let variables = [
            ("CI_REGISTRY", &*address),
            ("CI_REGISTRY_USER", "ci"),
            ("CI_REGISTRY_PASSWORD", PASSWORD),
            ("CI_REGISTRY_IMAGE", &image),
            ("CI_COMMIT_REF_SLUG", slug),
            ("CI_COMMIT_TAG", tag),
        ];
        bash(&desk, &script.join("\n"), &variables, &[])
    };
    let resolve = |tag: &str| desk.run(&format!("resolve {image}/manifests:{tag}")).ok();
    assert_eq!(run("main", "").code, Some(0));
    let first = resolve("main");
    assert_eq!(desk.read("bndlr.env"), format!("DIGEST={}", first.rsplit('@').next().unwrap()));
    assert_eq!(run("v1", "v1").code, Some(0));
    // Another commit, and the same files: nothing moves.
    let commit = "git -c user.name=ci -c user.email=ci@localhost commit -q --allow-empty -m second";
    assert_eq!(bash(&desk, commit, &[], &[]).code, Some(0));
    assert_eq!(run("main", "").code, Some(0));
    assert_eq!(resolve("main"), first);
    // Other files: the branch moves, and the tag does not.
    let released = resolve("v1");
    desk.write("manifests/a.txt", "another");
    assert_eq!(run("main", "").code, Some(0));
    assert_ne!(resolve("main"), first);
    assert_eq!(run("v1", "v1").code, Some(7));
    assert_eq!(resolve("v1"), released);
}

#[test]
fn the_task_for_tekton_pushes_and_has_the_digest_as_its_result() {
    let (desk, _registry, address) = scene();
    let task = yaml("examples/ci/tekton.yaml");
    let step = &task["spec"]["steps"][0];
    let reference = format!("{address}/team/app:v1");
    desk.run(&format!("login {address} -u ci -p {PASSWORD}")).ok();
    let mut arguments: Vec<&str> = Vec::new();
    for argument in step["args"].as_array().unwrap() {
        match argument.as_str().unwrap() {
            "$(params.directory)" => arguments.push("tree"),
            "$(params.reference)" => arguments.push(&reference),
            "--digest-file=$(results.digest.path)" => arguments.push("--digest-file=result"),
            "$(params.flags[*])" => {
                let flags = task["spec"]["params"][2]["default"].as_array().unwrap();
                arguments.extend(flags.iter().map(|flag| flag.as_str().unwrap()));
            }
            other => {
                assert!(!other.contains("$("), "{other}");
                arguments.push(other);
            }
        }
    }
    let login = desk.path(".docker");
    let pushed = desk.run_with(&arguments, &[("DOCKER_CONFIG", login.to_str().unwrap())]).ok();
    assert_eq!(pushed.trim().rsplit('@').next().unwrap(), desk.read("result").trim());
}

#[test]
fn what_is_yaml_is_yaml() {
    let all = files(&[".github/workflows", "examples/ci", "examples/gitops"]);
    assert!(all.len() >= 6, "{all:?}");
    for path in all {
        if !path.contains("gitops") {
            assert!(yaml(&path).is_object(), "{path}");
            continue;
        }
        let text = fs::read_to_string(Path::new(ROOT).join(&path)).unwrap();
        let documents: Vec<Value> =
            serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(documents.iter().all(|document| document["apiVersion"].is_string()), "{path}");
    }
}
