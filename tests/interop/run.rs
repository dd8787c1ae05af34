//! Running programs to their end.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::program::Program;

/// A command that is easy to write down.
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// What can be run: a program of others, or bndlr.
pub trait Run: std::fmt::Debug {
    fn end(&mut self) -> Output;
}

impl Run for Command {
    fn end(&mut self) -> Output {
        self.output().unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }
}

impl Run for Program {
    fn end(&mut self) -> Output {
        self.output()
    }
}

/// Runs a program that has to succeed, and returns what it printed.
pub fn run(command: &mut impl Run) -> Vec<u8> {
    let output = command.end();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    output.stdout
}

/// The same, of a program that prints text; without the newline at the end.
pub fn text(command: &mut impl Run) -> String {
    String::from_utf8(run(command)).unwrap().trim_end_matches('\n').to_owned()
}

/// bndlr as it was built, with no configuration of whoever runs the tests.
pub fn bndlr(arguments: &[&str]) -> Program {
    let mut bndlr = Program::bndlr();
    bndlr.args(arguments).env("DOCKER_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-docker-config"));
    bndlr.env("BNDLR_CACHE_DIR", concat!(env!("CARGO_TARGET_TMPDIR"), "/cache"));
    bndlr.env_remove("REGISTRY_AUTH_FILE").env_remove("SOURCE_DATE_EPOCH");
    bndlr
}

/// What a command of bndlr says in JSON.
pub fn json(arguments: &[&str]) -> Value {
    serde_json::from_slice(&run(bndlr(arguments).args(["--format", "json"]))).unwrap()
}

/// The path as text, as arguments need it.
pub fn arg(path: &Path) -> &str {
    path.to_str().unwrap()
}
