//! Running programs to their end.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// A command that is easy to write down.
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// Runs a program that has to succeed, and returns what it printed.
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    output.stdout
}

/// The same, of a program that prints text; without the newline at the end.
pub fn text(command: &mut Command) -> String {
    String::from_utf8(run(command)).unwrap().trim_end_matches('\n').to_owned()
}

/// bndlr as it was built, with no configuration of whoever runs the tests.
pub fn bndlr(arguments: &[&str]) -> Command {
    let mut bndlr = command(env!("CARGO_BIN_EXE_bndlr"), arguments);
    bndlr.env("DOCKER_CONFIG", concat!(env!("CARGO_TARGET_TMPDIR"), "/no-docker-config"));
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
