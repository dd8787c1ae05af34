//! The `bndlr` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    bndlr::cli::run()
}
